"""Exact feedback: population quantities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from rebel_theory.arrays import FloatArray
from rebel_theory.feedback import Feedback
from rebel_theory.oracles.base import BoundOracle, Oracle
from rebel_theory.pairs import Pairs
from rebel_theory.policies import Base, Policy
from rebel_theory.problems import Problem


@dataclass(frozen=True, slots=True)
class Exact(Oracle):
    """Population quantities: the regression over all pairs, never enumerated."""

    def bind(self, problem: Problem, rngs: list[Generator]) -> BoundOracle:
        """Return the exact oracle of a problem."""
        return _BoundExact(problem)


class _BoundExact(BoundOracle):
    @property
    def queries(self) -> FloatArray:
        return np.zeros(1)

    def feedback(self, policy: Policy) -> Feedback:
        return self.exact_feedback(policy)

    def pairs(self, policy: Policy, base: Base) -> Pairs:
        return self.exact_pairs(policy, base)
