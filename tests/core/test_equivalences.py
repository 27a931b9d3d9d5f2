"""E1-E3 and E11 at machine precision on many random instances, with the places where they must fail."""

import numpy as np
import reference as ref
from core.cases import dirichlet

import rebel_theory as rt
from rebel_theory.pairs import FactorisedPairs, PairGraph

N_INSTANCES = 200


def instances(seed, n=N_INSTANCES):
    """(rng, mdp or bandit, policy) of every shape, S from 1, A from 2."""
    rng = np.random.default_rng(seed)
    for i in range(n):
        s, a = int(rng.integers(1, 7)), int(rng.integers(2, 6))
        gamma = float(rng.choice([0.0, 0.5, 0.9, 0.99]))
        r, rho = rng.uniform(-2, 2, (s, a)), dirichlet(rng, s)
        if i % 2:
            yield rng, rt.ContextualBandit(r, context_dist=rho), rng.standard_normal((s, a))
        else:
            p = dirichlet(rng, s, a, s, concentration=0.3)
            yield rng, rt.TabularMDP(p, r, discount=gamma, initial_dist=rho), rng.standard_normal((s, a))


def last(problem, algorithm, policy, n=3):
    return rt.run(problem, algorithm, n_iterations=n, policy=policy).final_policy


def test_e1_tabular_three_algorithms_coincide_from_any_base():
    for rng, problem, logits in instances(1):
        eta = float(rng.choice([0.01, 1.0, 20.0])) * (1 - getattr(problem, "discount", 0.0))
        policy = rt.TabularPolicy(logits)
        expected = last(problem, rt.MirrorDescent(eta), policy).probs
        mu = dirichlet(rng, *logits.shape)
        for algorithm in (
            rt.NaturalPolicyGradient(eta), rt.Rebel(eta), rt.Rebel(eta, base="uniform"), rt.Rebel(eta, base=mu),
        ):  # fmt: skip
            assert rt.total_variation(last(problem, algorithm, policy).probs, expected).max() < 1e-10


def test_e2_e3_log_linear_regression_is_its_gauss_newton_and_mixture_step():
    for rng, problem, logits in instances(2):
        s, a = logits.shape
        k = int(rng.integers(1, 5))
        phi, theta = rng.standard_normal((s, a, k)), rng.standard_normal(k)
        mu = dirichlet(rng, s, a)
        policy = rt.LogLinearPolicy(phi, theta)
        found = rt.evaluate(problem, policy)
        d, q, pi = found.occupancy, found.q_values, policy.probs
        new = last(problem, rt.Rebel(1.0, base=mu), policy, 1)
        pairs = FactorisedPairs(d, policy.log_probs, np.log(mu), q, d > 0)
        newton = policy.gauss_newton_step(pairs, np.array(1.0))
        mixture = theta + ref.mixed_npg_direction(d, pi, mu, q, phi)
        assert ref.tv(new.probs[0], newton.probs) < 1e-10
        assert ref.tv(new.probs[0], ref.softmax(phi @ mixture)) < 1e-10
        on_policy = last(problem, rt.Rebel(1.0), policy, 1).probs
        npg = last(problem, rt.NaturalPolicyGradient(1.0), policy, 1).probs
        assert rt.total_variation(on_policy, npg).max() < 1e-10


def test_e2_control_the_base_matters_for_a_log_linear_class():
    apart = []
    for rng, problem, logits in instances(3, 40):
        s, a = logits.shape
        if s < 3:
            continue
        policy = rt.LogLinearPolicy.zeros(rng.standard_normal((s, a, 2)))
        mu = dirichlet(rng, s, a)
        one = last(problem, rt.Rebel(1.0, base=mu), policy, 1).probs
        two = last(problem, rt.Rebel(1.0), policy, 1).probs
        apart.append(float(rt.total_variation(one, two).max()))
    assert np.median(apart) > 1e-3


def test_e1_control_a_disconnected_pair_graph():
    """Pairs within {0, 1} and within {2, 3} only: each block keeps its mass, mirror descent does not."""
    w = np.zeros((1, 4, 4))
    w[0, [0, 1, 2, 3], [1, 0, 3, 2]] = 1.0
    q = np.array([[3.0, 2.0, 1.0, 0.0]])
    policy = rt.TabularPolicy(np.zeros((1, 4)))
    z = PairGraph(w, q[..., :, None] - q[..., None, :]).potentials()
    np.testing.assert_allclose(z, [[0.5, -0.5, 0.5, -0.5]])
    new = policy.step(z, np.array(1.0)).probs
    np.testing.assert_allclose(new[0, :2].sum(), 0.5)
    assert ref.tv(new, ref.hedge(policy.probs, q, 1.0)) > 0.3


def test_e11_a_shift_per_context_changes_nothing_and_one_per_action_does():
    for rng, problem, logits in instances(4, 40):
        if not isinstance(problem, rt.ContextualBandit):
            continue
        shift = rng.standard_normal((logits.shape[0], 1)) * 10
        other = rt.ContextualBandit(problem.reward + shift, context_dist=problem.context_dist)
        third = rt.ContextualBandit(
            problem.reward + rng.standard_normal(logits.shape[1]), context_dist=problem.context_dist
        )
        for algorithm in (rt.Rebel(0.5), rt.NaturalPolicyGradient(0.5), rt.MirrorDescent(0.5)):
            one, two = (last(p, algorithm, rt.TabularPolicy(logits)).probs for p in (problem, other))
            assert rt.total_variation(one, two).max() < 1e-12
            assert rt.total_variation(one, last(third, algorithm, rt.TabularPolicy(logits)).probs).max() > 1e-3


def test_e10_step_sizes_convert():
    """Tabular NPG on V with F under the normalised occupancy: eta = eta_npg/(1-gamma), by finite differences."""
    rng = np.random.default_rng(0)
    gamma, s, a = 0.7, 3, 2
    p, r, rho = dirichlet(rng, s, a, s), rng.random((s, a)), dirichlet(rng, s)
    logits = rng.standard_normal((s, a))

    def objective(flat):
        return rho @ ref.values_by_solve(p, r, gamma, ref.softmax(flat.reshape(s, a)))

    pi = ref.softmax(logits)
    gradient = ref.finite_difference(objective, logits.ravel())
    d = ref.occupancy(p, gamma, pi, rho)
    fisher = np.zeros((s * a, s * a))
    for i in range(s):
        block = slice(i * a, (i + 1) * a)
        fisher[block, block] = d[i] * (np.diag(pi[i]) - np.outer(pi[i], pi[i]))
    eta_npg = 0.4
    expected = ref.softmax(logits + eta_npg * (np.linalg.pinv(fisher, rcond=1e-10) @ gradient).reshape(s, a))
    mdp = rt.TabularMDP(p, r, discount=gamma, initial_dist=rho)
    eta = float(rt.functional_step_size(eta_npg, gamma))
    found = last(mdp, rt.NaturalPolicyGradient(eta), rt.TabularPolicy(logits), 1).probs[0]
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_e8_one_step_from_a_reference_policy_is_the_regularised_optimum():
    """Eta = 1/beta: the maximiser of E r - beta KL(pi || pi_ref), by comparison with perturbed policies."""
    rng = np.random.default_rng(1)
    r, pi, beta = rng.random((1, 4)), dirichlet(rng, 1, 4), 0.3
    new = last(rt.ContextualBandit(r), rt.Rebel(1 / beta), rt.TabularPolicy.from_probs(pi), 1).probs[0]

    def value(p):
        return (p * r).sum() - beta * ref.kl(p[0], pi[0])

    best = value(new)
    for _ in range(200):
        assert value(ref.softmax(np.log(new) + 0.1 * rng.standard_normal((1, 4)))) < best
    np.testing.assert_allclose(best, beta * np.log((pi * np.exp(r / beta)).sum()), rtol=1e-12)
