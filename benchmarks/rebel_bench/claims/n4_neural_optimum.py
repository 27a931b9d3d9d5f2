"""N4: neural REBEL finds the optimum of bandits and MDPs; where a network is too small, eps_t explains the gap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_theory as rt
from rebel_bench.claim import Claim, Inequality, Scale
from rebel_bench.claims import _neural as neural
from rebel_bench.style import OKABE_ITO, line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

S, A = 6, 3
WIDE, NARROW = 24, 1  # hidden units: enough for every table, and too few
CLOSE = 0.02  # of the spread between the first gap and 0, left by a wide network


def _instances(rng: Generator, scale: Scale, with_misfit: bool) -> pd.DataFrame:
    """Return final gaps of wide networks, and average gaps of both against the bound of C1 and C11."""
    from rebel_theory.torch import LevenbergMarquardt, TorchPolicy, mlp

    device = neural.prepare()
    solver = LevenbergMarquardt(max_steps=30, tolerance=1e-6, cg_iterations=60, cg_tolerance=1e-6)
    n_updates = scale.cases(quick=40, paper=80, full=200)
    rows = []
    for kind in ("bandit", "mdp"):
        for width in (WIDE, NARROW):
            for _ in range(scale.cases(quick=2, paper=10, full=100)):
                problem, x = neural.problem(rng, kind, S, A), neural.contexts(rng, S)
                module = mlp(neural.N_INPUTS, A, hidden=(width,), seed=int(rng.integers(2**31)))
                eta = 1.0 if kind == "bandit" else 0.3
                trace = rt.run(
                    problem, rt.Rebel(eta, base="uniform"), n_iterations=n_updates,
                    policy=TorchPolicy(module.to(device), x, solver=solver),
                )  # fmt: skip
                total = trace.bound["total"] if with_misfit else trace.bound["progress"] + trace.bound["curvature"]
                place = int((trace.average_gap[0, :-1] / total[0]).argmax())
                shared = {"kind": kind, "hidden": width, "n_updates": n_updates, "last_gap": trace.gap[0, -1],
                          "first_gap": trace.gap[0, 0], "mean_error": trace.regression_error.mean()}  # fmt: skip
                rows.append({"role": "bound", **shared, "value": trace.average_gap[0, place], "bound": total[0, place]})
                if width == WIDE:
                    rows.append({"role": "optimum", **shared, "value": trace.gap[0, -1],
                                 "bound": CLOSE * trace.gap[0, 0]})  # fmt: skip
    return pd.DataFrame(rows)


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the cases with the whole bound."""
    return _instances(rng, scale, with_misfit=True)


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return them with the misfit term left out of the bound."""
    return _instances(rng, scale, with_misfit=False)


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw measured over bound for both widths, and the gap that wide networks leave."""
    left, right = fig.subplots(1, 2)
    for i, (name, table) in enumerate((("bound", cases), ("control: no misfit", control_cases))):
        part = table[table["role"] == "bound"]
        style = line(name, (0, 3)[i]) | {"linestyle": "none", "markevery": None}
        x = part["hidden"].map({NARROW: 0, WIDE: 1}) + np.linspace(-0.15, 0.15, len(part))
        left.plot(x, part["value"] / part["bound"], **style)
    left.axhline(1, color=OKABE_ITO["black"], linewidth=0.8, linestyle=(0, (1, 1)))
    left.set_xticks([0, 1], [f"{NARROW} hidden unit", f"{WIDE} hidden units"])
    left.set(yscale="log", ylabel="average gap / bound", xlim=(-0.5, 1.5))
    left.legend(loc="lower left", handlelength=1)
    for i, (kind, part) in enumerate(cases[cases["role"] == "optimum"].groupby("kind")):
        style = line(str(kind), i) | {"linestyle": "none", "markevery": None}
        right.plot(
            part["mean_error"].clip(lower=1e-18), part["last_gap"].clip(lower=1e-12) / part["first_gap"], **style
        )
    right.axhline(CLOSE, color=OKABE_ITO["black"], linewidth=0.8, linestyle=(0, (4, 2)))
    right.set(xscale="log", yscale="log", xlabel=r"mean $\varepsilon_t$ (reward$^2$)", ylabel="last gap / first gap")
    right.legend(loc="lower right", handlelength=1)


CLAIM = Claim(
    id="N4",
    title="neural REBEL finds the optimum",
    statement="With a perceptron wide enough for the table, REBEL leaves at most 2% of the first gap of a bandit and "
    "of an MDP; with one hidden unit too, the average gap stays below the bound of C1 and C11 with its own eps_t.",
    latex=r"\frac1T\sum_{t\le T}\mathrm{gap}_t \le \frac1{1-\gamma}\Big(\frac{\mathrm{KL}}{\eta T}"
    r" + \frac{\eta B^2}{2} + \frac1T\sum_t\sqrt{C_t\,\varepsilon_t}\Big)",
    source="arXiv:2404.16767, Theorem 1 (C1, C11), on networks",
    test=Inequality(),
    check=check,
    control=control,
    control_statement="the misfit term, the mean of sqrt(C eps_t), is left out of the bound",
    figure=draw,
    panels=(1, 2),
    requires=("torch",),
)
