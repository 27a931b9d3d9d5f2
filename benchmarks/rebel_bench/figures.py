"""Drawings that several claims share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from rebel_bench.style import OKABE_ITO, line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from rebel_bench.rate import Rate

_FLOOR = 1e-17  # exact zeros are drawn here: below the spacing of doubles at 1


def strip(
    fig: Figure, cases: pd.DataFrame, control: pd.DataFrame, *, by: str, value: str, limit: float, label: str
) -> None:
    """Draw every case as a dot on a log axis, one column a group, the control's last, and the limit as a line."""
    ax = fig.add_subplot()
    groups = [(str(name), part[value]) for table in (cases, control) for name, part in table.groupby(by, sort=False)]
    n_claim = cases[by].nunique()
    rng = np.random.default_rng(0)
    for i, (_, values) in enumerate(groups):
        y = np.maximum(np.asarray(values, dtype=float), _FLOOR)
        x = i + rng.uniform(-0.28, 0.28, size=y.size)
        broken = i >= n_claim
        ax.plot(
            x, y, linestyle="none", marker="x" if broken else "o", markersize=2.5, markeredgewidth=0.6,
            color=OKABE_ITO["vermillion" if broken else "blue"], alpha=0.6, rasterized=y.size > 2_000,
        )  # fmt: skip
    ax.axhline(limit, color=OKABE_ITO["black"], linewidth=0.8, linestyle=(0, (4, 2)))
    ax.annotate(f"tolerance {limit:g}", (0.01, limit), xycoords=("axes fraction", "data"), va="bottom", fontsize=6)
    ends = (("claim", (n_claim - 1) / 2, 12, "bottom"), ("control", (n_claim + len(groups) - 1) / 2, -6, "top"))
    for name, x, up, side in ends:  # each where its own dots should not be
        ax.annotate(name, (x, limit), xytext=(0, up), textcoords="offset points", ha="center", va=side)
    ax.set(yscale="log", ylabel=label, xlim=(-0.6, len(groups) - 0.4))
    names = [name for name, _ in groups]
    ax.set_xticks(range(len(groups)), names, rotation=90 if _crowded(fig, names) else 0)
    ax.set_ylim(_FLOOR / 3, max(2.0, 3 * float(np.nanmax([v.max() for _, v in groups]))))


def _crowded(fig: Figure, names: list[str]) -> bool:
    """Return whether ``names`` side by side are too wide for the figure: a letter is about 0.45 of its size wide."""
    import matplotlib

    size = float(matplotlib.rcParams["xtick.labelsize"])
    longest = max(len(row) for name in names for row in name.splitlines())
    return 0.45 * size * longest * len(names) > 0.7 * 72 * fig.bbox.width / fig.dpi


def ratios(ax: Axes, cases: pd.DataFrame, control: pd.DataFrame, *, label: str = "measured / bound") -> None:
    """Draw the distribution of measured/bound over the instances, claim against control, and 1 as a line."""
    for i, (name, table) in enumerate((("claim", cases), ("control", control))):
        ratio = np.sort((table["value"] / table["bound"]).to_numpy(dtype=float))
        ratio = np.maximum(ratio[np.isfinite(ratio)], 1e-8)
        share = np.arange(1, ratio.size + 1) / ratio.size
        style = line(name, (0, 3)[i])
        style.update(marker="", linestyle=("-", (0, (4, 2)))[i])
        ax.plot(ratio, share, **style)
    ax.axvline(1.0, color=OKABE_ITO["black"], linewidth=0.8, linestyle=(0, (1, 1)))
    ax.set(xscale="log", xlabel=label, ylabel="share of instances", ylim=(0, 1.02))
    ax.legend(loc="upper left")


def orders(fig: Figure, rate: Rate, tables: dict[str, pd.DataFrame]) -> None:
    """Draw a distance against the size of the step: every instance, and the medians with the fitted slopes.

    The tables have columns ``instance``, ``move`` (the norm of the Gauss-Newton step in theta) and ``distance``.
    """
    ax = fig.add_subplot()
    for i, (name, table) in enumerate(tables.items()):
        fit = rate.fit(table)
        style = line(f"{name}:\nslope {fit.slope:.3f} [{fit.low:.3f}, {fit.high:.3f}]", 3 * i) | {"markevery": None}
        for _, part in table.groupby("instance"):
            ax.plot(part["move"], part["distance"], color=style["color"], linewidth=0.4, alpha=0.3, rasterized=True)
        median = table.groupby("move")["distance"].median()
        ax.plot(median.index, median, **style)
    ax.set(xscale="log", yscale="log", ylabel="total variation to Gauss-Newton")
    ax.set_xlabel(r"norm of the Gauss-Newton step in $\theta$, proportional to $\eta$")
    ax.set_xticks(median.index, [f"{move:.2g}" for move in median.index])
    ax.minorticks_off()
    ax.set_ylim(bottom=ax.get_ylim()[0] / 60)
    ax.legend(loc="lower right", handlelength=3)
