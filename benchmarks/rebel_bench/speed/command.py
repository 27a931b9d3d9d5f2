"""The steps of ``rebel-theory bench``: check the options, measure case by case, store, draw, print."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from rebel_bench.atomic import require_writable, whole_file
from rebel_bench.errors import UserError
from rebel_bench.speed import discover, report
from rebel_bench.speed.measure import LEAST_REPEATS, Row, machine, measure

if TYPE_CHECKING:
    from rebel_bench.cmd_bench import Bench


def execute(options: Bench) -> int:
    """Return 0, or 1 if a NumPy version and ours disagree; every option is checked before any work."""
    suites = discover.select(discover.suites(), options.suites)
    if options.repeats < LEAST_REPEATS:
        raise UserError(f"--repeats {options.repeats}: expected at least {LEAST_REPEATS}, medians of fewer mean little")
    folder = options.out / "speed"
    require_writable(folder)
    plans = [(suite.name, plan) for suite in suites for plan in suite.plans(options.scale)]
    about = machine()  # the load before ours
    rows: list[Row] = []
    with _progress(len(plans)) as tell:
        for name, plan in plans:
            found = measure(name, plan, repeats=options.repeats)
            rows.extend(found)
            tell(f"{name}: {plan.name}")
    frame = pd.DataFrame([asdict(row) for row in rows])
    which = "all" if len(suites) == len(discover.suites()) else "+".join(suite.name for suite in suites)
    files = [_store(frame, folder / f"{which}.{options.scale}.parquet")]
    if options.figures and (frame["axis"] != "").any():
        from rebel_bench.speed.drawing import draw

        files += draw(frame, folder / f"{which}.{options.scale}")
    if options.json:
        report.print_object(rows, about, options.scale, files)
    else:
        report.print_table(rows, about, files, {suite.name: f"{suite.title} ({suite.name})" for suite in suites})
    return 1 if any(row.status == "differs" and row.side.startswith(("NumPy", "ours")) for row in rows) else 0


def _store(frame: pd.DataFrame, path: Path) -> Path:
    with whole_file(path) as temporary:
        frame.to_parquet(temporary, index=False)
    return path


@contextmanager
def _progress(total: int) -> Iterator[Callable[[str], None]]:
    """Yield what to call after each case: a bar on a terminal's stderr, a line a case in a log."""
    console = Console(stderr=True, markup=False, highlight=False)
    if not console.is_terminal:
        done = [0]

        def line(text: str) -> None:
            done[0] += 1
            console.print(f"[{done[0]}/{total}] {text}", soft_wrap=True)

        yield line
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("warming up", total=total)
        yield lambda text: bar.update(task, advance=1, description=text)
