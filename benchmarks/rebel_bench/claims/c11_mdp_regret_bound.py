"""C11: the regret bound of REBEL in a discounted MDP; the shift counts states as well as actions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_theory as rt
from rebel_bench import second_reading
from rebel_bench.claim import Claim, Inequality, Scale
from rebel_bench.figures import ratios
from rebel_bench.instances import simplex
from rebel_bench.style import OKABE_ITO, line
from rebel_theory.arrays import FloatArray
from rebel_theory.theory.bounds import misfit_bound
from rebel_theory.theory.divergences import concentrability

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHAPES = ((1, 2), (3, 4), (8, 2))  # (S, A)
DISCOUNTS = (0.5, 0.9, 0.99)
BASES = ("on-policy", "uniform")
N_FEATURES, N_PAIRS = 2, 20
RARE = 1e-9  # of the trap: first probability of its good action


def trap(visits: FloatArray, discount: float) -> tuple[rt.TabularMDP, rt.LogLinearPolicy]:
    """Return MDPs (n) and first policies that hide the reward in a state of occupancy ``visits`` (n,).

    At the start one may stay, go, or take a bait of reward -1.2 w/(1-w), w = visits. Behind "go" there is a state for
    ever, where action 1 pays 1. One feature ties action 1 there to the bait: what the regression sees of both is
    w - 1.2 w < 0, times 1/A, so it moves away from them. With a uniform base eps = w/A nearly, and C = A gamma/w.
    """
    n = len(visits)
    transition = np.zeros((n, 2, 3, 2))
    transition[:, 0, (0, 2), 0] = transition[:, 0, 1, 1] = transition[:, 1, :, 1] = 1.0
    reward = np.zeros((n, 2, 3))
    reward[:, 0, 2], reward[:, 1, 1] = -1.2 * visits / (1 - visits), 1.0
    features = np.zeros((2, 3, 2))
    features[0, 1, 0] = features[0, 2, 1] = features[1, 1, 1] = 1.0  # go; bait and pay
    go = visits * (1 - discount) / (discount * (1 - visits))
    theta = np.stack([np.log(go / (1 - go)), np.full(n, np.log(RARE))], axis=-1)
    mdp = rt.TabularMDP(transition, reward, discount=discount, initial_dist=[1.0, 0.0])
    return mdp, rt.LogLinearPolicy(features, theta[None])


def _random(rng: Generator, n: int, s: int, a: int, discount: float) -> tuple[rt.TabularMDP, rt.LogLinearPolicy]:
    """Return ``n`` random MDPs, with few likely successors and starts, and random log-linear policies."""
    transition = rng.dirichlet(np.full(s, 0.2), size=(n, s, a))
    mdp = rt.TabularMDP(transition, rng.random((n, s, a)), discount=discount, initial_dist=simplex(rng, n, s))
    features = rng.standard_normal((s, a, N_FEATURES))
    return mdp, rt.LogLinearPolicy(features, rng.standard_normal((1, n, N_FEATURES)))


def _instances(rng: Generator, scale: Scale, states_count: bool) -> pd.DataFrame:
    n = scale.cases(quick=30, paper=200, full=150)  # instances a block
    n_updates = scale.cases(quick=60, paper=200, full=400)
    tables = []
    for discount in DISCOUNTS:
        for base in BASES:
            for s, a in SHAPES:
                mdp, start = _random(rng, n, s, a, discount)
                eta = 10 ** rng.uniform(-2, 1, size=n)
                tables.append(measure("exact", mdp, start, eta, base, n_updates, states_count, rt.Exact(), 0))
                few, seed = n // 5, int(rng.integers(2**31))
                mdp, start = _random(rng, few, s, a, discount)
                oracle = rt.Sampled(N_PAIRS)
                tables.append(measure("sampled", mdp, start, eta[:few], base, 20, states_count, oracle, seed))
        mdp, start = trap(10 ** rng.uniform(-4, -1, size=n), discount)
        eta = 10 ** rng.uniform(1, 2, size=n)
        tables.append(measure("trap", mdp, start, eta, "uniform", n_updates, states_count, rt.Exact(), 0))
    return pd.concat(tables, ignore_index=True)


def measure(
    problem: str, mdp: rt.TabularMDP, start: rt.LogLinearPolicy, eta: FloatArray, base: str, n_updates: int,
    states_count: bool, oracle: rt.Exact | rt.Sampled, seed: int,
) -> pd.DataFrame:  # fmt: skip
    """Return, per instance, the number of updates at which average gap / bound is largest."""
    trace = rt.run(
        mdp, rt.Rebel(eta, base=base), n_iterations=n_updates, policy=start, oracle=oracle, seed=seed,
        keep_policies=not states_count,
    )  # fmt: skip
    bounds = {k: v[0] for k, v in trace.bound.items()}  # (n, T)
    if not states_count:
        bounds["misfit"] = _without_states(mdp, trace, base)
        bounds["total"] = bounds["progress"] + bounds["curvature"] + bounds["misfit"]
    average = trace.average_gap[0, :, :-1]  # of the T iterates before each bound's last update
    place = (average / bounds["total"]).argmax(axis=-1)
    pick = np.arange(len(eta)), place
    return pd.DataFrame(
        {"problem": problem, "base": base, "n_states": mdp.n_states, "n_actions": mdp.n_actions,
         "discount": mdp.discount, "step_size": eta, "n_updates": place + 1, "value": average[pick],
         "bound": bounds["total"][pick], **{k: v[pick] for k, v in bounds.items() if k != "total"}}
    )  # fmt: skip


def _without_states(mdp: rt.TabularMDP, trace: rt.Trace, base: str) -> FloatArray:
    """Return the misfit term (n, T) with max pi*/mu over actions for C_t, the shift of the states left out."""
    assert trace.probs is not None
    best = rt.solve(mdp).policy
    visited = rt.evaluate(mdp, best).occupancy[:, None]
    mu = trace.probs[0, :, :-1] if base == "on-policy" else np.full(trace.probs[0, :, :-1].shape, 1 / mdp.n_actions)
    shift = concentrability(np.broadcast_to(best[:, None], mu.shape), mu, np.broadcast_to(visited, mu.shape[:-1]))
    misfit = misfit_bound(shift, trace.regression_error[0])
    result: FloatArray = np.cumsum(misfit, axis=-1) / np.arange(1, misfit.shape[-1] + 1) / (1 - mdp.discount)
    return result


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return average gap and bound where the bound is tightest, and the second reading of a few runs."""
    bounds = _instances(rng, scale, states_count=True)
    return pd.concat([bounds, second_reading.cases(rng, "mdp")], ignore_index=True)


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the same with C_t over actions only."""
    return _instances(rng, scale, states_count=False)


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw the ratios, and those of the trap against how often its good state is visited."""
    left, right = fig.subplots(1, 2)
    ratios(left, second_reading.theorem(cases), control_cases, label="average gap / bound")
    visits, n_updates = np.geomspace(1e-4, 1e-1, 13), 400
    for i, discount in enumerate((0.9, 0.99)):
        mdp, start = trap(visits, discount)
        eta = np.full(len(visits), 100.0)
        for states_count, name in ((True, "bound"), (False, "control")):
            table = measure("trap", mdp, start, eta, "uniform", n_updates, states_count, rt.Exact(), 0)
            style = line(rf"{name}, $\gamma = {discount:g}$", 2 * i + (0 if states_count else 3))
            right.plot(visits, table["value"] / table["bound"], **style)
    right.axhline(1, color=OKABE_ITO["black"], linewidth=0.8, linestyle=(0, (1, 1)))
    right.set(xscale="log", yscale="log", xlabel="trap: occupancy of the paying state", ylim=(0.3, 1_000))
    right.set_ylabel("average gap / bound")
    right.legend(loc="upper right", ncols=2, handlelength=2.5, columnspacing=1)


CLAIM = Claim(
    id="C11",
    title="Theorem 1 in an MDP",
    statement="In a discounted MDP the average gap over T iterates is at most 1/(1-gamma) times E_d* KL(pi*||pi_1)/"
    "(eta T) + eta B^2/2 + the mean of sqrt(C_t eps_t), C_t = max (d* pi*)/(d_t mu), exact or sampled, any class.",
    latex=r"V^* - \frac1T\sum_{t\le T}V^{\pi_t} \le \frac1{1-\gamma}\Big("
    r"\frac{E_{d^*}\mathrm{KL}(\pi^*\|\pi_1)}{\eta T} + \frac{\eta B^2}{2}"
    r" + \frac1T\sum_t\sqrt{C_t\,\varepsilon_t}\Big)",
    source="the theory notes (C1 by the performance-difference lemma)",
    test=Inequality(),
    check=check,
    control=control,
    control_statement="C_t = max pi*/mu, over actions only, without the shift of the states",
    figure=draw,
    panels=(1, 2),
    blocks=lambda scale: scale.cases(quick=1, paper=1, full=20),
)
