"""Sampled feedback: pairs, outcomes and roll-outs drawn one by one in kernels, threads across the seeds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import singledispatch
from typing import Any, Protocol

import numpy as np
from numpy.random import Generator

from rebel_theory.arrays import FloatArray
from rebel_theory.feedback import Feedback
from rebel_theory.oracles.base import BoundOracle, Oracle
from rebel_theory.pairs import PairCounts, Pairs
from rebel_theory.policies import Base, Policy
from rebel_theory.problems import (
    BernoulliNoise,
    ContextualBandit,
    FiniteHorizonMDP,
    GaussianNoise,
    LinearMDP,
    PreferenceGame,
    Problem,
    TabularMDP,
)
from rebel_theory.problems.base import InvalidProblemError

_PARALLEL_FROM = 50_000  # draws in one call, about a millisecond on one thread
_TABLE_LIMIT = 200_000_000  # entries of a linear MDP's transition that a sampler may hold


@dataclass(frozen=True, slots=True)
class Sampled(Oracle):
    """A fresh sample of ``n_pairs`` pairs an iteration and seed.

    Rows x are drawn from the exact state weights d_pi, actions y ~ pi and y' ~ mu. Rewards are observed with the
    bandit's noise; Q-values of an MDP by unbiased roll-outs from resets (geometric stopping); preferences as
    binary outcomes against one shared y'' ~ pi, rescaled to l = 2 P - 1.

    Parameters
    ----------
    n_pairs : int >= 1
        Two reward queries a pair; ``feedback`` spends the same number on single actions y ~ pi. For very large
        samples :class:`rebel_theory.Counted` draws the same law at a cost free of n.
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
        self._n = n_pairs
        self._sampler = sampler(problem)
        self._states = np.stack([rng.integers(0, 2**64, size=4, dtype=np.uint64) for rng in rngs])
        self._rngs = rngs
        self._queries = np.zeros(len(rngs))

    @property
    def queries(self) -> FloatArray:
        """Rewards or comparisons observed so far, shape (n_seeds,)."""
        return self._queries.copy()

    def _full(self, array: FloatArray, trailing: int) -> FloatArray:
        """Return ``array`` with one leading axis for the seeds."""
        # always a copy: a read-only view would make Numba compile every kernel once more
        return np.array(np.broadcast_to(array, (len(self._rngs), *array.shape[array.ndim - trailing :])), order="C")

    def pairs(self, policy: Policy, base: Base) -> Pairs:
        """Return counts and mean relative rewards of ``n_pairs`` sampled pairs a seed."""
        rho, pi = self._full(self.evaluate(policy).occupancy, 1), self._full(policy.probs, 2)
        mu = self._full(np.exp(base.log_base(policy, self.problem)), 2)
        counts, sums = self._draw(rho, pi, mu, self._n, pi.shape[-1])
        return PairCounts(counts, sums)

    def feedback(self, policy: Policy) -> Feedback:
        """Return plug-in feedback from 2 n_pairs single actions y ~ pi a seed."""
        rho, pi = self._full(self.evaluate(policy).occupancy, 1), self._full(policy.probs, 2)
        counts, sums = self._draw(rho, pi, pi, 2 * self._n, 1)
        return Feedback.from_sums(counts[..., 0], sums[..., 0])

    def _draw(
        self, rho: FloatArray, pi: FloatArray, mu: FloatArray, n: int, width: int
    ) -> tuple[FloatArray, FloatArray]:
        counts = np.zeros((*pi.shape, width))
        sums = np.zeros_like(counts)
        with _threads_for(len(self._rngs) * n):
            self._queries += self._sampler.draw(self._states, self._rngs, rho, pi, mu, n, counts, sums)
        return counts, sums


@contextmanager
def _threads_for(n_draws: int) -> Iterator[None]:
    """Use one thread for small samples: on a busy machine waking another costs more than it saves."""
    import numba

    before = numba.get_num_threads()
    numba.set_num_threads(before if n_draws >= _PARALLEL_FROM else 1)
    try:
        yield
    finally:
        numba.set_num_threads(before)


class Sampler(Protocol):
    """Draws n pairs (or single actions) a seed and adds them up in directed cells."""

    def draw(
        self, states: Any, rngs: list[Generator], rho: FloatArray, pi: FloatArray, mu: FloatArray, n: int,
        counts: FloatArray, sums: FloatArray,
    ) -> FloatArray:  # fmt: skip
        """Fill ``counts`` and ``sums`` (n_seeds, S, A, A), or (n_seeds, S, A, 1) for single actions y ~ pi.

        Return the number of queries a seed, shape (n_seeds,).
        """


@singledispatch
def sampler(problem: Any) -> Sampler:
    """Return how a problem is sampled."""
    raise TypeError(f"Sampled cannot observe a {type(problem).__name__}: use Exact()")


@sampler.register(ContextualBandit)
class _Rewards:
    def __init__(self, problem: ContextualBandit) -> None:
        self._reward, self._noise = problem.reward, problem.noise

    def draw(
        self, states: Any, rngs: list[Generator], rho: FloatArray, pi: FloatArray, mu: FloatArray, n: int,
        counts: FloatArray, sums: FloatArray,
    ) -> FloatArray:  # fmt: skip
        from rebel_theory.kernels import sampling as kernels

        noise = self._noise
        drawn = {BernoulliNoise: kernels.BERNOULLI, GaussianNoise: kernels.GAUSSIAN}
        kind = drawn.get(type(noise), kernels.COUNTS_ONLY)
        sigma = noise.sigma if isinstance(noise, GaussianNoise) else 0.0
        kernels.all_rewards(states, rho, pi, mu, n, self._reward, kind, sigma, counts, sums)
        if kind == kernels.COUNTS_ONLY:
            self._sum_cells(rngs, counts, sums)
        return np.full(len(rngs), float(n) * (2 if counts.shape[-1] > 1 else 1))

    def _sum_cells(self, rngs: list[Generator], counts: FloatArray, sums: FloatArray) -> None:
        """Fill the sums of exact rewards, or of a noise of the user's own, cell by cell."""
        for i, rng in enumerate(rngs):
            n = counts[i].astype(np.int64)
            sums[i] = self._noise.sample_sum(rng, np.broadcast_to(self._reward[..., None], n.shape), n)
            if n.shape[-1] > 1:
                sums[i] -= self._noise.sample_sum(rng, np.broadcast_to(self._reward[..., None, :], n.shape), n)


@sampler.register(PreferenceGame)
class _Outcomes:
    def __init__(self, problem: PreferenceGame) -> None:
        self._preference = problem.preference

    def draw(
        self, states: Any, rngs: list[Generator], rho: FloatArray, pi: FloatArray, mu: FloatArray, n: int,
        counts: FloatArray, sums: FloatArray,
    ) -> FloatArray:  # fmt: skip
        from rebel_theory.kernels import sampling as kernels

        kernels.all_outcomes(states, rho, pi, mu, n, self._preference, counts, sums)
        return np.full(len(rngs), float(n) * (2 if counts.shape[-1] > 1 else 1))


class _RollOuts:
    """Roll-outs on a CSR transition; its alias tables are built once."""

    def __init__(self, transition: Any, reward: FloatArray, discount: float, terminal: Any) -> None:
        from rebel_theory.kernels.sampling import build_csr

        self._indptr = transition.indptr.astype(np.int64)
        self._indices = transition.indices.astype(np.int64)
        self._threshold = np.empty(transition.nnz)
        self._alias = np.empty(transition.nnz, dtype=np.int32)
        build_csr(self._indptr, transition.data.astype(np.float64), self._threshold, self._alias)
        self._reward = np.ascontiguousarray(reward)
        self._discount, self._terminal = float(discount), np.ascontiguousarray(terminal)

    def draw(
        self, states: Any, rngs: list[Generator], rho: FloatArray, pi: FloatArray, mu: FloatArray, n: int,
        counts: FloatArray, sums: FloatArray,
    ) -> FloatArray:  # fmt: skip
        from rebel_theory.kernels import sampling as kernels

        seen = np.zeros(len(rngs))
        kernels.all_roll_outs(
            states, rho, pi, mu, n, self._indptr, self._indices, self._threshold, self._alias, self._reward,
            self._discount, self._terminal, counts, sums, seen,
        )  # fmt: skip
        return seen


@sampler.register
def _(problem: TabularMDP) -> Sampler:
    from scipy.sparse import csr_array

    s, a = problem.n_states, problem.n_actions
    table = problem.transition if problem.is_sparse else csr_array(problem.transition.reshape(s * a, s))
    return _RollOuts(table, problem.reward, problem.discount, problem.absorbing)


@sampler.register
def _(problem: LinearMDP) -> Sampler:
    from scipy.sparse import csr_array

    s, a, d = problem.features.shape
    if s * a * s > _TABLE_LIMIT:
        raise ValueError(
            f"Sampled would tabulate {s * a * s:,} transition probabilities of this linear MDP (limit "
            f"{_TABLE_LIMIT:,}): use Exact(), or a smaller problem"
        )
    table = np.maximum(problem.features.reshape(s * a, d) @ problem.measures, 0.0)
    table /= table.sum(axis=1, keepdims=True)
    reward = problem.features @ problem.reward_weights
    return _RollOuts(csr_array(table), reward, problem.discount, np.zeros(s, dtype=np.bool_))


@sampler.register
def _(problem: FiniteHorizonMDP) -> Sampler:
    """Return roll-outs on the rows (h, s), with one more row, the end, after the last step."""
    from scipy.sparse import block_diag, csr_array, hstack

    h, s, a = problem.policy_shape
    rows = h * s
    moves = [csr_array(problem.transition[t].reshape(s * a, s)) for t in range(h - 1)]
    last = csr_array(np.ones((s * a, 1)))
    # step t's rows lead to step t + 1's columns, the last step's to the end: a block diagonal, moved by s columns
    table = csr_array(hstack([csr_array((rows * a, s)), block_diag([*moves, last])]))
    terminal = np.arange(rows + 1) == rows
    return _RollOuts(table, problem.reward.reshape(rows, a), 1.0, terminal)
