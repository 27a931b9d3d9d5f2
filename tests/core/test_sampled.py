"""Samples follow the exact law. Every test states its false-alarm rate; seeds are fixed, so a pass stays a pass."""

import numpy as np
import pytest
from core.cases import KINDS, Case, dirichlet, make, preference, start
from scipy.stats import chi2

import rebel_theory as rt
from rebel_theory.oracles import seed_streams
from rebel_theory.oracles.sampled import sampler
from rebel_theory.pairs import PairCounts
from rebel_theory.policies import as_base

Z = 5  # standard errors: a false alarm below 6e-7 a number


def bind(problem, n_pairs, n_seeds=1, seed=0):
    return rt.Sampled(n_pairs).bind(problem, seed_streams(seed, n_seeds))


def draw(problem, rho, pi, mu, n, *, n_seeds, paired=True, seed=0):
    """Counts and sums of directed cells (n_seeds, S, A, A or 1), and queries (n_seeds,)."""
    rngs = seed_streams(seed, n_seeds)
    states = np.stack([rng.integers(0, 2**64, size=4, dtype=np.uint64) for rng in rngs])
    full = [np.array(np.broadcast_to(v, (n_seeds, *np.shape(v)))) for v in (rho, pi, mu)]
    counts = np.zeros((n_seeds, *np.shape(pi), np.shape(pi)[1] if paired else 1))
    sums = np.zeros_like(counts)
    return counts, sums, sampler(problem).draw(states, rngs, *full, n, counts, sums)


def z_score(sample, mean):
    error = sample.std(axis=0, ddof=1) / np.sqrt(len(sample)) + 1e-12  # constant samples must equal their mean
    return (sample.mean(axis=0) - mean) / error


@pytest.mark.parametrize("kind", ["bandit", "mdp", "game"])
def test_pairs_follow_the_exact_law(kind):
    """Counts of (x, {y, y'}) against 1[y != y'] d (pi mu + mu pi), by chi-square at a false-alarm rate of 1e-6."""
    rng = np.random.default_rng(0)
    case, n = make(kind, rng, s=3), 40_000
    policy, pi = start(rng, case)
    mu = dirichlet(rng, 3, 3)
    d, _ = case.signal(pi)
    graph = bind(case.problem, n).pairs(policy.in_rows(case.problem), as_base(mu))
    weights = graph.weights[0]
    np.testing.assert_allclose(weights, np.swapaxes(weights, -1, -2))
    np.testing.assert_array_equal(np.diagonal(weights, axis1=1, axis2=2), 0)
    np.testing.assert_allclose(graph.targets, -np.swapaxes(graph.targets, -1, -2))
    i, j = np.triu_indices(3, 1)
    both = d[:, None, None] * (pi[:, :, None] * mu[:, None, :] + mu[:, :, None] * pi[:, None, :])
    expected = np.append(both[:, i, j], 1 - both[:, i, j].sum())
    observed = np.append(weights[:, i, j], 1 - weights[:, i, j].sum())
    statistic = n * ((observed - expected) ** 2 / expected).sum()
    assert statistic < chi2.isf(1e-6, len(expected) - 1)


@pytest.mark.parametrize("kind", KINDS)
def test_singles_are_unbiased_for_the_signal(kind):
    """Noisy rewards, roll-outs and preference outcomes of every cell: |z| < 5, 12 to 36 cells, below 1e-4."""
    rng = np.random.default_rng(1)
    case, n = make(kind, rng, s=3), 6_000
    _, pi = start(rng, case)
    _, q = case.signal(pi)
    problem = case.problem
    if kind == "bandit":
        problem = rt.ContextualBandit(case.raw["reward"], noise=rt.GaussianNoise(0.5))
    rows = len(pi)
    rho = np.full(rows, 1 / rows)
    counts, sums, queries = draw(problem, rho, pi, pi, n // 20, n_seeds=400, paired=False)
    counts, sums, n = counts[..., 0].reshape(400, -1), sums[..., 0].reshape(400, -1), n // 20
    assert np.abs(z_score(sums - counts * q.ravel(), 0.0)).max() < Z
    assert np.abs(z_score(counts, n * (rho[:, None] * pi).ravel())).max() < Z
    if kind in ("bandit", "game"):
        assert (queries == n).all()
    elif kind == "horizon":
        assert abs(z_score(queries, 2.0 * n)) < Z  # a roll-out from step h of 3 sees 3 - h rewards
    else:
        assert abs(z_score(queries, 5.0 * n)) < Z  # geometric: 1/(1-gamma) = 5


def test_pair_targets_of_a_game_share_the_rival():
    """Fixed (y, y'): mean l(y, pi) - l(y', pi); second moment 2 - 2 E l(y, y'') l(y', y'') if y'' is shared."""
    rng = np.random.default_rng(3)
    pref, pi = preference(rng, 1, 3), np.array([[0.6, 0.2, 0.2]])
    pref[0, :2] = [[0.5, 0.1, 0.95], [0.9, 0.5, 0.9]]  # strong margins: sharing matters
    pref[0, 2, :2] = 1 - pref[0, :2, 2]
    game, l = rt.PreferenceGame(pref), 2 * pref[0] - 1  # noqa: E741
    # one pair a seed: its own value is seen, not a sum
    counts, sums, queries = draw(game, [1.0], pi, [[0.0, 0.0, 1.0]], 1, n_seeds=40_000)
    assert (queries == 2).all()
    difference = sums[:, 0, 0, 2][counts[:, 0, 0, 2] == 1]
    assert set(np.unique(difference)) == {-2.0, 0.0, 2.0}
    assert abs(z_score(difference, (l[0] - l[2]) @ pi[0])) < Z
    shared = 2 - 2 * (pi[0] * l[0]) @ l[2]
    apart = 2 - 2 * (l[0] @ pi[0]) * (l[2] @ pi[0])
    square = difference**2
    assert abs(z_score(square, shared)) < Z
    assert abs(z_score(square, apart)) > Z  # the test can tell


@pytest.mark.parametrize(
    ("noise", "variance"),
    [(rt.NoNoise(), 0.0), (rt.BernoulliNoise(), 0.3 * 0.7), (rt.GaussianNoise(0.25), 0.0625)],
)
def test_noise_moments(noise, variance):
    n, mean = 100_000, np.full(100_000, 0.3)
    x = noise.sample(np.random.default_rng(0), mean)
    assert abs(x.mean() - 0.3) <= Z * np.sqrt(variance / n) + 1e-12
    kurtosis = 3 if isinstance(noise, rt.GaussianNoise) else (1 - 3 * variance) / max(variance, 1e-9)
    assert abs(x.var() - variance) <= Z * variance * np.sqrt(max(kurtosis - 1, 0.05) / n) + 1e-12
    if isinstance(noise, rt.BernoulliNoise):
        assert set(np.unique(x)) == {0.0, 1.0}


def test_the_two_rewards_of_a_pair_have_independent_noise():
    """Even when y = y': the variance of a difference is 2 sigma^2, |z| < 5."""
    bandit = rt.ContextualBandit([[0.2, 0.4]], noise=rt.GaussianNoise(1.0))
    counts, sums, _ = draw(bandit, [1.0], [[0.5, 0.5]], [[0.5, 0.5]], 1, n_seeds=20_000)
    same = sums[:, 0, 1, 1][counts[:, 0, 1, 1] == 1]
    assert abs(z_score(same**2, 2.0)) < Z
    assert abs(z_score(same, 0.0)) < Z


@pytest.mark.parametrize("kind", KINDS)
def test_feedback_is_the_plug_in_of_its_sample(kind):
    """Weights, frequencies and mean signals converge to the exact feedback: |z| < 5 with their binomial errors."""
    rng = np.random.default_rng(4)
    case, n = make(kind, rng, s=3), 20_000
    policy, pi = start(rng, case)
    d, q = case.signal(pi)
    found = bind(case.problem, n).feedback(policy.in_rows(case.problem))
    assert found.visited.all()
    np.testing.assert_allclose(found.weights.sum(), 1)
    np.testing.assert_allclose(found.frequencies.sum(axis=-1), 1)
    assert (np.abs(found.weights[0] - d) < Z * np.sqrt(d * (1 - d) / (2 * n))).all()
    se = np.sqrt(pi * (1 - pi) / (2 * n * d[:, None]))
    assert (np.abs(found.frequencies[0] - pi) < Z * se).all()
    scale = np.abs(q).max() + 1
    cell = 2 * n * d[:, None] * pi
    assert (np.abs(found.signal[0] - q) < 3 * Z * scale / np.sqrt(cell)).all()


def test_feedback_counts_two_queries_a_pair_and_unseen_cells_get_the_row_mean():
    bandit = rt.ContextualBandit([[1.0, 0.0], [5.0, 3.0]], context_dist=[1.0, 0.0])
    oracle = bind(bandit, 3, n_seeds=2)
    policy = rt.TabularPolicy([[800.0, 0.0], [0.0, 0.0]])  # only action 0 is ever sampled
    found = oracle.feedback(policy)
    np.testing.assert_array_equal(oracle.queries, [6, 6])
    np.testing.assert_array_equal(found.visited, [[True, False]] * 2)
    np.testing.assert_array_equal(found.signal[:, 0], [[1, 1]] * 2)
    oracle.pairs(policy, as_base("uniform"))
    np.testing.assert_array_equal(oracle.queries, [12, 12])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("algorithm", [rt.Rebel, rt.NaturalPolicyGradient, rt.MirrorDescent])
def test_sampled_steps_tend_to_exact_steps(kind, algorithm):
    """Error of one step falls like n^{-1/2}: from 100 to 10 000 pairs by about 10, at least by 4 (mean of 16)."""
    rng = np.random.default_rng(5)
    case = make(kind, rng, s=2, a=3, gamma=0.5)
    policy, _ = start(rng, case)
    exact = rt.run(case.problem, algorithm(0.5), n_iterations=1, policy=policy).final_policy.probs
    error = []
    for n in (100, 10_000):
        trace = rt.run(case.problem, algorithm(0.5), n_iterations=1, policy=policy, oracle=rt.Sampled(n), n_seeds=16)
        error.append(np.sqrt(((trace.final_policy.probs - exact) ** 2).mean()))
    assert error[1] < max(error[0] / 4, 1e-12)  # without noise both may be exact
    assert error[1] < 0.02


def test_noise_free_sampled_regression_is_exact_once_connected():
    """S1: without noise the tabular regression from 500 pairs is the exact step."""
    rng = np.random.default_rng(6)
    bandit = rt.ContextualBandit(rng.random((3, 4)))
    one = rt.run(bandit, rt.Rebel(1.0, base="uniform"), n_iterations=3, oracle=rt.Sampled(500), n_seeds=3)
    two = rt.run(bandit, rt.Rebel(1.0), n_iterations=3)
    assert rt.total_variation(one.final_policy.probs, two.final_policy.probs).max() < 1e-12
    np.testing.assert_array_equal(one.queries, [[0, 1000, 2000, 3000]] * 3)


def test_s1_log_linear_error_is_two_sigma_squared_d_over_n():
    """Eps ~ 2 sigma^2 d_eff/N; mean of 200 seeds within 10% at N = 2000 (standard error below 4%)."""
    rng = np.random.default_rng(7)
    phi, sigma, n, k = rng.standard_normal((5, 4, 3)), 0.5, 2000, 3
    bandit = rt.ContextualBandit(phi @ rng.standard_normal(3), noise=rt.GaussianNoise(sigma))
    policy = rt.LogLinearPolicy.zeros(phi)
    trace = rt.run(bandit, rt.Rebel(1.0), n_iterations=1, policy=policy, oracle=rt.Sampled(n), n_seeds=200)
    assert trace.regression_error.mean() == pytest.approx(2 * sigma**2 * k / n, rel=0.2)


def test_sampled_log_linear_rebel_is_least_squares_on_the_pairs():
    rng = np.random.default_rng(8)
    phi = rng.standard_normal((3, 4, 2))
    bandit = rt.ContextualBandit(rng.random((3, 4)), noise=rt.GaussianNoise(0.3))
    policy = rt.LogLinearPolicy(phi, [0.3, -0.2])
    graph = bind(bandit, 300, seed=9).pairs(policy, as_base("uniform"))
    new = rt.run(
        bandit, rt.Rebel(0.7, base="uniform"), n_iterations=1, policy=policy, oracle=rt.Sampled(300), seed=9
    ).final_policy
    rows, right = [], []
    for s, i, j in np.ndindex(3, 4, 4):
        if i < j:
            w = np.sqrt(graph.weights[0, s, i, j])
            rows.append(w * (phi[s, i] - phi[s, j]))
            right.append(w * graph.targets[0, s, i, j])
    expected = np.array([0.3, -0.2]) + 0.7 * np.linalg.lstsq(np.array(rows), np.array(right), rcond=None)[0]
    np.testing.assert_allclose(new.theta[0], expected, rtol=1e-10)


def test_actions_never_sampled_stay_where_they_were():
    """One pair: at most two logits move, by eta/2 times the difference, in opposite directions."""
    bandit = rt.ContextualBandit([[0.0, 1.0, 5.0, 2.0]])
    for seed in range(20):
        graph = bind(bandit, 1, seed=seed).pairs(rt.TabularPolicy.uniform(bandit), as_base("uniform"))
        assert isinstance(graph, PairCounts)
        z = graph.potentials()[0, 0]
        moved = np.flatnonzero(z)
        assert len(moved) in (0, 2)
        if len(moved):
            i, j = moved
            assert z[i] == -z[j] == pytest.approx((bandit.reward[0, i] - bandit.reward[0, j]) / 2)


@pytest.mark.parametrize("kind", KINDS)
def test_seed_streams(kind):
    """Seed i does not depend on the number of seeds, nor on which other algorithms run."""
    case, oracle = make(kind, np.random.default_rng(9)), rt.Sampled(40)
    if kind == "bandit":  # without noise the regression is exact, and all seeds agree
        case = Case(kind, rt.ContextualBandit(case.raw["reward"], noise=rt.GaussianNoise(0.1)), case.raw)
    options = {"n_iterations": 3, "oracle": oracle, "seed": 11}
    one = rt.run(case.problem, rt.Rebel(0.5), n_seeds=2, **options)
    five = rt.run(case.problem, rt.Rebel(0.5), n_seeds=5, **options)
    np.testing.assert_array_equal(one.gap, five.gap[:2])
    np.testing.assert_array_equal(one.queries, five.queries[:2])
    np.testing.assert_array_equal(one.final_policy.probs, five.final_policy.probs[:2])
    assert len(np.unique(five.gap[:, -1])) == 5  # seeds differ
    other = rt.run(case.problem, rt.Rebel(0.5), n_seeds=2, n_iterations=3, oracle=oracle, seed=12)
    assert (other.gap[:, -1] != one.gap[:, -1]).all()
    names = [rt.MirrorDescent(0.5), rt.Rebel(0.5), rt.NaturalPolicyGradient(0.5)]
    together = rt.compare(case.problem, names, n_seeds=2, **options)
    np.testing.assert_array_equal(together["REBEL"].gap, one.gap)


def test_seed_streams_are_pairwise_different():
    draws = [rng.random() for seed in range(5) for rng in seed_streams(seed, 5)]
    draws += [rng.random() for rng in seed_streams(0, 5, "other")]
    assert len(set(draws)) == 30


def test_sampled_refuses_what_it_would_get_wrong():
    bandit = rt.ContextualBandit(np.random.default_rng(0).random((2, 3, 4)))
    with pytest.raises(ValueError, match="one instance"):
        rt.Sampled(5).bind(bandit, seed_streams(0, 1))
    for bad in (0, 2.5):
        with pytest.raises(rt.InvalidProblemError, match="n_pairs is"):
            rt.Sampled(bad)
    s = 10_001
    huge = rt.LinearMDP(np.ones((s, 2, 1)), np.full((1, s), 1 / s), [1.0], discount=0.5)
    with pytest.raises(ValueError, match="tabulate"):
        rt.run(huge, rt.Rebel(1.0), n_iterations=1, oracle=rt.Sampled(5))


def test_sampled_npg_differs_by_cross_terms_that_vanish():
    """E7: sampled REBEL and plug-in NPG on the same stream part, and less so with more pairs."""
    rng = np.random.default_rng(10)
    phi = rng.standard_normal((3, 4, 2))
    bandit = rt.ContextualBandit(rng.random((3, 4)), noise=rt.GaussianNoise(0.2))
    policy, apart = rt.LogLinearPolicy.zeros(phi), []
    for n in (100, 10_000):
        one, two = (
            rt.run(bandit, a(1.0), n_iterations=1, policy=policy, oracle=rt.Sampled(n), n_seeds=20).final_policy.theta
            for a in (rt.Rebel, rt.NaturalPolicyGradient)
        )
        apart.append(np.sqrt(((one - two) ** 2).mean()))
    assert apart[0] > 1e-3
    assert 5 < apart[0] / apart[1] < 20


@pytest.mark.parametrize("opponents", ["shared", "separate"])
def test_variance_with_one_opponent_or_two(opponents):
    """One pair a seed, every (y, y') of a game: means and variances of its target by enumeration, 18 at |z| < 5."""
    rng = np.random.default_rng(11)
    pi, mu, k = np.array([[0.2, 0.5, 0.3]]), np.array([[0.4, 0.3, 0.3]]), 60_000
    p = preference(rng, 1, 3) ** 2
    p[0] = np.triu(p[0], 1) + np.tril(1 - p[0].T, -1) + 0.5 * np.eye(3)  # far from even: sharing matters
    game, payoff = rt.PreferenceGame(p), 2 * p[0] - 1
    bound = rt.Sampled(1, opponents=opponents).bind(game, seed_streams(12, k))
    pairs = bound.pairs(rt.TabularPolicy.from_probs(pi), as_base(mu))
    np.testing.assert_array_equal(bound.queries, 2)
    for y, other in np.ndindex(3, 3):
        seen = pairs.sums[pairs.counts[:, 0, y, other] == 1, 0, y, other]
        assert set(np.unique(seen)) <= {-2.0, 0.0, 2.0}
        difference = (payoff[y] - payoff[other]) @ pi[0]
        if opponents == "shared":
            variance = 2 - 2 * (pi[0] * payoff[y]) @ payoff[other] - difference**2
        else:
            variance = 2 - (payoff[y] @ pi[0]) ** 2 - (payoff[other] @ pi[0]) ** 2
        assert abs(z_score(seen, difference)) < Z
        assert abs(z_score((seen - difference) ** 2, variance)) < Z


def test_two_opponents_have_the_larger_variance():
    """E l(y, y'') l(y', y'') - l(y, pi) l(y', pi) is a covariance: summed over y, y' under one law it is >= 0."""
    rng = np.random.default_rng(13)
    game, k = rt.PreferenceGame(preference(rng, 1, 3)), 4_000
    policy = rt.TabularPolicy.uniform(game)
    spread = []
    for opponents in ("shared", "separate"):
        bound = rt.Sampled(50, opponents=opponents).bind(game, seed_streams(14, k))
        z = bound.pairs(policy, as_base("uniform")).potentials()
        spread.append(z.var(axis=0, ddof=1).sum())
    assert spread[1] > spread[0] * 1.05


@pytest.mark.parametrize("bad", [0, -3, 2.5, np.nan, np.inf, "many", None])
def test_bad_sizes_are_refused(bad):
    with pytest.raises(rt.InvalidProblemError, match=f"n_pairs is {bad}, expected an integer of at least 1"):
        rt.Sampled(bad)


def test_bad_opponents_are_refused():
    for bad in ("both", 2, None):
        with pytest.raises(rt.InvalidProblemError, match='use "shared" or "separate"'):
            rt.Sampled(5, opponents=bad)
    bandit = rt.ContextualBandit(np.eye(2))
    with pytest.raises(rt.InvalidProblemError, match="leave it out for a ContextualBandit"):
        rt.run(bandit, rt.Rebel(1.0), n_iterations=1, oracle=rt.Sampled(5, opponents="separate"))


def test_roll_in_is_the_context_distribution_where_episodes_last_one_step():
    bandit = rt.ContextualBandit(np.random.default_rng(0).random((3, 2)), noise=rt.BernoulliNoise())
    one, two = (
        rt.run(bandit, rt.Rebel(0.5), n_iterations=2, oracle=rt.Sampled(20, states=states), n_seeds=3).gap
        for states in ("occupancy", "roll-in")
    )
    np.testing.assert_array_equal(one, two)
