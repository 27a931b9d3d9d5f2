"""E2: in any smooth class, one Gauss-Newton step of REBEL is a natural policy gradient step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_theory as rt
from rebel_bench.claim import Claim, Equality, Scale
from rebel_bench.figures import strip
from rebel_bench.instances import SHAPES
from rebel_theory.arrays import FloatArray, log_softmax
from rebel_theory.pairs import FactorisedPairs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TOLERANCE = 1e-10
# The two sides are solved differently, so rounding is magnified by the condition number and its square; a class
# whose scores nearly coincide would test the arithmetic, not the statement. Drawn again, before anything is measured.
LARGEST_CONDITION = 300.0


def _instances(rng: Generator, scale: Scale, fisher: str) -> pd.DataFrame:
    """Return the total variation after the two steps, ``fisher`` under "mixture" or "pi_t"."""
    rows = []
    per_shape = scale.cases(quick=25, paper=250, full=3_000)
    for s, a in SHAPES:
        for _ in range(per_shape):
            weights, signal = rng.dirichlet(np.ones(s)), rng.standard_normal((s, a))
            policy = _random_class(rng, s, a)
            while _condition(policy, weights) > LARGEST_CONDITION:
                policy = _random_class(rng, s, a)
            log_pi = policy.log_probs
            for base in ("on-policy", "off-policy"):
                log_mu = log_pi if base == "on-policy" else log_softmax(rng.standard_normal((s, a)))
                pairs = FactorisedPairs(weights, log_pi, log_mu, signal, weights > 0)
                step = policy.gauss_newton_step(pairs, np.asarray(1.0)).theta - policy.theta
                other = _natural_direction(policy, weights, signal, log_mu, fisher)
                # a nearly singular class answers with a huge step: eta is set to move no logit by more than 1
                eta = 1.0 / max(1.0, float(np.abs(policy.jacobian() @ step).max()))
                gauss_newton = policy.with_theta(policy.theta + eta * step)
                natural = policy.with_theta(policy.theta + eta * other)
                rows.append(
                    {"class": type(policy).__name__.removesuffix("Policy").lower(), "base": base, "n_states": s,
                     "n_actions": a, "error": float(rt.total_variation(gauss_newton, natural))}
                )  # fmt: skip
    return pd.DataFrame(rows)


def _condition(policy: rt.LogLinearPolicy | rt.TanhPolicy, weights: FloatArray) -> float:
    """Return the condition number of the weighted scores on their range."""
    pi, jacobian = policy.probs, policy.jacobian()
    scores = jacobian - (pi[..., None] * jacobian).sum(axis=1, keepdims=True)
    root = np.sqrt(weights[:, None] * pi)[..., None] * scores
    sigma = np.linalg.svd(root.reshape(-1, root.shape[-1]), compute_uv=False)
    kept = sigma[sigma > 1e-13 * max(sigma[0], np.abs(jacobian).max())]
    return float(kept[0] / kept[-1])


def _random_class(rng: Generator, s: int, a: int) -> rt.LogLinearPolicy | rt.TanhPolicy:
    inputs = rng.standard_normal((s, a, 3))
    if rng.random() < 0.5:
        return rt.LogLinearPolicy(inputs, rng.standard_normal(3))
    return rt.TanhPolicy.random(inputs, 3, rng)


def _natural_direction(
    policy: rt.LogLinearPolicy | rt.TanhPolicy, weights: FloatArray, signal: FloatArray, log_mu: FloatArray, fisher: str
) -> FloatArray:
    """Return F^+ E_{pi_mix}[g A], pi_mix = (pi_t + mu)/2, from explicit scores; A centred under pi_t."""
    pi, mu, jacobian = policy.probs, np.exp(log_mu), policy.jacobian()
    scores = jacobian - (pi[..., None] * jacobian).sum(axis=1, keepdims=True)  # (S, A, p): gradients of ln pi
    advantage = signal - (pi * signal).sum(axis=1, keepdims=True)
    mixture = weights[:, None] * (pi + mu) / 2
    flat = scores.reshape(-1, scores.shape[-1])
    gradient = flat.T @ (mixture * advantage).ravel()
    law = mixture if fisher == "mixture" else weights[:, None] * pi
    root = np.sqrt(law).ravel()[:, None] * flat  # F = root^T root
    # F^+ through the singular values of its root: F itself would square the condition number
    _, sigma, vt = np.linalg.svd(root, full_matrices=False)
    # directions in which the features tie leave rounding errors of the size of the features' own
    keep = sigma > 1e-13 * max(sigma[0], np.abs(jacobian).max())
    direction: FloatArray = vt[keep].T @ ((vt[keep] @ gradient) / sigma[keep] ** 2)
    return direction


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the distances with the Fisher matrix under the mixture."""
    return _instances(rng, scale, "mixture")


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the distances with the Fisher matrix under pi_t, off-policy instances only."""
    cases = _instances(rng, scale, "pi_t")
    return cases[cases["base"] == "off-policy"]


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw one strip a class and base."""
    named = [t.assign(group=t["class"] + "\n" + t["base"]) for t in (cases, control_cases)]
    strip(fig, *named, by="group", value="error", limit=TOLERANCE, label="total variation")


CLAIM = Claim(
    id="E2",
    title="Gauss-Newton REBEL is NPG",
    statement="In any smooth class, one Gauss-Newton step of REBEL with base mu is a natural policy gradient step "
    "with the Fisher matrix under (pi_t + mu)/2; with mu = pi_t it is NPG itself.",
    latex=r"\theta_{t+1} = \theta_t + \eta F_{\mathrm{mix}}^{+}\, E_{\pi_{\mathrm{mix}}}[g A]",
    source="arXiv:2404.16767, section 4.1 (on-policy); with any base: the theory notes",
    test=Equality(TOLERANCE),
    check=check,
    control=control,
    control_statement="the Fisher matrix is taken under pi_t while the base differs",
    figure=draw,
)
