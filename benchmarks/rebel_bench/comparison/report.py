"""The table and the figure of a comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rebel_bench.comparison.spec import ComparisonSpec
from rebel_bench.comparison.study import Study
from rebel_bench.style import Venue, figure, line, save

_LOG_WIDTH = 140
_COLUMNS = 3


def print_study(study: Study, files: list[Path]) -> None:
    """Print mean gaps with intervals, a row an algorithm and a column a problem; the best of each is marked."""
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console = Console(markup=False, highlight=False, width=_LOG_WIDTH)
    spec, results = study.plan.spec, study.results
    table = Table(title=f"{spec.title}: gap at equal reward queries, mean over {spec.seeds} seeds, 95% t interval")
    table.add_column("algorithm", no_wrap=True)
    for name in study.plan.problems:
        table.add_column(Text(f"{name}\n{spec.budget(name):,} queries"), justify="right")
    for algorithm in study.plan.algorithms:
        cells = [_cell(results, problem, algorithm) for problem in study.plan.problems]
        table.add_row(Text(algorithm), *cells)
    first = [f"{results[results['problem'] == p]['first_gap'].mean():.4g}" for p in study.plan.problems]
    table.add_row(Text("(first policy)"), *first)
    console.print(table)
    console.print(
        "* the lowest mean, and every algorithm whose interval reaches it. Step sizes were chosen from a grid of "
        f"{len(spec.step_sizes)} on {spec.tuning_seeds} other seeds, for each algorithm and problem"
        + ("; ^ at the edge of the grid." if results["at_edge"].any() else "."),
        soft_wrap=True,
    )
    for file in files:
        console.print(str(file), soft_wrap=True)


def _cell(results: Any, problem: str, algorithm: str) -> Text:
    words, best = _words(results, problem, algorithm)
    return Text(words, style="bold" if best else "")


def _words(results: Any, problem: str, algorithm: str) -> tuple[str, bool]:
    """Return a cell in words, and whether it is among the best of its problem."""
    part = results[results["problem"] == problem]
    row = part[part["algorithm"] == algorithm].iloc[0]
    best = bool(row["low"] <= part["gap"].min())
    marks = ("^" if row["at_edge"] else "") + ("*" if best else "")
    return f"{row['gap']:.3g} ± {row['high'] - row['gap']:.2g} {marks:>2}", best


def markdown(results: Any, spec: ComparisonSpec) -> str:
    """Return the table for a page, from stored results."""
    problems, algorithms = (list(dict.fromkeys(results[column])) for column in ("problem", "algorithm"))
    queries = {p: int(results[results["problem"] == p]["queries"].iloc[0]) for p in problems}
    rows = ["| | " + " | ".join(f"{p} ({queries[p]:,})" for p in problems) + " |", "|---" * (len(problems) + 1) + "|"]
    for algorithm in algorithms:
        cells = (_words(results, problem, algorithm)[0].strip().replace("*", "\\*") for problem in problems)
        rows.append(f"| {algorithm} | " + " | ".join(cells) + " |")
    first = (f"{results[results['problem'] == p]['first_gap'].mean():.3g}" for p in problems)
    rows.append("| (first policy) | " + " | ".join(first) + " |")
    about = f"Mean gap over {spec.seeds} seeds with its 95% t interval, after so many reward queries (in parentheses)."
    return about + "\n\n" + "\n".join(rows)


def as_object(study: Study, files: list[Path]) -> dict[str, Any]:
    """Return the JSON object."""
    return {
        "spec": study.plan.spec.model_dump(),
        "results": study.results.to_dict(orient="records"),
        "tuning": study.tuning.to_dict(orient="records"),
        "files": [str(file) for file in files],
    }


def draw(study: Study, path: Path, venue: Venue) -> tuple[Path, Path]:
    """Draw the gap against queries, a panel a problem, and write PNG and PDF."""
    names = list(study.plan.problems)
    n_columns = min(_COLUMNS, len(names) + 1)
    n_rows = -(-(len(names) + 1) // n_columns)  # one place is the legend's
    with figure(venue, (n_rows, n_columns)) as fig:
        for i, problem in enumerate(names):
            ax = fig.add_subplot(n_rows, n_columns, i + 1)
            part = study.curves[study.curves["problem"] == problem]
            for k, algorithm in enumerate(study.plan.algorithms):
                curve = part[part["algorithm"] == algorithm]
                style = line(f"{algorithm} ", k) | {"linewidth": 1.2, "markevery": (0.03 * k, 0.25)}
                ax.plot(curve["queries"], curve["gap"], **style)
                ax.fill_between(curve["queries"], curve["low"], curve["high"], color=style["color"], alpha=0.2, lw=0)
            ax.set_title(problem)
            ax.set_ylim(bottom=0)
            ax.ticklabel_format(axis="x", style="sci", scilimits=(0, 3))
            if i % n_columns == 0:
                ax.set_ylabel("gap")
            if i + n_columns >= len(names):
                ax.set_xlabel("reward queries")
        handles, labels = fig.axes[0].get_legend_handles_labels()
        last = fig.add_subplot(n_rows, n_columns, n_rows * n_columns)
        last.axis("off")
        last.legend(handles, [np.str_(label).strip() for label in labels], loc="center", handlelength=3)
        return save(fig, path)
