"""Counted pairs and roll-outs: the law of n of them at a cost that does not depend on n."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

import rebel_envs as envs
import rebel_theory as rt
from rebel_bench.speed.case import OURS, Case, Limit, Peers, Plan, Side, SpeedScale, Suite
from rebel_bench.speed.suites._plain import laplacian_solve, random_policy, sample_pairs
from rebel_theory.oracles import seed_streams
from rebel_theory.policies import OnPolicy

_X, _Y = 50, 10  # 5,000 cells (x, y, y')


def _plans(scale: SpeedScale) -> Sequence[Plan]:
    n = 10**6 if scale == "quick" else 10**7
    return [
        Plan("5,000 cells, n = 10^15, 0-1 rewards", partial(_counted, rt.BernoulliNoise())),
        Plan("5,000 cells, n = 10^15, normal rewards", partial(_counted, rt.GaussianNoise(0.5))),
        Plan(f"roll-outs of an MDP, S = 10, A = 3, n = {n:,}", partial(_populations, n)),
    ]


def _counted(noise: rt.BernoulliNoise | rt.GaussianNoise, peers: Peers) -> Case:
    reward = np.random.default_rng(0).random((_X, _Y))
    bandit = rt.ContextualBandit(reward, noise=noise)
    policy = rt.TabularPolicy.from_probs(random_policy(_X, _Y))
    centred = reward - reward.mean(axis=1, keepdims=True)

    def side(n: int) -> Side:
        bound = rt.Counted(n).bind(bandit, seed_streams(0, 1))
        return Side(
            lambda: bound.pairs(policy, OnPolicy()), 1.0,
            lambda pairs: np.sum(pairs.potentials()[0] * centred) / np.sum(centred**2),
        )  # fmt: skip

    sides = {OURS: side(10**15), "ours at n = 10^4": side(10**4)}
    if isinstance(noise, rt.BernoulliNoise):
        rng, pi, n = np.random.default_rng(1), policy.probs, 10**5
        sides["NumPy, 10^5 pairs one by one"] = Side(
            lambda: sample_pairs(rng, bandit.context_dist, pi, pi, reward, n), 1.0,
            lambda found: np.sum(laplacian_solve(*found) * centred) / np.sum(centred**2),
        )  # fmt: skip
    cells = float(_X * _Y * _Y)
    return Case("sample", sides, 0.3, Limit("draws", 3 * cells), note="a count and two sums a cell")


def _populations(n: int, peers: Peers) -> Case:
    """Roll-outs moved as populations, against the same number walked one by one."""
    mdp = envs.garnet(10, 3, 3, 0.9, seed=0)
    pi = random_policy(10, 3)
    policy, found = rt.TabularPolicy.from_probs(pi), rt.evaluate(mdp, pi)
    exact = np.einsum("s,sa,sa->", found.occupancy, pi, found.q_values)

    def side(oracle: rt.Oracle) -> Side:
        bound = oracle.bind(mdp, seed_streams(0, 1))
        return Side(lambda: bound.feedback(policy), 1.0, answer)

    def answer(feedback: Any) -> Any:
        return np.einsum("ks,ksa,ksa->", feedback.weights, feedback.frequencies, feedback.signal) / exact

    sides = {
        OURS: side(rt.Counted(n)), "ours at n = 10^15": side(rt.Counted(10**15)),
        "ours, one by one (Sampled)": side(rt.Sampled(n)),
    }  # fmt: skip
    return Case("sample", sides, 0.02, note="2 n roll-outs of Q with geometric stopping, gamma 0.9")


SUITE = Suite("counted", "Counted pairs and roll-outs", _plans)
