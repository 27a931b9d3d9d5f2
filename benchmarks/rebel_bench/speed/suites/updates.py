"""One exact update of each algorithm of a game, next to the matrix-vector products that it needs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

import rebel_envs as envs
import rebel_theory as rt
from rebel_bench.speed.case import OURS, Case, Limit, Peers, Plan, Side, SpeedScale, Suite
from rebel_bench.speed.suites._plain import random_policy
from rebel_theory.algorithms.registry import find_algorithms
from rebel_theory.oracles import seed_streams

_ETA = 0.1
_PRODUCTS = {
    "rebel": 1, "npg": 1, "md": 1, "pg": 1, "omwu": 1, "egpo": 2, "mmd": 1, "nash-md": 1, "spo": 1, "sppo": 1,
}  # fmt: skip


def _plans(scale: SpeedScale) -> Sequence[Plan]:
    known = find_algorithms()
    return [Plan(f"{known[k].name}, 1,000 actions", partial(_update, k, 1000)) for k in _PRODUCTS if k in known]


def _update(key: str, n: int, peers: Peers) -> Case:
    """An update from one policy to the probabilities of the next, feedback included."""
    game = envs.random_game(n)
    payoff, pi = np.ascontiguousarray(game.payoff[0]), random_policy(1, n)
    kind: Any = find_algorithms()[key]
    algorithm = kind(step_size=_ETA)
    oracle = rt.Exact().bind(game, seed_streams(0, 1))
    # in turns, for an oracle remembers its latest evaluations; steps in a row would end in subnormal probabilities
    states = [algorithm.init(rt.TabularPolicy.from_probs(pi)) for _ in range(3)]
    for state in states:
        _ = state.policy.probs
    turn = [0]

    def ours() -> Any:
        turn[0] = (turn[0] + 1) % 3
        return algorithm.step(states[turn[0]], oracle).policy.probs

    products = _PRODUCTS[key]
    sides = {
        OURS: Side(ours, 1.0, lambda _: np.zeros(1)),
        "its products (NumPy gemv)": Side(
            lambda: [payoff @ pi[0] for _ in range(products)], 1.0, lambda _: np.zeros(1)
        ),
    }
    limit = Limit("bytes", float(products * payoff.nbytes), float(payoff.nbytes))
    return Case("update", sides, 0.0, limit, note=f"needs {products} matrix-vector products; nothing is compared")


SUITE = Suite("updates", "Exact updates against their products", _plans)
