"""C3: the worst bandit for T exact updates, in closed form; where an exponent may be read off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_theory as rt
from rebel_bench.claim import Claim, Equality, Scale
from rebel_bench.style import line
from rebel_theory.arrays import FloatArray
from rebel_theory.theory.bounds import worst_case_difference, worst_case_gap

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ACTIONS = (2, 10, 1_000)
STEP_SIZE = 0.5
N_GRID, N_ZOOMS = 25, 7  # 25 points, then 7 times the best cell again: differences to 1e-9 of themselves


def _gaps(differences: FloatArray, n_actions: int, n_updates: int) -> FloatArray:
    """Return the gap after T exact updates of one best arm against n - 1 arms that are worse by each difference."""
    reward = np.zeros((len(differences), 1, n_actions))
    reward[:, 0, 0] = differences
    trace = rt.run(rt.ContextualBandit(reward), rt.Rebel(STEP_SIZE), n_iterations=n_updates)
    return trace.gap[0, :, -1]


def _search(n_actions: int, n_updates: int) -> tuple[float, float]:
    """Return the difference with the largest gap, and that gap, by a grid that closes in."""
    low, high = 1e-3 / (STEP_SIZE * n_updates), 1e3 / (STEP_SIZE * n_updates)
    for _ in range(N_ZOOMS):
        grid = np.geomspace(low, high, N_GRID)
        gaps = _gaps(grid, n_actions, n_updates)
        best = int(gaps.argmax())
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, N_GRID - 1)]
    return float(grid[best]), float(gaps[best])


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the worst gap found at each T, and the worst of random reward vectors, against the formula."""
    rows = []
    horizons = scale.cases(
        quick=(1, 4, 16, 64), paper=(1, 2, 4, 8, 16, 32, 64, 128, 256), full=tuple(2**k for k in range(13))
    )
    for n in ACTIONS:
        for t in horizons:
            difference, gap = _search(n, t)
            exact = float(worst_case_gap(n, STEP_SIZE, t))
            rows.append(_row(n, t, "search", difference, gap, exact, abs(gap / exact - 1)))
            reward = rng.exponential(size=(scale.cases(quick=50, paper=500, full=5_000), 1, n))
            reward *= worst_case_difference(n, STEP_SIZE, t) * rng.exponential(size=(len(reward), 1, 1))
            random = rt.run(rt.ContextualBandit(reward), rt.Rebel(STEP_SIZE), n_iterations=t).gap[0, :, -1].max()
            rows.append(_row(n, t, "random", np.nan, random, exact, max(0.0, random / exact - 1)))
    return pd.DataFrame(rows)


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the gap of one fixed instance, the worst for the smallest T, at every T."""
    rows = []
    for n in ACTIONS:
        difference = float(worst_case_difference(n, STEP_SIZE, 1))
        for t in (1, 2, 3, 4, 6, 8, 16, 64):
            gap = float(_gaps(np.array([difference]), n, t)[0])
            exact = float(worst_case_gap(n, STEP_SIZE, t))
            rows.append(_row(n, t, "fixed", difference, gap, exact, abs(gap / exact - 1)))
    return pd.DataFrame(rows)


def _row(n: int, t: int, kind: str, difference: float, gap: float, exact: float, error: float) -> dict[str, object]:
    return {"n_actions": n, "n_updates": t, "kind": kind, "difference": difference, "gap": gap, "exact": exact,
            "error": error}  # fmt: skip


def finding(cases: pd.DataFrame, control_cases: pd.DataFrame) -> str:
    """Return the exponents of the worst gaps found, which no noise blurs: no interval is needed."""
    found = cases[cases["kind"] == "search"]
    slopes = {n: np.polyfit(np.log(t["n_updates"]), np.log(t["gap"]), 1)[0] for n, t in found.groupby("n_actions")}
    furthest = max(abs(slope + 1) for slope in slopes.values())
    return (
        f"The worst gaps that the search finds for n = {', '.join(map(str, slopes))} have log-log slopes in T of -1 to "
        f"within {furthest:.0e}: exact updates and a deterministic search, so that there are no seeds to count."
    )


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw the worst gap against T: on the formula's line for every n, below it for a fixed instance."""
    ax = fig.add_subplot()
    for i, n in enumerate(sorted(cases["n_actions"].unique())):
        part = cases[(cases["n_actions"] == n) & (cases["kind"] == "search")]
        style = line(f"worst of $n = {n}$ arms", i)
        style.update(markevery=None, linestyle="none", markersize=4)
        ax.plot(part["n_updates"], part["gap"], **style)
        ax.plot(part["n_updates"], part["exact"], color=style["color"], linewidth=0.8)
    fixed = control_cases[(control_cases["n_actions"] == 10) & (control_cases["gap"] > 1e-6)]
    ax.plot(fixed["n_updates"], fixed["gap"], **line("control: one fixed instance, $n = 10$", 5) | {"markevery": None})
    ax.set(xscale="log", yscale="log", xlabel="exact updates $T$", ylabel="gap (reward)")
    ax.set_ylim(top=1000 * ax.get_ylim()[1])
    ax.legend(loc="upper right", handlelength=2.5)


CLAIM = Claim(
    id="C3",
    title="the worst bandit",
    statement="The largest gap after T exact updates from uniform, over all n-armed bandits, is exactly "
    "W((n-1)/e)/(eta T), W Lambert's function: the slope in log-log is -1.",
    latex=r"\max_r\,\mathrm{gap}_T = W((n-1)/e)/(\eta T)",
    source="the theory notes (maximising C2's left side over instances)",
    test=Equality(1e-6),
    check=check,
    control=control,
    control_statement="one fixed instance at every T, instead of the worst at each (it decays exponentially: C4)",
    figure=draw,
    finding=finding,
)
