"""The laws of cell sums: what is observed of pairs and of single actions, given how often each cell occurs."""

from __future__ import annotations

from functools import singledispatch
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.random import Generator

from rebel_theory.arrays import BoolArray, FloatArray, IntArray
from rebel_theory.oracles.roll_outs import Table, table
from rebel_theory.oracles.samplers import Opponents
from rebel_theory.problems import ContextualBandit, FiniteHorizonMDP, LinearMDP, PreferenceGame, TabularMDP
from rebel_theory.problems.base import InvalidProblemError

Way: TypeAlias = Literal["cheapest", "steps", "single", "moves"]

_MOST_STATES = 100  # of the tables of moves, (S, S, S + 1) numbers: 8 MB
_LARGEST_INTEGER = 1e18  # moves of one draw in expectation, a ninth of 2^63


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


def law_of(problem: Any, opponents: Opponents) -> Law:
    """Return the law of a problem's cell sums; ``opponents`` says which y'' the two answers of a pair meet."""
    if opponents == "shared":
        return law(problem)
    if not isinstance(problem, PreferenceGame):
        message = f'opponents="separate" is for preference games: leave it out for a {type(problem).__name__}'
        raise InvalidProblemError("Counted", [message])
    return _SeparateOutcomes(problem)


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

    def _wins(self, pi: FloatArray) -> FloatArray:
        """Return P(y beats y''), y'' ~ pi, shape (X, Y)."""
        wins: FloatArray = np.clip(np.matmul(self._preference, pi[..., None])[..., 0], 0.0, 1.0)
        return wins

    def pairs(self, rng: Generator, pi: FloatArray, counts: IntArray) -> tuple[FloatArray, float]:
        p = self._preference
        wins = self._wins(pi)
        both = np.matmul(p * pi[..., None, :], np.swapaxes(p, -1, -2))  # (X, Y, Y): P(y and y' beat one y'')
        first = np.maximum(wins[..., :, None] - both, 0.0)
        second = np.maximum(wins[..., None, :] - both, 0.0)
        neither = np.maximum(1 - both - first - second, 0.0)
        drawn = rng.multinomial(counts, normal(np.stack([first, second, both, neither], axis=-1)))
        margin: FloatArray = 2.0 * (drawn[..., 0] - drawn[..., 1]).astype(np.float64)
        return margin, 2.0 * float(counts.sum())

    def singles(self, rng: Generator, pi: FloatArray, counts: IntArray) -> tuple[FloatArray, float]:
        margin: FloatArray = 2.0 * rng.binomial(counts, self._wins(pi)).astype(np.float64) - counts
        return margin, float(counts.sum())


class _SeparateOutcomes(_Outcomes):
    """Each answer of a pair meets its own y'': two independent binomials a cell."""

    def pairs(self, rng: Generator, pi: FloatArray, counts: IntArray) -> tuple[FloatArray, float]:
        wins = self._wins(pi)
        first = rng.binomial(counts, np.broadcast_to(wins[..., :, None], counts.shape))
        second = rng.binomial(counts, np.broadcast_to(wins[..., None, :], counts.shape))
        margin: FloatArray = 2.0 * (first - second).astype(np.float64)
        return margin, 2.0 * float(counts.sum())


class _RollOuts:
    """Sums of returns of roll-outs with geometric stopping, by the cheapest of three ways that have one law.

    Every start cell is drawn by itself, so that its returns are independent of the others'. ``way`` names one of

    - "steps": a population by state, moved step by step; the cost grows with the length and, slowly, with n;
    - "single": one by one, also the last few of a population;
    - "moves": how often each move between states is made, whatever n and the length (discounts below 1, up to
      100 states).
    """

    def __init__(self, table: Table, way: Way = "cheapest") -> None:
        from rebel_theory.kernels.populations import build_tails

        transition = table.transition
        self._indptr, self._indices = transition.indptr.astype(np.int64), transition.indices.astype(np.int64)
        self._probs = transition.data.astype(np.float64)
        self._tails = np.empty_like(self._probs)
        build_tails(self._indptr, self._probs, self._tails)
        self._reward, self._terminal = np.array(table.reward, order="C"), np.array(table.terminal)
        self._discount, self._way = float(table.discount), way

    def _by_moves(self, counts: IntArray) -> BoolArray:
        """Return which starts are cheaper by moves: binomial draws against steps of roll-outs and of populations."""
        from rebel_theory.kernels.populations import DRAWS_PER_SPLIT

        s, a = self._reward.shape
        if self._discount >= 1.0 or s > _MOST_STATES or self._way in ("steps", "single"):
            return np.zeros(counts.shape, dtype=np.bool_)
        if self._way == "moves":
            return np.ones(counts.shape, dtype=np.bool_)
        single = counts / (1.0 - self._discount) / DRAWS_PER_SPLIT
        steps = np.log1p(counts) / -np.log(self._discount) * (s * a + self._probs.size) if self._discount > 0 else 0.0
        cheaper: BoolArray = np.minimum(single, steps) > s**3 / 3 + s * s * a
        return cheaper

    def _returns(self, rng: Generator, pi: FloatArray, counts: IntArray) -> tuple[FloatArray, float]:
        """Return summed returns (S, A, ...) of ``counts`` (S, A, ...) roll-outs that start in cell (s, a)."""
        from rebel_theory.kernels import populations as kernels

        flat = counts.ravel()
        cells = np.flatnonzero(flat)
        by_moves = self._by_moves(flat[cells])
        totals, seen = np.zeros(flat.size), 0.0
        law = normal(pi).ravel()
        model = (self._indptr, self._indices, self._probs, self._tails, self._reward, self._discount, self._terminal)
        some = cells[~by_moves]
        if some.size:
            drawn, tails = np.empty(some.size), np.empty(pi.size)
            kernels.build_tails(np.arange(0, pi.size + 1, pi.shape[1]), law, tails)
            per_split = {"steps": 0.0, "single": np.inf}.get(self._way, kernels.DRAWS_PER_SPLIT)
            starts = some // (flat.size // pi.size)
            seen += kernels.summed_returns(rng, starts, flat[some], *model, law, tails, per_split, drawn)
            totals[some] = drawn
        some = cells[by_moves]
        if some.size:
            s, a = pi.shape
            drawn, leaving = np.zeros(some.size), np.empty(s)
            moves, via, actions = np.zeros((s, s + 1)), np.empty((s, s, s + 1)), np.empty((s, s + 1, a))
            kernels.eliminate(
                self._indptr, self._indices, self._probs, self._discount, self._terminal, law, moves, via, leaving,
                actions,
            )  # fmt: skip
            most = max(int(_LARGEST_INTEGER * (1.0 - self._discount)), 1)
            starts = some // (flat.size // pi.size)
            seen += kernels.visit_returns(rng, starts, flat[some], most, *model, moves, via, leaving, actions, drawn)
            totals[some] = drawn
        return totals.reshape(counts.shape), seen

    def pairs(self, rng: Generator, pi: FloatArray, counts: IntArray) -> tuple[FloatArray, float]:
        first, seen = self._returns(rng, pi, counts)
        second, more = self._returns(rng, pi, np.swapaxes(counts, 1, 2))
        return first - np.swapaxes(second, 1, 2), seen + more

    def singles(self, rng: Generator, pi: FloatArray, counts: IntArray) -> tuple[FloatArray, float]:
        return self._returns(rng, pi, counts)


@law.register(TabularMDP)
@law.register(LinearMDP)
@law.register(FiniteHorizonMDP)
def _(problem: TabularMDP | LinearMDP | FiniteHorizonMDP) -> Law:
    return _RollOuts(table(problem))
