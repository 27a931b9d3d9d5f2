"""C4: on one fixed bandit the gap decays exponentially; a slope of -1 in log-log belongs to a changing instance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_theory as rt
from rebel_bench.claim import Claim, Rate, Scale
from rebel_bench.instances import simplex
from rebel_bench.style import OKABE_ITO, line
from rebel_theory.arrays import FloatArray
from rebel_theory.theory.bounds import worst_case_difference, worst_case_gap

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHAPES = ((1, 2), (1, 10), (1, 100), (4, 5))  # (S, A)
ARMS = (2, 3, 10, 30, 100, 1_000)
TIMES = tuple(range(4, 41, 4))  # updates; eta is such that eta Delta is about 5, so that the leading term leads
TRAVEL = (4.0, 6.0)  # eta Delta of one update


def _least_difference(reward: FloatArray) -> FloatArray:
    """Return Delta (n,): over the contexts, the least difference between the best and the second-best arm."""
    ordered = np.sort(reward, axis=-1)
    difference: FloatArray = (ordered[..., -1] - ordered[..., -2]).min(axis=-1)
    return difference


def _rows(gap: FloatArray, difference: FloatArray, eta: FloatArray, instance: list[str]) -> pd.DataFrame:
    """Return the gaps (n, len(TIMES)) with ``travelled`` e^(eta Delta T), Delta being that of the first time."""
    n, times = len(eta), np.array(TIMES)
    travel = (eta * difference)[:, None] * times
    return pd.DataFrame(
        {"instance": np.repeat(instance, len(TIMES)), "n_updates": np.tile(times, n),
         "step_size": np.repeat(eta, len(TIMES)), "difference": np.repeat(difference, len(TIMES)),
         "travelled": np.exp(travel).ravel(), "gap": gap.ravel()}
    )  # fmt: skip


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the gaps of random bandits, from random first policies, at all times."""
    n = scale.cases(quick=25, paper=200, full=5_000)
    tables = []
    for s, a in SHAPES:
        reward = rng.random((n, s, a))
        difference = _least_difference(reward)
        eta = rng.uniform(*TRAVEL, size=n) / difference
        bandit = rt.ContextualBandit(reward, context_dist=simplex(rng, n, s))
        first = rt.TabularPolicy(rng.standard_normal((1, n, s, a)))
        trace = rt.run(bandit, rt.Rebel(eta), n_iterations=TIMES[-1], policy=first)
        names = [f"{s} x {a}, {i}" for i in range(n)]
        tables.append(_rows(trace.gap[0][:, TIMES], difference, eta, names))
    return pd.concat(tables, ignore_index=True)


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the gaps of C3's family: at each time the bandit that is worst for it."""
    tables = []
    eta = np.ones(1)  # only eta Delta counts
    for a in ARMS:
        gaps = []
        for t in TIMES:
            reward = np.zeros((len(eta), 1, a))
            reward[:, 0, 0] = worst_case_difference(a, eta, t)
            gaps.append(rt.run(rt.ContextualBandit(reward), rt.Rebel(eta), n_iterations=t).gap[0, :, -1])
        difference = worst_case_difference(a, eta, TIMES[0])
        tables.append(_rows(np.stack(gaps, axis=-1), difference, eta, [f"worst of {a} arms"]))
    return pd.concat(tables, ignore_index=True)


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw gap/Delta against eta Delta T for all instances, and in log-log some of them below C3's envelope."""
    left, right = fig.subplots(1, 2)
    for i, (name, table) in enumerate((("fixed instances", cases), ("control: worst for each $T$", control_cases))):
        fit = RATE.fit(table)
        style = line(f"{name}\nslope {fit.slope:.4f} [{fit.low:.4f}, {fit.high:.4f}]", (0, 3)[i])
        style.update(linestyle="none", markersize=2, markevery=None, markeredgewidth=0)
        left.plot(np.log(table["travelled"]), table["gap"] / table["difference"], **style)
    travel = np.array([0.0, float(np.log(cases["travelled"]).max())])
    left.plot(travel, np.exp(-travel), color=OKABE_ITO["black"], linewidth=0.8)
    left.set(yscale="log", xlabel=r"$\eta\Delta T$", ylabel=r"gap $/\,\Delta$", ylim=(1e-110, 1e75))
    left.set_yticks(10.0 ** np.arange(-100, 1, 20))
    left.set_yticks([], minor=True)
    left.legend(loc="upper right", handlelength=1)
    eta, t = 1.0, np.arange(1, 201)
    for i, difference in enumerate((1.0, 0.3, 0.1, 0.03)):
        reward = np.zeros((1, 10))
        reward[0, 0] = difference
        gap = rt.run(rt.ContextualBandit(reward), rt.Rebel(eta), n_iterations=int(t[-1])).gap[0, 1:]
        right.plot(t, gap, **line(rf"$\Delta = {difference:g}$", i) | {"marker": ""})
    right.plot(t, worst_case_gap(10, eta, t), color=OKABE_ITO["black"], linewidth=0.8, label="worst: slope $-1$")
    right.set(xscale="log", yscale="log", xlabel=r"updates $T$ ($\eta = 1$, $n = 10$)", ylabel="gap", ylim=(1e-6, 1e5))
    right.legend(loc="upper center", ncols=2, handlelength=2.5, columnspacing=1)


# gaps are exact; only instances are drawn, whose slopes differ by 1e-3: no rule need choose how many
RATE = Rate(expected=-1, margin=0.01, x="travelled", y="gap", by="instance", confidence=0.9999)

CLAIM = Claim(
    id="C4",
    title="a fixed bandit decays faster",
    statement="On a fixed bandit the gap after T exact updates decays like e^(-eta Delta T), Delta the least lead "
    "of best over second-best arm: ln gap falls with slope -1 in eta Delta T, not in ln T.",
    latex=r"\ln\mathrm{gap}_T = -\eta\Delta T + O(1)",
    source="the theory notes (the closed form of exact updates)",
    test=RATE,
    false_alarm=RATE.false_alarm,
    check=check,
    control=control,
    control_statement="at each T the instance that is worst for it (C3), Delta being that of the first: gap = c/T",
    figure=draw,
    panels=(1, 2),
)
