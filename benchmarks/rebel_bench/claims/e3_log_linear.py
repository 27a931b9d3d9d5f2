"""E3: in a log-linear class the whole REBEL regression is solved by its one Gauss-Newton step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_theory as rt
from rebel_bench.claim import Claim, Equality, Scale
from rebel_bench.figures import strip
from rebel_bench.instances import SHAPES, random_problem
from rebel_theory.arrays import log_softmax
from rebel_theory.pairs import FactorisedPairs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TOLERANCE = 1e-9  # mirror descent projects by an iterative solve; the regressions agree to 1e-14


def _instances(rng: Generator, scale: Scale, network: bool) -> pd.DataFrame:
    """Return the total variation between an iterative minimiser, started elsewhere, and the single step."""
    rows = []
    # a network's regression takes hundreds of times as long, and each instance parts by far more than rounding
    per_shape = scale.cases(quick=3, paper=25, full=600) if network else scale.cases(quick=25, paper=250, full=6_000)
    for s, a in SHAPES:
        for _ in range(per_shape):
            inputs = rng.standard_normal((s, a, 3))
            policy: rt.LogLinearPolicy | rt.TanhPolicy = (
                rt.TanhPolicy.random(inputs, 3, rng) if network else rt.LogLinearPolicy(inputs, rng.standard_normal(3))
            )
            weights, signal = rng.dirichlet(np.ones(s)), rng.standard_normal((s, a))
            log_pi = policy.log_probs
            on_policy = bool(rng.random() < 0.5)
            log_mu = log_pi if on_policy else log_softmax(rng.standard_normal((s, a)))
            pairs = FactorisedPairs(weights, log_pi, log_mu, signal, weights > 0)
            eta = np.asarray(10 ** rng.uniform(-1, 0.5))
            # an iterative minimiser must find the same policy from another start; a network stays near its own
            start = policy.theta + (0.0 if network else 1.0) * rng.standard_normal(policy.theta.shape)
            full = policy.minimise(pairs, eta, start)
            step = policy.gauss_newton_step(pairs, eta)
            rows.append(
                {"base": "on-policy" if on_policy else "off-policy", "n_states": s, "n_actions": a,
                 "step_size": float(eta), "error": float(rt.total_variation(full, step))}
            )  # fmt: skip
    return pd.DataFrame(rows)


def _projections(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return how far mirror descent is from the means of the features under its target, pi exp(eta r)/Z."""
    rows = []
    n = scale.cases(quick=25, paper=250, full=6_000)
    for s, a in SHAPES:
        bandit = random_problem(rng, "bandit", s, a, n)
        assert isinstance(bandit, rt.ContextualBandit)
        phi, theta, eta = rng.standard_normal((s, a, 3)), rng.standard_normal((1, n, 3)), rng.uniform(0.1, 2, size=n)
        policy = rt.LogLinearPolicy(phi, theta)
        found = rt.run(bandit, rt.MirrorDescent(eta), n_iterations=1, policy=policy).final_policy.probs[0]
        target = policy.probs[0] * np.exp(eta[:, None, None] * bandit.reward)
        excess = bandit.context_dist[..., None] * (target / target.sum(axis=-1, keepdims=True) - found)
        error = np.abs(np.tensordot(excess, phi, axes=2)).max(axis=-1)
        rows.append(pd.DataFrame({"base": "mirror\ndescent", "n_states": s, "n_actions": a, "step_size": eta,
                                  "error": error}))  # fmt: skip
    return pd.concat(rows, ignore_index=True)


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the distances in a log-linear class, of the regressions and of mirror descent's projection."""
    return pd.concat([_instances(rng, scale, network=False), _projections(rng, scale)], ignore_index=True)


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the distances in a tanh network."""
    return _instances(rng, scale, network=True)


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw one strip a base: total variation; of mirror descent, the distance of the means."""
    named = control_cases.assign(base="tanh network,\n" + control_cases["base"])
    strip(fig, cases, named, by="base", value="error", limit=TOLERANCE, label="distance")


CLAIM = Claim(
    id="E3",
    title="log-linear: one step is enough",
    statement="In a log-linear class the full REBEL regression equals its one Gauss-Newton step, for any base: "
    "an iterative minimiser of the loss, started elsewhere, finds the same policy. Mirror descent, projected on the "
    "class, keeps the features' means: E_{d, target}[phi] = E_{d, pi}[phi].",
    latex=r"\ln\tfrac{\pi_\theta(y|x)}{\pi_t(y|x)} - \ln\tfrac{\pi_\theta(y'|x)}{\pi_t(y'|x)}"
    r" = (\theta-\theta_t)\cdot(\phi(x,y)-\phi(x,y'))",
    source="arXiv:2404.16767, section 4.1",
    test=Equality(TOLERANCE),
    check=check,
    control=control,
    control_statement="the class is a tanh network",
    figure=draw,
)
