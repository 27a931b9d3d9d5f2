"""The steps of ``rebel-theory check``: run the suite with a bar, print what failed and what was skipped."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from rebel_bench import tables
from rebel_bench.algorithm_specs import parse
from rebel_bench.bars import with_bar
from rebel_bench.contract.suite import Result, check
from rebel_theory.algorithms.registry import find_algorithms

if TYPE_CHECKING:
    from rebel_bench.cmd_check import Check

_SHOWN = 8  # reasons an algorithm
_COLOURS = {"passed": "green", "failed": "red", "skipped": "yellow"}


def execute(options: Check) -> int:
    """Return 0 if every promise was kept, 1 otherwise."""
    specs = parse([options.algorithms or ",".join(find_algorithms())])
    results: list[Result] = []
    for spec in with_bar(specs, "checking"):
        results += check(spec)
    if options.json:
        tables.print_json([asdict(result) for result in results])
    else:
        _print(results)
    return int(any(result.outcome == "failed" for result in results))


def _print(results: list[Result]) -> None:
    rows = []
    for name in dict.fromkeys(result.algorithm for result in results):
        own = [result for result in results if result.algorithm == name]
        failed = [result for result in own if result.outcome == "failed"]
        skipped = [result for result in own if result.outcome == "skipped"]
        reasons = [_failure(failed, reason) for reason in dict.fromkeys(r.reason for r in failed)]
        if len(reasons) > _SHOWN:
            reasons = [*reasons[:_SHOWN], f"and {len(reasons) - _SHOWN} other reasons: --json lists all"]
        reasons += [
            f"skipped {'; '.join(r.case for r in skipped if r.reason == reason)}: {reason}"
            for reason in dict.fromkeys(r.reason for r in skipped)
        ]
        rows.append(
            {
                "algorithm": name,
                "verdict": "failed" if failed else "passed",
                "checks": f"{sum(r.outcome == 'passed' for r in own)} of {len(own) - len(skipped)}",
                "what failed, what was skipped": "\n".join(reasons),
            }
        )
    tables.print_rows(tuple(rows[0]), rows, _COLOURS)


def _failure(failed: list[Result], reason: str) -> str:
    """Return a reason with the checks that gave it and the first case that did."""
    own = [r for r in failed if r.reason == reason]
    checks = ", ".join(dict.fromkeys(r.check for r in own))
    more = f" and {len(own) - 1} more" if len(own) > 1 else ""
    return f"{checks} [{own[0].case}{more}]: {reason}"
