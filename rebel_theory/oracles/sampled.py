"""Sampled feedback: pairs, outcomes and roll-outs drawn one by one in kernels, threads across the seeds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.random import Generator

from rebel_theory.arrays import FloatArray
from rebel_theory.feedback import Feedback
from rebel_theory.oracles import roll_outs as _roll_outs  # noqa: F401 - registers the samplers of MDPs
from rebel_theory.oracles.base import BoundOracle, Oracle, States, check_states
from rebel_theory.oracles.samplers import Opponents, Sampler, roll_in_sampler, sampler, separate_sampler
from rebel_theory.pairs import PairCounts, Pairs
from rebel_theory.policies import Base, Policy
from rebel_theory.problems import Problem
from rebel_theory.problems.base import InvalidProblemError

_PARALLEL_FROM = 50_000  # draws in one call, about a millisecond on one thread


@dataclass(frozen=True, slots=True, eq=False)
class Sampled(Oracle):
    """A fresh sample of ``n_pairs`` pairs an iteration and seed.

    Rows x are drawn from d_pi or as ``states`` says, actions y ~ pi and y' ~ mu. Rewards are observed with the
    bandit's noise; Q-values of an MDP by unbiased roll-outs from resets (geometric stopping); preferences as
    binary outcomes against y'' ~ pi, rescaled to l = 2 P - 1.

    Parameters
    ----------
    n_pairs : int >= 1
        Two reward queries a pair; ``feedback`` spends the same number on single actions y ~ pi. For very large
        samples :class:`rebel_theory.Counted` draws the same law at a cost free of n.
    opponents : "shared" or "separate"
        Of a preference game: one y'' met by both answers of a pair, or one each. Both are unbiased for
        l(y, pi) - l(y', pi), with variance 2 - 2 E l(y, y'') l(y', y'') - (l(y, pi) - l(y', pi))^2 and
        2 - l(y, pi)^2 - l(y', pi)^2 (theory notes, section 2).
    states : "occupancy", "roll-in", or an array of shape (S,)
        Where rows are drawn from: the exact d_pi; the same law by walking from the initial distribution and stopping
        geometrically; or a restart distribution nu ((H, S) for a finite horizon).

    Raises
    ------
    InvalidProblemError
        If an argument is none of these, or does not fit the problem.
    """

    n_pairs: int
    opponents: Opponents = "shared"
    states: States = "occupancy"

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_pairs", check_pairs("Sampled", self.n_pairs))
        check_opponents("Sampled", self.opponents)
        object.__setattr__(self, "states", check_states("Sampled", self.states, ("occupancy", "roll-in")))

    def bind(self, problem: Problem, rngs: list[Generator]) -> BoundOracle:
        """Return the sampling oracle of a problem, one stream a seed."""
        return BoundSampled(problem, rngs, self.n_pairs, self.opponents, self.states)


class BoundSampled(BoundOracle):
    """A fresh sample a call; statistics are gathered per seed into arrays with a leading seed axis."""

    def __init__(
        self, problem: Problem, rngs: list[Generator], n_pairs: int, opponents: Opponents = "shared",
        states: States = "occupancy",
    ) -> None:  # fmt: skip
        super().__init__(problem, states)
        if problem.batch_shape:
            raise ValueError(
                f"Sampled observes one instance, this problem is a batch of shape {problem.batch_shape}: "
                "run the instances one by one, or use Exact()"
            )
        self._n = n_pairs
        self._sampler = _sampler_of(problem, opponents, states)
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
        rho, pi = self._full(self.sampling_weights(policy), 1), self._full(policy.probs, 2)
        mu = self._full(np.exp(base.log_base(policy, self.problem)), 2)
        counts, sums = self._draw(rho, pi, mu, self._n, pi.shape[-1])
        return PairCounts(counts, sums)

    def feedback(self, policy: Policy) -> Feedback:
        """Return plug-in feedback from 2 n_pairs single actions y ~ pi a seed."""
        rho, pi = self._full(self.sampling_weights(policy), 1), self._full(policy.probs, 2)
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


def _sampler_of(problem: Problem, opponents: Opponents, states: States) -> Sampler:
    if opponents == "separate":
        return separate_sampler(problem)
    return roll_in_sampler(problem) if isinstance(states, str) and states == "roll-in" else sampler(problem)


def check_opponents(what: str, opponents: Any) -> None:
    """Raise InvalidProblemError unless ``opponents`` is "shared" or "separate"."""
    if not (isinstance(opponents, str) and opponents in get_args(Opponents)):
        raise InvalidProblemError(what, [f'opponents is {opponents!r}: use "shared" or "separate"'])


def check_pairs(what: str, n_pairs: Any) -> int:
    """Return ``n_pairs`` as an int; raise InvalidProblemError unless it is an integer of at least 1."""
    whole = isinstance(n_pairs, (int, float, np.integer, np.floating)) and np.isfinite(n_pairs)
    if not whole or int(n_pairs) != n_pairs or n_pairs < 1:
        raise InvalidProblemError(what, [f"n_pairs is {n_pairs}, expected an integer of at least 1"])
    return int(n_pairs)


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
