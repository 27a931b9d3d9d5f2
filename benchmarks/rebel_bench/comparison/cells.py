"""A cell: one algorithm at one step size on one problem with one oracle; a pure function of its named inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

import rebel_theory as rt
from rebel_bench.algorithm_specs import parse
from rebel_bench.comparison.offline import Logged
from rebel_bench.comparison.oracle_specs import OracleSpec, parse_oracle
from rebel_bench.comparison.plan import Setting, make_setting
from rebel_bench.comparison.spec import N_FEATURES
from rebel_theory.arrays import FloatArray

_EXTENSIONS = 6  # runs that ended within their budget are made again, longer
_EXACT_SEEDS = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """The inputs of a cell, words and numbers only.

    Attributes
    ----------
    options
        Of the problem's constructor, as JSON.
    step_size
        In the problem's unit.
    budget, counts
        How long a run is, in queries or updates.
    points
        Gaps are read at so many equal shares of the budget, the last of them all of it.
    """

    env: str
    options: str
    algorithm: str
    oracle: str
    pairs: int
    step_size: float
    budget: int
    counts: Literal["queries", "updates"]
    n_seeds: int
    stream: int
    points: int = 1
    policy: str = "tabular"
    n_features: int = N_FEATURES


def measure(cell: Cell) -> pd.DataFrame:
    """Return a row a seed and point: ``seed``, ``spent``, ``gap``, and of the seed ``first_gap`` and ``updates``.

    ``spent`` is the point on the budget's axis. Where arithmetic overflowed the gap is NaN and ``fault`` says so.
    """
    setting = make_setting(cell.env, cell.options, cell.policy, cell.n_features)
    oracle = parse_oracle(cell.oracle, cell.pairs)
    algorithm = parse([cell.algorithm])[0].make(cell.step_size * setting.unit)
    n_seeds = _EXACT_SEEDS if oracle.is_exact else cell.n_seeds
    grid = np.linspace(0, cell.budget, cell.points + 1)[1 if cell.points == 1 else 0 :]
    try:
        gap, spent = _run(cell, setting, oracle, algorithm, n_seeds)
        gaps, fault = _read(gap, spent, grid), ""
        first, updates = gap[:, 0], (spent <= cell.budget).sum(axis=-1) - 1
    except FloatingPointError as error:
        gaps, fault = np.full((n_seeds, grid.size), np.nan), str(error)
        first, updates = np.full(n_seeds, _first_gap(setting)), np.zeros(n_seeds, dtype=np.int64)
    return pd.DataFrame(
        {
            "seed": np.repeat(np.arange(n_seeds), grid.size),
            "spent": np.tile(grid, n_seeds),
            "gap": gaps.ravel(),
            "first_gap": np.repeat(first, grid.size),
            "updates": np.repeat(updates, grid.size),
            "fault": fault,
        }
    )


def _first_gap(setting: Setting) -> float:
    return float(rt.run(setting.problem, rt.MirrorDescent(1.0), n_iterations=0, policy=setting.start).gap[0, 0])


def _read(gap: FloatArray, spent: FloatArray, grid: FloatArray) -> FloatArray:
    """Return the gaps (n_seeds, n_points) of the last iterate within each point of the grid."""
    found = np.empty((gap.shape[0], grid.size))
    for i in range(gap.shape[0]):
        found[i] = gap[i, np.searchsorted(spent[i], grid, side="right") - 1]
    return found


def _run(
    cell: Cell, setting: Setting, oracle: OracleSpec, algorithm: rt.Algorithm, n_seeds: int
) -> tuple[FloatArray, FloatArray]:
    """Return the gaps of runs that all reach the budget, and what each iterate had spent, (n_seeds, T + 1) both.

    Roll-outs shorten and lengthen with the policy, so a run that ends early is made again, longer.
    """
    per_update = 1.0 if cell.counts == "updates" else 2 * oracle.pairs * _length(setting)
    n = max(1, int(np.ceil(cell.budget / per_update)))
    if isinstance(oracle.oracle, Logged):  # a data set a run
        data = [
            oracle.oracle.draw(setting.problem, setting.start, oracle.oracle.rng(cell.stream, i))
            for i in range(n_seeds)
        ]
        runs = [rt.run(setting.problem, algorithm, n_iterations=n, policy=setting.start, oracle=one) for one in data]
        gap = np.concatenate([run.gap for run in runs])
        return gap, np.broadcast_to(np.arange(n + 1) * per_update, gap.shape)
    for _ in range(_EXTENSIONS):
        trace = rt.run(
            setting.problem, algorithm, n_iterations=n, policy=setting.start, oracle=oracle.oracle, n_seeds=n_seeds,
            seed=cell.stream,
        )  # fmt: skip
        if oracle.is_exact or cell.counts == "updates":
            return trace.gap, np.broadcast_to(np.arange(n + 1) * per_update, trace.gap.shape)
        spent = trace.queries[:, -1].min()
        if spent >= cell.budget:
            break
        n = int(np.ceil(n * max(1.2 * cell.budget / spent, 1.1)))
    return trace.gap, trace.queries


def _length(setting: Setting) -> float:
    """Return the rewards of a roll-out under the first policy, in the mean."""
    problem = setting.problem
    if isinstance(problem, rt.TabularMDP | rt.LinearMDP):
        return 1 / (1 - problem.discount) if problem.discount < 1 else float(rt.evaluate(problem, setting.start).mass)
    if isinstance(problem, rt.FiniteHorizonMDP):
        return problem.horizon / 2
    return 1.0
