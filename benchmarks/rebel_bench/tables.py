"""What the commands print on stdout: tables for people, strict JSON for programs."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rebel_bench.claim import Claim
from rebel_bench.ledger import Ledger
from rebel_bench.outcomes import Outcome, Verification
from rebel_bench.registry import install

_COLOURS = {"holds": "green", "refuted": "red", "inconclusive": "yellow"}
_LOG_WIDTH = 140  # where there is no terminal to ask: wide enough that no row has to wrap figures


def claim_row(claim: Claim) -> dict[str, str | float]:
    """Return what is said about a claim in a list."""
    return {
        "id": claim.id,
        "title": claim.title,
        "statement": claim.statement,
        "latex": claim.latex,
        "source": claim.source,
        "test": type(claim.test).__name__,
        "criterion": claim.test.describe(),
        "control": claim.control_statement,
        "false_alarm": claim.false_alarm,
    }


def print_claims(claims: Sequence[Claim]) -> None:
    """Print a table of claims."""
    table = Table()
    for column in ("id", "statement", "source", "test", "false alarm", "control: broken is"):
        table.add_column(column, no_wrap=column == "id", overflow="fold")
    for claim in claims:
        # Text: in a str rich looks for markup and emoji codes, and would eat [s=1, a=0]
        alarm = f"{claim.false_alarm:g}"
        row = (claim.id, claim.statement, claim.source, claim.test.describe(), alarm, claim.control_statement)
        table.add_row(*map(Text, row))
    _console().print(table)


def print_rows(columns: Sequence[str], rows: Sequence[dict[str, str]], colours: dict[str, str] | None = None) -> None:
    """Print a table of words; the first column does not wrap, and words in ``colours`` are coloured."""
    table = Table()
    for column in columns:
        table.add_column(column, no_wrap=column == columns[0], overflow="fold")
    for row in rows:
        table.add_row(*(Text(row[c], style=(colours or {}).get(row[c], "")) for c in columns))
    _console().print(table)


def print_verification(result: Verification) -> None:
    """Print one row a claim, a sentence for every claim that failed, and a summary."""
    table = Table()
    table.add_column("id", no_wrap=True)
    table.add_column("claim", overflow="fold", ratio=1)
    for column in ("verdict", "control"):
        table.add_column(column, no_wrap=True)
    for column in ("measured", "bound", "cases", "violations", "seconds"):
        table.add_column(column, no_wrap=True, justify="right")
    for o in result:
        j = o.judgement
        figures = (
            _number(j.measured),
            _number(j.bound),
            str(j.n_cases),
            str(j.violations),
            _seconds(o),
        )
        # the control's verdict is good when it is refuted, so it is coloured the other way round
        good = "green" if o.control.verdict == "refuted" else "red"
        table.add_row(
            Text(o.claim.id),
            Text(o.claim.title),
            Text(j.verdict, style=_COLOURS[j.verdict]),
            Text(o.control.verdict, style=good),
            *map(Text, figures),
        )
    console = _console()
    console.print(table)
    for o in result:
        if o.finding is not None:
            console.print(Text(f"{o.claim.id} finds: {o.finding}"), soft_wrap=not console.is_terminal)
    for o in result:
        if not o.passed:
            console.print(Text(_complaint(o)))
    console.print(Text(_summary(result)))
    if result.left_out:
        names = sorted({name for claim in result.left_out for name in claim.missing})
        ids = ", ".join(claim.id for claim in result.left_out)
        console.print(Text(f"Not run: {ids}; to run them: {install(names)}"), soft_wrap=True)
    for line in _chance(result.ledger):
        console.print(Text(line), soft_wrap=not console.is_terminal)
    if any(o.n_kept for o in result):
        n, kept = sum(o.n_units for o in result), sum(o.n_kept for o in result)
        console.print(Text(f"{kept} of {n} units were kept from earlier runs of the same code; --fresh measures again"))


def _seconds(o: Outcome) -> str:
    seconds = "–" if math.isnan(o.seconds) else f"{o.seconds:.2f}"
    if not o.n_kept:
        return seconds
    return f"{seconds} kept" if o.reused else f"{seconds} kept {o.n_kept}/{o.n_units}"


def _chance(ledger: Ledger) -> list[str]:
    """Return what chance could do to all claims together, in sentences."""
    lines = [
        f"If every statement is true, chance alone would refute one of them with probability at most "
        f"{ledger.false_alarm:.2g} (the sum of the claims' stated rates)"
    ]
    level = f"at level {ledger.alpha:g} over all claims ({ledger.method})"
    if ledger.stands:
        lines.append(f"Refuted {level}: {', '.join(ledger.stands)}")
    if ledger.falls:
        lines.append(f"Refuted, but not {level}: {', '.join(ledger.falls)}; more cases decide (--scale)")
    return lines


def _complaint(o: Outcome) -> str:
    parts = []
    if o.judgement.verdict != "holds":
        parts.append(f"the claim is {o.judgement.verdict} ({_reason(o.claim, o.judgement.note)})")
    if o.control.verdict != "refuted":
        parts.append(
            f"its control {o.control.verdict}, where it must be refuted ({o.claim.control_statement}; "
            f"{_reason(o.claim, o.control.note)})"
        )
    return f"{o.claim.id}: {'; '.join(parts)}"


def _reason(claim: Claim, note: str) -> str:
    return note or f"tested: {claim.test.describe()}"


def _summary(result: Verification) -> str:
    n, failed = len(result), [o.claim.id for o in result if not o.passed]
    if failed:
        return f"{len(failed)} of {n} claims failed: {', '.join(failed)}"
    return f"{n} of {n} claims hold, and every control is refuted"


def print_verification_json(result: Verification, more: Mapping[str, Any] = MappingProxyType({})) -> None:
    """Print the one object of ``verify --json``, ``more`` included; a figure that is NaN or infinite is null."""
    about: dict[str, Any] = {"version": result.version, "seed": result.seed, "scale": result.scale.value}
    about["left_out"] = [claim.id for claim in result.left_out]
    print_json({"claims": result.rows(), **about, "ledger": asdict(result.ledger), **more})


def print_json(value: Any) -> None:
    """Print strict JSON on stdout."""
    print(json_text(value))


def json_text(value: Any) -> str:
    """Return strict JSON: numbers that do not exist are null."""
    return json.dumps(_strict(value), indent=2, allow_nan=False, ensure_ascii=False)


def _strict(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no NaN; programs that read strictly would stop here
    return value


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4g}"


def _console() -> Console:
    width = None if sys.stdout.isatty() else _LOG_WIDTH
    return Console(width=width, markup=False, highlight=False)
