"""Exact policy evaluation for every kind of problem: values, Q-values, occupancy, objective."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import singledispatch
from typing import Any, Protocol, get_args, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.arrays import FloatArray, batch_products, expectation
from rebel_theory.problems import ContextualBandit, FiniteHorizonMDP, Game, LinearMDP, Problem, TabularMDP
from rebel_theory.problems.base import checking
from rebel_theory.solvers.chains import TOLERANCE, Found, Warm, evaluate_chains
from rebel_theory.solvers.feature_systems import evaluate_features
from rebel_theory.solvers.linear_systems import (
    SMALL,
    Method,
    evaluate_dense,
    evaluate_sparse,
    rounding,
    spread,
)


@runtime_checkable
class HasProbs(Protocol):
    """Anything with action probabilities: the policies of this library, or your own."""

    @property
    def probs(self) -> ArrayLike:
        """Probabilities (..., S, A)."""


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Exact quantities of one policy; leading axes follow the policy's (and the problem's) batch.

    Attributes
    ----------
    values : shape (..., S)
        V^pi (reward units). Expected reward per context for a bandit; 0 for a game (pi against itself).
    q_values : shape (..., S, A)
        Q^pi; the mean reward of a bandit; the payoff E_{y''~pi} l(y, y'') of a game.
    occupancy : shape (..., S)
        Normalised state weights d_pi, summing to 1: rho for bandits and games, (1-gamma) sum_t gamma^t P(s_t)
        for a discounted MDP, visits before termination divided by the expected length for discount 1, and
        P(s_h = s)/H for a finite horizon.
    objective : shape (...)
        Expected (total, discounted) reward from the initial distribution; the duality gap of a game.
    mass : shape (...)
        Total weight before normalisation: 1, 1/(1-gamma), the expected length, or H.
    error_bound : float
        Certified bound on the sup-norm error of ``values``, from the residual of the linear system and the rounding
        that the computed residual cannot see.
    """

    values: FloatArray
    q_values: FloatArray
    occupancy: FloatArray
    objective: FloatArray
    mass: FloatArray
    error_bound: float


def evaluate(
    problem: Problem,
    policy: ArrayLike | HasProbs,
    *,
    method: Method = "auto",
    initial_values: ArrayLike | None = None,
    tolerance: float = TOLERANCE,
) -> Evaluation:
    r"""Return the exact evaluation of a policy: V, Q, occupancy, objective.

    Parameters
    ----------
    problem : Problem
    policy : array of shape (..., S, A), or a policy object
        (H, S, A) for a finite horizon, where (S, A) means the same policy at every step.
    method : "auto", "dense", "sparse" or "iterative"
        Linear solver of a tabular MDP. ``iterative`` takes the cheapest of sweeps, Gauss-Seidel, Krylov steps, band
        and dense factorisations for the chain at hand (gamma < 1 only). ``auto`` is ``iterative`` for single MDPs above
        64 states, a dense LU for small ones and for batches, a sparse LU for large ones with gamma = 1.
    initial_values : shape (..., S), optional
        Values of a nearby policy, where iteration starts. They change the time, and the values within ``error_bound``.
    tolerance : float
        Error at which iteration stops, relative to the largest value; near rounding by default. What was reached is
        in ``error_bound``.

    Returns
    -------
    Evaluation

    Raises
    ------
    InvalidProblemError
        If a row of the policy is not a distribution, or its shape does not fit the problem.
    ValueError
        If there is no such method, or it does not apply: ``iterative`` with a discount of 1.

    Examples
    --------
    Two states, staying costs nothing and earns 1 in the right one, gamma = 1/2, so V = (0, 2):

    >>> import numpy as np, rebel_theory as rt
    >>> stay = np.eye(2)[:, None, :].repeat(2, axis=1)
    >>> mdp = rt.TabularMDP(stay, [[0, 0], [1, 1]], discount=0.5)
    >>> rt.evaluate(mdp, np.full((2, 2), 0.5)).values
    array([0., 2.])
    """
    if method not in get_args(Method):
        raise ValueError(f"method is {method!r}, expected one of {', '.join(map(repr, get_args(Method)))}")
    probs = problem.policy_rows(policy.probs if isinstance(policy, HasProbs) else policy)
    warm = None if initial_values is None else Start(_initial(problem, initial_values), None)
    found = evaluate_rows(problem, probs, method, warm, tolerance)
    return replace(
        found,
        values=problem.from_rows(found.values, 0),
        q_values=problem.from_rows(found.q_values),
        occupancy=problem.from_rows(found.occupancy, 0),
    )


def _initial(problem: Problem, values: ArrayLike) -> FloatArray:
    """Return initial values as rows (..., rows), checked."""
    with checking("evaluate") as checks:
        array = checks.array("initial_values", values, f"numbers of shape {problem.row_shape}")
        k = len(problem.row_shape)
        checks.require(
            array.shape[-k:] == problem.row_shape,
            f"initial_values has shape {array.shape}, expected (..., {', '.join(map(str, problem.row_shape))})",
        )
        checks.finite("initial_values", array, ("h", "s") if k == 2 else ("s",))
    return problem.to_rows(array, 0)


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """Where iteration starts: values (..., S), and the occupancy (..., S) if it is known, of a nearby policy."""

    values: FloatArray
    occupancy: FloatArray | None

    @classmethod
    def at(cls, found: Evaluation) -> Start:
        """Return the start at another policy's evaluation."""
        return cls(found.values, found.occupancy)


@singledispatch
def evaluate_rows(
    problem: Any,
    probs: FloatArray,
    method: Method = "auto",
    warm: Start | None = None,
    tolerance: float = TOLERANCE,
) -> Evaluation:
    """Return the evaluation with state axes flattened to rows; ``probs`` (..., rows, A) is trusted.

    ``warm`` and ``tolerance`` matter where evaluation iterates, in tabular MDPs.
    """
    raise TypeError(f"{type(problem).__name__} is not a problem: pass one of the classes in rebel_theory.problems")


@evaluate_rows.register
def _(problem: ContextualBandit, probs: FloatArray, *_options: Any) -> Evaluation:
    values: FloatArray = np.add.reduce(probs * problem.reward, axis=-1)  # (..., X); rewards are finite
    lead = values.shape[:-1]
    return Evaluation(
        values=values,
        q_values=spread(problem.reward, (*lead, *problem.reward.shape[-2:])),
        occupancy=spread(problem.context_dist, values.shape),
        objective=expectation(problem.context_dist, values),
        mass=np.ones(lead),
        error_bound=rounding(problem.n_actions, problem.reward, values),
    )


@evaluate_rows.register
def _(problem: Game, probs: FloatArray, *_options: Any) -> Evaluation:
    q = problem.payoffs_against(probs)  # (..., X, Y): E_{y''~pi} l(x, y, y'')
    gap = 2 * np.maximum(q.max(axis=-1), 0.0)  # pi against itself earns 0, so the maximum is >= 0
    objective = expectation(problem.context_dist, gap)
    return Evaluation(
        values=np.zeros(q.shape[:-1]),
        q_values=q,
        occupancy=spread(problem.context_dist, q.shape[:-1]),
        objective=objective,
        mass=np.ones(objective.shape),
        error_bound=0.0,
    )


@evaluate_rows.register
def _(
    problem: TabularMDP,
    probs: FloatArray,
    method: Method = "auto",
    warm: Start | None = None,
    tolerance: float = TOLERANCE,
) -> Evaluation:
    gamma = problem.discount
    single = problem.is_sparse or problem.transition.ndim == 3
    if gamma < 1.0 and (method == "iterative" or (method == "auto" and single and problem.n_states > SMALL)):
        near = None
        if warm is not None:
            near = Warm(warm.values, None if warm.occupancy is None else warm.occupancy / (1 - gamma))
        return _discounted(problem, evaluate_chains(problem, probs, near, tolerance))
    if problem.is_sparse or method in ("sparse", "iterative"):
        solved = evaluate_sparse(problem, probs, method)
    else:
        solved = evaluate_dense(problem, probs)
    visits = np.where(problem.absorbing, 0.0, solved.visits) if gamma == 1.0 else solved.visits  # arriving is no visit
    occupancy, mass = _normalise(visits, gamma)
    return Evaluation(
        values=solved.values,
        q_values=q_from_values(problem, solved.values),
        occupancy=occupancy,
        objective=expectation(problem.initial_dist, solved.values),
        mass=mass,
        error_bound=solved.error_bound,
    )


def _discounted(problem: TabularMDP | LinearMDP, found: Found) -> Evaluation:
    occupancy, mass = _normalise(found.visits, problem.discount)
    objective = expectation(problem.initial_dist, found.values)
    return Evaluation(found.values, found.q_values, occupancy, objective, mass, found.error_bound)


def _normalise(visits: FloatArray, gamma: float) -> tuple[FloatArray, FloatArray]:
    """Return (occupancy, mass) from discounted visits sum_t gamma^t P(s_t); absorbing states hold 0 if gamma = 1."""
    visits = np.maximum(visits, 0.0)  # rounding of the solve
    mass = visits.sum(axis=-1)
    if gamma < 1.0:
        return visits / mass[..., None], np.full(mass.shape, 1.0 / (1.0 - gamma))
    return visits / np.where(mass > 0, mass, 1.0)[..., None], mass


def q_from_values(problem: TabularMDP, values: FloatArray) -> FloatArray:
    """Return r + gamma P V, shape (..., S, A), for values (..., S)."""
    s, a = problem.n_states, problem.n_actions
    if problem.is_sparse:
        flat = values.reshape(-1, s)
        nxt = np.ascontiguousarray((problem.transition @ flat.T).T).reshape(*values.shape[:-1], s, a)
    elif problem.transition.ndim == 3:
        flat = problem.transition.reshape(1, s * a, s)  # one matrix product for the whole batch
        nxt = batch_products(values[..., None, :], np.swapaxes(flat, 1, 2)).reshape(*values.shape[:-1], s, a)
    else:
        nxt = np.matmul(problem.transition, values[..., None, :, None])[..., 0]
    result: FloatArray = problem.reward + problem.discount * nxt
    return result


@evaluate_rows.register
def _(problem: FiniteHorizonMDP, probs: FloatArray, *_options: Any) -> Evaluation:
    h, s, a = problem.policy_shape
    pi = probs.reshape(*probs.shape[:-2], h, s, a)
    lead = np.broadcast_shapes(pi.shape[:-3], problem.batch_shape)
    q = np.empty((*lead, h, s, a))
    v = np.zeros((*lead, h + 1, s))
    for step in reversed(range(h)):
        nxt = np.matmul(problem.transition[..., step, :, :, :], v[..., step + 1, None, :, None])[..., 0]
        q[..., step, :, :] = problem.reward[..., step, :, :] + nxt
        v[..., step, :] = expectation(pi[..., step, :, :], q[..., step, :, :])
    d = np.empty((*lead, h, s))
    d[..., 0, :] = problem.initial_dist
    for step in range(h - 1):
        flow = d[..., step, :, None] * pi[..., step, :, :]  # (..., S, A)
        moved = np.matmul(flow[..., None, :], problem.transition[..., step, :, :, :])  # (..., S, 1, S)
        d[..., step + 1, :] = moved[..., 0, :].sum(axis=-2)
    return Evaluation(
        values=v[..., :h, :].reshape(*lead, h * s),
        q_values=q.reshape(*lead, h * s, a),
        occupancy=(d / h).reshape(*lead, h * s),
        objective=expectation(problem.initial_dist, v[..., 0, :]),
        mass=np.full(lead, float(h)),
        error_bound=h * rounding(s + a, problem.reward, v),
    )


@evaluate_rows.register
def _(problem: LinearMDP, probs: FloatArray, *_options: Any) -> Evaluation:
    return _discounted(problem, evaluate_features(problem, probs))
