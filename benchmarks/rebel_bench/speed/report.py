"""What ``rebel-theory bench`` prints: one row a side, ours first."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rebel_bench.speed.case import OURS
from rebel_bench.speed.measure import Row, in_units

_LOG_WIDTH = 150  # where there is no terminal to ask


def print_object(rows: Sequence[Row], about: dict[str, Any], scale: str, files: Sequence[Path]) -> None:
    """Print one strict JSON object; figures that do not exist are null."""
    from rebel_bench.tables import print_json
    from rebel_bench.version import version

    print_json(
        {
            "rows": [asdict(row) for row in rows], "machine": about, "scale": scale, "version": version(),
            "files": [str(file) for file in files],
        }
    )  # fmt: skip


def print_table(rows: Sequence[Row], about: dict[str, Any], files: Sequence[Path], titles: Mapping[str, str]) -> None:
    """Print a table a suite, what is missing, and how many targets were met."""
    console = Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else _LOG_WIDTH)
    for suite, group in groupby(rows, key=lambda row: row.suite):
        console.print(_table(titles.get(suite, suite), list(group)))
    console.print(
        f"{about['cpu'] or 'unknown processor'}, {about['cores']} cores, {about['memory_gib']:g} GiB, "
        f"load before the start {about['load']:g}; medians, [quartiles] of the ratio; "
        "ratio: time of the side over ours, in the same round",
        soft_wrap=True,
    )
    for name, why in sorted({(row.side, row.note) for row in rows if row.status == "missing"}):
        console.print(f"{name}: {why}", soft_wrap=True)
    checked = [row for row in rows if row.met is not None]
    if checked:
        console.print(f"{sum(bool(row.met) for row in checked)} of {len(checked)} targets met")
    for file in files:
        console.print(str(file), soft_wrap=True)


def _table(title: str, rows: Sequence[Row]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("case", overflow="fold", ratio=3)
    table.add_column("side", overflow="fold", ratio=2)
    table.add_column("time a unit", justify="right", no_wrap=True)
    table.add_column("ratio", justify="right", no_wrap=True)
    table.add_column("limit, share reached", overflow="fold", ratio=2)
    table.add_column("target", overflow="fold", ratio=2)
    for _, group in groupby(rows, key=lambda row: row.case):
        for row in group:
            colour = "" if row.met is None else "green" if row.met else "red"
            table.add_row(Text(row.case if row.side == OURS else ""), *_cells(row), Text(target(row), style=colour))
        table.add_section()
    return table


def _cells(row: Row) -> tuple[Text, Text, Text, Text]:
    name = row.side if row.threads == 1 else f"{row.side}, {row.threads} threads"
    if row.status != "timed":
        return Text(name), Text("–"), Text(row.status), Text(row.note if row.status != "missing" else "")
    ratio = "1" if row.side == OURS else f"{number(row.ratio)} [{number(row.ratio_low)}, {number(row.ratio_high)}]"
    share = "" if math.isnan(row.fraction) else f"{row.limit} ({in_units(row.limit_seconds)}), {row.fraction:.2g}"
    return Text(name), Text(f"{in_units(row.seconds)} / {row.unit}"), Text(ratio), Text(share)


def target(row: Row) -> str:
    """Return a row's target and whether it was met."""
    return "" if row.met is None else f"{row.target}: {'met' if row.met else 'missed'}"


def number(value: float) -> str:
    """Return a ratio with three digits.

    >>> number(1234.5), number(0.4567)
    ('1,234', '0.457')
    """
    return f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:.3g}"
