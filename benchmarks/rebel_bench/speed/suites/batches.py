"""Batches of seeds: sampled REBEL as one call, against a loop over seeds and against its own sampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

import rebel_theory as rt
from rebel_bench.speed.case import OURS, Case, Limit, Peers, Plan, Side, SpeedScale, Suite
from rebel_bench.speed.suites._plain import laplacian_solve, sample_pairs, softmax_step
from rebel_theory.arrays import FloatArray
from rebel_theory.oracles import seed_streams
from rebel_theory.policies import OnPolicy

_X, _Y, _PAIRS, _ETA = 10, 5, 100, 0.5
_DRAWS = 4.0  # a pair, as in the suite of pairs
_TOLERANCE = 0.2  # of the mean gap over a few seeds: rewards are in [0, 1]


def _plans(scale: SpeedScale) -> Sequence[Plan]:
    top = 1000 if scale == "quick" else 10_000
    iterations = 20 if scale == "quick" else 100
    return [
        Plan(f"sampled REBEL, 1,000 seeds x {iterations} x {_PAIRS}, run()", partial(_whole, 1000, iterations)),
        Plan(f"sampled REBEL, 1,000 seeds x {iterations} x {_PAIRS}, steps alone", partial(_steps, 1000, iterations)),
        *(
            Plan(f"sampled REBEL, {k:,} seeds x 10 x {_PAIRS}", partial(_curve, k), axis="seeds", size=k)
            for k in (1, 10, 100, 1000, 10_000)
            if k <= top
        ),
    ]


def _bandit() -> rt.ContextualBandit:
    return rt.ContextualBandit(np.random.default_rng(0).random((_X, _Y)), noise=rt.BernoulliNoise())


def _loop(bandit: rt.ContextualBandit, n_seeds: int, iterations: int) -> FloatArray:
    """Return the final gaps of one seed after the other: plain NumPy, vectorised inside a seed."""
    r, rho = bandit.reward, bandit.context_dist
    best = r.max(axis=1, keepdims=True)
    gaps = np.empty((n_seeds, iterations + 1))
    for i in range(n_seeds):
        rng = np.random.default_rng(i)
        log_pi = np.full(r.shape, -np.log(_Y))
        for t in range(iterations + 1):
            pi = np.exp(log_pi)
            gaps[i, t] = rho @ (pi * (best - r)).sum(axis=1)
            if t < iterations:
                z = laplacian_solve(*sample_pairs(rng, rho, pi, pi, r, _PAIRS))
                log_pi = softmax_step(log_pi, _ETA * z)
    return gaps[:, -1]


def _mean_gap(gaps: FloatArray) -> Any:
    return gaps.mean()


def _case(ours: Side, bandit: rt.ContextualBandit, n_loop: int, iterations: int) -> Case:
    loop = Side(partial(_loop, bandit, n_loop, iterations), float(n_loop * iterations), _mean_gap)
    return Case(
        "seed and iteration", {OURS: ours, "loop over seeds (NumPy)": loop}, _TOLERANCE,
        Limit("draws", _DRAWS * _PAIRS), note="compared by the mean final gap",
    )  # fmt: skip


def _run(n_seeds: int, iterations: int) -> Case:
    bandit = _bandit()
    return _case(_ours(bandit, n_seeds, iterations), bandit, 5, iterations)


def _ours(bandit: rt.ContextualBandit, n_seeds: int, iterations: int) -> Side:
    def ours() -> rt.Trace:
        return rt.run(
            bandit, rt.Rebel(_ETA), n_iterations=iterations, oracle=rt.Sampled(_PAIRS), n_seeds=n_seeds
        )  # fmt: skip

    return Side(ours, float(n_seeds * iterations), lambda trace: trace.gap[:, -1].mean(), threads=2)


def _whole(n_seeds: int, iterations: int, peers: Peers) -> Case:
    """What users call, next to the same a seed at a time and to its sampling."""
    bandit = _bandit()
    case = _run(n_seeds, iterations)
    few = 10

    def singly() -> float:
        gaps = [
            rt.run(bandit, rt.Rebel(_ETA), n_iterations=iterations, oracle=rt.Sampled(_PAIRS), seed=i).gap[0, -1]
            for i in range(few)
        ]
        return float(np.mean(gaps))

    sides = {
        **case.sides,
        "ours, a seed a call": Side(singly, float(few * iterations)),
        "its sampling alone": _sampling(bandit, n_seeds, iterations, float(case.sides[OURS].run().gap[:, -1].mean())),
    }
    return replace(case, sides=sides)


def _sampling(bandit: rt.ContextualBandit, n_seeds: int, iterations: int, answer: float) -> Side:
    """The pairs of a run, drawn at one policy a seed; there is no answer to compare, so it is given."""
    start = np.random.default_rng(0).dirichlet(np.full(_Y, 2.0), size=(n_seeds, _X))
    oracle, policy = rt.Sampled(_PAIRS).bind(bandit, seed_streams(0, n_seeds)), rt.TabularPolicy.from_probs(start)

    def sample() -> None:
        for _ in range(iterations):
            oracle.pairs(policy, OnPolicy())

    return Side(sample, float(n_seeds * iterations), lambda _: answer, threads=2)


def _steps(n_seeds: int, iterations: int, peers: Peers) -> Case:
    """The algorithm alone, next to its own sampling."""
    bandit = _bandit()
    algorithm = rt.Rebel(_ETA)
    start = rt.TabularPolicy.uniform(bandit)
    streams = seed_streams(0, n_seeds)

    def ours() -> rt.State:
        oracle = rt.Sampled(_PAIRS).bind(bandit, streams)
        state = algorithm.init(start)
        for _ in range(iterations):
            state = algorithm.step(state, oracle)
        return state

    best = bandit.reward.max(axis=1, keepdims=True)

    def gap(state: rt.State) -> Any:
        return (state.policy.probs * (best - bandit.reward)).sum(axis=-1).mean()

    case = _case(Side(ours, float(n_seeds * iterations), gap, threads=2), bandit, 5, iterations)
    bare = _sampling(bandit, n_seeds, iterations, float(gap(ours())))
    return replace(case, sides={**case.sides, "its sampling alone": bare})


def _curve(n_seeds: int, peers: Peers) -> Case:
    """All seeds as one unit, so that the figure shows what a batch costs; the loop takes a few, times the rest."""
    bandit = _bandit()
    few = min(n_seeds, 5)
    ours = replace(_ours(bandit, n_seeds, 10), work=1.0)
    loop = Side(partial(_loop, bandit, few, 10), few / n_seeds, _mean_gap)
    limit = Limit("draws", _DRAWS * _PAIRS * 10 * n_seeds)
    return Case("run of 10 iterations", {OURS: ours, "NumPy (loop over seeds)": loop}, _TOLERANCE, limit)


SUITE = Suite("batches", "Batches of seeds", _plans)
