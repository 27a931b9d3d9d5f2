"""P7: Theorem 2 with its constants, misfit included; covering the winner alone is not enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_theory as rt
from rebel_bench import second_reading
from rebel_bench.claim import Claim, Inequality, Scale
from rebel_bench.figures import ratios
from rebel_bench.instances import random_preferences, simplex
from rebel_bench.style import OKABE_ITO, line
from rebel_theory.arrays import FloatArray
from rebel_theory.theory.bounds import misfit_bound
from rebel_theory.theory.divergences import concentrability

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHAPES = ((1, 3), (1, 10), (3, 4))  # (contexts, answers)
BASES = ("on-policy", "uniform")
N_FEATURES, N_PAIRS = 2, 100
RARE = 1e-9  # of the trap: first probability of its other answers
SHIFT_GRID = np.geomspace(10, 1e4, 10)


def trap(concentration: FloatArray) -> tuple[rt.PreferenceGame, rt.LogLinearPolicy, FloatArray]:
    """Return games (n) of three answers, a first policy, and the base (n, 1, 3) that hides what beats it.

    Answer 0 loses to 1 by 1.2/C only, answer 1 always to 2, and 2 to 0: the winner plays 0 and 1 about equally, and so
    does the base, but for 1/(2 C) on answer 2. One feature ties 0 and 2; the first policy plays 1. Seen from there the
    tied pair is worth (1 - 1.2 (1 - 1/C))/(2 C) < 0, so the policy stays. Its duality gap is 2, eps about 1/(2 C).
    """
    c = np.asarray(concentration, dtype=np.float64)
    payoff = np.zeros((len(c), 1, 3, 3))
    for row, column, value in ((0, 1, -1.2 / c), (2, 1, 1.0), (0, 2, 1.0)):
        payoff[:, 0, row, column] = value
        payoff[:, 0, column, row] = -np.asarray(value)
    base = np.stack([(1 - 1 / c) / 2, np.full(len(c), 0.5), 1 / (2 * c)], axis=-1)[:, None, :]
    start = rt.LogLinearPolicy(np.array([[[1.0], [0.0], [1.0]]]), np.full((1, len(c), 1), np.log(RARE)))
    return rt.PreferenceGame((1 + payoff) / 2), start, base


def _instances(rng: Generator, scale: Scale, all_policies: bool) -> pd.DataFrame:
    n = scale.cases(quick=30, paper=200, full=3_000)
    n_updates = scale.cases(quick=60, paper=200, full=400)
    tables = []
    for x, y in SHAPES:
        for base in BASES:
            few = max(1, n // 6)  # sampled games run one by one
            for name, m, t, oracle in (("exact", n, n_updates, rt.Exact()), ("sampled", few, 30, rt.Sampled(N_PAIRS))):
                game = rt.PreferenceGame(random_preferences(rng, m, x, y), context_dist=simplex(rng, m, x))
                features = rng.standard_normal((x, y, N_FEATURES))
                start = rt.LogLinearPolicy(features, rng.standard_normal((1, m, N_FEATURES)))
                eta, seed = 10 ** rng.uniform(-2, 1, size=m), int(rng.integers(2**31))
                tables.append(measure(name, game, start, eta, base, t, all_policies, oracle, seed))
    game, start, mu = trap(10 ** rng.uniform(1, 4, size=n))
    eta = 10 ** rng.uniform(0, 1, size=n)
    tables.append(measure("trap", game, start, eta, mu, n_updates, all_policies, rt.Exact(), 0))
    return pd.concat(tables, ignore_index=True)


def measure(
    name: str, game: rt.PreferenceGame, start: rt.LogLinearPolicy, eta: FloatArray, base: str | FloatArray,
    n_updates: int, all_policies: bool, oracle: rt.Exact | rt.Sampled, seed: int,
) -> pd.DataFrame:  # fmt: skip
    """Return, per game, the number of iterates at which the average's duality gap / bound is largest."""
    algorithm = rt.Rebel(eta, base=base)
    trace = rt.run(
        game, algorithm, n_iterations=n_updates, policy=start, oracle=oracle, seed=seed, keep_policies=True
    )  # fmt: skip
    assert trace.probs is not None
    probs = trace.probs[0, :, :-1]  # (n, T, X, Y)
    bounds = {k: v[0] for k, v in trace.bound.items()}  # (n, T)
    if not all_policies:
        mu = probs if isinstance(base, str) and base == "on-policy" else np.broadcast_to(_base(base, game), probs.shape)
        bounds["misfit"] = _of_the_winner(game, trace, mu)
        bounds["total"] = bounds["progress"] + bounds["curvature"] + bounds["misfit"]
    counts = np.arange(1, n_updates + 1)
    average = np.cumsum(probs, axis=1) / counts[:, None, None]
    gap = np.stack([rt.duality_gap(game, average[:, t]) for t in range(n_updates)], axis=-1)
    place = (gap / bounds["total"]).argmax(axis=-1)
    pick = np.arange(len(eta)), place
    return pd.DataFrame(
        {"problem": name, "base": base if isinstance(base, str) else "trap", "n_contexts": probs.shape[-2],
         "n_actions": game.n_actions, "step_size": eta, "n_updates": place + 1, "value": gap[pick],
         "bound": bounds["total"][pick], **{k: v[pick] for k, v in bounds.items() if k != "total"}}
    )  # fmt: skip


def _base(base: str | FloatArray, game: rt.PreferenceGame) -> FloatArray:
    """Return mu, shape (n or 1, 1, 1 or X, Y)."""
    return np.full((1, 1, 1, game.n_actions), 1 / game.n_actions) if isinstance(base, str) else base[:, None]


def _of_the_winner(game: rt.PreferenceGame, trace: rt.Trace, mu: FloatArray) -> FloatArray:
    """Return the misfit term (n, T) with max p*/mu for C_mu, p* a von Neumann winner: single-policy coverage."""
    winner = np.stack([rt.von_neumann_winner(g).policy.reshape(mu.shape[-2:]) for g in game.instances()])
    shift = concentrability(np.broadcast_to(winner[:, None], mu.shape), mu)
    misfit = misfit_bound(shift, trace.regression_error[0])
    result: FloatArray = 2 * np.cumsum(misfit, axis=-1) / np.arange(1, misfit.shape[-1] + 1)
    return result


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the average's duality gap and bound where the bound is tightest, and the second reading of a few runs."""
    bounds = _instances(rng, scale, all_policies=True)
    return pd.concat([bounds, second_reading.cases(rng, "game")], ignore_index=True)


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the same with the coverage of a von Neumann winner for that of all policies."""
    return _instances(rng, scale, all_policies=False)


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw the ratios, and gap and bounds of the trap against C."""
    left, right = fig.subplots(1, 2)
    ratios(left, second_reading.theorem(cases), control_cases, label="duality gap / bound")
    game, start, mu = trap(SHIFT_GRID)
    eta = np.full(len(SHIFT_GRID), 10.0)
    for i, (name, all_policies) in enumerate((("bound, all policies", True), ("control: winner only", False))):
        table = measure("trap", game, start, eta, mu, 400, all_policies, rt.Exact(), 0)
        right.plot(SHIFT_GRID, table["bound"], **line(name, (0, 3)[i]))
    right.plot(SHIFT_GRID, table["value"], color=OKABE_ITO["black"], linewidth=0.8, label="measured")
    right.set(xscale="log", yscale="log", xlabel="trap: $C$", ylabel="duality gap (payoff $2P-1$)", ylim=(0.003, 10))
    right.legend(loc="lower left", handlelength=2.5)


def finding(cases: pd.DataFrame, control_cases: pd.DataFrame) -> str:
    """Return whether covering a winner is enough, from the largest gap / bound of traps and of random games."""
    ratios = [t.assign(ratio=t["value"] / t["bound"], random=t["base"] != "trap") for t in (cases, control_cases)]
    (trap_all, random_all), (trap_winner, random_winner) = (t.groupby("random")["ratio"].max() for t in ratios)
    broken = ratios[1][ratios[1]["ratio"] > 1].groupby("random").size()
    n = ratios[1].groupby("random").size()
    return (
        f"Single-policy coverage is {'insufficient' if len(broken) else 'not shown to be insufficient'}: with C over a "
        f"winner only, the largest gap / bound is {trap_winner:.3g} in the traps (above 1 in {broken.get(False, 0)} of "
        f"{n[False]}), where the base covers the winner but hides what beats the policy, and {random_winner:.3g} in "
        f"random games (above 1 in {broken.get(True, 0)} of {n[True]}); with C over all policies it is {trap_all:.3g} "
        f"and {random_all:.3g}."
    )


CLAIM = Claim(
    id="P7",
    title="Theorem 2 with its constants",
    statement="In a preference game the average of T iterates of REBEL has a duality gap of at most 2 (ln(1/min pi_1)/"
    "(eta T) + eta B^2/2 + the mean of sqrt(C_mu eps_t)), C_mu over all policies, for any class and base; from the "
    "uniform policy the first term is ln n/(eta T).",
    latex=r"\mathrm{DG}(\bar\pi) \le 2\Big(\frac{\ln(1/\min\pi_1)}{\eta T} + \frac{\eta B^2}{2}"
    r" + \frac1T\sum_t\sqrt{C_\mu\,\varepsilon_t}\Big)",
    source="arXiv:2404.16767, Theorem 2 (constants: the theory notes)",
    test=Inequality(),
    check=check,
    control=control,
    control_statement="C over a von Neumann winner alone (single-policy coverage)",
    figure=draw,
    panels=(1, 2),
    finding=finding,
)
