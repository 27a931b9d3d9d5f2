"""Exact iterations: evaluation, feedback and update, from the uniform policy on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

import rebel_envs as envs
import rebel_theory as rt
from rebel_bench.speed.case import OURS, Axis, Case, Limit, Peers, Plan, Side, SpeedScale, Suite
from rebel_bench.speed.suites._plain import evaluate_dense, softmax_step
from rebel_theory.arrays import FloatArray
from rebel_theory.oracles import seed_streams

_ITERATIONS = 20
_ETA = 0.2


def _plans(scale: SpeedScale) -> Sequence[Plan]:
    states = (10, 30, 100, 300) if scale == "quick" else (10, 30, 100, 300, 1000)
    actions = (2, 8, 32) if scale == "quick" else (2, 4, 8, 16, 32, 64)
    npg, rebel, descent = rt.NaturalPolicyGradient(_ETA), rt.Rebel(_ETA), rt.MirrorDescent(_ETA)
    main = partial(envs.random_mdp, 300, 5, discount=0.99)
    return [
        Plan("NPG, S = 300, A = 5", partial(_mdp, main, npg, False)),
        Plan("REBEL, S = 300, A = 5", partial(_mdp, main, rebel, False)),
        Plan("mirror descent, S = 300, A = 5", partial(_mdp, main, descent, False)),
        Plan("NPG, S = 300, A = 5, with the record of run()", partial(_recorded, main, npg)),
        Plan("REBEL, bandit 1,000 x 10", partial(_bandit, rebel)),
        *(_point("S", s, s, 5) for s in states),
        *(_point("A", a, 100, a) for a in actions),
    ]


def _point(axis: Axis, size: int, n_states: int, n_actions: int) -> Plan:
    make = partial(envs.random_mdp, n_states, n_actions, discount=0.99)
    name = f"NPG, S = {n_states}, A = {n_actions} (curve over {axis})"
    return Plan(name, partial(_mdp, make, rt.NaturalPolicyGradient(_ETA), True), axis=axis, size=size)


def _ours(problem: rt.Problem, algorithm: rt.Algorithm) -> Side:
    start = rt.TabularPolicy.uniform(problem)

    def run() -> rt.State:
        oracle = rt.Exact().bind(problem, seed_streams(0, 1))
        state = algorithm.init(start)
        for _ in range(_ITERATIONS):
            state = algorithm.step(state, oracle)
        return state

    return Side(run, _ITERATIONS, lambda state: state.policy.probs)


def _plain(mdp: rt.TabularMDP) -> Side:
    """All three algorithms are this update in a tabular class; values and occupancy from one factorisation."""
    p, r, gamma, rho = mdp.transition, mdp.reward, mdp.discount, mdp.initial_dist

    def run() -> FloatArray:
        log_pi = np.full(r.shape, -np.log(r.shape[1]))
        for _ in range(_ITERATIONS):
            _, q, _ = evaluate_dense(p, r, gamma, rho, np.exp(log_pi))
            log_pi = softmax_step(log_pi, _ETA * q)
        return log_pi

    return Side(run, _ITERATIONS, np.exp)


def _jax(jax: Any, mdp: rt.TabularMDP) -> Side:
    """The same, all iterations in one jitted loop, in double precision."""
    jax.config.update("jax_enable_x64", True)
    jnp = jax.numpy
    p, r, eye = jnp.asarray(mdp.transition), jnp.asarray(mdp.reward), jnp.eye(mdp.n_states)
    gamma = mdp.discount

    def iteration(_: Any, log_pi: Any) -> Any:
        pi = jnp.exp(log_pi)
        v = jnp.linalg.solve(eye - gamma * jnp.einsum("sa,sat->st", pi, p), (pi * r).sum(axis=1))
        return jax.nn.log_softmax(log_pi + _ETA * (r + gamma * p @ v), axis=1)

    start = jnp.full(r.shape, -np.log(r.shape[1]))
    loop = jax.jit(lambda log_pi: jax.lax.fori_loop(0, _ITERATIONS, iteration, log_pi))
    return Side(lambda: loop(start).block_until_ready(), _ITERATIONS, np.exp)


def _mdp(make: Callable[[], rt.TabularMDP], algorithm: rt.Algorithm, curve: bool, peers: Peers) -> Case:
    mdp = make()
    ours = _ours(mdp, algorithm)
    sides = {OURS: ours, "NumPy + LAPACK": _plain(mdp)}
    jax = None if curve else peers.load("jax")
    if jax is not None:
        sides["JAX (jitted, LAPACK)"] = _jax(jax, mdp)
    moved = float(mdp.transition.nbytes)
    return Case(
        "iteration", sides, 1e-8, Limit("bytes", moved, moved),
        certified=rt.evaluate(mdp, ours.run().policy.probs).error_bound,
        note=f"mean of {_ITERATIONS} iterations; limit: one pass over P",
    )  # fmt: skip


def _recorded(make: Callable[[], rt.TabularMDP], algorithm: rt.Algorithm, peers: Peers) -> Case:
    mdp = make()
    sides = {
        OURS: Side(
            lambda: rt.run(mdp, algorithm, n_iterations=_ITERATIONS), _ITERATIONS,
            lambda trace: trace.final_policy.probs[0],
        ),
        "NumPy + LAPACK, nothing recorded": _plain(mdp),
    }  # fmt: skip
    return Case("iteration", sides, 1e-8, note="gaps, divergences, regression errors and bounds at every iterate")


def _bandit(algorithm: rt.Algorithm, peers: Peers) -> Case:
    bandit = envs.random_bandit(1000, 10)
    r = bandit.reward

    def plain() -> FloatArray:
        log_pi = np.full(r.shape, -np.log(r.shape[1]))
        for _ in range(_ITERATIONS):
            log_pi = softmax_step(log_pi, _ETA * r)
        return log_pi

    # log-probabilities and rewards read, log-probabilities written
    sides = {OURS: _ours(bandit, algorithm), "NumPy (closed form)": Side(plain, _ITERATIONS, np.exp)}
    note = "NumPy knows the answer's closed form; ours solves the regression over all pairs"
    return Case("iteration", sides, 1e-10, Limit("bytes", 3.0 * r.nbytes, 3.0 * r.nbytes), note=note)


SUITE = Suite("exact", "Exact iterations", _plans)
