import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import lambertw

import rebel_envs as envs
from rebel_theory.problems import BernoulliNoise, InvalidProblemError


@pytest.mark.parametrize(("n", "gap"), [(2, 1.0), (5, 0.1), (40, 0.3)])
def test_equal_gaps_decay_as_the_closed_form(exact, n, gap):
    bandit = envs.equal_gaps_bandit(n, gap, noise=BernoulliNoise())
    for t in (0, 1, 17):
        expected = gap * (n - 1) / (n - 1 + np.exp(0.7 * gap * t))
        assert exact.exponentiated(bandit.reward[0], 0.7, t) == pytest.approx(expected, rel=1e-12)


def test_the_hard_arm_has_its_own_time_scale(exact):
    bandit = envs.hard_arm_bandit(6, 0.4, 0.03)
    for t in (0, 3, 50):
        u, v = np.exp(-0.5 * 0.03 * t), np.exp(-0.5 * 0.4 * t)
        expected = (0.03 * u + 4 * 0.4 * v) / (1 + u + 4 * v)
        assert exact.exponentiated(bandit.reward[0], 0.5, t) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("n", [2, 10, 1000])
def test_the_worst_case_attains_lamberts_function(exact, n):
    eta, t = 0.3, 40
    bandit = envs.worst_case_bandit(n, t, eta)
    attained = exact.exponentiated(bandit.reward[0], eta, t) * eta * t
    assert attained == pytest.approx(lambertw((n - 1) / np.e).real, rel=1e-10)
    # and no other gap is worse, by an independent search over the gap
    search = minimize_scalar(
        lambda d: -exact.exponentiated(np.append(d, np.zeros(n - 1)), eta, t), bounds=(0, 3), method="bounded"
    )
    assert attained >= -search.fun * eta * t - 1e-12
    assert bandit.reward[0, 0] == pytest.approx(search.x, rel=1e-3)


def test_the_figures_of_theory_c3(exact):
    attained = [exact.exponentiated(envs.worst_case_bandit(n, 7, 2.0).reward[0], 2.0, 7) * 14 for n in (2, 10, 1000)]
    assert np.round(attained, 3).tolist() == [0.278, 1.101, 4.421]


@pytest.mark.parametrize(("c", "ratio"), [(10.0, 0.94), (100.0, 0.993), (1e3, 0.9993), (1e4, 0.9999)])
def test_the_shift_floor_of_theory_c8(c, ratio):
    shift, delta, eta = envs.shift_bandit(c, 0.2), 0.2, 1.3
    pi, mu, r, phi = shift.first_policy[0], shift.base[0], shift.problem.reward[0], shift.features[0]
    logits = phi @ shift.first_theta
    np.testing.assert_allclose(np.exp(logits) / np.exp(logits).sum(), pi, rtol=1e-12)
    # the population regression by enumeration of the nine pairs, in the one-dimensional log-linear class
    w = np.outer(pi, mu)
    design = (phi[:, None, 0] - phi[None, :, 0]) / eta
    target = r[:, None] - r[None, :]
    step = (w * design * target).sum() / (w * design**2).sum()
    eps = (w * (step * design - target) ** 2).sum()
    assert step < 0  # away from a*: the policy stays at b for ever
    gap = r.max() - pi @ r
    assert gap == pytest.approx(delta, rel=1e-9)
    assert gap / np.sqrt(c * eps) == pytest.approx(shift.floor_ratio, rel=1e-8)
    assert shift.floor_ratio == pytest.approx(ratio, abs=2e-3 if c < 50 else 2e-4)
    assert 1 / mu[0] == pytest.approx(c)


def test_a_batch_of_random_bandits_is_made_of_different_instances():
    bandit = envs.random_bandit(4, 3, seed=1, n_instances=2, context_concentration=2.0)
    assert bandit.reward.shape == (2, 4, 3)
    assert not np.isclose(bandit.reward[0], bandit.reward[1]).any()
    assert np.ptp(bandit.context_dist) > 0
    np.testing.assert_array_equal(bandit.reward, envs.random_bandit(4, 3, seed=1, n_instances=2).reward)
    assert not np.isclose(envs.random_bandit(4, 3, seed=2).reward, bandit.reward[0]).any()


@pytest.mark.parametrize(
    ("build", "offender"),
    [
        (lambda: envs.random_bandit(0), "n_contexts is 0, expected a whole number of at least 1"),
        (lambda: envs.random_bandit(3, 1), "n_actions is 1, expected a whole number of at least 2"),
        (lambda: envs.random_bandit(seed=-1), "seed is -1"),
        (lambda: envs.random_bandit(2.5), "n_contexts is 2.5"),
        (lambda: envs.random_bandit(context_concentration=0.0), "context_concentration is 0.0"),
        (lambda: envs.equal_gaps_bandit(3, 1.5), "gap is 1.5, expected a number in (0, 1]: rewards stay in"),
        (lambda: envs.equal_gaps_bandit(3, float("nan")), "gap is nan"),
        (lambda: envs.hard_arm_bandit(3, 0.1, 0.2), "hard_gap is 0.2, expected less than gap = 0.1"),
        (lambda: envs.shift_bandit(6.0), "concentrability is 6.0"),
        (lambda: envs.worst_case_bandit(3, 0), "n_updates is 0"),
        (lambda: envs.worst_case_bandit(3, 5, 0.0), "step_size is 0.0"),
    ],
)
def test_bad_hyperparameters_are_named(build, offender):
    with pytest.raises(InvalidProblemError) as error:
        build()
    assert offender in str(error.value)
