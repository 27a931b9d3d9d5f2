"""The comparison of algorithms on a win matrix as one figure: gaps, who is played, and the paths."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from rebel_bench.atomic import whole_file
from rebel_bench.game.analysis import Analysis
from rebel_bench.game.figures import label
from rebel_bench.game.versus import Contender, Versus, drawn_updates
from rebel_bench.style import Venue, figure, line, save
from rebel_theory.arrays import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STEPS = 4000  # of a path
_FLOOR = 1e-10  # below this a duality gap is drawn at the lower edge
_ROWS = 8  # names whose probabilities are drawn
_OWN_STYLE, _SKY = ("REBEL", "NPG", "MD"), 4  # sky is REBEL's colour
_PATHS = "paths of the iterates (circle: start, star: winner)"
_NAME_FONTS = ["serif", "DejaVu Sans"]


def draw(found: Analysis, versus: Versus, folder: Path, stem: str, venue: Venue = "neurips") -> list[Path]:
    """Write ``stem``.comparison as PNG, PDF and data (Parquet curves, CSV policies); return the paths."""
    with figure(venue, (2, 2)) as fig, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        plot(fig, found, versus)
        files = [*save(fig, folder / f"{stem}.comparison")]
    t = np.arange(versus.n_iterations + 1)
    curves = pd.concat(
        [
            pd.DataFrame(
                {"algorithm": c.name, "seed": k, "updates": t, "last_gap": c.last[k], "average_gap": c.average[k]}
            )
            for c in versus.contenders
            for k in range(versus.n_seeds)
        ]
    )
    policies = pd.DataFrame({"name": found.names, "winner": found.winner.policy})
    for c in versus.contenders:
        policies[c.name] = c.final.mean(axis=0)
    tables: list[tuple[str, Callable[[Path], Any]]] = [
        ("comparison.parquet", lambda p: curves.to_parquet(p, index=False)),
        ("comparison-policies.csv", lambda p: policies.to_csv(p, index=False)),
    ]
    for name, write in tables:
        path = folder / f"{stem}.{name}"
        with whole_file(path) as temporary:
            write(temporary)
        files.append(path)
    return files


def plot(fig: Figure, found: Analysis, versus: Versus) -> None:
    """Draw the four panels; the legend, common to all, is below."""
    fig.set_layout_engine("constrained")
    width = float(fig.get_figwidth())
    fig.set_figheight(0.88 * width)
    grid = fig.add_gridspec(2, 2, height_ratios=[1.0, 1.1])
    last = fig.add_subplot(grid[0, 0])
    average = fig.add_subplot(grid[0, 1], sharex=last, sharey=last)
    curves(last, versus, average=False)
    curves(average, versus, average=True)
    last.set_ylim(bottom=0.5 * lowest_gap(versus))
    last.set(ylabel="duality gap (payoff units)", title="last iterate", xlabel="updates $t$")
    average.set(title="average iterate", xlabel="updates $t$")
    average.tick_params(labelleft=False)
    _players(fig.add_subplot(grid[1, 0]), found, versus)
    if len(found.names) == 3:
        import mpltern  # noqa: F401 - registers the projection "ternary"

        _ternary(fig.add_subplot(grid[1, 1], projection="ternary"), found, versus)
    else:
        _projection(fig.add_subplot(grid[1, 1]), found, versus)
    handles, labels = last.get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=min(5, len(labels)), fontsize=7, handlelength=3)


def style_of(versus: Versus, k: int) -> dict[str, Any]:
    """Return how the k-th algorithm is drawn everywhere."""
    names = [c.name for c in versus.contenders]
    others = [name for name in names if name not in _OWN_STYLE]
    index = others.index(names[k]) if names[k] in others else 0
    return line(names[k], index + (index >= _SKY)) | {"label": label(names[k])}


def curves(ax: Axes, versus: Versus, *, average: bool) -> None:
    """Draw gaps over updates: mean over seeds, range shaded, and the bias of regularised games as thin lines."""
    t = drawn_updates(versus.n_iterations)
    for k, c in enumerate(versus.contenders):
        gaps = np.maximum(c.average if average else c.last, _FLOOR)[:, t]
        style = style_of(versus, k) | {"linewidth": 1.2, "markersize": 3.0, "markevery": _spread(t, k)}
        ax.plot(t, gaps.mean(axis=0), **style)
        if len(gaps) > 1:
            ax.fill_between(t, gaps.min(axis=0), gaps.max(axis=0), color=style["color"], alpha=0.15, linewidth=0)
        if c.bias is not None and c.bias > _FLOOR:
            ax.axhline(c.bias, color=style["color"], linewidth=0.6, linestyle=(0, (1, 1.5)), zorder=1)
    ax.set(xscale="log", yscale="log")


def lowest_gap(versus: Versus) -> float:
    """Return the lowest gap that is drawn: a single touch of 0 does not set the scale."""
    ends = [np.quantile(gaps, 0.01) for c in versus.contenders for gaps in (c.last, c.average)]
    return max(float(min(ends)), _FLOOR)


def _spread(t: Any, k: int) -> list[int]:
    """Return the places of a few markers, evenly over the logarithm of t, taking turns between algorithms."""
    at = np.geomspace(t[0], t[-1], 6)[:-1] * (t[-1] / t[0]) ** (0.03 * (1 + k % 6))
    return [int(i) for i in np.unique(np.searchsorted(t, at).clip(0, len(t) - 1))]


# -- who is played -------------------------------------------------------------------------------------------


def _players(ax: Axes, found: Analysis, versus: Versus) -> None:
    """Draw what each last policy plays, the winner's names first; the rest is one row."""
    shown = _shown(found, versus)
    n, k = len(found.names), len(versus.contenders)
    rest = [i for i in range(n) if i not in shown]

    def rows_of(probs: FloatArray) -> FloatArray:
        return np.append(probs[shown], probs[rest].sum() if rest else [])

    rows = np.arange(len(shown) + bool(rest))
    ax.barh(
        rows, rows_of(found.winner.policy), height=0.9, color="0.88", edgecolor="0.55", linewidth=0.5,
        label="von Neumann winner",
    )  # fmt: skip
    for j, c in enumerate(versus.contenders):
        style = style_of(versus, j)
        offset = 0.7 * ((j + 0.5) / k - 0.5)
        ax.plot(
            rows_of(c.final.mean(axis=0)), rows + offset, linestyle="", marker=style["marker"], markersize=3.2,
            color=style["color"],
        )  # fmt: skip
    names = [label(found.names[i]) for i in shown]
    ax.set_yticks(rows, names + [f"{len(rest)} others"] * bool(rest))
    for text in ax.get_yticklabels():
        text.set(fontsize=6.5, fontfamily=_NAME_FONTS)
    ax.invert_yaxis()
    ax.set_xlim(left=0)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("probability in the last policy")
    ax.set_title("who is played (bars: the winner)", fontsize=8)


def _shown(found: Analysis, versus: Versus) -> list[int]:
    """Return the names that get a row: the winner's, then those most played by anyone."""
    most = np.max([c.final.mean(axis=0) for c in versus.contenders], axis=0)
    order = list(found.support) + [int(i) for i in np.argsort(-most, kind="stable") if i not in found.support]
    return order if len(order) <= _ROWS else order[: _ROWS - 1]


# -- paths ---------------------------------------------------------------------------------------------------


def _path(c: Contender, names: Sequence[int]) -> FloatArray:
    """Return the iterates' probabilities of some names, thinned evenly, (points, len(names))."""
    assert c.paths is not None
    iterates = c.paths[0]
    step = -(-len(iterates) // _STEPS)
    thinned: FloatArray = np.concatenate([iterates[:-1:step], iterates[-1:]])[:, list(names)]
    return thinned


def _ternary(ax: Any, found: Analysis, versus: Versus) -> None:
    """Draw the iterates in the simplex of three names."""
    if versus.contenders[0].paths is None:
        _too_many(ax)
        return
    for k, c in enumerate(versus.contenders):
        style = style_of(versus, k)
        path = _path(c, (0, 1, 2))
        ax.plot(*path.T, color=style["color"], linewidth=0.7, linestyle=style["linestyle"], zorder=2 + 0.1 * k)
        ax.plot(*path[-1:].T, marker=style["marker"], color=style["color"], markersize=4, zorder=4)
    ax.plot(*found.winner.policy[:, None], marker="*", color="black", markersize=8, zorder=5)
    ax.plot(*versus.first[:, None], marker="o", color="white", markeredgecolor="black", markersize=4, zorder=5)
    for name, side in zip(found.names, (ax.set_tlabel, ax.set_llabel, ax.set_rlabel), strict=True):
        side(label(name), fontsize=7, fontfamily=_NAME_FONTS)
    for axis in (ax.taxis, ax.laxis, ax.raxis):
        axis.set_ticks([])
        axis.set_label_position("corner")
    ax.set_title(_PATHS, fontsize=8, pad=16)


def _projection(ax: Axes, found: Analysis, versus: Versus) -> None:
    """Draw the probabilities of two names, the winner's most played; below the slanted line is the simplex."""
    if versus.contenders[0].paths is None:
        _too_many(ax)
        return
    x, y = _shown(found, versus)[:2]
    for k, c in enumerate(versus.contenders):
        style = style_of(versus, k)
        path = _path(c, (x, y))
        ax.plot(*path.T, color=style["color"], linewidth=0.7, linestyle=style["linestyle"], zorder=2 + 0.1 * k)
        ax.plot(*path[-1:].T, marker=style["marker"], color=style["color"], markersize=4, zorder=4)
    ax.plot([0, 1], [1, 0], color="0.6", linewidth=0.6)
    ax.plot(*found.winner.policy[[x, y], None], marker="*", color="black", markersize=8, zorder=5, linestyle="")
    ax.plot(*versus.first[[x, y], None], marker="o", color="white", markeredgecolor="black", markersize=4, zorder=5)
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    for name, write in ((found.names[x], ax.set_xlabel), (found.names[y], ax.set_ylabel)):
        write(f"probability of {label(name)}", fontfamily=_NAME_FONTS)
    ax.set_title(_PATHS, fontsize=8)


def _too_many(ax: Any) -> None:
    ax.axis("off")
    ax.text(0.5, 0.5, "too many iterates\nto keep their paths", transform=ax.transAxes, ha="center", va="center")
