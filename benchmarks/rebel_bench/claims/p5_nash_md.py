"""P5: Nash-MD's last iterate goes to the regularised equilibrium at rate 1/T."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_theory as rt
from rebel_bench import second_reading
from rebel_bench.claim import Claim, Inequality, Scale
from rebel_bench.claims import _regularised_steps
from rebel_bench.instances import random_preferences, simplex
from rebel_bench.style import line
from rebel_theory.algorithms import Algorithm, State
from rebel_theory.arrays import FloatArray
from rebel_theory.oracles import BoundOracle
from rebel_theory.theory.bounds import nash_md_bound
from rebel_theory.theory.divergences import kl_divergence

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ACTIONS = (2, 3, 10)
TEMPERATURES = (0.1, 0.5, 2.0)  # tau, paying l; the theorem's tau_P is half of it
DRAWN = (0.1, 2.0)

Make = Callable[[float, FloatArray], Algorithm]  # from a temperature and a reference (n, 1, A)


@dataclass(frozen=True, eq=False)
class Unmixed(Algorithm):
    """Nash-MD's steps from and against pi_t itself: the reference is forgotten."""

    step_size: Any  # 1 / tau
    name = "unmixed"

    def step(self, state: State, oracle: BoundOracle) -> State:
        """Return pi exp(eta_t q_t), normalised, with eta_t = 2 / (tau (t + 2))."""
        policy, t = state.policy, state.memory or 0
        assert isinstance(policy, rt.TabularPolicy)
        return State(policy.step(oracle.feedback(policy).signal, 2 * self.eta / (t + 2)), t + 1)


def nash_md(tau: float, reference: FloatArray) -> Algorithm:
    """Return Nash-MD with the theorem's steps."""
    made: Algorithm = rt.NashMD(1 / tau, tau, rt.TabularPolicy.from_probs(reference), schedule="theorem")
    return made


def _instances(rng: Generator, scale: Scale, make: Make) -> pd.DataFrame:
    """Return KL(pi*_tau||pi_T) and its bound; half of the references are uniform."""
    n = scale.cases(quick=8, paper=60, full=200)
    last = scale.cases(quick=1_024, paper=8_192, full=32_768)
    rows = []
    for a in ACTIONS:
        for tau in TEMPERATURES:
            game = rt.PreferenceGame(random_preferences(rng, n, 1, a))
            m = np.where(rng.random((n, 1, 1)) < 0.5, 1 / a, simplex(rng, n, 1, a))  # (n, 1, A)
            games = [rt.PreferenceGame(p) for p in game.preference]
            star = np.stack([rt.regularised_equilibrium(g, tau, r).policy for g, r in zip(games, m, strict=True)])
            first = rt.TabularPolicy(np.log(m[None]))
            probs = rt.run(game, make(tau, m), n_iterations=last, policy=first, keep_policies=True).probs
            assert probs is not None  # (1, n, T + 1, 1, A)
            for t in 2 ** np.arange(int(np.log2(last)) + 1):
                kl = kl_divergence(star, probs[0, :, t])  # (n,)
                part = {"instance": range(n), "n_actions": a, "temperature": tau, "n_updates": t, "value": kl}
                rows.append(pd.DataFrame(part | {"bound": float(nash_md_bound(tau / 2, t))}))
    return pd.concat(rows, ignore_index=True)


def _step(log_pi: FloatArray, log_m: FloatArray, payoff: FloatArray, tau: float, t: int) -> FloatArray:
    """Return the logarithm of pi_mix exp(eta_P P(. beats pi_mix)), eta_P tau_P = 2/(t + 2), tau_P = tau/2."""
    share = 2 / (t + 2)
    log_mix = (1 - share) * log_pi + share * log_m
    mix = np.exp(log_mix - log_mix.max())
    win = (1 + payoff) / 2 @ (mix / mix.sum())
    found: FloatArray = log_mix + share / (tau / 2) * win
    return found


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the divergence under Nash-MD, and the distance from the update written out."""
    rates = _instances(rng, scale, nash_md)
    return pd.concat([rates, _regularised_steps.cases(rng, nash_md, _step), _bound()], ignore_index=True)


def _bound() -> pd.DataFrame:
    """Return how far the bound is from the theorem's: a thousandth of it is used."""
    cells = [(tau / 2, t) for tau in TEMPERATURES for t in (1, 7)]
    found = [float(nash_md_bound(tau, t)) for tau, t in cells]
    return second_reading.written_out(found, [8 / (tau**2 * (t + 1)) for tau, t in cells])


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the divergence without the mixture."""
    return _instances(rng, scale, lambda tau, _: Unmixed(1 / tau))


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw the divergence over games of ten answers (median, range) against the number of updates, with the bound."""
    axes = fig.subplots(1, len(DRAWN), sharey=True)
    cases = _regularised_steps.rates(second_reading.theorem(cases))
    for ax, tau in zip(axes, DRAWN, strict=True):
        for i, (name, table) in enumerate((("Nash-MD", cases), ("control: no mixture", control_cases))):
            part = table[(table["temperature"] == tau) & (table["n_actions"] == ACTIONS[-1])]
            kl = part.groupby("n_updates")["value"]
            style = line(name, (0, 3)[i]) | {"markevery": 2}
            ax.plot(kl.median().index, kl.median(), **style)
            ax.fill_between(kl.median().index, kl.min(), kl.max(), color=style["color"], alpha=0.15, linewidth=0)
        bound = cases[cases["temperature"] == tau].groupby("n_updates")["bound"].first()
        ax.plot(bound.index, bound, color="black", linewidth=0.8, label=r"bound $8/(\tau_P^2 (T+1))$")
        ax.set(xscale="log", yscale="log", xlabel="updates $T$", title=rf"temperature $\tau_P$ = {tau / 2:g}")
        ax.set_ylim(1e-16, 1e5)
    axes[0].set_ylabel(r"$KL(\pi^*_\tau\|\pi_T)$ (nats)")
    axes[0].legend(loc="lower left", handlelength=3, title="medians and ranges of games")


CLAIM = Claim(
    id="P5",
    title="Nash-MD at 1/T",
    statement="Exact Nash-MD from its reference with eta_t = 2/(tau_P (t + 2)), temperature tau_P where a win pays 1: "
    "KL(pi*_tau||pi_T) is at most 8/(tau_P^2 (T + 1)).",
    latex=r"\mathrm{KL}(\pi^*_\tau\|\pi_T) \le \frac{8}{\tau_P^2\,(T+1)}",
    source="Munos et al. 2023, arXiv:2312.00886, Theorem 1",
    test=Inequality(),
    check=check,
    control=control,
    control_statement="no mixture with the reference: the same steps from pi_t, against pi_t",
    figure=draw,
    panels=(1, 2),
)
