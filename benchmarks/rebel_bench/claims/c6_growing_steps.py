"""C6: mirror descent with geometrically growing steps converges linearly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_theory as rt
from rebel_bench.claim import Claim, Inequality, Scale
from rebel_bench.figures import ratios
from rebel_bench.instances import random_problem, simplex
from rebel_bench.style import line
from rebel_theory.arrays import FloatArray
from rebel_theory.theory.bounds import growing_steps_bound, growth_factor, worst_case_difference

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHAPES = ((1, 2), (2, 2), (3, 5), (10, 3), (20, 2))  # (S, A)
ARMS = (2, 10, 1_000)
DISCOUNTS = (0.5, 0.9, 0.99)


def _random(rng: Generator, n: int, s: int, a: int, discount: float) -> rt.TabularMDP:
    """Return ``n`` random MDPs with rewards in [0, 1], most of them far smaller: nearly equal actions are slow."""
    base = random_problem(rng, "mdp", s, a, n)
    assert isinstance(base, rt.TabularMDP)
    unit = 10 ** rng.uniform(-4, 0, size=(n, 1, 1))
    start = 0.5 * simplex(rng, n, s) + 0.5 / s  # d*/rho stays below 2 S
    return rt.TabularMDP(base.transition, unit * base.reward, discount=discount, initial_dist=start)


def _worst(rng: Generator, n: int, n_actions: int, discount: float, eta: FloatArray, n_updates: int) -> rt.TabularMDP:
    """Return ``n`` one-state MDPs, one best action and equal others, slowest at a random time (C3's family)."""
    growth = float(growth_factor(1 / (1 - discount)))
    k = rng.integers(1, n_updates, size=n)
    travelled = eta * (growth**k - 1) / (growth - 1)  # sum of the steps so far
    reward = np.zeros((n, 1, n_actions))
    reward[:, 0, 0] = np.minimum(worst_case_difference(n_actions, travelled, 1), 1.0)
    return rt.TabularMDP(np.ones((n, 1, n_actions, 1)), reward, discount=discount)


def _instances(rng: Generator, scale: Scale, forgetful: bool) -> pd.DataFrame:
    rows = []
    n = scale.cases(quick=20, paper=100, full=3_000)
    n_updates = scale.cases(quick=60, paper=200, full=200)
    for discount in DISCOUNTS:
        for s, a in SHAPES:
            eta = 10 ** rng.uniform(-2, 2, size=n)
            mdp = _random(rng, n, s, a, discount)
            rows.append(measure(mdp, "random", eta, n_updates, forgetful))
        for a in ARMS:
            eta = 10 ** rng.uniform(0, 2, size=n)
            mdp = _worst(rng, n, a, discount, eta, n_updates)
            rows.append(measure(mdp, "one state", eta, n_updates, forgetful))
    return pd.concat(rows, ignore_index=True)


def measure(mdp: rt.TabularMDP, name: str, eta: FloatArray, n_updates: int, forgetful: bool) -> pd.DataFrame:
    """Return, per instance, the number of updates at which gap / bound is largest."""
    gap, bound = curves(mdp, eta, n_updates, discount=0.0 if forgetful else mdp.discount)
    place = (gap / bound)[:, 1:].argmax(axis=-1) + 1
    pick = np.arange(len(eta)), place
    return pd.DataFrame(
        {"problem": name, "n_states": mdp.n_states, "n_actions": mdp.n_actions, "discount": mdp.discount,
         "mismatch": mismatch_of(mdp), "step_size": eta, "n_updates": place, "value": gap[pick], "bound": bound[pick]}
    )  # fmt: skip


def curves(
    mdp: rt.TabularMDP, eta: FloatArray, n_updates: int, *, discount: float, first: rt.TabularPolicy | None = None
) -> tuple[FloatArray, FloatArray]:
    """Return gap and bound (n, T + 1) from the policy ``first``, uniform by default; ``discount`` is the bound's."""
    mismatch = mismatch_of(mdp)
    algorithm = rt.GrowingMirrorDescent(eta, growth=growth_factor(mismatch))
    trace = rt.run(mdp, algorithm, n_iterations=n_updates, policy=first)
    gap = trace.gap[0]
    start, kl, v = gap[:, :1], trace.kl[0, :, :1], mismatch[:, None]
    return gap, growing_steps_bound(start, kl, v, eta[:, None], np.arange(n_updates + 1), discount)


def mismatch_of(mdp: rt.TabularMDP) -> FloatArray:
    """Return max(d*/rho)/(1 - gamma), shape (n,)."""
    best = rt.evaluate(mdp, rt.solve(mdp).policy).occupancy
    result: FloatArray = (best / mdp.initial_dist).max(axis=-1) / (1 - mdp.discount)
    return result


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return, per instance, gap and bound where the bound is tightest."""
    return _instances(rng, scale, forgetful=False)


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the same with the bound's factor 1/(1 - gamma) left out."""
    return _instances(rng, scale, forgetful=True)


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw the ratios, and worst cases for several times, under growing steps and one under constant steps."""
    left, right = fig.subplots(1, 2)
    ratios(left, cases, control_cases, label="gap / bound")
    eta, v, n_updates, leads = 0.1, 10.0, 100, np.array([0.1, 0.01, 1e-3])
    reward = np.zeros((3, 1, 1_000))
    reward[:, 0, 0] = leads
    mdp = rt.TabularMDP(np.ones((3, 1, 1_000, 1)), reward, discount=1 - 1 / v)
    growing = rt.run(mdp, rt.GrowingMirrorDescent(eta, growth=float(growth_factor(v))), n_iterations=n_updates)
    constant = rt.run(mdp, rt.MirrorDescent(eta), n_iterations=n_updates)
    k = np.arange(n_updates + 1)
    for i in range(3):
        right.plot(
            k, growing.gap[0, i], **line("growing steps", 0) | {"marker": "", "label": "" if i else "growing steps"}
        )
    right.plot(k, constant.gap[0, 0], **line("constant steps", 3) | {"marker": ""})
    for discount, name, dash in ((1 - 1 / v, "bound", "-"), (0.0, r"without $1-\gamma$", (0, (1, 1)))):
        bound = growing_steps_bound(growing.gap[0, 0, 0], growing.kl[0, 0, 0], v, eta, k, discount)
        right.plot(k, bound, color="black", linewidth=0.8, linestyle=dash, label=name)
    right.set(yscale="log", xlabel="updates $k$", ylabel="gap", ylim=(1e-5, 1e7))
    right.legend(loc="upper right")


CLAIM = Claim(
    id="C6",
    title="growing steps",
    statement="Exact mirror descent in a discounted MDP with rewards in [0, 1], steps growing by v/(v-1), "
    "v = max(d*/rho)/(1-gamma): after k updates the gap is at most "
    "(1 - 1/v)^k (gap_0 + D_0/((1-gamma) eta_0 (v-1))), D_0 = E_d* KL(pi*||pi_0).",
    latex=r"V^* - V^k \le (1-1/\vartheta)^k \Big(V^*-V^0 + \frac{D_0}{(1-\gamma)\,\eta_0(\vartheta-1)}\Big)",
    source="Xiao 2022 (JMLR 23), geometrically increasing steps; the factor 1/(1-gamma) from the theory notes",
    test=Inequality(),
    check=check,
    control=control,
    control_statement="the bound without its factor 1/(1-gamma)",
    figure=draw,
    panels=(1, 2),
)
