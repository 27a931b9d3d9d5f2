"""The measured part of docs/speed.md, written from a stored run: no figure there is typed by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rebel_bench.errors import UserError
from rebel_bench.speed.case import OURS
from rebel_bench.speed.machine import busy
from rebel_bench.speed.measure import Row
from rebel_bench.speed.report import LEGEND, cells, count, describe, missing, target_cells
from rebel_bench.speed.targets import verdicts

SECTIONS = ("machine", "targets", "figure", "table")
COLUMNS = ("axis", "size", "side", "seconds", "seconds_low", "seconds_high", "limit_seconds", "status")


def sections(run: Mapping[str, Any]) -> dict[str, str]:
    """Return the Markdown of every section from what ``rebel-theory bench`` stored as JSON (nulls read as NaN)."""
    rows = rows_of(run)
    found = verdicts(rows)
    return {
        "machine": _machine(run, rows),
        "targets": _table(("what", "target", "measured", "", "case"), _grouped(map(target_cells, found)))
        + f"\n\n{count(found)}.",
        "figure": "![Cost against size](images/speed.png)\n\nData: [images/speed.csv](images/speed.csv).",
        "table": _table(
            ("case", "side", "time", "ratio [quartiles]", "limit: share"), [cells(row) for row in rows if not row.axis]
        ),
    }


def rows_of(run: Mapping[str, Any]) -> list[Row]:
    """Return the rows of a stored run; its nulls are NaN."""
    try:
        return [Row(**_numbers(row)) for row in run["rows"]]
    except (KeyError, TypeError) as error:
        raise UserError(f"not a run stored by this version of `rebel-theory bench`: {error}") from None


def _numbers(stored: Mapping[str, Any]) -> dict[str, Any]:
    return {key: math.nan if value is None else value for key, value in stored.items()}


def fill(text: str, parts: Mapping[str, str]) -> str:
    """Return the page with what is between ``<!-- measured: NAME -->`` and ``<!-- end -->`` replaced."""
    for name, part in parts.items():
        head, tail = f"<!-- measured: {name} -->\n", "<!-- end -->"
        begin = text.find(head)
        end = text.find(tail, begin)
        if begin < 0 or end < 0:
            raise UserError(f"the page has no section {head.strip()} ... {tail}: put the two comments where it belongs")
        text = f"{text[: begin + len(head)]}{part}\n{text[end:]}"
    return text


def _machine(run: Mapping[str, Any], rows: Sequence[Row]) -> str:
    about = _numbers(run["machine"])
    repeats = sorted({row.repeats for row in rows if row.status == "timed"})
    text = (
        f"Measured by `rebel-theory bench --scale {run['scale']}`, version {run['version']}, "
        f"{' or '.join(map(str, repeats))} rounds, on: {describe(about)}."
    )
    for line in (busy(about), "; ".join(f"{name}: {why}" for name, why in missing(rows))):
        if line:
            text += f"\n\n{line[0].upper()}{line[1:]}."
    return f"{text}\n\n{LEGEND[0].upper()}{LEGEND[1:]}."


def _grouped(rows: Any) -> list[tuple[str, ...]]:
    """Return the rows with the first cell emptied where it repeats."""
    found: list[tuple[str, ...]] = []
    last = None
    for first, *rest in rows:
        found.append(("" if first == last else first, *rest))
        last = first
    return found


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def curves(run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the points of the figure: ours, NumPy and the limit along every axis."""
    return [
        {name: getattr(row, name) for name in COLUMNS}
        for row in rows_of(run)
        if row.axis and (row.side == OURS or row.side.startswith("NumPy"))
    ]
