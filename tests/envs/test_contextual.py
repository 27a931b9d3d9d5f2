"""Problems that are functions of context vectors: their streams, their laws written out by loops, what carries them."""

import math
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

import rebel_envs as envs
import rebel_theory as rt
from rebel_theory.problems import InvalidProblemError, contextual
from rebel_theory.problems.contextual import neural_rewards, normal_vectors, random_feature_rewards, split_mix

CHANCE = 1e-6  # of a false alarm, in every test of draws
MAKERS = (envs.neural_bandit, envs.random_feature_bandit, envs.contextual_cycle)


def values(problem):
    """Rewards or preferences."""
    return getattr(problem, "preference", getattr(problem, "reward", None))


def logistic(z):
    return 1 / (1 + math.exp(-z))


# ------------------------------------------------------------------------------------------------ the stream


def test_the_stream_is_split_mix():
    """The published outputs of seed 1234567, and the generator's own loop on unbounded integers from another key."""
    found = split_mix(np.arange(5), 1234567)
    assert [int(v) % 2**64 for v in found] == [
        6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821,
    ]  # fmt: skip
    key = 2**63 - 5
    state, expected = key, []
    for _ in range(1000):
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        z = state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        expected.append(z ^ (z >> 31))
    assert [int(v) % 2**64 for v in split_mix(np.arange(1000), key)] == expected


def test_contexts_are_standard_normal_and_independent():
    x = normal_vectors(0, 40_000, 3, key=11)
    assert x.shape == (40_000, 3)
    for column in x.T:
        assert stats.kstest(column, "norm").pvalue > CHANCE
    bound = stats.norm.isf(CHANCE / 2) / math.sqrt(len(x))
    assert np.abs(np.corrcoef(x.T) - np.eye(3)).max() < bound  # of one context
    assert np.abs(np.diag(x[1:].T @ x[:-1]) / len(x)).max() < bound  # of neighbours
    np.testing.assert_array_equal(normal_vectors(7, 12, 3, key=11), x[7:12])
    assert not np.isclose(normal_vectors(0, 5, 3, key=12), x[:5]).any()


# -------------------------------------------------------------------------------------------------- the laws


def test_rewards_of_a_network_by_loops():
    law = neural_rewards(4, 3, 2, (5, 6), scale=1.7, seed=3)
    w1, b1, w2, b2, head = law.function.arrays
    assert [a.shape for a in law.function.arrays] == [(2, 5), (1, 5), (5, 6), (1, 6), (6, 3)]
    bandit = envs.neural_bandit(4, 3, n_inputs=2, hidden=(5, 6), scale=1.7, seed=3)
    for i, x in enumerate(bandit.contexts):
        first = [math.tanh(sum(x[k] * w1[k, j] for k in range(2)) + b1[0, j]) for j in range(5)]
        second = [math.tanh(sum(first[k] * w2[k, j] for k in range(5)) + b2[0, j]) for j in range(6)]
        for y in range(3):
            expected = logistic(1.7 * sum(second[k] * head[k, y] for k in range(6)))
            assert bandit.reward[i, y] == pytest.approx(expected, rel=1e-13)


def test_rewards_of_random_features_by_loops():
    law = random_feature_rewards(4, 3, 2, 7, length_scale=0.5, scale=1.7, seed=3)
    w, b, head = law.function.arrays
    bandit = envs.random_feature_bandit(4, 3, n_inputs=2, n_features=7, length_scale=0.5, scale=1.7, seed=3)
    for i, x in enumerate(bandit.contexts):
        phi = [math.sqrt(2 / 7) * math.cos(sum(x[k] * w[k, j] for k in range(2)) + b[0, j]) for j in range(7)]
        for y in range(3):
            expected = logistic(1.7 * sum(phi[j] * head[j, y] for j in range(7)))
            assert bandit.reward[i, y] == pytest.approx(expected, rel=1e-13)


def test_preferences_of_a_cycle_by_loops():
    law = contextual.cyclic_preferences(4, 5, 2, strength=0.3, seed=3)
    u, v, signs = law.function.arrays
    game = envs.contextual_cycle(4, 5, n_inputs=2, strength=0.3, seed=3)
    rock = envs.rock_paper_scissors(5)
    np.testing.assert_array_equal(signs, 2 * rock.preference[0] - 1)
    for i, x in enumerate(game.contexts):
        s = [0.3 * math.tanh(sum(x[k] * u[k, y] for k in range(2))) for y in range(5)]
        t = 1 + math.tanh(sum(x[k] * v[k, 0] for k in range(2))) / 2
        for y in range(5):
            for z in range(5):
                expected = logistic(t * (signs[y, z] + s[y] - s[z]))
                assert game.preference[i, y, z] == pytest.approx(expected, rel=1e-13)


def test_weights_have_the_stated_variances():
    """Chi-square intervals at CHANCE for each array."""
    law = neural_rewards(1, 30, 20, (40, 50), scale=1.0, seed=1)
    wanted = (2 / 20, 1 / 4, 2 / 40, 1 / 4, 1 / 50)
    fourier = random_feature_rewards(1, 30, 20, 100, length_scale=0.5, scale=1.0, seed=1)
    w, b, head = fourier.function.arrays
    for array, variance in (*zip(law.function.arrays, wanted, strict=True), (w, 4.0), (head, 1.0)):
        low, high = stats.chi2.ppf([CHANCE / 2, 1 - CHANCE / 2], array.size) / array.size
        assert low < (array**2).mean() / variance < high
    assert stats.kstest(b.ravel(), stats.uniform(0, 2 * math.pi).cdf).pvalue > CHANCE


def test_random_features_have_the_gaussian_kernel():
    """phi(x) . phi(x') is a mean of D numbers in [-2, 2] with mean exp(-|x - x'|^2 / (2 l^2)): Hoeffding at CHANCE."""
    d, length = 20_000, 1.5
    law = random_feature_rewards(6, 2, 3, d, length_scale=length, scale=1.0, seed=5)
    w, b, _ = law.function.arrays
    x, _ = law.tables()
    phi = math.sqrt(2 / d) * np.cos(x @ w + b)
    exact = np.exp(-((x[:, None] - x[None]) ** 2).sum(-1) / (2 * length**2))
    assert np.abs(phi @ phi.T - exact).max() < math.sqrt(8 * math.log(2 * exact.size / CHANCE) / d)
    assert exact.min() < 0.2


def test_a_cycle_is_one_in_every_context():
    """Who beats whom is rock, paper, scissors; equilibria differ by context, unless there are no strengths."""
    game = envs.contextual_cycle(2000, 3, strength=0.499)
    assert ((game.preference > 0.5) == (envs.rock_paper_scissors().preference > 0.5)).all()
    winners = rt.von_neumann_winner(envs.contextual_cycle(10)).policy
    assert np.ptp(winners, axis=0).min() > 0.1
    game = envs.contextual_cycle(6, 5, strength=0.0)
    np.testing.assert_allclose(rt.von_neumann_winner(game).policy, np.full((6, 5), 0.2), atol=1e-9)


@pytest.mark.parametrize("make", MAKERS)
def test_seeds_blocks_and_batches(make, monkeypatch):
    one = make(50, 3, seed=4)
    assert one.contexts.shape[0] == 50
    np.testing.assert_array_equal(values(one), values(make(50, 3, seed=4)))
    assert np.isclose(values(one), values(make(50, 3, seed=5))).mean() < 0.5  # a game's diagonal is the same
    np.testing.assert_array_equal(make(9, 3, seed=4).contexts, one.contexts[:9])
    np.testing.assert_allclose(values(make(9, 3, seed=4)), values(one)[:9], rtol=1e-13)
    batch = make(50, 3, seed=4, n_instances=2)
    assert batch.batch_shape == (2,)
    np.testing.assert_array_equal(batch.contexts, one.contexts)
    assert np.isclose(*values(batch)).mean() < 0.5
    np.testing.assert_array_equal(batch.instance(1).contexts, one.contexts)
    monkeypatch.setattr(contextual, "BLOCK", 150)
    for whole, blocks in ((one, make(50, 3, seed=4)), (batch, make(50, 3, seed=4, n_instances=2))):
        np.testing.assert_array_equal(blocks.contexts, whole.contexts)
        np.testing.assert_allclose(values(blocks), values(whole), rtol=1e-13)


@pytest.mark.parametrize("n_instances", [None, 8])
def test_memory_is_bounded_by_the_block(monkeypatch, n_instances):
    """Layers of 256 for 40,000 contexts would be 80 MB; a few blocks of half a megabyte are beside the results."""
    monkeypatch.setattr(contextual, "BLOCK", 65_536)
    law = neural_rewards(40_000, 2, 2, (256,), scale=1.0, seed=0, n_instances=n_instances)
    tracemalloc.start()
    contexts, reward = law.tables()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < contexts.nbytes + reward.nbytes + 10 * 8 * 65_536


@pytest.mark.parametrize("make", MAKERS[:2])
def test_rewards_lie_in_the_unit_interval_and_depend_on_the_context(make):
    bandit = make(500, 4, scale=1000.0, noise=rt.BernoulliNoise())  # Bernoulli would refuse others
    assert bandit.reward.min() < 0.01
    assert bandit.reward.max() > 0.99
    assert np.bincount(make(500, 4).reward.argmax(1), minlength=4).max() < 450
    assert isinstance(bandit.noise, rt.BernoulliNoise)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: envs.neural_bandit(0), "n_contexts is 0, expected a whole number of at least 1"),
        (lambda: envs.neural_bandit(3, 1), "n_actions is 1, expected a whole number of at least 2"),
        (lambda: envs.neural_bandit(n_inputs=0), "n_inputs is 0"),
        (lambda: envs.neural_bandit(hidden=8), r"hidden is 8, expected a tuple of layer widths, such as \(16,\)"),
        (lambda: envs.neural_bandit(hidden=(8, 0)), r"hidden\[1\] is 0"),
        (lambda: envs.neural_bandit(scale=0), r"scale is 0, expected a number in \(0, inf\)"),
        (lambda: envs.neural_bandit(scale=math.inf), r"scale is inf"),
        (lambda: envs.neural_bandit(seed=-1), "seed is -1"),
        (lambda: envs.random_feature_bandit(n_features=0), "n_features is 0"),
        (lambda: envs.random_feature_bandit(length_scale=-1.0), "length_scale is -1.0"),
        (lambda: envs.random_feature_bandit(scale=np.nan), "scale is nan"),
        (lambda: envs.random_feature_bandit(n_instances=0), "n_instances is 0"),
        (lambda: envs.contextual_cycle(3, 4), "n_actions is 4, expected an odd number"),
        (lambda: envs.contextual_cycle(3, 1), "n_actions is 1, expected a whole number of at least 3"),
        (lambda: envs.contextual_cycle(strength=-0.1), "strength is -0.1"),
        (lambda: envs.contextual_cycle(strength=0.5), r"strength is 0.5, expected a number in \[0, 0.5\): diff"),
    ],
)
def test_what_is_not_in_range_is_named(make, message):
    with pytest.raises(InvalidProblemError, match=message):
        make()


# --------------------------------------------------------------------------------------- what carries contexts


def test_contexts_are_a_frozen_copy_that_copies_keep():
    given = np.ones((2, 1))
    bandit = rt.ContextualBandit([[0.0, 1.0], [1.0, 0.0]], contexts=given)
    given[:] = 0
    np.testing.assert_array_equal(bandit.contexts, np.ones((2, 1)))
    with pytest.raises(ValueError, match="read-only"):
        bandit.contexts[0] = 3
    noisy = replace(bandit, noise=rt.GaussianNoise(1.0))
    np.testing.assert_array_equal(noisy.contexts, bandit.contexts)
    assert rt.ContextualBandit([[0.0, 1.0]]).contexts is None
    assert rt.PreferenceGame([[0.5, 1.0], [0.0, 0.5]], contexts=[[7.0]]).contexts.tolist() == [[7.0]]
    assert envs.chain(3).contexts is None


def test_gymnasium_knows_the_bandits():
    gymnasium = pytest.importorskip("gymnasium")
    import rebel_envs.gym  # noqa: F401

    for name in ("rebel/NeuralBandit-v0", "rebel/RandomFeatureBandit-v0"):
        env = gymnasium.make(name, n_contexts=3)
        assert env.observation_space.n == 3
        env.reset(seed=0)
        assert 0 < env.step(0)[1] < 1
