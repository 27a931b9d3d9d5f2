"""How each problem is sampled: bandits by noisy rewards, games by binary outcomes, in kernels."""

from __future__ import annotations

from functools import singledispatch
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.random import Generator

from rebel_theory.arrays import FloatArray
from rebel_theory.problems import BernoulliNoise, ContextualBandit, Game, GaussianNoise, PreferenceGame
from rebel_theory.problems.base import InvalidProblemError

Opponents: TypeAlias = Literal["shared", "separate"]


class Sampler(Protocol):
    """Draws n pairs (or single actions) a seed and adds them up in directed cells.

    Attributes
    ----------
    work : float
        What an answer weighs in the choice between one thread and all: 1 where answers are observed directly, more
        for roll-outs, though less than their length. Under load another thread may come milliseconds late.
    """

    work: float

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


@singledispatch
def separate_sampler(problem: Any) -> Sampler:
    """Return how a game is sampled when each answer of a pair meets its own y''."""
    raise InvalidProblemError(
        "Sampled", [f'opponents="separate" is for preference games: leave it out for a {type(problem).__name__}']
    )


@singledispatch
def roll_in_sampler(problem: Any) -> Sampler:
    """Return how a problem is sampled when rows are reached by roll-in; it does not read ``rho``."""
    raise InvalidProblemError(
        "Sampled", [f'states="roll-in" is not available for a {type(problem).__name__}: use "occupancy"']
    )


@roll_in_sampler.register(ContextualBandit)
@roll_in_sampler.register(Game)
def _(problem: ContextualBandit | Game) -> Sampler:
    """Return the sampler itself: an episode of one step starts where it is sampled."""
    return sampler(problem)


@sampler.register(ContextualBandit)
class _Rewards:
    work = 1.0

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
    work = 1.0

    def __init__(self, problem: PreferenceGame, shared: bool = True) -> None:
        self._preference, self._shared = problem.preference, shared

    def draw(
        self, states: Any, rngs: list[Generator], rho: FloatArray, pi: FloatArray, mu: FloatArray, n: int,
        counts: FloatArray, sums: FloatArray,
    ) -> FloatArray:  # fmt: skip
        from rebel_theory.kernels import sampling as kernels

        kernels.all_outcomes(states, rho, pi, mu, n, self._preference, self._shared, counts, sums)
        return np.full(len(rngs), float(n) * (2 if counts.shape[-1] > 1 else 1))


@separate_sampler.register
def _(problem: PreferenceGame) -> Sampler:
    return _Outcomes(problem, shared=False)
