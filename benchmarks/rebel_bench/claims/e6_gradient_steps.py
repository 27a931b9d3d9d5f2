"""E6: K gradient steps on REBEL's loss lead from RLOO (K = 1) to mirror descent (K to infinity)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_theory as rt
from rebel_bench.claim import Claim, Equality, Scale
from rebel_bench.figures import strip
from rebel_bench.instances import SHAPES, simplex
from rebel_bench.style import line
from rebel_theory.algorithms import Algorithm
from rebel_theory.arrays import FloatArray, log_softmax

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TOLERANCE = 1e-10
LAST = 1e-14  # relative length of the last step: then K counts as infinite
PATIENCE = 100_000
LEAST = 0.3  # of the uniform law in contexts and policies: the rarest cells set how many steps the limit takes


def _descent(
    bandit: rt.ContextualBandit, logits: FloatArray, eta: FloatArray, rate: FloatArray
) -> Iterator[FloatArray]:
    """Yield the logits (n, S, A) after K = 0, 1, ... steps of ``rate`` (n,) on the pair loss, over enumerated pairs."""
    rho, reward = bandit.context_dist, bandit.reward
    first = log_softmax(logits)
    law = np.exp(first)
    weights = rho[..., None, None] * law[..., :, None] * law[..., None, :]  # (n, S, A, A), of the pairs (y, y')
    degree = weights.sum(axis=-1)
    per_cell, move = eta[:, None, None], rate[:, None, None]
    theta = logits
    while True:
        yield theta
        # residual(y, y') = u(y) - u(y'), for log-partitions cancel: its weighted sums are degree u - weights u
        u = (theta - logits) / per_cell - reward
        gradient = 4 / per_cell * (degree * u - (weights @ u[..., None])[..., 0])
        theta = theta - move * gradient


def _largest_rate(bandit: rt.ContextualBandit, logits: FloatArray, eta: FloatArray) -> FloatArray:
    """Return 1 over a bound on the curvature (4/eta^2) d(s) (diag pi - pi pi^T), shape (n,)."""
    cells = bandit.context_dist[..., None] * np.exp(log_softmax(logits))
    found: FloatArray = eta**2 / (4 * cells.max(axis=(-2, -1)))
    return found


def _step(bandit: rt.ContextualBandit, algorithm: Algorithm, policy: rt.TabularPolicy) -> FloatArray:
    found: FloatArray = algorithm.step(algorithm.init(policy), rt.Exact().bind(bandit, [])).policy.probs[0]
    return found


def _instances(rng: Generator, scale: Scale, swapped: bool) -> pd.DataFrame:
    """Return the distances of the two ends from RLOO and from mirror descent and REBEL, or the other way round."""
    rows = []
    n = scale.cases(quick=10, paper=100, full=1_000)
    for s, a in SHAPES:
        rho = (1 - LEAST) * simplex(rng, n, s) + LEAST / s
        bandit = rt.ContextualBandit(rng.random((n, s, a)), context_dist=rho)
        logits = np.log((1 - LEAST) * simplex(rng, n, s, a) + LEAST / a)
        eta = 10 ** rng.uniform(-1, 1, size=n)
        rate = _largest_rate(bandit, logits, eta)
        policy = rt.TabularPolicy(logits[None])
        ends = {}
        before = logits
        for k, theta in enumerate(_descent(bandit, logits, eta, rate)):
            if k == 1:
                ends["K = 1"] = theta
            moved = np.abs(theta - before).max(axis=(-2, -1))
            if k > 1 and ((moved <= LAST * eta).all() or k >= PATIENCE):
                break
            before = theta
        ends["K large"] = theta
        rloo = _step(bandit, rt.Rloo(4 * rate / eta, group_size=2), policy)
        limits = {"MD": rt.MirrorDescent(eta), "REBEL": rt.Rebel(eta)}
        expected = [(end, "RLOO", rloo) for end in ends if (end == "K = 1") != swapped]
        for name, algorithm in limits.items():
            found = _step(bandit, algorithm, policy)
            expected += [(end, name, found) for end in ends if (end == "K large") != swapped]
        for end, name, probs in expected:
            error = rt.total_variation(np.exp(log_softmax(ends[end])), probs, support=rho)
            rows.append(pd.DataFrame({"pair": f"{end}:\n{name}", "n_states": s, "n_actions": a, "step_size": eta,
                                      "n_steps": 1 if end == "K = 1" else k, "error": error}))  # fmt: skip
    return pd.concat(rows, ignore_index=True)


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the distances of one step from RLOO, and of many from mirror descent and REBEL."""
    return _instances(rng, scale, swapped=False)


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the distances of one step from mirror descent and REBEL, and of many from RLOO."""
    return _instances(rng, scale, swapped=True)


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw a strip an end, and the way from one end to the other on one bandit."""
    fig.set_layout_engine("constrained")
    left, right = np.asarray(fig.subfigures(1, 2))
    strip(left, cases, control_cases, by="pair", value="error", limit=TOLERANCE, label="total variation")
    ax = right.add_subplot()
    bandit = rt.ContextualBandit([[[1.0, 0.6, 0.3, 0.0]]])
    logits, eta = np.log(np.array([[[0.05, 0.15, 0.3, 0.5]]])), np.array([3.0])
    rate = _largest_rate(bandit, logits, eta)
    policy = rt.TabularPolicy(logits[None])
    path = [np.exp(log_softmax(t)) for t, _ in zip(_descent(bandit, logits, eta, rate), range(301), strict=False)][1:]
    for i, (name, algorithm) in enumerate(
        (("RLOO", rt.Rloo(4 * rate / eta, group_size=2)), ("MD", rt.MirrorDescent(eta)))
    ):
        apart = rt.total_variation(np.array(path)[:, 0], _step(bandit, algorithm, policy))
        ax.plot(np.arange(1, 301), np.maximum(apart, 1e-17), **line(name, 3 + i) | {"markevery": 0.15})
    ax.set(xscale="log", yscale="log", xlabel="gradient steps $K$", ylabel="total variation to")
    ax.legend(loc=(0.1, 0.3))


CLAIM = Claim(
    id="E6",
    title="from RLOO to mirror descent",
    statement="Tabular and exact, gradient steps on REBEL's on-policy pair loss from theta_t: the first is a step of "
    "RLOO, 4/eta times as long, and as their number grows they converge to the step of exact REBEL and mirror descent.",
    latex=r"\theta^{(1)} = \theta_t + \tfrac{4\alpha}{\eta} E[gA], \qquad \pi_{\theta^{(K)}} \to \pi_t e^{\eta q}/Z",
    source="the theory notes; arXiv:2404.16767, section 4",
    test=Equality(TOLERANCE),
    check=check,
    control=control,
    control_statement="the ends are exchanged: one step against mirror descent, many against RLOO",
    figure=draw,
    panels=(1, 2),
)
