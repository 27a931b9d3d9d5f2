"""What an oracle is: immutable, bound to a problem and to one stream a seed by a run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from rebel_theory.advantages import Advantages, Baseline
from rebel_theory.arrays import BoolArray, FloatArray
from rebel_theory.feedback import Feedback
from rebel_theory.oracles.comparisons import Comparisons
from rebel_theory.pairs import FactorisedPairs, Pairs
from rebel_theory.policies import Base, Policy
from rebel_theory.problems import ContextualBandit, Game, Problem
from rebel_theory.problems.base import ROW_SUM_TOLERANCE, InvalidProblemError, checking, normalised
from rebel_theory.solvers.evaluation import Evaluation, Start, evaluate_rows
from rebel_theory.solvers.feedback import reachable_rows, visited_rows
from rebel_theory.solvers.linear_systems import spread

States: TypeAlias = "str | ArrayLike"


class Oracle(ABC):
    """How a problem is observed; immutable, :meth:`bind` gives the working object of one run."""

    @abstractmethod
    def bind(self, problem: Problem, rngs: list[Generator]) -> BoundOracle:
        """Return the oracle of one problem with one generator a seed."""


class BoundOracle(ABC):
    """An oracle at work: exact quantities for the record, and what the algorithm may see.

    ``states`` says where rows are drawn from: "occupancy" (or another name whose law is d_pi), or a restart
    distribution nu of shape ``problem.row_shape``.
    """

    def __init__(self, problem: Problem, states: States = "occupancy") -> None:
        self.problem = problem
        self._restart = None if isinstance(states, str) else _restart_rows(problem, states)
        self._reachable = reachable_rows(problem) if self._restart is None else self._restart > 0
        self._known: list[tuple[Policy, Evaluation]] = []  # the latest last

    def evaluate(self, policy: Policy) -> Evaluation:
        """Return the exact evaluation of a policy (rows form), computed once a policy."""
        for known, found in self._known:
            if known is policy:
                return found
        warm = Start.at(self._known[-1][1]) if self._known else None  # of the policy before
        found = evaluate_rows(self.problem, policy.probs, "auto", warm)
        # two: a step may ask about one policy on the way, and the record about the one that it started from
        self._known = [*self._known[-1:], (policy, found)]
        return found

    def sampling_weights(self, policy: Policy) -> FloatArray:
        """Return the law of the sampled rows (..., S): d_pi, or the restart distribution nu."""
        fixed = self._restart
        if fixed is None and isinstance(self.problem, ContextualBandit | Game):
            fixed = self.problem.context_dist  # without an evaluation
        if fixed is None:
            return self.evaluate(policy).occupancy
        return np.broadcast_to(fixed, np.broadcast_shapes(fixed.shape, policy.log_probs.shape[:-1]))

    def _weights(self, found: Evaluation) -> FloatArray:
        return found.occupancy if self._restart is None else np.broadcast_to(self._restart, found.occupancy.shape)

    def _visited(self, policy: Policy, found: Evaluation) -> BoolArray:
        if self._restart is not None or policy.full_support:
            return self._reachable
        return visited_rows(self.problem, found, policy.log_probs > -np.inf)

    def exact_feedback(self, policy: Policy) -> Feedback:
        """Return the exact feedback under the law of the sampled rows, whatever the algorithm is shown."""
        found = self.evaluate(policy)
        weights = self._weights(found)
        return Feedback(
            weights=weights,
            signal=found.q_values,
            visited=spread(self._visited(policy, found), weights.shape),
        )

    def exact_pairs(self, policy: Policy, base: Base) -> FactorisedPairs:
        """Return the population of pairs x ~ d_pi (or nu), y ~ pi, y' ~ mu."""
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

    def comparisons(self, policy: Policy, law: Policy) -> Comparisons:
        """Return direct comparisons of answers y, y' ~ ``law`` in the rows that ``policy`` meets; games only.

        Raises
        ------
        TypeError
            For an oracle that has none.
        """
        raise TypeError(f"{type(self).__name__} compares no answers directly: use Sampled(n_pairs) or Exact()")

    def advantages(self, policy: Policy, baseline: Baseline) -> Advantages:
        """Return advantages by cell from single answers of the policy.

        Raises
        ------
        TypeError
            For an oracle that has none.
        """
        raise TypeError(f"{type(self).__name__} has no answers one by one: use Sampled(n_pairs) or Exact()")


def check_states(what: str, states: States, names: tuple[str, ...] = ("occupancy",)) -> States:
    """Return where rows are drawn from: one of ``names``, or a restart distribution as a read-only array.

    Raises
    ------
    InvalidProblemError
        For another name, or an array that is not a distribution over all its entries; :class:`BoundOracle` checks
        its shape against the problem.
    """
    choices = ", ".join(f'"{name}"' for name in names)
    if isinstance(states, str):
        if states not in names:
            raise InvalidProblemError(what, [f"states is {states!r}: use {choices} or a restart distribution (S,)"])
        return states
    with checking(what) as checks:
        nu = checks.array("states", states, f"{choices} or the probabilities of a restart distribution (S,)")
        axes = ("h", "s") if nu.ndim == 2 else ("s",)
        if checks.require(nu.ndim in (1, 2), f"states has shape {nu.shape}, expected (S,), or (H, S) with a horizon"):
            checks.finite("states", nu, axes)
            checks.entries(nu < 0, "states", axes, nu, "is {value}, expected a probability in [0, 1]: remove the sign")
            total = float(nu.sum())
            if np.isfinite(total):
                message = f"states sums to {total:.10g}, expected 1 (within 1e-8): normalise the distribution"
                checks.require(abs(total - 1) <= ROW_SUM_TOLERANCE, message)
    return nu


def _restart_rows(problem: Problem, states: ArrayLike) -> FloatArray:
    """Return nu as rows (S,), after checking its shape against the problem."""
    nu, shape = np.asarray(states, dtype=np.float64), problem.row_shape
    with checking("states") as checks:
        axes = "one probability per step and state" if len(shape) == 2 else "one probability per row"
        checks.require(nu.shape == shape, f"states has shape {nu.shape}, expected {shape}: {axes} of this problem")
    return normalised(nu.reshape(-1))


def seed_streams(seed: int, n_seeds: int, name: str = "run", first: int = 0) -> list[Generator]:
    """Return the generators of seeds ``first`` on; the stream of seed i depends on (name, seed, i) only."""
    key = [int.from_bytes(name.encode()[:8].ljust(8), "little")]
    return [np.random.default_rng(np.random.SeedSequence([seed, i, *key])) for i in range(first, first + n_seeds)]
