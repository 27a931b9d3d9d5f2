"""S1: in a log-linear class N pairs with noise sigma^2 a reward leave a loss of 2 sigma^2 d_eff/N."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_theory as rt
from rebel_bench.claim import Claim, Inequality, Scale, half_width
from rebel_bench.instances import simplex
from rebel_bench.style import OKABE_ITO
from rebel_theory.arrays import FloatArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHAPES = ((1, 2, 1), (1, 5, 3), (3, 4, 4), (6, 3, 5))  # (S, A, d_eff)
SIZES = (10**4, 10**5, 10**6, 10**7)  # large enough that d_eff/N is far below the intervals
EXACT = 1e-20  # of a loss in squared reward units of order 1
FALSE_ALARM = 1e-6  # of one interval; below 1e-4 for the claim at quick scale


def _losses(rng: Generator, oracle: rt.Oracle, bandit: rt.ContextualBandit, n_seeds: int, **how: Any) -> FloatArray:
    """Return the population loss (n_seeds,) after one update; a stream of its own for every call."""
    seed = int(rng.integers(2**31))
    trace = rt.run(
        bandit, rt.Rebel(0.5, how["base"]), n_iterations=1, oracle=oracle, policy=how["policy"], n_seeds=n_seeds,
        seed=seed,
    )  # fmt: skip
    return trace.regression_error[:, 0]


def _instances(rng: Generator, scale: Scale, rewards_seen: int) -> pd.DataFrame:
    """Return the cases of the law with ``rewards_seen`` noisy rewards a pair; the truth is 2."""
    rows = []
    n_seeds = scale.cases(quick=400, paper=2_000, full=10_000)
    for s, a, d in SHAPES:
        for base in ("on-policy", "uniform"):
            phi = rng.standard_normal((s, a, d + 1))
            phi[..., d] = rng.standard_normal((s, 1))  # equal for all actions: a parameter that no pair sees
            how: dict[str, Any] = {"base": base, "policy": rt.LogLinearPolicy(phi, rng.standard_normal(d + 1))}
            mean = phi @ rng.standard_normal(d + 1)
            rho, sigma = simplex(rng, s), float(rng.uniform(0.2, 2))
            noisy = rt.ContextualBandit(mean, context_dist=rho, noise=rt.GaussianNoise(sigma))
            shared = {"base": base, "n_states": s, "n_actions": a, "d_eff": d, "sigma": sigma}
            found = [_losses(rng, rt.Counted(n), noisy, n_seeds, **how) for n in SIZES]
            # pair by pair, at one size: the same law from the other oracle
            found.append(_losses(rng, rt.Sampled(SIZES[0]), noisy, n_seeds, **how))
            for n, eps in zip((*SIZES, SIZES[0]), found, strict=True):
                ratio = eps * n / (rewards_seen * sigma**2 * d)
                rows.append(
                    {"role": "ratio", **shared, "n_pairs": n, "n_seeds": len(eps), "ratio": ratio.mean(),
                     "value": abs(ratio.mean() - 1), "bound": half_width(ratio, FALSE_ALARM)}
                )  # fmt: skip
            log_n = np.log(SIZES) - np.log(SIZES).mean()
            slopes = np.log(np.stack(found[:-1], axis=-1)) @ log_n / (log_n**2).sum()  # one a seed
            rows.append(
                {"role": "slope", **shared, "n_seeds": n_seeds, "ratio": slopes.mean(),
                 "value": abs(slopes.mean() + 1), "bound": half_width(slopes, FALSE_ALARM)}
            )  # fmt: skip
            clean = rt.ContextualBandit(mean, context_dist=rho)
            exact = _losses(rng, rt.Counted(SIZES[0]), clean, 20, **how).max()
            rows.append({"role": "no noise", **shared, "n_pairs": SIZES[0], "value": exact, "bound": EXACT})
    return pd.DataFrame(rows)


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return how far the loss is from the law, its slope in N from -1, and the loss without noise from 0."""
    return _instances(rng, scale, rewards_seen=2)


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the same against the law of one noisy reward a pair."""
    return _instances(rng, scale, rewards_seen=1)


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw the ratio to the law against N, claim and control, and the slopes with their intervals."""
    left, right = fig.subplots(1, 2)
    for table, colour, marker, label in (
        (cases, "blue", "o", r"$\varepsilon N/(2\sigma^2 d)$"),
        (control_cases, "vermillion", "x", r"control: $\varepsilon N/(\sigma^2 d)$"),
    ):
        part = table[table["role"] == "ratio"]
        style = {"linestyle": "none", "marker": marker, "markersize": 3, "color": OKABE_ITO[colour]}
        left.plot(part["n_pairs"], part["ratio"], label=label, **style)
    left.axhline(1, color="black", linewidth=0.8)
    left.set(xscale="log", xlabel="pairs $N$", ylabel="measured loss / law", ylim=(0, 2.6))
    left.legend(loc="lower right")
    part = cases[cases["role"] == "slope"]
    names = [f"{d}, {base}" for d, base in zip(part["d_eff"], part["base"], strict=True)]
    right.errorbar(
        range(len(part)), part["ratio"], yerr=part["bound"], linestyle="none", marker="o", markersize=3, capsize=2,
        color=OKABE_ITO["blue"], linewidth=1,
    )  # fmt: skip
    right.axhline(-1, color="black", linewidth=0.8)
    right.set(ylabel=r"log-log slope of $\varepsilon$ in $N$", ylim=(-1.15, -0.85))
    right.set_xticks(range(len(part)), names, rotation=40, ha="right")


CLAIM = Claim(
    id="S1",
    title="noise of N pairs, log-linear",
    statement="One REBEL update of a log-linear class that holds the reward, from N pairs whose two rewards carry "
    "noise of variance sigma^2 each: the mean population loss is 2 sigma^2 d_eff/N up to O(1/N^2), d_eff the rank of "
    "the design (judged from N = 10^4; slope -1 in N); without noise it is 0. Intervals miss with 1e-6 each.",
    latex=r"E\,\varepsilon = \frac{2\sigma^2 d_{\rm eff}}{N} + O(N^{-2})",
    source="ordinary least squares on pairs of arXiv:2404.16767, Algorithm 1; the theory notes",
    test=Inequality(),
    check=check,
    control=control,
    control_statement="the law of one noisy reward a pair, without the factor 2",
    figure=draw,
    panels=(1, 2),
)
