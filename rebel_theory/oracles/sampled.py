"""Sampled feedback: pairs, outcomes and roll-outs drawn one by one in kernels, threads across the seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.random import Generator

from rebel_theory.advantages import Advantages, Baseline
from rebel_theory.arrays import FloatArray
from rebel_theory.feedback import Feedback
from rebel_theory.oracles.base import BoundOracle, Oracle, States, check_states
from rebel_theory.oracles.buffers import Buffers
from rebel_theory.oracles.comparisons import Comparisons, draw_comparisons
from rebel_theory.oracles.groups import Observer, draw_groups, observer
from rebel_theory.oracles.roll_outs import horizon_bias, roll_out_sampler
from rebel_theory.oracles.samplers import Opponents, Sampler, roll_in_sampler, sampler, separate_sampler
from rebel_theory.pairs import PairCounts, Pairs
from rebel_theory.policies import Base, Policy
from rebel_theory.problems import Problem
from rebel_theory.problems.base import InvalidProblemError
from rebel_theory.threads import threads_for

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
        geometrically (at a uniform step of a finite horizon; not with discount 1), where no reward is observed; or a
        restart distribution nu ((H, S) for a finite horizon).
    horizon : int >= 1, optional
        Cut the roll-outs of an MDP after this many rewards and observe sum_{t < horizon} gamma^t r_t, instead of
        stopping geometrically: less variance, and a bias that :meth:`bias_bound` bounds.

    Raises
    ------
    InvalidProblemError
        If an argument is none of these, or does not fit the problem.
    """

    n_pairs: int
    opponents: Opponents = "shared"
    states: States = "occupancy"
    horizon: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_pairs", check_whole("Sampled", "n_pairs", self.n_pairs))
        check_opponents("Sampled", self.opponents)
        object.__setattr__(self, "states", check_states("Sampled", self.states, ("occupancy", "roll-in")))
        if self.horizon is not None:
            object.__setattr__(self, "horizon", check_whole("Sampled", "horizon", self.horizon))

    def bind(self, problem: Problem, rngs: list[Generator]) -> BoundOracle:
        """Return the sampling oracle of a problem, one stream a seed."""
        return BoundSampled(problem, rngs, self.n_pairs, self.opponents, self.states, self.horizon)

    def bias_bound(self, problem: Problem) -> float:
        """Return a bound on the bias of every sampled Q-value, 0 where roll-outs are not cut.

        A roll-out cut at H misses the sum of gamma^t r_t over t >= H, at most gamma^H / (1 - gamma) max|r|; over a
        finite horizon, max(horizon - H, 0) max|r|; infinite with discount 1, where only termination bounds the sum.
        A relative reward Q(x, y) - Q(x, y') may be off by twice as much.
        """
        return horizon_bias(problem, self.horizon)


class BoundSampled(BoundOracle):
    """A fresh sample a call; statistics are gathered per seed into arrays with a leading seed axis."""

    def __init__(
        self, problem: Problem, rngs: list[Generator], n_pairs: int, opponents: Opponents = "shared",
        states: States = "occupancy", horizon: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(problem, states)
        if problem.batch_shape:
            raise ValueError(
                f"Sampled observes one instance, this problem is a batch of shape {problem.batch_shape}: "
                "bind problem.instance(place); run() does so for every place"
            )
        self._n = n_pairs
        self._sampler = _sampler_of(problem, opponents, states, horizon)
        self._states = np.stack([rng.integers(0, 2**64, size=4, dtype=np.uint64) for rng in rngs])
        self._rngs = rngs
        self._queries = np.zeros(len(rngs))
        self._buffers = Buffers()
        self._observer: Observer | None = None  # of single answers, made when first asked for

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
        log_mu = base.log_base(policy, self.problem)
        mu = pi if log_mu is policy.log_probs else self._full(np.exp(log_mu), 2)
        counts, sums = self._draw(rho, pi, mu, self._n, pi.shape[-1])
        return PairCounts(counts, sums)

    def feedback(self, policy: Policy) -> Feedback:
        """Return plug-in feedback from 2 n_pairs single actions y ~ pi a seed."""
        rho, pi = self._full(self.sampling_weights(policy), 1), self._full(policy.probs, 2)
        counts, sums = self._draw(rho, pi, pi, 2 * self._n, 1)
        return Feedback.from_sums(counts[..., 0], sums[..., 0])

    def comparisons(self, policy: Policy, law: Policy) -> Comparisons:
        """Return 2 n_pairs comparisons of answers of ``law`` a seed, what n_pairs pairs of REBEL's cost."""
        rho, nu = self._full(self.sampling_weights(policy), 1), self._full(law.probs, 2)
        found = draw_comparisons(self.problem, self._rngs, rho, nu, 2 * self._n)
        self._queries += 2 * self._n
        return found

    def advantages(self, policy: Policy, baseline: Baseline) -> Advantages:
        """Return advantages from 2 n_pairs single answers a seed, in whole groups, at least one."""
        rho, pi = self._full(self.sampling_weights(policy), 1), self._full(policy.probs, 2)
        k = baseline.group_size
        n = max(1, 2 * self._n // k)
        if self._observer is None:
            self._observer = observer(self.problem, self._sampler)
        groups, queries = draw_groups(self._observer, self._rngs, rho, pi, n, k)
        self._queries += queries
        return groups.advantages(baseline, *pi.shape[1:])

    def _draw(
        self, rho: FloatArray, pi: FloatArray, mu: FloatArray, n: int, width: int
    ) -> tuple[FloatArray, FloatArray]:
        counts, sums = (self._buffers.zeros((*pi.shape, width)) for _ in range(2))
        with threads_for(len(self._rngs) * n * self._sampler.work, _PARALLEL_FROM):
            self._queries += self._sampler.draw(self._states, self._rngs, rho, pi, mu, n, counts, sums)
        return counts, sums


def _sampler_of(problem: Problem, opponents: Opponents, states: States, horizon: int | None) -> Sampler:
    roll_in = isinstance(states, str) and states == "roll-in"
    if opponents == "separate":
        found = separate_sampler(problem)
        return found if horizon is None else roll_out_sampler(problem, horizon, roll_in)
    if horizon is not None:
        return roll_out_sampler(problem, horizon, roll_in)
    return roll_in_sampler(problem) if roll_in else sampler(problem)


def check_opponents(what: str, opponents: Any) -> None:
    """Raise InvalidProblemError unless ``opponents`` is "shared" or "separate"."""
    if not (isinstance(opponents, str) and opponents in get_args(Opponents)):
        raise InvalidProblemError(what, [f'opponents is {opponents!r}: use "shared" or "separate"'])


def check_whole(what: str, name: str, value: Any) -> int:
    """Return ``value`` as an int; raise InvalidProblemError unless it is an integer of at least 1."""
    whole = isinstance(value, (int, float, np.integer, np.floating)) and np.isfinite(value)
    if not whole or int(value) != value or value < 1:
        raise InvalidProblemError(what, [f"{name} is {value}, expected an integer of at least 1"])
    return int(value)
