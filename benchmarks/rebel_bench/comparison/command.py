"""The steps of ``rebel-theory compare``: read, plan, run with a bar, draw, print."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rebel_bench import tables
from rebel_bench.atomic import require_writable, whole_file
from rebel_bench.bars import StderrBar
from rebel_bench.comparison import figures, report
from rebel_bench.comparison.cells import Cell
from rebel_bench.comparison.keep import Cells
from rebel_bench.comparison.plan import load
from rebel_bench.comparison.study import Study, measure, n_cells
from rebel_bench.style import save

if TYPE_CHECKING:
    from rebel_bench.cmd_compare import Compare


def execute(options: Compare) -> int:
    """Return 0 after running, printing and drawing; every fault is found before any work."""
    given = {name: getattr(options, name) for name in ("seed", "seeds", "queries", "updates")}
    plan = load(options.spec, {name: value for name, value in given.items() if value is not None})
    if options.figures:
        require_writable(options.out)
    done = [0, 0]  # cells that were measured, and that were kept
    with StderrBar("comparing") as bar:
        bar.move(total=n_cells(plan))

        def tell(cell: Cell, kept: bool) -> None:
            done[kept] += 1
            bar.move(advance=1, description=f"{cell.algorithm} on {cell.env}")

        study = measure(plan, Cells(options.out / "cells" if options.figures else None, options.workers, tell))
    if done[True]:
        bar.line(f"{done[True]} of {sum(done)} cells were kept from an earlier run")
    files = _write(study, options.out / Path(options.spec).stem, options) if options.figures else []
    if options.json:
        tables.print_json(report.as_object(study, files))
    else:
        report.print_study(study, files)
    return 0


def _write(study: Study, stem: Path, options: Compare) -> list[Path]:
    files: list[Path] = []
    for name, fig in figures.drawn(study, options.venue):
        files += save(fig, stem.with_name(f"{stem.name}-{name}"))
    for name, frame in study.tables.items():
        path = stem.with_name(f"{stem.name}-{name}.parquet")
        with whole_file(path) as temporary:
            frame.to_parquet(temporary, index=False)
        files.append(path)
    return files
