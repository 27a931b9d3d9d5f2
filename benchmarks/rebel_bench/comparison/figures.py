"""The figures of a study, each with the table it shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd

from rebel_bench.comparison.plan import Plan
from rebel_bench.comparison.scores import ROUNDING
from rebel_bench.comparison.study import Study
from rebel_bench.style import Venue, figure, line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Tables: TypeAlias = dict[str, pd.DataFrame]
Drawing: TypeAlias = tuple[str, tuple[int, int], Callable[["Figure", Plan, Tables, tuple[int, int]], None]]

_COLUMNS = 3
_BELOW = 5  # entries of a legend side by side, if they are short
_LONG = 12  # characters
_LEAST = 1e-16  # total variations below are rounding: drawn there


def drawings(study: Study) -> list[Drawing]:
    """Return the figures of a study: the name of the table, rows and columns of panels, and what draws it."""
    plan = study.plan
    if plan.spec.kind == "tuned":
        found: list[Drawing] = [("curves", _places(len(plan.problems)), _curves)]
        return [*found, ("ranking", (1, 3), _ranking)] if len(plan.entries) > 1 else found
    if plan.spec.kind == "sensitivity":
        return [("sensitivity", _places(len(plan.problems) * len(_oracles(plan))), _sensitivity)]
    return [("inexact", (1 + len(_oracles(plan)), len(plan.problems)), _inexact)]


def drawn(study: Study, venue: Venue) -> Iterator[tuple[str, Figure]]:
    """Yield every figure with the name of its table; save it before asking for the next."""
    for name, panels, draw in drawings(study):
        rows, columns = panels
        with figure(venue, (rows + (rows > 1 and columns == _COLUMNS), columns)) as fig:  # small panels are too low
            draw(fig, study.plan, study.tables, panels)
            yield name, fig


def _oracles(plan: Plan) -> list[str]:
    return list(dict.fromkeys(entry.oracle_name for entry in plan.entries))


def _places(n: int) -> tuple[int, int]:
    columns = 2 if n == 4 else min(_COLUMNS, n)
    return -(-n // columns), columns


def _look(name: str, k: int) -> dict[str, Any]:
    """Return the look of entry k: a space keeps REBEL and NPG from the looks that they have next to each other."""
    return line(f"{name} ", k) | {"linewidth": 1.2, "markevery": (0.03 * (k % 8), 0.25), "label": name}


def _looks(plan: Plan) -> dict[str, dict[str, Any]]:
    return {entry.name: _look(entry.name, k) for k, entry in enumerate(plan.entries)}


def _band(ax: Axes, table: pd.DataFrame, x: str, y: str, style: dict[str, Any]) -> None:
    ax.plot(table[x], table[y], **style)
    ax.fill_between(table[x], table["low"], table["high"], color=style["color"], alpha=0.2, lw=0)


def _legend(fig: Figure, panels: tuple[int, int], used: int) -> None:
    """Put the legend in the last place of a figure if it is free, or else below."""
    found: dict[str, Any] = {}
    for ax in fig.axes:
        found |= {label: handle for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    handles, labels = list(found.values()), list(found)
    if used < panels[0] * panels[1]:
        last = fig.add_subplot(*panels, panels[0] * panels[1])
        last.axis("off")
        last.legend(handles, labels, loc="center", handlelength=3)
    else:
        wide = _BELOW if max(map(len, labels)) < _LONG else 3
        fig.legend(handles, labels, loc="outside lower center", ncol=min(len(labels), wide), handlelength=3)


def _curves(fig: Figure, plan: Plan, tables: Tables, panels: tuple[int, int]) -> None:
    """Draw the gap against what was spent, a panel a problem."""
    curves, looks = tables["curves"], _looks(plan)
    for i, problem in enumerate(plan.problems):
        ax = fig.add_subplot(*panels, i + 1)
        for name, style in looks.items():
            rows = (curves["problem"] == problem) & (curves["algorithm"] == name)
            _band(ax, curves[rows], "spent", "gap", style)
        ax.set_title(problem)
        ax.set_ylim(bottom=0)
        ax.ticklabel_format(axis="x", style="sci", scilimits=(0, 3))
        if i % panels[1] == 0:
            ax.set_ylabel("gap")
        if i + panels[1] >= len(plan.problems):
            ax.set_xlabel("reward queries" if plan.spec.counts == "queries" else "updates")
    _legend(fig, panels, len(plan.problems))


def _ranking(fig: Figure, plan: Plan, tables: Tables, panels: tuple[int, int]) -> None:
    """Draw performance profiles, interquartile means and mean ranks; the names beside the last two are the legend."""
    looks, ranking, profiles = _looks(plan), tables["ranking"], tables["profiles"]
    left, middle, right = np.ravel(fig.subplots(1, 3, width_ratios=(1.6, 1, 1)))
    for name, style in looks.items():
        _band(left, profiles[profiles["algorithm"] == name], "threshold", "share", style)
    left.set(xscale="log", ylim=(0, 1.02), xlabel="gap / first gap", ylabel="share of runs at or below")
    names = list(ranking["algorithm"])
    for ax, column, label in ((middle, "iqm", "IQM of gap / first gap"), (right, "rank", "mean rank")):
        for place, (_, row) in enumerate(ranking.iterrows()):
            style = looks[row["algorithm"]]
            ax.plot([row[f"{column}_low"], row[f"{column}_high"]], [place, place], color=style["color"], lw=2)
            ax.plot(row[column], place, marker=style["marker"], color=style["color"], ms=5, mec="black", mew=0.4)
        ax.set(yticks=range(len(names)), xlabel=label, ylim=(len(names) - 0.5, -0.5))
        ax.set_yticklabels(names if ax is middle else [])
        ax.grid(axis="y", lw=0.3, alpha=0.5)


def _sensitivity(fig: Figure, plan: Plan, tables: Tables, panels: tuple[int, int]) -> None:
    """Draw the gap over the first gap against the step size, a panel a problem and oracle; x marks an overflow."""
    found, oracles = tables["sensitivity"], _oracles(plan)
    labels = list(dict.fromkeys(entry.name.removesuffix(f", {entry.oracle_name}") for entry in plan.entries))
    for i, (problem, oracle) in enumerate((p, o) for p in plan.problems for o in oracles):
        ax = fig.add_subplot(*panels, i + 1)
        for entry in plan.entries:
            if entry.oracle_name != oracle:
                continue
            label = entry.name.removesuffix(f", {oracle}")
            rows = found[(found["problem"] == problem) & (found["algorithm"] == entry.name)]
            shares = rows[["gap", "low", "high"]].div(rows["first_gap"], axis=0).assign(step_size=rows["step_size"])
            style = _look(label, labels.index(label)) | {"markevery": 1, "markersize": 2.2}
            _band(ax, shares, "step_size", "gap", style)
            over = rows[rows["fault"] != ""]
            if len(over):
                ax.plot(over["step_size"], np.ones(len(over)), "x", color=style["color"], ms=5, mew=1.2)
        ax.axhline(1.0, color="black", lw=0.6, ls=(0, (1, 2)))
        ax.set(xscale="log", title=problem if len(oracles) == 1 else f"{problem}, {oracle}", ylim=(0, None))
        if i % panels[1] == 0:
            ax.set_ylabel("gap / first gap")
        if i + panels[1] >= len(plan.problems) * len(oracles):
            ax.set_xlabel("step size $\\times$ spread")
    _legend(fig, panels, len(plan.problems) * len(oracles))


def _inexact(fig: Figure, plan: Plan, tables: Tables, panels: tuple[int, int]) -> None:
    """Draw, against K, the total variation of one exact update from both ends, and the gaps with every oracle."""
    axes = np.reshape(fig.subplots(*panels, sharex=True, squeeze=False), panels)
    apart, gaps, steps = tables["apart"], tables["inexact"], sorted(set(plan.spec.step_sizes))
    ks = sorted(set(plan.spec.n_steps))
    ends = {"RLOO": ks[0] / 5, "REBEL": ks[-1] * 8}
    for j, problem in enumerate(plan.problems):
        axes[0, j].set(title=problem, yscale="log")
        for k, step in enumerate(steps):
            style = _look(f"step size {step:g}", k) | {"markevery": 1, "markersize": 3, "linestyle": "-"}
            rows = apart[(apart["problem"] == problem) & (apart["step_size"] == step)]
            axes[0, j].plot(rows["n_steps"], np.maximum(rows["from_REBEL"], _LEAST), **style)
            axes[0, j].plot(rows["n_steps"], np.maximum(rows["from_RLOO"], _LEAST),
                            **style | {"linestyle": ":", "markerfacecolor": "white", "label": None})  # fmt: skip
        for i, oracle in enumerate(_oracles(plan), start=1):
            ax = axes[i, j]
            exact = next(entry.oracle.is_exact for entry in plan.entries if entry.oracle_name == oracle)
            for k, step in enumerate(steps):
                style = _look(f"step size {step:g}", k) | {"markevery": 1, "markersize": 3, "linestyle": "-"}
                here = (gaps["problem"] == problem) & (gaps["oracle"] == oracle) & (gaps["step_size"] == step)
                rows = gaps[here & (gaps["n_steps"] > 0)].sort_values("n_steps")
                floor = ROUNDING * float(rows["first_gap"].iloc[0])
                clipped = (
                    rows[["gap", "low", "high"]].clip(lower=floor if exact else None).assign(n_steps=rows["n_steps"])
                )
                _band(ax, clipped, "n_steps", "gap", style | {"label": None})
                for name, x in ends.items():
                    end = gaps[here & (gaps["end"] == name)].iloc[0]
                    y = max(end["gap"], floor) if exact else end["gap"]
                    bars = [[max(y - end["low"], 0)], [max(end["high"] - y, 0)]]
                    look = {"marker": style["marker"], "color": style["color"], "ms": 4, "mec": "black", "mew": 0.4}
                    ax.errorbar(x, y, yerr=None if exact else bars, **look)
            ax.set(**{"yscale": "log"} if exact else {"ylim": (0, None)})
            if j == 0:
                ax.set_ylabel(f"gap, {oracle}")
        ticks: dict[float, str] = {
            ends["RLOO"]: "RLOO",
            **{k: f"$10^{{{int(np.log10(k))}}}$" for k in ks if np.log10(k) % 1 == 0},
            ends["REBEL"]: "REBEL",
        }
        axes[-1, j].set(xscale="log", xlabel="gradient steps $K$")
        axes[-1, j].set_xticks(list(ticks), list(ticks.values()))
        axes[-1, j].minorticks_off()
    axes[0, 0].set_ylabel("total variation")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    (solid,) = axes[0, 0].plot([], [], color="black", ls="-")
    (dotted,) = axes[0, 0].plot([], [], color="black", ls=":")
    fig.legend([*handles, solid, dotted], [*labels, "from REBEL", "from RLOO"], loc="outside lower center",
               ncol=min(_BELOW, len(labels) + 2), handlelength=2)  # fmt: skip
