"""The steps of ``rebel-theory bench``: check the options, measure case by case, store, draw, print."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from rebel_bench.atomic import require_writable
from rebel_bench.bars import StderrBar
from rebel_bench.errors import UserError
from rebel_bench.speed import discover, report
from rebel_bench.speed.case import Suite
from rebel_bench.speed.machine import load, machine
from rebel_bench.speed.measure import LEAST_REPEATS, Row, measure
from rebel_bench.speed.stored import store
from rebel_bench.speed.targets import verdicts
from rebel_bench.tables import print_json

if TYPE_CHECKING:
    from rebel_bench.cmd_bench import Bench


def execute(options: Bench) -> int:
    """Return 0, or 1 if a NumPy version and ours disagree; every option is checked before any work."""
    known = discover.suites()
    suites = discover.select(known, (*options.suites, *options.suite))
    if options.repeats < LEAST_REPEATS:
        raise UserError(f"--repeats {options.repeats}: expected at least {LEAST_REPEATS}, medians of fewer mean little")
    folder = options.out / "speed"
    require_writable(folder)
    if _studied(suites, options, folder):
        return 0
    suites = tuple(suite for suite in suites if suite.study is None)
    plans = [(suite.name, plan) for suite in suites for plan in suite.plans(options.scale)]
    about = machine()  # the load before ours
    rows: list[Row] = []
    with progress(len(plans)) as tell:
        for name, plan in plans:
            tell(f"{name}: {plan.name}")
            rows.extend(measure(name, plan, repeats=options.repeats))
            gc.collect()  # gigabytes may hang in cycles
    about["load_after"] = load()
    found = verdicts(rows)
    timed = [suite for suite in known.values() if suite.study is None]
    which = "all" if len(suites) == len(timed) else "+".join(suite.name for suite in suites)
    path = folder / f"{which}.{options.scale}"
    frame = pd.DataFrame([asdict(row) for row in rows])
    result = report.as_object(rows, found, about, options.scale)
    files = store(frame, result, path)
    if options.figures and (frame["axis"] != "").any():
        from rebel_bench.speed.drawing import draw

        files += draw(frame, path)
    titles = {name: f"{suite.title} ({name})" for name, suite in known.items()}
    if options.json:
        print_json({**result, "files": [str(file) for file in files]})
    else:
        report.print_table(rows, found, about, files, titles)
    return 1 if any(row.status == "differs" and row.side.startswith(("NumPy", "ours")) for row in rows) else 0


def _studied(suites: tuple[Suite, ...], options: Bench, folder: Path) -> bool:
    """Run a study that is named, and return whether one was; among all suites it is left out."""
    named = options.suites or options.suite
    studies = [suite for suite in suites if suite.study is not None] if named else []
    if options.device != os.environ.get("REBEL_DEVICE", "cpu") and not studies:
        raise UserError(
            f"--device {options.device}: only the suites neural, neural-cost and torch-seeds use it, name one"
        )
    if not studies:
        return False
    if len(suites) > 1:
        raise UserError(f"the suite {studies[0].name} is a study of its own: name it alone")
    assert studies[0].study is not None
    studies[0].study(options.scale, options.device, folder, options.figures, options.json)
    return True


@contextmanager
def progress(total: int) -> Iterator[Callable[[str], None]]:
    """Yield what to call before each case: a bar on a terminal's stderr, a line a case in a log."""
    begun = [0]
    with StderrBar("warming up") as bar:
        bar.move(total=total)

        def advance(text: str) -> None:
            bar.move(completed=begun[0], description=text)
            begun[0] += 1
            if not bar.is_shown:
                bar.line(f"[{begun[0]}/{total}] {text}")

        yield advance
