"""Which rows a policy meets, sub-optimality gaps and comparators: where problems differ."""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from rebel_theory.arrays import BoolArray, FloatArray
from rebel_theory.problems import FiniteHorizonMDP, Game, LowRankGame, PreferenceGame, Problem, TabularMDP
from rebel_theory.solvers.evaluation import Evaluation, evaluate_rows
from rebel_theory.solvers.optimal import solve_rows

_LP_ACTIONS = 400


@singledispatch
def reachable_rows(problem: Any) -> BoolArray:
    """Return the mask (..., rows) of rows that a policy with full support meets, in exact arithmetic."""
    uniform = np.full((problem.n_rows, problem.n_actions), 1.0 / problem.n_actions)
    mask: BoolArray = evaluate_rows(problem, uniform).occupancy > 0
    return mask


@reachable_rows.register
def _(problem: TabularMDP) -> BoolArray:
    return problem.reachable  # by search: far states' weights underflow


@reachable_rows.register
def _(problem: FiniteHorizonMDP) -> BoolArray:
    flat: BoolArray = problem.to_rows(problem.reachable, trailing=0)
    return flat


def visited_rows(problem: Problem, evaluation: Evaluation, support: BoolArray) -> BoolArray:
    """Return the mask (..., rows) of rows met by a policy that takes the actions ``support`` (..., rows, A) only."""
    if isinstance(problem, TabularMDP):
        return problem.visited(support)
    mask: BoolArray = evaluation.occupancy > 0  # sums of products of what is positive: no rounding around 0
    return mask


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """The comparator pi* of a run and what its gap needs.

    Attributes
    ----------
    policy : shape (..., rows, A), or None
        An optimal policy; the von Neumann winner of a game (None above 400 actions, where the linear program
        would cost more than the run).
    shortfall : shape (..., rows, A), or None for a game
        V*(s) - Q*(s, a) >= 0, the loss of playing a once and optimally after.
    weights : shape (..., rows)
        Occupancy d* of ``policy``.
    mass : shape (...)
        Total weight of d* before normalisation: 1, 1/(1-gamma), the expected length, or H.
    """

    policy: FloatArray | None
    shortfall: FloatArray | None
    weights: FloatArray
    mass: FloatArray

    def gap(self, evaluation: Evaluation, probs: FloatArray) -> FloatArray:
        """Return J* - J(pi) (...), or the duality gap of a game.

        By the performance-difference lemma J* - J(pi) = mass E_{d_pi, pi}[V* - Q*]: a sum of non-negative terms,
        so gaps far below rounding of J keep their relative accuracy.
        """
        if self.shortfall is None:
            return evaluation.objective
        loss = (probs * self.shortfall).sum(axis=-1)
        total: FloatArray = evaluation.mass * (evaluation.occupancy * loss).sum(axis=-1)
        return total


_REFERENCES: WeakKeyDictionary[Problem, Reference] = WeakKeyDictionary()  # problems are immutable


def reference(problem: Problem) -> Reference:
    """Return the comparator of a problem: its optimal policy, or the von Neumann winner of a game.

    Computed once a problem object: algorithms compared on one problem share it.
    """
    if problem not in _REFERENCES:
        _REFERENCES[problem] = _solve_reference(problem)
    return _REFERENCES[problem]


def _solve_reference(problem: Problem) -> Reference:
    if isinstance(problem, Game):
        return Reference(_winners(problem), None, problem.context_dist, np.ones(problem.batch_shape))
    best = solve_rows(problem)
    shortfall = best.q_values.max(axis=-1, keepdims=True) - best.q_values
    own = evaluate_rows(problem, best.policy)
    return Reference(best.policy, shortfall, own.occupancy, own.mass)


def _winners(problem: Game) -> FloatArray | None:
    from rebel_theory.solvers.games import von_neumann_winner

    if problem.n_actions > _LP_ACTIONS:
        return None
    if isinstance(problem, LowRankGame):
        return von_neumann_winner(problem.dense()).policy[None]
    assert isinstance(problem, PreferenceGame)
    shape = problem.preference.shape
    rows = [von_neumann_winner(PreferenceGame(p)).policy for p in problem.preference.reshape(-1, *shape[-2:])]
    return np.reshape(rows, shape[:-1])
