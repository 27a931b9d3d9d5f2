"""What ``rebel-theory bench`` prints: one row a side, ours first; then the targets, the machine, and who is missing."""

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
from rebel_bench.speed.machine import busy
from rebel_bench.speed.measure import WIDE, Row, in_units
from rebel_bench.speed.targets import Verdict

_LOG_WIDTH = 150  # where there is no terminal to ask
LEGEND = (
    "time: median; ratio: time of the side over ours in the same round, median and [quartiles]; "
    f"~: quartiles more than {WIDE:.0%} apart"
)


def as_object(rows: Sequence[Row], verdicts: Sequence[Verdict], about: Mapping[str, Any], scale: str) -> dict[str, Any]:
    """Return what ``--json`` prints and the results folder keeps; figures that do not exist are NaN."""
    from rebel_bench.version import version

    return {
        "rows": [asdict(row) for row in rows], "targets": [verdict.as_dict() for verdict in verdicts],
        "machine": dict(about), "scale": scale, "version": version(),
    }  # fmt: skip


def print_table(
    rows: Sequence[Row], verdicts: Sequence[Verdict], about: Mapping[str, Any], files: Sequence[Path],
    titles: Mapping[str, str],
) -> None:  # fmt: skip
    """Print a table a suite, the targets, the machine, what is missing, and the files."""
    console = Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else _LOG_WIDTH)
    for suite, group in groupby(rows, key=lambda row: row.suite):
        console.print(_ratios(titles.get(suite, suite), list(group)))
    console.print(LEGEND, soft_wrap=True)
    if verdicts:
        console.print(_targets(verdicts))
        console.print(count(verdicts), soft_wrap=True)
    for line in (describe(about), busy(about)):
        if line:
            console.print(line, soft_wrap=True)
    for name, why in missing(rows):
        console.print(f"{name}: {why}", soft_wrap=True)
    for file in files:
        console.print(str(file), soft_wrap=True)


def missing(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Return the peers that could not be had, and why."""
    return sorted({(row.side, row.note) for row in rows if row.status == "missing"})


def count(verdicts: Sequence[Verdict]) -> str:
    """Return how many targets were met, of those measured."""
    measured = [verdict for verdict in verdicts if verdict.met is not None]
    left = len(verdicts) - len(measured)
    met = sum(bool(verdict.met) for verdict in measured)
    return f"{met} of {len(measured)} targets met" + (f", {left} not measured" if left else "")


def describe(about: Mapping[str, Any]) -> str:
    """Return the machine in one sentence."""
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    caches = f" ({about['caches']})" if about["caches"] else ""
    return (
        f"{about['cpu'] or 'unknown processor'}, {about['cores']} cores{caches}, {about['memory_gib']:g} GiB, "
        f"{about['system']}; Python {about['python']}, {versions}; BLAS threads {about['blas_threads']}; "
        f"load {about['load']:g} before the start, {about.get('load_after', math.nan):g} at the end"
    )


def _ratios(title: str, rows: Sequence[Row]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("case", overflow="fold", ratio=3)
    table.add_column("side", overflow="fold", ratio=3)
    table.add_column("time a unit", justify="right", no_wrap=True)
    table.add_column("ratio", justify="right", no_wrap=True)
    table.add_column("limit, share reached", overflow="fold", ratio=3)
    for _, group in groupby(rows, key=lambda row: row.case):
        for row in group:
            table.add_row(*map(Text, cells(row)))
        table.add_section()
    return table


def _targets(verdicts: Sequence[Verdict]) -> Table:
    table = Table(title="Targets", title_justify="left")
    for name, share in (("what", 3), ("target", 3), ("measured", None), ("", 2), ("case", 3)):
        table.add_column(name, overflow="fold", ratio=share)
    for _, group in groupby(verdicts, key=lambda verdict: verdict.target.what):
        for i, verdict in enumerate(group):
            colour = "" if verdict.met is None else "green" if verdict.met else "red"
            first, *rest, outcome, where = target_cells(verdict)
            table.add_row(Text("" if i else first), *map(Text, rest), Text(outcome, style=colour), Text(where))
        table.add_section()
    return table


def target_cells(verdict: Verdict) -> tuple[str, str, str, str, str]:
    """Return what was aimed at, what was found, and in which case: the worst where there are several."""
    where = verdict.case if verdict.side == OURS or verdict.met is None else f"{verdict.case}: {verdict.side}"
    measured = "~ " * verdict.wide + verdict.measured
    return verdict.target.what, verdict.aim, measured, verdict.outcome, where


def cells(row: Row) -> tuple[str, str, str, str, str]:
    """Return a row in words: the case (beside ours only), the side, its time, its ratio, and the limit."""
    case = row.case if row.side == OURS else ""
    name = row.side if row.threads == 1 else f"{row.side}, {row.threads} threads"
    if row.status != "timed":
        return case, name, "–", row.status, row.note if row.status != "missing" else ""
    mark = "~ " * row.wide
    ratio = mark + f"{number(row.ratio)} [{number(row.ratio_low)}, {number(row.ratio_high)}]"
    share = "" if math.isnan(row.fraction) else f"{row.limit} ({in_units(row.limit_seconds)}): {row.fraction:.2g}"
    if row.side == OURS:
        ratio = f"{mark}1"
    if not math.isnan(row.certified):
        share = ", ".join(filter(None, (share, f"error certified {row.certified:.1g}")))
    return case, name, f"{in_units(row.seconds)} / {row.unit}", ratio, share


def number(value: float) -> str:
    """Return a ratio with three digits.

    >>> number(1234.5), number(0.4567)
    ('1,234', '0.457')
    """
    return f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:.3g}"
