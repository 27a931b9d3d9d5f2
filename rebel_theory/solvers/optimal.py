"""Optimal values and policies, with a certificate: policy iteration, backward induction, argmax."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import singledispatch
from typing import Any

import numpy as np

from rebel_theory.arrays import FloatArray, expectation
from rebel_theory.problems import ContextualBandit, FiniteHorizonMDP, LinearMDP, Problem, TabularMDP
from rebel_theory.solvers.evaluation import Evaluation, Start, evaluate_rows, q_from_values
from rebel_theory.solvers.linear_systems import SMALL, rounding
from rebel_theory.solvers.span_iteration import span_iteration
from rebel_theory.solvers.transitions import transitions

_MAX_IMPROVEMENTS = 10_000
_TIE = 1e-13  # relative: an action must beat the present one by more than rounding, or iteration could cycle
_NEAR = 1e-11  # relative error of the values whose greedy policy starts policy iteration on a large MDP


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """Optimal quantities, leading axes as the problem's batch.

    Attributes
    ----------
    values : shape (..., S)
        V*, as ``q_values.max(-1)`` to the last digit.
    q_values : shape (..., S, A)
        Q*.
    policy : shape (..., S, A)
        An optimal deterministic policy (one-hot; the first of equally good actions). For a bandit, uniform
        over the best arms, the maximiser nearest to the uniform policy.
    objective : shape (...)
        V*(rho).
    error_bound : float
        Certified bound on ``max |V* - values|``: the Bellman residual times 1/(1-gamma), or times the longest
        expected time to termination when gamma = 1.
    n_improvements : int
        Policy-improvement steps taken.
    """

    values: FloatArray
    q_values: FloatArray
    policy: FloatArray
    objective: FloatArray
    error_bound: float
    n_improvements: int = 0


def solve(problem: Problem, *, tolerance: float | None = None) -> Solution:
    r"""Return optimal values and an optimal policy with a certified error.

    Discounted, episodic and linear MDPs by policy iteration (Howard 1960), finite horizons by backward
    induction, bandits by argmax. The certificate is the Bellman residual
    :math:`\|TV - V\|_\infty`, which bounds the error by :math:`\|TV - V\|_\infty / (1-\gamma)`.

    Parameters
    ----------
    problem : Problem
    tolerance : float > 0, optional
        An error of the values that is good enough: a discounted tabular MDP is then solved by modified policy iteration
        stopped by the span of the last change, to an ``error_bound`` of at most ``tolerance``. By default, and where
        the tolerance is below rounding, policy iteration goes on until no change improves.

    Raises
    ------
    ValueError
        If ``tolerance`` is not positive.
    TypeError
        For a preference game, whose solution is :func:`rebel_theory.von_neumann_winner`.

    Examples
    --------
    >>> import rebel_theory as rt
    >>> solution = rt.solve(rt.ContextualBandit([[0.2, 0.7], [0.4, 0.1]]))
    >>> solution.values, round(float(solution.objective), 2)
    (array([0.7, 0.4]), 0.55)
    """
    if tolerance is not None and not tolerance > 0:
        raise ValueError(f"tolerance is {tolerance}, expected a number > 0: leave it out for policy iteration")
    rows = _to_tolerance(problem, tolerance) if tolerance is not None and isinstance(problem, TabularMDP) else None
    rows = solve_rows(problem) if rows is None else rows
    return replace(
        rows,
        values=problem.from_rows(rows.values, 0),
        q_values=problem.from_rows(rows.q_values),
        policy=problem.from_rows(rows.policy),
    )


@singledispatch
def solve_rows(problem: Any) -> Solution:
    """Return the solution with state axes flattened to rows."""
    raise TypeError(
        f"solve() takes bandits and MDPs, not {type(problem).__name__}: for a PreferenceGame use von_neumann_winner()"
    )


@solve_rows.register
def _(problem: ContextualBandit) -> Solution:
    values = problem.reward.max(axis=-1)
    best = (problem.reward == values[..., None]).astype(np.float64)
    return Solution(
        values=values,
        q_values=problem.reward,
        policy=best / best.sum(axis=-1, keepdims=True),
        objective=expectation(problem.context_dist, values),
        error_bound=0.0,
    )


@solve_rows.register
def _(problem: FiniteHorizonMDP) -> Solution:
    h, s, a = problem.policy_shape
    lead = problem.batch_shape
    q = np.empty((*lead, h, s, a))
    value = np.zeros((*lead, s))
    for step in reversed(range(h)):
        nxt = np.matmul(problem.transition[..., step, :, :, :], value[..., None, :, None])[..., 0]
        q[..., step, :, :] = problem.reward[..., step, :, :] + nxt
        value = q[..., step, :, :].max(axis=-1)
    q = q.reshape(*lead, h * s, a)
    return Solution(
        values=q.max(axis=-1),
        q_values=q,
        policy=_one_hot(q.argmax(axis=-1), a),
        objective=expectation(problem.initial_dist, value),
        error_bound=h * rounding(s, problem.reward, q),
    )


@solve_rows.register
def _(problem: LinearMDP) -> Solution:
    found, actions, steps = _policy_iteration(problem)
    q = found.q_values
    residual = float(np.abs(q.max(axis=-1) - found.values).max())
    return Solution(
        values=q.max(axis=-1),
        q_values=q,
        policy=_one_hot(actions, problem.n_actions),
        objective=found.objective,
        error_bound=residual / (1 - problem.discount) + found.error_bound,
        n_improvements=steps,
    )


@solve_rows.register
def _(problem: TabularMDP) -> Solution:
    found, actions, steps = _policy_iteration(problem)
    q = found.q_values
    values = q.max(axis=-1)
    residual = float(np.abs(q_from_values(problem, values).max(axis=-1) - values).max())
    longest = transitions(problem).longest if _iterates(problem) else problem.n_states
    residual += rounding(longest, problem.reward, values)
    return Solution(
        values=values,
        q_values=q,
        policy=_one_hot(actions, problem.n_actions),
        objective=expectation(problem.initial_dist, values),
        error_bound=residual * _longest_time(problem),
        n_improvements=steps,
    )


def _to_tolerance(problem: TabularMDP, tolerance: float) -> Solution | None:
    """Return the solution by span-stopped modified policy iteration, None where that does not reach the tolerance."""
    if not _iterates(problem):
        return None
    found = span_iteration(problem, tolerance)
    values = np.take_along_axis(found.q_values, found.actions[:, None], axis=-1)[:, 0]  # the largest
    longest = transitions(problem).longest
    bound = problem.discount * found.error_bound + rounding(longest, problem.reward, values)
    if not bound <= tolerance:
        return None
    return Solution(
        values=values,
        q_values=found.q_values,
        policy=_one_hot(found.actions, problem.n_actions),
        objective=expectation(problem.initial_dist, values),
        error_bound=bound,
        n_improvements=found.n_improvements,
    )


def _iterates(problem: TabularMDP) -> bool:
    """Return whether span iteration applies: one discounted instance."""
    return problem.discount < 1.0 and problem.batch_shape == () and (problem.is_sparse or problem.transition.ndim == 3)


def _longest_time(problem: TabularMDP) -> float:
    """Return the factor from Bellman residual to error: 1/(1-gamma), or the longest expected time to the end."""
    if problem.discount < 1.0:
        return 1.0 / (1.0 - problem.discount)
    ticking = np.where(problem.absorbing[..., None], 0.0, np.ones(problem.reward.shape))
    clock = TabularMDP(problem.transition, ticking, discount=1.0, initial_dist=problem.initial_dist)
    found, _, _ = _policy_iteration(clock)
    return float(found.values.max())


def _policy_iteration(problem: TabularMDP | LinearMDP) -> tuple[Evaluation, Any, int]:
    """Return the evaluation of a policy that no single change improves, its actions (..., S), and the steps."""
    shape = (*problem.batch_shape, problem.n_rows)
    actions, warm, iterated = np.zeros(shape, dtype=np.int64), None, False
    if isinstance(problem, TabularMDP) and problem.n_states > SMALL and _iterates(problem):
        near = span_iteration(problem, _NEAR * float(np.abs(problem.reward).max()) / (1 - problem.discount))
        actions, warm, iterated = near.actions, Start(near.values, None), True
    for step in range(_MAX_IMPROVEMENTS):
        found = evaluate_rows(problem, _one_hot(actions, problem.n_actions), "auto", warm)
        warm = Start.at(found) if iterated else None
        q = found.q_values
        present = np.take_along_axis(q, actions[..., None], axis=-1)[..., 0]
        best = q.max(axis=-1)
        scale = np.abs(q).max() + 1e-300
        better = best > present + (2 * found.error_bound if iterated else _TIE * scale)
        if not better.any():
            return found, actions, step
        actions = np.where(better, q.argmax(axis=-1), actions)
    raise RuntimeError(f"policy iteration did not settle in {_MAX_IMPROVEMENTS} improvements: please report the MDP")


def _one_hot(actions: Any, n_actions: int) -> FloatArray:
    result: FloatArray = np.eye(n_actions)[actions]
    return result
