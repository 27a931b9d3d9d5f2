"""P4: magnetic mirror descent contracts to the regularised equilibrium at (1 + eta alpha)^-t."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_theory as rt
from rebel_bench.claim import Claim, Inequality, Scale
from rebel_bench.claims import _regularised_steps
from rebel_bench.instances import random_preferences, simplex
from rebel_bench.style import line
from rebel_theory.algorithms import Algorithm
from rebel_theory.arrays import FloatArray
from rebel_theory.theory.bounds import magnetic_bound
from rebel_theory.theory.divergences import kl_divergence

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ACTIONS = (2, 3, 8, 30)
TEMPERATURES = (0.05, 0.2, 1.0, 4.0)
UPDATES = (1, 2, 5, 10, 20, 50, 100, 200)
TOO_LONG = 30.0  # times the longest step of the condition, in the control
DRAWN = (0.05, 0.2, 1.0)
STEP = 0.3  # eta of the update that is written out


def _instances(rng: Generator, scale: Scale, too_long: float = 1.0) -> pd.DataFrame:
    """Return KL(pi*_alpha||pi_t) and its bound for steps up to alpha/L^2; half of them are the longest allowed."""
    n = scale.cases(quick=12, paper=100, full=1_000)
    rows = []
    for a in ACTIONS:
        for alpha in TEMPERATURES:
            game = rt.PreferenceGame(random_preferences(rng, n, 1, a))
            reference = np.where(rng.random((n, 1, 1)) < 0.5, 1 / a, simplex(rng, n, 1, a))  # uniform for half
            first = rt.TabularPolicy(rng.standard_normal((1, n, 1, a)))
            longest = alpha / np.abs(game.payoff).max(axis=(-3, -2, -1)) ** 2  # (n,)
            share = np.where(rng.random(n) < 0.5, 1.0, rng.uniform(0.05, 1.0, n))
            eta = too_long * share * longest
            star = np.stack([equilibrium(game, i, alpha, reference) for i in range(n)])  # (n, 1, A)
            algorithm = rt.MagneticMirrorDescent(eta, alpha, rt.TabularPolicy.from_probs(reference))
            trace = rt.run(game, algorithm, n_iterations=UPDATES[-1], policy=first, keep_policies=True)
            assert trace.probs is not None
            kl = kl_divergence(star[:, None], trace.probs[0])  # (n, T + 1)
            for t in UPDATES:
                part = {
                    "instance": range(n), "n_actions": a, "temperature": alpha, "share": share, "n_updates": t,
                    "value": kl[:, t], "bound": magnetic_bound(kl[:, 0], eta, alpha, t),
                    "start": kl[:, 0],
                }  # fmt: skip
                rows.append(pd.DataFrame(part))
    return pd.concat(rows, ignore_index=True)


def equilibrium(games: rt.PreferenceGame, i: int, alpha: float, reference: np.ndarray) -> np.ndarray:
    """Return the regularised equilibrium of one game of a batch, shape (1, A)."""
    found = rt.regularised_equilibrium(rt.PreferenceGame(games.preference[i]), alpha, reference[i])
    return np.atleast_2d(found.policy)


def _magnetic(alpha: float, reference: FloatArray) -> Algorithm:
    made: Algorithm = rt.MagneticMirrorDescent(STEP, alpha, rt.TabularPolicy.from_probs(reference))
    return made


def _step(log_pi: FloatArray, log_m: FloatArray, payoff: FloatArray, alpha: float, t: int) -> FloatArray:
    """Return the logarithm of [pi m^(eta alpha) exp(eta q)]^(1/(1 + eta alpha))."""
    found: FloatArray = (log_pi + STEP * alpha * log_m + STEP * payoff @ np.exp(log_pi)) / (1 + STEP * alpha)
    return found


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the divergence under steps that meet the condition, and the distance from the update written out."""
    rates = _instances(rng, scale)
    return pd.concat([rates, _regularised_steps.cases(rng, _magnetic, _step)], ignore_index=True)


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the divergence under steps far beyond it."""
    return _instances(rng, scale, TOO_LONG)


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw the divergence of every instance against its bound, and its decay at the longest step of the condition."""
    left, right = fig.subplots(1, 2)
    cases = _regularised_steps.rates(cases)
    shown = (control_cases, "x", f"control: {TOO_LONG:g} times the step"), (cases, "o", "claim")  # the claim on top
    for i, (table, marker, name) in enumerate(shown):
        style = line(name, (3, 0)[i])
        part = table[(table["value"] > 1e-14) & (table["bound"] > 1e-14)]
        left.plot(
            part["bound"], part["value"], linestyle="", marker=marker, markersize=2.2, color=style["color"],
            label=name, alpha=0.6, rasterized=True,
        )  # fmt: skip
    ends = np.array([1e-14, 10.0])
    left.plot(ends, ends, color="black", linewidth=0.8)
    left.set(xscale="log", yscale="log", xlabel=r"bound $KL_0\,(1+\eta\alpha)^{-t}$")
    left.set_ylabel(r"$KL(\pi^*_\alpha\|\pi_t)$ (nats)")
    left.set_ylim(1e-14, 1e6)
    left.legend(loc="upper left", handlelength=1)
    for i, alpha in enumerate(DRAWN):
        at = cases[(cases["temperature"] == alpha) & (cases["share"] == 1.0) & (cases["n_actions"] == 8)]
        ratio = (at["value"] / at["start"]).groupby(at["n_updates"])
        bound = (at["bound"] / at["start"]).groupby(at["n_updates"])
        style = line(rf"$\alpha$ = {alpha:g}", i) | {"markevery": None}
        right.plot(ratio.max().index, np.maximum(ratio.max(), 1e-16), **style)
        dashed = style | {"linestyle": (0, (2, 2)), "marker": "", "linewidth": 0.8, "label": None}
        right.plot(bound.max().index, np.maximum(bound.max(), 1e-16), **dashed)
    right.set(xscale="log", yscale="log", xlabel="updates $t$", ylabel=r"$KL_t/KL_0$, the largest of 8 answers")
    right.set_ylim(1e-14, 30)
    right.legend(loc="lower left", title="thin: its bound", handlelength=2)


CLAIM = Claim(
    id="P4",
    title="so does a magnet",
    statement="Exact magnetic mirror descent with eta <= alpha/L^2, L the largest payoff: KL(pi*_alpha||pi_t) is at "
    "most KL_0 (1 + eta alpha)^-t, to the regularised equilibrium, from any start and for any magnet.",
    latex=r"\mathrm{KL}(\pi^*_\alpha\|\pi_t) \le \mathrm{KL}(\pi^*_\alpha\|\pi_0)\,(1+\eta\alpha)^{-t}",
    source="Sokota et al. 2023, arXiv:2206.05825",
    test=Inequality(),
    check=check,
    control=control,
    control_statement=f"steps {TOO_LONG:g} times longer",
    figure=draw,
    panels=(1, 2),
)
