"""Run a comparison: tune each algorithm on every problem, then measure it on fresh seeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

import rebel_envs as envs
import rebel_theory as rt
from rebel_bench.algorithm_specs import Spec, parse
from rebel_bench.comparison.spec import ComparisonSpec, ProblemSpec
from rebel_bench.errors import UserError
from rebel_theory.arrays import FloatArray

Progress = Callable[[str], None]

_CURVE_POINTS = 100
_EXTENSIONS = 6  # runs that ended within their budget are made again, longer
_LEVEL = 0.95


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything made and checked before any work."""

    spec: ComparisonSpec
    problems: dict[str, rt.Problem]
    algorithms: dict[str, Spec]

    @property
    def n_cells(self) -> int:
        """Runs in all."""
        return len(self.problems) * len(self.algorithms) * (len(self.spec.step_sizes) + 1)


@dataclass(frozen=True, eq=False)
class Study:
    """Result tables: ``tuning`` (a row a step size), ``results`` (a row a cell), ``curves`` (gaps against queries)."""

    plan: Plan
    tuning: pd.DataFrame
    results: pd.DataFrame
    curves: pd.DataFrame


def plan(spec: ComparisonSpec) -> Plan:
    """Return the plan; unknown names, bad options and refusals are one error."""
    faults: list[str] = []
    problems, algorithms = {}, {}
    for label, item in spec.problems.items():
        try:
            problems[label] = _problem(item)
        except (UserError, ValueError, TypeError, ImportError, KeyError) as error:
            faults.append(f"problems.{label}: {error}")
    for label, text in spec.algorithms.items():
        try:
            algorithms[label] = parse([text])[0]
            algorithms[label].make(1.0)
        except UserError as error:
            faults.append(f"algorithms.{label}: {error}")
    oracle = rt.Sampled(spec.pairs)
    for name, problem in problems.items():
        for label, algorithm in algorithms.items():
            refusal = algorithm.make(1.0).refuses(problem, oracle)
            if refusal is not None:
                faults.append(f"{label} cannot run on {name}: {refusal}")
    if faults:
        raise UserError("\n".join(faults))
    return Plan(spec, problems, algorithms)


def _problem(item: ProblemSpec) -> rt.Problem:
    options = dict(item.options)
    noise = options.pop("noise_sigma", None)
    made = envs.make(item.env, **options)
    if noise is not None:
        if not isinstance(made, rt.ContextualBandit):
            raise UserError("noise_sigma is an option of bandits")
        made = rt.ContextualBandit(made.reward, context_dist=made.context_dist, noise=rt.GaussianNoise(noise))
    return made


def measure(plan: Plan, progress: Progress = lambda _: None) -> Study:
    """Return the study; the streams of tuning and of reporting never meet."""
    spec = plan.spec
    tuning, results, curves = [], [], []
    for problem_name, problem in plan.problems.items():
        start = _start(problem)
        unit, budget = _unit(problem, start), spec.budget(problem_name)
        for name, algorithm in plan.algorithms.items():
            means = []
            for factor in spec.step_sizes:
                found = _run(
                    spec, budget, problem, start, algorithm.make(factor * unit), spec.tuning_seeds, 2 * spec.seed
                )
                gaps = _at_budget(found, budget)
                means.append(float(gaps.mean()))
                tuning.append({"problem": problem_name, "algorithm": name, "step_size": factor, "gap": means[-1]})
                progress(f"{name} on {problem_name}")
            best = int(np.nanargmin(means))
            chosen = algorithm.make(spec.step_sizes[best] * unit)
            found = _run(spec, budget, problem, start, chosen, spec.seeds, 2 * spec.seed + 1)
            gaps = _at_budget(found, budget)
            mean, low, high = t_interval(gaps)
            results.append(
                {
                    "problem": problem_name,
                    "algorithm": name,
                    "gap": mean,
                    "low": low,
                    "high": high,
                    "step_size": spec.step_sizes[best],
                    "at_edge": len(means) > 1 and best in (0, len(means) - 1),
                    "queries": budget,
                    "updates": float(np.mean((found.queries <= budget).sum(axis=-1) - 1)),
                    "first_gap": float(found.gap[..., 0].mean()),
                }
            )
            curves.append(_curve(found, budget, problem_name, name))
            progress(f"{name} on {problem_name}")
    return Study(plan, pd.DataFrame(tuning), pd.DataFrame(results), pd.concat(curves, ignore_index=True))


def _start(problem: rt.Problem) -> rt.TabularPolicy:
    """Return the first policy: uniform; off the equilibrium in a game, where uniform may be it."""
    logits = np.zeros(problem.policy_shape)
    if isinstance(problem, rt.PreferenceGame):
        logits[..., 0] = 1.0
    return rt.TabularPolicy(logits)


def _unit(problem: rt.Problem, start: rt.Policy) -> float:
    first = rt.evaluate(problem, start)
    spread = float(np.where(first.occupancy > 0, np.ptp(first.q_values, axis=-1), 0.0).max())
    return 1 / spread if spread > 0 else 1.0


def _run(
    spec: ComparisonSpec, budget: int, problem: rt.Problem, start: rt.Policy, algorithm: rt.Algorithm, n_seeds: int,
    seed: int,
) -> rt.Trace:  # fmt: skip
    """Return runs that all go past the budget: roll-outs shorten and lengthen with the policy."""
    length = 1.0
    if isinstance(problem, rt.TabularMDP | rt.LinearMDP):
        length = 1 / (1 - problem.discount) if problem.discount < 1 else float(rt.evaluate(problem, start).mass)
    elif isinstance(problem, rt.FiniteHorizonMDP):
        length = problem.horizon / 2
    n = max(1, int(np.ceil(budget / (2 * spec.pairs * length))))
    for _ in range(_EXTENSIONS):
        trace = rt.run(
            problem, algorithm, n_iterations=n, policy=start, oracle=rt.Sampled(spec.pairs), n_seeds=n_seeds, seed=seed
        )
        spent = trace.queries[:, -1].min()
        if spent >= budget:
            return trace
        n = int(np.ceil(n * max(1.2 * budget / spent, 1.1)))
    return trace


def _at_budget(trace: rt.Trace, queries: int) -> FloatArray:
    """Return the gap (n_seeds,) of the last iterate within the budget."""
    last = (trace.queries <= queries).sum(axis=-1) - 1
    gap: FloatArray = np.take_along_axis(trace.gap, last[..., None], axis=-1)[..., 0]
    return gap


def t_interval(values: FloatArray) -> tuple[float, float, float]:
    """Return the mean and its 95% t interval over seeds."""
    from scipy.stats import t

    mean, n = float(values.mean()), values.size
    half = float(t.ppf(0.5 + _LEVEL / 2, n - 1) * values.std(ddof=1) / np.sqrt(n))
    return mean, mean - half, mean + half


def _curve(trace: rt.Trace, budget: int, problem: str, algorithm: str) -> pd.DataFrame:
    """Return the mean gap over seeds, with its interval, at a grid of queries."""
    grid = np.linspace(0, budget, _CURVE_POINTS)
    gaps = np.empty((trace.n_seeds, grid.size))
    for i in range(trace.n_seeds):
        place = np.searchsorted(trace.queries[i], grid, side="right") - 1
        gaps[i] = trace.gap[i, place]
    rows = [t_interval(gaps[:, j]) for j in range(grid.size)]
    mean, low, high = np.transpose(rows)
    return pd.DataFrame(
        {"problem": problem, "algorithm": algorithm, "queries": grid, "gap": mean, "low": low, "high": high}
    )
