"""P3: optimism makes the last iterate of self-play converge, where P2 fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_envs as envs
import rebel_theory as rt
from rebel_bench.claim import Claim, Inequality, Scale
from rebel_bench.instances import random_preferences
from rebel_theory.algorithms import Algorithm
from rebel_theory.arrays import FloatArray
from rebel_theory.theory.divergences import kl_divergence

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEP_SIZE = 1 / 8  # the largest of the theorem
LEFT = 0.02  # of the duality gap at the start, after T updates on rock-paper-scissors
DRAWN_STEP, DRAWN_UPDATES = 0.1, 10_000
DRAWN_GAME = 17  # a random game of ten whose winner plays three, as in the soccer game


def _instances(rng: Generator, scale: Scale, algorithm: Algorithm) -> pd.DataFrame:
    """Return the largest rise of the potential on random games, and the gap left on rock-paper-scissors."""
    n = scale.cases(quick=20, paper=200, full=1_000)
    n_updates = scale.cases(quick=2_000, paper=4_000, full=5_000)
    rows = []
    for a in (3, 5, 10):
        game = rt.PreferenceGame(random_preferences(rng, n, 1, a))
        first = rt.TabularPolicy(rng.standard_normal((1, n, 1, a)))
        trace = rt.run(game, algorithm, n_iterations=n_updates, policy=first, keep_policies=True)
        assert trace.probs is not None
        potential = _potential(game, trace.probs[0, :, :, 0])
        worst = (potential[:, 1:] - potential[:, :-1]).argmax(axis=1)
        at = np.arange(n)
        rows.append(
            pd.DataFrame(
                {
                    "instance": at,
                    "game": f"random {a}",
                    "what": "potential",
                    "value": potential[at, worst + 1],
                    "bound": potential[at, worst],
                }
            )
        )
    first = rt.TabularPolicy(0.5 * rng.standard_normal((n, 1, 3)))
    gap = rt.run(envs.rock_paper_scissors(), algorithm, n_iterations=n_updates, policy=first, n_seeds=n).gap
    part = {"instance": range(n), "game": "rock-paper-scissors", "what": "gap"}
    rows.append(pd.DataFrame(part | {"value": gap[:, -1], "bound": LEFT * gap[:, 0]}))
    return pd.concat(rows, ignore_index=True)


def _potential(game: rt.PreferenceGame, iterates: FloatArray) -> FloatArray:
    """Return KL(p*||z_t) + KL(z_t||pi_{t-1})/16 for t = 1..T, (n, T), from the iterates (n, T + 1, A).

    z_t is pi_t without its prediction, pi_t exp(-eta q_{t-1}): where plain Hedge stands after q_1, ..., q_{t-1}.
    """
    winners = [rt.von_neumann_winner(rt.PreferenceGame(p)).policy.reshape(-1) for p in game.preference]
    signal = np.matmul(iterates, np.swapaxes(game.payoff[:, 0], -1, -2))  # (n, T + 1, A)
    logits = np.log(np.maximum(iterates[:, 1:], 1e-300)) - STEP_SIZE * signal[:, :-1]
    z = np.exp(logits - logits.max(axis=-1, keepdims=True))
    z /= z.sum(axis=-1, keepdims=True)
    far = kl_divergence(np.stack(winners)[:, None, None], z[:, :, None])
    found: FloatArray = far + kl_divergence(z[:, :, None], iterates[:, :-1, None]) / 16
    return found


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return potential and gap under OMWU."""
    return _instances(rng, scale, rt.Omwu(STEP_SIZE))


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return them under plain multiplicative weights."""
    return _instances(rng, scale, rt.MirrorDescent(STEP_SIZE))


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw last and average iterates of five algorithms on rock-paper-scissors and on a game of ten answers."""
    games = {
        "rock-paper-scissors": envs.rock_paper_scissors(),
        "ten answers, three played": envs.random_game(10, seed=DRAWN_GAME),
    }
    draw_games(fig, games, DRAWN_UPDATES, 3e-5)


def draw_games(fig: Figure, games: dict[str, rt.PreferenceGame], n_updates: int, lowest: float) -> None:
    """Draw a row of panels for each of two games: duality gaps of last and average iterates, off equilibrium."""
    from rebel_bench.game import versus, versus_figure

    fig.set_layout_engine("constrained")
    fig.set_figheight(0.78 * float(fig.get_figwidth()))
    axes = fig.subplots(2, 2, sharex=True, sharey="row")
    algorithms: dict[str, Algorithm] = {
        "MWU": rt.MirrorDescent(DRAWN_STEP),
        "OMWU": rt.Omwu(DRAWN_STEP),
        "EGPO": rt.Egpo(DRAWN_STEP),
        "MMD": rt.MagneticMirrorDescent(DRAWN_STEP),
        "Nash-MD": rt.NashMD(DRAWN_STEP),
    }
    for row, (name, game) in zip(axes, games.items(), strict=True):
        found = versus.compare(game, algorithms, step_size=DRAWN_STEP, n_iterations=n_updates)
        for ax, average in zip(row, (False, True), strict=True):
            versus_figure.curves(ax, found, average=average)
            ax.set_title(f"{name}: {'average' if average else 'last'} iterate", fontsize=8)
        t = np.array([200.0, n_updates])
        row[1].plot(t, 1 / t, color="black", linewidth=0.8)
        row[1].text(350, 3e-4, "slope $-1$", fontsize=7, ha="center")
        row[0].set_ylim(bottom=lowest)
        row[0].set_ylabel("duality gap (payoff)")
    for ax in axes[1]:
        ax.set_xlabel("updates $t$")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=7, handlelength=3, columnspacing=1.2)


CLAIM = Claim(
    id="P3",
    title="optimism makes it converge",
    statement="Exact OMWU at eta = 1/8: on random games KL(p*||z_t) + KL(z_t||pi_{t-1})/16 never rises, z_t being pi_t "
    "without its prediction; on rock-paper-scissors, off equilibrium, 2000 updates leave at most 2% of the gap.",
    latex=r"\mathrm{KL}(p^*\|z_{t+1}) + \tfrac{1}{16}\mathrm{KL}(z_{t+1}\|\pi_t) \le "
    r"\mathrm{KL}(p^*\|z_t) + \tfrac{1}{16}\mathrm{KL}(z_t\|\pi_{t-1})",
    source="Wei, Lee, Zhang and Luo 2021, arXiv:2006.09517; Daskalakis and Panageas 2019, arXiv:1807.04252",
    test=Inequality(),
    check=check,
    control=control,
    control_statement="plain multiplicative weights",
    figure=draw,
    panels=(2, 2),
)
