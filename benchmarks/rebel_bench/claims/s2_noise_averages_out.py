"""S2: unbiased noise, fresh in every iteration, averages out: the loss grows 50 times, the average gap hardly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
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

SHAPES = ((1, 4, 2), (3, 3, 3), (5, 4, 4))  # (S, A, parameters)
MANY, FEW = 10_000, 100  # pairs an iteration
STEP_SIZE, N_ITERATIONS = 0.1, 200
BASE = "uniform"  # on-policy the design loses its rank as the policy concentrates, and with it the fit its mean
AT_LEAST, AT_MOST = 50.0, 0.1  # times the loss; relative change of the average gap
TEST = Estimates(false_alarm=1e-4)
# of the three contrasts in their units; one interval's level is that of the full scale, with 270 of them
RULE = TwoStage(n_first=40, half_width=(0.25, 0.06, 0.06), false_alarm=TEST.level(270), cap=300)
CONTROL_RULE = replace(RULE, n_first=700, cap=700)  # cheap there, and its gaps vary more

Measure = Callable[..., tuple[FloatArray, FloatArray]]


def _instance(rng: Generator, s: int, a: int, d: int) -> tuple[rt.ContextualBandit, rt.LogLinearPolicy]:
    """Return a bandit whose rewards the class holds, and the uniform policy."""
    phi = rng.standard_normal((s, a, d))
    reward = phi @ rng.standard_normal(d)
    bandit = rt.ContextualBandit(reward, context_dist=simplex(rng, s), noise=rt.GaussianNoise(1.0))
    return bandit, rt.LogLinearPolicy.zeros(phi)


def _fresh(
    rng: Generator, bandit: rt.ContextualBandit, policy: rt.LogLinearPolicy, n_pairs: int, n_seeds: int, n: int
) -> tuple[FloatArray, FloatArray]:
    """Return the mean loss and the average gap (n_seeds,) of ``n`` updates, each from its own pairs."""
    how: dict[str, Any] = {"policy": policy, "n_seeds": n_seeds, "seed": int(rng.integers(2**31))}
    oracle = rt.Sampled(n_pairs) if n_pairs < MANY else rt.Counted(n_pairs)  # one law; the faster of the two
    trace = rt.run(bandit, rt.Rebel(STEP_SIZE, BASE), n_iterations=n, oracle=oracle, **how)
    return trace.regression_error.mean(axis=-1), trace.gap.mean(axis=-1)


def _kept(
    rng: Generator, bandit: rt.ContextualBandit, policy: rt.LogLinearPolicy, n_pairs: int, n_seeds: int, n: int
) -> tuple[FloatArray, FloatArray]:
    """Return the same when the first update's fit is kept: the noise of one sample, in every iteration."""
    how: dict[str, Any] = {"policy": policy, "n_seeds": n_seeds, "seed": int(rng.integers(2**31))}
    first = rt.run(bandit, rt.Rebel(STEP_SIZE, BASE), n_iterations=1, oracle=rt.Counted(n_pairs), **how).final_policy
    assert isinstance(first, rt.LogLinearPolicy)
    fit = (policy.features @ first.theta[:, None, :, None])[..., 0] / STEP_SIZE  # (n_seeds, S, A)
    error = fit - bandit.reward
    loss, gap = np.zeros(n_seeds), np.zeros(n_seeds)
    for t in range(n + 1):
        pi = rt.TabularPolicy(STEP_SIZE * t * fit).probs
        gap += (bandit.reward.max(axis=-1) - (pi * bandit.reward).sum(axis=-1)) @ bandit.context_dist / (n + 1)
        if t < n:
            square = ((pi + 1 / pi.shape[-1]) * error**2).sum(axis=-1) - 2 * (pi * error).sum(axis=-1) * error.mean(
                axis=-1
            )
            loss += square @ bandit.context_dist / n  # E (error(y) - error(y'))^2, y ~ pi and y' uniform
    return loss, gap


def _contrasts(rng: Generator, measure: Measure, rule: TwoStage, at_least: int, s: int, a: int, d: int) -> pd.DataFrame:
    """Return the rows of one instance: means that the statement puts at 0 or below.

    The statement is about ratios of means, E eps >= 50 E eps_0 and |E gap - E gap_0| <= 0.1 E gap_0: each is a sign of
    a linear contrast, whose interval needs no division by an estimate. Units: the law of the loss of few pairs (S1),
    and the average gap of exact updates.
    """
    bandit, policy = _instance(rng, s, a, d)
    exact = rt.run(bandit, rt.Rebel(STEP_SIZE, BASE), n_iterations=N_ITERATIONS, policy=policy)
    units = {"loss": 2 * d / FEW, "gap": float(exact.gap.mean())}
    means: list[FloatArray] = []

    def draw(n: int) -> FloatArray:
        (eps, gap), (eps_0, gap_0) = (measure(rng, bandit, policy, size, n, N_ITERATIONS) for size in (FEW, MANY))
        means.append(np.stack([eps, eps_0, gap, gap_0], axis=-1))
        loss = (AT_LEAST * eps_0 - eps) / units["loss"]
        longer, shorter = gap - (1 + AT_MOST) * gap_0, (1 - AT_MOST) * gap_0 - gap
        return np.stack([loss, longer / units["gap"], shorter / units["gap"]], axis=-1)

    table = pd.DataFrame(rule.sample(draw, at_least=at_least).columns())
    table["role"] = ["loss", "gap", "gap"]
    table["at_least"], table["at_most"] = -np.inf, 0.0
    eps, eps_0, gap, gap_0 = np.concatenate(means).mean(axis=0)
    return table.assign(n_states=s, n_actions=a, growth=eps / eps_0, change=gap / gap_0 - 1)


def _instances(rng: Generator, scale: Scale, measure: Measure, rule: TwoStage) -> pd.DataFrame:
    """Return the rows of all instances."""
    at_least, n = scale.cases(quick=(0, 3), paper=(100, 10), full=(400, 30))
    tables = [
        _contrasts(rng, measure, rule, at_least, *shape).assign(instance=f"{shape}, {i}")
        for shape in SHAPES
        for i in range(n)
    ]
    return pd.concat(tables, ignore_index=True)


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the contrasts of the losses and of the average gaps of 10 000 to 100 pairs an iteration."""
    return _instances(rng, scale, _fresh, RULE)


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the same with the first sample's fit in every iteration."""
    return _instances(rng, scale, _kept, CONTROL_RULE)


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw the relative change of the average gap against the growth of the loss, with intervals."""
    ax = fig.add_subplot()
    for table, marker, colour, label in (
        (cases, "o", "blue", "fresh noise in every iteration"),
        (control_cases, "x", "vermillion", "control: the first fit is kept"),
    ):
        part = table[table["role"] == "gap"].drop_duplicates("instance")
        half = TEST.half_widths(table)[part.index]
        ax.errorbar(
            part["growth"], part["change"], yerr=half, linestyle="none", marker=marker, markersize=3.5,
            color=OKABE_ITO[colour], linewidth=0.8, label=label,
        )  # fmt: skip
    for level in (-AT_MOST, AT_MOST):
        ax.axhline(level, color="black", linewidth=0.8, linestyle=(0, (4, 2)))
    ax.axvline(AT_LEAST, color="black", linewidth=0.8, linestyle=(0, (4, 2)))
    ax.set(xscale="log", xlabel="growth of the mean loss, 10 000 to 100 pairs", ylabel="change of the average gap")
    ax.set_xticks(ticks := [50, 70, 100, 140], list(map(str, ticks)))
    ax.minorticks_off()
    ax.legend(loc="upper left")


CLAIM = Claim(
    id="S2",
    title="fresh noise averages out",
    statement="Log-linear REBEL on bandits that the class holds, reward noise of variance 1, y' uniform, eta = 0.1, "
    "200 updates from uniform: from 10 000 to 100 pairs an update the mean loss grows at least 50 times, the mean of "
    "the average gap changes by at most 10%. With full rank the fit is unbiased, so that the misfit has mean 0.",
    latex=r"E\big[E_{\pi^*}(A_t - g_t) \mid \pi_t\big] = 0",
    source="the regret identity, arXiv:2404.16767, Theorem 1; the theory notes",
    test=TEST,
    false_alarm=TEST.false_alarm,
    check=check,
    control=control,
    control_statement="the first update's fit is kept: the noise of one sample in every iteration",
    figure=draw,
)
