"""The table and the figure of the neural suite."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from rebel_bench.speed.measure import in_units
from rebel_bench.style import OKABE_ITO, Venue, figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEGEND = (
    "time: sampling and update of one iteration, median [quartiles] over the race, in which all take turns; ratio: "
    "over REBEL's of the same turn; reward: mean over the seeds of the last tenth of the iterations (least to most); "
    "all spend the same queries; in time: when the quickest method is through; *: at the edge of the settings tried, "
    "as REBEL's and DPO's four always are"
)
STYLES: dict[str, dict[str, Any]] = {
    "REBEL": {"color": OKABE_ITO["blue"], "linestyle": "-", "linewidth": 2.2, "zorder": 3},
    "PPO": {"color": OKABE_ITO["vermillion"], "linestyle": (0, (5, 2)), "linewidth": 1.4},
    "RLOO": {"color": OKABE_ITO["black"], "linestyle": (0, (1, 1.5)), "linewidth": 1.4},
    "GRPO": {"color": OKABE_ITO["orange"], "linestyle": (0, (5, 1.5, 1, 1.5)), "linewidth": 1.4},
    "REINFORCE": {"color": OKABE_ITO["sky"], "linestyle": "-", "linewidth": 1.1},
    "DPO": {"color": OKABE_ITO["green"], "linestyle": (0, (3, 1, 1, 1, 1, 1)), "linewidth": 1.4},
}


COLUMNS = ("method", "time", "ratio", "peak memory", "reward", "in time", "setting")


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the texts of a method's row, in the order of :data:`COLUMNS`."""
    low, high = in_units(row["step_low"]), in_units(row["step_high"])
    return (
        row["method"], f"{in_units(row['step'])} [{low}, {high}]", f"{row['ratio']:.2f}",
        f"{row['peak_bytes'] / 2**20:,.1f} MiB",
        f"{row['reward']:.3f} ({row['reward_low']:.3f} to {row['reward_high']:.3f})",
        f"{row['reward_in_time']:.3f}",
        row["setting"] + "*" * row["edge"] + f" ({row.get('refused')} steps refused)" * bool(row.get("refused")),
    )  # fmt: skip


def describe(about: Mapping[str, Any]) -> str:
    """Return the device and the network in one sentence."""
    return (
        f"{about['device']}, torch {about['torch']}; a transformer of {about['parameters']:,} parameters; "
        f"{about['n_seeds']} seeds; memory: {about['memory']}; load {about['load']:g} on {about['cores']} cores"
    )


def title(part: pd.DataFrame) -> str:
    """Return a task's budgets in words."""
    return f"{part['task'].iloc[0]}: {part['queries'].max():,.0f} queries, or {in_units(part['seconds'].iloc[0])}"


def print_table(rows: pd.DataFrame, about: Mapping[str, Any], files: Sequence[Path]) -> None:
    """Print a table a task, what the columns mean, the device, and the files."""
    console = Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else 150)
    for _, part in rows.groupby("task", sort=False):
        table = Table(title=title(part), title_justify="left")
        for name in COLUMNS:
            table.add_column(name, justify="left" if name in ("method", "setting") else "right")
        for row in part.to_dict("records"):
            table.add_row(*cells(row))  # type: ignore[arg-type]
        console.print(table)
    for line in (LEGEND, describe(about), *map(str, files)):
        console.print(line, soft_wrap=True)


def markdown(rows: pd.DataFrame, about: Mapping[str, Any]) -> str:
    """Return the same as Markdown."""
    lines = [f"Measured by `rebel-theory bench --suite neural --scale {about['scale']}` on: {describe(about)}."]
    for _, part in rows.groupby("task", sort=False):
        lines += ["", f"**{title(part)}**", "", f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
        lines += [f"| {' | '.join(cells(row))} |".replace("*", "\\*") for row in part.to_dict("records")]  # type: ignore[arg-type]
    return "\n".join(lines)


def draw(curves: pd.DataFrame, path: Path, venue: Venue = "neurips") -> tuple[Path, Path]:
    """Write PNG and PDF and return their paths: a row a task, reward against queries and against seconds."""
    tasks = list(curves["task"].unique())
    with figure(venue, (len(tasks), 2)) as fig:
        fig.set_layout_engine("constrained")
        for i, task in enumerate(tasks):
            part = curves[curves["task"] == task]
            for j, axis in enumerate(("queries", "seconds")):
                ax = fig.add_subplot(len(tasks), 2, 2 * i + j + 1)
                _panel(ax, part, axis)
                ax.set(ylim=(0, 1.02))
                ax.locator_params(axis="x", nbins=5)
                if j == 0:
                    ax.set_ylabel(f"{task}: reward")
                if i == len(tasks) - 1:
                    ax.set_xlabel(axis if j == 0 else "seconds, without evaluation")
        handles, labels = fig.axes[0].get_legend_handles_labels()
        fig.legend(handles, labels, loc="outside lower center", ncols=3)
        return save(fig, path)


def _panel(ax: Axes, part: pd.DataFrame, axis: str) -> None:
    for method, rows in part.groupby("method", sort=False):
        by = rows.groupby("iteration")
        x, mean = by[axis].mean(), by["reward"].mean()
        style = STYLES[str(method)]
        ax.plot(x, mean, label=str(method), **style)
        ax.fill_between(x, by["reward"].min(), by["reward"].max(), color=style["color"], alpha=0.12, linewidth=0)
