"""Discounted policy evaluation by whatever is cheapest for the chain at hand, certified afterwards from the MDP itself.

Dense chains are solved by sweeps where they mix fast, by LAPACK otherwise; sparse ones by :mod:`.sparse_chains`. All
methods only propose values w; the error is then bounded from one pass over the original P (:func:`_certify`), so a
proposal need not be trusted.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass

import numpy as np

from rebel_theory.arrays import FloatArray
from rebel_theory.problems import TabularMDP
from rebel_theory.solvers.linear_systems import spread
from rebel_theory.solvers.sparse_chains import SparseChain, midpoint
from rebel_theory.solvers.transitions import Transitions, transitions

TOLERANCE = 1e-13  # of values, relative to the largest: near rounding
_UNIT = np.finfo(np.float64).eps / 2
_LU_SWEEPS = 0.13  # cost of a dense LU, in sweeps a state: (2/3) S^3 at 20 GFlop/s against 2 S^2 at 8
_SCRATCH = threading.local()


@dataclass(frozen=True, slots=True, eq=False)
class Warm:
    """Values and visits (..., S) of policies near the ones to evaluate."""

    values: FloatArray
    visits: FloatArray | None


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Values (..., S), Q-values (..., S, A), discounted visits (..., S), certified error, the last one's method."""

    values: FloatArray
    q_values: FloatArray
    visits: FloatArray
    error_bound: float
    method: str


def evaluate_chains(problem: TabularMDP, probs: FloatArray, warm: Warm | None, tolerance: float) -> Found:
    """Return the evaluation of a batch of policies (..., S, A), gamma < 1, one policy (and instance) at a time."""
    gamma, (s, a) = problem.discount, problem.policy_shape
    lead = np.broadcast_shapes(probs.shape[:-2], problem.batch_shape)
    values, visits, q, bound, method = np.empty((*lead, s)), np.empty((*lead, s)), np.empty((*lead, s, a)), 0.0, ""

    def at(array: FloatArray, n_axes: int) -> FloatArray:
        """Return the part of an array whose leading axes broadcast against the batch."""
        if array.ndim == n_axes:
            return array
        single: FloatArray = spread(array, (*lead, *array.shape[-n_axes:]))[place]
        return single

    for place in np.ndindex(*lead):
        near = None
        if warm is not None:
            near = Warm(at(warm.values, 1), None if warm.visits is None else at(warm.visits, 1))
        reward, start, instance = at(problem.reward, 2), at(problem.initial_dist, 1), problem
        if not problem.is_sparse and problem.transition.ndim > 3:
            instance = TabularMDP(at(problem.transition, 3), reward, discount=gamma, initial_dist=start)
        found = evaluate_chain(instance, at(probs, 2), reward, start, near, tolerance)
        values[place], q[place], visits[place] = found.values, found.q_values, found.visits
        bound, method = max(bound, found.error_bound), found.method
    return Found(values, q, visits, bound, method)


def evaluate_chain(
    problem: TabularMDP, probs: FloatArray, reward: FloatArray, start: FloatArray, warm: Warm | None, tolerance: float
) -> Found:
    """Return the evaluation of one policy (S, A), gamma < 1, on one instance: rewards (S, A), first states (S,)."""
    p = transitions(problem)
    gamma = problem.discount
    probs, reward, start = np.ascontiguousarray(probs), np.ascontiguousarray(reward), np.ascontiguousarray(start)
    mean = np.einsum("sa,sa->s", probs, reward)
    w = np.zeros(problem.n_states) if warm is None else warm.values - midpoint(warm.values)
    # visits carry weight 1/(1-gamma) in all
    d = np.zeros(problem.n_states) if warm is None or warm.visits is None else warm.visits.copy()
    if p.dense is not None:
        method = _solve_dense(p.dense, probs, mean, start, gamma, w, d, tolerance)
    else:
        method = SparseChain(p, probs, mean, gamma, tolerance).solve(w, d, start)
    return _certify(p, probs, reward, gamma, w, d, method)


def _certify(
    p: Transitions, probs: FloatArray, reward: FloatArray, gamma: float, w: FloatArray, d: FloatArray, method: str
) -> Found:
    r"""Return values w + m / (1 - gamma) and their error from g = r_pi + gamma P_pi w - w, whatever w is.

    V - w = (I - gamma P_pi)^{-1} g, and that inverse is non-negative with row sums 1/(1-gamma): with g in [m - h, m
    + h] the error is h / (1-gamma). Added to it: the rounding of g, sums of n products carrying n u of the terms'
    absolute sum (Higham 2002, section 3.1), here at most ``|r| + 2 |w|`` with w centred; the change m gamma delta /
    (1-gamma)^2 of the row sums if rows of P_pi miss 1 by delta; the rounding of the result.
    """
    from rebel_theory.kernels.chains import q_csr, q_dense

    w -= midpoint(w)
    q, g = np.empty(probs.shape), np.empty(w.shape)
    if p.dense is not None:
        low, high, off = q_dense(p.dense, probs, reward, gamma, w, q, g)
    else:
        low, high, off = q_csr(p.data, p.indices, p.indptr, probs, reward, gamma, w, q, g)
    n_actions = probs.shape[1]
    middle, half = 0.5 * (low + high), 0.5 * (high - low)
    hidden = 1.01 * (p.longest + n_actions + 8) * _UNIT * (float(np.abs(reward).max()) + 2 * float(np.abs(w).max()))
    delta = (1 + p.deviation) * (1 + off + n_actions * _UNIT) - 1
    left = 1 - gamma * (1 + delta)
    shift = middle / (1 - gamma)
    values = w + shift
    error = (half + hidden) / left + abs(middle) * gamma * delta / ((1 - gamma) * left) if left > 0 else math.inf
    error += 4 * _UNIT * (abs(shift) + float(np.abs(w).max()))
    q += gamma * shift
    return Found(values, q, np.maximum(d, 0.0), error, method)


def _solve_dense(
    transition: FloatArray, probs: FloatArray, mean: FloatArray, start: FloatArray, gamma: float, w: FloatArray,
    d: FloatArray, tolerance: float,
) -> str:  # fmt: skip
    """Improve w and d in place by sweeps if the chain mixes fast, by LAPACK otherwise; return which."""
    from rebel_theory.kernels.chains import mix_dense, sweep_dense

    s = w.size
    p_pi = _scratch(s)
    mix_dense(probs, transition, p_pi)
    if sweep_dense(p_pi, mean, start, gamma, tolerance, w, d, np.empty(s), np.empty(s), int(_LU_SWEEPS * s)):
        return "sweeps"
    from scipy.linalg import lu_factor, lu_solve

    matrix = np.eye(s) - gamma * p_pi
    factors = lu_factor(matrix.T, overwrite_a=True, check_finite=False)  # in place: the transpose is LAPACK's order
    w[:] = lu_solve(factors, mean, trans=1, check_finite=False)
    d[:] = lu_solve(factors, start, check_finite=False)
    return "lu"


def _scratch(n: int) -> FloatArray:
    """Return this thread's (n, n) work array: fresh memory would cost as much as filling it."""
    held = getattr(_SCRATCH, "square", None)
    if held is None or held.shape[0] != n:
        held = _SCRATCH.square = np.empty((n, n))
    square: FloatArray = held
    return square
