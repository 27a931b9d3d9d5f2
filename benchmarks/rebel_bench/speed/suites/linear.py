"""Linear MDPs: one exact iteration, against the memory that has to be read for it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

import rebel_theory as rt
from rebel_bench.speed.case import OURS, Case, Limit, Peers, Plan, Side, SpeedScale, Suite
from rebel_theory.arrays import FloatArray
from rebel_theory.oracles import seed_streams

_ETA = 0.1
_GAMMA = 0.9
_A = 8


def _plans(scale: SpeedScale) -> Sequence[Plan]:
    s = 100_000 if scale == "quick" else 1_000_000
    curve = (2, 4, 8, 16) if scale == "quick" else (2, 4, 8, 16, 32, 64)
    return [
        Plan(f"NPG, tabular, S = {s:,}, A = 8, d = 16", partial(_case, s, 16, False), memory=_memory(s, 16, 6)),
        Plan(f"NPG, log-linear, S = {s:,}, A = 8, d = 16", partial(_case, s, 16, True), memory=_memory(s, 16, 12)),
        *(
            Plan(f"NPG, tabular, S = 20,000, A = 8, d = {d}", partial(_case, 20_000, d, False), axis="d", size=d)
            for d in curve
        ),
    ]


def _memory(n_states: int, d: int, copies: int) -> float:
    return 8.0 * n_states * _A * d * copies


def _problem(n_states: int, d: int) -> rt.LinearMDP:
    """Features on the simplex and measures that are distributions, as rebel_envs.simplex_linear_mdp, drawn quicker."""
    rng = np.random.default_rng(0)
    features = rng.random((n_states, _A, d))
    features /= features.sum(axis=-1, keepdims=True)
    measures = rng.random((d, n_states))
    measures /= measures.sum(axis=1, keepdims=True)
    return rt.LinearMDP(features, measures, rng.random(d), discount=_GAMMA)


def _case(n_states: int, d: int, log_linear: bool, peers: Peers) -> Case:
    """Both policy classes contain the update log pi + eta phi . w, so one NumPy version serves both."""
    mdp = _problem(n_states, d)
    features, measures, theta = mdp.features, mdp.measures, mdp.reward_weights
    flat = features.reshape(-1, d)
    algorithm = rt.NaturalPolicyGradient(_ETA)
    start = np.random.default_rng(1).normal(size=d)
    logits = (flat @ start).reshape(n_states, _A)
    policy = rt.LogLinearPolicy(features, start) if log_linear else rt.TabularPolicy(logits)
    _ = policy.probs  # an iterate has them already
    oracle = rt.Exact()

    def ours() -> rt.State:
        return algorithm.step(algorithm.init(policy), oracle.bind(mdp, seed_streams(0, 1)))

    pi_start = np.array(policy.probs)

    def plain() -> FloatArray:
        phi = np.einsum("sa,sad->sd", pi_start, features)
        w = np.linalg.solve(np.eye(d) - _GAMMA * (measures @ phi), theta)
        z = (flat @ (start + _ETA * w)).reshape(n_states, _A)
        z -= z.max(axis=1, keepdims=True)
        np.exp(z, out=z)
        z /= z.sum(axis=1, keepdims=True)
        return z

    sides = {
        OURS: Side(ours, 1.0, lambda state: state.policy.probs[:1000]),
        "NumPy": Side(plain, 1.0, lambda pi: pi[:1000]),
    }
    moved = float(features.nbytes + measures.nbytes + 2 * logits.nbytes)
    return Case(
        "iteration", sides, 1e-8, Limit("bytes", moved, moved), least_fraction=0.6 if n_states >= 100_000 else None,
        note="occupancy included in ours; limit: features and measures once, the policy read and written",
    )  # fmt: skip


SUITE = Suite("linear", "Linear MDPs", _plans)
