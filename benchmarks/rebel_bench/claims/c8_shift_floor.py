"""C8: the price of distribution shift is real: a bandit at which sqrt(C eps) is the gap, however long one runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_envs as envs
import rebel_theory as rt
from rebel_bench.claim import Claim, Equality, Scale
from rebel_bench.style import OKABE_ITO, line
from rebel_theory.arrays import FloatArray
from rebel_theory.theory.bounds import misfit_bound
from rebel_theory.theory.divergences import concentrability

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHIFTS = (10.0, 100.0, 1_000.0, 10_000.0)  # C
TRAVEL = 100.0  # eta delta T: the weight of an arm worth delta would grow by e^100
START = 1e-12  # first probability of the best arm


def _floor(concentration: FloatArray) -> FloatArray:
    """Return gap / sqrt(C eps) = 1/((1 + 1.2/C) sqrt(1 - 1/C)), from the loss's closed form; 1 as C grows."""
    result: FloatArray = 1 / ((1 + 1.2 / concentration) * np.sqrt(1 - 1 / concentration))
    return result


def _run(c: float, delta: float, n_updates: int, shifted: bool) -> rt.Trace:
    """Return the run from the first policy, y' from the shifted base or from the policy itself."""
    instance = envs.shift_bandit(c, delta, start=START)
    algorithm = rt.Rebel(TRAVEL / (delta * n_updates), base=instance.base if shifted else "on-policy")
    start = rt.LogLinearPolicy(instance.features, instance.first_theta)
    return rt.run(instance.problem, algorithm, n_iterations=n_updates, policy=start, keep_policies=True)


def _ratios(trace: rt.Trace, base: FloatArray | None) -> FloatArray:
    """Return gap_t / sqrt(C_t eps_t) for t = 0, ..., T - 1, arm 0 being pi*; base None is pi_t."""
    assert trace.probs is not None
    probs = trace.probs[0, :-1]  # (T, 1, 3)
    best = np.array([[1.0, 0.0, 0.0]])
    shift = concentrability(np.broadcast_to(best, probs.shape), probs if base is None else base)
    result: FloatArray = trace.gap[0, :-1] / misfit_bound(shift, trace.regression_error[0])
    return result


def _instances(rng: Generator, scale: Scale, shifted: bool) -> pd.DataFrame:
    rows = []
    extra = scale.cases(quick=20, paper=100, full=1_000)
    for c in (*SHIFTS, *(10 ** rng.uniform(1, 4, size=extra))):
        delta, n_updates = float(10 ** rng.uniform(-2, 2)), int(rng.integers(20, 200))
        trace = _run(c, delta, n_updates, shifted)
        base = envs.shift_bandit(c, delta, start=START).base if shifted else None
        ratio = float(_ratios(trace, base)[-1])
        exact = float(_floor(np.asarray(c)))
        rows.append({"concentrability": c, "delta": delta, "n_updates": n_updates, "gap": trace.gap[0, -2] / delta,
                     "ratio": ratio, "exact": exact, "error": abs(ratio / exact - 1)})  # fmt: skip
    return pd.DataFrame(rows)


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return gap / sqrt(C eps) at the end of the run, against the closed form."""
    return _instances(rng, scale, shifted=True)


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the same for y' from the policy itself: no shift."""
    return _instances(rng, scale, shifted=False)


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw the ratios against C with their closed form, and gaps over time with and without the shift."""
    left, right = fig.subplots(1, 2)
    for i, (name, table) in enumerate((("shifted base", cases), ("control: on-policy", control_cases))):
        style = line(name, (0, 3)[i]) | {"linestyle": "none", "markevery": None}
        left.plot(table["concentrability"], table["ratio"], **style)
    c = np.geomspace(cases["concentrability"].min(), cases["concentrability"].max(), 200)
    left.plot(c, _floor(c), color=OKABE_ITO["black"], linewidth=0.8, label="closed form")
    left.set(xscale="log", xlabel="$C$", ylabel=r"gap $/\sqrt{C\varepsilon}$", ylim=(0, 1.1))
    left.legend(loc="lower right", bbox_to_anchor=(1, 0.08), handlelength=2)
    t = np.arange(101)
    for i, (name, shifted) in enumerate((("shifted base, $C = 100$", True), ("control: on-policy", False))):
        right.plot(t, _run(100.0, 1.0, 100, shifted).gap[0], **line(name, (0, 3)[i]))
    right.set(xlabel=r"updates ($\eta\delta = 1$)", ylabel=r"gap $/\,\delta$", ylim=(0, 1.6))
    right.legend(loc="upper right")


CLAIM = Claim(
    id="C8",
    title="the floor of shift is real",
    statement="On the shift bandit (three arms, two of them tied by the features) log-linear REBEL with base mu stays "
    "where it began, and its gap is sqrt(C eps)/((1 + 1.2/C) sqrt(1 - 1/C)): the misfit term of C1 is attained, with "
    "constant 1 as C grows.",
    latex=r"\mathrm{gap}_T / \sqrt{C_{\mu\to\pi^*}\,\varepsilon_T} = \big((1+1.2/C)\sqrt{1-1/C}\big)^{-1} \to 1",
    source="the theory notes",
    test=Equality(1e-6),
    check=check,
    control=control,
    control_statement="y' from the policy itself, without shift: the policy leaves, and C_t eps_t is its own",
    figure=draw,
    panels=(1, 2),
)
