"""Counted against its laws: means and variances of cell sums, chi-squares of counts, and Sampled, for every kind.

Every test states its false-alarm rate; seeds are fixed, so a pass stays a pass.
"""

import numpy as np
import pytest
from core.cases import dirichlet, make, preference, start
from scipy.stats import chi2, ks_2samp

import rebel_theory as rt
from rebel_theory.kernels import populations as kernels
from rebel_theory.oracles import seed_streams
from rebel_theory.oracles.counted_laws import _RollOuts, law, law_of
from rebel_theory.oracles.roll_outs import table
from rebel_theory.policies import as_base

Z = 5  # standard errors: a false alarm below 6e-7 a number
ROLL_OUTS = ("mdp", "horizon", "linear")
KINDS = ("bernoulli", "gaussian", "game", *ROLL_OUTS)


def problem_of(kind, s=3, a=3):
    rng = np.random.default_rng(0)
    if kind in ROLL_OUTS or kind == "game":
        return make(kind, rng, s=s, a=a, gamma=0.7).problem
    noise = rt.BernoulliNoise() if kind == "bernoulli" else rt.GaussianNoise(0.7)
    return rt.ContextualBandit(rng.random((s, a)), context_dist=dirichlet(rng, s), noise=noise)


def policy_of(problem, seed=1):
    return rt.TabularPolicy(np.random.default_rng(seed).standard_normal(problem.policy_shape))


def z_score(sample, mean):
    error = sample.std(axis=0, ddof=1) / np.sqrt(len(sample)) + 1e-12
    return (sample.mean(axis=0) - mean) / error


def return_moments(kind, pi):
    """E G and E G^2 of a roll-out from every cell: M = r^2 + 2 r gamma P V + gamma P E_pi M, by iteration."""
    case = make(kind, np.random.default_rng(0), s=3, a=3, gamma=0.7)
    p, r = case.raw["transition"], case.raw["reward"]
    if kind == "horizon":
        h, s, a = r.shape
        pi, q, m = pi.reshape(h, s, a), np.zeros(r.shape), np.zeros(r.shape)
        v, w = np.zeros(s), np.zeros(s)
        for t in reversed(range(h)):
            q[t], m[t] = r[t] + p[t] @ v, r[t] ** 2 + 2 * r[t] * (p[t] @ v) + p[t] @ w
            v, w = (pi[t] * q[t]).sum(-1), (pi[t] * m[t]).sum(-1)
        return q.reshape(h * s, a), m.reshape(h * s, a)
    gamma, q, m = case.raw["gamma"], np.zeros(r.shape), np.zeros(r.shape)
    for _ in range(300):
        ahead = gamma * p @ (pi * q).sum(-1)
        q, m = r + ahead, r**2 + 2 * r * ahead + gamma * p @ (pi * m).sum(-1)
    return q, m


@pytest.mark.parametrize("way", ["steps", "single", "moves", "cheapest"])
@pytest.mark.parametrize("kind", ROLL_OUTS)
def test_summed_returns_have_the_mean_and_variance_of_roll_outs(kind, way):
    """Sums of 40 returns from each of 9 to 27 cells: 54 numbers at |z| < 5, a false alarm below 4e-5 a test.

    The variance is tested through squared deviations, whose standard error is that of the sample itself.
    """
    problem = problem_of(kind)
    pi = policy_of(problem).probs.reshape(-1, 3)
    q, second = return_moments(kind, pi)
    drawn, n = _RollOuts(table(problem), way), 40
    rng, counts = np.random.default_rng(2), np.full(pi.shape, n)
    sums = np.stack([drawn.singles(rng, pi, counts)[0] for _ in range(3_000)])
    assert np.abs(z_score(sums, n * q)).max() < Z
    assert np.abs(z_score((sums - n * q) ** 2, n * (second - q**2))).max() < Z
    if kind != "horizon":  # a wrong law of stopping would show: the variance is no small change
        assert np.abs(z_score((sums - n * q) ** 2, 1.2 * n * (second - q**2))).max() > Z


@pytest.mark.parametrize("kind", ROLL_OUTS)
def test_pairs_of_returns_are_independent(kind):
    """Sums over (x, y, y') cells: mean n (q - q'), variance the sum of the two; 27 to 81 cells, alarm below 1e-4."""
    problem = problem_of(kind)
    pi = policy_of(problem).probs.reshape(-1, 3)
    q, second = return_moments(kind, pi)
    counts = np.arange(pi.size * 3).reshape(*pi.shape, 3) % 7  # some cells are empty
    rng, drawn = np.random.default_rng(3), law(problem)
    sums = np.stack([drawn.pairs(rng, pi, counts)[0] for _ in range(3_000)])
    difference, variance = q[:, :, None] - q[:, None, :], second - q**2
    spread = variance[:, :, None] + variance[:, None, :]
    assert np.abs(z_score(sums, counts * difference)).max() < Z
    assert np.abs(z_score((sums - counts * difference) ** 2, counts * spread)).max() < Z
    assert (sums[:, counts == 0] == 0).all()


@pytest.mark.parametrize("opponents", ["shared", "separate"])
def test_outcomes_of_a_game_with_one_rival_or_two(opponents):
    """Sums of 30 pairs: mean n (l - l'), variance n (2 - 2 E l l' - (l - l')^2) or n (2 - l^2 - l'^2), |z| < 5."""
    rng = np.random.default_rng(4)
    p, pi, n = preference(rng, 2, 3), dirichlet(rng, 2, 3), 30
    drawn, payoff = law_of(rt.PreferenceGame(p), opponents), 2 * p - 1
    sums = np.stack([drawn.pairs(rng, pi, np.full((2, 3, 3), n))[0] for _ in range(4_000)])
    mean = (payoff * pi[:, None, :]).sum(-1)
    difference = mean[:, :, None] - mean[:, None, :]
    shared = np.einsum("xj,xaj,xbj->xab", pi, payoff, payoff)  # on a = b too: each answer has its own coin
    variance = {
        "shared": 2 - 2 * shared - difference**2,
        "separate": 2 - (mean**2)[:, :, None] - (mean**2)[:, None, :],
    }
    assert np.abs(z_score(sums, n * difference)).max() < Z
    squares = (sums - n * difference) ** 2
    assert np.abs(z_score(squares, n * variance[opponents])).max() < Z
    other = variance["separate" if opponents == "shared" else "shared"]
    assert np.abs(z_score(squares, n * other)).max() > Z  # the test can tell


@pytest.mark.parametrize("n", [10**4, 10**15])
@pytest.mark.parametrize("states", ["occupancy", "restart"])
@pytest.mark.parametrize("kind", ["gaussian", "game", "horizon", "linear"])
def test_counts_are_multinomial(kind, states, n):
    """Cells (x, y, y') against d pi mu, or nu pi mu, by chi-square at a false-alarm rate of 1e-6 (mean of 10 seeds)."""
    problem = problem_of(kind)
    policy, mu = policy_of(problem), dirichlet(np.random.default_rng(5), problem.n_rows, 3)
    nu = dirichlet(np.random.default_rng(6), problem.n_rows)
    chosen = "occupancy" if states == "occupancy" else nu.reshape(problem.row_shape)
    bound = rt.Counted(n, states=chosen).bind(problem, seed_streams(7, 10))
    pairs = bound.pairs(policy.in_rows(problem), as_base(mu.reshape(problem.policy_shape)))
    weights = rt.evaluate(problem, policy).occupancy.ravel() if states == "occupancy" else nu
    pi = policy.probs.reshape(-1, 3)
    expected = n * weights[:, None, None] * pi[:, :, None] * mu[:, None, :]
    np.testing.assert_array_equal(pairs.counts.sum(axis=(1, 2, 3)), n)
    statistic = ((pairs.counts - expected) ** 2 / expected).sum()
    assert statistic < chi2.isf(1e-6, 10 * (expected.size - 1))
    assert statistic > chi2.ppf(1e-6, 10 * (expected.size - 1))


@pytest.mark.parametrize(
    ("kind", "options"),
    [(k, o) for k in KINDS for o in ({}, {"states": "restart"})] + [("game", {"opponents": "separate"})],
    ids=str,
)
def test_one_rebel_step_has_one_law_under_the_three_oracles(kind, options):
    """Counted and Sampled: Kolmogorov-Smirnov on every log-ratio at 1e-5; both against the exact step: |z| < 5.

    Given connected pairs the regression is linear in what was seen, so the mean direction is the exact one: in rows
    that expect 40 pairs or more. At most 27 tests of each kind: a false alarm below 3e-4 a test.
    """
    problem = problem_of(kind)
    if "states" in options:
        options = {"states": dirichlet(np.random.default_rng(8), problem.n_rows).reshape(problem.row_shape)}
    policy, n, k = rt.TabularPolicy.uniform(problem), 600, 250
    algorithm = rt.Rebel(0.5)
    exact = rt.run(problem, algorithm, n_iterations=1, policy=policy).final_policy.log_probs.reshape(-1, 3)
    often = n * rt.evaluate(problem, policy).occupancy.ravel() >= 40
    if "states" in options:
        often = n * options["states"].ravel() >= 40
    assert often.any()
    ends = []
    for oracle, seed in ((rt.Sampled(n, **options), 9), (rt.Counted(n, **options), 10)):
        trace = rt.run(problem, algorithm, n_iterations=1, policy=policy, oracle=oracle, n_seeds=k, seed=seed)
        ends.append(trace.final_policy.log_probs.reshape(k, -1, 3))
    for end in ends:
        ratio, expected = end[..., 1:] - end[..., :1], exact[:, 1:] - exact[:, :1]
        assert np.abs(z_score(ratio, expected))[often].max() < Z
    one, two = (end.reshape(k, -1).round(10) for end in ends)  # atoms stay atoms: rounding is no law
    assert min(ks_2samp(a, b, method="asymp").pvalue for a, b in zip(one.T, two.T, strict=True)) > 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_queries_and_feedback_follow_sampled(kind):
    """Rewards seen: 2 a pair, the remaining steps of an episode, or 1/(1-gamma) a roll-out; |z| < 5."""
    problem, n = problem_of(kind), 300
    policy = policy_of(problem)
    bound = rt.Counted(n).bind(problem, seed_streams(11, 200))
    found = bound.feedback(policy.in_rows(problem))
    exact = bound.exact_feedback(policy.in_rows(problem))
    cells = found.frequencies * found.weights[..., None]
    assert np.abs(z_score(cells * (found.signal - exact.signal), 0.0)).max() < Z
    length = {"mdp": 1 / 0.3, "linear": 1 / 0.3, "horizon": 2.0}.get(kind)
    if length is None:
        np.testing.assert_array_equal(bound.queries, 2 * n)
    else:
        assert abs(z_score(bound.queries, 2 * n * length)) < Z


@pytest.mark.parametrize("kind", ROLL_OUTS)
def test_a_thousand_billion_roll_outs_give_the_signal(kind):
    """n = 10^15 pairs: the regression is the exact one to 1e-5, where the standard error is about 1e-7 a cell."""
    problem = problem_of(kind, s=2, a=2)
    policy = policy_of(problem)
    exact = rt.run(problem, rt.Rebel(1.0), n_iterations=1, policy=policy).final_policy.probs
    trace = rt.run(problem, rt.Rebel(1.0), n_iterations=1, policy=policy, oracle=rt.Counted(10**15))
    np.testing.assert_allclose(trace.final_policy.probs, exact, atol=1e-5)
    assert trace.regression_error.max() < 1e-10


def test_sparse_and_absorbing_problems():
    """Gamma = 1 with an end, as CSR: mean return of 10^12 roll-outs, and none starts at the end."""
    from scipy.sparse import csr_array

    p = np.zeros((2, 2, 2))
    p[0] = [[0.75, 0.25], [0.5, 0.5]]
    p[1, :, 1] = 1
    mdp = rt.TabularMDP(csr_array(p.reshape(4, 2)), [[1, 2], [0, 0]], discount=1.0, initial_dist=[1, 0])
    bound = rt.Counted(10**12).bind(mdp, seed_streams(0, 2))
    pairs = bound.pairs(rt.TabularPolicy.uniform(mdp), as_base("uniform"))
    np.testing.assert_allclose(pairs.targets[:, 0, 0, 1], (1 + 0.75 * 4) - (2 + 0.5 * 4), atol=1e-4)
    assert (pairs.counts[:, 1] == 0).all()


def test_actions_ruled_out_are_not_taken():
    """Pi(1|s) = 0: a roll-out from any cell continues with action 0 only, whose rewards are 1."""
    p = np.full((2, 2, 2), 0.5)
    mdp = rt.TabularMDP(p, [[1.0, 100.0], [1.0, 100.0]], discount=0.5)
    policy = rt.TabularPolicy([[0.0, -np.inf], [0.0, -np.inf]])
    for way in ("steps", "single", "moves"):
        sums, seen = _RollOuts(table(mdp), way).singles(
            np.random.default_rng(0), policy.probs, np.array([[50, 0], [0, 7]])
        )
        assert sums.sum() == (seen - 7) + 700
        assert (sums[[0, 1], [1, 0]] == 0).all()


@pytest.mark.kernels
def test_compiled_populations_are_interpreted_exactly():
    rng = np.random.default_rng(12)
    case = make("mdp", rng, s=3, a=2, gamma=0.7)
    _, pi = start(rng, case)
    t = table(case.problem)
    indptr, indices = t.transition.indptr.astype(np.int64), t.transition.indices.astype(np.int64)
    probs, pi = t.transition.data.copy(), pi.ravel()
    reward, terminal = np.array(t.reward), np.array([False, True, False])
    for per_split in (0.0, 2.0, 1e18):
        results = []
        for take in (lambda k: k, lambda k: getattr(k, "py_func", k)):
            tails, pi_tails = np.empty_like(probs), np.empty_like(pi)
            take(kernels.build_tails)(indptr, probs, tails)
            take(kernels.build_tails)(np.arange(0, 7, 2), pi, pi_tails)
            totals, stream = np.empty(3), np.random.default_rng(13)
            seen = take(kernels.summed_returns)(
                stream, np.array([0, 3, 5]), np.array([20, 1, 9]), indptr, indices, probs, tails, reward, 0.7,
                terminal, pi, pi_tails, per_split, totals,
            )  # fmt: skip
            results.append([tails, totals, seen, stream.random()])
        for one, two in zip(*results, strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-13)
        np.testing.assert_allclose(results[0][0][::3], 1, rtol=1e-15)  # tails of whole rows
        np.testing.assert_allclose(results[0][0][2::3], probs[2::3], rtol=0)


@pytest.mark.kernels
def test_compiled_moves_are_interpreted_exactly():
    """And the eliminated chain is right: leaving a state and the shares of paths, by fundamental matrices."""
    rng = np.random.default_rng(15)
    s, a, gamma = 4, 2, 0.7
    p, pi, reward = dirichlet(rng, s * a, s), dirichlet(rng, s, a), rng.random((s, a))
    indptr, indices, probs = np.arange(0, s * a * s + 1, s), np.tile(np.arange(s), s * a), p.ravel()
    terminal = np.array([False, False, True, False])
    results = []
    for take in (lambda k: k, lambda k: getattr(k, "py_func", k)):
        moves, via, leaving = np.zeros((s, s + 1)), np.empty((s, s, s + 1)), np.empty(s)
        actions, tails, totals, stream = (
            np.empty((s, s + 1, a)),
            np.empty_like(probs),
            np.zeros(3),
            np.random.default_rng(16),
        )
        take(kernels.build_tails)(indptr, probs, tails)
        take(kernels.eliminate)(indptr, indices, probs, gamma, terminal, pi.ravel(), moves, via, leaving, actions)
        seen = take(kernels.visit_returns)(
            stream, np.array([0, 3, 6]), np.array([20, 1, 9]), 7, indptr, indices, probs, tails, reward, gamma,
            terminal, moves, via, leaving, actions, totals,
        )  # fmt: skip
        results.append([moves, via, leaving, actions, totals, seen, stream.random()])
    for one, two in zip(*results, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-13)
    _, via, leaving, actions, *_ = results[0]
    q = gamma * np.einsum("sa,sat->st", pi, p.reshape(s, a, s)) * ~terminal
    for k in range(s):  # the chain watched on 0..k only
        low, high = q[: k + 1, : k + 1], q[k + 1 :, k + 1 :]
        watched = low + q[: k + 1, k + 1 :] @ np.linalg.solve(np.eye(s - k - 1) - high, q[k + 1 :, : k + 1])
        np.testing.assert_allclose(leaving[k], 1 - watched[k, k], rtol=1e-12)
        through = np.outer(watched[:k, k], watched[k, :k]) / leaving[k]
        np.testing.assert_allclose(via[k, :k, :k] * (watched[:k, :k] + through), through, rtol=1e-12)
    last = actions[0, 1, 1]  # the only action left: all of them
    assert last == 1.0
    first = pi[0, 0] * p[0, 1] / (pi[0] @ p[:2, 1])
    np.testing.assert_allclose(actions[0, 1, 0], first, rtol=1e-13)


def test_a_discount_near_one_at_the_largest_size():
    """Gamma = 0.9999 and 10^15 roll-outs: 10^19 moves in draws of at most 10^18; mean returns to 1e-6 of Q."""
    rng = np.random.default_rng(17)
    p, r, pi = dirichlet(rng, 3, 2, 3), rng.random((3, 2)), dirichlet(rng, 3, 2)
    mdp = rt.TabularMDP(p, r, discount=0.9999)
    counts = np.zeros((3, 2), dtype=np.int64)
    counts[0, 1], counts[2, 0] = 10**15, 3
    sums, seen = _RollOuts(table(mdp), "moves").singles(rng, pi, counts)
    np.testing.assert_allclose(sums[0, 1] / 1e15, rt.evaluate(mdp, pi).q_values[0, 1], rtol=1e-6)
    np.testing.assert_allclose(seen, 1e19, rtol=1e-6)
    assert sums[2, 0] > 0


def test_the_cheapest_way_is_chosen_by_estimate():
    mdp = make("mdp", np.random.default_rng(0), s=10, a=2, gamma=0.9).problem
    assert _RollOuts(table(mdp))._by_moves(np.array([1, 10**9])).tolist() == [False, True]
    assert not _RollOuts(table(problem_of("horizon")))._by_moves(np.array([10**9])).any()  # a step moves on


@pytest.mark.kernels
def test_picks_follow_the_row():
    """20 000 draws from a row with empty entries at both ends, by chi-square at 1e-6."""
    probs = np.array([0.3, 0.7, 0.0, 0.1, 0.6, 0.3, 0.0])
    tails, indptr, rng = np.empty(7), np.array([0, 2, 7]), np.random.default_rng(14)
    kernels.build_tails(indptr, probs, tails)
    seen = np.bincount([kernels.pick(rng, tails, 2, 7) for _ in range(20_000)], minlength=7)
    assert seen[[0, 1, 2, 6]].sum() == 0
    expected = 20_000 * probs[3:6]
    assert ((seen[3:6] - expected) ** 2 / expected).sum() < chi2.isf(1e-6, 2)


def test_counted_refuses_what_it_cannot_count():
    with pytest.raises(rt.InvalidProblemError, match="n_pairs is 1000000000000001, expected at most 1e"):
        rt.Counted(10**15 + 1)
    with pytest.raises(rt.InvalidProblemError, match='opponents is \'both\': use "shared" or "separate"'):
        rt.Counted(5, opponents="both")
    with pytest.raises(rt.InvalidProblemError, match=r"states sums to 0\.5"):
        rt.Counted(5, states=[0.25, 0.25])
    bandit = rt.ContextualBandit(np.eye(3))
    streams = seed_streams(0, 1)
    with pytest.raises(rt.InvalidProblemError, match=r"states has shape \(2,\), expected \(3,\)"):
        rt.Counted(5, states=[0.5, 0.5]).bind(bandit, streams)
    with pytest.raises(rt.InvalidProblemError, match="is for preference games: leave it out for a ContextualBandit"):
        rt.Counted(5, opponents="separate").bind(bandit, streams)
    low = rt.LowRankGame([[1.0], [0.0]], [[0.0], [1.0]])
    with pytest.raises(TypeError, match="no law of counts for a LowRankGame"):
        rt.Counted(5).bind(low, streams)
    s = 10_001
    huge = rt.LinearMDP(np.ones((s, 2, 1)), np.full((1, s), 1 / s), [1.0], discount=0.5)
    with pytest.raises(ValueError, match=r"tabulate 200,040,002 transition probabilities .* use Exact\(\)"):
        rt.Counted(5).bind(huge, streams)
