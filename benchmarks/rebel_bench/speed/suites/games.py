"""Preference games: one self-play iteration, a batch of them, and the von Neumann winner."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

import rebel_envs as envs
import rebel_theory as rt
from rebel_bench.speed.case import OURS, Case, Limit, Peers, Plan, Side, SpeedScale, Suite
from rebel_bench.speed.suites._plain import random_policy, softmax_step
from rebel_theory.arrays import FloatArray
from rebel_theory.oracles import seed_streams

_ETA = 0.1
_BATCH = 128


def _plans(scale: SpeedScale) -> Sequence[Plan]:
    dense, low_rank = (2_000, 100_000) if scale == "quick" else (10_000, 1_000_000)
    return [
        Plan("payoffs against a policy, 1,000 actions", partial(_payoffs, 1000)),
        Plan("the product alone, 1,000 actions", partial(_product, 1000)),
        Plan("self-play iteration, 1,000 actions", partial(_single, 1000)),
        Plan(f"self-play iteration, 1,000 actions, batch of {_BATCH}", partial(_batch, 1000)),
        Plan(f"self-play iteration, {dense:,} actions", partial(_single, dense), memory=7.0 * 8 * dense**2),
        Plan(f"self-play iteration, low rank, {low_rank:,} actions", partial(_low_rank, low_rank, 4)),
        Plan("von Neumann winner, 51 actions", partial(_winner, 51)),
    ]


def _payoffs(n: int, peers: Peers) -> Case:
    """E l(y, y'') for every y: the product that self-play is made of."""
    game = envs.random_game(n)
    payoff, pi = np.ascontiguousarray(game.payoff[0]), random_policy(1, n)
    bound = rt.Exact().bind(game, seed_streams(0, 1))
    policies = [rt.TabularPolicy.from_probs(pi) for _ in range(3)]  # in turns: the latest two are remembered
    for policy in policies:
        _ = policy.probs
    turn = [0]

    def ours() -> Any:
        turn[0] = (turn[0] + 1) % 3
        return bound.evaluate(policies[turn[0]])

    def field(q: FloatArray) -> FloatArray:
        """Return the replicator field, which is what OpenSpiel gives."""
        moved: FloatArray = pi[0] * (q - pi[0] @ q)
        return moved

    sides = {
        OURS: Side(ours, 1.0, lambda found: field(found.q_values[0])),
        "NumPy (gemv)": Side(lambda: payoff @ pi[0], 1.0, field),
    }
    dynamics = peers.load("open_spiel.python.egt.dynamics")
    if dynamics is not None:
        replicator = dynamics.SinglePopulationDynamics(np.stack([payoff, payoff.T]), dynamics.replicator)
        sides["OpenSpiel (replicator)"] = Side(lambda: replicator(pi[0]))
    return Case("product", sides, 1e-12, Limit("bytes", float(payoff.nbytes), float(payoff.nbytes)))


def _product(n: int, peers: Peers) -> Case:
    """The same without an evaluation around it: no gap, no record."""
    game = envs.random_game(n)
    payoff, pi = np.ascontiguousarray(game.payoff[0]), random_policy(1, n)
    sides = {
        OURS: Side(lambda: game.payoffs_against(pi), 1.0, lambda q: q[0]),
        "NumPy (gemv)": Side(lambda: payoff @ pi[0]),
    }
    return Case("product", sides, 1e-12, Limit("bytes", payoff.nbytes / 2, float(payoff.nbytes)))


def _single(n: int, peers: Peers) -> Case:
    game = envs.random_game(n)
    payoff = np.ascontiguousarray(game.payoff[0])
    algorithm = rt.Rebel(_ETA)
    log_pi = np.log(random_policy(1, n))
    start = rt.TabularPolicy(log_pi)
    sides = {
        OURS: Side(partial(_iterate, game, algorithm, start, 5), 5, lambda state: state.policy.probs[0]),
        "NumPy": Side(partial(_plain, payoff, log_pi, 5), 5, lambda found: np.exp(found[0])),
    }
    return Case("iteration", sides, 1e-10, Limit("bytes", float(payoff.nbytes), float(payoff.nbytes)))


def _low_rank(n: int, rank: int, peers: Peers) -> Case:
    """A game whose preferences are never written out: four tall products."""
    rng = np.random.default_rng(0)
    u, v = rng.normal(size=(2, n, rank))
    size = np.sqrt((u**2 + v**2).sum(axis=1, keepdims=True))
    u, v = u / size, v / size
    game, algorithm = rt.LowRankGame(u, v), rt.Rebel(_ETA)
    log_pi = softmax_step(rng.normal(size=(1, n)), np.zeros(1))
    start = rt.TabularPolicy(log_pi)

    def plain() -> FloatArray:
        found = log_pi
        for _ in range(2):
            pi = np.exp(found)
            found = softmax_step(found, _ETA * ((pi @ v) @ u.T - (pi @ u) @ v.T))
        return found

    sides = {
        OURS: Side(partial(_iterate, game, algorithm, start, 2), 2, lambda state: state.policy.probs[0]),
        "NumPy": Side(plain, 2, lambda found: np.exp(found[0])),
    }
    moved = 2.0 * u.nbytes + 2 * log_pi.nbytes  # both factors once, the policy read and written
    return Case("iteration", sides, 1e-10, Limit("bytes", moved, moved), note=f"payoffs of rank {2 * rank}")


def _batch(n: int, peers: Peers) -> Case:
    game = envs.random_game(n)
    payoff = np.ascontiguousarray(game.payoff[0])
    log_pi = np.log(random_policy(_BATCH, n))
    algorithm = rt.Rebel(_ETA)
    together = rt.TabularPolicy(log_pi[:, None])
    apart = [rt.TabularPolicy(row[None]) for row in log_pi[:8]]
    first = slice(0, 8)
    sides = {
        OURS: Side(
            partial(_iterate, game, algorithm, together, 1), _BATCH, lambda state: state.policy.probs[first, 0]
        ),
        "ours, one at a time": Side(
            lambda: [_iterate(game, algorithm, policy, 1) for policy in apart], 8,
            lambda states: np.stack([state.policy.probs[0] for state in states]),
        ),
        "NumPy (gemm)": Side(partial(_plain, payoff, log_pi, 1), _BATCH, lambda found: np.exp(found[first])),
    }  # fmt: skip
    moved = payoff.nbytes / _BATCH + 2.0 * 8 * n
    note = "the game read once for the batch; gemm is bound by arithmetic, so this limit is not within reach"
    return Case("iteration", sides, 1e-10, Limit("bytes", moved, float(payoff.nbytes)), note=note)


def _iterate(
    game: rt.PreferenceGame | rt.LowRankGame, algorithm: rt.Algorithm, start: rt.TabularPolicy, n: int
) -> rt.State:
    oracle = rt.Exact().bind(game, seed_streams(0, 1))
    state = algorithm.init(start)
    for _ in range(n):
        state = algorithm.step(state, oracle)
    return state


def _plain(payoff: FloatArray, log_pi: FloatArray, n: int) -> FloatArray:
    for _ in range(n):
        log_pi = softmax_step(log_pi, _ETA * (np.exp(log_pi) @ payoff.T))
    return log_pi


def _winner(n: int, peers: Peers) -> Case:
    """An odd number of actions: a random game's winner is unique, so all solvers must name the same."""
    game = envs.random_game(n)
    payoff = np.ascontiguousarray(game.payoff[0])
    sides = {
        OURS: Side(lambda: rt.von_neumann_winner(game), 1.0, lambda winner: winner.policy),
        "SciPy (linear program)": Side(partial(_program, payoff)),
    }
    nashpy = peers.load("nashpy")
    if nashpy is not None:
        sides["nashpy (linear program)"] = Side(
            lambda: nashpy.Game(payoff).linear_program(), 1.0, lambda found: found[0]
        )
    qe = peers.load("quantecon")
    if qe is not None:
        sides["QuantEcon (minmax)"] = Side(lambda: qe.optimize.minmax(payoff), 1.0, lambda found: found[1])
    note = "ours also certifies the gap and decides whether the winner is unique"
    return Case("game", sides, 1e-6, note=note)


def _program(payoff: FloatArray) -> FloatArray:
    from scipy.optimize import linprog

    n = len(payoff)
    found = linprog(
        np.r_[np.zeros(n), -1.0], A_ub=np.c_[-payoff.T, np.ones(n)], b_ub=np.zeros(n),
        A_eq=np.r_[np.ones(n), 0.0][None], b_eq=[1.0], bounds=[(0, None)] * n + [(None, None)],
    )  # fmt: skip
    policy: FloatArray = found.x[:n]
    return policy


SUITE = Suite("games", "Preference games", _plans)
