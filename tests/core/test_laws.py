"""Counted and Sampled draw one law, and it is the exact one; kernels agree with their plain-Python reading."""

import numpy as np
import pytest
from core.cases import dirichlet, preference
from scipy.stats import ks_2samp

import rebel_theory as rt
from rebel_theory.kernels import sampling as kernels
from rebel_theory.oracles import seed_streams
from rebel_theory.policies import as_base

Z = 5  # standard errors: a false alarm below 6e-7 a number
N_SEEDS = 300


def problems():
    rng = np.random.default_rng(0)
    p = dirichlet(rng, 3, 4, 3)
    return {
        "exact rewards": rt.ContextualBandit(rng.random((3, 4)), context_dist=[0.5, 0.3, 0.2]),
        "bernoulli": rt.ContextualBandit(rng.random((3, 4)), noise=rt.BernoulliNoise()),
        "gaussian": rt.ContextualBandit(rng.random((3, 4)), noise=rt.GaussianNoise(0.7)),
        "game": rt.PreferenceGame(preference(rng, 3, 4), context_dist=[0.5, 0.3, 0.2]),
        "mdp": rt.TabularMDP(p, rng.random((3, 4)), discount=0.8),
    }


PROBLEMS = problems()


def policy_of(problem):
    return rt.TabularPolicy(np.random.default_rng(1).standard_normal(problem.policy_shape))


def z_score(sample, mean):
    error = sample.std(axis=0, ddof=1) / np.sqrt(len(sample)) + 1e-12
    return (sample.mean(axis=0) - mean) / error


@pytest.mark.parametrize("oracle", [rt.Sampled(800), rt.Counted(800)], ids=["sampled", "counted"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_first_moments_are_exact(name, oracle):
    """Weights and weighted targets of every pair of actions: 36 numbers at |z| < 5, a false alarm below 5e-5."""
    problem = PROBLEMS[name]
    policy, mu = policy_of(problem), as_base(np.random.default_rng(2).dirichlet(np.ones(4), size=3))
    bound = oracle.bind(problem, seed_streams(3, N_SEEDS))
    exact, graph = bound.exact_pairs(policy, mu), bound.pairs(policy, mu)
    joint = exact.weights[:, None, None] * np.exp(exact.log_pi)[:, :, None] * np.exp(exact.log_mu)[:, None, :]
    i, j = np.triu_indices(4, 1)
    weights = (joint + joint.transpose(0, 2, 1))[:, i, j]
    difference = (exact.signal[:, :, None] - exact.signal[:, None, :])[:, i, j]
    assert np.abs(z_score(graph.weights[:, :, i, j], weights)).max() < Z
    assert np.abs(z_score((graph.weights * graph.targets)[:, :, i, j], weights * difference)).max() < Z
    feedback = bound.feedback(policy)
    cells = feedback.frequencies * feedback.weights[..., None]
    assert np.abs(z_score(cells, exact.weights[:, None] * np.exp(exact.log_pi))).max() < Z
    assert np.abs(z_score(cells * (feedback.signal - exact.signal), 0.0)).max() < Z


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize(
    "algorithm", [rt.Rebel(0.5, base="uniform"), rt.NaturalPolicyGradient(0.5)], ids=["rebel", "npg"]
)
def test_one_step_has_one_law_under_both_oracles(name, algorithm):
    """Two-sample Kolmogorov-Smirnov on every probability after a step: 12 tests at 1e-5, a false alarm at 1.2e-4."""
    problem = PROBLEMS[name]
    policy = policy_of(problem)
    ends = [
        rt.run(problem, algorithm, n_iterations=1, policy=policy, oracle=o, n_seeds=N_SEEDS, seed=s).final_policy.probs
        for o, s in ((rt.Sampled(60), 4), (rt.Counted(60), 5))
    ]
    one, two = (end.reshape(N_SEEDS, -1).round(10) for end in ends)  # atoms stay atoms: rounding is no law
    assert min(ks_2samp(a, b, method="asymp").pvalue for a, b in zip(one.T, two.T, strict=True)) > 1e-5


def test_shared_rivals_correlate_under_both_oracles():
    """One pair a seed: the second moment of a fixed pair's target is 2 - 2 E l(y, y'') l(y', y''), |z| < 5."""
    p = np.array([[[0.5, 0.1, 0.95], [0.9, 0.5, 0.9], [0.05, 0.1, 0.5]]])
    game, payoff = rt.PreferenceGame(p), 2 * p[0] - 1
    pi = np.array([[0.3, 0.3, 0.4]])
    shared = 2 - 2 * (pi[0] * payoff[0]) @ payoff[2]
    for oracle in (rt.Sampled(1), rt.Counted(1)):
        bound = oracle.bind(game, seed_streams(6, 8_000))
        graph = bound.pairs(rt.TabularPolicy.from_probs(pi), as_base([[0.0, 0.0, 1.0]]))
        seen = graph.weights[:, 0, 0, 2] > 0
        assert abs(z_score(graph.targets[seen, 0, 0, 2] ** 2, shared)) < Z


@pytest.mark.parametrize("n", [10**4, 10**15])
@pytest.mark.parametrize("name", ["bernoulli", "gaussian", "game"])
def test_counted_error_falls_like_one_over_n(name, n):
    """eps n is of order 1 at every n: S1 at sizes that no loop reaches."""
    trace = rt.run(PROBLEMS[name], rt.Rebel(0.5), n_iterations=1, oracle=rt.Counted(n), n_seeds=50)
    assert 0.1 < trace.regression_error.mean() * n < 100
    np.testing.assert_array_equal(trace.queries[:, 1], 2 * n)


def test_counted_roll_outs_of_an_episodic_problem():
    p = np.zeros((2, 2, 2))
    p[0] = [[0.75, 0.25], [0.5, 0.5]]
    p[1, :, 1] = 1
    mdp = rt.TabularMDP(p, [[1, 2], [0, 0]], discount=1.0, initial_dist=[1, 0])
    graph = rt.Counted(10**12).bind(mdp, seed_streams(0, 3)).pairs(rt.TabularPolicy.uniform(mdp), as_base("uniform"))
    q = np.array([1 + 0.75 * 4, 2 + 0.5 * 4])  # V(0) = 1.5 / 0.375 = 4
    np.testing.assert_allclose(graph.targets[:, 0, 0, 1], q[0] - q[1], atol=1e-4)


@pytest.mark.parametrize("bad", [0, 2.5, 10**15 + 1])
def test_counted_refuses_bad_sizes(bad):
    with pytest.raises(rt.InvalidProblemError, match="n_pairs is"):
        rt.Counted(bad)


def test_oracles_refuse_what_they_cannot_observe():
    batch = rt.ContextualBandit(np.random.default_rng(0).random((2, 3, 4)))
    with pytest.raises(ValueError, match="one instance"):
        rt.Counted(5).bind(batch, [np.random.default_rng(0)])
    low = rt.LowRankGame([[1.0], [0.0]], [[0.0], [1.0]])
    with pytest.raises(TypeError, match="no law of counts for a LowRankGame"):
        rt.run(low, rt.Rebel(1.0), n_iterations=1, oracle=rt.Counted(5))


class Coin:
    """A noise of the user's own: the mean plus or minus one."""

    def sample(self, rng, mean):
        return mean + rng.choice([-1.0, 1.0], size=mean.shape)

    def sample_sum(self, rng, mean, count):
        return mean * count + 2 * rng.binomial(count, 0.5) - count

    def check(self, checks, reward):
        pass


@pytest.mark.parametrize("oracle", [rt.Sampled(500), rt.Counted(500)], ids=["sampled", "counted"])
def test_a_noise_of_the_users_own(oracle):
    """Variance of a weighted target: 2 sigma^2 w / n with sigma = 1, within 5 standard errors of a variance."""
    bandit = rt.ContextualBandit([[0.2, 0.7]], noise=Coin())
    graph = oracle.bind(bandit, seed_streams(7, 2_000)).pairs(rt.TabularPolicy.uniform(bandit), as_base("uniform"))
    total = (graph.weights * graph.targets)[:, 0, 1, 0]
    assert abs(z_score(total, 0.25)) < Z
    noise = total - graph.weights[:, 0, 1, 0] * 0.5
    assert noise.var() == pytest.approx(2 * 0.5 / 500, rel=Z * np.sqrt(2 / 2_000))


@pytest.mark.kernels
def test_alias_tables_hold_the_distribution_exactly():
    """The table's own probabilities, (threshold + what others send) / m, are the input to rounding."""
    rng = np.random.default_rng(8)
    rows = [rng.dirichlet(np.full(m, c)) for m in (1, 2, 5, 40) for c in (0.05, 1.0)]
    rows += [np.array([0.0, 1.0]), np.array([0.5, 0.0, 0.5]), np.array([1e-300, 1 - 1e-16, 0.0])]
    for p in rows:
        m = len(p)
        threshold, alias = np.empty(m), np.empty(m, dtype=np.int32)
        kernels.build_alias(p, threshold, alias, np.empty(m, dtype=np.int64))
        kept = np.minimum(threshold, 1.0)
        law = kept.copy()
        np.add.at(law, alias, 1 - kept)
        np.testing.assert_allclose(law / m, p, atol=1e-15)
        assert (law[p == 0] == 0).all()


def test_results_do_not_depend_on_the_number_of_threads():
    numba = pytest.importorskip("numba")
    options = {"n_iterations": 3, "oracle": rt.Sampled(50), "n_seeds": 7}
    before, traces = numba.get_num_threads(), []
    try:
        for threads in (1, before):
            numba.set_num_threads(threads)
            traces.append(rt.run(PROBLEMS["mdp"], rt.Rebel(0.5), **options))
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(traces[0].gap, traces[1].gap)
    np.testing.assert_array_equal(traces[0].queries, traces[1].queries)
