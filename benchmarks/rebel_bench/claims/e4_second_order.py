"""E4: outside log-linear classes REBEL and its Gauss-Newton step part, but only at second order in eta."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_theory as rt
from rebel_bench.claim import Claim, Rate, Scale, TwoStage
from rebel_bench.figures import orders
from rebel_theory.arrays import FloatArray, log_softmax
from rebel_theory.pairs import FactorisedPairs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHAPES = ((3, 7), (5, 5), (8, 4))  # more than the 8 parameters can fit: the base matters, for the control's sake
# The statement is a limit, reached once eta is small against the squared singular values of the scores: classes whose
# scores nearly coincide are drawn again, before anything is measured, and steps are short in theta, where Taylor's
# expansion is made.
LARGEST_CONDITION = 30.0
MOVES = 0.05 / 2.0 ** np.arange(6)  # norm of the Gauss-Newton step; eta in proportion


def _drawer(rng: Generator, wrong_base: bool) -> Callable[[int], pd.DataFrame]:
    """Return a function of n that measures n further instances."""
    numbers = count()
    return lambda n: pd.concat([_instance(rng, next(numbers), wrong_base) for _ in range(n)], ignore_index=True)


def _instance(rng: Generator, i: int, wrong_base: bool) -> pd.DataFrame:
    """Return the total variation after the two steps at every eta; with ``wrong_base`` one step has another base."""
    s, a = SHAPES[i % len(SHAPES)]
    weights, signal = rng.dirichlet(np.ones(s)), rng.standard_normal((s, a))
    policy = rt.TanhPolicy.random(rng.standard_normal((s, a, 3)), 2, rng)
    while _condition(policy, weights) > LARGEST_CONDITION:
        policy = rt.TanhPolicy.random(rng.standard_normal((s, a, 3)), 2, rng)
    log_pi, log_mu = policy.log_probs, log_softmax(rng.standard_normal((s, a)))
    log_base = log_pi if i // len(SHAPES) % 2 and not wrong_base else log_mu
    pairs = FactorisedPairs(weights, log_pi, log_base, signal, weights > 0)
    stepped = FactorisedPairs(weights, log_pi, log_pi, signal, weights > 0) if wrong_base else pairs
    step = policy.gauss_newton_step(stepped, np.asarray(1.0)).theta - policy.theta
    rows = []
    for move, eta in zip(MOVES, MOVES / float(np.linalg.norm(step)), strict=True):
        full = policy.minimise(pairs, np.asarray(eta), policy.theta)
        gauss_newton = policy.with_theta(policy.theta + eta * step)
        rows.append(
            {"instance": f"{s}x{a}, {i}", "base": "off-policy" if log_base is log_mu else "on-policy",
             "move": move, "step_size": float(eta), "distance": float(rt.total_variation(full, gauss_newton))}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _condition(policy: rt.TanhPolicy, weights: FloatArray) -> float:
    """Return the condition number of the weighted score differences, on-policy."""
    log_pi = policy.log_probs
    pairs = FactorisedPairs(weights, log_pi, log_pi, np.zeros(log_pi.shape), weights > 0)
    return float(np.linalg.cond(pairs.rows(policy.jacobian())[0]))


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the distances in a tanh network, of as many instances as the rule wants."""
    return RATE.collect(_drawer(rng, wrong_base=False), at_least=scale.cases(quick=0, paper=300, full=3_000))


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the distances where the Gauss-Newton step is on-policy and the regression is not."""
    return _drawer(rng, wrong_base=True)(scale.cases(quick=RULE.n_first, paper=300, full=3_000))


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw the distance against the size of the step: every instance, and the medians with the fitted slopes."""
    orders(fig, RATE, {"tanh network": cases, "control: another base": control_cases})


# the margin is for the third order, which the longest steps still show; an instance is its own sample of the family
RULE = TwoStage(n_first=18, half_width=0.025, false_alarm=1e-4, cap=72)
RATE = Rate(expected=2, margin=0.05, x="step_size", y="distance", by="instance", rule=RULE)

CLAIM = Claim(
    id="E4",
    title="beyond log-linear: order eta^2",
    statement="In a class that is not log-linear the full REBEL regression and its one Gauss-Newton step part by order "
    "eta^2 in total variation as eta goes to 0, for any base: the mean slope of random instances is 2 within 0.05.",
    latex=r"\mathrm{TV}(\pi_{\mathrm{REBEL}}, \pi_{\mathrm{GN}}) = O(\eta^2)",
    source="the theory notes; the linearisation is that of arXiv:2404.16767, section 4.1",
    test=RATE,
    false_alarm=RULE.false_alarm,
    check=check,
    control=control,
    control_statement="the Gauss-Newton step takes on-policy pairs while the regression's base differs",
    figure=draw,
)
