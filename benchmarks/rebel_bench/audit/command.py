"""The steps of ``rebel-theory audit``: check, run, draw, print."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

import rebel_theory as rt
from rebel_bench.atomic import require_writable, whole_file
from rebel_bench.audit.setup import Question, question

if TYPE_CHECKING:
    from rebel_bench.cmd_audit import Audit as Options

VIOLATED = 1
_LOG_WIDTH = 140  # where there is no terminal to ask


def execute(options: Options) -> int:
    """Return 0 if nothing was violated, 1 otherwise; every option is checked before any work."""
    asked = question(options)
    if options.figures:
        require_writable(options.out)
    with _bar(asked) as progress:
        found = rt.audit(
            asked.claim, asked.problem, asked.algorithm, n_iterations=asked.n_iterations, policy=asked.policy,
            oracle=asked.oracle, seed=asked.seed, progress=progress,
        )  # fmt: skip
    files = _write(found, asked, options) if options.figures else []
    if options.json:
        from rebel_bench.tables import print_json

        print_json(_as_object(found, asked, files))
    else:
        _print(found, asked, files)
    return VIOLATED if len(found.violations) else 0


@contextmanager
def _bar(asked: Question) -> Iterator[Callable[[int, float], None]]:
    """Yield what to call after each update: a bar on a terminal, silence in a log."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"audit of {asked.claim}", total=asked.n_iterations)
        yield lambda t, gap: bar.update(task, completed=t)


def _write(found: rt.Audit, asked: Question, options: Options) -> list[Path]:
    from rebel_bench.audit.figure import draw

    name = Path(asked.name).name if ".py" in asked.name else asked.name  # of a user's file, or of a problem
    stem = f"{found.claim}-{name.replace('.py', '').replace(':', '-').replace('/', '-')}".lower()
    files = [*draw(found, options.out / stem, options.venue)]
    for kind, table in (("terms", found.terms), ("inequalities", found.inequalities)):
        path = options.out / f"{stem}-{kind}.parquet"
        with whole_file(path) as temporary:
            table.to_parquet(temporary, index=False)
        files.append(path)
    return files


def _print(found: rt.Audit, asked: Question, files: list[Path]) -> None:
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console = Console(markup=False, highlight=False, width=_LOG_WIDTH)
    eta = float(found.step_size[0])
    title = f"{found.claim} on {asked.name}: {asked.label}, {found.n_iterations} updates, step size eta = {eta:.4g}"
    table = Table(title=title)
    table.add_column("inequality", no_wrap=True)
    table.add_column("says", overflow="fold")
    table.add_column("role", no_wrap=True)
    for column in ("tightest", "of the slack", "of the bound", "violated"):
        table.add_column(column, no_wrap=True, justify="right")
    for row in found.summary().to_dict("records"):
        table.add_row(*(Text(cell, style="red" if row["violations"] else "") for cell in _cells(row)))
    console.print(table)
    console.print(_sentence(found), soft_wrap=True)
    worst = max(found.identities, key=lambda name: _largest(found.identities[name]))
    console.print(f"identities hold to {found.identity_error:.2g} (largest error: {worst})", soft_wrap=True)
    for note in (*_violations(found), *found.notes):
        console.print(note, soft_wrap=True)
    console.print(*(f"{file}\n" for file in files), sep="", end="", soft_wrap=True)


def _cells(row: Mapping[Any, Any]) -> list[str]:
    tightest = "" if np.isnan(row["tightest"]) else f"{row['tightest']:.3f} (t = {row['at']})"
    n = row["violations"]
    return [
        row["name"], row["says"], row["role"], tightest, _percent(row["share_of_slack"]),
        _percent(row["share_of_bound"]), f"{n} (t = {row['first_violation']})" if n else "0",
    ]  # fmt: skip


def _percent(share: float) -> str:
    return "" if np.isnan(share) else f"{100 * share + 0.0:.1f}%".replace("-0.0%", "0.0%")


def _sentence(found: rt.Audit) -> str:
    """Return both sides of the theorem after the last update."""
    measured, bound = float(found.measured[-1, 0]), float(found.bound[-1, 0])
    t = found.n_iterations
    if not np.isfinite(bound):
        return f"after {t} updates: measured {measured:.4g}, and no finite bound"
    return f"after {t} updates: measured {measured:.4g}, {100 * measured / bound:.3g}% of the bound {bound:.4g}"


def _violations(found: rt.Audit) -> list[str]:
    """Return one sentence for every inequality that is violated, conditions first."""
    wrong, sentences = found.violations, []
    if not len(wrong):
        return ["no inequality is violated"]
    for name in dict.fromkeys(wrong["name"]):
        own = wrong[wrong["name"] == name]
        row = own.loc[own["iteration"].idxmin()]
        sentences.append(
            f"violated {row['role']} '{name}' ({found[name].link.says}) at {len(own)} of {found.n_iterations} updates, "
            f"first at t = {row['iteration']}: {row['left']:.4g} > {row['right']:.4g}; {found[name].link.why}"
        )
    return sentences


def _largest(error: Any) -> float:
    return float(np.nanmax(error)) if np.isfinite(error).any() else 0.0


def _as_object(found: rt.Audit, asked: Question, files: list[Path]) -> dict[str, Any]:
    summary = found.summary()
    first = found.violations.groupby("name", sort=False).first() if len(found.violations) else pd.DataFrame()
    return {
        "claim": found.claim,
        "problem": asked.name,
        "algorithm": asked.label,
        "step_size": float(found.step_size[0]),
        "iterations": found.n_iterations,
        "seed": asked.seed,
        "measured": float(found.measured[-1, 0]),
        "bound": float(found.bound[-1, 0]),
        "identity_error": found.identity_error,
        "identities": {name: _largest(error) for name, error in found.identities.items()},
        "inequalities": summary.to_dict("records"),
        "violated": [
            {"name": name, "role": row["role"], "iteration": int(row["iteration"]), "left": float(row["left"]),
             "right": float(row["right"])}
            for name, row in first.iterrows()
        ],
        "notes": list(found.notes),
        "files": [str(file) for file in files],
    }  # fmt: skip
