"""Bradley-Terry by maximum likelihood and the bootstrap test of cycles against noise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import minimize

from rebel_theory.problems.base import InvalidProblemError
from rebel_theory.problems.game import PreferenceGame
from rebel_theory.solvers.games import duality_gap
from rebel_theory.theory.bradley_terry import bradley_terry
from rebel_theory.theory.cycle_test import likelihood_ratio_bootstrap


def sigma(s):
    return 1 / (1 + np.exp(s[None, :] - s[:, None]))


def draw(rng, P, n):
    upper = np.triu(rng.binomial(n, P), 1)
    return upper + np.tril(np.where(np.eye(len(P)), 0, n) - upper.T, -1)


def naive_objective(s, wins, ridge):
    total = 0.0
    for y in range(len(s)):
        for z in range(len(s)):
            if y != z:
                total += wins[y][z] * np.log1p(np.exp(s[z] - s[y]))
    return total + ridge / 2 * s @ s


def test_two_arms_in_closed_form():
    fit = bradley_terry([[7, 30], [10, 99]])  # the diagonal is ignored
    assert_allclose(fit.strengths, [np.log(3) / 2, -np.log(3) / 2], rtol=1e-12)
    assert_allclose(fit.probs, [[0.5, 0.75], [0.25, 0.5]], rtol=1e-12)
    assert_allclose(fit.log_likelihood, 30 * np.log(0.75) + 10 * np.log(0.25), rtol=1e-12)
    assert fit.deviance == pytest.approx(0, abs=1e-11)
    assert fit.degrees_of_freedom == 0
    assert fit.best == 0


def test_a_bradley_terry_matrix_is_recovered_exactly():
    s = np.array([2.0, 0.3, -1.1, -1.2])
    fit = bradley_terry(sigma(s), weights=100 * np.ones((4, 4)))
    assert_allclose(fit.strengths, s - s.mean(), atol=1e-12)
    assert fit.deviance < 1e-9
    assert fit.degrees_of_freedom == 3


def test_rock_paper_scissors_is_flat_and_its_deviance_is_a_formula():
    P = np.array([[0.5, 0.1, 0.9], [0.9, 0.5, 0.1], [0.1, 0.9, 0.5]])
    fit = bradley_terry(P, weights=np.full((3, 3), 50.0))
    assert_allclose(fit.strengths, 0, atol=1e-14)
    entropy = -(0.1 * np.log(0.1) + 0.9 * np.log(0.9))
    assert_allclose(fit.deviance, 2 * 150 * (np.log(2) - entropy), rtol=1e-12)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.sampled_from([0.0, 0.3, 4.0]))
def test_against_a_generic_minimiser(seed, n, ridge):
    rng = np.random.default_rng(seed)
    wins = rng.gamma(0.5, 4, (n, n)) + 0.05
    fit = bradley_terry(wins, ridge=ridge)
    generic = minimize(naive_objective, np.zeros(n), args=(wins, ridge), options={"gtol": 1e-7})
    assert_allclose(fit.strengths, generic.x - generic.x.mean(), atol=1e-5)
    assert fit.gradient_norm < 1e-9 * wins.sum()
    assert naive_objective(fit.strengths, wins, ridge) <= generic.fun + 1e-12 * abs(generic.fun)
    order = rng.permutation(n)
    relabelled = bradley_terry(wins[np.ix_(order, order)], ridge=ridge)
    assert_allclose(relabelled.strengths, fit.strengths[order], atol=1e-10)


def test_far_from_the_start_newton_still_converges():
    s = np.array([0.0, 12.0, 24.0])
    assert_allclose(bradley_terry(sigma(s)).strengths, s - 12, rtol=1e-6, atol=1e-9)


def test_a_full_newton_step_may_overshoot():
    """Unequal numbers of games around a ring: without the line search this diverges."""
    wins = np.array([[0, 1, 0, 0], [9951, 0, 0, 11], [540855, 0, 0, 0], [0, 0, 225974, 0]])
    fit = bradley_terry(wins)
    assert fit.gradient_norm < 1e-6
    assert_allclose((wins - (wins + wins.T) * fit.probs).sum(axis=1), 0, atol=1e-6)  # the likelihood equations


def test_missing_pairs_chain():
    fit = bradley_terry([[0, 3, 0], [1, 0, 2], [0, 1, 0]])
    assert_allclose(-np.diff(fit.strengths), np.log([3, 2]), rtol=1e-10)


def test_infinite_and_undetermined_strengths_are_refused_with_the_group_named():
    champion = [[0, 5, 9], [0, 0, 4], [0, 3, 0]]
    with pytest.raises(ValueError, match=r"ada \(index 0\) never lost .* ridge > 0"):
        bradley_terry(champion, names=["ada", "bob", "cy"])
    loser = [[0, 5, 1], [4, 0, 2], [0, 0, 0]]
    with pytest.raises(ValueError, match="index 0, index 1 never lost"):
        bradley_terry(loser)
    islands = [[0, 1, 0], [1, 0, 0], [0, 0, 0]]
    with pytest.raises(ValueError, match="never compared with the others"):
        bradley_terry(islands)
    with pytest.raises(ValueError, match="never compared with the others"):
        likelihood_ratio_bootstrap(islands, rng=np.random.default_rng(0))
    fit = bradley_terry(champion, ridge=0.1)
    assert fit.best == 0
    assert fit.gradient_norm < 1e-10
    assert_allclose(fit.strengths.sum(), 0, atol=1e-12)
    assert bradley_terry(islands, ridge=0.1).strengths[2] == pytest.approx(0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"wins": [[0, -1], [1, 0]]}, r"wins\[y=0, z=1\] is -1"),
        ({"wins": [[0, 1, 2], [1, 0, 2]]}, "expected a square matrix"),
        ({"wins": [[0, 1], [1, 0]], "ridge": -1.0}, "ridge is -1"),
        ({"wins": [[0, 1], [1, 0]], "weights": [[0, 1], [2, 0]]}, "mirror image"),
        ({"wins": [[0, 1], [1, 0]], "names": ["a"]}, "names has 1 entries, expected 2"),
    ],
)
def test_invalid_input(arguments, message):
    with pytest.raises(InvalidProblemError, match=message):
        bradley_terry(**arguments)


def test_probabilities_are_not_counts():
    with pytest.raises(InvalidProblemError, match=r"counts\[y=0, z=1\] is 0.25, expected a whole number"):
        likelihood_ratio_bootstrap([[0.5, 0.25], [0.75, 0.5]], rng=np.random.default_rng(0))


def test_level_under_a_true_bradley_terry_model():
    """200 data sets from one model, B = 99: p-values uniform on {0.01, ..., 1}.

    Mean 0.505 with standard error 0.0204; rejections at 5% binomial(200, 0.05), standard deviation 3.1. At
    4.5 standard errors each way, a false alarm has probability below 4e-5 (fixed seed: it never varies).
    """
    rng = np.random.default_rng(20240416)
    P = sigma(np.array([0.8, 0.5, 0.0, -0.4, -0.9]))
    p = np.array([likelihood_ratio_bootstrap(draw(rng, P, 40), n_bootstrap=99, rng=rng).p_value for _ in range(200)])
    assert abs(p.mean() - 0.505) < 4.5 * 0.0204
    assert abs((p <= 0.05).sum() - 10) < 4.5 * 3.1
    assert set((p * 100).round(6)) <= set(range(1, 101))


def test_power_on_cycles_and_the_sentence():
    rng = np.random.default_rng(1)
    P = np.array([[0.5, 0.3, 0.7], [0.7, 0.5, 0.3], [0.3, 0.7, 0.5]])
    outcome = likelihood_ratio_bootstrap(draw(rng, P, 200), rng=rng)
    assert outcome.p_value == 0.001
    assert outcome.cycles_exceed_noise
    assert str(outcome).startswith("The cycles exceed sampling noise: 1 three-cycle, and no Bradley-Terry")
    noise = likelihood_ratio_bootstrap([[0, 9, 11], [11, 0, 9], [9, 11, 0]], n_bootstrap=199, rng=rng)
    assert noise.n_cycles == 1
    assert not noise.cycles_exceed_noise
    assert str(noise).startswith("The cycles are within sampling noise: 1 three-cycle")


def test_transitive_but_not_bradley_terry_is_not_called_a_cycle():
    """0.9, 0.9 and 0.6: an order without cycles on another scale."""
    counts = [[0, 900, 600], [100, 0, 900], [400, 100, 0]]
    outcome = likelihood_ratio_bootstrap(counts, n_bootstrap=99, rng=np.random.default_rng(0))
    assert outcome.bradley_terry_rejected
    assert not outcome.cycles_exceed_noise
    assert str(outcome).startswith("There are no cycles, yet no")


def test_a_perfect_winner_does_not_stop_the_test_of_the_others():
    below = np.array([[0, 190, 10], [10, 0, 190], [190, 10, 0]])  # a cycle
    counts = np.zeros((4, 4), dtype=int)
    counts[1:, 1:] = below
    counts[0, 1:] = 200
    outcome = likelihood_ratio_bootstrap(counts, n_bootstrap=99, rng=np.random.default_rng(0))
    alone = likelihood_ratio_bootstrap(below, n_bootstrap=99, rng=np.random.default_rng(0))
    assert outcome.statistic == pytest.approx(alone.statistic, abs=1e-6)
    assert outcome.cycles_exceed_noise


def test_the_same_generator_gives_the_same_p_value():
    counts = [[0, 12, 5], [8, 0, 13], [15, 7, 0]]
    p = [likelihood_ratio_bootstrap(counts, n_bootstrap=199, rng=np.random.default_rng(7)).p_value for _ in "ab"]
    assert p[0] == p[1]
    assert 0.005 < p[0] < 1


def test_best_arm_of_the_measured_games(soccer, rrps):
    for P, best, half_gap in ((soccer, 8, 0.1172), (rrps, 14, 0.0023)):
        fit = bradley_terry(P)
        assert fit.best == best
        # the data's README quotes max_y (l pi)_y, half the gap
        assert duality_gap(PreferenceGame(P), np.eye(len(P))[best]) / 2 == pytest.approx(half_gap, abs=5e-5)
