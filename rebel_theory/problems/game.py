"""Preference games: two answers, one question, a probability that the first is preferred."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.arrays import FloatArray, batch_products, read_only
from rebel_theory.problems.bandit import check_sizes
from rebel_theory.problems.base import Checks, Problem, checking, context_vectors, initial_distribution, normalised

SYMMETRY_TOLERANCE = 1e-6  # matrices printed with six decimals pass
_SKEW_ACTIONS = 256  # from here a product over half the matrix is faster than a library's over all of it
_BLOCKED_ACTIONS = 1_000  # from here preferences are checked by blocks, and named one by one only if that fails
_BLOCK = 256
_EXACT_ACTIONS = 2_000  # up to here all payoffs of a low-rank game are looked at
_ROUNDING = 1e-9


class Game(Problem):
    """A symmetric zero-sum game, as an algorithm sees it: contexts, and payoffs against a policy."""

    context_dist: FloatArray  # (..., X)
    contextual: bool

    @abstractmethod
    def payoffs_against(self, probs: FloatArray) -> FloatArray:
        """Return E_{y''~probs} l(x, y, y'') for rows ``probs`` (..., X, Y), which are trusted; shape (..., X, Y)."""

    def _natural_policy(self, array: FloatArray) -> FloatArray:
        """Complete (..., Y) to (..., 1, Y) for a game without contexts."""
        if not self.contextual and array.ndim >= 1 and (array.ndim == 1 or array.shape[-2] != 1):
            return array[..., None, :]
        return array


@dataclass(frozen=True, eq=False, init=False)
class PreferenceGame(Game):
    """A symmetric zero-sum game of preferences, possibly intransitive.

    Parameters
    ----------
    preference : shape (Y, Y), (X, Y, Y), or (..., X, Y, Y) for a batch
        ``preference[x, y, z]`` = probability that y is preferred to z in context x; P + P^T = 1.
    context_dist : shape (X,), optional
        Uniform by default.
    contexts : shape (X, k), optional
        What is known of each context: the inputs of a ``TorchPolicy`` that brings none. A batch shares them.

    Notes
    -----
    The payoff is l = 2 P - 1 in [-1, 1], skew-symmetric. A game given as (Y, Y) has one context; its policies
    may be given as (Y,) or (1, Y).
    """

    preference: FloatArray  # (..., X, Y, Y)
    context_dist: FloatArray  # (..., X)
    contextual: bool
    contexts: FloatArray | None  # (X, k)
    _own_axes: ClassVar[dict[str, int]] = {"preference": 3, "context_dist": 1}

    def __init__(
        self, preference: ArrayLike, *, context_dist: ArrayLike | None = None, contexts: ArrayLike | None = None
    ) -> None:
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
            if not _in_order(p):
                _check_preferences(checks, p, axes)
            rho = initial_distribution(checks, context_dist, n_contexts, name="context_dist", axis="x")
            vectors = context_vectors(checks, contexts, n_contexts)
        symmetric = _symmetrised(p if contextual else p[None])
        object.__setattr__(self, "preference", symmetric)
        object.__setattr__(self, "context_dist", normalised(rho))
        object.__setattr__(self, "contextual", contextual)
        object.__setattr__(self, "contexts", vectors)

    @cached_property
    def payoff(self) -> FloatArray:
        """Payoffs l = 2 P - 1, shape (..., X, Y, Y), exactly skew-symmetric; formed once, read-only."""
        return read_only(self.preference - np.swapaxes(self.preference, -1, -2))

    def payoffs_against(self, probs: FloatArray) -> FloatArray:
        """Return the payoff of every action: a half product for one policy on many actions, one GEMM for many."""
        payoff, shape = self.payoff, probs.shape
        if payoff.ndim > 3:
            batched: FloatArray = np.matmul(payoff, probs[..., None])[..., 0]
            return batched
        if probs.ndim == 2 and shape[-1] >= _SKEW_ACTIONS:
            from rebel_theory.kernels.games import skew_product

            one = np.empty(shape[-2:])
            for x in range(shape[-2]):
                skew_product(payoff[x], np.ascontiguousarray(probs[x]), one[x])
            return one
        return batch_products(probs, np.swapaxes(payoff, -1, -2))

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


def _in_order(p: FloatArray) -> bool:
    """Return whether large preferences are probabilities with P + P^T = 1: by blocks, no temporary of their size."""
    n = p.shape[-1]
    if n < _BLOCKED_ACTIONS:
        return False
    for low in range(0, n, _BLOCK):
        rows, columns = p[..., low : low + _BLOCK, :], np.swapaxes(p[..., low : low + _BLOCK], -1, -2)
        if not (rows.min() >= 0 and rows.max() <= 1 and np.abs(rows + columns - 1).max() <= SYMMETRY_TOLERANCE):
            return False  # NaN compares False
    return True


def _check_preferences(checks: Checks, p: FloatArray, axes: tuple[str, ...]) -> None:
    """Record every entry that is not a probability, and every pair that does not add up to 1."""
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


def _symmetrised(p: FloatArray) -> FloatArray:
    """Return (P + 1 - P^T) / 2, read-only."""
    result = np.empty(p.shape)
    for low in range(0, p.shape[-1], _BLOCK):
        part = result[..., low : low + _BLOCK, :]
        np.subtract(p[..., low : low + _BLOCK, :] + 1, np.swapaxes(p[..., low : low + _BLOCK], -1, -2), out=part)
        part /= 2
    result.setflags(write=False)
    return result


@dataclass(frozen=True, eq=False, init=False)
class LowRankGame(Game):
    """A game without contexts of rank 2 r, payoffs l = U V^T - V U^T, for up to millions of actions.

    Parameters
    ----------
    u, v : shape (Y, r)
        An action's strengths and what they are measured by; r = 1 is a disc game (Balduzzi et al. 2019,
        arXiv:1901.08106). Payoffs must lie in [-1, 1]; |l(y, z)| <= |(u, v)(y)| |(u, v)(z)|, so rows of norm at most 1
        are enough, and asked for above 2,000 actions.

    Examples
    --------
    Rock, paper, scissors on the circle; each loses sin(120 degrees) to the next:

    >>> angle = 2 * np.pi / 3 * np.arange(3)
    >>> game = LowRankGame(np.cos(angle)[:, None], np.sin(angle)[:, None])
    >>> game.payoffs_against(np.array([[1.0, 0.0, 0.0]])).round(3) + 0.0
    array([[ 0.   , -0.866,  0.866]])
    """

    u: FloatArray  # (Y, r)
    v: FloatArray  # (Y, r)
    context_dist: FloatArray  # (1,)
    contextual: bool

    def __init__(self, u: ArrayLike, v: ArrayLike) -> None:
        with checking("LowRankGame") as checks:
            first = checks.array("u", u, "numbers of shape (Y, r)")
            second = checks.array("v", v, "numbers of shape (Y, r)")
            if checks.require(
                first.ndim == 2 and first.shape == second.shape and first.size > 0,
                f"u and v have shapes {first.shape} and {second.shape}, expected one shape (Y, r)",
            ):
                check_sizes(checks, "u", 1, first.shape[0], "context")
                checks.finite("u", first, ("y", "i"))
                checks.finite("v", second, ("y", "i"))
                if not checks.failed:
                    _check_payoffs(checks, first, second)
        object.__setattr__(self, "u", first)
        object.__setattr__(self, "v", second)
        object.__setattr__(self, "context_dist", normalised(np.ones(1)))
        object.__setattr__(self, "contextual", False)

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape (1,)."""
        return (1,)

    @property
    def n_actions(self) -> int:
        """Number of actions Y."""
        return int(self.u.shape[0])

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Always (): one instance."""
        return ()

    def payoffs_against(self, probs: FloatArray) -> FloatArray:
        """Return U (V^T pi) - V (U^T pi) for rows (..., 1, Y), four tall products for all policies together."""
        result: FloatArray = (probs @ self.v) @ self.u.T - (probs @ self.u) @ self.v.T
        return result

    def dense(self) -> PreferenceGame:
        """Return the same game with its Y x Y preferences written out."""
        half = self.u @ self.v.T
        return PreferenceGame(np.clip(0.5 + (half - half.T) / 2, 0.0, 1.0))


def _check_payoffs(checks: Checks, u: FloatArray, v: FloatArray) -> None:
    norm = (u**2).sum(axis=1) + (v**2).sum(axis=1)
    if norm.max() <= 1 + _ROUNDING:
        return
    if len(u) > _EXACT_ACTIONS:
        y = int(norm.argmax())
        checks.add(
            f"|u[{y}]|^2 + |v[{y}]|^2 is {norm[y]:.6g}, expected at most 1, which keeps every payoff in [-1, 1]: "
            f"divide u and v by {np.sqrt(norm[y]):.6g}"
        )
        return
    half = u @ v.T
    largest = float(np.abs(half - half.T).max())
    checks.require(
        largest <= 1 + _ROUNDING,
        f"the largest payoff is {largest:.6g}, expected at most 1: divide u and v by {np.sqrt(largest):.6g}",
    )
