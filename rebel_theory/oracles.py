"""What is observed: exact feedback, or samples of it; an oracle is bound to a problem and to seeds by a run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from rebel_theory.arrays import FloatArray
from rebel_theory.feedback import Feedback
from rebel_theory.pairs import FactorisedPairs, Pairs
from rebel_theory.policies import Base, Policy
from rebel_theory.problems import Problem
from rebel_theory.problems.base import InvalidProblemError
from rebel_theory.solvers.evaluation import Evaluation, evaluate_rows
from rebel_theory.solvers.feedback import exact_feedback, reachable_rows


class Oracle(ABC):
    """How a problem is observed; immutable, :meth:`bind` gives the working object of one run."""

    @abstractmethod
    def bind(self, problem: Problem, rngs: list[Generator]) -> BoundOracle:
        """Return the oracle of one problem with one generator a seed."""


class BoundOracle(ABC):
    """An oracle at work: exact quantities for the record, and what the algorithm may see."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._reachable = reachable_rows(problem)
        self._latest: tuple[Policy, Evaluation] | None = None

    def evaluate(self, policy: Policy) -> Evaluation:
        """Return the exact evaluation of a policy (rows form), computed once a policy."""
        if self._latest is None or self._latest[0] is not policy:
            self._latest = (policy, evaluate_rows(self.problem, policy.probs))
        return self._latest[1]

    def exact_feedback(self, policy: Policy) -> Feedback:
        """Return the exact feedback, whatever the algorithm is shown."""
        return exact_feedback(self.evaluate(policy), self._reachable if policy.full_support else None)

    def exact_pairs(self, policy: Policy, base: Base) -> FactorisedPairs:
        """Return the population of pairs x ~ d, y ~ pi, y' ~ mu."""
        exact = self.exact_feedback(policy)
        return FactorisedPairs(
            weights=exact.weights,
            log_pi=policy.log_probs,
            log_mu=base.log_base(policy, self.problem),
            signal=exact.signal,
            visited=exact.visited,
        )

    @property
    @abstractmethod
    def queries(self) -> FloatArray:
        """Reward (or comparison) queries so far, shape (n_seeds,)."""

    @abstractmethod
    def feedback(self, policy: Policy) -> Feedback:
        """Return the feedback that the algorithm sees."""

    @abstractmethod
    def pairs(self, policy: Policy, base: Base) -> Pairs:
        """Return the regression data that the algorithm sees."""


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


@dataclass(frozen=True, slots=True)
class Sampled(Oracle):
    """A fresh sample of ``n_pairs`` pairs a iteration and seed.

    Rows x are drawn from the exact state weights d_pi, actions y ~ pi and y' ~ mu. Rewards are observed with the
    bandit's noise; Q-values of an MDP by unbiased roll-outs from resets (geometric stopping); preferences as
    binary outcomes against one shared y'' ~ pi, rescaled to l = 2 P - 1.

    Parameters
    ----------
    n_pairs : int >= 1
        Two reward queries a pair; ``feedback`` spends the same number on single actions y ~ pi.
    """

    n_pairs: int

    def __post_init__(self) -> None:
        if int(self.n_pairs) != self.n_pairs or self.n_pairs < 1:
            raise InvalidProblemError("Sampled", [f"n_pairs is {self.n_pairs}, expected an integer of at least 1"])

    def bind(self, problem: Problem, rngs: list[Generator]) -> BoundOracle:
        """Return the sampling oracle of a problem, one stream a seed."""
        from rebel_theory.sampling import BoundSampled

        return BoundSampled(problem, rngs, int(self.n_pairs))


def seed_streams(seed: int, n_seeds: int, name: str = "run") -> list[Generator]:
    """Return one generator a seed; the stream of seed i depends on (name, seed, i) only."""
    key = [int.from_bytes(name.encode()[:8].ljust(8), "little")]
    return [np.random.default_rng(np.random.SeedSequence([seed, i, *key])) for i in range(n_seeds)]
