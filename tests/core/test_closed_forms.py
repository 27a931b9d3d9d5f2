"""Numbers that can be checked by hand."""

import numpy as np
import pytest
import reference as ref
from scipy.special import lambertw

import rebel_theory as rt
from rebel_theory.theory import bounds

ALGORITHMS = (rt.Rebel, rt.NaturalPolicyGradient, rt.MirrorDescent)


def switch(gamma, **kwargs):
    """Two states; action 0 stays, action 1 switches; being in state 1 earns 1."""
    p = np.zeros((2, 2, 2))
    p[[0, 1], 0, [0, 1]] = 1
    p[[0, 1], 1, [1, 0]] = 1
    return rt.TabularMDP(p, [[0, 0], [1, 1]], discount=gamma, **kwargs)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_one_hedge_step(algorithm):
    bandit = rt.ContextualBandit([[1.0, 0.0]])
    trace = rt.run(bandit, algorithm(np.log(3.0)), n_iterations=2, keep_policies=True)
    np.testing.assert_allclose(trace.probs[0, :, 0], [[0.5, 0.5], [0.75, 0.25], [0.9, 0.1]], rtol=1e-14)
    np.testing.assert_allclose(trace.gap, [[0.5, 0.25, 0.1]], rtol=1e-14)
    np.testing.assert_allclose(trace.average_gap, [[0.5, 0.375, 0.85 / 3]], rtol=1e-14)
    np.testing.assert_allclose(trace.kl, [[np.log(2), np.log(4 / 3), np.log(10 / 9)]], rtol=1e-13)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.9, 0.9999])
def test_two_state_chain(gamma):
    mdp = switch(gamma, initial_dist=[1, 0])
    stay = np.array([[1.0, 0], [1, 0]])
    found = rt.evaluate(mdp, stay)
    np.testing.assert_allclose(found.values, [0, 1 / (1 - gamma)], rtol=1e-12)
    np.testing.assert_array_equal(found.occupancy, [1, 0])
    np.testing.assert_allclose(found.mass, 1 / (1 - gamma))
    swap = rt.evaluate(mdp, 1 - stay)  # 0 1 0 1 ...: gamma/(1-gamma^2) from state 0
    np.testing.assert_allclose(swap.values, np.array([gamma, 1]) / (1 - gamma**2), rtol=1e-11)
    np.testing.assert_allclose(swap.occupancy, np.array([1, gamma]) / (1 + gamma), rtol=1e-11)
    np.testing.assert_allclose(swap.q_values[0, 0], gamma**2 / (1 - gamma**2), rtol=1e-11, atol=1e-15)
    best = rt.solve(mdp)
    np.testing.assert_allclose(best.values, np.array([gamma, 1]) / (1 - gamma), rtol=1e-12)
    np.testing.assert_array_equal(best.policy, [[0, 1], [1, 0]] if gamma else [[1, 0], [1, 0]])
    np.testing.assert_allclose(best.objective, gamma / (1 - gamma))


@pytest.mark.parametrize("slip", [0.0, 0.25, 0.9])
def test_stochastic_shortest_path(slip):
    """Each step costs 1 and ends with probability 1 - slip: the expected length is 1/(1 - slip)."""
    p = np.zeros((2, 2, 2))
    p[0, 0] = p[0, 1] = [slip, 1 - slip]
    p[1, :, 1] = 1
    mdp = rt.TabularMDP(p, [[-1, -1], [0, 0]], discount=1.0, initial_dist=[1, 0])
    found = rt.evaluate(mdp, np.full((2, 2), 0.5))
    np.testing.assert_allclose(found.values, [-1 / (1 - slip), 0], rtol=1e-13)
    np.testing.assert_allclose(found.mass, 1 / (1 - slip), rtol=1e-13)
    np.testing.assert_allclose(found.occupancy, [1, 0], atol=1e-15)
    np.testing.assert_allclose(rt.solve(mdp).objective, -1 / (1 - slip), rtol=1e-13)


def test_random_walk_to_the_ends():
    """Gambler's ruin, gamma = 1: from i of 0..n, the chance of ending at n is i/n and the length is i(n - i)."""
    n = 6
    p, r = np.zeros((n + 1, 2, n + 1)), np.zeros((n + 1, 2))
    for i in range(1, n):
        p[i, :, i - 1] = p[i, :, i + 1] = 0.5
    p[0, :, 0] = p[n, :, n] = 1
    r[n - 1] = 0.5  # the reward of stepping to n, in expectation
    mdp = rt.TabularMDP(p, r, discount=1.0, initial_dist=np.eye(n + 1)[2])
    found = rt.evaluate(mdp, np.full((n + 1, 2), 0.5))
    np.testing.assert_allclose(found.values, [*(np.arange(n) / n), 0], atol=1e-14)
    np.testing.assert_allclose(found.mass, 2 * (n - 2), rtol=1e-13)
    assert found.occupancy.sum() == pytest.approx(1)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_softmax_of_the_summed_rewards(algorithm):
    """T exact updates on a bandit give pi_1 exp(eta T r)/Z."""
    reward = np.random.default_rng(0).random((3, 5))
    trace = rt.run(rt.ContextualBandit(reward), algorithm(0.7), n_iterations=20)
    np.testing.assert_allclose(trace.final_policy.probs[0], ref.softmax(14 * reward), rtol=1e-11)


@pytest.mark.parametrize("n", [2, 3, 10, 1000])
@pytest.mark.parametrize("eta_t", [0.5, 40.0])
def test_worst_case_bandit(n, eta_t):
    """C3: W((n-1)/e)/(eta T) is the largest gap of one best arm among n - 1 equal ones, and is attained."""
    constant = float(lambertw((n - 1) / np.e).real)

    def gap(delta):
        weight = (n - 1) * np.exp(-eta_t * delta)
        return delta * weight / (1 + weight)

    grid = gap(np.linspace(0, 30 / eta_t, 200_001))
    assert grid.max() <= bounds.worst_case_gap(n, eta_t, 1) * (1 + 1e-12)
    np.testing.assert_allclose(bounds.worst_case_gap(n, 2.0, eta_t / 2), constant / eta_t, rtol=1e-14)
    delta = bounds.worst_case_difference(n, eta_t / 10, 10)
    np.testing.assert_allclose(gap(delta), constant / eta_t, rtol=1e-13)
    np.testing.assert_allclose(grid.max(), constant / eta_t, rtol=1e-6)
    bandit = rt.ContextualBandit([[delta, *np.zeros(n - 1)]])
    trace = rt.run(bandit, rt.Rebel(eta_t / 10), n_iterations=10)
    np.testing.assert_allclose(trace.gap[0, -1], constant / eta_t, rtol=1e-11)


def test_worst_case_constants():
    found = bounds.worst_case_gap([2, 10, 1000], 1, 1)
    np.testing.assert_allclose(found, [0.278, 1.101, 4.421], atol=5e-4)


def test_rock_paper_scissors_leaves_the_equilibrium():
    """P2: KL(u || pi_t) of self-play grows from off the equilibrium, and stays 0 from it."""
    rps = 0.5 + 0.5 * np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    game = rt.PreferenceGame(rps)
    off = rt.run(game, rt.Rebel(0.1), n_iterations=200, policy=rt.TabularPolicy.from_probs([[0.6, 0.2, 0.2]]))
    kl = off.kl[0]
    np.testing.assert_allclose(kl[0], -np.log(0.6 * 0.04) / 3 - np.log(3), rtol=1e-12)
    assert (np.diff(kl) > 0).all()
    from_uniform = rt.run(game, rt.Rebel(0.1), n_iterations=20)
    np.testing.assert_allclose(from_uniform.gap, 0, atol=1e-15)
    np.testing.assert_allclose(from_uniform.kl, 0, atol=1e-14)
    np.testing.assert_allclose(off.gap[0, 0], 2 * 0.4, rtol=1e-14)  # paper against rock 0.6, scissors 0.2


def test_linear_mdp_of_one_feature():
    """One feature: the next state forgets everything, V = r_pi + gamma/(1-gamma) m . r_pi."""
    m, rho = np.array([[0.25, 0.75]]), [0.5, 0.5]
    mdp = rt.LinearMDP(np.ones((2, 2, 1)), m, [2.0], discount=0.5, initial_dist=rho)
    found = rt.evaluate(mdp, np.full((2, 2), 0.5))
    np.testing.assert_allclose(found.values, [4, 4])
    np.testing.assert_allclose(found.occupancy, 0.5 * np.array(rho) + 0.5 * m[0])


def test_horizon_by_hand():
    """Two steps of the switch chain from state 0: switch then stay earns 0 + 1."""
    p = switch(0.5).transition
    mdp = rt.FiniteHorizonMDP(p, [[0, 0], [1, 1]], horizon=2, initial_dist=[1, 0])
    best = rt.solve(mdp)
    assert best.objective == 1
    np.testing.assert_array_equal(best.values, [[1, 2], [0, 1]])
    np.testing.assert_array_equal(best.q_values[0], [[0, 1], [2, 1]])
    found = rt.evaluate(mdp, best.policy)
    np.testing.assert_array_equal(found.occupancy, [[0.5, 0], [0, 0.5]])
    assert found.mass == 2


def test_bounds_by_hand():
    np.testing.assert_allclose(bounds.npg_step_size(2.0, 0.75), 0.5)
    np.testing.assert_allclose(bounds.functional_step_size(0.5, 0.75), 2.0)
    np.testing.assert_allclose(bounds.curvature_bound(0.5, 2.0), 1.0)
    np.testing.assert_allclose(bounds.misfit_bound(4.0, 0.25), 1.0)
    np.testing.assert_allclose(bounds.misfit_bound(8.0, 0.25, on_policy=True), 1.0)
    assert bounds.misfit_bound(np.inf, 0.0) == 0
    np.testing.assert_allclose(bounds.regret_bound(3.0, 0.5, 6, 2.0, 0.5), 1 + 1 + 0.5)
    np.testing.assert_allclose(bounds.self_play_regret_bound(3.0, 0.5, 6, 2.0, 0.5), 5.0)
    np.testing.assert_allclose(bounds.exact_mdp_bound(2, 2.0, 10, 0.5), np.log(2) / 10 + 4 / 10)
    np.testing.assert_allclose(bounds.self_play_bound(2, 50), 2 * np.sqrt(np.log(2) / 25))
    np.testing.assert_allclose(bounds.self_play_step_size(2, 50), np.sqrt(np.log(2) / 25))
    np.testing.assert_allclose(bounds.magnetic_bound(1.0, 0.5, 2.0, 3), 1 / 8)
    np.testing.assert_allclose(bounds.extragradient_bound(3.0, 0.25, 2.0, 2), 0.75)
    np.testing.assert_allclose(bounds.nash_md_bound(2.0, 3), 0.5)
    np.testing.assert_allclose(bounds.growing_steps_bound(1.0, 2.0, 3.0, 4.0, 1, 0.5), 2 / 3 * 1.5)
    np.testing.assert_allclose(bounds.entropy_npg_bound(1.0, 2.0, 0.25, 0.5, 1, 0.5), 2.5 * 0.5 * 0.875)
    np.testing.assert_allclose(bounds.gradient_half_time(0.5, 0.5, 0.5), 4 / 3)  # 1/2 over 2/4 * 1/2 * 3/2
    np.testing.assert_allclose(bounds.natural_half_time(1 / 3, 2.0, 0.5), 1 + np.log(4))


def test_divergences_by_hand():
    p, q = [[0.5, 0.5], [1.0, 0.0]], [[0.25, 0.75], [0.5, 0.5]]
    assert rt.concentrability(p, q) == 2
    assert rt.concentrability(p, [[1.0, 0.0], [0.5, 0.5]]) == np.inf
    assert rt.concentrability(p, [[1.0, 0.0], [0.5, 0.5]], support=[0, 1]) == 2
    np.testing.assert_allclose(rt.kl_divergence(p, q, weights=[0, 1]), np.log(2))
    np.testing.assert_allclose(rt.kl_divergence(p, q), (0.5 * np.log(2) + 0.5 * np.log(2 / 3) + np.log(2)) / 2)
    assert rt.kl_divergence([[0.5, 0.5]], [[1.0, 0.0]]) == np.inf
    np.testing.assert_allclose(rt.total_variation(p, q), 0.5)
    np.testing.assert_allclose(rt.total_variation(p, q, support=[1, 0]), 0.25)


def test_fit_rate_by_hand():
    x = np.array([1, 10, 100.0])
    fit = rt.fit_rate(x, np.stack([x**-1, 3 * x**-0.5, x**-0.75]))
    np.testing.assert_allclose(fit.slopes, [-1, -0.5, -0.75], atol=1e-13)
    # t quantile 4.3027 with 2 degrees of freedom, standard deviation 0.25
    np.testing.assert_allclose([fit.slope, fit.high - fit.slope], [-0.75, 4.302653 * 0.25 / np.sqrt(3)], rtol=1e-6)
    assert np.isinf(rt.fit_rate(x, 1 / x).high)
