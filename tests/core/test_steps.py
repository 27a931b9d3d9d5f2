"""One update of every algorithm, on every kind of problem, from every base, against the naive reference."""

import numpy as np
import pytest
import reference as ref
from core.cases import BASES, KINDS, base, dirichlet, make, one_step, start

import rebel_theory as rt
from rebel_theory.pairs import FactorisedPairs, PairGraph
from rebel_theory.policies import TabularPolicy

TOL = {"rtol": 0, "atol": 1e-10}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("base_name", BASES)
def test_tabular_rebel(kind, base_name):
    for seed in range(3):
        rng = np.random.default_rng(seed)
        case = make(kind, rng)
        policy, pi = start(rng, case)
        given, mu = base(base_name, rng, case, pi)
        d, q = case.signal(pi)
        found = one_step(case.problem, rt.Rebel(1.7, base=given), policy)
        np.testing.assert_allclose(found, ref.rebel_tabular(d, pi, mu, q, 1.7), **TOL)
        np.testing.assert_allclose(found, ref.hedge(pi, q, 1.7), **TOL)  # E1


@pytest.mark.parametrize("kind", KINDS)
def test_tabular_natural_gradient_and_mirror_descent(kind):
    for seed in range(3):
        rng = np.random.default_rng(seed)
        case = make(kind, rng)
        policy, pi = start(rng, case)
        d, q = case.signal(pi)
        jacobian = ref.tabular_jacobian(*pi.shape)
        x = ref.npg_direction(d, pi, q, jacobian).reshape(pi.shape)
        expected = ref.softmax(np.log(pi) + 0.9 * x)
        npg = rt.NaturalPolicyGradient
        for algorithm in (npg(0.9), npg(0.9, solver=rt.ConjugateGradient())):
            np.testing.assert_allclose(one_step(case.problem, algorithm, policy), expected, rtol=0, atol=1e-8)
        np.testing.assert_allclose(one_step(case.problem, npg(0.9), policy), ref.hedge(pi, q, 0.9), **TOL)
        np.testing.assert_allclose(one_step(case.problem, rt.MirrorDescent(0.9), policy), ref.hedge(pi, q, 0.9), **TOL)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("base_name", BASES)
def test_log_linear(kind, base_name):
    for seed in range(3):
        rng = np.random.default_rng(10 + seed)
        case = make(kind, rng)
        shape = case.problem.policy_shape
        features, theta = rng.standard_normal((*shape, 4)), rng.standard_normal(4)
        phi = features.reshape(-1, shape[-1], 4)
        pi = ref.softmax(phi @ theta)
        given, mu = base(base_name, rng, case, pi)
        d, q = case.signal(pi)
        policy = rt.LogLinearPolicy(features, theta)
        rebel = rt.run(case.problem, rt.Rebel(0.6, base=given), n_iterations=1, policy=policy).final_policy
        expected = theta + 0.6 * ref.rebel_direction(d, pi, mu, q, phi)
        np.testing.assert_allclose(rebel.theta[0], expected, **TOL)
        expected = theta + 0.6 * ref.mixed_npg_direction(d, pi, mu, q, phi)  # E2 and E3
        np.testing.assert_allclose(rebel.theta[0], expected, **TOL)
        if base_name == "on-policy":
            expected = theta + 0.6 * ref.npg_direction(d, pi, q, phi)
            for solver in (rt.PseudoInverse(), rt.ConjugateGradient(200, 1e-14)):
                algorithm = rt.NaturalPolicyGradient(0.6, solver=solver)
                npg = rt.run(case.problem, algorithm, n_iterations=1, policy=policy).final_policy
                np.testing.assert_allclose(npg.theta[0], expected, rtol=0, atol=1e-8)


def test_damped_natural_gradient():
    rng = np.random.default_rng(0)
    case = make("bandit", rng)
    phi, theta = rng.standard_normal((4, 3, 2)), rng.standard_normal(2)
    pi = ref.softmax(phi @ theta)
    g, rho, r = ref.scores(pi, phi), case.raw["rho"], case.raw["reward"]
    w = rho[:, None] * pi
    fisher = np.einsum("sa,sai,saj->ij", w, g, g)
    gradient = np.einsum("sa,sai,sa->i", w, g, r)
    expected = theta + 0.5 * np.linalg.solve(fisher + 0.3 * np.eye(2), gradient)
    policy = rt.LogLinearPolicy(phi, theta)
    algorithm = rt.NaturalPolicyGradient(0.5, solver=rt.Damped(0.3))
    found = rt.run(case.problem, algorithm, n_iterations=1, policy=policy).final_policy
    np.testing.assert_allclose(found.theta[0], expected, rtol=1e-12)


def test_tabular_damped_natural_gradient_knows_the_state_weights():
    rng = np.random.default_rng(0)
    case = make("bandit", rng)
    policy, pi = start(rng, case)
    expected = np.log(pi)
    for s, rho in enumerate(case.raw["rho"]):
        fisher = rho * (np.diag(pi[s]) - np.outer(pi[s], pi[s]))
        gradient = rho * pi[s] * (case.raw["reward"][s] - pi[s] @ case.raw["reward"][s])
        expected[s] += 0.5 * np.linalg.solve(fisher + 0.1 * np.eye(3), gradient)
    found = one_step(case.problem, rt.NaturalPolicyGradient(0.5, solver=rt.Damped(0.1)), policy)
    np.testing.assert_allclose(found, ref.softmax(expected), **TOL)


def test_log_linear_min_norm_when_features_are_redundant():
    rng = np.random.default_rng(4)
    case = make("bandit", rng)
    half = rng.standard_normal((4, 3, 2))
    phi = np.concatenate([half, half, np.ones((4, 3, 1))], axis=-1)  # rank 2 of 5
    pi = np.full((4, 3), 1 / 3)
    expected = ref.rebel_direction(case.raw["rho"], pi, pi, case.raw["reward"], phi, rcond=1e-12)
    for algorithm in (rt.Rebel(1.0), rt.NaturalPolicyGradient(1.0)):
        policy = rt.LogLinearPolicy.zeros(phi)
        found = rt.run(case.problem, algorithm, n_iterations=1, policy=policy).final_policy
        np.testing.assert_allclose(found.theta[0], expected, **TOL)


def test_log_linear_mirror_descent_is_the_forward_projection():
    """The minimiser of E_d KL(target || pi_theta): its gradient E_d (pi_theta - target) phi is 0."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        case = make("mdp", rng)
        phi, theta = rng.standard_normal((4, 3, 3)), rng.standard_normal(3)
        pi = ref.softmax(phi @ theta)
        d, q = case.signal(pi)
        target = ref.hedge(pi, q, 0.8)
        policy = rt.LogLinearPolicy(phi, theta)
        new = rt.run(case.problem, rt.MirrorDescent(0.8), n_iterations=1, policy=policy).final_policy
        gradient = np.einsum("s,sa,sai->i", d, new.probs[0] - target, phi)
        np.testing.assert_allclose(gradient, 0, atol=1e-12)
        loss = sum(d[s] * ref.kl(target[s], new.probs[0, s]) for s in range(4))
        assert loss < sum(d[s] * ref.kl(target[s], pi[s]) for s in range(4))


@pytest.mark.parametrize("eta", [0.05, 0.5, 5.0])
def test_euclidean_mirror_descent(eta):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        case = make("bandit", rng, a=4)
        policy, pi = start(rng, case)
        found = one_step(case.problem, rt.MirrorDescent(eta, mirror_map="euclidean"), policy)
        for s in range(4):
            point = pi[s] + eta * case.raw["reward"][s]
            np.testing.assert_allclose(found[s], ref.project_simplex(point), **TOL)
            np.testing.assert_allclose(found[s], ref.project_simplex_by_faces(point), **TOL)


def test_euclidean_steps_that_empty_actions_run_on():
    """The support shrinks: eps and the bound are infinite where an action leaves, never NaN, and nothing warns."""
    rng = np.random.default_rng(0)
    case = make("mdp", rng)
    trace = rt.run(case.problem, rt.MirrorDescent(3.0, mirror_map="euclidean"), n_iterations=500)
    assert np.isinf(trace.regression_error[0, 0])
    assert not np.isnan(trace.regression_error).any()
    assert not np.isnan(trace.bound["total"]).any()
    assert trace.gap[0, -1] < 1e-9


@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.9])
def test_tsallis_mirror_descent(alpha):
    rng = np.random.default_rng(3)
    case = make("bandit", rng, a=4)
    policy, pi = start(rng, case)
    for eta in (0.1, 3.0):
        found = one_step(case.problem, rt.MirrorDescent(eta, mirror_map=rt.TsallisMap(alpha)), policy)
        for s in range(4):
            np.testing.assert_allclose(found[s], ref.tsallis(pi[s], eta * case.raw["reward"][s], alpha), atol=1e-9)


def test_tsallis_tends_to_kl():
    rng = np.random.default_rng(3)
    case = make("bandit", rng)
    policy, pi = start(rng, case)
    found = one_step(case.problem, rt.MirrorDescent(0.5, mirror_map=rt.TsallisMap(1 - 1e-6)), policy)
    np.testing.assert_allclose(found, ref.hedge(pi, case.raw["reward"], 0.5), atol=1e-5)


@pytest.mark.parametrize("support", [[1, 1, 0], [1, 0, 0], [1, 1, 1]])
def test_rebel_leaves_actions_that_no_pair_contains(support):
    """Support of pi and mu smaller than the actions: the min norm keeps the rest, and the component's mean."""
    rng = np.random.default_rng(1)
    mu = dirichlet(rng, 2, 3) * np.array(support)
    mu /= mu.sum(axis=1, keepdims=True)
    logits = np.where(support, rng.standard_normal((2, 3)), -np.inf)
    reward = rng.random((2, 3))
    pi = ref.softmax(logits)
    found = one_step(rt.ContextualBandit(reward), rt.Rebel(2.0, base=mu), TabularPolicy(logits))
    np.testing.assert_allclose(found, ref.rebel_tabular(np.ones(2), pi, mu, reward, 2.0), **TOL)
    np.testing.assert_array_equal(found[:, ~np.array(support, bool)], 0)


@pytest.mark.parametrize("pi_support", [[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1]])
@pytest.mark.parametrize("mu_support", [[0, 0, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0], [0, 1, 1, 1]])
def test_factorised_potentials(pi_support, mu_support):
    """Potentials of factorised pairs = min-norm lstsq over all pairs, whatever the two supports."""
    rng = np.random.default_rng(2)
    pi, mu = dirichlet(rng, 2, 4) * pi_support, dirichlet(rng, 2, 4) * mu_support
    pi, mu = pi / pi.sum(1, keepdims=True), mu / mu.sum(1, keepdims=True)
    q = rng.standard_normal((2, 4))
    with np.errstate(divide="ignore"):
        pairs = FactorisedPairs(np.array([0.3, 0.7]), np.log(pi), np.log(mu), q, np.array([True, True]))
    z = pairs.potentials()
    for s in range(2):
        one = slice(s, s + 1)
        expected = ref.rebel_direction(np.ones(1), pi[one], mu[one], q[one], np.eye(4)[None])
        np.testing.assert_allclose(z[s], expected, atol=1e-12)
    phi = rng.standard_normal((2, 4, 3))
    on_policy = FactorisedPairs(pairs.weights, pairs.log_pi, pairs.log_pi, q, pairs.visited)
    for found, law, n in ((pairs, mu, 2 * 2 * 4), (on_policy, pi, 2 * 4)):
        x, y, _ = found.rows(phi)
        a, b = ref.enumerated_pairs([0.3, 0.7], pi, law, q, phi)
        np.testing.assert_allclose(x.T @ x, a.T @ a, atol=1e-13)  # the same normal equations from 2SA or SA rows
        np.testing.assert_allclose(x.T @ y, a.T @ b, atol=1e-13)
        np.testing.assert_allclose(y @ y, b @ b, atol=1e-13)
        assert x.shape == (n, 3)


def test_pair_graph_rows():
    rng = np.random.default_rng(2)
    w = rng.random((2, 4, 4))
    w, t = w + np.swapaxes(w, 1, 2), rng.standard_normal((2, 4, 4))
    t = t - np.swapaxes(t, 1, 2)
    phi = rng.standard_normal((2, 4, 3))
    x, y, _ = PairGraph(w, t).rows(phi)
    beta = rng.standard_normal(3)
    loss = sum(
        w[s, i, j] * ((phi[s, i] - phi[s, j]) @ beta - t[s, i, j]) ** 2
        for s in range(2)
        for i in range(4)
        for j in range(i)
    )
    np.testing.assert_allclose(((x @ beta - y) ** 2).sum(), loss, rtol=1e-13)


def test_tanh_jacobian_by_finite_differences():
    rng = np.random.default_rng(5)
    points = rng.standard_normal((3, 4, 2))
    policy = rt.TanhPolicy.random(points, 3, rng)
    np.testing.assert_allclose(policy.logits(), ref.tanh_logits(points, policy.theta), atol=1e-14)
    expected = ref.finite_difference(lambda t: ref.tanh_logits(points, t), policy.theta)
    np.testing.assert_allclose(policy.jacobian(), expected, atol=1e-8)
    batch = policy.with_theta(np.stack([policy.theta, 2 * policy.theta]))
    np.testing.assert_allclose(batch.jacobian()[0], policy.jacobian(), atol=1e-15)


@pytest.mark.parametrize("base_name", BASES)
def test_gauss_newton_of_a_tanh_policy_is_a_natural_step_of_the_mixture(base_name):
    """E2 for a class that is not log-linear; the control: the Fisher matrix of pi_t is not it once mu differs."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        case = make("mdp", rng, s=6)
        policy = rt.TanhPolicy.random(rng.standard_normal((6, 3, 2)), 2, rng)
        pi, jacobian = policy.probs, policy.jacobian()
        _, mu = base(base_name, rng, case, pi)
        d, q = case.signal(pi)
        pairs = FactorisedPairs(d, np.log(pi), np.log(mu), q, d > 0)
        found = policy.gauss_newton_step(pairs, np.array(0.3)).theta - policy.theta
        np.testing.assert_allclose(found, 0.3 * ref.mixed_npg_direction(d, pi, mu, q, jacobian), atol=1e-8)
        np.testing.assert_allclose(found, 0.3 * ref.rebel_direction(d, pi, mu, q, jacobian), atol=1e-8)
        npg = 0.3 * ref.npg_direction(d, pi, q, jacobian)
        if base_name == "on-policy":
            np.testing.assert_allclose(found, npg, atol=1e-8)
            algorithm = rt.NaturalPolicyGradient(0.3)
            step = rt.run(case.problem, algorithm, n_iterations=1, policy=policy).final_policy
            np.testing.assert_allclose(step.theta[0] - policy.theta, npg, atol=1e-8)
        else:
            assert np.abs(found - npg).max() > 1e-4


def test_tanh_regression_is_stationary_and_departs_like_eta_squared():
    """E4: the full regression and its Gauss-Newton step part by O(eta^2) in total variation."""
    rng = np.random.default_rng(8)
    case = make("bandit", rng, s=6)
    policy = rt.TanhPolicy.random(rng.standard_normal((6, 3, 2)), 2, rng)
    pi, rho, reward = policy.probs, case.raw["rho"], case.raw["reward"]
    pairs = FactorisedPairs(rho, np.log(pi), np.log(pi), reward, rho > 0)
    apart = []
    for eta in (0.02, 0.01, 0.005):
        full = policy.regress(pairs, np.array(eta))
        step = policy.gauss_newton_step(pairs, np.array(eta))
        apart.append(ref.tv(full.probs, step.probs))

        def loss(theta, eta=eta):
            f = np.log(policy.with_theta(theta).probs / pi) / eta
            return ref.pair_loss(rho, pi, pi, f, reward)

        gradient = ref.finite_difference(loss, full.theta, 1e-5)
        scale = np.abs(ref.finite_difference(loss, policy.theta, 1e-5)).max()
        assert np.abs(gradient).max() < 1e-5 * scale
    slopes = -np.diff(np.log2(apart))
    assert (slopes > 1.7).all(), apart
    assert (slopes < 2.3).all(), apart


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("base_name", BASES)
def test_regression_error_is_the_enumerated_loss(kind, base_name):
    """Trace.regression_error of a misspecified class = the loss over all pairs; 0 for the tabular class."""
    rng = np.random.default_rng(6)
    case = make(kind, rng)
    shape = case.problem.policy_shape
    policy = rt.LogLinearPolicy(rng.standard_normal((*shape, 2)), rng.standard_normal(2))
    pi = policy.probs.reshape(-1, shape[-1])
    given, mu = base(base_name, rng, case, pi)
    d, q = case.signal(pi)
    trace = rt.run(case.problem, rt.Rebel(0.6, base=given), n_iterations=1, policy=policy)
    f = np.log(trace.final_policy.probs.reshape(pi.shape) / pi) / 0.6
    np.testing.assert_allclose(trace.regression_error[0, 0], ref.pair_loss(d, pi, mu, f, q), rtol=1e-10)
    assert trace.regression_error[0, 0] > 1e-4
    tabular = rt.run(case.problem, rt.Rebel(0.6, base=given), n_iterations=1)
    assert tabular.regression_error.max() < 1e-20


@pytest.mark.parametrize("kind", KINDS)
def test_gap_and_kl_by_reference(kind):
    rng = np.random.default_rng(7)
    case = make(kind, rng, s=3)
    policy, pi = start(rng, case)
    trace = rt.run(case.problem, rt.Rebel(0.5), n_iterations=3, policy=policy, keep_policies=True)
    iterates = trace.probs[0].reshape(4, *pi.shape)
    raw, rho = case.raw, case.raw["rho"]
    for t, p in enumerate(iterates):
        if kind == "game":
            gap = ref.duality_gap(raw["preference"], p, rho)
            average = ref.duality_gap(raw["preference"], iterates[: t + 1].mean(axis=0), rho)
            np.testing.assert_allclose(trace.average_gap[0, t], average, atol=1e-13)
        else:
            if kind == "bandit":
                gap = rho @ (raw["reward"].max(1) - (p * raw["reward"]).sum(1))
            elif kind == "horizon":
                v, _, _ = ref.horizon(raw["transition"], raw["reward"], p.reshape(raw["reward"].shape), rho)
                gap = rho @ (ref.horizon_optimum(raw["transition"], raw["reward"]) - v[0])
            else:
                best, _ = ref.brute_force_optimum(raw["transition"], raw["reward"], raw["gamma"], rho)
                gap = best - rho @ ref.values_by_solve(raw["transition"], raw["reward"], raw["gamma"], p)
            np.testing.assert_allclose(trace.average_gap[0, t], trace.gap[0, : t + 1].mean(), rtol=1e-13)
        np.testing.assert_allclose(trace.gap[0, t], gap, atol=1e-11)
