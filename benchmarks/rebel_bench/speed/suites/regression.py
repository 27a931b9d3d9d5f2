"""REBEL pairs: sampled with their regression statistics, and the regression itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.random import Generator

import rebel_envs as envs
import rebel_theory as rt
from rebel_bench.speed.case import OURS, Case, Limit, Peers, Plan, Side, SpeedScale, Suite
from rebel_bench.speed.suites._plain import laplacian_solve, random_policy, sample_pairs, softmax_step
from rebel_theory.arrays import FloatArray
from rebel_theory.oracles import seed_streams
from rebel_theory.pairs import FactorisedPairs, PairCounts
from rebel_theory.policies import OnPolicy

_X, _Y = 50, 10
_DRAWS = 4.0  # of a pair: (x, y), y', and two 0-1 rewards


def _plans(scale: SpeedScale) -> Sequence[Plan]:
    top = 5 if scale == "quick" else 6
    return [
        Plan("pairs, 50 x 10, one thread", partial(_pairs, 100_000)),
        Plan("pairs, 50 x 10, two threads", _two_threads),
        Plan("sampled REBEL step, 50 x 10, 1,000 pairs", partial(_step, 1000, "step")),
        Plan("regression on sampled pairs, 1,000 x 10", partial(_graph, 1000, 10)),
        Plan("regression on all pairs, 1,000 x 10", partial(_population, 1000, 10)),
        *(
            Plan(f"sampled REBEL step, N = {10**k:,}", partial(_step, 10**k, "step"), axis="N", size=10.0**k)
            for k in range(1, top + 1)
        ),
    ]


def _bandit() -> rt.ContextualBandit:
    reward = np.random.default_rng(0).random((_X, _Y))
    return rt.ContextualBandit(reward, noise=rt.BernoulliNoise())


def _slope(bandit: rt.ContextualBandit) -> Callable[[FloatArray], Any]:
    """Return the answer of a regression: its potentials' slope on the true centred rewards, 1 but for noise."""
    centred = bandit.reward - bandit.reward.mean(axis=1, keepdims=True)
    return lambda z: np.sum(z * centred, axis=(-2, -1)).mean() / np.sum(centred**2)


def _numpy_pairs(bandit: rt.ContextualBandit, pi: FloatArray, n: int) -> Callable[[], tuple[FloatArray, FloatArray]]:
    rng = np.random.default_rng(1)
    return lambda: sample_pairs(rng, bandit.context_dist, pi, pi, bandit.reward, n)


def _ours(bandit: rt.ContextualBandit, pi: FloatArray, n: int, n_seeds: int = 1) -> Side:
    policy = rt.TabularPolicy.from_probs(pi)
    bound = rt.Sampled(n).bind(bandit, seed_streams(0, n_seeds))
    slope = _slope(bandit)
    return Side(lambda: bound.pairs(policy, OnPolicy()), n * n_seeds, lambda pairs: slope(pairs.potentials()))


def _pairs(n: int, peers: Peers) -> Case:
    bandit, pi = _bandit(), random_policy(_X, _Y)
    slope = _slope(bandit)
    plain = Side(_numpy_pairs(bandit, pi, n), n, lambda found: slope(laplacian_solve(*found)))
    usual = partial(_usual_pairs, np.random.default_rng(2), bandit, pi, n // 10)
    sides = {
        OURS: _ours(bandit, pi, n),
        "NumPy": plain,
        "NumPy (as usually written)": Side(usual, n // 10, lambda found: slope(laplacian_solve(*found))),
    }
    note = "NumPy: one increasing table for all rows, and bincount; as usually written: rows compared, and np.add.at"
    return Case("pair", sides, 0.2, Limit("draws", _DRAWS), note=note)


def _usual_pairs(rng: Generator, bandit: rt.ContextualBandit, pi: FloatArray, n: int) -> tuple[FloatArray, FloatArray]:
    """The same sample the way it is mostly written: vectorised, but comparing whole rows."""
    x = rng.choice(_X, size=n, p=bandit.context_dist)
    cdf = np.cumsum(pi, axis=1)
    y, other = (np.minimum((rng.random((n, 1)) > cdf[x]).sum(axis=1), _Y - 1) for _ in range(2))
    value = (rng.random(n) < bandit.reward[x, y]).astype(np.float64) - (rng.random(n) < bandit.reward[x, other])
    counts, sums = np.zeros((_X, _Y, _Y)), np.zeros((_X, _Y, _Y))
    np.add.at(counts, (x, y, other), 1.0)
    np.add.at(sums, (x, y, other), value)
    both = counts + counts.swapaxes(1, 2)
    return both / n, (sums - sums.swapaxes(1, 2)) / np.maximum(both, 1)


def _two_threads(peers: Peers) -> Case:
    """Sixteen seeds, so that there is something to share."""
    bandit, pi = _bandit(), random_policy(_X, _Y)
    sides = {
        OURS: replace(_ours(bandit, pi, 50_000, 16), threads=2),
        "ours on one thread": _ours(bandit, pi, 50_000, 16),
    }
    return Case("pair", sides, 1e-12, note="16 seeds of 50,000 pairs")


def _step(n: int, unit: str, peers: Peers) -> Case:
    """One REBEL step from n pairs, regression and new policy included."""
    bandit, pi = _bandit(), random_policy(_X, _Y)
    algorithm, slope = rt.Rebel(1.0), _slope(bandit)
    bound = rt.Sampled(n).bind(bandit, seed_streams(0, 1))
    state = algorithm.init(rt.TabularPolicy.from_probs(pi))
    log_pi, draw = np.log(pi), _numpy_pairs(bandit, pi, n)

    def answer(log_probs: FloatArray) -> Any:
        moved = log_probs - log_pi
        return slope(moved - moved.mean(axis=-1, keepdims=True)) if n >= 10_000 else 0.0

    sides = {
        OURS: Side(lambda: algorithm.step(state, bound), 1.0, lambda new: answer(new.policy.log_probs[0])),
        "NumPy": Side(lambda: softmax_step(log_pi, laplacian_solve(*draw())), 1.0, answer),
    }
    note = "" if n >= 10_000 else "answers compared from N = 10,000 on: below, noise is all there is"
    return Case(unit, sides, 0.2, Limit("draws", _DRAWS * n), note=note)


def _graph(rows: int, n_actions: int, peers: Peers) -> Case:
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 20, size=(rows, n_actions, n_actions)).astype(np.float64)
    pairs = PairCounts(counts, counts * rng.normal(size=counts.shape))

    def plain() -> FloatArray:
        both = counts + counts.swapaxes(1, 2)
        return laplacian_solve(both, (pairs.sums - pairs.sums.swapaxes(1, 2)) / both)

    sides = {OURS: Side(pairs.potentials), "NumPy (pseudo-inverse)": Side(plain)}
    moved = float(pairs.counts.nbytes + pairs.sums.nbytes)
    return Case("regression", sides, 1e-9, Limit("bytes", moved, moved))


def _population(rows: int, n_actions: int, peers: Peers) -> Case:
    bandit = envs.random_bandit(rows, n_actions, seed=0)
    pi, mu = random_policy(rows, n_actions), random_policy(rows, n_actions, 1)
    q = bandit.reward
    pairs = FactorisedPairs(bandit.context_dist, np.log(pi), np.log(mu), q, np.ones(rows, dtype=np.bool_))

    def plain() -> FloatArray:
        outer = pi[:, :, None] * mu[:, None, :]
        return laplacian_solve(outer + outer.swapaxes(1, 2), q[:, :, None] - q[:, None, :])

    sides = {OURS: Side(pairs.potentials), "NumPy (pseudo-inverse)": Side(plain)}
    moved = 8.0 * 4 * rows * n_actions
    return Case("regression", sides, 1e-9, Limit("bytes", moved, moved))


SUITE = Suite("regression", "REBEL pairs and their regression", _plans)
