"""Numbers at the ends of the range: huge steps, tiny probabilities, discounts near and at 1."""

import numpy as np
import pytest
import reference as ref
from core.cases import KINDS, dirichlet, make, start

import rebel_theory as rt

ALGORITHMS = (rt.Rebel, rt.NaturalPolicyGradient, rt.MirrorDescent)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_huge_steps(kind, algorithm):
    rng = np.random.default_rng(0)
    case = make(kind, rng)
    trace = rt.run(case.problem, algorithm(1e6), n_iterations=6)
    assert np.isfinite(trace.gap).all()
    assert (trace.gap >= 0).all()
    assert np.isfinite(trace.bound["total"]).all()
    if kind != "game":
        assert trace.gap[0, -1] < 1e-12  # policy iteration


def test_huge_steps_agree():
    rng = np.random.default_rng(1)
    for _ in range(20):
        case = make("mdp", rng)
        policy, _ = start(rng, case)
        found = rt.compare(case.problem, [a(1e6) for a in ALGORITHMS], n_iterations=5, policy=policy)
        assert max(d.max() for d in found.total_variation.values()) < 1e-10


@pytest.mark.parametrize("eta", [1.0, 50.0])
def test_probabilities_of_1e_300_and_actions_ruled_out(eta):
    """Logits of -700 keep their accuracy, -inf stays out; the three algorithms agree on both."""
    logits = np.array([[0.0, -700.0, -1.0], [-np.inf, 0.0, -690.0], [-np.inf, -np.inf, 0.0]])
    reward = np.array([[0.0, 9.0, 1.0], [5.0, 0.0, 20.0], [1.0, 2.0, 3.0]])
    bandit, policy = rt.ContextualBandit(reward), rt.TabularPolicy(logits)
    expected = logits + eta * reward
    expected = expected - np.logaddexp.reduce(expected, axis=1, keepdims=True)
    for algorithm in (*(a(eta) for a in ALGORITHMS), rt.Rebel(eta, base="uniform")):
        final = rt.run(bandit, algorithm, n_iterations=1, policy=policy).final_policy
        np.testing.assert_allclose(final.log_probs[0], expected, rtol=1e-12, atol=1e-12)
        assert final.log_probs[0, 1, 0] == -np.inf


def test_many_steps_into_the_tail_and_back():
    """Rewards flip after the policy has reached 1e-300: nothing is lost on the way, exactly as for the logits."""
    policy = rt.TabularPolicy([[-345.0, 345.0]])
    bandit = rt.ContextualBandit([[1.0, 0.0]])
    for algorithm in ALGORITHMS:
        trace = rt.run(bandit, algorithm(10.0), n_iterations=69, policy=policy)
        np.testing.assert_allclose(trace.final_policy.probs[0], [[0.5, 0.5]], rtol=1e-9)
        # ln(pi_0/pi_1) = -690 + 10 t, so the gap is 1/(1 + exp(-690 + 10 t)) from above
        np.testing.assert_allclose(trace.gap[0, 60:], 1 / (1 + np.exp(-690 + 10.0 * np.arange(60, 70))), rtol=1e-9)


def test_small_gaps_keep_their_relative_accuracy():
    """Gap = Delta e^{-a}/(1 + e^{-a}) far below rounding of J, C4's exponential decay to 1e-300."""
    trace = rt.run(rt.ContextualBandit([[1.0, 0.5]]), rt.Rebel(1.0), n_iterations=1300)
    t = np.arange(1301)
    np.testing.assert_allclose(trace.gap[0], 0.5 * np.exp(-t / 2) / (1 + np.exp(-t / 2)), rtol=1e-11)


@pytest.mark.parametrize("kind", ["mdp", "linear"])
def test_discount_close_to_one(kind):
    rng = np.random.default_rng(2)
    case = make(kind, rng, gamma=0.9999)
    raw = case.raw
    pi = dirichlet(rng, 4, 3)
    found = rt.evaluate(case.problem, pi)
    v = ref.values_by_solve(raw["transition"], raw["reward"], 0.9999, pi)
    np.testing.assert_allclose(found.values, v, rtol=1e-11)
    np.testing.assert_allclose(found.occupancy.sum(), 1, rtol=1e-14)
    m = ref.policy_matrix(raw["transition"], pi)
    flow = 0.0001 * raw["rho"] + 0.9999 * found.occupancy @ m
    np.testing.assert_allclose(found.occupancy, flow, atol=1e-13)
    traces = rt.compare(case.problem, [a(0.01) for a in ALGORITHMS], n_iterations=30)
    assert max(d.max() for d in traces.total_variation.values()) < 1e-9
    gap = traces["REBEL"].gap[0]
    assert (np.diff(gap) <= 1e-9).all()


@pytest.mark.parametrize("kind", ["mdp", "linear"])
def test_discount_zero_is_a_bandit(kind):
    rng = np.random.default_rng(3)
    case = make(kind, rng, gamma=0.0)
    bandit = rt.ContextualBandit(case.raw["reward"], context_dist=case.raw["rho"])
    for algorithm in ALGORITHMS:
        one, two = (rt.run(p, algorithm(0.7), n_iterations=4) for p in (case.problem, bandit))
        np.testing.assert_allclose(one.gap, two.gap, atol=1e-14)
        np.testing.assert_allclose(one.final_policy.probs, two.final_policy.probs, atol=1e-14)
        for name, values in one.bound.items():
            np.testing.assert_allclose(values, two.bound[name], atol=1e-10)


def test_discount_zero_visits_the_first_state_only():
    p = np.full((3, 2, 3), 1 / 3)
    mdp = rt.TabularMDP(p, np.eye(3, 2), discount=0.0, initial_dist=[0, 1, 0])
    np.testing.assert_array_equal(mdp.reachable, [False, True, False])
    for algorithm in ALGORITHMS:
        final = rt.run(mdp, algorithm(1.0), n_iterations=2).final_policy.probs[0]
        np.testing.assert_array_equal(final[[0, 2]], 0.5)
        assert final[1, 1] > 0.8


def test_one_state_and_one_context():
    mdp = rt.TabularMDP(np.ones((1, 2, 1)), [[1.0, 0.0]], discount=0.5)
    for algorithm in ALGORITHMS:
        trace = rt.run(mdp, algorithm(np.log(3)), n_iterations=1)
        np.testing.assert_allclose(trace.final_policy.probs[0], [[0.75, 0.25]], rtol=1e-14)
        np.testing.assert_allclose(trace.gap, [[1.0, 0.5]], rtol=1e-13)  # 2 (1 - pi_0)


def test_no_iterations():
    trace = rt.run(rt.ContextualBandit(np.eye(2)), rt.Rebel(1.0), n_iterations=0, keep_policies=True)
    assert trace.gap.shape == (1, 1)
    assert trace.regression_error.shape == (1, 0)
    assert trace.probs.shape == (1, 1, 2, 2)
    assert trace.n_iterations == 0
    assert len(trace.to_frame()) == 1


def test_overflow_is_an_error_not_nan():
    bandit = rt.ContextualBandit([[1e308, -1e308]])
    with pytest.raises((FloatingPointError, RuntimeWarning)):
        rt.run(bandit, rt.MirrorDescent(1e6), n_iterations=1)


def test_equal_rewards_change_nothing():
    for algorithm in ALGORITHMS:
        trace = rt.run(rt.ContextualBandit(np.full((2, 3), 7.0)), algorithm(1e6), n_iterations=3)
        np.testing.assert_allclose(trace.final_policy.probs, 1 / 3, rtol=1e-7)  # rounding of q times 1e6
        np.testing.assert_array_equal(trace.gap, 0)


def test_a_subnormal_probability_makes_the_shift_of_a_game_infinite():
    """C_t is 1 / 1e-310 to the least played action: beyond the largest double, and no warning."""
    game = rt.PreferenceGame([[0.5, 0.7], [0.3, 0.5]])
    trace = rt.run(game, rt.Rebel(0.1), n_iterations=1, policy=np.array([[1.0, 1e-310]]))
    assert trace.bound["misfit"][0, 0] >= 0  # the error itself is 0 but for rounding
