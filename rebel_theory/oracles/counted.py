"""The law of sampled feedback through counts: exact in distribution, at a cost that does not depend on n.

N i.i.d. pairs enter a regression only through how often each cell (x, y, y') occurs and the sum of what was
observed there. Both have known laws: multinomial counts, then binomial, normal or multinomial sums. They are
drawn directly; :class:`rebel_theory.Sampled` draws the same law pair by pair.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from rebel_theory.arrays import FloatArray
from rebel_theory.feedback import Feedback
from rebel_theory.oracles.base import BoundOracle, Oracle, States, check_states
from rebel_theory.oracles.comparisons import Comparisons, count_comparisons
from rebel_theory.oracles.counted_laws import law_of, normal
from rebel_theory.oracles.sampled import check_opponents, check_whole
from rebel_theory.oracles.samplers import Opponents
from rebel_theory.pairs import PairCounts, Pairs
from rebel_theory.policies import Base, Policy
from rebel_theory.problems import Problem
from rebel_theory.problems.base import InvalidProblemError

LARGEST_COUNT = 10**15  # below 2^53 / 2: counts and their sums are exact in double precision


@dataclass(frozen=True, slots=True, eq=False)
class Counted(Oracle):
    """The law of ``Sampled(n_pairs)`` drawn as counts, for n_pairs up to 10^15 at one cost.

    Bandits with any noise that can draw a sum, preference games, and MDPs (tabular, linear, finite horizon), whose
    roll-outs are moved through the transition table as populations, and one by one where few are left.

    Parameters
    ----------
    n_pairs : int from 1 to 10^15
    opponents : "shared" or "separate"
        Of a preference game: one y'' ~ pi met by both answers of a pair, or one each; see :class:`Sampled`.
    states : "occupancy", or an array of shape (S,)
        Where rows are drawn from: d_pi, or a restart distribution nu ((H, S) for a finite horizon).

    Raises
    ------
    InvalidProblemError
        If an argument is none of these, or does not fit the problem.
    """

    n_pairs: int
    opponents: Opponents = "shared"
    states: States = "occupancy"

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_pairs", check_whole("Counted", "n_pairs", self.n_pairs))
        if self.n_pairs > LARGEST_COUNT:
            message = f"n_pairs is {self.n_pairs}, expected at most {LARGEST_COUNT:.0e}: counts beyond are not exact"
            raise InvalidProblemError("Counted", [message])
        check_opponents("Counted", self.opponents)
        object.__setattr__(self, "states", check_states("Counted", self.states))

    def bind(self, problem: Problem, rngs: list[Generator]) -> BoundOracle:
        """Return the counting oracle of a problem, one stream a seed."""
        return BoundCounted(problem, rngs, self)


class BoundCounted(BoundOracle):
    """Counts and sums drawn afresh a call, one seed at a time."""

    def __init__(self, problem: Problem, rngs: list[Generator], oracle: Counted) -> None:
        super().__init__(problem, oracle.states)
        if problem.batch_shape:
            raise ValueError(
                f"Counted observes one instance, this problem is a batch of shape {problem.batch_shape}: "
                "bind problem.instance(place); run() does so for every place"
            )
        self._rngs, self._n = rngs, oracle.n_pairs
        self._law = law_of(problem, oracle.opponents)
        self._queries = np.zeros(len(rngs))

    @property
    def queries(self) -> FloatArray:
        """Rewards or comparisons observed so far, shape (n_seeds,)."""
        return self._queries.copy()

    def _per_seed(self, array: FloatArray, trailing: int) -> FloatArray:
        return np.broadcast_to(array, (len(self._rngs), *array.shape[array.ndim - trailing :]))

    def pairs(self, policy: Policy, base: Base) -> Pairs:
        """Return counts and mean relative rewards of ``n_pairs`` pairs a seed."""
        rho = self._per_seed(self.sampling_weights(policy), 1)
        pi = self._per_seed(policy.probs, 2)
        mu = self._per_seed(np.exp(base.log_base(policy, self.problem)), 2)
        k, s, a = pi.shape
        counts, sums = np.empty((k, s, a, a)), np.empty((k, s, a, a))
        for i, rng in enumerate(self._rngs):
            n_x = rng.multinomial(self._n, normal(rho[i]))
            n_xy = rng.multinomial(n_x, normal(pi[i]))  # (S, A)
            n_xyy = rng.multinomial(n_xy, normal(mu[i])[:, None, :])  # (S, A, A)
            total, seen = self._law.pairs(rng, pi[i], n_xyy)
            counts[i], sums[i] = n_xyy, total
            self._queries[i] += seen
        return PairCounts(counts, sums)

    def feedback(self, policy: Policy) -> Feedback:
        """Return plug-in feedback from 2 n_pairs single actions y ~ pi a seed; unsampled cells get the row's mean."""
        rho = self._per_seed(self.sampling_weights(policy), 1)
        pi = self._per_seed(policy.probs, 2)
        counts, totals = np.empty(pi.shape), np.empty(pi.shape)
        for i, rng in enumerate(self._rngs):
            n_x = rng.multinomial(2 * self._n, normal(rho[i]))
            n_xy = rng.multinomial(n_x, normal(pi[i]))
            totals[i], seen = self._law.singles(rng, pi[i], n_xy)
            counts[i] = n_xy
            self._queries[i] += seen
        return Feedback.from_sums(counts, totals)

    def comparisons(self, policy: Policy, law: Policy) -> Comparisons:
        """Return the counts of 2 n_pairs comparisons of answers of ``law`` a seed."""
        rho, nu = self._per_seed(self.sampling_weights(policy), 1), self._per_seed(law.probs, 2)
        found = count_comparisons(self.problem, self._rngs, rho, nu, 2 * self._n)
        self._queries += 2 * self._n
        return found
