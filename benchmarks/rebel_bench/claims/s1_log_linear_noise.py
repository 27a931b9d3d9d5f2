"""S1: in a log-linear class N pairs with noise sigma^2 a reward leave a loss of 2 sigma^2 d_eff/N."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_theory as rt
from rebel_bench.claim import Claim, Estimates, Scale, TwoStage
from rebel_bench.instances import simplex
from rebel_bench.style import OKABE_ITO
from rebel_theory.arrays import FloatArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHAPES = ((1, 2, 1), (1, 5, 3), (3, 4, 4), (6, 3, 5))  # (S, A, d_eff)
SIZES = (10**4, 10**5, 10**6, 10**7)  # large enough that d_eff/N is far below the intervals
EXACT = 1e-20  # of a loss in squared reward units of order 1
N_INTERVALS = 2 * len(SHAPES) * (len(SIZES) + 2)  # at every scale
# squared errors are skewed, most where d_eff = 1: docs/statistics.md has the simulation behind the allowance
TEST = Estimates(false_alarm=1e-3, allowance=100)
RESOLUTION = {"ratio": 0.5, "slope": 0.15}  # the control's ratio is 2, and noise in rank alone has slope 0
HALF_WIDTHS = (0.3,) * (len(SIZES) + 1) + (0.08,)
RULE = TwoStage(n_first=400, half_width=HALF_WIDTHS, false_alarm=TEST.level(N_INTERVALS), cap=2_000)


def _losses(rng: Generator, oracle: rt.Oracle, bandit: rt.ContextualBandit, n_seeds: int, **how: Any) -> FloatArray:
    """Return the population loss (n_seeds,) after one update; a stream of its own for every call."""
    seed = int(rng.integers(2**31))
    trace = rt.run(
        bandit, rt.Rebel(0.5, how["base"]), n_iterations=1, oracle=oracle, policy=how["policy"], n_seeds=n_seeds,
        seed=seed,
    )  # fmt: skip
    return trace.regression_error[:, 0]


def _instances(rng: Generator, scale: Scale, rewards_seen: int, rule: TwoStage) -> pd.DataFrame:
    """Return the cases of the law with ``rewards_seen`` noisy rewards a pair; the truth is 2."""
    rows = []
    log_n = np.log(SIZES) - np.log(SIZES).mean()
    for s, a, d in SHAPES:
        for base in ("on-policy", "uniform"):
            phi = rng.standard_normal((s, a, d + 1))
            phi[..., d] = rng.standard_normal((s, 1))  # equal for all actions: a parameter that no pair sees
            how: dict[str, Any] = {"base": base, "policy": rt.LogLinearPolicy(phi, rng.standard_normal(d + 1))}
            mean = phi @ rng.standard_normal(d + 1)
            rho, sigma = simplex(rng, s), float(rng.uniform(0.2, 2))
            noisy = rt.ContextualBandit(mean, context_dist=rho, noise=rt.GaussianNoise(sigma))
            law = rewards_seen * sigma**2 * d

            def draw(
                n: int, noisy: rt.ContextualBandit = noisy, law: float = law, how: dict[str, Any] = how
            ) -> FloatArray:
                """Return n seeds' ratios to the law at every size, the last again pair by pair, and slopes."""
                found = [size * _losses(rng, rt.Counted(size), noisy, n, **how) / law for size in SIZES]
                # one at a time, at one size: the same law from the other oracle
                found.append(SIZES[0] * _losses(rng, rt.Sampled(SIZES[0]), noisy, n, **how) / law)
                slopes = np.log(np.stack(found[:-1], axis=-1)) @ log_n / (log_n**2).sum() - 1  # of the loss
                return np.stack([*found, slopes], axis=-1)

            sample = rule.sample(draw, at_least=scale.cases(quick=0, paper=2_000, full=10_000))
            shared = {"base": base, "n_states": s, "n_actions": a, "d_eff": d, "sigma": sigma}
            table = pd.DataFrame(sample.columns() | shared)
            table["role"] = ["ratio"] * (len(SIZES) + 1) + ["slope"]
            table["n_pairs"] = [*SIZES, SIZES[0], np.nan]
            table["at_least"] = table["at_most"] = np.where(table["role"] == "ratio", 1.0, -1.0)
            table["resolution"] = table["role"].map(RESOLUTION)
            rows.append(table)
            exact = _losses(rng, rt.Counted(SIZES[0]), rt.ContextualBandit(mean, context_dist=rho), 20, **how).max()
            rows.append(
                pd.DataFrame(
                    {"role": "no noise", **shared, "n_pairs": SIZES[0], "estimate": exact, "standard_error": 0.0,
                     "dof": 1, "at_least": 0.0, "at_most": EXACT, "n_seeds": 20, "n_wanted": 20}, index=[0],
                )
            )  # fmt: skip
    return pd.concat(rows, ignore_index=True)


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return how far the loss is from the law, its slope in N from -1, and the loss without noise from 0."""
    return _instances(rng, scale, rewards_seen=2, rule=RULE)


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the same against the law of one noisy reward a pair."""
    return _instances(rng, scale, rewards_seen=1, rule=RULE.first_only())


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw the ratio to the law against N, claim and control, and the slopes with their intervals."""
    left, right = fig.subplots(1, 2)
    for table, colour, marker, label in (
        (cases, "blue", "o", r"$\varepsilon N/(2\sigma^2 d)$"),
        (control_cases, "vermillion", "x", r"control: $\varepsilon N/(\sigma^2 d)$"),
    ):
        part = table[table["role"] == "ratio"]
        style = {"linestyle": "none", "marker": marker, "markersize": 3, "color": OKABE_ITO[colour]}
        apart = 10 ** np.linspace(-0.2, 0.2, part["sigma"].nunique())  # instances beside each other
        x = part["n_pairs"] * apart[pd.factorize(part["sigma"])[0]]
        half = TEST.half_widths(table)[table["role"] == "ratio"]
        left.errorbar(x, part["estimate"], yerr=half, label=label, linewidth=0.5, **style)
    left.axhline(1, color="black", linewidth=0.8)
    left.set(xscale="log", xlabel="pairs $N$", ylabel="measured loss / law", ylim=(0, None))
    left.set_ylim(top=1.4 * left.get_ylim()[1])
    left.legend(loc="upper right")
    part = cases[cases["role"] == "slope"]
    names = [f"{d}, {base}" for d, base in zip(part["d_eff"], part["base"], strict=True)]
    half = TEST.half_widths(cases)[cases["role"] == "slope"]
    right.errorbar(
        range(len(part)), part["estimate"], yerr=half, linestyle="none", marker="o", markersize=3, capsize=2,
        color=OKABE_ITO["blue"], linewidth=1,
    )  # fmt: skip
    right.axhline(-1, color="black", linewidth=0.8)
    right.set(ylabel=r"log-log slope of $\varepsilon$ in $N$", ylim=(-1.15, -0.85))
    right.set_xticks(range(len(part)), names, rotation=40, ha="right")
    right.set_xlabel(r"$d_\mathrm{eff}$, base")


CLAIM = Claim(
    id="S1",
    title="noise of N pairs, log-linear",
    statement="One REBEL update of a log-linear class that holds the reward, from N pairs whose two rewards carry "
    "noise of variance sigma^2 each: the mean population loss is 2 sigma^2 d_eff/N up to O(1/N^2), d_eff the rank of "
    "the design (judged from N = 10^4 within 1/2; slope -1 in N within 0.15); without noise it is 0.",
    latex=r"E\,\varepsilon = \frac{2\sigma^2 d_{\mathrm{eff}}}{N} + O(N^{-2})",
    source="ordinary least squares on pairs of arXiv:2404.16767, Algorithm 1; the theory notes",
    test=TEST,
    false_alarm=TEST.false_alarm,
    check=check,
    control=control,
    control_statement="the law of one noisy reward a pair, without the factor 2",
    figure=draw,
    panels=(1, 2),
)
