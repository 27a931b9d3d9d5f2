"""P2: the last iterate of self-play runs away from the equilibrium."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_envs as envs
import rebel_theory as rt
from rebel_bench.claim import AtLeast, Claim, Scale
from rebel_bench.style import line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEP_SIZES = (0.05, 0.1, 0.2)


def _instances(rng: Generator, scale: Scale, algorithm: type) -> pd.DataFrame:
    """Return KL(u || pi_t) at a few t, and its growth since the start, for random starts off the equilibrium."""
    rows = []
    n = scale.cases(quick=50, paper=500, full=10_000)
    n_updates = scale.cases(quick=400, paper=2_000, full=2_000)
    game = envs.rock_paper_scissors()
    for eta in STEP_SIZES:
        start = rt.TabularPolicy(0.5 * rng.standard_normal((n, 1, 3)))
        trace = rt.run(game, algorithm(eta), n_iterations=n_updates, policy=start, n_seeds=n)
        uniform = np.full(3, 1 / 3)
        assert np.allclose(rt.von_neumann_winner(game).policy, uniform)  # so trace.kl is KL(u || pi_t)
        for t in np.linspace(0, n_updates, 9).astype(int)[1:]:
            rows.append(
                pd.DataFrame(
                    {
                        "instance": range(n),
                        "step_size": eta,
                        "iteration": t,
                        "kl": trace.kl[:, t],
                        "value": trace.kl[:, t] / trace.kl[:, 0],
                        "duality_gap": trace.gap[:, t],
                    }
                )
            )
    return pd.concat(rows, ignore_index=True)


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the growth under preference REBEL."""
    return _instances(rng, scale, rt.Rebel)


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the growth under optimistic Hedge."""
    return _instances(rng, scale, rt.Omwu)


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw the ternary path of one start under both, and the divergence from the equilibrium over time."""
    import mpltern  # noqa: F401 - registers the projection

    left: Any = fig.add_subplot(1, 2, 1, projection="ternary")
    right = fig.add_subplot(1, 2, 2)
    game = envs.rock_paper_scissors()
    start = rt.TabularPolicy(np.log([[0.5, 0.3, 0.2]]))
    for name, algorithm in (("REBEL", rt.Rebel(0.1)), ("optimistic (control)", rt.Omwu(0.1))):
        path = rt.run(game, algorithm, n_iterations=400, policy=start, keep_policies=True).probs
        assert path is not None
        style = line(name, 3) | {"marker": "", "linewidth": 1.0 if name == "REBEL" else 0.8}
        left.plot(*path[0, :, 0, :].T, **style)
    left.plot([1 / 3], [1 / 3], [1 / 3], marker="*", color="black", linestyle="none", markersize=5)
    left.set(tlabel="rock", llabel="paper", rlabel="scissors")
    for axis in (left.taxis, left.laxis, left.raxis):
        axis.set_ticks([])
        axis.set_label_position("corner")
    for i, eta in enumerate(STEP_SIZES):
        for table, dash in ((cases, "-"), (control_cases, (0, (2, 2)))):
            part = table[table["step_size"] == eta]
            kl = part.groupby("iteration")["kl"].median()
            kl = pd.concat([pd.Series({0: (part["kl"] / part["value"]).median()}), kl])
            style = line(rf"$\eta$ = {eta:g}", i) | {"markevery": None, "linestyle": dash}
            if table is control_cases:
                style["label"] = None
            right.plot(kl.index, np.maximum(kl, 1e-16), **style)
    right.set(yscale="log", xlabel="iteration", ylabel="KL from the winner (nats)")
    fig.legend(
        *right.get_legend_handles_labels(), loc="outside upper right", title="solid: REBEL; dashed: control",
        ncols=3, handlelength=2, columnspacing=1,
    )  # fmt: skip


CLAIM = Claim(
    id="P2",
    title="the last iterate fails",
    statement="On rock-paper-scissors, started off the equilibrium u, KL(u||pi_t) of exact preference REBEL never "
    "falls below its start: the last iterate cycles outwards.",
    latex=r"\mathrm{KL}(u\|\pi_t) \ge \mathrm{KL}(u\|\pi_1)",
    source="Bailey and Piliouras 2018 (EC); the theory notes",
    test=AtLeast(1.0),
    check=check,
    control=control,
    control_statement="the signal is extrapolated, 2 q_t - q_{t-1} (optimism), and the last iterate converges",
    figure=draw,
    panels=(1, 2),
)
