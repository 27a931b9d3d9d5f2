"""What an oracle is: immutable, bound to a problem and to one stream a seed by a run."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.random import Generator

from rebel_theory.arrays import FloatArray
from rebel_theory.feedback import Feedback
from rebel_theory.pairs import FactorisedPairs, Pairs
from rebel_theory.policies import Base, Policy
from rebel_theory.problems import Problem
from rebel_theory.solvers.evaluation import Evaluation, Start, evaluate_rows
from rebel_theory.solvers.feedback import exact_feedback, reachable_rows, visited_rows


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
            warm = None if self._latest is None else Start.at(self._latest[1])  # of the iterate before
            self._latest = (policy, evaluate_rows(self.problem, policy.probs, "auto", warm))
        return self._latest[1]

    def exact_feedback(self, policy: Policy) -> Feedback:
        """Return the exact feedback, whatever the algorithm is shown."""
        found = self.evaluate(policy)
        full = policy.full_support
        return exact_feedback(
            found, self._reachable if full else visited_rows(self.problem, found, policy.log_probs > -np.inf)
        )

    def exact_pairs(self, policy: Policy, base: Base) -> FactorisedPairs:
        """Return the population of pairs x ~ d, y ~ pi, y' ~ mu."""
        exact = self.exact_feedback(policy)
        return FactorisedPairs(
            weights=exact.weights,
            log_pi=policy.log_probs,
            log_mu=self.log_base(policy, base),
            signal=exact.signal,
            visited=exact.visited,
        )

    def log_base(self, policy: Policy, base: Base) -> FloatArray:
        """Return log mu (..., rows, A), the law of the second answer under which regression errors are reported."""
        return base.log_base(policy, self.problem)

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


def seed_streams(seed: int, n_seeds: int, name: str = "run") -> list[Generator]:
    """Return one generator a seed; the stream of seed i depends on (name, seed, i) only."""
    key = [int.from_bytes(name.encode()[:8].ljust(8), "little")]
    return [np.random.default_rng(np.random.SeedSequence([seed, i, *key])) for i in range(n_seeds)]
