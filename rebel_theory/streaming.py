"""Exact iterations on linear MDPs of any size: one pass over the features each, nothing of size S x A is stored."""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.algorithms import Algorithm, MirrorDescent, NaturalPolicyGradient, Rebel
from rebel_theory.algorithms.mirror_maps import KLMap, as_mirror_map
from rebel_theory.arrays import FloatArray
from rebel_theory.blas import one_blas_thread
from rebel_theory.policies import PseudoInverse
from rebel_theory.problems import InvalidProblemError, LinearMDP

_BLOCK = 128  # states worked on together: their features stay in the second-level cache
_SEGMENTS = 64  # partial sums over the states, whatever the number of threads: the same digits on every machine
_EXPONENT = 600.0  # logits below need no shift: neither their exponentials nor sums of them overflow
_UNIT = np.finfo(np.float64).eps / 2
_IMPROVEMENTS = 200


@dataclass(frozen=True, slots=True, eq=False)
class LinearPath:
    """A run in parameter space: iterate t is the log-linear policy pi(a|s) proportional to exp(phi(s, a) . theta_t).

    Attributes
    ----------
    algorithm : str
    theta : shape (T + 1, d)
        ``LogLinearPolicy(problem.features, theta[t])`` is the iterate as a policy object.
    weights : shape (T + 1, d)
        w_t with Q^{pi_t} = phi . w_t.
    objective : shape (T + 1,)
        V^{pi_t}(rho).
    gap : shape (T + 1,)
        J* - J(pi_t), J* from policy iteration by the same passes.
    error_bound : float
        Certified bound on the sup-norm error of every V^{pi_t}, hence on ``objective``; it grows with theta, whose
        logits are rounded relatively.
    gap_error : float
        Bound on the error of ``gap``.
    """

    algorithm: str
    theta: FloatArray
    weights: FloatArray
    objective: FloatArray
    gap: FloatArray
    error_bound: float
    gap_error: float


def stream(
    problem: LinearMDP,
    algorithm: Algorithm,
    *,
    n_iterations: int,
    theta: ArrayLike | None = None,
    n_threads: int | None = None,
) -> LinearPath:
    r"""Return the path of exact updates of a log-linear policy on a linear MDP's own features.

    There :math:`Q^\pi = \phi w` lies in the policy's class, so one step is
    :math:`\theta_{t+1} = \theta_t + \eta w_t` for REBEL with any base of full support (the regression
    is solved without error), for the natural gradient (the
    compatible regression of Q is solved by w) and for KL mirror descent (its target is in the class), up to directions
    of theta that leave every policy as it is. With :math:`M_\pi = \sum_s m(s) \phi_\pi(s)^\top`,
    :math:`(I - \gamma M_\pi) w = \theta_r`: one pass over phi and m an iteration (theory notes, section 7).

    Parameters
    ----------
    problem : LinearMDP
        One instance; its features may be a ``np.memmap``, in single or double precision.
    algorithm : Rebel, NaturalPolicyGradient or MirrorDescent with one step size
    n_iterations : int >= 0
    theta : shape (d,), optional
        The first parameters, 0 (the uniform policy) by default.
    n_threads : int, optional
        All cores of this process by default; the digits do not depend on it.

    Raises
    ------
    InvalidProblemError
        For batches, and for algorithms whose exact step is another one.

    Examples
    --------
    One state, two actions with rewards 1 and 0, features one-hot; w = (1 + gamma V, gamma V), V = 1/2 / (1 - 1/2):

    >>> problem = LinearMDP(np.eye(2)[None], np.ones((2, 1)), [1.0, 0.0], discount=0.5)
    >>> path = stream(problem, Rebel(np.log(3.0)), n_iterations=1)
    >>> path.weights[0].round(12).tolist(), path.gap.round(12).tolist()
    ([1.5, 0.5], [1.0, 0.5])
    """
    eta = _step_size(problem, algorithm)
    if int(n_iterations) != n_iterations or n_iterations < 0:
        raise InvalidProblemError("stream", [f"n_iterations is {n_iterations}, expected an integer >= 0"])
    start = np.zeros(problem.n_features) if theta is None else np.array(theta, dtype=np.float64)
    if start.shape != (problem.n_features,) or not np.isfinite(start).all():
        raise InvalidProblemError("stream", [f"theta is {theta!r}, expected {problem.n_features} finite numbers"])
    with one_blas_thread(with_scipy=False), _Passes(problem, n_threads) as passes:
        thetas, weights, objective, bound = [start], [], [], 0.0
        for t in range(n_iterations + 1):
            w, value, error = passes.evaluate(thetas[t], greedy=False)
            weights.append(w)
            objective.append(value)
            bound = max(bound, error)
            if t < n_iterations:
                thetas.append(thetas[t] + eta * w)
        best, best_error = passes.optimum(weights[-1])
    return LinearPath(
        algorithm=algorithm.name,
        theta=np.array(thetas),
        weights=np.array(weights),
        objective=np.array(objective),
        gap=best - np.array(objective),
        error_bound=bound,
        gap_error=bound + best_error,
    )


def _step_size(problem: LinearMDP, algorithm: Algorithm) -> float:
    problems = []
    known = isinstance(algorithm, Rebel | NaturalPolicyGradient | MirrorDescent)
    if isinstance(algorithm, NaturalPolicyGradient):
        known = isinstance(algorithm.solver, PseudoInverse)
    if isinstance(algorithm, MirrorDescent):
        known = isinstance(as_mirror_map(algorithm.mirror_map), KLMap)
    if not known:
        problems.append(f"{algorithm!r} has another exact step than theta + eta w: use rt.run with a LogLinearPolicy")
    if algorithm.eta.ndim:
        problems.append(f"step_size has shape {algorithm.eta.shape}, expected a number: stream them one by one")
    if problem.batch_shape:
        problems.append(f"the problem is a batch of shape {problem.batch_shape}: stream its instances one by one")
    if problems:
        raise InvalidProblemError("stream", problems)
    return float(algorithm.eta)


class _Passes:
    """Passes over one problem's features, segment by segment on a pool of threads."""

    def __init__(self, problem: LinearMDP, n_threads: int | None) -> None:
        from rebel_theory.kernels.features import scan_features

        self._problem = problem
        self._phi = problem.features.reshape(-1, problem.n_features)  # (S * A, d), a view
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._n_threads = cores if n_threads is None else n_threads
        step = -(-problem.n_states // (_SEGMENTS * _BLOCK)) * _BLOCK  # whole blocks
        self._cuts = [*range(0, problem.n_states, step), problem.n_states]
        self._largest = np.empty(problem.n_features)  # max |phi_i|
        _, self._off = scan_features(self._phi, problem.measures.sum(axis=-1, dtype=np.float64), self._largest)
        self._totals = np.abs(problem.measures).sum(axis=-1, dtype=np.float64)  # sum_s |m_i(s)|

    def __enter__(self) -> _Passes:
        self._pool = ThreadPoolExecutor(self._n_threads)
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def evaluate(self, theta: FloatArray, *, greedy: bool) -> tuple[FloatArray, float, float]:
        """Return (w, V(rho), certified error of V) of the softmax of phi . theta, or of its greedy policy."""
        from rebel_theory.kernels.features import linear_pass

        problem, d = self._problem, self._problem.n_features
        n = len(self._cuts) - 1
        largest = float(self._largest @ np.abs(theta))  # bounds every logit
        bounded = largest <= _EXPONENT
        kernels, starts = np.empty((n, d, d)), np.empty((n, d))

        def one(i: int) -> None:
            linear_pass(
                self._phi, problem.measures, problem.initial_dist, theta, greedy, bounded, self._cuts[i],
                self._cuts[i + 1], _BLOCK, kernels[i], starts[i],
            )  # fmt: skip

        list(self._pool.map(one, range(n)))
        kernel, start = kernels.sum(axis=0), starts.sum(axis=0)
        gamma, reward = problem.discount, problem.reward_weights
        w = np.linalg.solve(np.eye(d) - gamma * kernel, reward)
        rough = 0.0 if greedy else min(2.0, math.expm1(min(1.0, 2 * self._rounding(largest))))
        return w, float(start @ w), self._error(kernel, w, rough)

    def _rounding(self, largest: float) -> float:
        """Return a bound on the error of phi . theta for sum_i max |phi_i theta_i| = ``largest``, less its maximum."""
        return 1.01 * (self._problem.n_features + 3) * _UNIT * largest

    def _error(self, kernel: FloatArray, w: FloatArray, rough: float) -> float:
        """Return a bound on |V - phi_pi . w|: the residual of V = r_pi + gamma P_pi V seen through the features.

        The residual is phi_pi . (theta_r + gamma M w - w). Rounding of M, each within n u of the absolute terms
        (Higham 2002, section 3.1): sums in a block, over blocks, over segments, and the mean (exponentials within 6 u
        above and below the line, two sums over actions, quotient and products). ``rough`` bounds what the error of the
        logits does to pi, relatively. The objective is a sum over states of its own, with the same errors.
        """
        gamma, reward = self._problem.discount, np.abs(self._problem.reward_weights)
        n = _BLOCK + (self._cuts[1] - self._cuts[0]) // _BLOCK + _SEGMENTS + 2 * self._problem.n_actions + 16
        size = float(self._largest @ np.abs(w))
        hidden = (1.01 * n * _UNIT + rough) * self._totals * size
        seen = np.abs(self._problem.reward_weights + gamma * (kernel @ w) - w)
        seen += (w.size + 4) * _UNIT * (reward + gamma * (np.abs(kernel) @ np.abs(w)) + np.abs(w))
        left = 1 - gamma * (1 + self._off + 2 * w.size * _UNIT * float(self._largest @ self._totals))
        if left <= 0:
            return float("inf")
        own = (1.01 * (n + w.size) * _UNIT + rough) * size
        return float(float(self._largest @ (seen + gamma * hidden)) / left + own)

    def optimum(self, w: FloatArray) -> tuple[float, float]:
        """Return (J*, its error) by policy iteration from the greedy policy of phi . w.

        If w' are the weights of the policy greedy for w, an evaluation before, then V* - V' is at most
        max |phi . (w' - w)| / (1 - gamma), since T V' <= T V + max |phi . (w' - w)| and T V <= V'; the latter up to
        e / (1 - gamma) for a choice that rounding may leave e below the best.
        """
        gamma = self._problem.discount
        w, value, error = self.evaluate(w, greedy=True)
        best, best_error = value, float("inf")
        for _ in range(_IMPROVEMENTS):
            new, value, error = self.evaluate(w, greedy=True)
            missed = 2 * self._rounding(float(self._largest @ np.abs(w))) / (1 - gamma)
            found = (float(self._largest @ np.abs(new - w)) + missed + (3 - gamma) * error) / (1 - gamma)
            if found >= best_error:  # at rounding
                break
            best, best_error = value, found
            if (new == w).all():
                break
            w = new
        return best, best_error
