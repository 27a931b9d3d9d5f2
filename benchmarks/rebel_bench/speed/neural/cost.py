"""What an iteration of each method costs, from 26 thousand to 25 million parameters: seconds and peak memory.

Nothing is learned here: a cost needs no training, so it can be had at sizes at which a race cannot.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pandas as pd
from rich.console import Console

from rebel_bench.fingerprint import code_of
from rebel_bench.speed.case import SpeedScale
from rebel_bench.speed.machine import machine
from rebel_bench.speed.measure import in_units
from rebel_bench.speed.neural.race import MEMORY, Runner, peak_memory
from rebel_bench.speed.neural.show import STYLES
from rebel_bench.speed.neural.sizes import METHODS, Size
from rebel_bench.speed.neural.study import device_name
from rebel_bench.speed.stored import store, store_table
from rebel_bench.style import Venue, figure, save
from rebel_bench.tables import print_json, print_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROUNDS = 5
COLUMNS = ("parameters", "method", "time", "ratio", "peak memory", "of the weights")
LEGEND = (
    "time: sampling and update of one iteration, median (least to most) of the rounds, in which all methods take "
    "turns after one that does not count; ratio: over REBEL's of the same round (least to most); of the weights: peak "
    "memory over the bytes of the policy's parameters. REBEL and DPO take as many passes as PPO and GRPO, four times "
    "those of RLOO and REINFORCE; PPO's and REINFORCE's value network is a copy of the policy that takes 8 steps a "
    "batch, on the prompts alone"
)


def networks(scale: SpeedScale) -> tuple[Size, ...]:
    """Return the small, the medium and, for the paper, the large transformer; all copy words of up to 8 digits."""
    from rebel_theory.torch.sequences import TaskSize, sequence_task, transformer_shape

    task = sequence_task("copy", "large")
    return tuple(
        Size((task,), **transformer_shape(name), n_pairs=32, n_iterations=ROUNDS, n_seeds=1, n_evaluation=1,
             rates=(1e-5, 3e-5, 1e-4, 3e-4), value_body="policy")
        for name in get_args(TaskSize)[: 2 if scale == "quick" else 3]
    )  # fmt: skip


def costs(size: Size, device: str) -> pd.DataFrame:
    """Return one row a method and round: parameters, seconds, queries, and the method's peak memory in bytes."""
    task, rows = size.tasks[0], []
    settings = {m: size.settings(m)[0] for m in METHODS}
    held = {m: peak_memory(size, task, m, setting, device) for m, setting in settings.items()}
    runners = {m: Runner(size, task, m, setting, 0, device) for m, setting in settings.items()}
    parameters = len(size.policy(task, 0, settings["REBEL"], "cpu").theta)
    for i in range(ROUNDS + 1):
        for m, runner in runners.items():
            before, seconds = runner.oracle.spent, runner.step()
            if i:  # the first makes the moments of Adam, and warms up
                rows.append({"parameters": parameters, "method": m, "round": i, "seconds": seconds,
                             "queries": runner.oracle.spent - before, "peak_bytes": held[m],
                             "refused": runner.refused})  # fmt: skip
    return pd.DataFrame(rows)


def study(scale: SpeedScale, device: str, folder: Path, *, figures: bool, as_json: bool) -> None:
    """Measure size by size and store neural-cost.SCALE.*; one that was interrupted goes on at its size.

    Raises
    ------
    UserError
        Without PyTorch, or without the device.
    """
    from rebel_bench.speed.command import progress

    name, sizes, path = device_name(device), networks(scale), folder / f"neural-cost.{scale}"
    about = {
        **machine(), "device": name, "torch": version("torch"), "scale": scale, "rounds": ROUNDS,
        "n_pairs": sizes[0].n_pairs, "memory": MEMORY["cuda" if device.startswith("cuda") else "cpu"],
    }  # fmt: skip
    parts: list[Path] = []
    with progress(len(sizes)) as tell:
        for size in sizes:
            tell(f"width {size.width}, depth {size.depth}")
            what = repr((size, name, version("torch"), code_of(Path(__file__))))
            parts.append(folder / f"neural-cost.{hashlib.sha256(what.encode()).hexdigest()[:16]}.part")
            if not parts[-1].is_file():
                store_table(costs(size, device), parts[-1])
    frame = pd.concat([pd.read_parquet(part) for part in parts], ignore_index=True)
    rows = summarised(frame)
    found = {"rows": rows, "about": about}
    files = store(frame, found, path)
    for part in parts:  # the next study measures again
        part.unlink()
    if figures:
        files += draw(frame, path)
    if as_json:
        print_json({**found, "files": [str(file) for file in files]})
        return
    print_rows(COLUMNS, [dict(zip(COLUMNS, cells(row), strict=True)) for row in rows])
    console = Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else 150)
    for line in (LEGEND, describe(about), *map(str, files)):
        console.print(line, soft_wrap=True)


def summarised(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a row a size and method: seconds and ratios to REBEL's of the same round with least and most, memory."""
    rows = []
    for parameters in map(int, sorted(frame["parameters"].unique())):
        size = frame[frame["parameters"] == parameters]
        ours = size[size["method"] == "REBEL"].set_index("round")["seconds"]
        for method, part in size.groupby("method", sort=False):
            seconds = part.set_index("round")["seconds"]
            ratio, peak = seconds / ours, float(part["peak_bytes"].iloc[0])
            rows.append({
                "parameters": parameters, "method": str(method), "seconds": float(seconds.median()),
                "seconds_low": float(seconds.min()), "seconds_high": float(seconds.max()),
                "ratio": float(ratio.median()), "ratio_low": float(ratio.min()), "ratio_high": float(ratio.max()),
                "peak_bytes": peak, "of_weights": peak / (4 * parameters),  # single precision
                "queries": float(part["queries"].iloc[0]), "refused": int(part["refused"].max()),
            })  # fmt: skip
    return rows


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the texts of a row, in the order of :data:`COLUMNS`."""
    low, high = in_units(row["seconds_low"]), in_units(row["seconds_high"])
    return (
        f"{row['parameters']:,}", row["method"], f"{in_units(row['seconds'])} ({low} to {high})",
        f"{row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})",
        f"{row['peak_bytes'] / 2**20:,.1f} MiB", f"{row['of_weights']:.1f}",
    )  # fmt: skip


def describe(about: Mapping[str, Any]) -> str:
    """Return the device and the data in one sentence."""
    return (
        f"{about['device']}, torch {about['torch']}; {about['n_pairs']} pairs an iteration, {about['rounds']} rounds; "
        f"memory: {about['memory']}; load {about['load']:g} on {about['cores']} cores"
    )


def markdown(rows: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> str:
    """Return the table as Markdown, and what it was measured on."""
    lines = [f"Measured by `rebel-theory bench --suite neural-cost --scale {about['scale']}` on: {describe(about)}."]
    lines += ["", f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(cells(row))} |" for row in rows)])


def draw(frame: pd.DataFrame, path: Path, venue: Venue = "neurips") -> tuple[Path, Path]:
    """Write PNG and PDF and return their paths: time over REBEL's and memory over the weights', against parameters."""
    with _drawn(frame, venue) as fig:
        return save(fig, path)


@contextmanager
def _drawn(frame: pd.DataFrame, venue: Venue) -> Iterator[Figure]:
    rows = pd.DataFrame(summarised(frame))
    with figure(venue, (1, 2)) as fig:
        fig.set_layout_engine("constrained")
        for j, (column, label) in enumerate((("ratio", "seconds / REBEL's"), ("of_weights", "peak memory / weights"))):
            ax = fig.add_subplot(1, 2, j + 1)
            for method, part in rows.groupby("method", sort=False):
                style = STYLES[str(method)]
                ax.plot(part["parameters"], part[column], label=str(method), marker="o", markersize=2.5, **style)
                if column == "ratio":
                    ax.fill_between(part["parameters"], part["ratio_low"], part["ratio_high"],
                                    color=style["color"], alpha=0.12, linewidth=0)  # fmt: skip
            ax.set(xscale="log", xlabel="parameters", ylabel=label)
            ax.set_ylim(bottom=0)
        handles, labels = fig.axes[0].get_legend_handles_labels()
        fig.legend(handles, labels, loc="outside lower center", ncols=3)
        yield fig
