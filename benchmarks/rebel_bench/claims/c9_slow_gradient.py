"""C9: from a start where the best arm is rare, softmax policy gradient waits 1/pi_0(a*), NPG its logarithm."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_theory as rt
from rebel_bench.claim import Claim, Inequality, Scale
from rebel_bench.instances import simplex
from rebel_bench.style import OKABE_ITO, line
from rebel_theory.algorithms import Algorithm
from rebel_theory.arrays import FloatArray
from rebel_theory.oracles import seed_streams
from rebel_theory.theory.bounds import gradient_half_time, natural_half_time

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ARMS = (2, 5, 30)
PATIENCE = 20  # times the lower bound; then the time counts as infinite


def _best(bandit: rt.ContextualBandit, algorithm: Algorithm, start: FloatArray) -> Iterator[FloatArray]:
    """Yield pi_t(a*), shape (n,), t = 0, 1, ..., from starts (n, 1, A) with arm 0 best."""
    oracle = rt.Exact().bind(bandit, seed_streams(0, 1))
    state = algorithm.init(rt.TabularPolicy.from_probs(start))
    while True:
        yield state.policy.probs[:, 0, 0]
        state = algorithm.step(state, oracle)


def half_times(bandit: rt.ContextualBandit, algorithm: Algorithm, start: FloatArray, limit: float) -> FloatArray:
    """Return the number of updates (n,) after which the gap is halved."""
    target = (1 + start[:, 0, 0]) / 2  # the gap is Delta (1 - pi(a*))
    times = np.full(len(start), np.inf)
    for t, best in enumerate(islice(_best(bandit, algorithm, start), int(limit) + 1)):
        times = np.where((best >= target) & np.isinf(times), t, times)
        if np.isfinite(times).all():
            break
    return times


def _instances(rng: Generator, scale: Scale, swapped: bool) -> pd.DataFrame:
    rows = []
    n = scale.cases(quick=30, paper=100, full=1_000)
    rarest = scale.cases(quick=-3.0, paper=-4.0, full=-5.0)
    for a in ARMS:
        p = 10 ** rng.uniform(rarest, -1, size=n)
        lead, eta = rng.uniform(0.5, 1, size=n), rng.uniform(0.4, 1.0, size=n)
        start = np.concatenate([p[:, None], (1 - p[:, None]) * simplex(rng, n, a - 1)], axis=-1)[:, None, :]
        reward = np.zeros((n, 1, a))
        reward[:, 0, 0] = lead
        reward += rng.uniform(0, 1 - lead)[:, None, None]  # rewards stay in [0, 1]
        bandit = rt.ContextualBandit(reward)
        slow, fast = gradient_half_time(p, eta, lead), natural_half_time(p, eta, lead)
        limit = PATIENCE * slow.max()
        times = [half_times(bandit, kind(eta), start, limit) for kind in (rt.PolicyGradient, rt.NaturalPolicyGradient)]
        gradient, natural = reversed(times) if swapped else times
        shared = {"n_actions": a, "best_at_start": p, "lead": lead, "step_size": eta}
        rows.append(pd.DataFrame({"role": "PG", **shared, "updates": gradient, "value": slow, "bound": gradient}))
        rows.append(pd.DataFrame({"role": "NPG", **shared, "updates": natural, "value": natural, "bound": fast}))
    return pd.concat(rows, ignore_index=True)


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the half-times: of PG against their lower bound, of NPG against their upper bound."""
    return _instances(rng, scale, swapped=False)


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the same with NPG in PG's place and PG in NPG's."""
    return _instances(rng, scale, swapped=True)


def finding(cases: pd.DataFrame, control_cases: pd.DataFrame) -> str:
    """Return how both half-times grow with 1/pi_0(a*): regressions over instances, which are independent."""
    from scipy.special import stdtrit
    from scipy.stats import linregress

    unit = cases["updates"] * cases["step_size"] * cases["lead"]
    rare, pg = -np.log(cases["best_at_start"]), cases["role"] == "PG"
    power, rate = linregress(rare[pg], np.log(unit[pg])), linregress(rare[~pg], unit[~pg])
    half = [-stdtrit(n - 2, 0.025) * fit.stderr for fit, n in ((power, pg.sum()), (rate, (~pg).sum()))]
    return (
        f"Over {int(pg.sum())} instances PG's half-time times eta Delta grows as 1/pi_0(a*) to the power "
        f"{power.slope:.3f} ± {half[0]:.3f}, NPG's by {rate.slope:.2f} ± {half[1]:.2f} for every unit of its logarithm "
        "(95% t intervals, one point an independent instance)."
    )


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw the half-times, in units of 1/(eta Delta), against 1/pi_0(a*), and gaps from four starts."""
    left, right = fig.subplots(1, 2)
    p = np.geomspace(cases["best_at_start"].min(), 0.1, 100)
    bounds = {"PG": gradient_half_time(p, 1, 1), "NPG": natural_half_time(p, 1, 1)}  # NPG's at the longest steps
    for i, (role, part) in enumerate(cases.groupby("role", sort=False)):
        style = line(str(role) if role == "PG" else "NPG ", (3, 0)[i]) | {"linestyle": "none", "markevery": None}
        unit = part["updates"] * part["step_size"] * part["lead"]
        left.plot(1 / part["best_at_start"], unit, **style | {"markersize": 2.0})
        left.plot(1 / p, bounds[str(role)], color="black", linewidth=0.8, linestyle=("-", (0, (3, 2)))[i])
    left.set(
        xscale="log", yscale="log", xlabel=r"$1/\pi_0(a^*)$", ylabel=r"updates to halve the gap $\times\,\eta\Delta$"
    )
    left.legend(loc="upper left", title="lines: the bounds")
    rare = 10.0 ** -np.arange(1, 5)
    start = np.stack([rare, 1 - rare], axis=-1)[:, None, :]
    bandit = rt.ContextualBandit(np.broadcast_to([[1.0, 0.0]], start.shape))
    t = np.unique(np.geomspace(1, 20_000, 200).astype(int))
    for kind, dash in ((rt.PolicyGradient, "-"), (rt.NaturalPolicyGradient, (0, (2, 2)))):
        gaps = 1 - np.array(list(islice(_best(bandit, kind(0.4), start), t[-1] + 1)))[t]
        for i, colour in enumerate(list(OKABE_ITO.values())[:4]):
            label = rf"$\pi_0(a^*) = 10^{{-{i + 1}}}$" if dash == "-" else None
            mark = {"marker": "osD^"[i], "markersize": 3, "markevery": (8 * i, 32)}  # for print without colours
            right.plot(t, gaps[:, i], color=colour, linestyle=dash, linewidth=1.2, label=label, **mark)
    right.set(xscale="log", xlabel="updates", ylabel=r"gap ($\eta = 2/5$, $\Delta = 1$)", ylim=(-0.05, 1.7))
    right.legend(loc="upper left", title="solid: PG; dashed: NPG", ncols=2, columnspacing=1)


CLAIM = Claim(
    id="C9",
    title="the plateau of policy gradient",
    statement="One best arm with lead Delta over equal others, exact updates from a start with pi_0(best) = p: softmax "
    "policy gradient needs at least (1-p)/(2 eta Delta p (1+p)) updates to halve the gap, NPG (= REBEL = mirror "
    "descent) at most 1 + ln(1 + 1/p)/(eta Delta).",
    latex=r"T_{\mathrm{PG}} \ge \frac{1-p}{2\eta\Delta\,p(1+p)}, \qquad "
    r"T_{\mathrm{NPG}} \le 1 + \frac{\ln(1+1/p)}{\eta\Delta}",
    source="the effect: Mei et al. 2020 (ICML); these constants: the theory notes",
    test=Inequality(),
    check=check,
    control=control,
    control_statement="NPG stands in PG's place, and PG in NPG's",
    figure=draw,
    finding=finding,
    panels=(1, 2),
)
