"""How each problem is sampled: bandits by noisy rewards, games by binary outcomes, in kernels."""

from __future__ import annotations

from functools import singledispatch
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.random import Generator

from rebel_theory.arrays import FloatArray
from rebel_theory.problems import BernoulliNoise, ContextualBandit, Game, GaussianNoise, NoNoise, PreferenceGame
from rebel_theory.problems.base import InvalidProblemError

Opponents: TypeAlias = Literal["shared", "separate"]

_JOINT_FROM = 2  # pairs a cell: from here an alias table of all cells (x, y, y') pays (measured)
_JOINT_CELLS = 2**16  # what fits into the second-level cache
_STREAM_PAIRS = 8192  # at least, in a stream of its own
_MOST_STREAMS = 6  # doublings
_SEEDS_TO_SHARE = 8  # from here threads share out the seeds, below it the streams of one


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


def _draw(
    kind: int, signal: FloatArray, scale: float, states: Any, rho: FloatArray, pi: FloatArray, mu: FloatArray, n: int,
    counts: FloatArray, sums: FloatArray,
) -> FloatArray:  # fmt: skip
    """Fill ``counts`` and ``sums`` with n pairs a seed; return the number of queries.

    How a sample is drawn depends on its size and the problem's only: on neither the threads nor the other seeds.
    """
    from rebel_theory.kernels import pairs as kernels

    cells = counts[0].size
    joint = n >= _JOINT_FROM * cells and cells <= _JOINT_CELLS
    streams = 2 ** min(int(n // max(_STREAM_PAIRS, 2 * cells)).bit_length(), _MOST_STREAMS + 1) // 2
    few = len(pi) < _SEEDS_TO_SHARE and streams > 1
    draw = kernels.draw_streams if few else kernels.draw_seeds
    flat = counts.reshape(len(pi), cells), sums.reshape(len(pi), cells)
    # the rows of bandits and games are drawn from one law, whatever the policy
    draw(states, rho[0], pi, mu, n, max(streams, 1), joint, kind, signal, scale, *flat)
    return np.full(len(pi), float(n) * (2 if counts.shape[-1] > 1 else 1))


@sampler.register(ContextualBandit)
class _Rewards:
    work = 1.0

    def __init__(self, problem: ContextualBandit) -> None:
        from rebel_theory.kernels import pairs as kernels

        self._reward, self._noise = problem.reward, problem.noise
        self._signal = problem.reward.flatten()
        kinds = {BernoulliNoise: kernels.BERNOULLI, GaussianNoise: kernels.GAUSSIAN}
        self._kind = kinds.get(type(problem.noise), kernels.MEANS)

    def draw(
        self, states: Any, rngs: list[Generator], rho: FloatArray, pi: FloatArray, mu: FloatArray, n: int,
        counts: FloatArray, sums: FloatArray,
    ) -> FloatArray:  # fmt: skip
        noise, scale = self._noise, 1.0
        if isinstance(noise, GaussianNoise):  # the difference of two normals is one
            scale = noise.sigma * (np.sqrt(2.0) if counts.shape[-1] > 1 else 1.0)
        seen = _draw(self._kind, self._signal, float(scale), states, rho, pi, mu, n, counts, sums)
        if not isinstance(noise, NoNoise | BernoulliNoise | GaussianNoise):
            self._sum_cells(rngs, counts, sums)
        return seen

    def _sum_cells(self, rngs: list[Generator], counts: FloatArray, sums: FloatArray) -> None:
        """Fill the sums of a noise of the user's own, cell by cell."""
        for i, rng in enumerate(rngs):
            n = counts[i].astype(np.int64)
            sums[i] = self._noise.sample_sum(rng, np.broadcast_to(self._reward[..., None], n.shape), n)
            if n.shape[-1] > 1:
                sums[i] -= self._noise.sample_sum(rng, np.broadcast_to(self._reward[..., None, :], n.shape), n)


@sampler.register(PreferenceGame)
class _Outcomes:
    work = 1.0

    def __init__(self, problem: PreferenceGame, shared: bool = True) -> None:
        self._signal, self._shared = problem.preference.flatten(), shared

    def draw(
        self, states: Any, rngs: list[Generator], rho: FloatArray, pi: FloatArray, mu: FloatArray, n: int,
        counts: FloatArray, sums: FloatArray,
    ) -> FloatArray:  # fmt: skip
        from rebel_theory.kernels import pairs as kernels

        kind = kernels.SHARED if self._shared else kernels.SEPARATE
        scale = 2.0 if counts.shape[-1] > 1 else 1.0
        return _draw(kind, self._signal, scale, states, rho, pi, mu, n, counts, sums)


@separate_sampler.register
def _(problem: PreferenceGame) -> Sampler:
    return _Outcomes(problem, shared=False)
