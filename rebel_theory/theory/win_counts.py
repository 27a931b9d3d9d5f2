"""Win counts as they are given: what must hold of them, and what their graph of comparisons must hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.arrays import BoolArray, FloatArray
from rebel_theory.problems.base import checking


def checked_wins(
    wins: ArrayLike,
    weights: ArrayLike | None,
    ridge: float,
    names: Sequence[str] | None,
    whole: bool = False,
) -> FloatArray:
    """Return the (Y, Y) array of wins with a zero diagonal; every violated condition is raised together."""
    what = "counts" if whole else "wins"
    with checking("Bradley-Terry") as checks:
        w = checks.array(what, wins, "a square matrix (Y, Y) of wins or probabilities")
        if not checks.require(
            w.ndim == 2 and w.shape[0] == w.shape[1] and w.shape[0] >= 1,
            f"{what} has shape {w.shape}, expected a square matrix (Y, Y)",
        ):
            checks.finish()
        n = w.shape[0]
        axes = ("y", "z")
        checks.finite(what, w, axes)
        off = ~np.eye(n, dtype=np.bool_)
        with np.errstate(invalid="ignore"):
            checks.entries(off & (w < 0), what, axes, w, "is {value}, expected a number of wins >= 0: remove the sign")
            if whole:
                checks.entries(
                    off & np.isfinite(w) & (w != np.round(w)), what, axes, w,
                    "is {value}, expected a whole number of wins: multiply rates by the numbers of games",
                )  # fmt: skip
        checks.require(
            bool(np.isfinite(ridge)) and ridge >= 0,
            f"ridge is {ridge}, expected a number >= 0: 0 is no penalty",
        )
        checks.require(
            names is None or len(names) == n,
            f"names has {len(names) if names is not None else 0} entries, expected {n}: one per row",
        )
        factor = np.ones((n, n))
        if weights is not None:
            factor = checks.array("weights", weights, "a symmetric matrix (Y, Y) of numbers of comparisons")
            if not checks.require(
                factor.shape == w.shape, f"weights has shape {factor.shape}, expected {w.shape}: one per pair"
            ):
                checks.finish()
            checks.finite("weights", factor, axes)
            with np.errstate(invalid="ignore"):
                checks.entries(factor < 0, "weights", axes, factor, "is {value}, expected >= 0: remove the sign")
                checks.entries(
                    np.triu(factor != factor.T), "weights", axes, factor,
                    "differs from its mirror image, expected a symmetric matrix: both count the same games",
                )  # fmt: skip
    return np.where(off, w * factor, 0.0)


def require_connected(wins: FloatArray, names: Sequence[str] | None) -> None:
    """Raise ValueError, naming them, if some actions were never compared with the others."""
    group = _group(wins + wins.T > 0, strong=False)
    if not group.all():
        was = "was" if group.sum() == 1 else "were"
        raise ValueError(
            f"{_listing(group, names)} {was} never compared with the others, so their relative strength is "
            "undetermined: add comparisons, fit the groups separately, or set ridge > 0 in bradley_terry"
        )


def require_finite_maximum(wins: FloatArray, names: Sequence[str] | None) -> None:
    """Raise ValueError, naming them, if some actions never lost to the others or were never compared with them."""
    require_connected(wins, names)
    group = _group(wins > 0, strong=True)
    if not group.all():
        raise ValueError(
            f"{_listing(group, names)} never lost to the others, so the maximum-likelihood strengths are "
            "infinite: set ridge > 0 (say 0.1: a Gaussian prior of variance 10), or add comparisons"
        )


def _group(edges: BoolArray, *, strong: bool) -> BoolArray:
    """Return the mask of a component that no edge enters: all True when the graph is (strongly) connected."""
    from scipy.sparse.csgraph import connected_components

    _, labels = connected_components(edges, directed=strong, connection="strong")
    for component in range(labels.max() + 1):
        inside: BoolArray = labels == component
        if not edges[np.ix_(~inside, inside)].any():
            return inside
    raise AssertionError("a finite graph has a source component")  # pragma: no cover


def _listing(group: BoolArray, names: Sequence[str] | None) -> str:
    members = np.flatnonzero(group)
    shown = [f"{names[i]} (index {i})" if names is not None else f"index {i}" for i in members[:5]]
    rest = f" and {members.size - 5} more" if members.size > 5 else ""
    return ", ".join(shown) + rest
