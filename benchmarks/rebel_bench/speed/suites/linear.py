"""Linear MDPs: exact iterations of a million states, against the memory that has to be read for them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np

import rebel_theory as rt
from rebel_bench.speed.case import OURS, Case, Limit, Peers, Plan, Side, SpeedScale, Suite
from rebel_theory.arrays import FloatArray
from rebel_theory.oracles import seed_streams

_ETA = 0.1
_GAMMA = 0.9
_A = 8
_FIRST, _MORE = 1, 6  # iterations of the shorter run; what the longer one has on top is what counts


def _plans(scale: SpeedScale) -> Sequence[Plan]:
    s = 100_000 if scale == "quick" else 1_000_000
    curve = (2, 4, 8, 16, 32) if scale == "quick" else (2, 4, 8, 16, 32, 64)
    return [
        *(
            Plan(
                f"stream, S = {s:,}, {precision}, {name}", partial(_stream, s, 16, precision, threads),
                memory=_memory(s, 16, 3),
            )
            for precision in ("float64", "float32") for name, threads in (("one thread", 1), ("two threads", 2))
        ),
        Plan(f"stream, whole run of {_MORE} iterations, S = {s:,}", partial(_whole, s, 16), memory=_memory(s, 16, 3)),
        Plan(f"run, tabular, S = {s:,}", partial(_step, s, 16, False), memory=_memory(s, 16, 6)),
        Plan("run, log-linear, S = 100,000", partial(_step, 100_000, 16, True), memory=_memory(100_000, 16, 12)),
        *(
            Plan(f"stream, S = 20,000, d = {d}", partial(_stream, 20_000, d, "float64", 1), axis="d", size=d)
            for d in curve
        ),
    ]  # fmt: skip


def _memory(n_states: int, d: int, copies: int) -> float:
    return 8.0 * n_states * _A * d * copies


@lru_cache(maxsize=1)
def _problem(n_states: int, d: int, precision: str = "float64") -> rt.LinearMDP:
    """Features on the simplex and measures that are distributions, as rebel_envs.simplex_linear_mdp, drawn quicker."""
    rng = np.random.default_rng(0)
    kind = np.dtype(precision)
    features = rng.random((n_states, _A, d), dtype=kind.type)
    features /= features.sum(axis=-1, keepdims=True)
    measures = rng.random((d, n_states))
    measures /= measures.sum(axis=1, keepdims=True)
    return rt.LinearMDP(features, measures.astype(kind), rng.random(d), discount=_GAMMA)


def _numpy(mdp: rt.LinearMDP, n_iterations: int) -> FloatArray:
    """Return theta after so many NPG updates: softmax of all logits, mean features, one small system."""
    features, measures, reward = mdp.features, mdp.measures, mdp.reward_weights
    d = mdp.n_features
    flat = features.reshape(-1, d)
    theta = np.zeros(d)
    for _ in range(n_iterations):
        pi = (flat @ theta.astype(flat.dtype)).reshape(mdp.n_states, _A)
        pi -= pi.max(axis=1, keepdims=True)
        np.exp(pi, out=pi)
        pi /= pi.sum(axis=1, keepdims=True)
        phi = np.matmul(pi[:, None, :], features)[:, 0]
        theta = theta + _ETA * np.linalg.solve(np.eye(d) - _GAMMA * (measures @ phi), reward)
    return theta


def _stream(n_states: int, d: int, precision: str, threads: int, peers: Peers) -> Case:
    """One more iteration of a run: what a run of more iterations takes beyond a run of fewer, over their number."""
    mdp = _problem(n_states, d, precision)
    algorithm = rt.NaturalPolicyGradient(_ETA)

    def ours(n: int) -> rt.LinearPath:
        return rt.stream(mdp, algorithm, n_iterations=n, n_threads=threads)

    more = 50 if n_states < 50_000 else 20 if n_states < 500_000 else _MORE
    sides = {
        OURS: Side(
            partial(ours, _FIRST + more), more, lambda path: path.theta[1], threads=threads, less=partial(ours, _FIRST)
        ),
        "NumPy": Side(partial(_numpy, mdp, 1)),
    }
    moved = _read(mdp)
    return Case(
        "iteration", sides, 1e-8 if precision == "float64" else 1e-4, Limit("bytes", moved, moved),
        certified=ours(_MORE).error_bound,
        note="rt.stream; a run of 1 iteration is taken off a longer one; limit: features and measures read once",
    )  # fmt: skip


def _read(mdp: rt.LinearMDP) -> float:
    return float(mdp.features.nbytes + mdp.measures.nbytes + mdp.initial_dist.nbytes)


def _whole(n_states: int, d: int, peers: Peers) -> Case:
    """All that a call does: the iterations, the objective at the last one, and the optimum by policy iteration."""
    mdp = _problem(n_states, d, "float32")

    def ours() -> rt.LinearPath:
        return rt.stream(mdp, rt.NaturalPolicyGradient(_ETA), n_iterations=_MORE, n_threads=1)

    sides = {
        OURS: Side(ours, _MORE, lambda path: path.theta[-1]),
        "NumPy, the iterations only": Side(partial(_numpy, mdp, _MORE), _MORE),
    }
    return Case(
        "iteration", sides, 1e-4, Limit("bytes", _read(mdp), _read(mdp)),
        note="float32, one thread; ours also finds the optimum, for the gap",
    )  # fmt: skip


def _step(n_states: int, d: int, log_linear: bool, peers: Peers) -> Case:
    """One step as rt.run makes it; both policy classes contain the update log pi + eta phi . w."""
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

    def plain() -> Any:
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
        "iteration", sides, 1e-8, Limit("bytes", moved, moved),
        note="occupancy included in ours; limit: features and measures once, the policy read and written",
    )  # fmt: skip


SUITE = Suite("linear", "Linear MDPs, A = 8, d = 16", _plans)
