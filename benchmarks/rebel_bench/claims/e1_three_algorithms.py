"""E1: with a tabular softmax and exact feedback, REBEL, NPG and mirror descent are one algorithm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_theory as rt
from rebel_bench.claim import Claim, Equality, Scale
from rebel_bench.figures import strip
from rebel_bench.instances import Batch, batches, random_policy, simplex
from rebel_theory.oracles import Exact
from rebel_theory.pairs import PairGraph
from rebel_theory.policies import BaseLike

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_UPDATES = 5


def _bases(rng: Generator, batch: Batch) -> dict[str, BaseLike]:
    fixed = simplex(rng, batch.n, *batch.problem.policy_shape)
    return {
        "on-policy": "on-policy",
        "uniform": "uniform",
        "fixed": fixed,
        "mixture": rt.Mixture([("on-policy", 0.3), (fixed, 0.7)]),
    }


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the largest total variation between the three, over all pairs and iterates, per instance and base."""
    rows = []
    for batch in batches(rng, scale.cases(quick=200, paper=2_000, full=50_000)):
        policy = random_policy(rng, batch.problem)
        eta = 10 ** rng.uniform(-2, 1, size=batch.n)
        for name, base in _bases(rng, batch).items():
            algorithms = [rt.Rebel(eta, base=base), rt.NaturalPolicyGradient(eta), rt.MirrorDescent(eta)]
            found = rt.compare(batch.problem, algorithms, n_iterations=N_UPDATES, policy=policy)
            error = np.max([tv[0].max(axis=-1) for tv in found.total_variation.values()], axis=0)  # (n,)
            rows.append(_table(batch, name, eta, error))
    return pd.concat(rows, ignore_index=True)


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the total variation after one update when pairs never cross between two halves of the actions."""
    rows = []
    for batch in batches(rng, scale.cases(quick=200, paper=2_000, full=50_000)):
        policy = random_policy(rng, batch.problem).in_rows(batch.problem)
        eta = 10 ** rng.uniform(-2, 1, size=batch.n)
        oracle = Exact().bind(batch.problem, [])
        feedback = oracle.feedback(policy)
        half = np.arange(batch.n_actions) < (batch.n_actions + 1) // 2
        together = (half[:, None] == half[None, :]).astype(float)
        probs = policy.probs
        weights = probs[..., :, None] * probs[..., None, :] * together
        targets = feedback.signal[..., :, None] - feedback.signal[..., None, :]
        broken = policy.regress(PairGraph(weights, np.broadcast_to(targets, weights.shape)), eta)
        right = rt.MirrorDescent(eta).step(rt.MirrorDescent(eta).init(policy), oracle).policy
        error = rt.total_variation(broken, right, support=feedback.weights)[0]
        rows.append(_table(batch, "disconnected", eta, error))
    return pd.concat(rows, ignore_index=True)


def _table(batch: Batch, base: str, eta: np.ndarray, error: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(
        {"kind": batch.kind, "n_states": batch.n_states, "n_actions": batch.n_actions, "base": base, "step_size": eta,
         "error": error}
    )  # fmt: skip


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw one strip of instances a base, and the control's."""
    strip(fig, cases, control_cases, by="base", value="error", limit=TOLERANCE, label="total variation")


TOLERANCE = 1e-10

CLAIM = Claim(
    id="E1",
    title="one step, three algorithms",
    statement="With a tabular softmax and exact feedback, REBEL, mirror descent and NPG take the same step, "
    "for any base whose pair graph is connected.",
    latex=r"\pi_{t+1}(y|x) \propto \pi_t(y|x)\,e^{\eta q_{\pi_t}(x,y)}",
    source="arXiv:2404.16767, sections 3 and 4",
    test=Equality(TOLERANCE),
    check=check,
    control=control,
    control_statement="the pair graph is disconnected: pairs never cross between two halves of the actions",
    figure=draw,
)
