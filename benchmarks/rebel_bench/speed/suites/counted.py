"""Counted pairs: the law of n pairs at a cost that does not depend on n."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

import rebel_theory as rt
from rebel_bench.speed.case import OURS, Case, Limit, Peers, Plan, Side, SpeedScale, Suite
from rebel_bench.speed.suites._plain import laplacian_solve, random_policy, sample_pairs
from rebel_theory.oracles import seed_streams
from rebel_theory.policies import OnPolicy

_X, _Y = 50, 10  # 5,000 cells (x, y, y')


def _plans(scale: SpeedScale) -> Sequence[Plan]:
    return [
        Plan("5,000 cells, n = 10^15, 0-1 rewards", partial(_counted, rt.BernoulliNoise())),
        Plan("5,000 cells, n = 10^15, normal rewards", partial(_counted, rt.GaussianNoise(0.5))),
    ]


def _counted(noise: rt.BernoulliNoise | rt.GaussianNoise, peers: Peers) -> Case:
    reward = np.random.default_rng(0).random((_X, _Y))
    bandit = rt.ContextualBandit(reward, noise=noise)
    policy = rt.TabularPolicy.from_probs(random_policy(_X, _Y))
    centred = reward - reward.mean(axis=1, keepdims=True)

    def side(n: int, least: float | None = None) -> Side:
        bound = rt.Counted(n).bind(bandit, seed_streams(0, 1))
        return Side(
            lambda: bound.pairs(policy, OnPolicy()), 1.0,
            lambda pairs: np.sum(pairs.potentials()[0] * centred) / np.sum(centred**2), least,
        )  # fmt: skip

    sides = {OURS: side(10**15), "ours at n = 10^4": side(10**4, 1 / 3)}
    if isinstance(noise, rt.BernoulliNoise):
        rng, pi, n = np.random.default_rng(1), policy.probs, 10**5
        sides["NumPy, 10^5 pairs one by one"] = Side(
            lambda: sample_pairs(rng, bandit.context_dist, pi, pi, reward, n), 1.0,
            lambda found: np.sum(laplacian_solve(*found) * centred) / np.sum(centred**2),
        )  # fmt: skip
    cells = float(_X * _Y * _Y)
    return Case("sample", sides, 0.3, Limit("draws", 3 * cells), most_seconds=5e-3, note="a count and two sums a cell")


SUITE = Suite("counted", "Counted pairs", _plans)
