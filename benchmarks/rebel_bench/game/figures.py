"""The figures of a win matrix, with the data behind each next to it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from rebel_bench.atomic import whole_file
from rebel_bench.game.analysis import Analysis
from rebel_bench.style import OKABE_ITO, Venue, figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NUMBERED = 12  # names up to which the cells show their numbers
_LABELLED = 60  # names up to which every row is labelled; beyond, only those that the winner plays
_LETTERS = 20  # of a name in a figure
_POINTS = 1500  # drawn of a curve, spread evenly over the logarithm of t
_CEILING = 3.0  # no duality gap exceeds 2; of the bound only what says more than that is shown
_PALEST = 1e-6  # below this a duality gap is drawn at the lower edge
# names may be in any script: STIX for Latin, DejaVu for what it lacks
_NAME_FONTS = ["serif", "DejaVu Sans"]


def draw(found: Analysis, folder: Path, stem: str, venue: Venue = "neurips") -> list[Path]:
    """Write every figure (PNG, PDF) and its data into ``folder``, each file whole, and return the paths.

    ``stem``.matrix: the win matrix by strength, next to the winner. ``stem``.self-play: the curves of
    preference REBEL and the gaps of five policies. ``stem``.simplex: the path of self-play, for three names.
    """
    plots: list[tuple[str, tuple[int, int], Callable[[Figure, Analysis], None]]] = [
        ("matrix", (1, 2), _matrix),
        ("self-play", (1, 2), _self_play),
    ]
    if found.self_play.probs is not None:
        plots.append(("simplex", (1, 1), _simplex))
    files: list[Path] = []
    for name, panels, plot in plots:
        with figure(venue, panels) as fig, warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from")  # names in a script no font has
            plot(fig, found)
            files += save(fig, folder / f"{stem}.{name}")
    return [*files, *_save_data(found, folder, stem)]


def _save_data(found: Analysis, folder: Path, stem: str) -> list[Path]:
    p, n = found.self_play, len(found.names)
    t = np.arange(p.n_iterations + 1)
    none = [np.nan]  # an average of no policies has no gap
    curves = pd.DataFrame(
        {
            "updates": t,
            "last_gap": p.last,
            "average_gap": np.concatenate([none, p.average]),
            "bound": np.concatenate([none, p.bound]),
        }
    )
    order = list(found.strengths.ranking)
    low, high = found.ranges if found.ranges is not None else (np.full(n, np.nan), np.full(n, np.nan))
    players = pd.DataFrame(
        {
            "name": [found.names[i] for i in order],
            "strength": found.strengths.fit.strengths[order],
            "winner": found.winner.policy[order],
            "winner_least": low[order],
            "winner_greatest": high[order],
        }
    )
    gaps = pd.DataFrame(
        {"policy": [g.policy for g in found.gaps], "gap": [g.gap for g in found.gaps],
         "gap_win_probability": [g.win_gap for g in found.gaps]}
    )  # fmt: skip
    sorted_names = [found.names[i] for i in order]
    matrix = pd.DataFrame(found.game.preference[0][np.ix_(order, order)], index=sorted_names, columns=sorted_names)
    tables: list[tuple[str, Callable[[Path], Any]]] = [
        ("matrix.csv", lambda path: matrix.to_csv(path)),
        ("players.csv", lambda path: players.to_csv(path, index=False)),
        ("gaps.csv", lambda path: gaps.to_csv(path, index=False)),
        ("self-play.parquet", lambda path: curves.to_parquet(path, index=False)),
    ]
    if p.probs is not None:
        path_of_play = pd.DataFrame(p.probs, columns=list(found.names)).assign(updates=t)
        tables.append(("simplex.parquet", lambda path: path_of_play.to_parquet(path, index=False)))
    files = []
    for name, write in tables:
        file = folder / f"{stem}.{name}"
        with whole_file(file) as temporary:
            write(temporary)
        files.append(file)
    return files


# -- the matrix and its winner -------------------------------------------------------------------------------


def _matrix(fig: Figure, found: Analysis) -> None:
    """Draw who beats whom by Bradley-Terry strength, and what the von Neumann winner plays on the same rows."""
    n, order = len(found.names), list(found.strengths.ranking)
    p = found.game.preference[0][np.ix_(order, order)]
    width = float(fig.get_figwidth())
    fig.set_figheight(min(max(0.62 * width, 0.115 * n + 0.9), 1.25 * width))
    heat, bars, scale = _matrix_axes(fig)
    reach = max(float(np.abs(p - 0.5).max()), 0.01)
    image = heat.imshow(p, cmap="PuOr_r", vmin=0.5 - reach, vmax=0.5 + reach, aspect="auto", interpolation="nearest")
    bar = fig.colorbar(image, cax=scale)
    bar.set_label("P(row beats column)", fontsize=8)
    scale.tick_params(labelsize=7)
    if n <= _NUMBERED:
        for i, j in np.ndindex(n, n):
            pale = abs(p[i, j] - 0.5) < 0.6 * reach
            heat.text(j, i, _short(p[i, j]), ha="center", va="center", fontsize=6, color="black" if pale else "white")
    support = found.winner.support[order]
    _name_rows(heat, [found.names[i] for i in order], support)
    heat.set_title("win matrix, strongest by Bradley-Terry first", fontsize=8)
    _winner_bars(bars, found, order)


def _matrix_axes(fig: Figure) -> tuple[Axes, Axes, Axes]:
    fig.set_layout_engine("constrained")
    grid = fig.add_gridspec(1, 3, width_ratios=[3.0, 0.09, 1.1])
    heat = fig.add_subplot(grid[0])
    scale = fig.add_subplot(grid[1])
    bars = fig.add_subplot(grid[2], sharey=heat)
    return heat, bars, scale


def _name_rows(heat: Axes, names: Sequence[str], support: Any) -> None:
    """Label the rows; those that the winner plays are bold and have a pointer, so that colour says nothing alone."""
    n = len(names)
    size = 7.0 if n <= 25 else 5.5
    rows = [i for i in range(n) if n <= _LABELLED or support[i]]
    heat.set_yticks(rows, [("\u25b6 " if support[i] else "") + label(names[i]) for i in rows])
    for text, i in zip(heat.get_yticklabels(), rows, strict=True):
        text.set(fontsize=size, fontfamily=_NAME_FONTS, fontweight="bold" if support[i] else "normal")
    heat.tick_params(axis="y", length=0, pad=2)
    if n <= _LABELLED:
        heat.set_xticks(range(n), [label(name) for name in names], rotation=90)
        for text in heat.get_xticklabels():
            text.set(fontsize=size, fontfamily=_NAME_FONTS)
        heat.tick_params(axis="x", length=0, pad=2)
    else:
        heat.set_xticks([])
        heat.set_xlabel(f"{n} names; labelled: those that the winner plays", fontsize=7)
    for spine in heat.spines.values():
        spine.set_visible(False)


def _winner_bars(bars: Axes, found: Analysis, order: list[int]) -> None:
    policy = found.winner.policy[order]
    played = np.flatnonzero(found.winner.support[order])
    bars.barh(played, policy[played], height=0.8, color=OKABE_ITO["sky"], edgecolor=OKABE_ITO["black"], linewidth=0.4)
    reach, ends = float(policy.max()), policy.copy()
    if found.ranges is not None:
        low, high = found.ranges[0][order], found.ranges[1][order]
        wide = np.flatnonzero(high - low > 0.005 * max(reach, 1e-9))  # narrower than the line itself otherwise
        if wide.size:
            bars.hlines(wide, low[wide], high[wide], color=OKABE_ITO["vermillion"], linewidth=1.2)
            bars.set_xlabel("line: policies that lose\nat most 1e-6", fontsize=6.5)
            ends[wide] = np.maximum(ends[wide], high[wide])
            reach = max(reach, float(ends.max()))
    for y in played.tolist():
        bars.text(ends[y] + 0.04 * reach, y, f"{policy[y]:.3f}", va="center", fontsize=6)
    bars.set_xlim(0, 1.4 * reach)
    bars.tick_params(axis="y", left=False, labelleft=False)
    bars.tick_params(axis="x", labelsize=7)
    bars.set_title("von Neumann winner", fontsize=8)


# -- self-play and the gaps ----------------------------------------------------------------------------------


def _self_play(fig: Figure, found: Analysis) -> None:
    """Draw the gap of last and average iterate under the bound, and the gaps of five policies."""
    fig.set_layout_engine("constrained")
    fig.set_figheight(max(float(fig.get_figheight()), 2.3))
    grid = fig.add_gridspec(1, 2, width_ratios=[1.25, 1.0])
    _curves(fig.add_subplot(grid[0]), found)
    _gap_bars(fig.add_subplot(grid[1]), found)


def _curves(ax: Axes, found: Analysis) -> None:
    p = found.self_play
    t = np.unique(np.geomspace(1, p.n_iterations, _POINTS).round().astype(int))
    series = (
        ("bound on the average", p.bound[t - 1], "black", (0, (4, 2)), 1.2),
        ("last iterate", p.last[t], "vermillion", (0, (1, 1)), 1.4),
        ("average iterate", p.average[t - 1], "blue", "-", 1.8),
    )
    for name, values, colour, dashes, width in series:
        ax.plot(
            t, np.maximum(values, _PALEST), label=name, color=OKABE_ITO[colour], linestyle=dashes, linewidth=width,
            marker="o" if t.size == 1 else "", markersize=3,
        )  # fmt: skip
    ax.set(xscale="log", yscale="log", xlabel="updates t")
    ax.set_ylabel("duality gap (payoff units)", fontsize=8)
    ax.set_ylim(top=_CEILING)
    ax.set_title("preference REBEL in self-play", fontsize=8)
    ax.legend(fontsize=7, handlelength=3)


def _gap_bars(ax: Axes, found: Analysis) -> None:
    gaps = found.gaps
    rows = np.arange(len(gaps))
    colours = [OKABE_ITO[c] for c in ("black", "orange", "vermillion", "purple", "blue")]
    ax.barh(rows, [g.win_gap for g in gaps], color=colours, height=0.65)
    reach = max(max(g.win_gap for g in gaps), 1e-6)
    for y, g in enumerate(gaps):
        ax.text(g.win_gap + 0.02 * reach, y, f"{g.win_gap:.4f}", va="center", fontsize=7)
    ax.set_yticks(rows, [g.policy for g in gaps], fontsize=7)
    ax.invert_yaxis()
    ax.set_xlim(0, 1.25 * reach)
    ax.set_xlabel("duality gap (win-probability units)", fontsize=8)
    ax.tick_params(axis="y", length=0)


# -- three names ---------------------------------------------------------------------------------------------


def _simplex(fig: Figure, found: Analysis) -> None:
    """Draw the path of self-play through the simplex of three names."""
    import mpltern  # noqa: F401 - registers the projection "ternary"

    probs = found.self_play.probs
    assert probs is not None
    average = np.cumsum(probs, axis=0) / np.arange(1, len(probs) + 1)[:, None]
    fig.set_layout_engine("none")  # mpltern places its labels itself
    side = min(float(fig.get_figwidth()), 4.5)  # inches
    below, height = 0.95, 0.72 * 0.87 * side  # room for names and legend; the height of a triangle
    total = below + height + 0.4
    fig.set_size_inches(side, total)
    ax: Any = fig.add_axes((0.14, below / total, 0.72, height / total), projection="ternary")
    ax.plot(*probs.T, color=OKABE_ITO["vermillion"], linewidth=0.7, label="iterates")
    ax.plot(*average.T, color=OKABE_ITO["blue"], linewidth=1.8, label="their average")
    points = (
        (probs[0], "o", "white", "start"),
        (found.winner.policy, "*", OKABE_ITO["yellow"], "von Neumann winner"),
        (probs[-1], "s", OKABE_ITO["vermillion"], "last iterate"),
        (average[-1], "D", OKABE_ITO["blue"], "last average"),
    )
    for at, marker, colour, name in points:
        size = {"*": 110, "D": 9}.get(marker, 22)
        ax.scatter(
            [at[0]], [at[1]], [at[2]], marker=marker, s=size, c=[colour], edgecolors="black", linewidths=0.6,
            label=name, zorder=5,
        )  # fmt: skip
    corners = (((1.13, -0.065, -0.065), "center"), ((-0.17, 1.2, -0.03), "left"), ((-0.17, -0.03, 1.2), "right"))
    for (at, side_of), name in zip(corners, found.names, strict=True):  # outside of the triangle
        ax.text(*at, label(name), ha=side_of, va="center", fontsize=8, fontfamily=_NAME_FONTS, clip_on=False)
    for axis in (ax.taxis, ax.laxis, ax.raxis):
        axis.set_tick_params(labelsize=6)
    fig.legend(*ax.get_legend_handles_labels(), loc="lower center", ncols=3, fontsize=6.5, handlelength=2)


# -- helpers -------------------------------------------------------------------------------------------------


def label(name: str) -> str:
    """Return a name for a figure: one line, not too long, and $ a dollar rather than mathematics."""
    line = "".join(c if c.isprintable() else " " for c in name)
    if len(line) > _LETTERS:
        line = line[: _LETTERS - 1] + "\u2026"
    return line.replace("$", r"\$")


def _short(value: float) -> str:
    """Return a probability in three characters: .52, or 1.0."""
    text = f"{value:.2f}"
    return "1.0" if text == "1.00" else text[1:]
