"""INPO, IPO, online IPO, SPO, SPPO, DPO: losses enumerated pair by pair, closed forms, fixed points, sampled laws."""

import numpy as np
import pytest
from games import reference_games as naive
from numpy.testing import assert_allclose

import rebel_theory as rt
from rebel_theory.algorithms.dpo import strengths
from rebel_theory.algorithms.sppo import constrained_fit
from rebel_theory.oracles import comparisons
from rebel_theory.theory.bradley_terry import bradley_terry

RPS = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], dtype=float)
METHODS = [rt.Inpo(0.3, 0.4), rt.Ipo(0.8), rt.OnlineIpo(0.6, 0.4), rt.Spo(0.3), rt.Sppo(0.3),
           rt.Sppo(0.3, log_partition="exact"), rt.Dpo(0.8)]  # fmt: skip


def label(algorithm):
    return algorithm.key + ("-exact" if getattr(algorithm, "log_partition", "") == "exact" else "")


def game_of(payoff, **options):
    return rt.PreferenceGame((np.asarray(payoff) + 1) / 2, **options)


def iterates(payoff, algorithm, first, n, **options):
    trace = rt.run(game_of(payoff), algorithm, n_iterations=n, policy=np.asarray(first)[None], keep_policies=True,
                   **options)  # fmt: skip
    return trace.probs[0, :, 0] if not options else trace.probs[:, :, 0]


def instance(seed, n=4):
    rng = np.random.default_rng(seed)
    return naive.random_payoff(rng, n), rng.dirichlet(np.full(n, 3.0)), rng.dirichlet(np.full(n, 3.0))


def bradley_terry_payoff(r):
    return np.tanh((np.subtract.outer(r, r)) / 2)  # 2 sigma(d) - 1


@pytest.mark.parametrize("seed", range(3))
def test_inpo_minimises_the_enumerated_loss(seed):
    """The source's eta = 1/(2 eta) and tau = tau/2: comparisons of two answers stand for the payoff against pi_t."""
    payoff, first, m = instance(seed)
    expected = naive.play(naive.inpo(1 / (2 * 0.3), 0.2, m), payoff, first, 2)
    assert_allclose(iterates(payoff, rt.Inpo(0.3, 0.4, m[None]), first, 2), expected, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_ipo_and_dpo_minimise_their_enumerated_losses(seed):
    payoff, first, law = instance(seed)
    for beta in (0.5, 2.0):
        found = iterates(payoff, rt.Ipo(1 / beta, law[None]), first, 1)[1]
        assert_allclose(found, naive.ipo(payoff, law, first, beta), atol=1e-6)
        assert_allclose(found, naive.softmax(np.log(first) + (payoff + 1) / 2 @ law / beta), rtol=1e-12)
        found = iterates(payoff, rt.Dpo(1 / beta, law[None], ridge=0), first, 1)[1]
        assert_allclose(found, naive.dpo(payoff, law, first, beta), atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_sppo_minimises_the_loss_that_has_no_partition(seed):
    payoff, first, _ = instance(seed)
    for eta in (0.1, 2.0):
        expected = naive.play(naive.sppo(2 * eta), payoff, first, 2)
        assert_allclose(iterates(payoff, rt.Sppo(eta), first, 2), expected, atol=2e-6)


@pytest.mark.parametrize("mixture", [0.0, 0.3])
def test_online_ipo_follows_the_gradient_of_the_ipo_loss(mixture):
    """theta - lambda grad, lambda = eta tau_P / 2, by central differences of the enumerated loss."""
    payoff, first, m = instance(3)
    eta, tau = 0.6, 0.4
    law = naive.softmax((1 - mixture) * np.log(first) + mixture * np.log(m))
    loss, z, h = naive.ipo_loss(payoff, law, m, tau / 2), np.log(first), 1e-5
    gradient = [(loss(z + h * e) - loss(z - h * e)) / (2 * h) for e in np.eye(4)]
    expected = naive.softmax(z - eta * tau / 4 * np.array(gradient))
    found = iterates(payoff, rt.OnlineIpo(eta, tau, m[None], mixture), first, 1)[1]
    assert_allclose(found, expected, atol=1e-8)


def test_one_step_by_hand():
    """Two answers, P = 3/4 and uniform: l against the policy is (1/4, -1/4), log-odds of Bradley-Terry are ln 3."""
    payoff, uniform = [[0, 0.5], [-0.5, 0]], [0.5, 0.5]

    def odds(algorithm):
        p = iterates(payoff, algorithm, uniform, 1)[1]
        return np.log(p[0] / p[1])

    assert_allclose(odds(rt.Spo(0.4)), 0.4 * 0.5, rtol=1e-12)
    assert_allclose(odds(rt.Inpo(0.4, 0.3)), 0.4 * 0.5, rtol=1e-12)
    assert_allclose(odds(rt.Sppo(0.4, log_partition="exact")), 0.4 * 0.5, rtol=1e-12)
    assert_allclose(odds(rt.OnlineIpo(0.4, 0.3)), 0.4 * 0.25, rtol=1e-12)  # E[g l] = (1/8, -1/8)
    assert_allclose(odds(rt.Ipo(0.4)), 0.4 * 0.25, rtol=1e-12)  # (2 P - 1)/(2 beta)
    assert_allclose(odds(rt.Dpo(0.4, ridge=0)), 0.4 * np.log(3), rtol=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_regularised_equilibria_are_fixed_points_and_are_reached(seed):
    payoff, first, m = instance(seed, 5)
    star = rt.regularised_equilibrium(game_of(payoff), 0.5, m).policy
    for algorithm in (rt.Inpo(0.4, 0.5, m[None]), rt.OnlineIpo(0.4, 0.5, m[None])):
        assert_allclose(iterates(payoff, algorithm, star, 3), np.tile(star, (4, 1)), atol=1e-13)
    assert_allclose(iterates(payoff, rt.Inpo(0.4, 0.5, m[None]), first, 400)[-1], star, atol=1e-12)
    assert_allclose(iterates(payoff, rt.OnlineIpo(0.4, 0.5, m[None]), first, 4_000)[-1], star, atol=1e-6)


def test_the_rlhf_optimum_is_dpos_under_bradley_terry_and_repeats():
    rng = np.random.default_rng(4)
    r, first, law = rng.normal(size=6), rng.dirichlet(np.ones(6)), rng.dirichlet(np.ones(6))
    for beta in (0.3, 3.0):
        optimum = naive.softmax(np.log(first) + r / beta)
        found = iterates(bradley_terry_payoff(r), rt.Dpo(1 / beta, law[None], ridge=0), first, 3)
        assert_allclose(found[1:], np.tile(optimum, (3, 1)), rtol=1e-9)


def test_von_neumann_winners_with_full_support_are_fixed_points_of_self_play():
    payoff = np.array([[0, -1, 0.25], [1, 0, -0.5], [-0.25, 0.5, 0]])
    winner = rt.von_neumann_winner(game_of(payoff)).policy
    for algorithm in (rt.Spo(0.5), rt.Sppo(0.5), rt.Inpo(0.5, 0.0)):
        assert_allclose(iterates(payoff, algorithm, winner, 4), np.tile(winner, (5, 1)), atol=1e-13)


def test_spo_is_mirror_descent_and_preference_rebel():
    payoff, first, _ = instance(5)
    expected = iterates(payoff, rt.MirrorDescent(0.7), first, 5)
    for algorithm in (rt.Spo(0.7), rt.Rebel(0.7), rt.Inpo(0.7, 0.0), rt.Sppo(0.7, log_partition="exact")):
        assert_allclose(iterates(payoff, algorithm, first, 5), expected, rtol=1e-10)


def test_p1_spo_averages_obey_the_hedge_bound():
    rng = np.random.default_rng(6)
    for _ in range(30):
        n, t = int(rng.integers(2, 9)), int(rng.integers(4, 200))
        eta = np.sqrt(2 * np.log(n) / t)
        trace = rt.run(game_of(naive.random_payoff(rng, n)), rt.Spo(eta), n_iterations=t - 1)
        assert trace.average_gap[0, -1] <= 2 * np.sqrt(2 * np.log(n) / t)


def test_p6_dpo_keeps_a_gap_where_regularised_self_play_loses_it():
    payoff = np.array([[0, -0.5, 1], [0.5, 0, -0.8], [-1, 0.8, 0]])
    dpo = rt.run(game_of(payoff), rt.Dpo(1.0, ridge=0), n_iterations=5).gap[0]
    assert (dpo[1:] > 0.1).all()
    assert_allclose(dpo[1:], dpo[1], rtol=1e-9)
    assert rt.run(game_of(payoff), rt.Inpo(0.02, 0.02), n_iterations=10_000).gap[0, -1] < 0.1 * dpo[1]


def test_the_constrained_fit_meets_its_stationarity():
    """f + kappa e^f = g with one kappa a row and E e^f = 1, for targets from 1e-9 (where f = g) to 1e6."""
    rng = np.random.default_rng(7)
    pi = rng.dirichlet(np.ones(5), size=(3, 4))
    for size in (1e-9, 1e-2, 1.0, 50.0, 1e6):
        g = size * rng.standard_normal(pi.shape)
        g -= (pi * g).sum(axis=-1, keepdims=True)
        f = constrained_fit(pi, g)
        assert_allclose((pi * np.exp(f)).sum(axis=-1), 1, rtol=1e-9)
        assert (f <= g).all()
        if size < 1e-3:
            assert_allclose(f, g, atol=1e-16)
            continue
        log_kappa = np.log(np.where(f > -20, g - f, np.nan)) - f
        assert_allclose(np.nanmax(log_kappa, axis=-1), np.nanmin(log_kappa, axis=-1), atol=1e-5)


@pytest.mark.parametrize("algorithm", METHODS, ids=label)
def test_sampled_steps_are_the_exact_ones_in_the_limit(algorithm):
    """10^12 comparisons (standard errors of about 1e-6 an entry): agreement to 1e-4, and 2 n queries a step."""
    payoff, first, _ = instance(8)
    exact = iterates(payoff, algorithm, first, 2)
    trace = rt.run(game_of(payoff), algorithm, n_iterations=2, policy=first[None], keep_policies=True, n_seeds=2,
                   oracle=rt.Counted(10**12))  # fmt: skip
    assert_allclose(trace.probs[:, :, 0], np.broadcast_to(exact, (2, 3, 4)), atol=1e-4)
    assert (np.diff(trace.queries) == 2 * 10**12).all()


@pytest.mark.parametrize("draw", [comparisons.draw_comparisons, comparisons.count_comparisons])
def test_comparisons_follow_their_law(draw):
    """Cell means over 4,000 seeds within 5.5 standard errors: 72 tests, false alarm below 3e-6."""
    rng = np.random.default_rng(9)
    game = game_of(naive.random_payoff(rng, 3, x=2), context_dist=[0.3, 0.7])
    k, n = 4_000, 10
    law = np.broadcast_to(rng.dirichlet(np.ones(3), size=2), (k, 2, 3))
    rho = np.broadcast_to([0.3, 0.7], (k, 2))
    found = draw(game, [np.random.default_rng([1, i]) for i in range(k)], rho, law, n)
    assert (found.counts.sum(axis=(1, 2, 3)) == n).all()
    q = np.array([0.3, 0.7])[:, None, None] * law[0][:, :, None] * law[0][:, None, :]
    for seen, mean, square in ((found.counts, q, q), (found.sums, q * game.payoff, q)):
        error = np.sqrt(n * (square - mean**2) / k)
        assert (np.abs(seen.mean(axis=0) - n * mean) < 5.5 * error).all()
    assert_allclose(found.wins().sum(axis=(1, 2, 3)), 1)
    exact = rt.Exact().bind(game, []).comparisons(*[rt.TabularPolicy.from_probs(law[0])] * 2)
    for name, scale in (("wins", 1.0), ("cells", 1.0)):
        arguments = () if name == "wins" else (np.array([[0.1, -0.2, 0.5], [0.0, 0.3, 0.1]]),)
        observed, expected = getattr(found, name)(*arguments), getattr(exact, name)(*arguments)
        if name == "wins":  # both orders of a pair are one cell of wins
            observed, expected = (
                observed[:, :, np.triu_indices(3, 1)[0], np.triu_indices(3, 1)[1]],
                2 * expected[:, np.triu_indices(3, 1)[0], np.triu_indices(3, 1)[1]],
            )
        error = observed.std(axis=0) / np.sqrt(k)
        assert (np.abs(observed.mean(axis=0) - scale * expected) < 5.5 * error).all()


def test_one_comparison_scores_both_answers():
    """Two comparisons by hand: 0 beat 1, and 2 lost to 0: margins 1, -1, -1, met 2, 1, 1 times."""
    counts, sums = np.zeros((2, 1, 1, 3, 3))
    counts[0, 0, 0, 1], sums[0, 0, 0, 1] = 1, 1
    counts[0, 0, 2, 0], sums[0, 0, 2, 0] = 1, -1
    found = comparisons.CountedComparisons(counts, sums)
    assert found.feedback().signal.tolist() == [[[1.0, -1.0, -1.0]]]
    assert_allclose(found.feedback().frequencies[0, 0], [0.5, 0.25, 0.25])
    assert found.wins()[0, 0].tolist() == [[0, 0.5, 0.5], [0, 0, 0], [0, 0, 0]]
    assert_allclose(found.cells(np.zeros(3))[0, 0], [0.5, -0.25, -0.25])
    assert_allclose(found.cells(np.array([0.0, 1.0, 0.0]))[0, 0], [0.25, 0.0, -0.25])


def test_offline_dpo_is_the_bradley_terry_fit_and_offline_ipo_the_regression():
    rng = np.random.default_rng(10)
    data = {"y": rng.integers(4, size=200), "y_base": rng.integers(4, size=200), "preferred": rng.integers(2, size=200)}
    game, first = game_of(naive.random_payoff(rng, 4)), rng.dirichlet(np.ones(4))
    wins = np.zeros((4, 4))
    for y, other, won in zip(*data.values(), strict=True):
        wins[(y, other) if won else (other, y)] += 1
    np.fill_diagonal(wins, 0)
    s = bradley_terry(wins).strengths
    run = {"policy": first[None], "oracle": rt.Offline(data), "n_iterations": 2}
    found = rt.run(game, rt.Dpo(0.7, ridge=0), **run)
    assert_allclose(found.final_policy.probs[0, 0], naive.softmax(np.log(first) + 0.7 * s), rtol=1e-8)
    games = wins + wins.T
    laplacian = np.diag(games.sum(axis=1)) - games
    z = np.linalg.pinv(laplacian) @ (wins - wins.T).sum(axis=1)
    found = rt.run(game, rt.Ipo(0.7), **run)
    assert_allclose(found.final_policy.probs[0, 0], naive.softmax(np.log(first) + 0.35 * z), rtol=1e-9)


def test_strengths_by_groups_and_with_a_ridge():
    """Two groups that never met are fitted apart, each with mean 0; an answer never compared stays at 0."""
    wins = np.zeros((1, 5, 5))
    wins[0, 0, 1], wins[0, 1, 0], wins[0, 2, 3], wins[0, 3, 2] = 0.3, 0.1, 0.15, 0.45
    half = np.log(3) / 2
    assert_allclose(strengths(wins, 0.0)[0], [half, -half, -half, half, 0], atol=1e-9)
    separated = np.array([[[0, 1.0], [0, 0]]])
    s = strengths(separated, 0.01)[0]
    assert_allclose(s[0], -s[1])
    assert_allclose(1 / (1 + np.exp(s[0] - s[1])), 0.01 * s[0], rtol=1e-9)  # stationarity: sigma(-d) = ridge s


@pytest.mark.parametrize("algorithm", METHODS, ids=label)
def test_log_linear_classes(algorithm):
    """With full features the class is tabular, exact and on a data set or a sample."""
    payoff, first, _ = instance(11)
    game, start = game_of(payoff), rt.LogLinearPolicy(np.eye(4)[None], np.log(first))
    rng = np.random.default_rng(0)
    data = {"y": rng.integers(4, size=90), "y_base": rng.integers(4, size=90), "preferred": rng.integers(2, size=90)}
    oracles = [rt.Exact()]
    if algorithm.key in ("ipo", "dpo"):
        oracles.append(rt.Offline(data))
    for oracle in oracles:
        run = {"n_iterations": 2, "oracle": oracle}
        full = rt.run(game, algorithm, policy=start, **run).final_policy.probs
        assert_allclose(full, rt.run(game, algorithm, policy=first[None], **run).final_policy.probs, atol=3e-8)


def test_one_feature_fits():
    """pi prop. to exp(theta y): DPO and SPPO against a search over theta."""
    payoff, y = instance(12)[0], np.arange(4.0)
    game, start = game_of(payoff), rt.LogLinearPolicy(y[None, :, None], [0.2])
    law, thetas = start.probs[0], np.linspace(-3, 3, 60_001)
    policies = thetas[:, None] * y
    policies = np.exp(policies - policies.max(axis=1, keepdims=True))
    policies /= policies.sum(axis=1, keepdims=True)
    h = np.log(policies) - np.log(law)
    likelihood = -(np.outer(law, law) * (payoff + 1) / 2 * np.log1p(np.exp(-2 * (h[..., None] - h[:, None])))).sum(
        (1, 2)
    )
    squared = (law * (h - 0.9 * payoff @ law) ** 2).sum(axis=1)
    for algorithm, best in ((rt.Dpo(0.5, ridge=0), likelihood.argmax()), (rt.Sppo(0.9), squared.argmin())):
        found = rt.run(game, algorithm, n_iterations=1, policy=start).final_policy.theta
        assert_allclose(found.ravel(), thetas[best], atol=1e-4)


def test_sampled_data_leaves_what_was_not_compared():
    """One comparison of answers 0 and 1: INPO moves their log-odds by eta (2 o - 1), and nothing else."""
    found = iterates(RPS, rt.Inpo(0.5, 0.0), [0.5, 0.5 - 1e-300, 1e-300], 1, oracle=rt.Sampled(1), n_seeds=8, seed=3)
    log_p = np.log(found[:, 1])
    moved = log_p[:, 0] - log_p[:, 1]
    assert set(np.round(moved, 9)) <= {0.0, -0.5}  # 0 loses to 1; (0, 0) or (1, 1) compare nothing
    assert -0.5 in np.round(moved, 9)


@pytest.mark.parametrize("algorithm", METHODS, ids=label)
def test_refusals_name_the_reason(algorithm):
    bandit = rt.ContextualBandit([[1.0, 0.0]])
    assert "needs a preference game" in algorithm.refuses(bandit, rt.Exact())
    low_rank = rt.LowRankGame([[0.5], [0.1]], [[0.2], [0.3]])
    assert "dense() form" in algorithm.refuses(low_rank, rt.Sampled(5))
    rewards = rt.Offline({"y": [0], "y_base": [1], "difference": [1.0]})
    mixed = rt.Offline({"y": [0], "y_base": [1], "preferred": [1.0]}, on_policy_pairs=3)
    if algorithm.key in ("ipo", "dpo"):
        assert "give OfflineData preferred=" in algorithm.refuses(game_of(RPS), rewards)
        assert "on_policy_pairs=0" in algorithm.refuses(game_of(RPS), mixed)
    else:
        assert "fresh comparisons" in algorithm.refuses(game_of(RPS), mixed)
    with pytest.raises(rt.InvalidProblemError, match="needs a preference game"):
        rt.run(bandit, algorithm, n_iterations=1)


@pytest.mark.parametrize(("make", "words"), [
    (lambda: rt.Dpo(1.0, ridge=-1.0), "ridge is -1.0"),
    (lambda: rt.Sppo(1.0, log_partition="none"), "log_partition is 'none'"),
    (lambda: rt.OnlineIpo(1.0, mixture=2.0), r"mixture is 2.0, expected a number in \[0, 1\]"),
    (lambda: rt.OnlineIpo(1.0, 0.0), "temperature is 0.0"),
    (lambda: rt.Ipo(1.0, base="nobody"), "is not a base"),
    (lambda: iterates(RPS, rt.Inpo(3.0, 0.5), [0.5, 0.25, 0.25], 1), "step_size times temperature is 1.5"),
    (lambda: iterates(np.sign(np.subtract.outer([2, 1, 0], [2, 1, 0])), rt.Dpo(1.0, ridge=0), [1 / 3] * 3, 1),
     "in row 0 the answers 0 never lost to the others that they met"),
])  # fmt: skip
def test_errors(make, words):
    with pytest.raises(rt.InvalidProblemError, match=words):
        make()


def test_dpo_without_a_finite_maximum_in_its_class_says_so():
    game = game_of(np.sign(np.subtract.outer([2, 1, 0], [2, 1, 0])))
    start = rt.LogLinearPolicy(np.array([[[2.0], [1.0], [0.0]]]), [0.0])
    with pytest.raises(rt.InvalidProblemError, match="no finite maximum in this class"):
        rt.run(game, rt.Dpo(1.0, ridge=0), n_iterations=1, policy=start)
    assert np.isfinite(rt.run(game, rt.Dpo(1.0), n_iterations=1, policy=start).final_policy.theta).all()


def test_large_steps_and_contexts():
    rng = np.random.default_rng(13)
    game = game_of(naive.random_payoff(rng, 4, x=3), context_dist=[0.2, 0.3, 0.5])
    for algorithm in METHODS:
        big = type(algorithm)(1e6) if algorithm.key != "inpo" else rt.Inpo(1e6, 0.0)
        p = rt.run(game, big, n_iterations=3, keep_policies=True).probs
        assert_allclose(p.sum(axis=-1), 1, atol=1e-9)
        both = rt.run(game, algorithm, n_iterations=2).final_policy.probs[0]
        for x in range(3):
            one = rt.PreferenceGame(game.preference[x])
            weight = [0.2, 0.3, 0.5][x]
            if algorithm.key in ("online-ipo", "dpo"):  # a gradient weighs contexts; so does a ridge
                continue
            alone = rt.run(one, algorithm, n_iterations=2).final_policy.probs[0, 0]
            assert weight > 0
            assert_allclose(both[x], alone, rtol=1e-9)


def test_a_ridge_is_the_same_in_every_class():
    """A total order, whose likelihood has no maximum: ridge 0.3 in a log-linear class with all features is tabular."""
    game = game_of(np.sign(np.subtract.outer([2, 1, 0], [2, 1, 0])))
    start = rt.LogLinearPolicy(np.eye(3)[None], np.zeros(3))
    found = rt.run(game, rt.Dpo(2.0, ridge=0.3), n_iterations=1, policy=start).final_policy.probs
    assert_allclose(found, rt.run(game, rt.Dpo(2.0, ridge=0.3), n_iterations=1).final_policy.probs, atol=1e-9)
