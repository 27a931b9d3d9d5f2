"""Direct comparisons: two answers y, y' of one law nu, and which of them was preferred.

What is regressed, summed into gradients or fitted by likelihood needs l(y, y') = 2 P(y beats y') - 1 itself, not the
payoff against a policy. One comparison is one query, where a pair of REBEL's costs two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.random import Generator

from rebel_theory.arrays import FloatArray, expectation
from rebel_theory.feedback import Feedback
from rebel_theory.pairs import FactorisedPairs, PairCounts, Pairs
from rebel_theory.problems import PreferenceGame
from rebel_theory.problems.base import InvalidProblemError
from rebel_theory.problems.game import Game


class Comparisons(Protocol):
    """Comparisons of answers y, y' ~ nu, exact or observed; ``shift`` (..., S, A) adds shift(y) - shift(y') to l."""

    def pairs(self, shift: FloatArray | None = None) -> Pairs:
        """Return the regression data: relative rewards l(y, y') + shift(y) - shift(y')."""

    def cells(self, shift: FloatArray) -> FloatArray:
        """Return E[1(y) (l(y, y') + shift(y) - shift(y'))] (..., S, A), which sums to 0 in every row."""

    def feedback(self) -> Feedback:
        """Return l(y, nu) as the signal; every observed comparison counts for both of its answers."""

    def wins(self) -> FloatArray:
        """Return the share of all comparisons in which y met and beat y', (..., S, A, A); they sum to 1."""


@dataclass(frozen=True, slots=True, eq=False)
class _OneLaw(FactorisedPairs):
    """Pairs with both answers from one law, whose normal equations only see l(y, nu).

    For any features, sum nu nu' (phi - phi') l(y, y') = 2 sum nu phi l(y, nu) by skew symmetry, and the same sum with
    l(y, nu) - l(y', nu) for l(y, y') is equal: the two regressions have one minimiser.
    """

    def potentials(self) -> FloatArray:
        """Return the signal, centred over the support: with one law nothing else is left of the elimination."""
        sampled = (self.log_pi > -np.inf) & self.visited[..., None]
        if sampled.all():
            centred: FloatArray = self.signal - self.signal.mean(axis=-1, keepdims=True)
            return centred
        total = np.where(sampled, self.signal, 0.0).sum(axis=-1, keepdims=True)
        mean = total / np.maximum(sampled.sum(axis=-1, keepdims=True), 1)
        return np.where(sampled, self.signal - mean, 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class ExactComparisons:
    """The population of comparisons, never enumerated unless :meth:`wins` is asked for."""

    game: Game
    exact: Feedback  # at the law nu
    log_law: FloatArray  # (..., S, A)

    def pairs(self, shift: FloatArray | None = None) -> Pairs:
        """Return factorised pairs: one matrix-vector product."""
        signal = self.exact.signal if shift is None else self.exact.signal + shift
        return _OneLaw(self.exact.weights, self.log_law, self.log_law, signal, self.exact.visited)

    def cells(self, shift: FloatArray) -> FloatArray:
        """Return d nu (l(y, nu) + shift - E_nu shift)."""
        law, value = np.exp(self.log_law), self.exact.signal + shift
        joint: FloatArray = self.exact.weights[..., None] * law * (value - expectation(law, value)[..., None])
        return joint

    def feedback(self) -> Feedback:
        """Return the exact payoff against nu."""
        return self.exact

    def wins(self) -> FloatArray:
        """Return d nu nu' P."""
        if not isinstance(self.game, PreferenceGame):
            raise TypeError(f"a {type(self.game).__name__} does not write its preferences out: pass its dense() form")
        law = np.exp(self.log_law)
        joint: FloatArray = (
            self.exact.weights[..., None, None] * law[..., :, None] * law[..., None, :] * self.game.preference
        )
        return joint


@dataclass(frozen=True, slots=True, eq=False)
class CountedComparisons:
    """Observed comparisons as directed cells.

    Attributes
    ----------
    counts, sums : shape (n_seeds, S, A, A)
        How often (y, y') were compared, and the sum of 2 o - 1, o = 1 where y was preferred.
    """

    counts: FloatArray
    sums: FloatArray

    def _shifted(self, shift: FloatArray | None) -> FloatArray:
        if shift is None:
            return self.sums
        with np.errstate(invalid="ignore"):
            moved = self.counts * (shift[..., :, None] - shift[..., None, :])
        return self.sums + np.where(self.counts > 0, moved, 0.0)

    def pairs(self, shift: FloatArray | None = None) -> Pairs:
        """Return the counts with shifted sums."""
        return PairCounts(np.ascontiguousarray(self.counts), np.ascontiguousarray(self._shifted(shift)))

    def cells(self, shift: FloatArray) -> FloatArray:
        """Return half the net flow into each answer, as shares of all comparisons."""
        flow = self._shifted(shift) / self.counts.sum(axis=(-3, -2, -1), keepdims=True)
        net: FloatArray = 0.5 * (flow.sum(axis=-1) - flow.sum(axis=-2))
        return net

    def feedback(self) -> Feedback:
        """Return mean margins of the answers over the comparisons that they took part in."""
        met = self.counts.sum(axis=-1) + self.counts.sum(axis=-2)
        return Feedback.from_sums(met, self.sums.sum(axis=-1) - self.sums.sum(axis=-2))

    def wins(self) -> FloatArray:
        """Return observed wins of y over y', whichever of the two was drawn first, as shares."""
        won = (self.counts + self.sums) / 2 + np.swapaxes(self.counts - self.sums, -1, -2) / 2
        shares: FloatArray = won / self.counts.sum(axis=(-3, -2, -1), keepdims=True)
        return shares


def draw_comparisons(
    problem: object, rngs: list[Generator], rho: FloatArray, law: FloatArray, n: int
) -> CountedComparisons:
    """Return n comparisons a seed drawn one by one: x ~ rho (n_seeds, S), y, y' ~ law (n_seeds, S, A)."""
    game = _dense_game(problem)
    k, s, a = law.shape
    counts, sums = np.zeros((k, s, a, a)), np.zeros((k, s, a, a))
    for i, rng in enumerate(rngs):
        n_x = rng.multinomial(n, rho[i] / rho[i].sum())
        for x in np.flatnonzero(n_x):
            cdf = np.cumsum(law[i, x])
            y, other = np.searchsorted(cdf / cdf[-1], rng.random((2, n_x[x])), side="right")
            won = rng.random(n_x[x]) < game.preference[x, y, other]
            cell = y * a + other
            counts[i, x] = np.bincount(cell, minlength=a * a).reshape(a, a)
            sums[i, x] = np.bincount(cell, np.where(won, 1.0, -1.0), minlength=a * a).reshape(a, a)
    return CountedComparisons(counts, sums)


def count_comparisons(
    problem: object, rngs: list[Generator], rho: FloatArray, law: FloatArray, n: int
) -> CountedComparisons:
    """Return the same law as :func:`draw_comparisons` through multinomial counts, at a cost free of n."""
    game = _dense_game(problem)
    k, s, a = law.shape
    counts, sums = np.zeros((k, s, a, a)), np.zeros((k, s, a, a))
    law = law / law.sum(axis=-1, keepdims=True)
    for i, rng in enumerate(rngs):
        n_x = rng.multinomial(n, rho[i] / rho[i].sum())
        n_xy = rng.multinomial(n_x, law[i])
        cells = rng.multinomial(n_xy, np.broadcast_to(law[i][:, None, :], (s, a, a)))
        counts[i] = cells
        sums[i] = 2.0 * rng.binomial(cells, game.preference) - cells
    return CountedComparisons(counts, sums)


def _dense_game(problem: object) -> PreferenceGame:
    if not isinstance(problem, PreferenceGame):
        message = f"a {type(problem).__name__} has no written preferences to draw from: pass a PreferenceGame"
        raise InvalidProblemError("comparisons", [message])
    return problem
