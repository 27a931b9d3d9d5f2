"""C2: exact bandits converge at rate 1/(eta T), monotonically, whatever the step size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_theory as rt
from rebel_bench.claim import Claim, Inequality, Scale
from rebel_bench.figures import ratios
from rebel_bench.instances import SHAPES, random_policy, random_problem
from rebel_bench.style import line
from rebel_theory.algorithms import Algorithm, State
from rebel_theory.arrays import FloatArray
from rebel_theory.oracles import BoundOracle
from rebel_theory.theory.bounds import exact_bandit_bound, worst_case_difference

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_UPDATES = 40


class VanillaGradient(Algorithm):
    """theta + eta grad J in tabular softmax: the natural gradient with its Fisher matrix left out."""

    name = "PG"

    def __init__(self, step_size: FloatArray) -> None:
        self.step_size = step_size

    def step(self, state: State, oracle: BoundOracle) -> State:
        """Return logits + eta d pi A."""
        policy = state.policy
        assert isinstance(policy, rt.TabularPolicy)
        feedback = oracle.feedback(policy)
        pi = policy.probs
        advantage = feedback.signal - (pi * feedback.signal).sum(axis=-1, keepdims=True)
        return State(policy.step(feedback.weights[..., None] * pi * advantage, self.eta))


def _instances(rng: Generator, scale: Scale, make: type) -> pd.DataFrame:
    rows = []
    n = scale.cases(quick=125, paper=1_250, full=2_000)  # instances a block
    for s, a in SHAPES:
        base = random_problem(rng, "bandit", s, a, n)
        assert isinstance(base, rt.ContextualBandit)
        size = 10 ** rng.uniform(-2, 2, size=(n, 1, 1))  # rewards of any unit
        bandit = rt.ContextualBandit(size * base.reward, context_dist=base.context_dist)
        eta = 10 ** rng.uniform(-3, 6, size=n)
        trace = rt.run(bandit, make(eta), n_iterations=N_UPDATES, policy=random_policy(rng, bandit))
        gap, kl = trace.gap[0], trace.kl[0]  # (n, T + 1)
        t = np.arange(1, N_UPDATES + 1)
        bound = exact_bandit_bound(kl[:, :1], eta[:, None], t)
        place = np.where(bound > 0, gap[:, 1:] / bound, 0.0).argmax(axis=-1)
        pick = np.arange(n), place
        rises = (gap[:, 1:] > gap[:, :-1] * (1 + 1e-9) + 1e-300).any(axis=-1)
        rows.append(
            pd.DataFrame(
                {
                    "n_states": s,
                    "n_actions": a,
                    "step_size": eta,
                    "n_updates": place + 1,
                    "rises": rises,
                    "value": np.where(rises, np.inf, gap[:, 1:][pick]),
                    "bound": bound[pick],
                }
            )
        )
    return pd.concat(rows, ignore_index=True)


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return, per instance, gap and bound at the tightest T; an instance whose gap ever rises counts as infinite."""
    return pd.concat([_instances(rng, scale, rt.Rebel), _worst()], ignore_index=True)


def _worst() -> pd.DataFrame:
    """Return gap and bound of the bandits that are worst for T updates (C3): random ones leave half of the bound."""
    rows = []
    for n in (10, 1_000):
        for t in (1, 2, 4, 16):
            reward = np.zeros((1, n))
            reward[0, 0] = float(worst_case_difference(n, 1.0, t))
            gap = rt.run(rt.ContextualBandit(reward), rt.Rebel(1.0), n_iterations=t).gap[0]
            rises = bool((gap[1:] > gap[:-1] * (1 + 1e-9)).any())
            rows.append({"n_states": 1, "n_actions": n, "step_size": 1.0, "n_updates": t, "rises": rises,
                         "value": np.inf if rises else float(gap[-1]),
                         "bound": float(exact_bandit_bound(np.log(n), 1.0, t))})  # fmt: skip
    return pd.DataFrame(rows)


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the same for vanilla policy gradient."""
    return _instances(rng, scale, VanillaGradient)


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw the ratios, and the tightest instances against the step size."""
    left, right = fig.subplots(1, 2)
    ratios(left, cases, control_cases, label="gap / bound")
    for i, (name, table) in enumerate((("control", control_cases), ("claim", cases))):  # the claim on top
        style = line(name, (3, 0)[i])
        style.update(linestyle="none", markevery=None, markersize=2, alpha=0.5)
        ratio = np.maximum(table["value"] / table["bound"], 1e-6)
        right.plot(table["step_size"], ratio, rasterized=len(table) > 2_000, **style)
    right.axhline(1.0, color="black", linewidth=0.8, linestyle=(0, (1, 1)))
    right.set(xscale="log", yscale="log", xlabel=r"step size $\eta$", ylabel="gap / bound")


CLAIM = Claim(
    id="C2",
    title="exact bandits, any step size",
    statement="After T exact updates of a bandit the gap is at most KL(pi*||pi_1)/(eta T), and it never rises, "
    "for any eta > 0.",
    latex=r"\mathrm{gap}_T \le \mathrm{KL}(\pi^*\|\pi_1)/(\eta T)",
    source="Xiao 2022 (JMLR 23), section 4; Agarwal et al. 2021 (JMLR 22)",
    test=Inequality(),
    check=check,
    control=control,
    control_statement="the Fisher matrix is left out: vanilla softmax policy gradient with the same step",
    figure=draw,
    panels=(1, 2),
    blocks=lambda scale: scale.cases(quick=1, paper=1, full=20),
)
