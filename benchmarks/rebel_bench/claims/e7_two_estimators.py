"""E7: from the same pairs, a sampled Gauss-Newton step and plug-in NPG part like one over the root of their number."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_theory as rt
from rebel_bench.claim import Claim, Rate, Scale, TwoStage
from rebel_bench.style import line
from rebel_theory.feedback import Feedback
from rebel_theory.pairs import FactorisedPairs, PairCounts
from rebel_theory.policies import as_base

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZES = (10**3, 10**4, 10**5, 10**6)
SHAPES = ((3, 4), (5, 3), (4, 7))  # cells that two features do not fit: otherwise both steps are exact
N_SEEDS = 100  # of one root mean square
LARGEST_CONDITION = 10.0  # of the scores: at a thousand pairs the samples' own must be near it


def _drawer(rng: Generator, base: str) -> Callable[[int], pd.DataFrame]:
    """Return a function of n that measures n further instances."""
    numbers = count()
    return lambda n: pd.concat([_instance(rng, next(numbers), base) for _ in range(n)], ignore_index=True)


def _instance(rng: Generator, i: int, base: str) -> pd.DataFrame:
    """Return the root mean square distance of the two steps in theta, over the seeds of an instance, at every N."""
    rows = []
    s, a = SHAPES[i % len(SHAPES)]
    reward, rho = rng.random((s, a)), np.full(s, 1 / s)
    policy = _random_class(rng, rho, a)
    bandit = rt.ContextualBandit(reward, context_dist=rho)
    for n in SIZES:
        streams = rng.spawn(N_SEEDS)
        pairs = rt.Counted(n).bind(bandit, streams).pairs(policy, as_base(base))
        assert isinstance(pairs, PairCounts)
        answers = pairs.counts.sum(axis=-1)  # those of the policy, (N_SEEDS, S, A)
        if base == "on-policy":
            answers = answers + pairs.counts.sum(axis=-2)  # the second ones too
        feedback = Feedback.from_sums(answers, answers * reward)
        single = policy.natural_step(feedback, np.asarray(1.0), rt.PseudoInverse())
        paired = policy.pair_natural_step(pairs, np.asarray(1.0), rt.PseudoInverse())
        distance = np.sqrt(((single.theta - paired.theta) ** 2).sum(axis=-1).mean())
        rows.append({"instance": f"{s}x{a}, {i}", "n_pairs": n, "distance": float(distance)})
    return pd.DataFrame(rows)


def _random_class(rng: Generator, rho: np.ndarray, a: int) -> rt.LogLinearPolicy:
    while True:
        policy = rt.LogLinearPolicy(rng.standard_normal((rho.size, a, 2)), 0.5 * rng.standard_normal(2))
        log_pi = policy.log_probs
        pairs = FactorisedPairs(rho, log_pi, log_pi, np.zeros(log_pi.shape), rho > 0)
        if np.linalg.cond(pairs.rows(policy.jacobian())[0]) <= LARGEST_CONDITION:
            return policy


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the distances on on-policy pairs, of as many instances as the rule wants."""
    return RATE.collect(_drawer(rng, "on-policy"), at_least=scale.cases(quick=0, paper=150, full=1_500))


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the distances where the second answers are uniform."""
    return _drawer(rng, "uniform")(scale.cases(quick=RULE.n_first, paper=150, full=1_500))


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw the distance against the number of pairs: every instance, and the medians with the fitted slopes."""
    ax = fig.add_subplot()
    for i, (name, table) in enumerate((("on-policy", cases), ("control: uniform second answers", control_cases))):
        fit = RATE.fit(table)
        style = line(f"{name}:\nslope {fit.slope:.3f} [{fit.low:.3f}, {fit.high:.3f}]", (0, 3)[i]) | {"markevery": None}
        for _, part in table.groupby("instance"):
            ax.plot(part["n_pairs"], part["distance"], color=style["color"], linewidth=0.4, alpha=0.3, rasterized=True)
        median = table.groupby("n_pairs")["distance"].median()
        ax.plot(median.index, median, **style)
    ax.set(xscale="log", yscale="log", xlabel="pairs $N$", ylabel=r"root mean square distance in $\theta$")
    ax.set_ylim(bottom=ax.get_ylim()[0] / 20)
    ax.legend(loc="lower left", handlelength=3)


RULE = TwoStage(n_first=24, half_width=0.02, false_alarm=1e-4, cap=60)
RATE = Rate(expected=-0.5, margin=0.05, x="n_pairs", y="distance", by="instance", rule=RULE)

CLAIM = Claim(
    id="E7",
    title="two estimators of one step",
    statement="From the same N on-policy pairs, the Gauss-Newton step of REBEL and NPG with the plug-in Fisher matrix "
    "part by cross terms of order N^(-1/2): the mean slope of random instances is -1/2 within 0.05.",
    latex=r"\hat\theta_{\mathrm{GN}} - \hat\theta_{\mathrm{NPG}} = O_P(N^{-1/2})",
    source="the theory notes; tests/core/test_npg.py has one instance",
    test=RATE,
    false_alarm=RULE.false_alarm,
    check=check,
    control=control,
    control_statement="the second answers of the pairs are uniform, and NPG takes the first",
    figure=draw,
)
