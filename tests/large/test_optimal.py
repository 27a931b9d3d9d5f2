"""Optimal values by span-stopped modified policy iteration: certificates against exact answers, on every path."""

from functools import partial

import numpy as np
import pytest
import reference as ref
from core.cases import dirichlet
from large.test_chains import COMPILED
from scipy.sparse import csr_array

import rebel_envs as envs
import rebel_theory as rt
from rebel_theory.solvers.span_iteration import span_iteration

CASES = {
    "garnet": lambda g: envs.garnet(150, 4, 6, discount=g, sparse=True),  # mixes fast: plain sweeps
    "river": lambda g: envs.river_swim(80, discount=g, sparse=True),  # does not: sweeps in order
    "chain": lambda g: envs.chain(70, discount=g, sparse=True),
    "grid": lambda g: envs.gridworld(9, 9, slip=0.2, discount=g, sparse=True),
    "dense": lambda g: envs.random_mdp(70, 3, discount=g),
}


@pytest.mark.parametrize("tolerance", [1e-2, 1e-8])
@pytest.mark.parametrize("gamma", [0.5, 0.99])
@pytest.mark.parametrize("name", CASES)
def test_values_are_within_the_tolerance_of_policy_iteration(name, gamma, tolerance):
    mdp = CASES[name](gamma)
    best, found = rt.solve(mdp), rt.solve(mdp, tolerance=tolerance)
    assert best.error_bound < 1e-9
    assert found.error_bound <= tolerance
    assert span_iteration(mdp, tolerance).error_bound <= tolerance  # got there by itself
    assert np.abs(found.values - best.values).max() <= found.error_bound + best.error_bound
    np.testing.assert_array_equal(found.values, found.q_values.max(-1))
    assert np.abs(found.q_values - best.q_values).max() <= found.error_bound + best.error_bound
    greedy = rt.evaluate(mdp, found.policy)
    loss = best.values - greedy.values
    assert -best.error_bound - greedy.error_bound <= loss.min()
    assert loss.max() <= 2 * tolerance / (1 - gamma)
    # what policy iteration returns is optimal: no action improves on its own evaluation
    own = rt.evaluate(mdp, best.policy)
    assert (own.q_values.max(-1) - own.values).max() <= 1e-10


def test_the_certificate_against_exact_rationals():
    """Small MDPs, dense and sparse, rewards far from 0; the bound must hold at every tolerance."""
    from fractions import Fraction

    for seed in range(8):
        rng = np.random.default_rng(seed)
        p, r = dirichlet(rng, 3, 2, 3), 5 + rng.random((3, 2))
        gamma = [0.0, 0.6, 0.97, 0.9999][seed % 4]
        given = p if seed < 4 else csr_array(p.reshape(6, 3))
        mdp = rt.TabularMDP(given, r, discount=gamma)
        stored = mdp.transition.toarray().reshape(3, 2, 3) if mdp.is_sparse else mdp.transition
        policies = [np.eye(2)[list(bits)] for bits in np.ndindex(2, 2, 2)]
        exact = np.max([ref.exact_values(stored, r, gamma, pi) for pi in policies], axis=0)
        for tolerance in (1.0, 1e-4, 1e-12):
            found = span_iteration(mdp, tolerance)
            error = max(abs(Fraction(float(v)) - e) for v, e in zip(found.values, exact, strict=True))
            assert error <= found.error_bound
            assert found.error_bound <= max(1.2 * tolerance, 1e-13 / (1 - gamma) ** 2)


def test_a_tolerance_below_rounding_falls_back_to_policy_iteration():
    mdp = CASES["garnet"](0.99)
    strict, best = rt.solve(mdp, tolerance=1e-300), rt.solve(mdp)
    np.testing.assert_array_equal(strict.values, best.values)
    with pytest.raises(ValueError, match="tolerance is 0"):
        rt.solve(mdp, tolerance=0)


def test_batches_horizons_and_bandits_ignore_the_tolerance():
    for problem in (
        envs.random_mdp(5, 2, n_instances=3),
        envs.random_finite_horizon(4, 2, 3),
        rt.ContextualBandit([[1.0, 0.0]]),
        envs.simplex_linear_mdp(6, 2, 3),
    ):
        np.testing.assert_array_equal(rt.solve(problem, tolerance=0.1).values, rt.solve(problem).values)


def test_ties_take_the_first_action():
    p = np.zeros((70, 3, 70))
    p[:, :, 0] = 1
    r = np.zeros((70, 3))
    r[:, 1:] = 1
    found = rt.solve(rt.TabularMDP(p, r, discount=0.9), tolerance=1e-8)
    assert (found.policy[:, 1] == 1).all()
    np.testing.assert_allclose(found.values, 10)


@pytest.mark.skipif(not COMPILED, reason="counts sweeps at a size for compiled kernels")
def test_rounds_do_not_grow_with_the_horizon():
    """Span stopping: on a chain that mixes fast, gamma = 0.9999 takes as many rounds as 0.9, a few more at most."""
    rounds = [
        span_iteration(envs.garnet(300, 4, 8, discount=g, sparse=True), 1e-6).n_improvements for g in (0.9, 0.9999)
    ]
    assert rounds[1] <= rounds[0] + 5 <= 20


@pytest.mark.kernels
@pytest.mark.parametrize("sparse", [True, False])
def test_an_improvement_is_the_greedy_one_and_what_it_returns_belongs_to_w(sparse):
    from rebel_theory.kernels import optimal as kernels

    mdp = envs.garnet(30, 4, 5, discount=0.9, seed=1)
    p, r, rng = mdp.transition, np.array(mdp.reward), np.random.default_rng(0)
    w = rng.standard_normal(30) + 7
    centred = w - (w.min() + w.max()) / 2
    expected = r + 0.9 * p @ centred
    actions = expected.argmax(1)
    actions[[3, 5, 8]] = (actions[[3, 5, 8]] + 1) % 4  # three to be found
    q, g = np.empty((30, 4)), np.empty(30)
    table = csr_array(p.reshape(120, 30))
    csr = table.data, table.indices.astype(np.uint32), table.indptr.astype(np.uint64)
    improve = partial(kernels.improve_csr, *csr) if sparse else partial(kernels.improve_dense, p)
    low, high, n_new = improve(r, 0.9, w, q, g, actions)
    np.testing.assert_allclose(w, centred, atol=1e-15)
    np.testing.assert_allclose(q, expected, atol=1e-14)
    np.testing.assert_array_equal(actions, q.argmax(1))
    np.testing.assert_allclose(g, q.max(1) - w, atol=1e-15)
    assert (low, high, n_new) == (g.min(), g.max(), 3)
