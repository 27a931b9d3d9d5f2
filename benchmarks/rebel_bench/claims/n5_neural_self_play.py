"""N5: in a contextual game that turns in circles a network lowers the duality gap, where its reward model cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_envs as envs
import rebel_theory as rt
from rebel_bench.claim import Claim, Inequality, Scale
from rebel_bench.claims import _neural as neural
from rebel_bench.style import OKABE_ITO

if TYPE_CHECKING:
    from matplotlib.figure import Figure

S, A, HIDDEN = 8, 3, 12
BETAS = np.array([0.03, 0.1, 0.3, 1.0, 3.0])  # of the reward model's optimum pi_1 exp(r / beta)
SHARE = 0.5  # of the least gap of the reward model, at most, is what self-play may leave
ETA, N_UPDATES = 0.2, 400  # the bound of P1 is ln(A)/(eta T) + eta/2 a side; the measured gap is far below


def _instances(rng: Generator, scale: Scale, self_play: bool) -> pd.DataFrame:
    """Return duality gaps of the average policy of REBEL, and of the reward model's optima, the best of all betas."""
    from rebel_theory.torch import GaussNewton, TorchPolicy, mlp

    device = neural.prepare()
    n = scale.cases(quick=6, paper=40, full=400)
    seed = int(rng.integers(2**31))
    circular = envs.contextual_cycle(S, A, n_inputs=neural.N_INPUTS, seed=seed, n_instances=n)
    module = mlp(neural.N_INPUTS, A, hidden=(HIDDEN,), seed=int(rng.integers(2**31)))
    policy = TorchPolicy(module.to(device), solver=GaussNewton(max_iterations=60, tolerance=1e-8))
    # the same network, fitted to the preferences by maximum likelihood
    model = rt.run(circular, rt.Dpo(1 / BETAS[:, None], base="uniform"), n_iterations=1, policy=policy).gap[0]
    best = model[..., -1].min(axis=0)  # (n,)
    if self_play:
        value = rt.run(circular, rt.Rebel(ETA), n_iterations=N_UPDATES, policy=policy).average_gap[0, :, -1]
    else:
        # rewards in the place of opponents: each answer's mean win over uniform ones
        fixed = rt.ContextualBandit((2 * circular.preference - 1).mean(axis=-1), contexts=circular.contexts)
        fitted = rt.run(fixed, rt.Rebel(ETA), n_iterations=N_UPDATES, policy=policy, keep_policies=True)
        assert fitted.probs is not None
        value = rt.duality_gap(circular, fitted.probs[0].mean(axis=1))
    return pd.DataFrame(
        {"instance": np.arange(n), "value": value, "bound": SHARE * best, "reward_model": best,
         "first_gap": model[0, :, 0]}
    )  # fmt: skip


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the gaps of self-play."""
    return _instances(rng, scale, self_play=True)


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the gaps of REBEL on the mean win over uniform answers as a reward: no opponent that moves."""
    return _instances(rng, scale, self_play=False)


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw the gap at the start, of the reward model, and of the average policy, an instance a line."""
    ax = fig.add_subplot()
    looks = (
        (cases, "blue", "o", "-", "preference REBEL, self-play"),
        (control_cases, "vermillion", "x", (0, (4, 2)), "control: a fixed reward"),
    )
    for table, colour, marker, dash, name in looks:
        gaps = table[["first_gap", "reward_model", "value"]].to_numpy().T
        lines = ax.plot(
            [0, 1, 2], gaps, color=OKABE_ITO[colour], marker=marker, markersize=3, linewidth=0.8, linestyle=dash
        )
        lines[0].set_label(name)
    ax.set_xticks([0, 1, 2], ["first policy", "reward model,\nbest beta", "REBEL,\naverage policy"])
    ax.set(ylabel="duality gap (payoff)", ylim=(0, 1.4 * ax.get_ylim()[1]))
    ax.legend(loc="upper right")


CLAIM = Claim(
    id="N5",
    title="neural self-play",
    statement="On games whose three answers beat each other in a circle in every context, with odds by context, the "
    "average policy of preference REBEL with a perceptron has at most half the duality gap of every optimum of the "
    "reward model (DPO) in the same network.",
    latex=r"\mathrm{DG}(\bar\pi_{\mathrm{REBEL}}) \le \tfrac12 \min_\beta \mathrm{DG}(\pi_{\mathrm{DPO}, \beta})",
    source="arXiv:2404.16767, section 5 (general preferences); P6 on a network",
    test=Inequality(),
    check=check,
    control=control,
    control_statement="REBEL on the mean win over uniform answers, a reward without an opponent",
    figure=draw,
    requires=("torch",),
)
