"""Preference games: two answers, one question, a probability that the first is preferred."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.arrays import FloatArray, read_only
from rebel_theory.problems.bandit import check_sizes
from rebel_theory.problems.base import Problem, checking, initial_distribution, normalised

SYMMETRY_TOLERANCE = 1e-6  # matrices printed with six decimals pass


@dataclass(frozen=True, eq=False, init=False)
class PreferenceGame(Problem):
    """A symmetric zero-sum game of preferences, possibly intransitive.

    Parameters
    ----------
    preference : shape (Y, Y), (X, Y, Y), or (..., X, Y, Y) for a batch
        ``preference[x, y, z]`` = probability that y is preferred to z in context x; P + P^T = 1.
    context_dist : shape (X,), optional
        Uniform by default.

    Notes
    -----
    The payoff is l = 2 P - 1 in [-1, 1], skew-symmetric. A game given as (Y, Y) has one context; its policies
    may be given as (Y,) or (1, Y).
    """

    preference: FloatArray  # (..., X, Y, Y)
    context_dist: FloatArray  # (..., X)
    contextual: bool

    def __init__(self, preference: ArrayLike, *, context_dist: ArrayLike | None = None) -> None:
        with checking("PreferenceGame") as checks:
            p = checks.array("preference", preference, "probabilities of shape (Y, Y) or (X, Y, Y)")
            if not checks.require(
                p.ndim >= 2 and p.shape[-1] == p.shape[-2],
                f"preference has shape {p.shape}, expected a square matrix (Y, Y) or one per context (X, Y, Y)",
            ):
                checks.finish()
            contextual = p.ndim > 2
            axes = ("x", "y", "z") if contextual else ("y", "z")
            n_contexts = p.shape[-3] if contextual else 1
            check_sizes(checks, "preference", n_contexts, p.shape[-1], "context")
            checks.finite("preference", p, axes)
            with np.errstate(invalid="ignore"):
                checks.entries(
                    (p < 0) | (p > 1), "preference", axes, p,
                    "is {value}, expected a probability in [0, 1]: for win counts use rebel_envs.from_win_matrix",
                )  # fmt: skip
            total = p + np.swapaxes(p, -1, -2)
            bad = np.triu(np.abs(total - 1) > SYMMETRY_TOLERANCE)
            checks.entries(
                bad, "preference", axes, total,
                "plus its mirror image is {value}, expected 1: P[y, z] + P[z, y] must be 1 (0.5 on the diagonal)",
            )  # fmt: skip
            rho = initial_distribution(checks, context_dist, n_contexts, name="context_dist", axis="x")
        symmetric = (p + 1 - np.swapaxes(p, -1, -2)) / 2
        symmetric = symmetric if contextual else symmetric[None]
        symmetric.setflags(write=False)
        object.__setattr__(self, "preference", symmetric)
        object.__setattr__(self, "context_dist", normalised(rho))
        object.__setattr__(self, "contextual", contextual)

    @cached_property
    def payoff(self) -> FloatArray:
        """Payoffs l = 2 P - 1, shape (..., X, Y, Y), exactly skew-symmetric; formed once, read-only."""
        return read_only(self.preference - np.swapaxes(self.preference, -1, -2))

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape (X,)."""
        return (int(self.preference.shape[-3]),)

    @property
    def n_contexts(self) -> int:
        """Number of contexts X."""
        return int(self.preference.shape[-3])

    @property
    def n_actions(self) -> int:
        """Number of actions Y."""
        return int(self.preference.shape[-1])

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Leading axes: a batch of instances."""
        return np.broadcast_shapes(self.preference.shape[:-3], self.context_dist.shape[:-1])

    def _natural_policy(self, array: FloatArray) -> FloatArray:
        """Complete (..., Y) to (..., 1, Y) for a game without contexts."""
        if not self.contextual and array.ndim >= 1 and (array.ndim == 1 or array.shape[-2] != 1):
            return array[..., None, :]
        return array
