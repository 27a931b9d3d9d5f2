"""Von Neumann winners, best responses and duality gaps: closed forms, then an independent reading."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import linprog

from rebel_theory.problems.base import InvalidProblemError
from rebel_theory.problems.game import PreferenceGame
from rebel_theory.solvers.games import best_response, duality_gap, von_neumann_winner, winner_ranges

RPS = [[0.5, 0.0, 1.0], [1.0, 0.5, 0.0], [0.0, 1.0, 0.5]]


def game_of(payoff) -> PreferenceGame:
    return PreferenceGame((np.asarray(payoff, dtype=float) + 1) / 2)


def weighted_rps(a: float, b: float, c: float) -> PreferenceGame:
    """Payoffs l01 = -a, l12 = -b, l02 = +c; the winner is proportional to (b, c, a), the opposite weights."""
    return game_of([[0, -a, c], [a, 0, -b], [-c, b, 0]])


def random_skew(rng, n, levels=None):
    entries = rng.uniform(-1, 1, (n, n)) if levels is None else rng.choice(levels, (n, n))
    upper = np.triu(entries, 1)
    return upper - upper.T


def winner_is_unique_by_ranges(payoff) -> bool:
    """The definition read literally: every coordinate has range 0 over {pi: l pi <= 0}, by 2 Y programs."""
    n = len(payoff)
    for y in range(n):
        ends = [
            linprog(s * np.eye(n)[y], A_ub=payoff, b_ub=np.zeros(n), A_eq=np.ones((1, n)), b_eq=[1]).x[y]
            for s in (1, -1)
        ]
        if ends[1] - ends[0] > 1e-6:
            return False
    return True


def test_rock_paper_scissors():
    winner = von_neumann_winner(PreferenceGame(RPS))
    assert winner.policy.shape == (3,)
    assert_allclose(winner.policy, 1 / 3, atol=1e-15)
    assert winner.unique is True
    assert winner.support.all()
    assert 0 <= winner.gap < 1e-15


@pytest.mark.parametrize(("a", "b", "c"), [(1, 1, 1), (1.0, 0.5, 0.25), (0.1, 0.9, 0.3), (1e-3, 1, 1e-2)])
def test_weighted_rock_paper_scissors_plays_the_opposite_weights(a, b, c):
    winner = von_neumann_winner(weighted_rps(a, b, c))
    assert_allclose(winner.policy, np.array([b, c, a]) / (a + b + c), rtol=1e-10)
    assert winner.unique is True
    assert winner.gap < 1e-15


def test_condorcet_winner_takes_all():
    winner = von_neumann_winner(game_of([[0, -0.2, 0.1], [0.2, 0, 0.4], [-0.1, -0.4, 0]]))
    assert winner.policy.tolist() == [0, 1, 0]
    assert winner.support.tolist() == [False, True, False]
    assert winner.unique is True
    assert winner.margin == pytest.approx(0.5)  # loses 0.2 of a largest payoff 0.4


def test_all_ties():
    tied = von_neumann_winner(game_of(np.zeros((4, 4))))
    assert tied.unique is False
    assert tied.support.all()
    assert_allclose(tied.policy, 0.25)


def test_a_duplicated_action_makes_the_winner_non_unique():
    payoff = np.array([[0, -1, 1, 1], [1, 0, -1, -1], [-1, 1, 0, 0], [-1, 1, 0, 0]]) * 0.7  # scissors twice
    winner = von_neumann_winner(game_of(payoff))
    assert winner.unique is False
    assert winner.gap < 1e-15
    assert winner.support.all()  # the essential set: some winner plays each of them
    assert_allclose([*winner.policy[:2], winner.policy[2:].sum()], 1 / 3, atol=1e-9)


def test_a_weakly_dominated_copy_outside_the_support_keeps_uniqueness():
    """Scissors' weaker twin ties with it but does worse against paper: complementary slackness decides."""
    payoff = np.array([[0, -1, 1, 1], [1, 0, -1, -0.5], [-1, 1, 0, 0], [-1, 0.5, 0, 0]])
    winner = von_neumann_winner(game_of(payoff))
    assert winner.unique is True
    assert winner.support.tolist() == [True, True, True, False]


def test_two_tied_condorcet_arms():
    winner = von_neumann_winner(game_of([[0, 0, 0.5], [0, 0, 0.5], [-0.5, -0.5, 0]]))
    assert winner.unique is False
    assert winner.support.tolist() == [True, True, False]


def test_undecidable_is_none():
    winner = von_neumann_winner(game_of([[0, 1e-11, 1], [-1e-11, 0, 1], [-1, -1, 0]]))
    assert winner.unique is None
    assert winner.margin == 0
    assert winner.gap <= 4e-11


@pytest.mark.parametrize(("size", "unique"), [(1e-6, True), (1e-10, None), (0.0, False)])
def test_a_nearly_singular_support_system(size, unique):
    """Three copies of scissors that play a rock-paper-scissors of their own, of payoff ``size``."""
    payoff = np.zeros((5, 5))
    payoff[0, 1], payoff[0, 2:], payoff[1, 2:] = -1, 1, -1
    payoff[2, 3], payoff[3, 4], payoff[2, 4] = -size, -size, size
    winner = von_neumann_winner(game_of(payoff - payoff.T))
    assert winner.unique is unique
    assert winner.support.all()
    assert winner.gap < 1e-9


def test_contexts_are_solved_one_by_one():
    matrices = np.stack([RPS, (np.zeros((3, 3)) + 1) / 2, [[0.5, 1, 1], [0, 0.5, 1], [0, 0, 0.5]]])
    winner = von_neumann_winner(PreferenceGame(matrices, context_dist=[0.5, 0.2, 0.3]))
    assert winner.policy.shape == winner.support.shape == (3, 3)
    assert winner.unique_by_context == (True, False, True)
    assert winner.unique is False
    assert_allclose(winner.policy[2], [1, 0, 0])
    single = von_neumann_winner(PreferenceGame(np.array(RPS)[None]))
    assert single.policy.shape == (1, 3)
    assert single.unique is True


def test_a_batch_is_refused():
    batch = PreferenceGame(np.array(RPS)[None, None].repeat(2, axis=0))
    for solve in (von_neumann_winner, winner_ranges):
        with pytest.raises(ValueError, match=r"batch of shape \(2,\): solve them one by one"):
            solve(batch)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.booleans())
def test_uniqueness_agrees_with_the_ranges_of_the_optimal_face(seed, n, degenerate):
    payoff = random_skew(np.random.default_rng(seed), n, [-1, -0.5, 0, 0.5, 1] if degenerate else None)
    winner = von_neumann_winner(game_of(payoff))
    assert winner.unique is winner_is_unique_by_ranges(payoff)
    assert winner.gap < 1e-14
    if winner.unique:
        assert winner.support.sum() % 2 == 1


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 7))
def test_properties(seed, n):
    rng = np.random.default_rng(seed)
    payoff = random_skew(rng, n)
    game = game_of(payoff)
    winner = von_neumann_winner(game)
    assert_allclose(winner.policy.sum(), 1, atol=1e-15)
    assert winner.policy.min() >= 0
    assert duality_gap(game, winner.policy) < 1e-14
    policies = rng.dirichlet(np.ones(n), size=5)
    gaps = duality_gap(game, policies)
    assert gaps.shape == (5,)
    assert (gaps >= 0).all()
    assert (gaps <= 2).all()
    # relabelling
    order = rng.permutation(n)
    relabelled = game_of(payoff[np.ix_(order, order)])
    assert_allclose(duality_gap(relabelled, policies[:, order]), gaps, atol=1e-14)
    if winner.unique:
        assert_allclose(von_neumann_winner(relabelled).policy, winner.policy[order], atol=1e-9)
    # the definition, over pure deviations of both sides
    pi = policies[0]
    assert_allclose(gaps[0], (payoff @ pi).max() - (pi @ payoff).min(), atol=1e-14)


def test_gap_averages_over_contexts_and_batches():
    rng = np.random.default_rng(3)
    rho = np.array([0.7, 0.1, 0.2])
    payoff = np.stack([random_skew(rng, 4) for _ in range(3)])
    game = PreferenceGame((payoff + 1) / 2, context_dist=rho)
    pi = rng.dirichlet(np.ones(4), size=(2, 5, 3))  # (2, 5, X, Y)
    by_hand = np.array(
        [[sum(rho[x] * 2 * (payoff[x] @ pi[i, j, x]).max() for x in range(3)) for j in range(5)] for i in range(2)]
    )
    assert_allclose(duality_gap(game, pi), by_hand, atol=1e-14)
    actions, value = best_response(game, pi)
    assert actions.shape == (2, 5, 3)
    assert actions[1, 4, 2] == (payoff[2] @ pi[1, 4, 2]).argmax()
    assert_allclose(value, by_hand / 2, atol=1e-14)
    batch = PreferenceGame(np.stack([(payoff + 1) / 2, (1 - payoff) / 2]), context_dist=rho)  # (2, X, Y, Y)
    expected = [
        duality_gap(game, pi[0, 0]),
        sum(rho[x] * 2 * (-payoff[x] @ pi[0, 0, x]).max() for x in range(3)),
    ]
    assert_allclose(duality_gap(batch, pi[0, 0]), expected, atol=1e-14)


def test_pure_rock_has_gap_two_and_loses_to_paper():
    actions, value = best_response(PreferenceGame(RPS), [1.0, 0, 0])
    assert actions.tolist() == [1]
    assert value == 1
    gap = duality_gap(PreferenceGame(RPS), [1.0, 0, 0])
    assert gap == 2
    assert np.ndim(gap) == 0


def test_policies_are_taken_by_their_probs_and_checked():
    class Policy:
        probs = np.array([0.5, 0.5, 0.0])

    game = PreferenceGame(RPS)
    assert duality_gap(game, Policy()) == duality_gap(game, Policy.probs) == 1
    with pytest.raises(InvalidProblemError, match="sums to"):
        duality_gap(game, [0.5, 0.6, 0.0])


def test_winner_ranges_show_what_the_matrix_determines():
    lower, upper = winner_ranges(weighted_rps(1, 0.5, 0.25), tolerance=0)
    assert_allclose(lower, upper, atol=1e-7)
    assert_allclose(lower, np.array([0.5, 0.25, 1]) / 1.75, atol=1e-7)
    # flat: all payoffs at most 1e-7, so every policy is a near-winner at 1e-6
    lower, upper = winner_ranges(weighted_rps(1e-7, 1e-7, 1e-7))
    assert_allclose([lower, upper], [[0] * 3, [1] * 3])
    with pytest.raises(ValueError, match="tolerance is -1"):
        winner_ranges(PreferenceGame(RPS), tolerance=-1)


def test_soccer(soccer):
    game = PreferenceGame(soccer)
    winner = von_neumann_winner(game)
    assert winner.unique is True
    assert np.flatnonzero(winner.support).tolist() == [1, 8, 9]
    assert_allclose(winner.policy[winner.support], [0.5218, 0.3308, 0.1474], atol=5e-5)
    assert winner.gap < 1e-14
    # the data's README quotes max_y (l pi)_y = 0.2273, half the gap
    assert duality_gap(game, np.full(10, 0.1)) / 2 == pytest.approx(0.2273, abs=5e-5)


def test_rrps(rrps):
    """Unique in exact arithmetic, yet far from determined: the face is flat."""
    game = PreferenceGame(rrps)
    winner = von_neumann_winner(game)
    assert winner.gap < 1e-14
    assert duality_gap(game, np.full(43, 1 / 43)) / 2 == pytest.approx(0.2882, abs=5e-5)
    lower, upper = winner_ranges(game)
    assert (upper - lower).max() > 0.1
    # the proof in rational numbers: Pfaffians of the 4 x 4 minors solve the 5 x 5 support system
    P = [[Fraction(str(v)) for v in row] for row in rrps]
    payoff = [[P[i][j] - P[j][i] for j in range(43)] for i in range(43)]
    support = np.flatnonzero(winner.support).tolist()
    assert len(support) == 5

    def pfaffian(skipped):
        a, b, c, d = (k for k in support if k != skipped)
        return payoff[a][b] * payoff[c][d] - payoff[a][c] * payoff[b][d] + payoff[a][d] * payoff[b][c]

    weights = [(-1) ** k * pfaffian(i) for k, i in enumerate(support)]
    pi = [w / sum(weights) for w in weights]  # all non-zero: the support system has rank 4
    payoffs = [sum(payoff[y][e] * p for e, p in zip(support, pi, strict=True)) for y in range(43)]
    assert min(pi) > 0
    assert all(payoffs[e] == 0 for e in support)
    assert all(payoffs[y] < 0 for y in range(43) if y not in support)  # so no other winner exists
    assert winner.unique is True
    assert_allclose(winner.policy[support], [float(p) for p in pi], rtol=1e-9)
