"""P6: a reward model fails where preferences go in circles, whatever the temperature and however much data."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_envs as envs
import rebel_theory as rt
from rebel_bench.claim import Claim, Estimates, Scale
from rebel_bench.style import line
from rebel_envs.win_matrices import measured_cycle
from rebel_theory.arrays import FloatArray
from rebel_theory.theory.bounds import self_play_step_size
from rebel_theory.theory.tournament import condorcet_winner

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BETAS = np.array([0.01, 0.03, 0.1, 0.3, 1.0, 3.0])  # of DPO; the first is nearly the best arm, the last nearly uniform
TIMES = 2.0  # as large as preference REBEL's: the least gap of DPO that counts as kept
TEST = Estimates(false_alarm=1e-4, allowance=100)  # gaps of random mixtures are skewed, see docs/statistics.md

N_QUICK = 120  # random mixtures: fewer cannot decide

Make = Callable[..., rt.Problem]


def _games(rng: Generator, n: int, make: Make, cyclic: bool) -> rt.PreferenceGame:
    """Return ``n`` random games of a constructor as one batch, without a Condorcet winner where ``cyclic``."""
    found: list[FloatArray] = []
    while len(found) < n:
        game = make(seed=int(rng.integers(2**31)))
        assert isinstance(game, rt.PreferenceGame)
        if not cyclic or condorcet_winner(game) is None:
            found.append(game.preference)
    return rt.PreferenceGame(np.stack(found))


def _measure(name: str, game: rt.PreferenceGame, n_updates: int) -> pd.DataFrame:
    """Return gaps over a batch of games: DPO's optimum on all preferences, at each beta, and REBEL's average.

    The statement puts the mean of DPO's gap less TIMES REBEL's at 0 or above. Over one game that is a fact.
    """
    eta = self_play_step_size(game.n_actions, n_updates)
    rebel = rt.run(game, rt.Rebel(eta), n_iterations=n_updates).average_gap[..., -1].ravel()
    rows = []
    for beta in BETAS:
        dpo = rt.run(game, rt.Dpo(1 / beta), n_iterations=1).gap[..., -1].ravel()
        kept, n = dpo - TIMES * rebel, len(dpo)
        rows.append(
            {"game": name, "beta": beta, "dpo": dpo.mean(), "rebel": rebel.mean(), "n_updates": n_updates,
             "value": dpo.mean() / rebel.mean(), "estimate": kept.mean(),
             "standard_error": kept.std(ddof=1) / np.sqrt(n) if n > 1 else 0.0, "dof": max(1.0, n - 1.0),
             "at_least": 0.0, "at_most": np.inf}
        )  # fmt: skip
    return pd.DataFrame(rows)


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the gaps on games without a Condorcet winner."""
    n = scale.cases(quick=N_QUICK, paper=200, full=2_000)
    n_updates = scale.cases(quick=4_096, paper=16_384, full=65_536)
    games = {
        "raters who disagree": _games(rng, n, envs.random_rater_mixture, cyclic=True),
        "measured cycle": measured_cycle(),
        "type chart": envs.type_chart(),
    }
    return pd.concat((_measure(name, game, n_updates) for name, game in games.items()), ignore_index=True)


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return them where the model is true: one rater."""
    n = scale.cases(quick=30, paper=200, full=2_000)
    n_updates = scale.cases(quick=4_096, paper=16_384, full=65_536)
    return _measure("one rater", _games(rng, n, envs.random_bradley_terry_game, cyclic=False), n_updates)


def finding(cases: pd.DataFrame, control_cases: pd.DataFrame) -> str:
    """Return the least ratio of gaps in each world."""
    least = cases.loc[cases.groupby("game", sort=False)["value"].idxmin()]
    each = "; ".join(f"{row.game}: {row.value:.2f} at beta = {row.beta:g}" for row in least.itertuples())
    return f"Least gap of DPO over that of preference REBEL's average, in the mean over games and over beta: {each}."


# -- the figure: finite data ---------------------------------------------------------------------------------

SEEDS = 8
DRAWN_BETAS = (1.0, 0.1, 0.01)
DATA = np.geomspace(100, 200_000, 12).round().astype(int)  # compared pairs, two comparisons each
UPDATES, PAIRS, STEP_SIZE = 2_000, 100, 0.1  # of sampled REBEL: as many comparisons in all
LOWEST = 2e-3  # smaller gaps are drawn at the lower edge
MIXTURE, RATER = 53, 6  # a mixture of three raters in a cycle, and a single rater


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw the duality gap against the number of comparisons that were paid for, in three worlds."""
    fig.set_layout_engine("constrained")
    axes = fig.subplots(1, 3, sharey=True)
    worlds = {
        "type chart: 18 types": envs.type_chart(),
        "three raters in a cycle": envs.make("rater-mixture", seed=MIXTURE),
        "control: one rater": envs.make("random-bradley-terry-game", seed=RATER),
    }
    for ax, (title, game) in zip(axes, worlds.items(), strict=True):
        assert isinstance(game, rt.PreferenceGame)
        _world(ax, game)
        ax.set_title(title, fontsize=8)
        ax.set(xscale="log", yscale="log", xlabel="comparisons")
    axes[0].set_ylabel("duality gap (payoff $2P-1$)")
    axes[0].set_ylim(0.9 * LOWEST, 2)
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=len(labels),
        fontsize=7,
        handlelength=3,
        title="medians and ranges of seeds",
    )


def _world(ax: Axes, game: rt.PreferenceGame) -> None:
    """Draw DPO on data sets of growing size, its limit, and the running average of sampled preference REBEL."""
    for i, beta in enumerate(DRAWN_BETAS):
        dpo = rt.Dpo(1 / beta, ridge=1e-4)
        runs = [rt.run(game, dpo, n_iterations=1, oracle=rt.Counted(int(n)), n_seeds=SEEDS) for n in DATA]
        style = line(rf"DPO, $\beta$ = {beta:g}", (3, 1, 5)[i]) | {"markevery": 3, "linewidth": 1.1}
        _band(ax, 2 * DATA, np.stack([run.gap[:, -1] for run in runs], axis=1), style)
        limit = float(rt.run(game, dpo, n_iterations=1).gap[0, -1])
        ax.axhline(max(limit, LOWEST), color=style["color"], linewidth=0.6, linestyle=(0, (1, 1.5)), zorder=1)
    rebel = rt.Rebel(STEP_SIZE, base="uniform")  # on-policy pairs would not meet rare answers again
    trace = rt.run(game, rebel, n_iterations=UPDATES, oracle=rt.Sampled(PAIRS), n_seeds=SEEDS)
    t = np.unique(np.geomspace(2, UPDATES, 200).round().astype(int))
    style = line("preference REBEL, average", 0) | {"markevery": 40, "linewidth": 1.8, "zorder": 3}
    _band(ax, trace.queries[0, t], trace.average_gap[:, t], style)


def _band(ax: Axes, x: FloatArray, gaps: FloatArray, style: dict[str, object]) -> None:
    ax.plot(x, np.maximum(np.median(gaps, axis=0), LOWEST), **style)  # type: ignore[arg-type]
    low, high = np.maximum(gaps.min(axis=0), LOWEST), np.maximum(gaps.max(axis=0), LOWEST)
    ax.fill_between(x, low, high, color=str(style["color"]), alpha=0.15, linewidth=0)


CLAIM = Claim(
    id="P6",
    title="a reward model fails",
    statement="DPO's optimum on unlimited data, at every beta from 0.01 to 3, keeps a duality gap at least twice that "
    "of the average of T >= 4096 updates of preference REBEL, which goes to 0: in the mean over random mixtures of "
    "three raters without a Condorcet winner, on a measured cycle, and on the type chart.",
    latex=r"\mathrm{DG}\big(\pi_{\mathrm{ref}}\,e^{\hat r_{BT}/\beta}/Z\big) \ge 2\,"
    r"\mathrm{DG}\Big(\frac1T\sum_{t\le T}\pi_t\Big)",
    source="the theory notes; Munos et al. 2023, arXiv:2312.00886; Swamy et al. 2024, arXiv:2401.04056",
    test=TEST,
    check=check,
    control=control,
    control_statement="one Bradley-Terry rater: the model is true, and small beta closes the gap",
    figure=draw,
    panels=(1, 3),
    false_alarm=TEST.false_alarm,
    finding=finding,
)
