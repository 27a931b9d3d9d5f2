"""P3: optimism makes the last iterate of self-play converge, where P2 fails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_envs as envs
import rebel_theory as rt
from rebel_bench.claim import DRAWN, Claim, Inequality, Scale
from rebel_bench.instances import random_preferences
from rebel_theory.algorithms import Algorithm
from rebel_theory.arrays import FloatArray
from rebel_theory.theory.divergences import kl_divergence

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rebel_bench.game.versus import Versus

STEP_SIZE = 1 / 8  # the largest of the theorem
LEFT = 0.02  # of the duality gap at the start, after T updates on rock-paper-scissors
APART = 2.0  # logits of the first policy there, at most: from further off 2000 updates leave more (0.0205 from 2.5)
DRAWN_STEP = 0.1
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
        potential, _moved = potentials(game, trace.probs[0, :, :, 0])
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
    gap = rt.run(envs.rock_paper_scissors(), algorithm, n_iterations=n_updates, policy=_near(rng, n), n_seeds=n).gap
    left, bound = gap_left(gap)
    part = {"instance": range(n), "game": "rock-paper-scissors", "what": "gap"}
    rows.append(pd.DataFrame(part | {"value": left, "bound": bound}))
    return pd.concat(rows, ignore_index=True)


def potentials(game: rt.PreferenceGame, iterates: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return KL(p*||z_t) + KL(z_t||pi_{t-1})/16 for t = 1..T, (n, T), from the iterates (n, T + 1, A).

    z_t is pi_t without its prediction, pi_t exp(-eta q_{t-1}): where plain Hedge stands after q_1, ..., q_{t-1}. And
    how far an update moves: KL(z_{t+1}||pi_t) + KL(pi_t||z_t) for t = 1..T-1, shape (n, T - 1).
    """
    winners = [rt.von_neumann_winner(rt.PreferenceGame(p)).policy.reshape(-1) for p in game.preference]
    signal = np.matmul(iterates, np.swapaxes(game.payoff[:, 0], -1, -2))  # (n, T + 1, A)
    logits = np.log(np.maximum(iterates[:, 1:], 1e-300)) - STEP_SIZE * signal[:, :-1]
    z = np.exp(logits - logits.max(axis=-1, keepdims=True))
    z /= z.sum(axis=-1, keepdims=True)
    far = kl_divergence(np.stack(winners)[:, None, None], z[:, :, None])
    behind = kl_divergence(z[:, :, None], iterates[:, :-1, None])
    return far + behind / 16, behind[:, 1:] + kl_divergence(iterates[:, 1:-1, None], z[:, :-1, None])


def gap_left(gap: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the gap (n,) after the last of the updates, and what the statement leaves of it on rock-paper-scissors."""
    return gap[:, -1], LEFT * gap[:, 0]


def _near(rng: Generator, n: int) -> rt.TabularPolicy:
    """Return first policies on three answers, logits at most APART apart."""
    logits = rng.standard_normal((n, 1, 3))
    return rt.TabularPolicy(logits * rng.uniform(0, APART, (n, 1, 1)) / np.ptp(logits, axis=-1, keepdims=True))


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return potential and gap under OMWU, and for the figure five algorithms on two games."""
    tested = _instances(rng, scale, rt.Omwu(STEP_SIZE)).assign(**{DRAWN: False})
    games = {
        "rock-paper-scissors": envs.rock_paper_scissors(),
        "ten answers, three played": envs.random_game(10, seed=DRAWN_GAME),
    }
    drawn = curves(games, scale.cases(quick=1_000, paper=10_000, full=10_000))
    return pd.concat([tested, drawn], ignore_index=True)


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return them under plain multiplicative weights."""
    return _instances(rng, scale, rt.MirrorDescent(STEP_SIZE))


def curves(games: Mapping[str, rt.PreferenceGame], n_updates: int) -> pd.DataFrame:
    """Return duality gaps of last and average iterates, off equilibrium, at the updates that are drawn."""
    from rebel_bench.game import versus

    algorithms: dict[str, Algorithm] = {
        "MWU": rt.MirrorDescent(DRAWN_STEP),
        "OMWU": rt.Omwu(DRAWN_STEP),
        "EGPO": rt.Egpo(DRAWN_STEP),
        "MMD": rt.MagneticMirrorDescent(DRAWN_STEP),
        "Nash-MD": rt.NashMD(DRAWN_STEP),
    }
    t = versus.drawn_updates(n_updates)
    rows = []
    for name, game in games.items():
        found = versus.compare(game, algorithms, step_size=DRAWN_STEP, n_iterations=n_updates)
        for c in found.contenders:
            bias = np.nan if c.bias is None else c.bias
            part = {"instance": 0, "game": name, "what": c.name, "n_updates": t, "bias": bias, DRAWN: True}
            rows.append(pd.DataFrame(part | {"value": c.last[0, t], "average": c.average[0, t]}))
    return pd.concat(rows, ignore_index=True)


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw last and average iterates of five algorithms on rock-paper-scissors and on a game of ten answers."""
    draw_curves(fig, cases[cases[DRAWN].astype(bool)])


def draw_curves(fig: Figure, drawn: pd.DataFrame, least: float = 3e-5) -> None:
    """Draw what :func:`curves` returned, a row a game, last and average iterate, down to gaps of ``least``."""
    from rebel_bench.game import versus_figure

    fig.set_layout_engine("constrained")
    fig.set_figheight(0.78 * float(fig.get_figwidth()))
    axes = fig.subplots(2, 2, sharex=True, sharey="row")
    for row, (name, table) in zip(axes, drawn.groupby("game", sort=False), strict=True):
        found = _versus(table)
        for ax, average in zip(row, (False, True), strict=True):
            versus_figure.curves(ax, found, average=average)
            ax.set_title(f"{name}: {'average' if average else 'last'} iterate", fontsize=8)
        t = np.array([found.n_iterations / 50, found.n_iterations])
        row[1].plot(t, 1 / t, color="black", linewidth=0.8)
        row[1].text(1.75 * t[0], 0.06 / t[0], "slope $-1$", fontsize=7, ha="center")
        row[0].set_ylim(bottom=least)
        row[0].set_ylabel("duality gap (payoff)")
    for ax in axes[1]:
        ax.set_xlabel("updates $t$")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=7, handlelength=3, columnspacing=1.2)


def _versus(table: pd.DataFrame) -> Versus:
    """Return the gaps of one game as ``rebel-theory game`` has them; NaN at updates that are not drawn."""
    from rebel_bench.game.versus import Contender, Versus

    n_updates, nothing = int(table["n_updates"].max()), np.empty((1, 0))
    contenders = []
    for name, part in table.groupby("what", sort=False):
        last, average = np.full((2, 1, n_updates + 1), np.nan)
        at = part["n_updates"].to_numpy(dtype=int)
        last[0, at], average[0, at] = part["value"], part["average"]
        bias = float(part["bias"].iloc[0])
        known = None if np.isnan(bias) else bias
        contenders.append(Contender(str(name), None, last, average, nothing, None, None, known))
    return Versus(tuple(contenders), DRAWN_STEP, n_updates, None, 0, nothing[0])


CLAIM = Claim(
    id="P3",
    title="optimism makes it converge",
    statement="Exact OMWU at eta = 1/8: on random games KL(p*||z_t) + KL(z_t||pi_{t-1})/16 never rises, z_t being pi_t "
    "without its prediction; on rock-paper-scissors, from logits at most 2 apart, 2000 updates leave at most 2% of the "
    "gap.",
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
