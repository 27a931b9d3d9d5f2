"""Exact feedback: population quantities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from rebel_theory.advantages import Advantages, Baseline, exact_advantages
from rebel_theory.arrays import FloatArray
from rebel_theory.feedback import Feedback
from rebel_theory.oracles.base import BoundOracle, Oracle, States, check_states
from rebel_theory.oracles.comparisons import Comparisons, ExactComparisons
from rebel_theory.pairs import Pairs
from rebel_theory.policies import Base, Policy
from rebel_theory.problems import Game, Problem


@dataclass(frozen=True, slots=True, eq=False)
class Exact(Oracle):
    """Population quantities: the regression over all pairs, never enumerated.

    Parameters
    ----------
    states : "occupancy" or an array of shape (S,)
        Where rows are weighted: the policy's own d_pi, or a restart distribution nu ((H, S) for a finite horizon),
        under which the recorded regression error and misfit are then meant, too.

    Raises
    ------
    InvalidProblemError
        If ``states`` is neither, or does not fit the problem.
    """

    states: States = "occupancy"

    def __post_init__(self) -> None:
        object.__setattr__(self, "states", check_states("Exact", self.states))

    def bind(self, problem: Problem, rngs: list[Generator]) -> BoundOracle:
        """Return the exact oracle of a problem."""
        return _BoundExact(problem, self.states)


class _BoundExact(BoundOracle):
    @property
    def queries(self) -> FloatArray:
        return np.zeros(1)

    def feedback(self, policy: Policy) -> Feedback:
        return self.exact_feedback(policy)

    def pairs(self, policy: Policy, base: Base) -> Pairs:
        return self.exact_pairs(policy, base)

    def comparisons(self, policy: Policy, law: Policy) -> Comparisons:
        if not isinstance(self.problem, Game):
            raise TypeError(f"a {type(self.problem).__name__} has no answers to compare: pass a preference game")
        return ExactComparisons(self.problem, self.exact_feedback(law), law.log_probs)

    def advantages(self, policy: Policy, baseline: Baseline) -> Advantages:
        return exact_advantages(self.exact_feedback(policy), policy.probs, baseline)
