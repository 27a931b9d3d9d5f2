"""Sampled feedback, one seed at a time on the kernels: pairs, roll-outs, preference outcomes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch
from typing import Any, Protocol

import numpy as np
from numpy.random import Generator

from rebel_theory.arrays import FloatArray, IntArray
from rebel_theory.feedback import Feedback
from rebel_theory.oracles.base import BoundOracle, Oracle
from rebel_theory.pairs import PairGraph, Pairs
from rebel_theory.policies import Base, Policy
from rebel_theory.problems import (
    ContextualBandit,
    FiniteHorizonMDP,
    LinearMDP,
    PreferenceGame,
    Problem,
    TabularMDP,
)
from rebel_theory.problems.base import InvalidProblemError

_TABLE_LIMIT = 200_000_000  # entries of a transition's running sums that a sampler may hold


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
        return BoundSampled(problem, rngs, int(self.n_pairs))


class BoundSampled(BoundOracle):
    """A fresh sample a call; statistics are gathered per seed into arrays with a leading seed axis."""

    def __init__(self, problem: Problem, rngs: list[Generator], n_pairs: int) -> None:
        super().__init__(problem)
        if problem.batch_shape:
            raise ValueError(
                f"Sampled observes one instance, this problem is a batch of shape {problem.batch_shape}: "
                "run the instances one by one, or use Exact()"
            )
        self._rngs, self._n = rngs, n_pairs
        self._observe = observer(problem)
        self._queries = np.zeros(len(rngs))

    @property
    def queries(self) -> FloatArray:
        """Rewards or comparisons observed so far, shape (n_seeds,)."""
        return self._queries.copy()

    def _cdf(self, array: FloatArray, trailing: int) -> FloatArray:
        """Return running sums with one leading axis for the seeds."""
        full = np.broadcast_to(array, (len(self._rngs), *array.shape[array.ndim - trailing :]))
        return np.cumsum(full, axis=-1)

    def pairs(self, policy: Policy, base: Base) -> Pairs:
        """Return counts and mean relative rewards of ``n_pairs`` sampled pairs a seed."""
        from rebel_theory.kernels import accumulate_pairs, sample_pairs

        weights = self.evaluate(policy).occupancy
        rho = self._cdf(weights, 1)
        pi = self._cdf(policy.probs, 2)
        mu = self._cdf(np.exp(base.log_base(policy, self.problem)), 2)
        s, a = pi.shape[-2:]
        counts = np.zeros((len(self._rngs), s, a, a))
        sums = np.zeros_like(counts)
        x, y, y_base = (np.empty(self._n, dtype=np.int64) for _ in range(3))
        for i, rng in enumerate(self._rngs):
            sample_pairs(rng, rho[i], pi[i], mu[i], x, y, y_base)
            first, second, seen = self._observe.pairs(rng, pi[i], x, y, y_base)
            accumulate_pairs(x, y, y_base, first - second, counts[i], sums[i])
            self._queries[i] += seen
        return PairGraph(counts / self._n, np.divide(sums, counts, out=sums, where=counts > 0))

    def feedback(self, policy: Policy) -> Feedback:
        """Return plug-in feedback from 2 n_pairs single actions y ~ pi a seed.

        Mean observed signal per cell; a cell that was not sampled gets the row's mean, a row that was not sampled
        is not ``visited``.
        """
        from rebel_theory.kernels import sample_pairs

        rho, pi = self._cdf(self.evaluate(policy).occupancy, 1), self._cdf(policy.probs, 2)
        k, (s, a) = len(self._rngs), pi.shape[-2:]
        counts, totals = np.zeros((k, s * a)), np.zeros((k, s * a))
        x, y, other = (np.empty(2 * self._n, dtype=np.int64) for _ in range(3))
        for i, rng in enumerate(self._rngs):
            sample_pairs(rng, rho[i], pi[i], pi[i], x, y, other)
            observed, seen = self._observe.singles(rng, pi[i], x, y)
            counts[i] = np.bincount(x * a + y, minlength=s * a)
            totals[i] = np.bincount(x * a + y, weights=observed, minlength=s * a)
            self._queries[i] += seen
        return Feedback.from_sums(counts.reshape(k, s, a), totals.reshape(k, s, a))


class Observer(Protocol):
    """Draws the observed signal of given rows and actions."""

    def pairs(
        self, rng: Generator, cdf_pi: FloatArray, x: IntArray, y: IntArray, y_base: IntArray
    ) -> tuple[FloatArray, FloatArray, int]:
        """Return the observed signals of y and y' (n,) and the number of queries."""

    def singles(self, rng: Generator, cdf_pi: FloatArray, x: IntArray, y: IntArray) -> tuple[FloatArray, int]:
        """Return the observed signal of y (n,) and the number of queries."""


@singledispatch
def observer(problem: Any) -> Observer:
    """Return how the signal of a problem is observed."""
    raise TypeError(f"Sampled cannot observe a {type(problem).__name__}: use Exact()")


class _Rewards:
    def __init__(self, problem: ContextualBandit) -> None:
        self._problem = problem

    def pairs(
        self, rng: Generator, cdf_pi: FloatArray, x: IntArray, y: IntArray, y_base: IntArray
    ) -> tuple[FloatArray, FloatArray, int]:
        first, _ = self.singles(rng, cdf_pi, x, y)
        second, _ = self.singles(rng, cdf_pi, x, y_base)
        return first, second, 2 * len(x)

    def singles(self, rng: Generator, cdf_pi: FloatArray, x: IntArray, y: IntArray) -> tuple[FloatArray, int]:
        return self._problem.noise.sample(rng, self._problem.reward[x, y]), len(x)


class _Outcomes:
    """Binary preferences against y'' ~ pi, one y'' for both terms of a pair; 2 o - 1 has mean l."""

    def __init__(self, problem: PreferenceGame) -> None:
        self._preference = problem.preference

    def _outcome(self, rng: Generator, x: IntArray, y: IntArray, rival: IntArray) -> FloatArray:
        return np.where(rng.random(len(x)) < self._preference[x, y, rival], 1.0, -1.0)

    def _rivals(self, rng: Generator, cdf_pi: FloatArray, x: IntArray) -> IntArray:
        from rebel_theory.kernels import sample_actions

        rival = np.empty_like(x)
        sample_actions(rng, x, cdf_pi, rival)
        return rival

    def pairs(
        self, rng: Generator, cdf_pi: FloatArray, x: IntArray, y: IntArray, y_base: IntArray
    ) -> tuple[FloatArray, FloatArray, int]:
        rival = self._rivals(rng, cdf_pi, x)
        return self._outcome(rng, x, y, rival), self._outcome(rng, x, y_base, rival), 2 * len(x)

    def singles(self, rng: Generator, cdf_pi: FloatArray, x: IntArray, y: IntArray) -> tuple[FloatArray, int]:
        return self._outcome(rng, x, y, self._rivals(rng, cdf_pi, x)), len(x)


class _RollOuts:
    """Unbiased returns by geometric stopping; queries count the rewards seen on the way."""

    def __init__(
        self, cdf: FloatArray, reward: FloatArray, discount: float, terminal: Any, expand: int | None = None
    ) -> None:
        self._cdf, self._reward, self._discount, self._terminal = cdf, reward, discount, terminal
        self._rows = expand

    def singles(self, rng: Generator, cdf_pi: FloatArray, x: IntArray, y: IntArray) -> tuple[FloatArray, int]:
        from rebel_theory.kernels import roll_out

        returns = np.empty(len(x))
        if self._rows is not None:  # one more row: the end of the horizon
            cdf_pi = np.concatenate([cdf_pi, cdf_pi[-1:]])
        seen = roll_out(rng, self._cdf, self._reward, cdf_pi, self._discount, self._terminal, x, y, returns)
        return returns, int(seen)

    def pairs(
        self, rng: Generator, cdf_pi: FloatArray, x: IntArray, y: IntArray, y_base: IntArray
    ) -> tuple[FloatArray, FloatArray, int]:
        first, seen = self.singles(rng, cdf_pi, x, y)
        second, more = self.singles(rng, cdf_pi, x, y_base)
        return first, second, seen + more


observer.register(ContextualBandit, _Rewards)
observer.register(PreferenceGame, _Outcomes)


@observer.register
def _(problem: TabularMDP) -> Observer:
    s, a = problem.n_states, problem.n_actions
    _check_table(s * a * s)
    dense = problem.transition.toarray() if problem.is_sparse else problem.transition
    cdf = np.cumsum(dense.reshape(s * a, s), axis=-1)
    return _RollOuts(cdf, problem.reward, problem.discount, problem.absorbing)


@observer.register
def _(problem: LinearMDP) -> Observer:
    s, a, d = problem.features.shape
    _check_table(s * a * s)
    table = np.maximum(problem.features.reshape(s * a, d) @ problem.measures, 0.0)
    reward = problem.features @ problem.reward_weights
    return _RollOuts(np.cumsum(table, axis=-1), reward, problem.discount, np.zeros(s, dtype=np.bool_))


@observer.register
def _(problem: FiniteHorizonMDP) -> Observer:
    """Return roll-outs on the rows (h, s), with one more absorbing row after the last step."""
    h, s, a = problem.policy_shape
    rows = h * s
    _check_table((rows + 1) ** 2 * a)
    table = np.zeros((rows + 1, a, rows + 1))
    for step in range(h):
        block = slice(step * s, (step + 1) * s)
        if step + 1 < h:
            table[block, :, (step + 1) * s : (step + 2) * s] = problem.transition[step]
        else:
            table[block, :, rows] = 1.0
    table[rows, :, rows] = 1.0
    reward = np.concatenate([problem.reward.reshape(rows, a), np.zeros((1, a))])
    terminal = np.arange(rows + 1) == rows
    return _RollOuts(np.cumsum(table.reshape((rows + 1) * a, rows + 1), axis=-1), reward, 1.0, terminal, rows)


def _check_table(entries: int) -> None:
    if entries > _TABLE_LIMIT:
        raise ValueError(
            f"Sampled would tabulate {entries:,} running sums of the transition (limit {_TABLE_LIMIT:,}): "
            "use Exact(), or a smaller problem"
        )
