"""S3: how many reward queries a gap of alpha takes, against Theorem 1's alpha^-4."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_theory as rt
from rebel_bench.claim import Claim, Estimates, Scale
from rebel_bench.style import OKABE_ITO, line
from rebel_theory.algorithms import State
from rebel_theory.arrays import FloatArray
from rebel_theory.oracles import BoundOracle, seed_streams
from rebel_theory.pairs import PairCounts
from rebel_theory.theory.intervals import t_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHAPE = (4, 3)  # contexts, actions; C = 3 for uniform second answers
D, N_CANDIDATES = 3, 32
NOISE = 1.0  # standard deviation of a reward
RANGE = 5.0  # rewards differ by RANGE alpha, at most 1, so that B = 1
ALPHAS = (0.2, 0.1, 0.05, 0.025, 0.0125, 0.00625)
SHARED = 3  # alphas of the theorem's tuning, which costs alpha^-2 updates; the best starts at the second
N_SEEDS = 8  # whose mean gap has to reach alpha
SIZES, STEPS = (1 / 1024, 1 / 256, 1 / 64), (0.3, 1.0, 3.0, 10.0)  # tuned: N over the theorem's, eta times the range
LONGEST = 30  # updates of a run that tunes
TEST = Estimates(false_alarm=4e-6)
FALSE_ALARM = 1e-5  # with what chance may do to the queries, see `chance`
ROOM = 0.2  # of the theorem's exponent, which is 4 in the limit
CONFIDENCE = 0.95  # of the finding's intervals
CLASSES, TUNINGS = ("log-linear", "finite"), ("theorem", "best")
DOTS: dict[str, Any] = {"linestyle": "none", "marker": ".", "markersize": 2, "alpha": 0.4}
CROSSES: dict[str, Any] = {"linestyle": "none", "marker": "x", "markersize": 4}


@dataclass(frozen=True, eq=False)
class FiniteRebel(rt.Rebel):
    """REBEL over the policies pi_t exp(eta f)/Z, f one of ``candidates`` (M, S, A): the least empirical loss."""

    candidates: FloatArray | None = None

    def step(self, state: State, oracle: BoundOracle) -> State:
        """Return the member with the least loss on fresh pairs."""
        assert self.candidates is not None
        pairs = oracle.pairs(state.policy, self.base_distribution)
        assert isinstance(pairs, PairCounts)
        f = self.candidates
        difference = (f[..., :, None] - f[..., None, :]).reshape(len(f), -1)  # (M, S A A)
        counts, sums = (part.reshape(len(part), -1) for part in (pairs.counts, pairs.sums))  # (n_seeds, S A A)
        loss = counts @ (difference**2).T - 2 * sums @ difference.T
        return State(state.policy.moved(f[loss.argmin(axis=-1)], self.eta))


@dataclass(frozen=True, eq=False)
class Instance:
    """A reward of range 1, and the class that REBEL regresses over: features (S, A, d) or candidates (M, S, A)."""

    reward: FloatArray
    features: FloatArray | None
    candidates: FloatArray | None

    @property
    def dimension(self) -> float:
        """D, for which the population loss of N pairs is at most 2 sigma^2 D/N: d, or 8 (1 + ln M)."""
        return float(D) if self.candidates is None else 8 * (1 + np.log(N_CANDIDATES))

    def queries(self, alpha: float, eta: float, n_pairs: int, budget: float, seed: int) -> float:
        """Return the queries until the gap is at most ``alpha`` on average, or the budget if that comes first.

        Two rewards a pair, and the oracle's own count of them; NaN, which no bound allows, if that is another.
        """
        scale = RANGE * alpha
        bandit = rt.ContextualBandit(scale * self.reward, noise=rt.GaussianNoise(NOISE))
        algorithm: rt.Rebel = rt.Rebel(eta, "uniform")
        start: rt.Policy = rt.TabularPolicy(np.zeros((N_SEEDS, *SHAPE)))
        if self.candidates is not None:
            algorithm = FiniteRebel(eta, "uniform", scale * self.candidates)
        if self.features is not None:
            start = rt.LogLinearPolicy(self.features, np.zeros((N_SEEDS, D)))
        oracle = rt.Counted(n_pairs).bind(bandit, seed_streams(seed, N_SEEDS))
        state = algorithm.init(start)
        lost = bandit.context_dist[:, None] * (bandit.reward.max(axis=-1, keepdims=True) - bandit.reward)
        spent = 0
        while (state.policy.probs * lost).sum() > N_SEEDS * alpha and spent < budget:
            state = algorithm.step(state, oracle)
            spent += 2 * n_pairs
        return float(spent) if (oracle.queries == spent).all() else np.nan


def _instance(rng: Generator, finite: bool, realisable: bool) -> Instance:
    """Return a class, and a reward that it holds: the uniform policy loses at least a third.

    Or one that it does not hold: the policy that is greedy for the best fit loses at least a quarter, more than alpha.
    """
    least = 1 / 3 if realisable else 1 / 4
    while True:
        phi = rng.standard_normal((*SHAPE, D))
        tables = _unit(rng.standard_normal((N_CANDIDATES, *SHAPE)))
        reward = _unit(phi @ rng.standard_normal(D) if not finite else tables[0])
        probs = np.full(SHAPE, 1 / SHAPE[1])
        if not realisable:
            reward = _unit(rng.standard_normal(SHAPE))
            fit = (
                _fit(phi, reward) if not finite else min(tables, key=lambda f: float((_centred(f - reward) ** 2).sum()))
            )
            probs = np.eye(SHAPE[1])[fit.argmax(axis=-1)]
        if (reward.max(axis=-1) - (probs * reward).sum(axis=-1)).mean() >= least:
            return Instance(reward, None if finite else phi, tables if finite else None)


def _centred(values: FloatArray) -> FloatArray:
    """Return ``values`` (S, A, ...) less their mean over the actions, which no pair shows."""
    return np.asarray(values - values.mean(axis=1, keepdims=True))


def _fit(phi: FloatArray, reward: FloatArray) -> FloatArray:
    """Return the log-linear fit (S, A) of uniform pairs."""
    design, target = _centred(phi).reshape(-1, D), _centred(reward).ravel()
    return np.asarray(phi @ np.linalg.lstsq(design, target)[0])


def _unit(reward: FloatArray) -> FloatArray:
    """Return rewards (..., S, A) of range 1."""
    return np.asarray(reward / np.ptp(reward, axis=(-2, -1))[..., None, None])


def _theorem(instance: Instance, alpha: float) -> tuple[float, int, int]:
    """Return eta, N and T that make each of Theorem 1's three terms alpha/3."""
    n_actions = SHAPE[1]
    eta = 2 * alpha / 3
    n_pairs = int(np.ceil(18 * n_actions * NOISE**2 * instance.dimension / alpha**2))
    return eta, n_pairs, int(np.ceil(3 * np.log(n_actions) / (eta * alpha)))


def _row(instance: Instance, alpha: float, tuning: str, rng: Generator) -> dict[str, float | str]:
    """Return the queries of a tuning, at most a quarter above the theorem's bound, as what the test reads.

    The theorem is about its own tuning, which must stay below the bound; the best of a grid has no such row.
    """
    eta, n_pairs, n_updates = _theorem(instance, alpha)
    bound = 2.0 * n_pairs * n_updates
    budget, stopped = 1.25 * bound, 1.25 * bound
    if tuning == "best":
        eta, n_pairs = _best(instance, alpha, rng)
        budget = 2.0 * n_pairs * 10 * LONGEST
    found = instance.queries(alpha, eta, n_pairs, budget, int(rng.integers(2**31)))
    found = found if found < budget else stopped
    own = tuning == "theorem"
    return {
        "role": tuning, "alpha": alpha, "step_size": eta, "n_pairs": n_pairs, "value": found, "bound": bound,
        "estimate": found / bound, "standard_error": 0.0, "dof": 1.0, "at_least": -np.inf,
        "at_most": 1.0 if own else np.inf, "resolution": 0.0,
        "chance": chance(instance.candidates is not None, N_SEEDS * n_updates) if own else 0.0,
    }  # fmt: skip


def chance(finite: bool, n_fits: int) -> float:
    """Return at most how probable it is that the theorem's tuning does not get there within the bound.

    If it does not, the misfit sqrt(C eps) of the ``n_fits`` regressions (updates of all seeds) is above its third of
    alpha on average; this is Chernoff's bound on that. With N of the theorem the misfit over its third is, given the
    past, at most W/w in law. Log-linear: W^2 chi-squared with D degrees of freedom, w^2 = D (S1's law, of large
    samples). M functions: W^2 = 8/7 (ln(M/2) + an exponential variable), w^2 = 1 + ln M, as a function of population
    loss x has the least empirical loss with probability at most exp(-7 N x/(128 sigma^2))/2 if C X^2/(16 sigma^2) <=
    1/4 for every difference X.
    """
    return float(np.exp(-n_fits * _exponent(finite)))


@cache
def _exponent(finite: bool) -> float:
    """Return max over s of -ln E exp(s (W - w))."""
    from scipy.integrate import quad
    from scipy.optimize import minimize_scalar

    if finite:
        w, base = np.sqrt(1 + np.log(N_CANDIDATES)), np.log(N_CANDIDATES / 2)

        def density(x: float, s: float) -> float:
            return float(np.exp(s * (np.sqrt(8 / 7 * (base + x)) - w) - x))
    else:
        w = np.sqrt(D)
        unit = quad(lambda x: x ** (D - 1) * np.exp(-(x**2) / 2), 0, 40)[0]

        def density(x: float, s: float) -> float:
            return float(x ** (D - 1) * np.exp(s * (x - w) - x**2 / 2) / unit)

    found = minimize_scalar(lambda s: np.log(quad(density, 0, 40, args=(s,))[0]), bounds=(0, 5), method="bounded")
    return -float(found.fun)


def _best(instance: Instance, alpha: float, rng: Generator) -> tuple[float, int]:
    """Return the best eta and N of a grid, by seeds of their own."""
    least, best = np.inf, (STEPS[0] / (RANGE * alpha), 1)
    for size in SIZES:
        n_pairs = int(np.ceil(size * _theorem(instance, alpha)[1]))
        for step in STEPS:
            budget, eta = min(least, 2.0 * n_pairs * LONGEST), step / (RANGE * alpha)
            found = instance.queries(alpha, eta, n_pairs, budget, int(rng.integers(2**31)))
            if found < budget:
                least, best = found, (eta, n_pairs)
    return best


def slopes(cases: pd.DataFrame, kind: str, tuning: str) -> FloatArray:
    """Return the exponent of 1/alpha in the queries, one an instance (n,)."""
    part = cases[(cases["class"] == kind) & (cases["role"] == tuning)]
    wide = part.pivot_table(index="instance", columns="alpha", values="value")
    x = -np.log(wide.columns.to_numpy())
    result: FloatArray = np.log(wide.to_numpy()) @ (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    return result


def _instances(rng: Generator, n: int, alphas: dict[str, tuple[float, ...]], realisable: bool) -> pd.DataFrame:
    rows = []
    for kind in CLASSES:
        for i in range(n):
            instance = _instance(rng, kind == "finite", realisable)
            for tuning, some in alphas.items():
                rows += [{"class": kind, "instance": i} | _row(instance, alpha, tuning, rng) for alpha in some]
    return pd.DataFrame(rows)


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return queries against the bound; and exponents, the best's below 4, the theorem's at most 4 + ROOM."""
    n, shared = scale.cases(quick=12, paper=60, full=200), SHARED + (scale is not Scale.QUICK)
    cases = _instances(rng, n, {"theorem": ALPHAS[:shared], "best": ALPHAS[1:]}, realisable=True)
    ends = []
    for kind in CLASSES:
        for tuning, resolution in zip(TUNINGS, (ROOM, 0.0), strict=True):
            found = slopes(cases, kind, tuning)
            ends.append({
                "class": kind, "role": f"exponent, {tuning}", "estimate": float(found.mean()),
                "standard_error": float(found.std(ddof=1) / np.sqrt(len(found))), "dof": len(found) - 1.0,
                "at_least": -np.inf, "at_most": 4.0, "resolution": resolution, "chance": 0.0,
            })  # fmt: skip
    return pd.concat([cases, pd.DataFrame(ends)], ignore_index=True)


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the theorem's queries where the class does not hold the reward."""
    return _instances(rng, 3, {"theorem": ALPHAS[:2]}, realisable=False)


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw the queries of every instance and their means, the bound, and the control's."""
    for ax, kind in zip(fig.subplots(1, 2, sharey=True), CLASSES, strict=True):
        part, broken = (t[t["class"] == kind] for t in (cases, control_cases))
        for i, tuning in enumerate(TUNINGS):
            some, found = part[part["role"] == tuning], slopes(cases, kind, tuning)
            mean = some.groupby("alpha")["value"].mean()
            style = line(f"{tuning} tuning: exponent {found.mean():.2f}", i) | {"markevery": None}
            ax.plot(mean.index, mean, **style)
            ax.plot(some["alpha"], some["value"], color=style["color"], **DOTS)
        bound = part[part["role"] == "theorem"].groupby("alpha")["bound"].mean()
        ax.plot(bound.index, bound, color=OKABE_ITO["black"], linewidth=0.8, label=r"bound, $\propto\alpha^{-4}$")
        ax.plot(broken["alpha"], broken["value"], color=OKABE_ITO["vermillion"], label="control", **CROSSES)
        ax.set(xscale="log", yscale="log", xlabel=r"gap $\alpha$ (reward)", title=kind, ylim=(1, 1e17))
        ax.set_xticks(ALPHAS, [f"{alpha:g}" for alpha in ALPHAS], fontsize=6)
        ax.minorticks_off()
        ax.invert_xaxis()
        ax.legend(loc="upper left", handlelength=2.5)
    fig.axes[0].set_ylabel("reward queries")


def finding(cases: pd.DataFrame, control_cases: pd.DataFrame) -> str:
    """Return the exponents with their intervals, and how far the tunings are apart."""
    found = {(k, t): t_interval(slopes(cases, k, t), CONFIDENCE) for k in CLASSES for t in TUNINGS}
    text = {t: " and ".join(f"{i.mean:.2f} ± {i.half_width:.2f} ({k})" for k, i in
                            ((k, found[k, t]) for k in CLASSES)) for t in TUNINGS}  # fmt: skip
    part = cases[cases["role"] == "theorem"]
    least, most = (part["bound"] / part["value"]).min(), (part["bound"] / part["value"]).max()
    alpha = part["alpha"].min()
    mean = cases[cases["alpha"] == alpha].groupby("role")["value"].mean()
    return (
        f"Exponent of 1/alpha in the queries, {cases['instance'].nunique()} instances a class, 95% t intervals: "
        f"{text['theorem']} as the theorem is tuned, {text['best']} at the best N and eta of a grid. The bound is "
        f"{least:.1f} to {most:.1f} times what its tuning spends; at alpha = {alpha:g} the best tuning spends "
        f"{mean['theorem'] / mean['best']:.2g} times less."
    )


CLAIM = Claim(
    id="S3",
    title="queries to a gap of alpha",
    statement="Bandits whose rewards differ by 5 alpha at most 1, noise sigma, uniform y'. Theorem 1's three terms are "
    "alpha/3 each at eta = 2 alpha/3, N = 18 A sigma^2 D/alpha^2, T = 9 ln A/(2 alpha^2), D = d (log-linear) or "
    "8 (1 + ln M) (M functions): 162 A sigma^2 D ln A/alpha^4 queries suffice for a mean gap of alpha; the "
    "exponent is at most 4, and below it for the best N and eta of a grid.",
    latex=r"n(\alpha) \le 162\,A\,\sigma^2 D \ln A\,/\,\alpha^4",
    source="arXiv:2404.16767, Theorem 1 (constants: the theory notes)",
    test=TEST,
    check=check,
    control=control,
    control_statement="the class does not hold the reward: the gap keeps a floor (stopped a quarter past the bound)",
    figure=draw,
    panels=(1, 2),
    false_alarm=FALSE_ALARM,  # TEST's, and the sum of the rows' chances
    finding=finding,
)
