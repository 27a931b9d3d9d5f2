"""S5: estimators and algorithms at equal reward queries: what a group of k answers costs, and who ranks where."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_envs as envs
import rebel_theory as rt
from rebel_bench.claim import Claim, Estimates, Scale
from rebel_bench.style import OKABE_ITO, line
from rebel_theory.advantages import Baseline, Critic, LeaveOneOut
from rebel_theory.arrays import FloatArray
from rebel_theory.oracles import seed_streams

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHAPES = ((1, 4), (5, 3), (10, 5))  # contexts, actions of the bandits in which the variance is measured
GROUPS = (1, 2, 4, 8)  # answers a context; 1 is REINFORCE with the exact baseline, 2 the gradient of REBEL's pairs (E5)
N_QUERIES = 16  # of an estimate
NOISE = 0.5  # standard deviation of a reward
N_PAIRS = 20  # that an update of REBEL spends, and others as single answers or groups
STEPS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
N_TUNING = 4  # seeds that choose among them
METHODS: dict[str, Callable[[FloatArray], rt.Algorithm]] = {
    "REBEL": rt.Rebel,
    "NPG": rt.NaturalPolicyGradient,
    "RLOO(2)": lambda eta: rt.Rloo(eta, group_size=2),
    "RLOO(8)": lambda eta: rt.Rloo(eta, group_size=8),
    "REINFORCE": rt.Reinforce,
}
BUDGETS = {"noisy bandit": 6_000, "Garnet": 20_000}
TEST = Estimates(false_alarm=1e-4, allowance=10)  # squares are skewed, and so are gaps
RESOLUTION = 0.4  # of a variance over its law, and of a gap over the first policy's; the control's ratios are 1/2, 2, 4
CONFIDENCE = 0.95  # of the finding's intervals


class Moments(NamedTuple):
    """What the variance of a group's estimate is made of: between contexts, of one answer, of a pair."""

    contexts: float
    single: float
    pair: float

    def variance(self, k: int) -> float:
        """Return V(k) = k z_0 + 2 (2 (k - 2) z_1 + z_2)/(k - 1), a query; z_0 + 4 z_1 for k = 1, exact baseline."""
        if k == 1:
            return self.contexts + 4 * self.single
        return k * self.contexts + 2 * (2 * (k - 2) * self.single + self.pair) / (k - 1)


def moments(bandit: rt.ContextualBandit, pi: FloatArray) -> tuple[Moments, FloatArray]:
    """Return the moments of the kernel (g - g')(r - r')/2 under ``pi`` (S, A), and its mean E[g A] (S, A)."""
    rho, q = bandit.context_dist, bandit.reward
    score = np.eye(pi.shape[1]) - pi[:, None, :]  # (S, a, A)
    lead = q - (pi * q).sum(axis=-1, keepdims=True)
    mean = pi * lead
    norm = (mean**2).sum(axis=-1)  # (S,)
    one = (pi * (score**2).sum(axis=-1) * (lead**2 + NOISE**2)).sum(axis=-1)
    both = ((score[:, :, None] - score[:, None, :]) ** 2).sum(axis=-1) / 4  # (S, a, a')
    apart = (q[:, :, None] - q[:, None, :]) ** 2 + 2 * NOISE**2
    two = (pi[:, :, None] * pi[:, None, :] * both * apart).sum(axis=(-2, -1))
    found = Moments(float(rho @ norm - rho**2 @ norm), float(rho @ (one - norm) / 4), float(rho @ (two - norm)))
    return found, rho[:, None] * mean


def _variances(rng: Generator, scale: Scale, equal: bool) -> pd.DataFrame:
    """Return the measured variance of an estimate over V(k)/Q, which is 1."""
    rows = []
    n_seeds = scale.cases(quick=1_500, paper=10_000, full=40_000)
    for s, a in SHAPES:
        reward = rng.random((s, a))
        bandit = rt.ContextualBandit(reward, context_dist=rng.dirichlet(np.ones(s)), noise=rt.GaussianNoise(NOISE))
        policy = rt.TabularPolicy(rng.standard_normal((s, a)))
        parts, mean = moments(bandit, policy.probs)
        for k in GROUPS:
            n_answers = N_QUERIES if equal else N_QUERIES * k // 2
            oracle = rt.Sampled(max(1, n_answers // 2)).bind(bandit, seed_streams(int(rng.integers(2**31)), n_seeds))
            values = (policy.probs * reward).sum(axis=-1)
            baseline: Baseline = Critic(values) if k == 1 else LeaveOneOut(k)
            seen = oracle.advantages(rt.TabularPolicy(np.tile(policy.logits, (n_seeds, 1, 1))), baseline)
            error = policy.gradient(seen.cells) - mean
            ratio = (error**2).sum(axis=(-2, -1)) * N_QUERIES / parts.variance(k)
            rows.append(
                {"role": "variance", "n_contexts": s, "n_actions": a, "k": k, "law": parts.variance(k),
                 "queries": float(oracle.queries.mean()), "measured": float(ratio.mean() * parts.variance(k)),
                 **_estimate(ratio, at_least=1.0)}
            )  # fmt: skip
    return pd.DataFrame(rows)


def _estimate(ratio: FloatArray, at_least: float) -> dict[str, float]:
    """Return what the test reads of a mean of ratios (n,) that is at most 1."""
    n = len(ratio)
    return {
        "estimate": float(ratio.mean()), "standard_error": float(ratio.std(ddof=1) / np.sqrt(n)), "dof": n - 1.0,
        "at_least": at_least, "at_most": 1.0, "resolution": RESOLUTION,
    }  # fmt: skip


def _problem(name: str, seed: int) -> tuple[rt.Problem, float]:
    """Return a problem, and the reward queries of one answer in it."""
    if name == "Garnet":
        return envs.make("garnet", n_states=10, n_actions=3, branching=3, discount=0.8, seed=seed), 5.0
    return envs.random_bandit(10, 5, seed=seed, noise=rt.GaussianNoise(NOISE)), 1.0


def _gaps(
    problem: rt.Problem, make: Callable[[FloatArray], rt.Algorithm], eta: FloatArray, budget: int, cost: float,
    n_seeds: int, seed: int,
) -> FloatArray:  # fmt: skip
    """Return the gap (n_seeds, ...) of the last policy within the budget."""
    longer = 1 if cost == 1 else 2  # roll-outs may be short: past the budget for sure
    n_updates = int(np.ceil(longer * budget / (2 * N_PAIRS * cost)))
    trace = rt.run(
        problem, make(eta), n_iterations=n_updates, oracle=rt.Sampled(N_PAIRS), n_seeds=n_seeds, seed=seed
    )  # fmt: skip
    last = (trace.queries <= budget).sum(axis=-1) - 1
    found: FloatArray = np.take_along_axis(trace.gap, last[..., None], axis=-1)[..., 0]
    return found


def _ranking(rng: Generator, name: str, n_instances: int, n_seeds: int) -> pd.DataFrame:
    """Return each method's gap at its best step size, also over the first policy's, which it is not to exceed."""
    rows = []
    for i in range(n_instances):
        problem, cost = _problem(name, int(rng.integers(2**31)))
        first = float(rt.run(problem, rt.Rebel(1.0), n_iterations=0).gap[0, 0])
        tuning, report = (int(rng.integers(2**31)) for _ in range(2))  # seeds that all methods share
        for method, make in METHODS.items():
            tried = _gaps(problem, make, np.array(STEPS), BUDGETS[name], cost, N_TUNING, tuning)
            eta = STEPS[int(tried.mean(axis=0).argmin())]
            gap = _gaps(problem, make, np.array(eta), BUDGETS[name], cost, n_seeds, report)
            rows.append(
                {"role": "gap", "problem": name, "instance": i, "method": method, "n_seeds": n_seeds, "step_size": eta,
                 "gap": gap.mean(), "variance": gap.var(ddof=1),
                 "first": first, **_estimate(gap / first, at_least=-np.inf)}
            )  # fmt: skip
    return pd.DataFrame(rows)


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return variances against V(k)/Q and tuned gaps against the first policy's, all at equal reward queries."""
    n, n_seeds = scale.cases(quick=(2, 1), paper=(10, 6), full=(40, 20)), scale.cases(quick=16, paper=32, full=64)
    rankings = [_ranking(rng, name, m, n_seeds) for name, m in zip(BUDGETS, n, strict=True)]
    return pd.concat([_variances(rng, scale, equal=True), *rankings], ignore_index=True)


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the variances at equal numbers of contexts."""
    return _variances(rng, scale, equal=False)


def scores(cases: pd.DataFrame, name: str) -> dict[str, tuple[float, float]]:
    """Return each method's mean gap over instances and half of its interval over seeds, the lowest first."""
    found = {}
    for method, part in cases[(cases["role"] == "gap") & (cases["problem"] == name)].groupby("method", sort=False):
        n = part["n_seeds"]
        error = float(np.sqrt((part["variance"] / n).sum())) / len(part)
        found[str(method)] = float(part["gap"].mean()), _quantile(int((n - 1).sum())) * error
    return dict(sorted(found.items(), key=lambda item: item[1][0]))


def _quantile(degrees: int) -> float:
    """Return Student's quantile of the finding's intervals."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 0.5 + CONFIDENCE / 2))


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw the variance of a query against the size of a group, and the gaps with their intervals."""
    left, right = fig.subplots(1, 2)
    for i, (n, part) in enumerate(cases[cases["role"] == "variance"].groupby("n_contexts")):
        style = line(f"contexts: {n:g}", i) | {"markevery": None}
        left.plot(part["k"], part["law"], **style | {"marker": "", "label": None})
        left.plot(part["k"], part["measured"], **style | {"linestyle": "none"})
    broken = control_cases[control_cases["role"] == "variance"]
    left.plot(broken["k"], broken["measured"], linestyle="none", marker="x", markersize=4, color=OKABE_ITO["black"],
              label="control: equal contexts")  # fmt: skip
    left.set(xscale="log", yscale="log", xlabel="answers a context $k$", ylabel="variance of a query (lines: $V(k)$)")
    left.set_ylim(0.03, 1.2)
    left.set_xticks(GROUPS, [str(k) for k in GROUPS])
    left.minorticks_off()
    left.legend(loc="upper right", handlelength=1.5, ncols=2)
    for i, name in enumerate(BUDGETS):
        found = scores(cases, name)
        first = cases[(cases["role"] == "gap") & (cases["problem"] == name)]["first"].mean()
        mean, half = (np.array([found[method][j] for method in METHODS]) / first for j in (0, 1))
        style = line(f"{name}, {BUDGETS[name]:,} queries", 3 * i)
        right.errorbar(
            mean, np.arange(len(METHODS)) + 0.25 * i, xerr=half, linestyle="none", marker=style["marker"],
            color=style["color"], markersize=3.5, capsize=2, linewidth=1, label=style["label"],
        )  # fmt: skip
    right.set_yticks(np.arange(len(METHODS)) + 0.12, list(METHODS))
    right.set(xlabel="gap / gap of the first policy", ylim=(-0.5, len(METHODS) + 0.9), xlim=(0, None))
    right.legend(loc="upper right", handlelength=1.5)


def finding(cases: pd.DataFrame, control_cases: pd.DataFrame) -> str:
    """Return who ranks where, and what pairs cost in variance."""
    text = []
    for name, budget in BUDGETS.items():
        found = scores(cases, name)
        best = next(iter(found))
        level = [m for m, (mean, half) in found.items() if m != best and mean - half <= found[best][0]]
        part = cases[(cases["role"] == "gap") & (cases["problem"] == name)]
        each = ", ".join(f"{method} {mean:.3g} ± {half:.2g}" for method, (mean, half) in found.items())
        text.append(
            f"{name}, {budget:,} queries "
            f"(instances: {part['instance'].nunique()}, seeds: {part['n_seeds'].iloc[0]:g}): "
            f"{each}; lowest {best}, intervals of {', '.join(level) or 'no other'} reach it, REBEL at "
            f"{found['REBEL'][0] / found[best][0]:.2f} times it."
        )
    law = cases[cases["role"] == "variance"].pivot_table(
        index=["n_contexts", "n_actions"], columns="k", values="measured"
    )
    alone, group = law[2] / law[1], law[2] / law[[4, 8]].min(axis=1)
    return (
        f"{' '.join(text)} In variance a query, pairs (k = 2) cost {alone.min():.2f} to {alone.max():.2f} times single "
        f"answers with the exact baseline, and {group.min():.2f} to {group.max():.2f} times the better of k = 4 and 8."
    )


CLAIM = Claim(
    id="S5",
    title="at equal reward queries",
    statement="Q reward queries spent on groups of k answers give a leave-one-out gradient of variance V(k)/Q, "
    "V(k) = k z_0 + 2 (2 (k - 2) z_1 + z_2)/(k - 1), z_0 between contexts, z_1 of one answer, z_2 of a pair; exact "
    "baseline: V(1) = z_0 + 4 z_1. At equal queries and tuned steps REBEL, NPG, RLOO and REINFORCE do not end above "
    "the first policy's gap on noisy bandits and Garnet MDPs; the finding ranks them.",
    latex=r"V(k) = k\,\zeta_0 + \frac{2}{k-1}\big(2(k-2)\,\zeta_1 + \zeta_2\big)",
    source="Hoeffding 1948 (U-statistics); RLOO: arXiv:2402.14740; the theory notes",
    test=TEST,
    check=check,
    control=control,
    control_statement="equal numbers of contexts: larger groups are given more queries",
    figure=draw,
    panels=(1, 2),
    false_alarm=TEST.false_alarm,
    finding=finding,
)
