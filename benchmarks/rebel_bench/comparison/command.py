"""The steps of ``rebel-theory compare``: read, plan, run with a bar, draw, print."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress

from rebel_bench import tables
from rebel_bench.atomic import require_writable, whole_file
from rebel_bench.comparison import report
from rebel_bench.comparison.spec import ComparisonSpec, read
from rebel_bench.comparison.study import Study, measure, plan

if TYPE_CHECKING:
    from rebel_bench.cmd_compare import Compare


def execute(options: Compare) -> int:
    """Return 0 after running, printing and drawing; every fault is found before any work."""
    spec = read(options.spec)
    given = {
        k: v
        for k, v in {"seed": options.seed, "seeds": options.seeds, "queries": options.queries}.items()
        if v is not None
    }
    if given:
        spec = ComparisonSpec.model_validate(spec.model_dump() | given)
    made = plan(spec)
    if options.figures:
        require_writable(options.out)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("comparing", total=made.n_cells)
        study = measure(made, lambda what: bar.update(task, advance=1, description=what))
    files = _write(study, options.out / Path(options.spec).stem, options) if options.figures else []
    if options.json:
        tables.print_json(report.as_object(study, files))
    else:
        report.print_study(study, files)
    return 0


def _write(study: Study, stem: Path, options: Compare) -> list[Path]:
    files = [*report.draw(study, stem, options.venue)]
    for name, frame in (("results", study.results), ("curves", study.curves), ("tuning", study.tuning)):
        path = stem.with_name(f"{stem.name}-{name}.parquet")
        with whole_file(path) as temporary:
            frame.to_parquet(temporary, index=False)
        files.append(path)
    return files
