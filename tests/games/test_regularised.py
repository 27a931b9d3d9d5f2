"""Regularised equilibria and gaps: closed forms, a naive reading, the certificate, extreme temperatures."""

import numpy as np
import pytest
from games import reference_games as naive
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import rebel_theory as rt
from rebel_theory.solvers import equilibrium_path

RPS = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], dtype=float)


def game_of(payoff):
    return rt.PreferenceGame((np.asarray(payoff) + 1) / 2)


def residual_span(payoff, log_p, log_m, tau):
    return np.ptp(log_p - log_m - payoff @ np.exp(log_p) / tau)


@pytest.mark.parametrize("tau", [10.0, 1.0, 0.1, 0.05])
def test_two_actions_have_the_log_odds_of_the_margin(tau):
    found = rt.regularised_equilibrium(game_of([[0, 0.3], [-0.3, 0]]), tau, [0.2, 0.8])
    assert_allclose(found.policy[0], naive.two_action_equilibrium(0.3, tau, 0.2), rtol=1e-12)
    assert found.error_bound < 1e-12


@pytest.mark.parametrize("tau", [2.0, 1e-2, 1e-6])
def test_rock_paper_scissors_is_uniform_whatever_the_temperature(tau):
    found = rt.regularised_equilibrium(game_of(RPS), tau)
    assert_allclose(found.policy, 1 / 3, atol=1e-15)
    assert found.gap < 1e-30


def test_a_flat_game_returns_its_reference():
    m = np.array([0.1, 0.2, 0.7])
    assert_allclose(rt.regularised_equilibrium(game_of(np.zeros((3, 3))), 0.01, m).policy, m, rtol=1e-15)


@pytest.mark.parametrize("seed", range(5))
def test_equals_a_naive_mirror_descent(seed):
    rng = np.random.default_rng(seed)
    payoff, m = naive.random_payoff(rng, 4), rng.dirichlet(np.ones(4))
    found = rt.regularised_equilibrium(game_of(payoff), 0.2, m)
    assert_allclose(found.policy, naive.equilibrium(payoff, 0.2, m), atol=1e-11)


@pytest.mark.parametrize("seed", range(4))
def test_the_gap_equals_two_optimisations(seed):
    rng = np.random.default_rng(seed)
    payoff, m, p = naive.random_payoff(rng, 4), rng.dirichlet(np.ones(4)), rng.dirichlet(np.ones(4))
    found = float(rt.regularised_duality_gap(game_of(payoff), p, 0.3, m))
    assert_allclose(found, naive.regularised_gap(payoff, p, 0.3, m), rtol=1e-6)
    assert_allclose(found, 2 * (0.3 * np.log(m @ np.exp(payoff @ p / 0.3)) + 0.3 * naive.kl(p, m)), rtol=1e-12)


def test_the_certificate_bounds_the_distance_of_any_policy():
    """||p - p*||_1 <= span(r)/2 on 300 random policies, near and far; 0.3 of the bound is reached."""
    rng, ratios = np.random.default_rng(3), []
    for _ in range(300):
        n, tau = int(rng.integers(2, 8)), 10 ** rng.uniform(-2, 1)
        payoff, log_m = naive.random_payoff(rng, n), np.log(rng.dirichlet(np.ones(n)))
        star = rt.regularised_equilibrium(game_of(payoff), tau, np.exp(log_m)).log_policy
        log_p = star + 10 ** rng.uniform(-6, 0.5) * rng.standard_normal(n)
        log_p -= np.log(np.exp(log_p).sum())
        ratios.append(np.abs(np.exp(log_p) - np.exp(star)).sum() / (residual_span(payoff, log_p, log_m, tau) / 2))
    assert max(ratios) <= 1
    assert max(ratios) > 0.3


def test_contexts_are_solved_apart():
    rng = np.random.default_rng(5)
    payoff, m = naive.random_payoff(rng, 5, x=7), rng.dirichlet(np.ones(5), size=7)
    together = rt.regularised_equilibrium(game_of(payoff), 1e-3, m)
    for x in range(7):
        alone = rt.regularised_equilibrium(game_of(payoff[x]), 1e-3, m[x])
        assert np.abs(alone.policy - together.policy[x]).sum() <= alone.error_bound + together.error_bound


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 12), st.floats(-6, 1), st.sampled_from([None, (-1.0, 0.0, 1.0)]))
def test_certified_at_every_temperature(seed, n, log_tau, levels):
    """Uniform and all-or-nothing entries, uneven references: a bound of 1e-10 and a residual that says the same."""
    rng = np.random.default_rng(seed)
    entries = rng.uniform(-1, 1, (n, n)) if levels is None else rng.choice(levels, (n, n))
    payoff = np.triu(entries, 1) - np.triu(entries, 1).T
    m = rng.dirichlet(np.full(n, 0.3)) * 0.999 + 0.001 / n
    tau = 10.0**log_tau
    found = rt.regularised_equilibrium(game_of(payoff), tau, m)
    assert found.error_bound <= 1e-10
    assert residual_span(payoff, found.log_policy, np.log(m), tau) <= 1e-9 + 1e-14 / tau
    assert found.gap <= 1e-20 + 1e-27 / tau


def test_small_temperatures_approach_the_von_neumann_winner(soccer):
    game = rt.PreferenceGame(soccer)
    winner = rt.von_neumann_winner(game)
    distance = [
        np.abs(rt.regularised_equilibrium(game, tau).policy - winner.policy).sum() for tau in (1e-1, 1e-3, 1e-5)
    ]
    assert distance[0] > 10 * distance[1] > 100 * distance[2]
    found = rt.regularised_equilibrium(game, 1e-3)
    assert float(rt.duality_gap(game, found.policy)) <= 2 * 1e-3 * np.log(len(soccer))  # gap <= 2 tau log n


def test_a_thousand_actions_at_a_thousandth():
    payoff = naive.random_payoff(np.random.default_rng(0), 1_000)
    found = rt.regularised_equilibrium(game_of(payoff), 1e-3)
    assert found.error_bound <= 1e-12
    assert residual_span(payoff, found.log_policy, 0.0, 1e-3) <= 1e-11


def test_gaps_keep_their_meaning_far_below_rounding():
    """At relative distance h from the equilibrium the gap is of order h^2: 1e-22 at 1e-11; payoffs round at 1e-16."""
    payoff, tau = naive.random_payoff(np.random.default_rng(1), 6), 0.7
    game = game_of(payoff)
    star = rt.regularised_equilibrium(game, tau).policy
    direction = np.array([1, -1, 1, -1, 1, -1]) * star.min()
    gaps = [float(rt.regularised_duality_gap(game, star + h * direction, tau)) for h in (1e-2, 1e-5, 1e-8, 1e-11)]
    assert_allclose(np.array(gaps[1:]) / gaps[0], [1e-6, 1e-12, 1e-18], rtol=0.02)


def test_the_gap_at_the_border_of_the_simplex_and_for_batches():
    game, m = game_of(RPS), np.array([0.5, 0.3, 0.2])
    pure = np.eye(3)
    expected = [2 * 0.1 * (np.log(m @ np.exp(RPS @ p / 0.1)) - np.log(m[i])) for i, p in enumerate(pure)]
    assert_allclose(rt.regularised_duality_gap(game, pure[:, None, :], 0.1, m), expected, rtol=1e-12)
    assert_allclose(rt.regularised_duality_gap(game, pure[0], 1e-12, m), 2.0, rtol=1e-9)  # tau -> 0: the plain gap


def test_low_rank_games_are_solved_in_dense_form():
    angle = 2 * np.pi / 3 * np.arange(3)
    game = rt.LowRankGame(np.cos(angle)[:, None], np.sin(angle)[:, None])
    found = rt.regularised_equilibrium(game, 0.1, [0.5, 0.25, 0.25])
    assert_allclose(found.policy, rt.regularised_equilibrium(game.dense(), 0.1, [0.5, 0.25, 0.25]).policy, atol=1e-14)
    assert float(rt.regularised_duality_gap(game, found.policy, 0.1, [0.5, 0.25, 0.25])) < 1e-25


def test_references_down_to_the_smallest_numbers():
    found = rt.regularised_equilibrium(game_of(RPS), 0.01, [1 - 2e-300, 1e-300, 1e-300])
    log_m = np.log([1.0, 1e-300, 1e-300])
    assert found.error_bound < 1e-12
    assert residual_span(RPS, found.log_policy, log_m, 0.01) < 1e-11


def test_units_of_win_probabilities():
    """p prop. to m exp(P p / tau_P) is the equilibrium at payoff_temperature(tau_P)."""
    payoff, tau_p = naive.random_payoff(np.random.default_rng(8), 5), 0.15
    found = rt.regularised_equilibrium(game_of(payoff), float(rt.payoff_temperature(tau_p))).policy
    assert_allclose(found, naive.softmax((payoff + 1) / 2 @ found / tau_p), rtol=1e-12)
    assert rt.payoff_step_size(0.5) == 0.25


@pytest.mark.parametrize(("temperature", "reference", "words"), [
    (0.0, None, "temperature is 0.0, expected a finite number > 0"),
    (-1.0, None, "temperature is -1.0"),
    (np.inf, None, "temperature is inf"),
    ("hot", None, "temperature is 'hot'"),
    (1.0, [1.0, 0.0, 0.0], r"reference\[x=0, y=1\] is 0.0, expected a probability > 0"),
    (1.0, [0.5, 0.5], "expected"),
    (1.0, [0.5, 0.2, 0.2], "sums to 0.9"),
])  # fmt: skip
def test_errors_name_the_entry_and_the_remedy(temperature, reference, words):
    for call in (
        lambda: rt.regularised_equilibrium(game_of(RPS), temperature, reference),
        lambda: rt.regularised_duality_gap(game_of(RPS), [1 / 3, 1 / 3, 1 / 3], temperature, reference),
    ):
        with pytest.raises(rt.InvalidProblemError, match=words):
            call()


def test_other_problems_batches_and_unreachable_tolerances_are_refused():
    with pytest.raises(TypeError, match="takes a preference game, not a ContextualBandit"):
        rt.regularised_equilibrium(rt.ContextualBandit([[1.0, 0.0]]), 1.0)
    with pytest.raises(TypeError, match="takes a preference game"):
        rt.regularised_duality_gap(rt.ContextualBandit([[1.0, 0.0]]), [[0.5, 0.5]], 1.0)
    with pytest.raises(ValueError, match="takes one game, got a batch"):
        rt.regularised_equilibrium(game_of(np.zeros((2, 1, 3, 3))), 1.0)
    with pytest.raises(FloatingPointError, match="above the tolerance 1e-30"):
        rt.regularised_equilibrium(game_of(RPS), 1e-3, tolerance=1e-30)


def test_blocks_of_the_wide_product():
    rng = np.random.default_rng(2)
    payoff, p = rng.standard_normal((300, 300)), rng.dirichlet(np.ones(300))
    product = equilibrium_path._wide_product(payoff, p.astype(np.longdouble))
    assert_allclose(product.astype(float), payoff @ p, rtol=1e-10)
