"""Draw the figures of the README and the docs: `make images`, or `python docs/make_images.py [FOLDER]`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

import rebel_envs as envs
import rebel_theory as rt
from rebel_bench import style
from rebel_bench.audit.figure import compose
from rebel_bench.audit.setup import question
from rebel_bench.claims import p3_optimism
from rebel_bench.cmd_audit import Audit
from rebel_bench.registry import find_claims
from rebel_bench.speed.drawing import draw_png

STEP_SIZE = 10.0  # values are at most 0.54 here, so that eta q is of the order of a logit
IMAGES = Path(__file__).parent / "images"


def row_and_column_features() -> np.ndarray:
    """Return features of FrozenLake's 16 x 4 (state, action): the row and the column, one-hot, for each action.

    Shape (16, 4, 32). A state is not told apart from the sum of its row and its column.
    """
    row, column = np.divmod(np.arange(16), 4)
    place = np.concatenate([np.eye(4)[row], np.eye(4)[column]], axis=1)  # (S, 8)
    return np.einsum("sk,ab->sakb", place, np.eye(4)).reshape(16, 4, -1)


def comparisons() -> tuple[rt.Comparison, rt.Comparison]:
    """Return REBEL, NPG and mirror descent on FrozenLake: tabular, then log-linear with an off-policy base."""
    lake = envs.make("frozenlake")
    algorithms = [rt.Rebel(STEP_SIZE, base="uniform"), rt.NaturalPolicyGradient(STEP_SIZE), rt.MirrorDescent(STEP_SIZE)]
    features = row_and_column_features()
    linear = rt.LogLinearPolicy(features, np.zeros(features.shape[-1]))
    return (
        rt.compare(lake, algorithms, n_iterations=100),
        rt.compare(lake, algorithms, n_iterations=100, policy=linear),
    )


def equivalence(path: Path) -> None:
    """Draw the gap curves that coincide, beside those that part."""
    with style.figure("neurips", (1, 2)) as fig:
        axes = fig.subplots(1, 2)
        titles = ("tabular policy: the three coincide", "log-linear, off-policy base: they part")
        for ax, found, title in zip(axes, comparisons(), titles, strict=True):
            for trace in found.traces:
                ax.plot(trace.gap[0], **style.line(trace.algorithm))
            apart = max(tv.max() for tv in found.total_variation.values())
            print(f"{title}: largest total variation {apart:.2e}")
            ax.set(title=title, xlabel="iteration t")
            ax.text(1.0, 0.97, f"total variation up to {apart:.2g}", ha="right", va="top", transform=ax.transAxes)
        axes[0].set(yscale="log", ylabel=r"gap $V^* - V^{\pi_t}$ on FrozenLake")
        axes[0].legend(loc="lower left")
        fig.savefig(path, dpi=300, metadata={"Software": None})


def claim(id: str, path: Path) -> None:
    """Draw the figure of a claim that needs no cases."""
    found = next(c for c in find_claims() if c.id == id)
    assert found.figure is not None
    with style.figure("neurips", found.panels) as fig:
        found.figure(fig, pd.DataFrame(), pd.DataFrame())
        fig.savefig(path, dpi=200, metadata={"Software": None})


def audit(path: Path) -> None:
    """Draw the audit of C1 that `rebel-theory audit C1` makes, 2,000 updates long."""
    asked = question(Audit(id="C1", iterations=2_000))
    found = rt.audit("C1", asked.problem, asked.algorithm, n_iterations=asked.n_iterations, policy=asked.policy)
    with style.figure("neurips", (1, 2)) as fig:
        compose(fig, found)
        fig.savefig(path, dpi=200, metadata={"Software": None})


def last_iterates(path: Path, soccer: Path) -> None:
    """Draw the figure of claim P3 with the soccer game below rock-paper-scissors."""
    games = {"rock-paper-scissors": envs.rock_paper_scissors(), "ten soccer agents": envs.from_win_matrix(soccer)}
    with style.figure("neurips", (2, 2)) as fig:
        p3_optimism.draw_curves(fig, p3_optimism.curves(games, 100_000), 1e-6)
        fig.savefig(path, dpi=200, metadata={"Software": None})


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES
    folder.mkdir(parents=True, exist_ok=True)
    equivalence(folder / "equivalence.png")
    if (IMAGES / "speed.csv").exists():  # measured; see make_speed.py
        draw_png(pd.read_csv(IMAGES / "speed.csv"), folder / "speed.png")
    claim("P6", folder / "reward-models.png")
    audit(folder / "audit.png")
    if len(sys.argv) > 2:
        last_iterates(folder / "last-iterates.png", Path(sys.argv[2]))
