"""Contextual bandits and the laws of their reward noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from rebel_theory.arrays import FloatArray, IntArray
from rebel_theory.problems.base import Checks, Problem, checking, context_vectors, initial_distribution, normalised


@runtime_checkable
class Noise(Protocol):
    """The law of an observed reward around its mean."""

    def sample(self, rng: Generator, mean: FloatArray) -> FloatArray:
        """Return one observation per entry of ``mean``, same shape."""

    def sample_sum(self, rng: Generator, mean: FloatArray, count: IntArray) -> FloatArray:
        """Return the sum of ``count`` independent observations per entry of ``mean``, exact in distribution."""

    def check(self, checks: Checks, reward: FloatArray) -> None:
        """Record what makes ``reward`` impossible under this law."""


@dataclass(frozen=True, slots=True)
class NoNoise:
    """Rewards are observed exactly."""

    def sample(self, rng: Generator, mean: FloatArray) -> FloatArray:
        """Return ``mean`` itself."""
        return mean

    def sample_sum(self, rng: Generator, mean: FloatArray, count: IntArray) -> FloatArray:
        """Return ``count * mean``."""
        return mean * count

    def check(self, checks: Checks, reward: FloatArray) -> None:
        """Accept any reward."""


@dataclass(frozen=True, slots=True)
class BernoulliNoise:
    """Rewards are 0 or 1 with the given mean, which must lie in [0, 1]."""

    def sample(self, rng: Generator, mean: FloatArray) -> FloatArray:
        """Return independent Bernoulli draws, same shape as ``mean``."""
        return (rng.random(mean.shape) < mean).astype(np.float64)

    def sample_sum(self, rng: Generator, mean: FloatArray, count: IntArray) -> FloatArray:
        """Return binomial draws, same shape as ``mean``."""
        return rng.binomial(count, mean).astype(np.float64)

    def check(self, checks: Checks, reward: FloatArray) -> None:
        """Record means outside [0, 1]."""
        with np.errstate(invalid="ignore"):
            bad = (reward < 0) | (reward > 1)
        checks.entries(
            bad, "reward", ("x", "y"), reward,
            "is {value}, expected a mean in [0, 1] under BernoulliNoise: rescale the rewards or use GaussianNoise",
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class GaussianNoise:
    """Rewards are the mean plus a normal variable of standard deviation ``sigma`` (reward units)."""

    sigma: float

    def __post_init__(self) -> None:
        with checking("GaussianNoise") as checks:
            checks.require(
                bool(np.isfinite(self.sigma)) and self.sigma >= 0,
                f"sigma is {self.sigma}, expected a finite standard deviation >= 0",
            )

    def sample(self, rng: Generator, mean: FloatArray) -> FloatArray:
        """Return ``mean`` plus independent normal noise, same shape."""
        return mean + self.sigma * rng.standard_normal(mean.shape)

    def sample_sum(self, rng: Generator, mean: FloatArray, count: IntArray) -> FloatArray:
        """Return normal draws of mean ``count * mean`` and variance ``count * sigma^2``."""
        return mean * count + self.sigma * np.sqrt(count) * rng.standard_normal(mean.shape)

    def check(self, checks: Checks, reward: FloatArray) -> None:
        """Accept any reward."""


@dataclass(frozen=True, eq=False, init=False)
class ContextualBandit(Problem):
    """A contextual bandit: x ~ ``context_dist``, an action y is chosen, a noisy reward of mean r(x, y) is seen.

    Parameters
    ----------
    reward : shape (..., X, Y)
        Mean rewards. Leading axes are a batch of instances.
    context_dist : shape (X,) or (..., X), optional
        Distribution rho of contexts, uniform by default.
    noise : Noise
        ``NoNoise()``, ``BernoulliNoise()`` or ``GaussianNoise(sigma)``.
    contexts : shape (X, k), optional
        What is known of each context: the inputs of a ``TorchPolicy`` that brings none. A batch shares them.

    Raises
    ------
    InvalidProblemError
        All violated conditions at once, each with its place and its remedy.
    """

    reward: FloatArray  # (..., X, Y)
    context_dist: FloatArray  # (..., X)
    noise: Noise
    contexts: FloatArray | None  # (X, k)
    _own_axes: ClassVar[dict[str, int]] = {"reward": 2, "context_dist": 1}

    def __init__(
        self,
        reward: ArrayLike,
        *,
        context_dist: ArrayLike | None = None,
        noise: Noise = NoNoise(),
        contexts: ArrayLike | None = None,
    ) -> None:
        with checking("ContextualBandit") as checks:
            r = checks.array("reward", reward, "mean rewards of shape (X, Y)")
            if not checks.require(
                r.ndim >= 2,
                f"reward has shape {r.shape}, expected (X, Y): for a bandit without contexts pass reward[None, :]",
            ):
                checks.finish()
            n_contexts, n_actions = r.shape[-2:]
            check_sizes(checks, "reward", n_contexts, n_actions, "context")
            checks.finite("reward", r, ("x", "y"))
            noise.check(checks, r)
            rho = initial_distribution(checks, context_dist, n_contexts, name="context_dist", axis="x")
            vectors = context_vectors(checks, contexts, n_contexts)
        object.__setattr__(self, "reward", r)
        object.__setattr__(self, "context_dist", normalised(rho))
        object.__setattr__(self, "noise", noise)
        object.__setattr__(self, "contexts", vectors)

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape (X,)."""
        return (int(self.reward.shape[-2]),)

    @property
    def n_actions(self) -> int:
        """Number of actions Y."""
        return int(self.reward.shape[-1])

    @property
    def n_contexts(self) -> int:
        """Number of contexts X."""
        return int(self.reward.shape[-2])

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Leading axes: a batch of instances."""
        return np.broadcast_shapes(self.reward.shape[:-2], self.context_dist.shape[:-1])


def check_sizes(checks: Checks, name: str, n_states: int, n_actions: int, state: str) -> None:
    """Record a problem with no states, or with fewer than two actions."""
    checks.require(n_states >= 1, f"{name} has no {state}: at least one is needed")
    checks.require(
        n_actions >= 2,
        f"{name} has {n_actions} action{'' if n_actions == 1 else 's'}: there is nothing to choose, pass at least 2",
    )
