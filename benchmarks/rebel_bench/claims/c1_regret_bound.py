"""C1: the regret bound of REBEL with every constant written out, misfit included."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_theory as rt
from rebel_bench import second_reading
from rebel_bench.claim import Claim, Inequality, Scale
from rebel_bench.figures import ratios
from rebel_bench.instances import SHAPES, random_problem
from rebel_bench.style import OKABE_ITO

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BASES = ("on-policy", "uniform")
N_FEATURES = 2


def _instances(rng: Generator, scale: Scale, with_misfit: bool) -> pd.DataFrame:
    """Return the largest average-gap/bound over all T for random misspecified log-linear bandits."""
    rows = []
    n = scale.cases(quick=64, paper=320, full=500)  # instances a block
    n_updates = scale.cases(quick=60, paper=200, full=500)
    for s, a in SHAPES:
        for base in BASES:
            bandit = random_problem(rng, "bandit", s, a, n)
            features = rng.standard_normal((s, a, N_FEATURES))
            start = rt.LogLinearPolicy(features, rng.standard_normal((1, n, N_FEATURES)))
            eta = 10 ** rng.uniform(-2, 1, size=n)
            trace = rt.run(bandit, rt.Rebel(eta, base=base), n_iterations=n_updates, policy=start)
            bounds = {k: v[0] for k, v in trace.bound.items()}  # (n, T)
            total = bounds["total"] if with_misfit else bounds["progress"] + bounds["curvature"]
            average = trace.average_gap[0, :, :-1]  # of the T iterates before each bound's last update
            place = (average / total).argmax(axis=-1)
            pick = (np.arange(n), place)
            rows.append(
                pd.DataFrame(
                    {
                        "base": base,
                        "n_states": s,
                        "n_actions": a,
                        "step_size": eta,
                        "n_updates": place + 1,
                        "value": average[pick],
                        "bound": total[pick],
                        **{k: v[pick] for k, v in bounds.items() if k != "total"},
                    }
                )
            )
    return pd.concat(rows, ignore_index=True)


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the cases with the whole bound, and how far the record is from a second reading of a few runs."""
    bounds = _instances(rng, scale, with_misfit=True)
    return pd.concat([bounds, second_reading.cases(rng, "bandit")], ignore_index=True)


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the cases with the misfit term left out of the bound."""
    return _instances(rng, scale, with_misfit=False)


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw the ratios, and what the bound is made of where it is tightest."""
    left, right = fig.subplots(1, 2)
    cases = second_reading.theorem(cases)
    ratios(left, cases, control_cases, label="average gap / bound")
    tight = cases.assign(ratio=cases["value"] / cases["bound"]).nlargest(12, "ratio")
    bottom = np.zeros(len(tight))
    colours = ("blue", "orange", "sky")
    for part, colour, hatch in zip(("progress", "curvature", "misfit"), colours, ("", "//", ".."), strict=True):
        height = tight[part].to_numpy()
        right.bar(range(len(tight)), height, bottom=bottom, color=OKABE_ITO[colour], hatch=hatch, label=part)
        bottom += height
    right.plot(
        range(len(tight)),
        tight["value"],
        linestyle="none",
        marker="D",
        markersize=3,
        color=OKABE_ITO["black"],
        label="measured",
    )
    right.set(xlabel="the 12 tightest instances", ylabel="average gap (reward)", xticks=[])
    right.set_ylim(0, 1.55 * float(bottom.max()))
    right.legend(ncols=2, loc="upper center", handlelength=1.5, columnspacing=1)


CLAIM = Claim(
    id="C1",
    title="Theorem 1 with its constants",
    statement="In a bandit the average gap over T iterates is at most KL(pi*||pi_1)/(eta T) + eta B^2/2 + the mean "
    "of sqrt(C eps_t), for any class, base and step size.",
    latex=r"\frac1T\sum_{t\le T}\mathrm{gap}_t \le \frac{\mathrm{KL}(\pi^*\|\pi_1)}{\eta T} + \frac{\eta B^2}{2}"
    r" + \frac1T\sum_t\sqrt{C_{\mu\to\pi^*}\,\varepsilon_t}",
    source="arXiv:2404.16767, Theorem 1 (constants: the theory notes)",
    test=Inequality(),
    check=check,
    control=control,
    control_statement="the misfit term, the mean of sqrt(C eps_t), is left out of the bound",
    figure=draw,
    panels=(1, 2),
    blocks=lambda scale: scale.cases(quick=1, paper=1, full=20),
)
