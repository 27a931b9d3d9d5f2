"""Preference games of many actions: half products, batches as one GEMM, low rank, memory."""

import tracemalloc

import numpy as np
import pytest
import reference as ref
from core.cases import dirichlet, preference
from large.test_chains import COMPILED

import rebel_theory as rt
from rebel_theory.kernels.games import skew_product

N = 300 if COMPILED else 257


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 17, 22, 43, 64])
def test_skew_product(n):
    rng = np.random.default_rng(n)
    half = rng.standard_normal((n, n))
    payoff, pi, out = half - half.T, rng.random(n), np.empty(n)
    skew_product(payoff, pi, out)
    np.testing.assert_allclose(out, payoff @ pi, atol=1e-13)
    payoff[np.tril_indices(n, -1)] = np.nan  # never read
    again = np.empty(n)
    skew_product(payoff, pi, again)
    np.testing.assert_array_equal(again, out)


def test_one_policy_and_many_give_the_same_payoffs():
    """Two contexts, a policy alone (half product) and in a batch (GEMM), against the naive loop."""
    rng = np.random.default_rng(0)
    pref, pi = preference(rng, 2, N), dirichlet(rng, 3, 2, N)
    game = rt.PreferenceGame(pref)
    many = rt.evaluate(game, pi)
    for i in range(3):
        one = rt.evaluate(game, pi[i])
        np.testing.assert_allclose(one.q_values, many.q_values[i], atol=1e-14)
        np.testing.assert_allclose(one.q_values, ref.game_signal(pref, pi[i]), atol=1e-13)
        np.testing.assert_allclose(one.objective, rt.duality_gap(game, pi[i]), atol=1e-14)
        assert abs((pi[i] * one.q_values).sum(-1)).max() < 1e-15  # against itself nobody wins


@pytest.mark.parametrize(
    "algorithm", [rt.Rebel(0.5), rt.Rebel(0.5, base="uniform"), rt.NaturalPolicyGradient(0.5), rt.MirrorDescent(0.5)]
)
def test_low_rank_and_dense_games_make_the_same_runs(algorithm):
    rng = np.random.default_rng(0)
    for n in (3, 90):
        u, v = rng.standard_normal((n, 2)), rng.standard_normal((n, 2))
        scale = np.sqrt(((u**2) + (v**2)).sum(1).max())
        low = rt.LowRankGame(u / scale, v / scale)
        dense = low.dense()
        np.testing.assert_allclose(dense.payoff[0], (u @ v.T - v @ u.T) / scale**2, atol=1e-15)
        start = rt.TabularPolicy(rng.standard_normal((1, n)))
        one, two = (rt.run(g, algorithm, n_iterations=20, policy=start) for g in (low, dense))
        np.testing.assert_allclose(one.gap, two.gap, atol=1e-13)
        np.testing.assert_allclose(one.average_gap, two.average_gap, atol=1e-13)
        np.testing.assert_allclose(one.final_policy.probs, two.final_policy.probs, atol=1e-13)
        np.testing.assert_allclose(one.kl, two.kl, atol=1e-10)
        batch = dirichlet(rng, 4, 1, n)
        np.testing.assert_allclose(rt.duality_gap(low, batch), rt.duality_gap(dense, batch), atol=1e-14)


def test_faults_are_named_above_a_thousand_actions():
    n = 1_030
    p = np.full((n, n), 0.5)
    p[3, 1_025] = 0.75
    with pytest.raises(rt.InvalidProblemError, match=r"preference\[y=3, z=1025\] plus its mirror image is 1.25"):
        rt.PreferenceGame(p)
    p[1_025, 3] = np.nan
    with pytest.raises(rt.InvalidProblemError, match=r"preference\[y=1025, z=3\] is nan"):
        rt.PreferenceGame(p)
    p[3, 1_025], p[1_025, 3] = 1.5, -0.5
    with pytest.raises(rt.InvalidProblemError, match=r"preference\[y=3, z=1025\] is 1.5"):
        rt.PreferenceGame(p)
    p[3, 1_025], p[1_025, 3] = 0.75, 0.25 + 1e-7  # printed with six decimals
    game = rt.PreferenceGame(p)
    np.testing.assert_array_equal(game.payoff[0], -game.payoff[0].T)
    np.testing.assert_allclose(game.payoff[0, 3, 1_025], 0.5, atol=1e-7)


def test_low_rank_input_is_checked():
    with pytest.raises(rt.InvalidProblemError, match=r"u and v have shapes \(3, 1\) and \(2, 1\)"):
        rt.LowRankGame(np.ones((3, 1)), np.ones((2, 1)))
    with pytest.raises(rt.InvalidProblemError, match=r"u\[y=1, i=0\] is nan"):
        rt.LowRankGame([[0.0], [np.nan]], [[0.0], [0.0]])
    with pytest.raises(
        rt.InvalidProblemError, match="the largest payoff is 4, expected at most 1: divide u and v by 2"
    ):
        rt.LowRankGame([[2.0], [0.0]], [[0.0], [2.0]])
    assert rt.LowRankGame([[3.0], [0.0]], [[0.0], [1 / 3]]).n_actions == 2  # long rows, payoffs of at most 1
    with pytest.raises(rt.InvalidProblemError, match=r"\|u\[5\]\|\^2 \+ \|v\[5\]\|\^2 is 4"):
        rt.LowRankGame(2.0 * (np.arange(3_000) == 5)[:, None], np.zeros((3_000, 1)))
    game = rt.LowRankGame(np.eye(3), np.ones((3, 3)) / 2)
    with pytest.raises(TypeError, match=r"dense\(\) form"):
        rt.von_neumann_winner(game)


@pytest.mark.skipif(not COMPILED, reason="sizes for compiled kernels")
def test_a_million_actions_of_low_rank():
    """A disc game with closed form: the uniform policy over the whole circle wins; memory is a few rows of actions."""
    n = 1_000_000
    angle = 2 * np.pi / n * np.arange(n)
    tracemalloc.start()
    game = rt.LowRankGame(np.cos(angle)[:, None], np.sin(angle)[:, None])
    tilted = np.exp(np.cos(angle))[None]
    tilted /= tilted.sum()
    trace = rt.run(game, rt.Rebel(0.5), n_iterations=3, policy=tilted)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * n * 8
    # E e^{i angle} under exp(cos) is I_1(1) / I_0(1); the best reply turns by a right angle
    from scipy.special import iv

    np.testing.assert_allclose(trace.gap[0, 0], 2 * iv(1, 1) / iv(0, 1), rtol=1e-9)
    assert float(rt.duality_gap(game, np.full((1, n), 1 / n))) < 1e-12


@pytest.mark.skipif(not COMPILED, reason="sizes for compiled kernels")
def test_memory_of_a_dense_game():
    """Four matrices at the worst moment: the input, its copy, the symmetric one; then the payoffs."""
    n = 2_000
    rng = np.random.default_rng(0)
    upper = np.triu(rng.random((n, n)), 1)
    p = upper + np.tril(1 - upper.T, -1) + np.eye(n) / 2
    tracemalloc.start()
    game = rt.PreferenceGame(p)
    built = tracemalloc.get_traced_memory()[1]
    trace = rt.run(game, rt.NaturalPolicyGradient(0.1), n_iterations=3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert built < 2.6 * p.nbytes
    assert peak < 3.2 * p.nbytes
    assert trace.gap[0, -1] < 2
