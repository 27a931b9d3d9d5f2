"""The tables of a comparison: for a terminal, for a page, as JSON."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rebel_bench.comparison.plan import Plan
from rebel_bench.comparison.scores import ROUNDING
from rebel_bench.comparison.study import NEAR, Study

_LOG_WIDTH = 140
TIE = 1e-9  # gaps that are closer differ by rounding


def print_study(study: Study, files: list[Path]) -> None:
    """Print the study's table, what its marks mean, and the files."""
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console = Console(markup=False, highlight=False, width=_LOG_WIDTH)
    for title, frame in tables_of(study.plan, study.tables):
        table = Table(title=title)
        for i, name in enumerate(frame.columns):
            table.add_column(Text(name), justify="right" if i else "left", no_wrap=i == 0)
        for row in frame.itertuples(index=False):
            table.add_row(*map(Text, row))
        console.print(table)
    console.print(note(study.plan, study.tables), soft_wrap=True)
    for file in files:
        console.print(str(file), soft_wrap=True)


def markdown(plan: Plan, tables: dict[str, pd.DataFrame]) -> str:
    """Return the tables for a page, from stored results."""
    parts = []
    for title, frame in tables_of(plan, tables):
        rows = ["| " + " | ".join(name.replace("\n", " ") for name in frame.columns) + " |"]
        rows.append("|---" * len(frame.columns) + "|")
        rows += ["| " + " | ".join(word.strip().replace("*", "\\*") for word in row) + " |" for row in frame.to_numpy()]
        parts.append(f"{title}.\n\n" + "\n".join(rows))
    return "\n\n".join([*parts, note(plan, tables).replace("*", "\\*")])


def note(plan: Plan, tables: dict[str, pd.DataFrame]) -> str:
    """Return what the marks of the tables mean."""
    spec = plan.spec
    if spec.kind == "tuned":
        edge = "; ^ at the edge of the grid" if tables["results"]["at_edge"].any() else ""
        chosen = (
            f"Step sizes were chosen from a grid of {len(spec.step_sizes)} on {spec.tuning_seeds} other seeds, "
            f"for each algorithm and problem{edge}."
            if len(spec.step_sizes) > 1
            else "Nothing was tuned: the grid has one step size."
        )
        return f"* the lowest mean, and every algorithm whose interval reaches it. {chosen}"
    if spec.kind == "sensitivity":
        return (
            "Best: the lowest mean of the grid, on the same seeds, so a little too low. Decades: how much of the grid, "
            f"by its logarithm, closes at least {NEAR:.0%} of what the best closes of the first gap, "
            "with a 95% bootstrap interval over seeds."
        )
    return "Step sizes in units of 1 / (the first signal's largest spread), the same for every K and both ends."


def tables_of(plan: Plan, tables: dict[str, pd.DataFrame]) -> list[tuple[str, pd.DataFrame]]:
    """Return titles and tables of words."""
    return {"tuned": _tuned, "sensitivity": _sensitivity, "inexact": _inexact}[plan.spec.kind](plan, tables)


def _about(plan: Plan) -> str:
    spec = plan.spec
    what = "at equal reward queries" if spec.counts == "queries" else "after equally many updates"
    return f"{spec.title}: gap {what}, mean over {spec.seeds} seeds, 95% t interval"


def _tuned(plan: Plan, tables: dict[str, pd.DataFrame]) -> list[tuple[str, pd.DataFrame]]:
    results, spec = tables["results"], plan.spec
    algorithms = list(dict.fromkeys(results["algorithm"]))
    columns: dict[str, list[str]] = {"algorithm": [*algorithms, "(first policy)"]}
    for problem in dict.fromkeys(results["problem"]):
        part = results[results["problem"] == problem].set_index("algorithm")
        words = [_marked(part, algorithm) for algorithm in algorithms]
        columns[f"{problem}\n{spec.budget(problem):,} {spec.counts}"] = [*words, f"{part['first_gap'].iloc[0]:.4g}"]
    found = [(_about(plan), pd.DataFrame(columns))]
    return [*found, _ranked(tables)] if len(algorithms) > 1 else found


def _marked(part: pd.DataFrame, algorithm: str) -> str:
    """Return a gap in words, marked if it is among the best of its problem or at the edge of the grid."""
    row = part.loc[algorithm]
    if row["fault"]:
        return "overflow"
    least = part["gap"].min()
    best = bool(row["low"] <= least + TIE * abs(least) + ROUNDING * row["first_gap"])
    marks = ("^" if row["at_edge"] else "") + ("*" if best else "")
    return f"{_interval(row)} {marks:>2}"


def _interval(row: Any) -> str:
    if row["high"] < ROUNDING * row["first_gap"]:
        return f"< {ROUNDING * row['first_gap']:.0e}"
    half = row["high"] - row["gap"]
    return f"{row['gap']:.3g} ± {half:.2g}" if half > 0 else f"{row['gap']:.3g}"


def _ranked(tables: dict[str, pd.DataFrame]) -> tuple[str, pd.DataFrame]:
    ranking, chances = tables["ranking"], tables["improvement"]
    names = list(ranking["algorithm"])
    against = [_chance(chances, a, b) for a, b in pairwise(names)]
    words = {
        "algorithm": names,
        "mean rank": [f"{r['rank']:.2f} [{r['rank_low']:.2f}, {r['rank_high']:.2f}]" for _, r in ranking.iterrows()],
        "IQM of gap / first gap": [
            f"{r['iqm']:.3g} [{r['iqm_low']:.3g}, {r['iqm_high']:.3g}]" for _, r in ranking.iterrows()
        ],
        "chance of a smaller gap than the next": [*against, ""],
    }
    return "Ranking over the problems, 95% stratified bootstrap intervals", pd.DataFrame(words)


def _chance(chances: pd.DataFrame, first: str, second: str) -> str:
    for one, other, flip in ((first, second, False), (second, first, True)):
        found = chances[(chances["algorithm"] == one) & (chances["than"] == other)]
        if len(found):
            row = found.iloc[0]
            p, low, high = row["probability"], row["low"], row["high"]
            p, low, high = (1 - p, 1 - high, 1 - low) if flip else (p, low, high)
            return f"{p:.2f} [{low:.2f}, {high:.2f}]"
    raise ValueError(f"{first} and {second} were not compared")


def _sensitivity(plan: Plan, tables: dict[str, pd.DataFrame]) -> list[tuple[str, pd.DataFrame]]:
    found, widths = tables["sensitivity"], tables["widths"]
    largest = found[found["step_size"] == found["step_size"].max()].set_index(["problem", "algorithm"])
    rows = []
    for _, row in widths.iterrows():
        end = largest.loc[(row["problem"], row["algorithm"])]
        best = found[(found["problem"] == row["problem"]) & (found["algorithm"] == row["algorithm"])]
        at = best[best["step_size"] == row["best_step_size"]].iloc[0]
        rows.append(
            {
                "problem": row["problem"],
                "algorithm": row["algorithm"],
                "first gap": f"{row['first_gap']:.3g}",
                "best": _interval(at),
                "at step size": f"{row['best_step_size']:.3g}",
                "decades": f"{row['decades']:.2g} [{row['low']:.2g}, {row['high']:.2g}]",
                f"at {found['step_size'].max():.0e}": "overflow" if end["fault"] else _interval(end),
            }
        )
    return [(_about(plan), pd.DataFrame(rows))]


def _inexact(plan: Plan, tables: dict[str, pd.DataFrame]) -> list[tuple[str, pd.DataFrame]]:
    found = tables["inexact"].copy()
    found["base"] = [a.removesuffix(f", {o}") for a, o in zip(found["algorithm"], found["oracle"], strict=True)]
    steps = sorted(set(plan.spec.n_steps))
    shown = [k for k in steps if math.log10(k) % 1 == 0] or steps
    order = ["RLOO", *(f"K = {k}" for k in shown), "REBEL"]
    rows = []
    for (problem, oracle, step), part in found.groupby(["problem", "oracle", "step_size"], sort=False):
        cells = part.set_index("base")
        words = {name: "overflow" if cells.loc[name, "fault"] else _interval(cells.loc[name]) for name in order}
        rows.append({"problem": problem, "oracle": oracle, "step size": f"{step:g}", **words})
    return [(_about(plan), pd.DataFrame(rows))]


def as_object(study: Study, files: list[Path]) -> dict[str, Any]:
    """Return the JSON object; the curves and the runs are in the files."""
    large = ("curves", "runs", "profiles")
    return {
        "spec": study.plan.spec.model_dump(),
        **{name: table.to_dict(orient="records") for name, table in study.tables.items() if name not in large},
        "files": [str(file) for file in files],
    }
