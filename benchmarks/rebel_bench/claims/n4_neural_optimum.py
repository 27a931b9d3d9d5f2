"""N4: neural REBEL finds the optimum of bandits and MDPs; where a network is too small, eps_t explains the gap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_envs as envs
import rebel_theory as rt
from rebel_bench.claim import Claim, Inequality, Scale
from rebel_bench.claims import _neural as neural
from rebel_bench.style import OKABE_ITO, line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

S, A = 6, 3
WIDE, NARROW = 24, 1  # hidden units: enough for every table, and too few
ETA, N_WIDE, N_NARROW = 5.0, 60, 20  # of wide networks; the narrow ones take a fifth of the step
CLOSE = 0.02  # of the first gap, which a wide network may leave


def _problem(rng: Generator, kind: str, case: int) -> rt.Problem:
    """Return a bandit, its rewards a random network or random Fourier features of the context in turns, or an MDP."""
    if kind == "mdp":
        return neural.problem(rng, kind, S, A)
    make = (envs.neural_bandit, envs.random_feature_bandit)[case % 2]
    return make(S, A, n_inputs=neural.N_INPUTS, seed=int(rng.integers(2**31)))


def _instances(rng: Generator, scale: Scale, solved: bool) -> pd.DataFrame:
    """Return final gaps of wide networks, and average gaps of both against the bound of C1 and C11."""
    import torch

    from rebel_theory.torch import FirstOrder, LevenbergMarquardt, Minimise, TorchPolicy, mlp

    device = neural.prepare()
    patient = LevenbergMarquardt(max_steps=15, tolerance=1e-5, cg_iterations=30, cg_tolerance=1e-5)
    one_step = FirstOrder(steps=1, lr=1e-2, optimiser=torch.optim.SGD)
    rows = []
    for kind in ("bandit", "mdp"):
        for width in (WIDE, NARROW):
            n_updates, eta = (N_WIDE, ETA) if width == WIDE else (N_NARROW, ETA / 5)
            solver = (Minimise() if width == WIDE else patient) if solved else one_step
            for case in range(scale.cases(quick=2, paper=20, full=200)):
                problem = _problem(rng, kind, case)
                x = neural.contexts(rng, S) if problem.contexts is None else problem.contexts
                module = mlp(neural.N_INPUTS, A, hidden=(width,), seed=int(rng.integers(2**31)))
                policy = TorchPolicy(module.to(device), x, solver=solver)
                trace = rt.run(problem, rt.Rebel(eta, base="uniform"), n_iterations=n_updates, policy=policy)
                total = trace.bound["total"][0]
                place = int((trace.average_gap[0, :-1] / total).argmax())
                shared = {"kind": kind, "hidden": width, "n_updates": n_updates, "last_gap": trace.gap[0, -1],
                          "first_gap": trace.gap[0, 0], "mean_error": trace.regression_error.mean()}  # fmt: skip
                rows.append({"role": "bound", **shared, "value": trace.average_gap[0, place], "bound": total[place]})
                if width == WIDE:
                    allowed = CLOSE * trace.gap[0, 0]
                    rows.append({"role": "optimum", **shared, "value": trace.gap[0, -1], "bound": allowed})
    return pd.DataFrame(rows)


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the cases with solved regressions."""
    return _instances(rng, scale, solved=True)


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return them with one gradient step of the pair loss instead."""
    return _instances(rng, scale, solved=False)


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw measured over bound for both widths, and the gap that wide networks leave."""
    left, right = fig.subplots(1, 2)
    for i, (name, table) in enumerate((("solved", cases), ("control: one step", control_cases))):
        part = table[table["role"] == "bound"]
        style = line(name, (0, 3)[i]) | {"linestyle": "none", "markevery": None}
        x = part["hidden"].map({NARROW: 0, WIDE: 1}) + np.linspace(-0.15, 0.15, len(part))
        left.plot(x, part["value"] / part["bound"], **style)
    left.axhline(1, color=OKABE_ITO["black"], linewidth=0.8, linestyle=(0, (1, 1)))
    left.set_xticks([0, 1], [f"{NARROW} hidden unit", f"{WIDE} hidden units"])
    left.set(ylabel="average gap / bound", xlim=(-0.5, 1.5), ylim=(0, 1.1))
    left.legend(loc="upper left", bbox_to_anchor=(0, 0.9), handlelength=1)
    for i, (table, which) in enumerate(((cases, "{}"), (control_cases, "{}, control"))):
        for k, (kind, part) in enumerate(table[table["role"] == "optimum"].groupby("kind")):
            style = line(which.format(kind), k + 3 * i) | {"linestyle": "none", "markevery": None}
            left_over = part["last_gap"].clip(lower=1e-12) / part["first_gap"]
            right.plot(part["mean_error"].clip(lower=1e-30), left_over, **style)
    right.axhline(CLOSE, color=OKABE_ITO["black"], linewidth=0.8, linestyle=(0, (4, 2)))
    right.set(xscale="log", yscale="log", xlabel=r"mean $\varepsilon_t$ (reward$^2$)", ylabel="last gap / first gap")
    right.legend(loc="lower right", handlelength=1)


CLAIM = Claim(
    id="N4",
    title="neural REBEL finds the optimum",
    statement="With a perceptron wide enough for the table, REBEL leaves at most 2% of the first gap of bandits with "
    "neural and random-feature rewards and of MDPs; with one hidden unit too, the average gap stays below the bound of "
    "C1 and C11 with its own eps_t.",
    latex=r"\frac1T\sum_{t\le T}\mathrm{gap}_t \le \frac1{1-\gamma}\Big(\frac{\mathrm{KL}}{\eta T}"
    r" + \frac{\eta B^2}{2} + \frac1T\sum_t\sqrt{C_t\,\varepsilon_t}\Big)",
    source="arXiv:2404.16767, Theorem 1 (C1, C11), on networks",
    test=Inequality(),
    check=check,
    control=control,
    control_statement="one gradient step of the pair loss in the place of the solved regression",
    figure=draw,
    panels=(1, 2),
    requires=("torch",),
)
