"""The three kinds of study: which cells they need, and the tables made of what the cells found."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

import rebel_theory as rt
from rebel_bench.algorithm_specs import parse
from rebel_bench.comparison import scores
from rebel_bench.comparison.cells import Cell
from rebel_bench.comparison.plan import ENDS, INEXACT, Entry, Plan, Setting
from rebel_bench.errors import UserError
from rebel_bench.statistics import stratified_bootstrap, t_interval
from rebel_bench.streams import stream
from rebel_theory.arrays import FloatArray

Runner = Callable[[Sequence[Cell]], list[pd.DataFrame]]

_POINTS = 100
NEAR = 0.9  # a step size is near the best if it closes so much of what the best closes of the first gap


@dataclass(frozen=True, eq=False)
class Study:
    """A plan and its tables: ``results`` has a row a cell, ``runs`` a row a seed; the others belong to the kind."""

    plan: Plan
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)


def n_cells(plan: Plan) -> int:
    """Return how many cells a study has."""
    spec = plan.spec
    lines = len(plan.problems) * len(plan.entries)
    n = len(set(spec.step_sizes))
    return lines * ((n + 1 if n > 1 else 1) if spec.kind == "tuned" else n)


def measure(plan: Plan, run: Runner) -> Study:
    """Return the study of a plan; ``run`` gives the tables of cells, in their order."""
    return Study(plan, {"tuned": _tuned, "sensitivity": _sensitivity, "inexact": _inexact}[plan.spec.kind](plan, run))


def _lines(plan: Plan) -> Iterator[tuple[str, Entry]]:
    for problem in plan.problems:
        for entry in plan.entries:
            yield problem, entry


def _cell(plan: Plan, problem: str, entry: Entry, step_size: float, *, tuning: bool = False, points: int = 1) -> Cell:
    """Return a cell; the streams of tuning and of reporting never meet."""
    spec = plan.spec
    item = spec.problems[problem]
    return Cell(
        env=item.env,
        options=json.dumps(item.options, sort_keys=True),
        algorithm=entry.algorithm.text,
        oracle=entry.oracle.text,
        pairs=spec.pairs,
        step_size=step_size,
        budget=spec.budget(problem),
        counts=spec.counts,
        n_seeds=spec.tuning_seeds if tuning else spec.seeds,
        stream=2 * spec.seed + (0 if tuning else 1),
        points=points,
        policy=spec.policy,
        n_features=spec.n_features,
    )


def _last(found: pd.DataFrame, n_seeds: int) -> pd.DataFrame:
    """Return the last point of every seed; exact runs, which have one, stand for all seeds."""
    ends = found[found["spent"] == found["spent"].max()]
    if len(ends) < n_seeds:
        ends = pd.concat([ends.iloc[:1]] * n_seeds, ignore_index=True).assign(seed=np.arange(n_seeds))
    return pd.DataFrame(ends)


def _row(ends: pd.DataFrame, problem: str, entry: Entry, step_size: float) -> dict[str, object]:
    """Return the row of a cell: the mean gap and its 95% t interval over seeds."""
    mean, low, high = map(float, t_interval(ends["gap"].to_numpy()))
    return {
        "problem": problem,
        "algorithm": entry.name,
        "oracle": entry.oracle_name,
        "step_size": step_size,
        "gap": mean,
        "low": low,
        "high": high,
        "first_gap": float(ends["first_gap"].iloc[0]),
        "updates": float(ends["updates"].mean()),
        "fault": str(ends["fault"].iloc[0]),
    }


def _tuned(plan: Plan, run: Runner) -> dict[str, pd.DataFrame]:
    spec = plan.spec
    tuning = _tuning(plan, run)
    chosen = {line: _best(rows) for line, rows in tuning.groupby(["problem", "algorithm"], sort=False)}
    cells = [_cell(plan, p, e, chosen[p, e.name], points=_POINTS) for p, e in _lines(plan)]
    results, curves, runs = [], [], []
    edges = (min(spec.step_sizes), max(spec.step_sizes)) if len(spec.step_sizes) > 1 else ()
    for (problem, entry), cell, found in zip(_lines(plan), cells, run(cells), strict=True):
        ends = _last(found, spec.seeds)
        row = _row(ends, problem, entry, cell.step_size)
        results.append(row | {"at_edge": cell.step_size in edges, spec.counts: cell.budget})
        runs.append(ends.assign(problem=problem, algorithm=entry.name)[["problem", "algorithm", "seed", "gap"]])
        curves.append(_curve(found, entry.oracle.is_exact).assign(problem=problem, algorithm=entry.name))
    table, every = pd.DataFrame(results), pd.concat(runs, ignore_index=True)
    ranked = scores.tables(every, table, stream("compare", "bootstrap", seed=spec.seed))
    return {"results": table, "curves": pd.concat(curves, ignore_index=True), "runs": every, "tuning": tuning, **ranked}


def _tuning(plan: Plan, run: Runner) -> pd.DataFrame:
    """Return the mean gap of every step size on the tuning seeds; a grid of one is not run."""
    grid = plan.spec.step_sizes
    lines = [(p, e, factor) for p, e in _lines(plan) for factor in grid]
    found: list[float] = [0.0] * len(lines)
    if len(grid) > 1:
        frames = run([_cell(plan, p, e, factor, tuning=True) for p, e, factor in lines])
        found = [float(frame["gap"].mean(skipna=False)) for frame in frames]
    return pd.DataFrame(
        [
            {"problem": p, "algorithm": e.name, "step_size": factor, "gap": gap}
            for (p, e, factor), gap in zip(lines, found, strict=True)
        ]
    )


def _best(rows: pd.DataFrame) -> float:
    gaps = rows["gap"].to_numpy()
    if np.isnan(gaps).all():
        problem, algorithm = rows["problem"].iloc[0], rows["algorithm"].iloc[0]
        raise UserError(f"{algorithm} on {problem} overflows at every step size of the grid: give smaller ones")
    return float(rows["step_size"].to_numpy()[np.nanargmin(gaps)])


def _curve(found: pd.DataFrame, exact: bool) -> pd.DataFrame:
    """Return the mean gap over seeds and its interval against what was spent."""
    gaps = found.pivot(index="seed", columns="spent", values="gap")
    values = gaps.to_numpy()
    mean, low, high = (values[0],) * 3 if exact else t_interval(values)
    return pd.DataFrame({"spent": gaps.columns.to_numpy(), "gap": mean, "low": low, "high": high})


def _grid(plan: Plan, run: Runner) -> Iterator[tuple[str, Entry, list[float], FloatArray, list[dict[str, object]]]]:
    """Yield for every line its gaps (n_seeds, n_step_sizes) and its rows."""
    spec = plan.spec
    steps = sorted(set(spec.step_sizes))
    lines = list(_lines(plan))
    frames = iter(run([_cell(plan, p, e, step) for p, e in lines for step in steps]))
    for problem, entry in lines:
        ends = [_last(next(frames), spec.seeds) for _ in steps]
        rows = [_row(e, problem, entry, step) for e, step in zip(ends, steps, strict=True)]
        yield problem, entry, steps, np.stack([e["gap"].to_numpy() for e in ends], axis=-1), rows


def _sensitivity(plan: Plan, run: Runner) -> dict[str, pd.DataFrame]:
    rng = stream("compare", "bootstrap", seed=plan.spec.seed)
    rows, widths = [], []
    for problem, entry, steps, gaps, found in _grid(plan, run):
        rows += found
        if np.isnan(gaps).all():
            raise UserError(f"{entry.name} on {problem} overflows at every step size of the grid: give smaller ones")
        first = float(str(found[0]["first_gap"]))
        values = np.where(np.isnan(gaps), np.inf, gaps)
        width, low, high = map(float, stratified_bootstrap(values, _near(np.log10(steps), first), rng=rng))
        best = int(values.mean(axis=0).argmin())
        widths.append(
            {"problem": problem, "algorithm": entry.name, "oracle": entry.oracle_name, "best_step_size": steps[best],
             "gap": found[best]["gap"], "first_gap": found[best]["first_gap"], "decades": width, "low": low,
             "high": high}
        )  # fmt: skip
    return {"sensitivity": pd.DataFrame(rows), "widths": pd.DataFrame(widths)}


def _near(decades: FloatArray, first: float) -> Callable[[FloatArray], FloatArray]:
    """Return the statistic of gaps (..., n_seeds, n_step_sizes): decades of step sizes near the best, (...).

    Each step size stands for the stretch that is nearer to it than to its neighbours.
    """
    middle = (decades[1:] + decades[:-1]) / 2
    stretch = np.diff(np.concatenate([decades[:1], middle, decades[-1:]]))

    def statistic(gaps: FloatArray) -> FloatArray:
        gain = first - gaps.mean(axis=-2)
        near = gain >= NEAR * gain.max(axis=-1, keepdims=True)
        return np.asarray((near * stretch).sum(axis=-1))

    return statistic


def _inexact(plan: Plan, run: Runner) -> dict[str, pd.DataFrame]:
    rows = [row for *_, found in _grid(plan, run) for row in found]
    steps = {entry.name: int(entry.algorithm.options.get("n_steps", 0)) for entry in plan.entries}
    names = {text: end for end, text in ENDS.items()}
    ends = {entry.name: names.get(entry.algorithm.text, "") for entry in plan.entries}
    results = pd.DataFrame(rows)
    results.insert(2, "n_steps", results["algorithm"].map(steps))
    results.insert(3, "end", results["algorithm"].map(ends))
    return {"inexact": results, "apart": pd.DataFrame(_apart(plan))}


def _apart(plan: Plan) -> list[dict[str, object]]:
    """Return the total variation of one exact update from the two ends, for every K."""
    found: list[dict[str, object]] = []
    for problem, setting in plan.problems.items():
        rows = rt.evaluate(setting.problem, setting.start).occupancy > 0
        for factor in sorted(set(plan.spec.step_sizes)):
            eta = factor * setting.unit
            ends = {name: _once(setting, parse([text])[0].make(eta)) for name, text in ENDS.items()}
            for k in sorted(set(plan.spec.n_steps)):
                probs = _once(setting, parse([INEXACT.format(k)])[0].make(eta))
                tv = {f"from_{name}": float(rt.total_variation(probs, end, rows).max()) for name, end in ends.items()}
                found.append({"problem": problem, "step_size": factor, "n_steps": k, **tv})
    return found


def _once(setting: Setting, algorithm: rt.Algorithm) -> FloatArray:
    """Return the policy after one exact update."""
    trace = rt.run(setting.problem, algorithm, n_iterations=1, policy=setting.start)
    return np.asarray(trace.final_policy.probs[0])
