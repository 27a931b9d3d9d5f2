import numpy as np
import pytest

import rebel_envs as envs
from rebel_theory.problems import InvalidProblemError


def test_paper_beats_rock():
    p = envs.rock_paper_scissors(win=0.8).preference[0]
    np.testing.assert_allclose(p, [[0.5, 0.2, 0.8], [0.8, 0.5, 0.2], [0.2, 0.8, 0.5]])


@pytest.mark.parametrize("weights", [None, (1, 2, 3), (5, 1, 1, 2, 9)])
@pytest.mark.parametrize("win", [0.6, 1.0])
def test_rock_paper_scissors_has_the_weights_as_its_only_equilibrium(weights, win):
    n = 7 if weights is None else len(weights)
    payoff = envs.rock_paper_scissors(n, weights, win).payoff[0]
    w = np.ones(n) if weights is None else np.array(weights, dtype=float)
    np.testing.assert_allclose(payoff @ w, 0, atol=1e-14)
    assert np.linalg.matrix_rank(payoff) == n - 1  # a full-support equilibrium is then the only one
    assert payoff.max() == pytest.approx(2 * win - 1)
    assert ((payoff > 0).sum(1) == n // 2).all()


@pytest.mark.parametrize(("n", "k"), [(3, 1), (4, 1), (9, 2)])
def test_disc_game_closed_form(n, k):
    payoff = envs.disc_game(n, n_discs=k).payoff[0]
    turn = 2 * np.pi * (np.arange(n) - np.arange(n)[:, None]) / n
    np.testing.assert_allclose(payoff, sum(np.sin(m * turn) for m in range(1, k + 1)) / k, atol=1e-14)
    np.testing.assert_allclose(payoff.sum(1), 0, atol=1e-13)


@pytest.mark.parametrize("k", [1, 2])
def test_random_discs_have_their_rank(k):
    payoff = envs.disc_game(12, n_discs=k, seed=3).payoff[0]
    assert np.linalg.matrix_rank(payoff, tol=1e-9) == 2 * k
    assert np.ptp(np.abs(payoff).max(1)) > 0.01


@pytest.mark.parametrize("n", [3, 4, 6])
@pytest.mark.parametrize("beta", [0.5, 3.0, 500.0])
def test_condorcet_cycle_closed_form(n, beta):
    payoff = envs.condorcet_cycle(n, sharpness=beta).payoff[0]
    d = (np.arange(n) - np.arange(n)[:, None]) % n
    expected = ((n - d) * np.tanh(beta * d / 2) - d * np.tanh(beta * (n - d) / 2)) / n
    np.testing.assert_allclose(payoff, expected, atol=1e-14)
    np.testing.assert_allclose(payoff.sum(1), 0, atol=1e-13)
    if n == 3:
        assert payoff[0, 1] == pytest.approx((2 * np.tanh(beta / 2) - np.tanh(beta)) / 3)
        assert payoff[0, 1] > 0
        assert payoff[1, 2] > 0
        assert payoff[2, 0] > 0


def test_rater_mixture_by_hand():
    game = envs.rater_mixture([[0, np.log(3)], [np.log(9), 0]], weights=[3, 1])
    assert game.preference[0, 0, 1] == pytest.approx(0.75 * 0.25 + 0.25 * 0.9)


def test_raters_are_intransitive_only_together():
    games = [envs.random_rater_mixture(8, 5, seed=s).preference[0] for s in range(10)]
    cyclic = [np.trace(np.linalg.matrix_power((p > 0.5).astype(int), 3)) > 0 for p in games]
    alone = [envs.random_rater_mixture(8, 1, seed=s).preference[0] for s in range(10)]
    assert any(cyclic)
    assert not any(np.trace(np.linalg.matrix_power((p > 0.5).astype(int), 3)) for p in alone)


def test_bradley_terry_is_additive_in_log_odds():
    p = envs.random_bradley_terry_game(6, seed=2).preference[0]
    odds = np.log(p / (1 - p))
    np.testing.assert_allclose(odds, odds[:, :1] - odds[:, 0], atol=1e-12)
    assert np.ptp(odds[:, 0]) > 0.5


def test_random_games_fill_the_square():
    batch = envs.random_game(6, seed=1, n_instances=200).preference
    assert batch.shape == (200, 1, 6, 6)
    upper = batch[:, 0][(slice(None), *np.triu_indices(6, 1))].ravel()
    # 3000 uniform numbers: mean and second moment within 5 standard errors, false alarm below 2e-6
    n = upper.size
    assert abs(upper.mean() - 1 / 2) < 5 * np.sqrt(1 / 12 / n)
    assert abs((upper**2).mean() - 1 / 3) < 5 * np.sqrt(4 / 45 / n)


def test_contextual_game_contexts_differ():
    game = envs.contextual_game(3, 4, seed=1, context_concentration=1.0)
    assert not np.isclose(game.payoff[0, 0, 1], game.payoff[1, 0, 1])
    assert np.ptp(game.context_dist) > 0


@pytest.mark.parametrize(
    ("build", "offender"),
    [
        (lambda: envs.rock_paper_scissors(4), "n_actions is 4, expected an odd number"),
        (lambda: envs.rock_paper_scissors(win=0.5), "win is 0.5, expected a number in (0.5, 1]"),
        (lambda: envs.rock_paper_scissors(3, [1, 0, 2]), "weights[y=1] is 0.0, expected a positive number"),
        (lambda: envs.rock_paper_scissors(3, [1, 2]), "weights has shape (2,), expected (3,)"),
        (lambda: envs.disc_game(2), "n_actions is 2"),
        (lambda: envs.rater_mixture([1.0, 2.0]), "scores has shape (2,), expected (K, Y)"),
        (lambda: envs.rater_mixture([[1.0, 2.0]], weights=[0.0]), "weights are all 0"),
        (lambda: envs.rater_mixture([[1.0, 2.0]], weights=[-1.0]), "weights[k=0] is -1.0"),
        (lambda: envs.rater_mixture([[1.0, np.nan]]), "scores[k=0, y=1] is nan"),
        (lambda: envs.condorcet_cycle(sharpness=0.0), "sharpness is 0.0"),
        (lambda: envs.contextual_game(context_concentration=-2.0), "context_concentration is -2.0"),
    ],
)
def test_bad_hyperparameters_are_named(build, offender):
    with pytest.raises(InvalidProblemError) as error:
        build()
    assert offender in str(error.value)
