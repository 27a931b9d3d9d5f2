"""Runs on large sparse MDPs: the reference on small ones, memory and no Python loop over states on large ones."""

import time
import tracemalloc

import numpy as np
import pytest
import reference as ref
from core.cases import dirichlet
from large.test_chains import COMPILED
from scipy.sparse import csr_array

import rebel_envs as envs
import rebel_theory as rt

ALGORITHMS = [rt.Rebel(0.7), rt.NaturalPolicyGradient(0.7), rt.MirrorDescent(0.7)]


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda a: a.name)
def test_warm_started_iterates_are_those_of_dense_solves(algorithm):
    """Ten updates on 80 states, against a loop of plain solves written out."""
    rng = np.random.default_rng(0)
    p, r = dirichlet(rng, 80, 3, 80, concentration=0.05), rng.random((80, 3))
    mdp = rt.TabularMDP(csr_array(p.reshape(240, 80)), r, discount=0.95)
    logits, gaps = np.zeros((80, 3)), []
    best = rt.solve(rt.TabularMDP(p, r, discount=0.95)).objective
    for _ in range(11):
        pi = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        v = ref.values_by_solve(p, r, 0.95, pi)
        gaps.append(best - v.mean())
        logits = logits + 0.7 * (ref.q_from(p, r, 0.95, v) - v[:, None])
    trace = rt.run(mdp, algorithm, n_iterations=10)
    np.testing.assert_allclose(trace.gap[0], gaps, atol=1e-10)
    assert 0 < trace.evaluation_error < 1e-10


def test_states_are_found_by_search_over_the_support():
    rng = np.random.default_rng(0)
    for _ in range(20):
        s, a = 12, 2
        p = np.zeros((s, a, s))
        for i in range(s):
            for j in range(a):
                np.add.at(p, (i, j, rng.integers(s, size=2)), 0.5)
        start, support = np.eye(s)[rng.integers(s)], rng.random((s, a)) < 0.7
        mdp = rt.TabularMDP(csr_array(p.reshape(s * a, s)), rng.random((s, a)), discount=0.9, initial_dist=start)
        edges = ((p > 0) & support[:, :, None]).any(1)
        reached = start > 0
        for _ in range(s):
            reached = reached | (reached[:, None] & edges).any(0)
        np.testing.assert_array_equal(mdp.visited(support), reached)
        np.testing.assert_array_equal(mdp.visited(np.stack([support, ~support]))[0], reached)


@pytest.mark.skipif(not COMPILED, reason="sizes for compiled kernels")
@pytest.mark.parametrize(
    "build",
    [
        lambda: envs.gridworld(320, 320, slip=0.1, discount=0.95, sparse=True),
        lambda: envs.garnet(100_000, 4, 5, discount=0.95, sparse=True),
        lambda: envs.river_swim(100_000, discount=0.95, sparse=True),
        lambda: envs.combination_lock(100_000, 3, discount=0.95, sparse=True),
    ],
    ids=["grid", "garnet", "river", "lock"],
)
def test_a_hundred_thousand_states(build):
    began = time.perf_counter()
    mdp = build()
    assert time.perf_counter() - began < 10  # 0.05 to 0.5 s alone on a core; a dense row anywhere would not end
    rt.evaluate(mdp, np.full(mdp.policy_shape, 1 / mdp.n_actions))
    tracemalloc.start()
    trace = rt.run(mdp, rt.Rebel(1.0), n_iterations=2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    size = mdp.transition.data.nbytes + mdp.transition.indices.nbytes
    tables = mdp.n_states * mdp.n_actions * 8
    assert peak < 3 * size + 60 * tables
    assert (np.diff(trace.gap[0]) <= 1e-12).all()
    probs = trace.final_policy.probs[0]
    found = rt.evaluate(mdp, probs)
    assert found.error_bound < 1e-10
    best = rt.solve(mdp)
    # the gap is recorded through d_pi and V* - Q*; the objectives say the same
    assert abs(trace.gap[0, -1] - (best.objective - found.objective)) <= 20 * (found.error_bound + best.error_bound)
