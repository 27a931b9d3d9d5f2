"""Exact evaluation and optimal solutions: encodings, solvers and certificates agree with naive references."""

from fractions import Fraction

import numpy as np
import pytest
import reference as ref
from core.cases import KINDS, dirichlet, make, preference
from scipy.sparse import coo_array, csc_array, csr_array, csr_matrix

import rebel_theory as rt

METHODS = ("auto", "dense", "sparse", "iterative")


def sparse(p):
    return csr_array(p.reshape(-1, p.shape[-1]))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.95])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("encoding", ["dense", "csr"])
def test_values_q_values_occupancy(gamma, method, encoding):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        s, a = int(rng.integers(1, 7)), int(rng.integers(2, 4))
        p = dirichlet(rng, s, a, s, concentration=0.2)
        r, rho, pi = rng.uniform(-1, 1, (s, a)), dirichlet(rng, s), dirichlet(rng, s, a)
        mdp = rt.TabularMDP(p if encoding == "dense" else sparse(p), r, discount=gamma, initial_dist=rho)
        found = rt.evaluate(mdp, pi, method=method)
        v = ref.values_by_solve(p, r, gamma, pi)
        power = ref.values_by_power(p, r, gamma, pi, 800)
        np.testing.assert_allclose(power.astype(float), v, atol=1e-12)  # the two references agree
        np.testing.assert_allclose(found.values, v, atol=1e-11)
        np.testing.assert_allclose(found.q_values, ref.q_from(p, r, gamma, v), atol=1e-11)
        np.testing.assert_allclose(found.occupancy, ref.occupancy(p, gamma, pi, rho), atol=1e-11)
        np.testing.assert_allclose(found.objective, rho @ v, atol=1e-11)
        np.testing.assert_allclose(found.mass, 1 / (1 - gamma))


def test_all_sparse_formats_are_read():
    rng = np.random.default_rng(0)
    p, r, pi = dirichlet(rng, 4, 2, 4), rng.random((4, 2)), dirichlet(rng, 4, 2)
    flat = p.reshape(8, 4)
    values = [
        rt.evaluate(rt.TabularMDP(m, r, discount=0.9), pi).values
        for m in (p, csr_array(flat), csr_matrix(flat), csc_array(flat), coo_array(flat))
    ]
    for v in values[1:]:
        np.testing.assert_allclose(v, values[0], rtol=1e-13)


@pytest.mark.parametrize("n_states", [80, 1600])
def test_large_problems_take_other_paths(n_states):
    """Above 64 states one LU serves both systems; above 1500 sparse ones go by band: a lazy chain in closed form."""
    i = np.arange(n_states)
    to = np.minimum(i + 1, n_states - 1)
    rows = np.repeat(np.arange(2 * n_states), 2)
    columns = np.stack([i, to, i, to], axis=1).ravel()
    data = np.tile([0.5, 0.5, 0.25, 0.75], n_states)
    p = coo_array((data, (rows, columns)), shape=(2 * n_states, n_states)).tocsr()
    r = np.zeros((n_states, 2))
    r[-1] = 1
    gamma, go = 0.99, 0.625  # P(move) under the uniform policy
    mdp = rt.TabularMDP(p, r, discount=gamma)
    pi = np.full((n_states, 2), 0.5)
    factor = gamma * go / (1 - gamma * (1 - go))
    expected = factor ** (n_states - 1 - i) / (1 - gamma)
    for method in METHODS if n_states < 100 else ("auto", "iterative"):
        found = rt.evaluate(mdp, pi, method=method)
        np.testing.assert_allclose(found.values, expected, atol=1e-9)
        assert np.abs(found.values - expected).max() <= found.error_bound + 1e-12
        assert found.error_bound < 1e-6
        np.testing.assert_allclose(found.occupancy.sum(), 1)
        np.testing.assert_allclose(found.mass * (found.occupancy * r[:, 0]).sum(), found.objective, rtol=1e-9)
    if n_states < 100:
        dense = rt.TabularMDP(p.toarray().reshape(n_states, 2, n_states), r, discount=gamma)
        np.testing.assert_allclose(rt.evaluate(dense, pi).values, expected, atol=1e-10)
        np.testing.assert_allclose(rt.evaluate(dense, pi).occupancy, found.occupancy, atol=1e-11)


def test_random_sparse_graph_that_fills_in_is_iterated():
    rng = np.random.default_rng(0)
    s = 1600
    columns = rng.integers(s, size=(2 * s, 4))
    rows = np.repeat(np.arange(2 * s), 4)
    p = coo_array((np.full(8 * s, 0.25), (rows, columns.ravel())), shape=(2 * s, s)).tocsr()
    mdp = rt.TabularMDP(p, rng.random((s, 2)), discount=0.9)
    pi = dirichlet(rng, s, 2)
    auto, dense = rt.evaluate(mdp, pi, method="iterative"), rt.evaluate(mdp, pi, method="dense")
    assert np.abs(auto.values - dense.values).max() <= auto.error_bound + dense.error_bound
    np.testing.assert_allclose(auto.occupancy, dense.occupancy, atol=1e-13)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.99, 0.9999])
def test_error_bound_bounds_the_error(gamma):
    """Against exact rational arithmetic on the very floats that were given."""
    tightest = np.inf
    for seed in range(15):
        rng = np.random.default_rng(seed)
        s, a = int(rng.integers(1, 6)), int(rng.integers(2, 4))
        p, r, pi = dirichlet(rng, s, a, s), rng.uniform(-3, 3, (s, a)), dirichlet(rng, s, a)
        mdp = rt.TabularMDP(p, r, discount=gamma)
        exact = ref.exact_values(mdp.transition, r, gamma, pi)
        for method in METHODS if gamma < 0.999 or seed < 2 else METHODS[:3]:
            found = rt.evaluate(mdp, pi, method=method)
            error = max(abs(Fraction(float(v)) - e) for v, e in zip(found.values, exact, strict=True))
            assert error <= found.error_bound
            tightest = min(tightest, found.error_bound)
    assert tightest < 1e-13 / (1 - gamma) ** 2  # a bound of infinity would do too


@pytest.mark.parametrize("gamma", [0.5, 0.99])
def test_error_bound_of_a_linear_mdp(gamma):
    for seed in range(10):
        rng = np.random.default_rng(seed)
        turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]  # signed features and measures
        phi, m, theta = dirichlet(rng, 4, 2, 3) @ turn, turn.T @ dirichlet(rng, 3, 4), rng.standard_normal(3)
        mdp = rt.LinearMDP(phi, m, theta, discount=gamma)
        pi = dirichlet(rng, 4, 2)
        f = Fraction
        p = [
            [[sum(f(phi[i, j, k]) * f(m[k, t]) for k in range(3)) for t in range(4)] for j in range(2)]
            for i in range(4)
        ]
        r = [[sum(f(phi[i, j, k]) * f(theta[k]) for k in range(3)) for j in range(2)] for i in range(4)]
        exact = ref.exact_values(np.array(p, dtype=object), np.array(r, dtype=object), gamma, pi)
        found = rt.evaluate(mdp, pi)
        error = max(abs(Fraction(float(v)) - e) for v, e in zip(found.values, exact, strict=True))
        assert error <= found.error_bound < 1e-11 / (1 - gamma)


def test_solution_certificates_against_all_deterministic_policies():
    for seed in range(40):
        rng = np.random.default_rng(seed)
        s, a = int(rng.integers(1, 5)), int(rng.integers(2, 4))
        gamma = float(rng.choice([0.0, 0.6, 0.97]))
        p, r, rho = dirichlet(rng, s, a, s, concentration=0.3), rng.uniform(-1, 1, (s, a)), dirichlet(rng, s)
        best, pointwise = ref.brute_force_optimum(p, r, gamma, rho)
        for transition in (p, sparse(p)):
            found = rt.solve(rt.TabularMDP(transition, r, discount=gamma, initial_dist=rho))
            assert np.abs(found.values - pointwise).max() <= found.error_bound + 1e-11
            assert 0 <= found.error_bound < 1e-9
            np.testing.assert_allclose(found.objective, best, atol=1e-10)
            np.testing.assert_allclose(rho @ ref.values_by_solve(p, r, gamma, found.policy), best, atol=1e-10)
            np.testing.assert_allclose(found.q_values, ref.q_from(p, r, gamma, pointwise), atol=1e-10)
        np.testing.assert_allclose(ref.value_iteration(p, r, gamma), pointwise, atol=1e-10)


def test_solve_bandit_shares_ties_and_game_is_refused():
    found = rt.solve(rt.ContextualBandit([[1.0, 1.0, 0.0], [0.0, 0.5, 0.2]]))
    np.testing.assert_array_equal(found.policy, [[0.5, 0.5, 0], [0, 1, 0]])
    assert found.error_bound == 0
    with pytest.raises(TypeError, match="von_neumann_winner"):
        rt.solve(make("game", np.random.default_rng(0)).problem)


@pytest.mark.parametrize("method", ["auto", "dense", "sparse"])
@pytest.mark.parametrize("encoding", ["dense", "csr"])
def test_frozen_lake_like_chain_without_discount(method, encoding):
    """Holes and a goal are absorbing; every policy ends. Values by the transient block, written out."""
    rng = np.random.default_rng(3)
    s, a = 6, 2
    p, r = dirichlet(rng, s, a, s), rng.uniform(-1, 1, (s, a))
    p[4:] = 0
    p[4, :, 4] = p[5, :, 5] = 1
    r[4:] = 0
    rho, pi = dirichlet(rng, s), dirichlet(rng, s, a)
    mdp = rt.TabularMDP(p if encoding == "dense" else sparse(p), r, discount=1.0, initial_dist=rho)
    np.testing.assert_array_equal(mdp.absorbing, [0, 0, 0, 0, 1, 1])
    m = ref.policy_matrix(p, pi)[:4, :4]
    v = np.linalg.solve(np.eye(4) - m, (pi * r).sum(1)[:4])
    visits = np.linalg.solve(np.eye(4) - m.T, rho[:4])
    found = rt.evaluate(mdp, pi, method=method)
    np.testing.assert_allclose(found.values, [*v, 0, 0], atol=1e-12)
    np.testing.assert_allclose(found.mass, visits.sum(), rtol=1e-12)
    np.testing.assert_allclose(found.occupancy, [*(visits / visits.sum()), 0, 0], atol=1e-13)
    np.testing.assert_allclose(found.mass * found.occupancy @ (pi * r).sum(1), found.objective, rtol=1e-11)
    assert np.abs(found.values[:4] - v).max() <= found.error_bound + 1e-13
    best = rt.solve(mdp)
    optimum = max(
        rho[:4] @ np.linalg.solve(np.eye(4) - ref.policy_matrix(p, one)[:4, :4], (one * r).sum(1)[:4])
        for one in (np.eye(2)[[*bits, 0, 0]] for bits in np.ndindex(2, 2, 2, 2))
    )
    np.testing.assert_allclose(best.objective, optimum, atol=1e-11)
    trace = rt.compare(mdp, [rt.Rebel(1.0), rt.NaturalPolicyGradient(1.0), rt.MirrorDescent(1.0)], n_iterations=60)
    assert max(d.max() for d in trace.total_variation.values()) < 1e-10
    assert trace["REBEL"].gap[0, -1] < 1e-8
    np.testing.assert_allclose(trace["MD"].final_policy.probs[0, 4:], 0.5)  # after the end nothing is learned


def test_iterative_needs_a_discount():
    p = np.zeros((2, 2, 2))
    p[:, :, 1] = 1
    mdp = rt.TabularMDP(p, [[1, 1], [0, 0]], discount=1.0)
    with pytest.raises(ValueError, match="discount below 1"):
        rt.evaluate(mdp, np.full((2, 2), 0.5), method="iterative")


@pytest.mark.parametrize("turned", [False, True])
def test_linear_mdp_and_its_dense_twin(turned):
    for seed in range(10):
        rng = np.random.default_rng(seed)
        phi, m, theta = dirichlet(rng, 5, 3, 3), dirichlet(rng, 3, 5), rng.standard_normal(3)
        if turned:
            turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
            phi, m, theta = phi @ turn, turn.T @ m, turn.T @ theta
        rho, pi = dirichlet(rng, 5), dirichlet(rng, 5, 3)
        linear = rt.LinearMDP(phi, m, theta, discount=0.9, initial_dist=rho)
        dense = rt.TabularMDP(np.maximum(phi @ m, 0), phi @ theta, discount=0.9, initial_dist=rho)
        one, two = rt.evaluate(linear, pi), rt.evaluate(dense, pi)
        for name in ("values", "q_values", "occupancy", "objective", "mass"):
            np.testing.assert_allclose(getattr(one, name), getattr(two, name), atol=1e-11)
        one, two = rt.solve(linear), rt.solve(dense)
        np.testing.assert_allclose(one.values, two.values, atol=1e-11)
        assert np.abs(one.values - two.values).max() <= one.error_bound + two.error_bound
        for policy in (None, rt.LogLinearPolicy.zeros(phi)):
            gaps = [rt.run(p, rt.Rebel(0.3), n_iterations=5, policy=policy).gap for p in (linear, dense)]
            np.testing.assert_allclose(*gaps, atol=1e-11)


def test_finite_horizon_and_its_time_expansion():
    for seed in range(10):
        rng = np.random.default_rng(seed)
        case = make("horizon", rng)
        p, r, rho = (case.raw[k] for k in ("transition", "reward", "rho"))
        big, reward, start = ref.time_expanded(p, r, rho)
        twin = rt.TabularMDP(big, reward, discount=1.0, initial_dist=start)
        pi = dirichlet(rng, 3, 4, 3)
        flat = np.concatenate([pi.reshape(12, 3), np.full((1, 3), 1 / 3)])
        one, two = rt.evaluate(case.problem, pi), rt.evaluate(twin, flat)
        v, q, d = ref.horizon(p, r, pi, rho)
        np.testing.assert_allclose(one.values, v, atol=1e-13)
        np.testing.assert_allclose(one.q_values, q, atol=1e-13)
        np.testing.assert_allclose(one.occupancy, d, atol=1e-14)
        np.testing.assert_allclose(two.values[:-1], v.ravel(), atol=1e-12)
        np.testing.assert_allclose(two.occupancy[:-1], d.ravel(), atol=1e-13)
        np.testing.assert_allclose([one.objective, two.objective], rho @ v[0])
        np.testing.assert_allclose([one.mass, two.mass], 3)
        best = rt.solve(case.problem)
        np.testing.assert_allclose(best.values.ravel(), rt.solve(twin).values[:-1], atol=1e-12)
        np.testing.assert_allclose(best.values[0], ref.horizon_optimum(p, r), atol=1e-13)
        traces = [rt.run(m, rt.Rebel(0.8), n_iterations=6) for m in (case.problem, twin)]
        np.testing.assert_allclose(traces[0].gap, traces[1].gap, atol=1e-12)
        for a, b in zip(traces[0].bound.values(), traces[1].bound.values(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_stationary_horizon_policy_is_repeated():
    rng = np.random.default_rng(1)
    p, r, pi = dirichlet(rng, 4, 2, 4), rng.random((4, 2)), dirichlet(rng, 4, 2)
    mdp = rt.FiniteHorizonMDP(p, r, horizon=5)
    np.testing.assert_array_equal(rt.evaluate(mdp, pi).values, rt.evaluate(mdp, np.tile(pi, (5, 1, 1))).values)


def test_game_signal_and_gap():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x, y = int(rng.integers(1, 4)), int(rng.integers(2, 5))
        pref, rho, pi = preference(rng, x, y), dirichlet(rng, x), dirichlet(rng, x, y)
        found = rt.evaluate(rt.PreferenceGame(pref, context_dist=rho), pi)
        np.testing.assert_allclose(found.q_values, ref.game_signal(pref, pi), atol=1e-14)
        np.testing.assert_allclose(found.objective, ref.duality_gap(pref, pi, rho), atol=1e-14)
        np.testing.assert_array_equal(found.occupancy, rt.PreferenceGame(pref, context_dist=rho).context_dist)


def unreachable(gamma):
    """States 3 and 4 feed each other and the rest, and nothing leads to them."""
    rng = np.random.default_rng(5)
    p = np.zeros((5, 3, 5))
    p[:3, :, :3] = dirichlet(rng, 3, 3, 3)
    p[3:] = dirichlet(rng, 2, 3, 5)
    return p, rng.random((5, 3)), np.array([0.4, 0.6, 0, 0, 0]), gamma


@pytest.mark.parametrize("encoding", ["dense", "csr"])
def test_unreachable_states_stay_where_they_were(encoding):
    p, r, rho, gamma = unreachable(0.9)
    mdp = rt.TabularMDP(p if encoding == "dense" else sparse(p), r, discount=gamma, initial_dist=rho)
    np.testing.assert_array_equal(mdp.reachable, [1, 1, 1, 0, 0])
    logits = np.random.default_rng(0).standard_normal((5, 3))
    for policy in (rt.TabularPolicy(logits), rt.TabularPolicy(np.where(np.eye(5, 3) > 0, -np.inf, logits))):
        for algorithm in (
            rt.Rebel(1.0), rt.Rebel(1.0, base="uniform"), rt.NaturalPolicyGradient(1.0), rt.MirrorDescent(1.0),
            rt.MirrorDescent(1.0, mirror_map="euclidean"),
        ):  # fmt: skip
            final = rt.run(mdp, algorithm, n_iterations=5, policy=policy).final_policy.probs[0]
            np.testing.assert_allclose(final[3:], policy.probs[3:], atol=1e-14)
            assert (np.abs(final[:3] - policy.probs[:3]).max(axis=1) > 1e-3).all()


def test_far_states_are_visited_although_their_weight_underflows():
    """A chain whose right end has weight 1e-400: reachable, so it learns like every other state."""
    n = 200
    p, r = np.zeros((n, 2, n)), np.zeros((n, 2))
    i = np.arange(n)
    p[i, 0, np.maximum(i - 1, 0)] = 1
    p[i, 1, np.maximum(i - 1, 0)] = 0.99
    p[i, 1, np.minimum(i + 1, n - 1)] += 0.01
    r[:, 0] = 1
    mdp = rt.TabularMDP(p, r, discount=0.5, initial_dist=np.eye(n)[0])
    found = rt.compare(mdp, [rt.Rebel(1.0), rt.NaturalPolicyGradient(1.0), rt.MirrorDescent(1.0)], n_iterations=3)
    assert max(d.max() for d in found.total_variation.values()) < 1e-12
    assert mdp.reachable.all()
    assert (found["REBEL"].final_policy.probs[0, :, 0] > 0.9).all()


def test_horizon_unreachable_rows_stay():
    rng = np.random.default_rng(2)
    p = dirichlet(rng, 3, 2, 3)
    mdp = rt.FiniteHorizonMDP(p, rng.random((3, 2)), horizon=2, initial_dist=[1, 0, 0])
    np.testing.assert_array_equal(mdp.reachable, [[1, 0, 0], [1, 1, 1]])
    for algorithm in (rt.Rebel(1.0), rt.NaturalPolicyGradient(1.0), rt.MirrorDescent(1.0)):
        final = rt.run(mdp, algorithm, n_iterations=2).final_policy.probs[0]
        np.testing.assert_array_equal(final[0, 1:], 0.5)


@pytest.mark.parametrize("turned", [False, True])
def test_linear_mdp_unreachable_rows_stay(turned):
    """Two blocks of a linear MDP; with turned (signed) features the zeros hold up to rounding only."""
    rng = np.random.default_rng(2)
    phi, m = np.zeros((4, 2, 4)), np.zeros((4, 4))
    phi[:2, :, :2], phi[2:, :, 2:] = dirichlet(rng, 2, 2, 2), dirichlet(rng, 2, 2, 2)
    m[:2, :2], m[2:, 2:] = dirichlet(rng, 2, 2), dirichlet(rng, 2, 2)
    turn = np.linalg.qr(rng.standard_normal((4, 4)))[0] if turned else np.eye(4)
    mdp = rt.LinearMDP(phi @ turn, turn.T @ m, rng.random(4), discount=0.9, initial_dist=[0.5, 0.5, 0, 0])
    for algorithm in (rt.Rebel(1.0), rt.NaturalPolicyGradient(1.0), rt.MirrorDescent(1.0)):
        final = rt.run(mdp, algorithm, n_iterations=2).final_policy.probs[0]
        np.testing.assert_array_equal(final[2:], 0.5)
        assert np.abs(final[:2] - 0.5).max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_method_is_refused_with_the_options(kind):
    case = make(kind, np.random.default_rng(0))
    uniform = np.full(case.problem.policy_shape, 1 / case.problem.n_actions)
    with pytest.raises(ValueError, match="method is 'typo', expected one of 'auto', 'dense', 'sparse', 'iterative'"):
        rt.evaluate(case.problem, uniform, method="typo")
