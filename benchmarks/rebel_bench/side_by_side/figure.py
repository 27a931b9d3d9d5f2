"""The figure of ``rebel-theory run``: gaps, distances between the algorithms, and ternary paths for three actions."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import rebel_theory as rt
from rebel_bench.style import Venue, figure, line, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from rebel_bench.side_by_side.command import SideBySide

_ROUNDING = 1e-17  # exact zeros are drawn here
_LOG_RANGE = 10.0  # a smaller range is read better on a linear axis
_PATHS = 4  # rows of a policy whose ternary path is drawn


def draw(found: SideBySide, path: Path, venue: Venue) -> tuple[Path, Path]:
    """Write PNG and PDF and return their paths."""
    ternary = found.problem.n_actions == 3
    n_panels = 1 + bool(found.comparison.total_variation) + ternary
    with figure(venue, (1, n_panels)) as fig:
        _gaps(fig.add_subplot(1, n_panels, 1), found)
        if found.comparison.total_variation:
            _distances(fig.add_subplot(1, n_panels, 2), found)
        if ternary:
            import mpltern  # noqa: F401 - registers the projection

            _paths(fig.add_subplot(1, n_panels, n_panels, projection="ternary"), found)
        return save(fig, path)


def _gaps(ax: Axes, found: SideBySide) -> None:
    """Draw the mean gap over the seeds, and the range of the middle 80% when there are several."""
    lowest, highest = np.inf, 0.0
    for i, trace in enumerate(found.comparison.traces):
        gap = trace.gap.reshape(-1, trace.gap.shape[-1])  # seeds and batch together
        mean = gap.mean(axis=0)
        style = line(trace.algorithm, i)
        t = np.arange(mean.size)
        ax.plot(t, np.maximum(mean, _ROUNDING), **style)
        if gap.shape[0] > 1:
            ax.fill_between(t, *np.quantile(gap, [0.1, 0.9], axis=0), color=style["color"], alpha=0.2, linewidth=0)
        lowest, highest = min(lowest, float(mean[mean > 0].min(initial=np.inf))), max(highest, float(mean.max()))
    ax.set(xlabel="iteration", ylabel="duality gap" if found.is_game else "gap to the optimum")
    if highest > _LOG_RANGE * lowest:
        ax.set_yscale("log")
    ax.legend(frameon=True, framealpha=0.8, edgecolor="none")


def _distances(ax: Axes, found: SideBySide) -> None:
    """Draw the largest total variation over the states between each two algorithms, at every iterate."""
    for i, (a, b) in enumerate(combinations([t.algorithm for t in found.comparison.traces], 2)):
        tv = found.comparison.total_variation[a, b]
        tv = tv.reshape(-1, tv.shape[-1]).max(axis=0)
        ax.plot(np.maximum(tv, _ROUNDING), **line(f"{a} - {b}", i + 3))
    ax.axhline(1e-9, color="black", linewidth=0.8, linestyle=(0, (1, 2)))
    ax.set(xlabel="iteration", ylabel="largest total variation", yscale="log")
    ax.set_ylim(_ROUNDING / 3, 1e8)  # room for the legend above 1
    ax.set_yticks([1e-16, 1e-12, 1e-8, 1e-4, 1])
    ax.legend(loc="upper right")


def _paths(ax: Any, found: SideBySide) -> None:
    """Draw the policy's path in the simplex of the most visited rows, one line an algorithm."""
    problem = found.problem
    uniform = np.full(problem.policy_shape, 1 / problem.n_actions)
    weights = problem.to_rows(rt.evaluate(problem, uniform).occupancy, trailing=0)
    rows = np.argsort(-weights.reshape(-1, weights.shape[-1])[0], kind="stable")[:_PATHS]
    for i, trace in enumerate(found.comparison.traces):
        assert trace.probs is not None
        probs = problem.to_rows(trace.probs)
        path = probs.reshape(-1, *probs.shape[-3:])[0]  # (T + 1, rows, 3), first seed
        for row in rows:
            style = {k: v for k, v in line(trace.algorithm, i).items() if k != "label"}
            style |= {"marker": "", "linewidth": 0.6 * style["linewidth"]}
            ax.plot(*path[:, row, :].T, **style)
        ax.plot(*path[0, rows, :].T, linestyle="none", marker=".", color="black", markersize=4)
    names = getattr(problem, "names", None) or ("action 0", "action 1", "action 2")
    ax.set(tlabel=names[0], llabel=names[1], rlabel=names[2])
    for axis in (ax.taxis, ax.laxis, ax.raxis):
        axis.set_ticks([])
        axis.set_label_position("corner")
