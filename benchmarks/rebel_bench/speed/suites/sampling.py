"""Transitions sampled under a policy, and vector environments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

import rebel_envs as envs
import rebel_theory as rt
from rebel_bench.speed.case import OURS, Case, Limit, Peers, Plan, Side, SpeedScale, Suite
from rebel_bench.speed.suites._jax import LANES, STEPS, simulator
from rebel_bench.speed.suites._plain import chain_simulator, csr_of, random_policy
from rebel_theory.arrays import FloatArray
from rebel_theory.oracles import seed_streams

_TRANSITIONS = 2_000_000  # of ours a call, in expectation
_LANES, _STEPS = 4096, 25  # of NumPy


def _plans(scale: SpeedScale) -> Sequence[Plan]:
    small = partial(envs.garnet, 16, 4, 4, 0.99, seed=0)
    large = partial(envs.garnet, 1000, 10, 20, 0.99, seed=0, sparse=True)
    return [
        Plan("transitions, Garnet 16 x 4", partial(_garnet, small)),
        Plan("transitions, Garnet 1000 x 10 x 20", partial(_garnet, large)),
        Plan("transitions, FrozenLake 16 x 4", _frozen_lake),
        Plan("vector environment, FrozenLake 16 x 4", _vector),
    ]


def _roll_outs(mdp: rt.TabularMDP, pi: FloatArray) -> tuple[Side, FloatArray]:
    """Return ours, and the exact E_{d, pi} Q that its mean return estimates; the answer is the mean over the exact."""
    policy = rt.TabularPolicy.from_probs(pi)
    found = rt.evaluate(mdp, pi)
    exact = np.einsum("s,sa,sa->", found.occupancy, pi, found.q_values)
    length = 1 / (1 - mdp.discount)  # in the mean; nothing absorbs here
    n = round(_TRANSITIONS / length / 2)
    bound = rt.Sampled(n).bind(mdp, seed_streams(0, 1))

    def answer(feedback: Any) -> Any:
        return np.einsum("ks,ksa,ksa->", feedback.weights, feedback.frequencies, feedback.signal) / exact

    return Side(lambda: bound.feedback(policy), 2 * n * length, answer), exact


def _garnet(make: Callable[[], rt.TabularMDP], peers: Peers) -> Case:
    mdp = make()
    pi = random_policy(mdp.n_states, mdp.n_actions)
    ours, mean_return = _roll_outs(mdp, pi)
    table, rng = csr_of(mdp), np.random.default_rng(1)
    d = rt.evaluate(mdp, pi).occupancy
    simulate = chain_simulator(rng, table, pi, mdp.reward, mdp.discount, d, mdp.initial_dist, _LANES, _STEPS)
    per_step = mean_return * (1 - mdp.discount)
    sides = {OURS: ours, "NumPy (alias)": Side(simulate, _LANES * _STEPS, lambda mean: mean / per_step)}
    qe = peers.load("quantecon")
    if qe is not None:
        p_pi = np.einsum("sa,sat->st", pi, table.toarray().reshape(*pi.shape, -1))
        chain = qe.MarkovChain(p_pi)
        n = 200_000
        reward = (pi * mdp.reward).sum(axis=1)
        stationary = chain.stationary_distributions[0] @ reward
        sides["QuantEcon"] = Side(
            lambda: chain.simulate(n, random_state=0), n, lambda path: reward[path].mean() / stationary
        )
    jax = peers.load("jax")
    if jax is not None:
        walk = simulator(jax, table, pi, mdp.reward, mdp.discount, d, mdp.initial_dist)
        sides["JAX (scan, joint alias)"] = Side(walk, LANES * STEPS, lambda mean: mean / per_step)
    note = "roll-outs with geometric stopping, mean return included; QuantEcon draws states only"
    return Case("transition", sides, 0.06, Limit("draws", 1.0), note=note)


def _lake_with_resets() -> rt.TabularMDP:
    """Return FrozenLake where an ended episode starts again: the chain that Gymnasium's vector environments walk."""
    lake = envs.make("frozenlake", discount=0.99)
    assert isinstance(lake, rt.TabularMDP)
    p = np.asarray(csr_of(lake).toarray()).reshape(16, 4, 16)
    p[lake.absorbing] = np.eye(16)[0]
    return rt.TabularMDP(p, np.eye(16)[0][:, None].repeat(4, axis=1), discount=0.99, initial_dist=np.eye(16)[0])


def _frozen_lake(peers: Peers) -> Case:
    ours, _ = _roll_outs(_lake_with_resets(), np.full((16, 4), 0.25))
    sides = {OURS: ours}
    gym = peers.load("gymnasium")
    if gym is not None:
        sides["Gymnasium (SyncVectorEnv)"] = _gymnasium_side(gym, 64, 100)
    note = "the answer is how often the start is visited, over its exact value; a reset is a transition"
    return Case("transition", sides, 0.2, Limit("draws", 1.0), note=note)


def _start_share() -> float:
    """Return how often a uniform policy observes the start in the long run."""
    p = _lake_with_resets().transition.mean(axis=1)
    system = np.vstack([(p.T - np.eye(16)), np.ones(16)])
    return float(np.linalg.lstsq(system, np.eye(17)[16], rcond=None)[0][0])


def _stepper(env: Any, n: int, steps: int) -> Callable[[], float]:
    rng = np.random.default_rng(0)
    share = _start_share()

    def run() -> float:
        seen = 0
        for _ in range(steps):
            observed = env.step(rng.integers(4, size=n))[0]
            seen += int(np.count_nonzero(observed == 0))
        return seen / (n * steps) / share

    env.reset(seed=0)
    run()  # to the long run
    return run


def _gymnasium_side(gym: Any, n: int, steps: int) -> Side:
    env = gym.make_vec("FrozenLake-v1", num_envs=n, vectorization_mode="sync")
    return Side(_stepper(env, n, steps), n * steps)


def _vector(peers: Peers) -> Case:
    from rebel_envs.gym import TabularVectorEnv

    n = 1024
    sides = {OURS: Side(_stepper(TabularVectorEnv("frozenlake", n, max_episode_steps=100), n, 20), n * 20)}
    gym = peers.load("gymnasium")
    if gym is not None:
        sides["Gymnasium (SyncVectorEnv)"] = _gymnasium_side(gym, 64, 100)
    return Case("step of one copy", sides, 0.2, Limit("draws", 1.0), note="1,024 copies, actions drawn by NumPy")


SUITE = Suite("sampling", "Transitions under a policy", _plans)
