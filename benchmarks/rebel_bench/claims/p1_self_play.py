"""P1: preference REBEL in self-play finds the von Neumann winner, on average, at rate T^(-1/2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_envs as envs
import rebel_theory as rt
from rebel_bench.claim import Claim, Inequality, Scale
from rebel_bench.instances import random_preferences
from rebel_bench.style import line
from rebel_theory.arrays import FloatArray
from rebel_theory.theory.bounds import self_play_bound, self_play_step_size

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ACTIONS = (2, 3, 5, 10, 30)
LARGEST_KEPT = 50_000_000  # probabilities of all iterates


def _games(rng: Generator, n: int) -> list[tuple[str, rt.PreferenceGame]]:
    """Return batches of games: uniform entries, all-or-nothing entries, and weighted rock-paper-scissors."""
    games = []
    for a in ACTIONS:
        uniform = random_preferences(rng, n, 1, a)
        games.append(("random", rt.PreferenceGame(uniform)))
        games.append(("deterministic", rt.PreferenceGame(np.where(uniform == 0.5, 0.5, np.round(uniform)))))
    weights = rng.dirichlet(np.ones(3), size=n)
    cyclic = np.stack([envs.rock_paper_scissors(3, weights=w).preference for w in weights])
    games.append(("weighted rps", rt.PreferenceGame(cyclic)))
    return games


def _instances(rng: Generator, scale: Scale, last: bool) -> pd.DataFrame:
    rows = []
    n = scale.cases(quick=20, paper=100, full=2_000)
    horizons = scale.cases(
        quick=(4, 32, 256, 1_024), paper=(4, 16, 64, 256, 1_024, 4_096), full=(16, 256, 4_096, 65_536)
    )
    for name, game in _games(rng, n):
        a = game.n_actions
        for t in horizons:
            gap = final_gap(game, t, last)
            rows.append(
                pd.DataFrame(
                    {"game": name, "n_actions": a, "n_updates": t, "value": gap, "bound": float(self_play_bound(a, t))}
                )
            )
    return pd.concat(rows, ignore_index=True)


def final_gap(game: rt.PreferenceGame, t: int, last: bool) -> FloatArray:
    """Return the duality gap of the average of T iterates, or of the last, from the policies themselves.

    The gap that a run records comes from the signal it learns from: a wrong signal would judge itself. Where the
    iterates are too many to keep, the record has to do.
    """
    keep = not last and t * game.preference.size / game.n_actions <= LARGEST_KEPT
    eta = self_play_step_size(game.n_actions, t)
    trace = rt.run(game, rt.Rebel(eta), n_iterations=t - 1, keep_policies=keep)
    if last:
        return np.asarray(rt.duality_gap(game, trace.final_policy.probs[0]))
    if trace.probs is None:
        return trace.average_gap[0, :, -1]
    return np.asarray(rt.duality_gap(game, trace.probs[0].mean(axis=1)))


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the duality gap of the average of T iterates, and whether step size and bound belong together."""
    return pd.concat([_instances(rng, scale, last=False), _balance()], ignore_index=True)


def _balance() -> pd.DataFrame:
    """Return how far bound and step are from 2 (ln n/(eta T) + eta/2) at its minimum, where both terms are equal."""
    rows = []
    for a in ACTIONS:
        for t in (4, 1_024):
            eta, least = self_play_step_size(a, t), 2 * np.sqrt(2 * np.log(a) / t)
            for found in (4 * np.log(a) / (eta * t), 2 * eta, float(self_play_bound(a, t))):
                rows.append({"game": "step size", "n_actions": a, "n_updates": t, "value": abs(found / least - 1)})
    return pd.DataFrame(rows).assign(bound=1e-12)


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the duality gap of the last iterate."""
    return _instances(rng, scale, last=True)


def _slope(cases: pd.DataFrame, n_actions: int) -> str:
    """Return the exponent of the average's gap over random games, with its 95% t interval."""
    part = cases[(cases["n_actions"] == n_actions) & (cases["game"] == "random")].copy()
    part["instance"] = part.groupby(["game", "n_updates"]).cumcount()
    table = part.pivot_table(index=["game", "instance"], columns="n_updates", values="value")
    fit = rt.fit_rate(table.columns.to_numpy(dtype=float), table.to_numpy())
    return f"{fit.slope:.2f} [{fit.low:.2f}, {fit.high:.2f}]"


def finding(cases: pd.DataFrame, control_cases: pd.DataFrame) -> str:
    """Return the exponents that the average's gap has over random games."""
    slopes = ", ".join(f"{_slope(cases, n)} (n = {n})" for n in ACTIONS)
    return (
        f"Over random games the average's gap falls as T to the power {slopes}; 95% t intervals over the games, one "
        "slope a game. The bound's exponent is -1/2."
    )


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw median and largest gap over the games against T, with the bound."""
    axes = fig.subplots(1, 2, sharey=True)
    for ax, n_actions in zip(axes, (3, 30), strict=True):
        for i, (name, table) in enumerate((("average", cases), ("control: last", control_cases))):
            gaps = table[(table["n_actions"] == n_actions) & (table["game"] == "random")].groupby("n_updates")["value"]
            style = line(name, (0, 3)[i]) | {"markevery": None}
            ax.plot(gaps.median().index, gaps.median(), **style)
            ax.fill_between(
                gaps.median().index, gaps.quantile(0.05), gaps.max(), color=style["color"], alpha=0.15, linewidth=0
            )
        random = cases[(cases["n_actions"] == n_actions) & (cases["game"] == "random")]
        bound = random.groupby("n_updates")["bound"].first()
        ax.plot(bound.index, bound, color="black", linewidth=0.8, label=r"bound $2\sqrt{2\ln n/T}$")
        ax.set(
            xscale="log",
            yscale="log",
            xlabel="iterates $T$",
            title=f"$n = {n_actions}$ answers: slope {_slope(cases, n_actions)}",
        )
        ax.set_ylim(1e-3, 9)
    axes[0].set_ylabel("duality gap (payoff $2P-1$)")
    axes[1].legend(loc="lower left", title="medians; 5% of games to worst")


CLAIM = Claim(
    id="P1",
    title="self-play on average",
    statement="Exact preference REBEL is Hedge in self-play: with eta = sqrt(2 ln n/T), from uniform, the average of "
    "T iterates has a duality gap of at most 2 sqrt(2 ln n/T).",
    latex=r"\mathrm{DG}\Big(\frac1T\sum_{t\le T}\pi_t\Big) \le 2\sqrt{2\ln n/T}",
    source="arXiv:2404.16767, Theorem 2; arXiv:2401.04056 (SPO)",
    test=Inequality(),
    check=check,
    control=control,
    control_statement="the last iterate in place of the average",
    figure=draw,
    finding=finding,
    panels=(1, 2),
)
