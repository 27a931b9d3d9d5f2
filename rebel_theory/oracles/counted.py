"""The law of sampled feedback through counts: exact in distribution, at a cost that does not depend on n.

N i.i.d. pairs enter a regression only through how often each cell (x, y, y') occurs and the sum of what was
observed there. Both have known laws: multinomial counts, then binomial, normal or multinomial sums. They are
drawn directly; :class:`rebel_theory.Sampled` draws the same law pair by pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch
from typing import Any, Protocol

import numpy as np
from numpy.random import Generator

from rebel_theory.arrays import FloatArray, IntArray
from rebel_theory.feedback import Feedback
from rebel_theory.oracles.base import BoundOracle, Oracle
from rebel_theory.pairs import PairCounts, Pairs
from rebel_theory.policies import Base, Policy
from rebel_theory.problems import ContextualBandit, PreferenceGame, Problem, TabularMDP
from rebel_theory.problems.base import InvalidProblemError

LARGEST_COUNT = 10**15  # below 2^53 / 2: counts and their sums are exact in double precision


@dataclass(frozen=True, slots=True)
class Counted(Oracle):
    """The law of ``Sampled(n_pairs)`` drawn as counts, for n_pairs up to 10^15 at one cost.

    Bandits with any of the library's noises, preference games (one y'' shared by both terms of a pair), and
    tabular MDPs, whose roll-outs are moved through the transition table as populations.

    Parameters
    ----------
    n_pairs : int from 1 to 10^15
    """

    n_pairs: int

    def __post_init__(self) -> None:
        if int(self.n_pairs) != self.n_pairs or not 1 <= self.n_pairs <= LARGEST_COUNT:
            raise InvalidProblemError(
                "Counted", [f"n_pairs is {self.n_pairs}, expected an integer from 1 to {LARGEST_COUNT:.0e}"]
            )

    def bind(self, problem: Problem, rngs: list[Generator]) -> BoundOracle:
        """Return the counting oracle of a problem, one stream a seed."""
        return BoundCounted(problem, rngs, int(self.n_pairs))


class BoundCounted(BoundOracle):
    """Counts and sums drawn afresh a call, one seed at a time."""

    def __init__(self, problem: Problem, rngs: list[Generator], n_pairs: int) -> None:
        super().__init__(problem)
        if problem.batch_shape:
            raise ValueError(
                f"Counted observes one instance, this problem is a batch of shape {problem.batch_shape}: "
                "run the instances one by one, or use Exact()"
            )
        self._rngs, self._n = rngs, n_pairs
        self._law = law(problem)
        self._queries = np.zeros(len(rngs))

    @property
    def queries(self) -> FloatArray:
        """Rewards or comparisons observed so far, shape (n_seeds,)."""
        return self._queries.copy()

    def _per_seed(self, array: FloatArray, trailing: int) -> FloatArray:
        return np.broadcast_to(array, (len(self._rngs), *array.shape[array.ndim - trailing :]))

    def pairs(self, policy: Policy, base: Base) -> Pairs:
        """Return counts and mean relative rewards of ``n_pairs`` pairs a seed."""
        rho = self._per_seed(self.evaluate(policy).occupancy, 1)
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
        rho = self._per_seed(self.evaluate(policy).occupancy, 1)
        pi = self._per_seed(policy.probs, 2)
        counts, totals = np.empty(pi.shape), np.empty(pi.shape)
        for i, rng in enumerate(self._rngs):
            n_x = rng.multinomial(2 * self._n, normal(rho[i]))
            n_xy = rng.multinomial(n_x, normal(pi[i]))
            totals[i], seen = self._law.singles(rng, pi[i], n_xy)
            counts[i] = n_xy
            self._queries[i] += seen
        return Feedback.from_sums(counts, totals)


def normal(probs: FloatArray) -> FloatArray:
    """Return rows that NumPy's multinomial accepts: sums of at most 1 after rounding."""
    result: FloatArray = probs / probs.sum(axis=-1, keepdims=True)
    return result


class Law(Protocol):
    """Draws the sum of what is observed in each cell, given how often it occurs."""

    def pairs(self, rng: Generator, pi: FloatArray, counts: IntArray) -> tuple[FloatArray, float]:
        """Return the summed relative signal (S, A, A) of directed cells (x, y, y') and the number of queries."""

    def singles(self, rng: Generator, pi: FloatArray, counts: IntArray) -> tuple[FloatArray, float]:
        """Return the summed signal (S, A) of cells (x, y) and the number of queries."""


@singledispatch
def law(problem: Any) -> Law:
    """Return the law of a problem's cell sums."""
    raise TypeError(f"Counted has no law of counts for a {type(problem).__name__}: use Sampled(n_pairs) or Exact()")


@law.register(ContextualBandit)
class _Rewards:
    def __init__(self, problem: ContextualBandit) -> None:
        self._reward, self._noise = problem.reward, problem.noise

    def pairs(self, rng: Generator, pi: FloatArray, counts: IntArray) -> tuple[FloatArray, float]:
        first = self._noise.sample_sum(rng, np.broadcast_to(self._reward[..., :, None], counts.shape), counts)
        second = self._noise.sample_sum(rng, np.broadcast_to(self._reward[..., None, :], counts.shape), counts)
        return first - second, 2.0 * float(counts.sum())

    def singles(self, rng: Generator, pi: FloatArray, counts: IntArray) -> tuple[FloatArray, float]:
        return self._noise.sample_sum(rng, self._reward, counts), float(counts.sum())


@law.register(PreferenceGame)
class _Outcomes:
    """Both outcomes of a pair meet the same y'', so they are drawn jointly: four results, one multinomial."""

    def __init__(self, problem: PreferenceGame) -> None:
        self._preference = problem.preference  # (X, Y, Y)

    def pairs(self, rng: Generator, pi: FloatArray, counts: IntArray) -> tuple[FloatArray, float]:
        p = self._preference
        wins = np.matmul(p, pi[..., None])[..., 0]  # (X, Y): P(y beats y'')
        both = np.matmul(p * pi[..., None, :], np.swapaxes(p, -1, -2))  # (X, Y, Y): P(y and y' beat one y'')
        first = np.maximum(wins[..., :, None] - both, 0.0)
        second = np.maximum(wins[..., None, :] - both, 0.0)
        neither = np.maximum(1 - both - first - second, 0.0)
        drawn = rng.multinomial(counts, normal(np.stack([first, second, both, neither], axis=-1)))
        margin: FloatArray = 2.0 * (drawn[..., 0] - drawn[..., 1]).astype(np.float64)
        return margin, 2.0 * float(counts.sum())

    def singles(self, rng: Generator, pi: FloatArray, counts: IntArray) -> tuple[FloatArray, float]:
        wins = np.clip(np.matmul(self._preference, pi[..., None])[..., 0], 0.0, 1.0)
        margin: FloatArray = 2.0 * rng.binomial(counts, wins).astype(np.float64) - counts
        return margin, float(counts.sum())


@law.register(TabularMDP)
class _Populations:
    """Roll-outs with geometric stopping as populations: survivors binomial, actions and next states multinomial.

    One population a start cell, so that every cell's returns are independent; the cost is starts x states x
    length, whatever n.
    """

    def __init__(self, problem: TabularMDP) -> None:
        s, a = problem.n_states, problem.n_actions
        dense = problem.transition.toarray() if problem.is_sparse else problem.transition
        self._table = normal(np.asarray(dense).reshape(s, a, s))
        self._reward, self._discount, self._terminal = problem.reward, problem.discount, problem.absorbing

    def _returns(self, rng: Generator, pi: FloatArray, counts: IntArray) -> tuple[FloatArray, float]:
        """Return summed returns (S, A, ...) of ``counts`` (S, A, ...) roll-outs that start in cell (s, a)."""
        s, a = self._reward.shape
        starts = np.flatnonzero(counts.ravel())
        total = np.zeros(counts.size)
        per_cell = counts.size // (s * a)
        cell = starts // per_cell
        state = np.zeros((starts.size, s), dtype=np.int64)  # populations by state
        acting = np.zeros((starts.size, s, a), dtype=np.int64)
        acting[np.arange(starts.size), cell // a, cell % a] = counts.ravel()[starts]
        seen, live = 0.0, np.arange(starts.size)
        law = normal(pi)
        while live.size:
            seen += float(acting.sum())
            total[starts[live]] += (acting * self._reward).sum(axis=(1, 2))
            if self._discount < 1.0:
                acting = rng.binomial(acting, self._discount)
            state = rng.multinomial(acting, self._table).sum(axis=(1, 2))  # (live, S)
            state[:, self._terminal] = 0
            alive = state.any(axis=1)
            live, state = live[alive], state[alive]
            acting = rng.multinomial(state, law)
        return total.reshape(counts.shape), seen

    def pairs(self, rng: Generator, pi: FloatArray, counts: IntArray) -> tuple[FloatArray, float]:
        first, seen = self._returns(rng, pi, counts)
        second, more = self._returns(rng, pi, np.swapaxes(counts, 1, 2))
        return first - np.swapaxes(second, 1, 2), seen + more

    def singles(self, rng: Generator, pi: FloatArray, counts: IntArray) -> tuple[FloatArray, float]:
        return self._returns(rng, pi, counts)
