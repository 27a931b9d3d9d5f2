"""Adaptive policy evaluation above 64 states: every method against a plain solve, certificates, warm starts."""

import os

import numpy as np
import pytest
import reference as ref
from core.cases import dirichlet
from scipy.sparse import csr_array, eye_array
from scipy.sparse.linalg import spsolve

import rebel_envs as envs
import rebel_theory as rt
from rebel_theory.solvers import chains
from rebel_theory.solvers.linear_systems import SMALL
from rebel_theory.solvers.sparse_chains import SparseChain
from rebel_theory.solvers.transitions import transitions

COMPILED = os.environ.get("NUMBA_DISABLE_JIT", "0") == "0"
SIZE = 400 if COMPILED else 90


def plain(mdp, pi):
    """Values and occupancy by one sparse solve each."""
    s, a = mdp.policy_shape
    p = mdp.transition if mdp.is_sparse else csr_array(mdp.transition.reshape(s * a, s))
    mixer = csr_array((pi.ravel(), np.arange(s * a), np.arange(0, s * a + 1, a)), shape=(s, s * a))
    matrix = (eye_array(s) - mdp.discount * (mixer @ p)).tocsc()
    return spsolve(matrix, (pi * mdp.reward).sum(1)), (1 - mdp.discount) * spsolve(matrix.T.tocsc(), mdp.initial_dist)


CASES = {
    "chain": (lambda g: envs.chain(SIZE, discount=g, sparse=True), {"band"}),
    "chain, dense form": (lambda g: envs.chain(SIZE, discount=g), {"band"}),
    "river": (lambda g: envs.river_swim(SIZE, discount=g, sparse=True), {"band"}),
    "garnet": (lambda g: envs.garnet(SIZE, 4, 6, discount=g, sparse=True), {"sweeps"}),
    "grid": (lambda g: envs.gridworld(20, 19, slip=0.2, discount=g, sparse=True), {"krylov", "gauss-seidel", "band"}),
    "dense": (
        lambda g: envs.random_mdp(200 if COMPILED else 100, 3, discount=g),
        {"sweeps"} if COMPILED else {"sweeps", "lu"},
    ),
    "slow dense": (lambda g: slow_dense(g), {"lu"}),
}


def slow_dense(gamma):
    """Two halves that hardly ever meet: dense, and far from mixing."""
    rng = np.random.default_rng(1)
    p = dirichlet(rng, 80, 2, 80)
    p[:40, :, 40:] *= 1e-4
    p[40:, :, :40] *= 1e-4
    return rt.TabularMDP(
        p / p.sum(-1, keepdims=True), rng.random((80, 2)) + (np.arange(80) > 40)[:, None], discount=gamma
    )


@pytest.mark.parametrize("gamma", [0.5, 0.99])
@pytest.mark.parametrize("name", CASES)
def test_methods_agree_with_a_plain_solve(name, gamma):
    build, methods = CASES[name]
    mdp = build(gamma)
    assert mdp.n_states > SMALL
    pi = dirichlet(np.random.default_rng(0), *mdp.policy_shape)
    values, occupancy = plain(mdp, pi)
    found = chains.evaluate_chain(mdp, pi, mdp.reward, mdp.initial_dist, None, chains.TOLERANCE)
    if gamma == 0.99:
        assert found.method in methods
    result = rt.evaluate(mdp, pi)
    np.testing.assert_array_equal(result.values, found.values)
    assert np.abs(result.values - values).max() <= result.error_bound + 1e-11
    assert result.error_bound <= 1e-11 * (1 + np.abs(values).max())
    np.testing.assert_allclose(result.occupancy, occupancy, atol=1e-13)
    p = mdp.transition if mdp.is_sparse else mdp.transition.reshape(-1, mdp.n_states)
    np.testing.assert_allclose(result.q_values.ravel(), mdp.reward.ravel() + gamma * (p @ values), atol=1e-10)
    # a warm start changes the way, not the end
    other = dirichlet(np.random.default_rng(1), *mdp.policy_shape)
    again = rt.evaluate(mdp, pi, initial_values=rt.evaluate(mdp, 0.9 * pi + 0.1 * other).values)
    assert np.abs(again.values - result.values).max() <= again.error_bound + result.error_bound


@pytest.mark.parametrize("name", ["grid", "garnet", "dense"])
def test_each_proposal_is_enough_on_its_own(name, monkeypatch):
    """Krylov steps and Gauss-Seidel solve the same chain, for values and for visits."""
    mdp = CASES[name][0](0.9)
    pi = dirichlet(np.random.default_rng(3), *mdp.policy_shape)
    values, occupancy = plain(mdp, pi)
    if name == "dense":
        monkeypatch.setattr(chains, "_LU_SWEEPS", 0.0)
        assert chains.evaluate_chain(mdp, pi, mdp.reward, mdp.initial_dist, None, 1e-13).method == "lu"
        np.testing.assert_allclose(rt.evaluate(mdp, pi).values, values, atol=1e-11)
        np.testing.assert_allclose(rt.evaluate(mdp, pi).occupancy, occupancy, atol=1e-13)
        return
    p, start = transitions(mdp), np.array(mdp.initial_dist)
    for krylov in (False, True):
        chain = SparseChain(p, pi, (pi * mdp.reward).sum(1), 0.9, 1e-13)
        w, d = np.zeros(mdp.n_states), np.zeros(mdp.n_states)
        step = chain._krylov if krylov else chain._gauss_seidel
        for _ in range(3):
            span = step(w, 1e-13, 300)
        assert span < 1e-12
        chain._visits(d, start, krylov)
        np.testing.assert_allclose(d / d.sum(), occupancy, atol=1e-13)
        found = chains._certify(p, pi, mdp.reward, 0.9, w, d, "")
        assert np.abs(found.values - values).max() <= found.error_bound + 1e-12
        assert found.error_bound < 1e-10


@pytest.mark.parametrize("gamma", [0.9, 0.9999])
def test_the_bound_holds_for_any_proposal_and_policies_off_by_rounding(gamma):
    """Against exact rationals: wild w, rows of the policy that miss 1 by 1e-9, rewards far from 0."""
    from fractions import Fraction

    for seed in range(6):
        rng = np.random.default_rng(seed)
        p, r, pi = dirichlet(rng, 5, 2, 5), 10 + rng.random((5, 2)), dirichlet(rng, 5, 2)
        pi = pi * (1 + 1e-9 * rng.uniform(-1, 1, (5, 1))) if seed % 2 else pi
        mdp = rt.TabularMDP(p if seed < 3 else csr_array(p.reshape(10, 5)), r, discount=gamma)
        exact = ref.exact_values(dense_of(mdp), r, gamma, pi)
        w = np.array([float(v) for v in exact]) + rng.standard_normal(5) * 10.0 ** -(2 * seed)
        found = chains._certify(transitions(mdp), pi, np.array(r), gamma, w, np.zeros(5), "")
        error = max(abs(Fraction(float(v)) - e) for v, e in zip(found.values, exact, strict=True))
        assert error <= found.error_bound
        result = rt.evaluate(mdp, pi, method="iterative")
        assert max(abs(Fraction(float(v)) - e) for v, e in zip(result.values, exact, strict=True)) <= result.error_bound
        if seed % 2 == 0:
            assert result.error_bound < 1e-14 * max(abs(float(e)) for e in exact) / (1 - gamma)


def dense_of(mdp):
    return mdp.transition.toarray().reshape(5, 2, 5) if mdp.is_sparse else mdp.transition


def test_batches_are_their_instances():
    mdp = envs.garnet(80, 3, 5, discount=0.9, sparse=True)
    pi = dirichlet(np.random.default_rng(0), 2, 3, 80, 3)
    many = rt.evaluate(mdp, pi)
    for i in range(2):
        for j in range(3):
            one = rt.evaluate(mdp, pi[i, j])
            for name in ("values", "q_values", "occupancy", "objective"):
                np.testing.assert_array_equal(getattr(many, name)[i, j], getattr(one, name))
    start = rt.evaluate(mdp, pi[0, 0]).values
    warm = rt.evaluate(mdp, pi, initial_values=start)
    np.testing.assert_allclose(warm.values, many.values, atol=1e-11)


def test_warm_starts_save_sweeps(monkeypatch):
    mdp = envs.garnet(200, 3, 5, discount=0.99, sparse=True)
    pi = dirichlet(np.random.default_rng(0), 200, 3)
    near = 0.999 * pi + 0.001 / 3
    from rebel_theory.kernels import chains as kernels

    taken = []
    real = kernels.sweep_csr

    def counted(*args):
        found = real(*args)
        taken.append(found[0])
        return found

    monkeypatch.setattr(kernels, "sweep_csr", counted)
    start = rt.evaluate(mdp, pi).values
    cold = sum(taken)
    taken.clear()
    rt.evaluate(mdp, near, initial_values=start)
    assert 0 < sum(taken) < cold


def test_initial_values_are_checked():
    mdp = envs.garnet(5, 2, 2)
    with pytest.raises(rt.InvalidProblemError, match=r"initial_values has shape \(4,\), expected \(..., 5\)"):
        rt.evaluate(mdp, np.full((5, 2), 0.5), initial_values=np.zeros(4))
    with pytest.raises(rt.InvalidProblemError, match=r"initial_values\[s=1\] is nan"):
        rt.evaluate(mdp, np.full((5, 2), 0.5), initial_values=[0, np.nan, 0, 0, 0])


def test_tolerance_is_kept_and_stated():
    mdp = envs.gridworld(30 if COMPILED else 9, 30, slip=0.3, discount=0.995, sparse=True)
    pi = dirichlet(np.random.default_rng(0), *mdp.policy_shape)
    tight, loose = rt.evaluate(mdp, pi), rt.evaluate(mdp, pi, tolerance=1e-6)
    scale = np.abs(tight.values).max()
    assert tight.error_bound < 1e-10 * scale
    assert np.abs(tight.values - loose.values).max() <= loose.error_bound <= 2e-6 * scale


def test_pushes_keep_what_they_bound():
    """Pushing moves the residual into the visits: it stays the residual of the visits, and what is left is its sum."""
    from rebel_theory.kernels import visits as kernels

    mdp = envs.gridworld(9, 9, slip=0.2, discount=0.9, sparse=True)
    pi = dirichlet(np.random.default_rng(0), *mdp.policy_shape)
    chain = SparseChain(transitions(mdp), pi, (pi * mdp.reward).sum(1), 0.9, 1e-13)
    start = np.array(mdp.initial_dist)
    d, residual, again = np.zeros(mdp.n_states), start.copy(), np.empty(mdp.n_states)
    for _ in range(4):
        left = kernels.push_csr(*chain.csr, 0.9, start, d, residual, 0.0, 3)
        np.testing.assert_allclose(left, np.abs(residual).sum())
        kernels.visit_residual_csr(*chain.csr, 0.9, start, d, again)
        np.testing.assert_allclose(residual, again, atol=1e-15)
    np.testing.assert_allclose(d.sum(), 10)  # the total is known: 1 / (1 - gamma)


@pytest.mark.kernels
@pytest.mark.parametrize(("n", "n_actions"), [(1, 1), (3, 2), (5, 4), (8, 5), (11, 9)])
def test_dense_chains_of_every_remainder(n, n_actions):
    """Four rows and four actions at a time, and what is left of them: the chain, its values and its visits."""
    from rebel_theory.kernels import chains as kernels

    rng = np.random.default_rng(n)
    p, pi, start = dirichlet(rng, n, n_actions, n), dirichlet(rng, n, n_actions), dirichlet(rng, n)
    if n_actions > 2:
        pi[0, 1] = 0.0
        pi[0] /= pi[0].sum()
        p[0, 1] = np.nan  # not read
    p_pi = np.full((n, n), np.nan)
    kernels.mix_dense(pi, p, p_pi)
    p = np.nan_to_num(p)
    np.testing.assert_allclose(p_pi, np.einsum("sa,sat->st", pi, p), atol=1e-15)
    reward, w, d, g, pushed = rng.random(n), rng.standard_normal(n), rng.random(n), np.empty(n), np.empty(n)
    low, high = kernels._pass_dense(p_pi, reward, 0.9, w, g, d, pushed)
    np.testing.assert_allclose(g, reward + 0.9 * p_pi @ w - w, atol=1e-14)
    np.testing.assert_allclose(pushed, d @ p_pi, atol=1e-14)
    assert (low, high) == (g.min(), g.max())
    assert kernels.sweep_dense(p_pi, reward, start, 0.9, 1e-13, w, d, g, pushed, 1_000)
    system = np.eye(n) - 0.9 * p_pi
    values = np.linalg.solve(system, reward)
    np.testing.assert_allclose(w - w[0], values - values[0], atol=1e-12)
    np.testing.assert_allclose(d, np.linalg.solve(system.T, start), atol=1e-11)


@pytest.mark.kernels
def test_dense_sweeps_give_up_where_they_would_take_too_long():
    from rebel_theory.kernels import chains as kernels

    n = 20
    p, start, reward = 0.999 * np.eye(n) + 0.001 / n, np.full(n, 1 / n), np.random.default_rng(0).random(n)
    for budget in (3, 200):  # at gamma = 0.99 the span decays by 0.989 a sweep: thousands are needed
        w = np.zeros(n)
        assert not kernels.sweep_dense(p, reward, start, 0.99, 1e-13, w, start.copy(), w.copy(), w.copy(), budget)
        assert np.abs(w).max() <= 0.5 * min(budget, 5)  # a sweep adds at most half the span of the rewards


@pytest.mark.kernels
@pytest.mark.parametrize(("lower", "upper"), [(0, 0), (0, 3), (1, 1), (3, 0), (4, 2), (7, 7), (5, 9), (22, 22)])
def test_band_factors(lower, upper):
    """Bands narrower and wider than four, against LAPACK on the whole matrix, for it and its transpose."""
    from rebel_theory.kernels import chain_systems as kernels

    n, rng = 23, np.random.default_rng(10 * lower + upper)
    p = np.triu(np.tril(rng.random((n, n)), upper), -lower) * (rng.random((n, n)) < 0.7)
    p[n - 1, n - 1 - lower], p[0, upper] = 1.0, 1.0  # the band is as wide as stated
    p /= np.maximum(p.sum(axis=1, keepdims=True), 1e-300)
    chain = csr_array(p)
    csr = chain.data, chain.indices.astype(np.uint32), chain.indptr.astype(np.uint64)
    assert kernels.bandwidth(*csr[1:]) == (lower, upper)
    lu, b = np.full((n, lower + upper + 4), np.nan), rng.standard_normal(n)
    kernels.factor_band(*csr, 0.95, lower, upper, lu)
    x, y, system = b.copy(), b.copy(), np.eye(n) - 0.95 * p
    kernels.solve_band(lu, lower, upper, x)
    kernels.solve_band_transposed(lu, lower, upper, y)
    np.testing.assert_allclose(x, np.linalg.solve(system, b), atol=1e-11)
    np.testing.assert_allclose(y, np.linalg.solve(system.T, b), atol=1e-11)
