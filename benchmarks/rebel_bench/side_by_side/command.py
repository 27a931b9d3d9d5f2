"""The steps of ``rebel-theory run``: check, run with a live table, draw, print."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

import rebel_envs as envs
import rebel_theory as rt
from rebel_bench.atomic import require_writable, whole_file
from rebel_bench.side_by_side import setup

if TYPE_CHECKING:
    from rebel_bench.cmd_run import Run

_LIVE_PER_SECOND = 8
_LOG_WIDTH = 120  # where there is no terminal to ask


@dataclass(frozen=True)
class SideBySide:
    """What the table, the figure and the JSON object are made of."""

    env: str
    problem: rt.Problem
    comparison: rt.Comparison
    optimum: float | None
    error_bound: float | None
    seconds: float

    @property
    def step_size(self) -> float:
        """The functional eta of all algorithms."""
        return float(self.comparison.traces[0].step_size)

    @property
    def evaluation_error(self) -> float:
        """Largest certified error of any iterate's values."""
        return max(trace.evaluation_error for trace in self.comparison)

    @property
    def is_game(self) -> bool:
        """True when the gap is a duality gap."""
        return isinstance(self.problem, rt.PreferenceGame)


def execute(options: Run) -> int:
    """Return exit code 0 after running, printing and drawing; every option is checked before any work."""
    if options.env == "list":
        return _list()
    options, instance = setup.resolve(options)
    setup.check_numbers(options)
    specs = setup.chosen(options)
    problem = setup.problem(options, instance)
    policy = setup.first_policy(options, problem, instance)
    eta = setup.step_size(options, problem, policy)
    if options.figures:
        require_writable(options.out)
    found = _run(options, setup.algorithms(options, specs, eta, problem, instance), problem, policy)
    files = _write(found, options) if options.figures else []
    if options.json:
        from rebel_bench.tables import print_json

        print_json(_as_object(found, options, files))
    else:
        _print(found, options, files)
    return 0


def _list() -> int:
    table = Table("name", "problem")
    for name in envs.names():
        table.add_row(Text(name), Text(envs.describe(name)))
    Console(markup=False).print(table)
    return 0


def _run(options: Run, algorithms: dict[str, rt.Algorithm], problem: rt.Problem, policy: rt.Policy) -> SideBySide:
    oracle: rt.Oracle = rt.Exact() if options.pairs is None else rt.Sampled(options.pairs)
    assert options.iterations is not None  # resolved
    begun = time.perf_counter()
    with _live(list(algorithms), options.iterations) as progress:
        comparison = rt.compare(
            problem, list(algorithms.values()), n_iterations=options.iterations, policy=policy, oracle=oracle,
            n_seeds=options.seeds, seed=options.seed, keep_policies=True, progress=progress, names=list(algorithms),
        )  # fmt: skip
    seconds = time.perf_counter() - begun
    if isinstance(problem, rt.PreferenceGame):
        return SideBySide(options.env, problem, comparison, None, None, seconds)
    best = rt.solve(problem)
    return SideBySide(options.env, problem, comparison, float(np.mean(best.objective)), best.error_bound, seconds)


@contextmanager
def _live(names: list[str], total: int) -> Iterator[Callable[[int, float], None]]:
    """Yield what to call after each update: a live table of the gaps on a terminal, silence in a log."""
    console = Console(stderr=True)
    gaps: dict[str, float] = {}
    done = dict.fromkeys(names, 0)

    def table() -> Table:
        made = Table("algorithm", "iteration", "gap", title="running")
        for name in names:
            made.add_row(Text(name), f"{done[name]}/{total}", f"{gaps[name]:.4g}" if name in gaps else "")
        return made

    if not console.is_terminal:
        yield lambda t, gap: None
        return
    with Live(table(), console=console, transient=True, refresh_per_second=_LIVE_PER_SECOND) as live:

        def progress(t: int, gap: float) -> None:
            name = names[(t - 1) // total]
            done[name], gaps[name] = (t - 1) % total + 1, gap
            live.update(table())

        yield progress


def _print(found: SideBySide, options: Run, files: list[Path]) -> None:
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console = Console(markup=False, highlight=False, width=_LOG_WIDTH)
    console.print(f"{found.env}: {_describe(found.problem)}", soft_wrap=True)
    if found.optimum is not None:
        console.print(
            f"optimum {found.optimum:.10g} by policy iteration (certified error {found.error_bound:.1g})"
            if isinstance(found.problem, (rt.TabularMDP, rt.LinearMDP))
            else f"optimum {found.optimum:.10g} (exact)"
        )
    kind = "duality gap (payoff 2P-1)" if found.is_game else "gap to the optimum"
    table = Table(title=f"{kind}, {options.iterations} updates, step size eta = {found.step_size:.4g}")
    table.add_column("algorithm")
    for column in ("first", "last", "average", "objective", "largest eps", "queries"):
        table.add_column(column, justify="right")
    for row in _rows(found):
        cells = (f"{row[k]:.4g}" for k in ("first", "last", "average"))
        objective = "" if row["objective"] is None else f"{row['objective']:.10g}"
        table.add_row(Text(str(row["algorithm"])), *cells, objective, f"{row['misfit']:.2g}", f"{row['queries']:,.0f}")
    console.print(table)
    if not found.is_game:  # the value of a policy against itself is 0
        console.print(f"values of every iterate certified to {found.evaluation_error:.1g}")
    if found.comparison.total_variation:
        distances = Table(title="largest total variation between two algorithms, over all iterates and states")
        for column in ("algorithms", "total variation", ""):
            distances.add_column(column)
        for (a, b), tv in found.comparison.total_variation.items():
            largest = float(tv.max())
            distances.add_row(Text(f"{a} - {b}"), f"{largest:.2g}", "coincide" if largest <= 1e-9 else "part")
        console.print(distances)
    console.print(f"{found.seconds:.1f} s", *(f"\n{file}" for file in files), sep="", soft_wrap=True)


def _describe(problem: rt.Problem) -> str:
    what = type(problem).__name__
    shape = " x ".join(map(str, problem.policy_shape))
    names = {3: "steps x states x actions"}.get(len(problem.policy_shape), "states x actions")
    discount = getattr(problem, "discount", None)
    return f"{what}, {shape} ({names})" + ("" if discount is None else f", discount {discount:g}")


def _rows(found: SideBySide) -> list[dict[str, Any]]:
    rows = []
    for trace in found.comparison.traces:
        last = float(trace.gap[..., -1].mean())
        rows.append(
            {
                "algorithm": trace.algorithm,
                "first": float(trace.gap[..., 0].mean()),
                "last": last,
                "average": float(trace.average_gap[..., -1].mean()),
                "objective": None if found.optimum is None else found.optimum - last,
                "misfit": float(trace.regression_error.max()),
                "queries": float(trace.queries[..., -1].mean()),
            }
        )
    return rows


def _as_object(found: SideBySide, options: Run, files: list[Path]) -> dict[str, Any]:
    return {
        "env": found.env,
        "problem": type(found.problem).__name__,
        "policy_shape": list(found.problem.policy_shape),
        "optimum": found.optimum,
        "error_bound": found.error_bound,
        "evaluation_error": found.evaluation_error,
        "iterations": options.iterations,
        "step_size": found.step_size,
        "policy": options.policy,
        "base": options.base or "file",
        "pairs": options.pairs,
        "seeds": options.seeds,
        "seed": options.seed,
        "algorithms": [
            {**row, "gap": np.mean(trace.gap, axis=0).tolist()}
            for row, trace in zip(_rows(found), found.comparison.traces, strict=True)
        ],
        "total_variation": [
            {"algorithms": list(pair), "largest": float(tv.max())}
            for pair, tv in found.comparison.total_variation.items()
        ],
        "seconds": found.seconds,
        "files": [str(file) for file in files],
    }


def _write(found: SideBySide, options: Run) -> list[Path]:
    from rebel_bench.side_by_side.figure import draw

    env = Path(options.env).stem if options.env.lower().endswith(".json") else options.env.replace("/", "-")
    name = f"{env.lower()}-{options.policy}"
    path = options.out / f"{name}.parquet"
    frame = found.comparison.to_frame()
    with whole_file(path) as temporary:
        frame.to_parquet(temporary, index=False)
    return [*draw(found, options.out / name, options.venue), path]
