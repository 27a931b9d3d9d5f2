"""S2: unbiased noise, fresh in every iteration, averages out: the loss grows 50 times, the average gap hardly."""

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

SHAPES = ((1, 4, 2), (3, 3, 3), (5, 4, 4))  # (S, A, parameters)
MANY, FEW = 10_000, 100  # pairs an iteration
STEP_SIZE, N_ITERATIONS = 0.1, 200
BASE = "uniform"  # on-policy the design loses its rank as the policy concentrates, and with it the fit its mean
AT_LEAST, AT_MOST = 50.0, 0.1  # times the loss; relative change of the average gap
FALSE_ALARM = 1e-6  # of one interval


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


def _instances(rng: Generator, scale: Scale, fresh: bool) -> pd.DataFrame:
    rows = []
    measure = _fresh if fresh else _kept
    n_seeds = scale.cases(quick=30, paper=100, full=400)
    n_seeds *= 1 if fresh else 10  # cheap there, and its gaps vary more
    for s, a, d in SHAPES:
        for i in range(scale.cases(quick=3, paper=10, full=30)):
            bandit, policy = _instance(rng, s, a, d)
            (eps, gap), (eps_0, gap_0) = (
                measure(rng, bandit, policy, n, n_seeds, N_ITERATIONS) for n in (FEW, MANY)
            )  # fmt: skip
            change, half = gap.mean() / gap_0.mean() - 1, half_width(gap - gap_0, FALSE_ALARM) / gap_0.mean()
            growth = eps.mean() / eps_0.mean()
            shared = {"n_states": s, "n_actions": a, "instance": i, "growth": growth, "change": change, "error": half}
            rows.append({"role": "loss", **shared, "value": AT_LEAST, "bound": growth})
            rows.append({"role": "gap", **shared, "value": abs(change), "bound": AT_MOST})
    return pd.DataFrame(rows)


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the growth of the loss and the change of the average gap from 10 000 to 100 pairs an iteration."""
    return _instances(rng, scale, fresh=True)


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the same with the first sample's fit in every iteration."""
    return _instances(rng, scale, fresh=False)


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw the relative change of the average gap against the growth of the loss, with intervals."""
    ax = fig.add_subplot()
    for table, marker, colour, label in (
        (cases, "o", "blue", "fresh noise in every iteration"),
        (control_cases, "x", "vermillion", "control: the first fit is kept"),
    ):
        part = table[table["role"] == "gap"]
        ax.errorbar(
            part["growth"], part["change"], yerr=part["error"], linestyle="none", marker=marker, markersize=3.5,
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
    test=Inequality(),
    check=check,
    control=control,
    control_statement="the first update's fit is kept: the noise of one sample in every iteration",
    figure=draw,
)
