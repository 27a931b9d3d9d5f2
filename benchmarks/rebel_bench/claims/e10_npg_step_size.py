"""E10: the natural gradient of V with step eta_npg is soft policy iteration with eta = eta_npg / (1 - gamma)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_theory as rt
from rebel_bench.claim import Claim, Equality, Scale
from rebel_bench.figures import strip
from rebel_bench.instances import random_policy, random_problem
from rebel_theory.arrays import FloatArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TOLERANCE = 1e-10
SHAPES = ((1, 2), (2, 2), (3, 3), (4, 2), (2, 5))
DISCOUNTS = (0.0, 0.5, 0.9, 0.99)


def value_gradient(mdp: rt.TabularMDP, logits: FloatArray) -> FloatArray:
    """Return the gradient of V^pi(rho) in the logits (n, S, A), by complex steps through the Bellman equation.

    Knows nothing of the policy-gradient theorem: V is solved with one logit moved by 1e-30 i, and the imaginary
    part read off, exact to rounding.
    """
    _, s, a = logits.shape
    gradient = np.empty(logits.shape)
    for i in range(s):
        for b in range(a):
            moved = logits.astype(complex)
            moved[:, i, b] += 1e-30j
            pi = np.exp(moved - logits.max(axis=-1, keepdims=True))
            pi /= pi.sum(axis=-1, keepdims=True)
            transition = np.matmul(pi[..., None, :], mdp.transition)[..., 0, :]
            reward = (pi * mdp.reward).sum(axis=-1)
            values = np.linalg.solve(np.eye(s) - mdp.discount * transition, reward[..., None])[..., 0]
            gradient[:, i, b] = (mdp.initial_dist * values).sum(axis=-1).imag / 1e-30
    return gradient


def fisher(mdp: rt.TabularMDP, probs: FloatArray) -> FloatArray:
    """Return E[g g^T] (n, S A, S A) under the normalised occupancy, from explicit scores."""
    n, s, a = probs.shape
    occupancy = rt.evaluate(mdp, probs).occupancy
    scores = np.zeros((n, s, a, s, a))
    for i in range(s):
        scores[:, i, :, i, :] = np.eye(a) - probs[:, i, None, :]
    flat = scores.reshape(n, s * a, s * a)
    law = (occupancy[..., None] * probs).reshape(n, s * a)
    return np.swapaxes(flat, -1, -2) @ (law[..., None] * flat)


def _instances(rng: Generator, scale: Scale, convert: bool) -> pd.DataFrame:
    rows = []
    per_cell = scale.cases(quick=10, paper=100, full=2_500)
    for s, a in SHAPES:
        for discount in DISCOUNTS:
            mdp = random_problem(rng, "mdp", s, a, per_cell)
            assert isinstance(mdp, rt.TabularMDP)
            mdp = rt.TabularMDP(mdp.transition, mdp.reward, discount=discount, initial_dist=mdp.initial_dist)
            policy = random_policy(rng, mdp)
            step = 10 ** rng.uniform(-2, 0, size=per_cell)  # eta_npg
            logits = policy.logits[0]
            gradient = value_gradient(mdp, logits).reshape(per_cell, s * a, 1)
            inverse = np.linalg.pinv(fisher(mdp, policy.probs[0]), rcond=1e-12, hermitian=True)
            direction = (inverse @ gradient).reshape(per_cell, s, a)
            natural = rt.TabularPolicy(logits + step[:, None, None] * direction)
            eta = rt.functional_step_size(step, discount) if convert else step
            soft = rt.run(mdp, rt.MirrorDescent(eta), n_iterations=1, policy=policy).final_policy
            error = rt.total_variation(natural, soft.probs[0])
            rows.append(pd.DataFrame({"discount": discount, "n_states": s, "n_actions": a, "error": error}))
    return pd.concat(rows, ignore_index=True)


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the distances with the step size converted."""
    return _instances(rng, scale, convert=True)


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the distances with the same number used for both step sizes."""
    cases = _instances(rng, scale, convert=False)
    return cases[cases["discount"] > 0]


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw one strip a discount."""
    named = [t.assign(group=[rf"$\gamma$ = {g:g}" for g in t["discount"]]) for t in (cases, control_cases)]
    strip(fig, *named, by="group", value="error", limit=TOLERANCE, label="total variation")


CLAIM = Claim(
    id="E10",
    title="the step size of NPG",
    statement="Tabular NPG on V with step eta_npg is soft policy iteration with eta = eta_npg / (1 - gamma), "
    "the Fisher matrix taken under the normalised occupancy.",
    latex=r"\theta + \eta_{\mathrm{npg}} F^{+}\nabla V \;\equiv\; \pi\, e^{\eta Q^\pi},\quad "
    r"\eta=\eta_{\mathrm{npg}}/(1-\gamma)",
    source="Agarwal et al. 2021 (JMLR 22), Lemma 15",
    test=Equality(TOLERANCE),
    check=check,
    control=control,
    control_statement="the factor 1/(1 - gamma) is left out",
    figure=draw,
)
