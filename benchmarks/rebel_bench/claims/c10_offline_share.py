"""C10: second answers from offline data, from the policy, or from both: where the floor of the gap lies."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_theory as rt
from rebel_bench.claim import Claim, Inequality, Scale
from rebel_bench.instances import simplex
from rebel_theory.arrays import FloatArray
from rebel_theory.theory.bounds import misfit_bound
from rebel_theory.theory.divergences import concentrability
from rebel_theory.theory.intervals import t_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_UPDATES = 200
SHARES = (0.0, 0.1, 0.5, 0.9, 1.0)  # lam, of the random bandits
RANDOM_SHIFTS = (1.0, 3.0, 10.0, 100.0, 1_000.0)
SHAPE, N_FEATURES = (3, 5), 2
CONFIDENCE = 0.95  # of the finding's intervals
MIDDLE = 0.8  # between the floors of the two phases: 1 against 0.6 in the trap, 1 against 0 on the hill

Arms: TypeAlias = tuple[FloatArray, FloatArray, FloatArray]


def trap(c: FloatArray, loss: FloatArray | float) -> Arms:
    """Return rewards (n, 3), features (3,), offline data (n, 3) of arms a*, b, c; features tie a* to c, worth -loss.

    The data show a* once in C and c otherwise: a bad pair, though the policy's own half and half is a good one.
    """
    one, zero = np.ones_like(c), np.zeros_like(c)
    rewards, offline = (one, zero, -loss * one), (1 / c, zero, 1 - 1 / c)
    return np.stack(rewards, axis=-1), np.array([1.0, 0.0, 1.0]), np.stack(offline, axis=-1)


def hill(c: FloatArray) -> Arms:
    """Return the same where c, worth -1, lies between b (feature 0) and a* (2); the data hold 1/C of a*, else b."""
    one, zero = np.ones_like(c), np.zeros_like(c)
    rewards, offline = (one, zero, -one), (1 / c, 1 - 1 / c, zero)
    return np.stack(rewards, axis=-1), np.array([2.0, 0.0, 1.0]), np.stack(offline, axis=-1)


# How it is made, the odds exp(-theta) that the first policy gives a feature of 1 against b, eta, and the range of C.
FAMILIES: dict[str, tuple[Callable[[FloatArray], Arms], float, float, float, float]] = {
    "shift bandit": (lambda c: trap(c, 1.2 / c), 1e-12, 5.0, 10.0, 1e4),  # C8's
    "trap": (lambda c: trap(c, 0.2), 0.01, 0.2, 2.0, 1e2),
    "hill": (hill, 0.01, 1.0, 1.5, 1e2),
}


def harmonic(offline: FloatArray, on_policy: FloatArray, share: float) -> FloatArray:
    """Return 1/(lam/C_off + (1 - lam)/C_on), at least C of the mixture: a least sum is at least the sum of leasts."""
    inverse = share / offline + (1 - share) / on_policy
    result: FloatArray = np.divide(1, inverse, where=inverse > 0, out=np.full(inverse.shape, np.inf))
    return result


def curves(
    bandit: rt.ContextualBandit, trace: rt.Trace, offline: FloatArray, share: float, counted: bool = True
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return average gap, bound and the bound's misfit term (n, T) of a run with its policies.

    ``counted`` says whether the offline data's share is counted in C.
    """
    assert trace.probs is not None
    probs = trace.probs[0, :, :-1]  # (n, T, X, A)
    best = (bandit.reward == bandit.reward.max(axis=-1, keepdims=True)).astype(float)[:, None]
    c_off, c_on = concentrability(best, offline[:, None]), concentrability(np.broadcast_to(best, probs.shape), probs)
    shift = harmonic(c_off, c_on, share) if counted else harmonic(c_off, c_on, 0.5) / 2
    misfit = misfit_bound(shift, trace.regression_error[0])
    misfit = np.cumsum(misfit, axis=-1) / np.arange(1, misfit.shape[-1] + 1)
    total = trace.bound["progress"][0] + trace.bound["curvature"][0] + misfit
    return trace.average_gap[0, :, :-1], total, misfit


def _measure(
    family: str, bandit: rt.ContextualBandit, start: rt.LogLinearPolicy, eta: float, offline: FloatArray,
    c: FloatArray, share: float, counted: bool,
) -> pd.DataFrame:  # fmt: skip
    """Return, per bandit (n), its floor, and the number of updates at which average gap / bound is largest."""
    base = rt.Mixture([(offline, share), ("on-policy", 1 - share)])
    trace = rt.run(bandit, rt.Rebel(eta, base=base), n_iterations=N_UPDATES, policy=start, keep_policies=True)
    average, total, misfit = curves(bandit, trace, offline, share, counted)
    place = (average / total).argmax(axis=-1)
    pick = np.arange(len(place)), place
    return pd.DataFrame(
        {"family": family, "instance": np.arange(len(place)) % max(1, len(place) // len(np.unique(c))),
         "concentrability": c, "share": share, "n_updates": place + 1, "value": average[pick], "bound": total[pick],
         "misfit": misfit[pick], "floor": trace.gap[0, :, N_UPDATES // 2 :].mean(axis=-1)}
    )  # fmt: skip


def _instances(rng: Generator, scale: Scale, counted: bool) -> pd.DataFrame:
    tables = []
    side = scale.cases(quick=7, paper=25, full=49)
    for family, (make, odds, eta, low, high) in FAMILIES.items():
        c = np.geomspace(low, high, side)
        reward, features, offline = make(c)
        bandit = rt.ContextualBandit(reward[:, None])
        start = rt.LogLinearPolicy(features[None, :, None], [np.log(odds)])
        for share in 1 / (1 + np.geomspace(1e3, 1e-2, side)):
            tables.append(_measure(family, bandit, start, eta, offline[:, None], c, float(share), counted))
    n = scale.cases(quick=24, paper=200, full=1_000)
    reward = rng.random((n, *SHAPE))
    best = (reward == reward.max(axis=-1, keepdims=True)).astype(float)
    rest = (1 - best) * simplex(rng, n, *SHAPE)
    rest /= rest.sum(axis=-1, keepdims=True)
    c = np.array(RANDOM_SHIFTS)[:, None, None, None]
    offline = (best / c + (1 - 1 / c) * rest).reshape(-1, *SHAPE)
    bandit = rt.ContextualBandit(np.tile(reward, (len(c), 1, 1)))
    start = rt.LogLinearPolicy(rng.standard_normal((*SHAPE, N_FEATURES)), np.zeros(N_FEATURES))
    for share in SHARES:
        tables.append(_measure("random", bandit, start, 1.0, offline, np.repeat(c.ravel(), n), share, counted))
    return pd.concat(tables, ignore_index=True)


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the floors, and average gap and bound where the bound is tightest."""
    return _instances(rng, scale, counted=True)


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the same with a C to which both parts of the mixture contribute as if each were the whole."""
    return _instances(rng, scale, counted=False)


def drift(family: str, c: float, share: float) -> float:
    """Return the least E (phi - phi')(r - r') over pairs on the way from the first policy to a*, or to a* and c.

    The regression of one parameter has this sign: where it is negative, the policy turns back.
    """
    make, odds, *_ = FAMILIES[family]
    (reward,), features, (offline,) = make(np.array([c]))
    weight = np.exp(np.linspace(np.log(odds), 5, 200)[:, None] * features)
    pi = weight / weight.sum(axis=-1, keepdims=True)
    mu = share * offline + (1 - share) * pi
    together = (pi + mu) @ (features * reward)
    return float((together - (pi @ features) * (mu @ reward) - (mu @ features) * (pi @ reward)).min())


def _floors(cases: pd.DataFrame, family: str) -> pd.DataFrame:
    """Return the floors, a row a share and a column a C."""
    return cases[cases["family"] == family].pivot_table(index="share", columns="concentrability", values="floor")


def _edges(x: FloatArray) -> FloatArray:
    """Return the n + 1 edges of cells around ``x``, halfway between them, and as wide at the ends."""
    middle = (x[1:] + x[:-1]) / 2
    edges: FloatArray = np.concatenate([[2 * x[0] - middle[0]], middle, [2 * x[-1] - middle[-1]]])
    return edges


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw the floor over C and the share, and the line along which the drift starts to turn the policy back."""
    from matplotlib.colors import Normalize
    from scipy.special import expit, logit

    axes = fig.subplots(1, 2, sharey=True)
    for ax, family in zip(axes, ("trap", "hill"), strict=True):
        table = _floors(cases, family)
        c, share = table.columns.to_numpy(), table.index.to_numpy()
        x, y = np.exp(_edges(np.log(c))), expit(_edges(logit(share)))  # halfway on the axes as they are drawn
        mesh = ax.pcolormesh(x, y, table, cmap="cividis", norm=Normalize(0, 1.1), rasterized=True)
        fine, odds = np.geomspace(c[0], c[-1], 50), np.geomspace(1e-3, 1e2, 50)
        sign = [[drift(family, x, y) for x in fine] for y in odds / (1 + odds)]
        for colour, width in (("black", 2.4), ("white", 1.0)):  # seen on dark and on light
            ax.contour(fine, odds / (1 + odds), sign, levels=[0.0], colors=colour, linewidths=width)
        ax.set(xscale="log", yscale="logit", xlabel="$C$ of the offline data", title=family)
        ax.set_yticks([0.01, 0.1, 0.5, 0.9], ["0.01", "0.1", "0.5", "0.9"])
        ax.set_yticks([], minor=True)
        ax.set(xlim=(c[0], c[-1]), ylim=(share[0], share[-1]))
    axes[0].set_ylabel("share of offline data")
    fig.colorbar(mesh, ax=axes, label="floor of the gap (reward)")


def finding(cases: pd.DataFrame, control_cases: pd.DataFrame) -> str:
    """Return where offline data raise the floor, where they lower it, and by how much."""
    random = cases[cases["family"] == "random"]
    floor = {key: part["floor"].to_numpy() for key, part in random.groupby(["concentrability", "share"])}
    alone = t_interval(floor[RANDOM_SHIFTS[0], 0.0], CONFIDENCE)
    added, half = (
        {c: t_interval(floor[c, share] - floor[c, 0.0], CONFIDENCE) for c in RANDOM_SHIFTS} for share in (1.0, 0.5)
    )
    each = "; ".join(
        f"C = {c:g}: {added[c].mean:+.3f} ± {added[c].half_width:.3f} ({half[c].mean:+.3f} ± {half[c].half_width:.3f})"
        for c in RANDOM_SHIFTS
    )
    worse, better = (
        sum(bool(x) for x in side) for side in zip(*((i.low > 0, i.high < 0) for i in added.values()), strict=True)
    )
    stuck, hard = _floors(cases, "trap"), _floors(cases, "hill")
    least = stuck.index[stuck.iloc[:, -1] > MIDDLE].min()
    far = hard.columns[hard.iloc[-1] < MIDDLE].max()
    return (
        f"{len(floor[RANDOM_SHIFTS[0], 0.0])} random misspecified bandits (one draw of features): the on-policy floor "
        f"is {alone.mean:.3f} ± {alone.half_width:.3f}. Offline data alone, or half and half in parentheses, change it "
        f"by, at {each}: alone worse at {worse} of {len(added)} C and better at {better} (95% t intervals of paired "
        f"differences). In the trap a share of {least:.2g} at C = {stuck.columns[-1]:g} keeps REBEL from leaving b; on "
        f"the hill it stays there on-policy, and data free it up to C = {far:.3g}."
    )


CLAIM = Claim(
    id="C10",
    title="the share of offline data",
    statement="With second answers from mu = lam offline + (1 - lam) pi_t, C_mu is at most the harmonic mean "
    "1/(lam/C_off + (1 - lam)/C_on), and the average gap of a bandit at most KL/(eta T) + eta B^2/2 + the mean of "
    "sqrt(that mean times eps_t), for any class and share.",
    latex=r"C_{\lambda\mu+(1-\lambda)\pi_t \to \pi^*} \le"
    r" \Big(\frac{\lambda}{C_{\mu\to\pi^*}} + \frac{1-\lambda}{C_{\pi_t\to\pi^*}}\Big)^{-1}",
    source="arXiv:2404.16767, Theorem 1 (the mean: the theory notes)",
    test=Inequality(),
    check=check,
    control=control,
    control_statement="the shares are left out: 1/(1/C_off + 1/C_on)",
    figure=draw,
    panels=(1, 2),
    finding=finding,
)
