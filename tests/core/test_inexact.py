"""K gradient steps on REBEL's loss: RLOO at one end, REBEL at the other, a plain loop between."""

import numpy as np
import pytest

import rebel_theory as rt

ETA = 1.3


@pytest.fixture
def bandit():
    rng = np.random.default_rng(0)
    return rt.ContextualBandit(rng.random((3, 4)), context_dist=[0.5, 0.3, 0.2], noise=rt.GaussianNoise(0.1))


@pytest.fixture
def start():
    return rt.TabularPolicy(np.random.default_rng(1).standard_normal((3, 4)))


def last(bandit, algorithm, start, n=1, **options):
    return rt.run(bandit, algorithm, n_iterations=n, policy=start, **options).final_policy.probs


def test_one_step_is_rloo_and_many_are_rebel(bandit, start):
    one, many = (last(bandit, rt.InexactRebel(ETA, n_steps=k), start, n=3) for k in (1, 10**6))
    np.testing.assert_allclose(one, last(bandit, rt.Rloo(ETA, group_size=2), start, n=3), atol=1e-14)
    np.testing.assert_allclose(many, last(bandit, rt.Rebel(ETA), start, n=3), atol=1e-10)
    assert np.abs(one - many).max() > 0.01


@pytest.mark.parametrize("base", ["on-policy", "uniform"])
@pytest.mark.parametrize("n_steps", [1, 2, 5, 6])
def test_the_steps_are_those_of_a_plain_loop_over_all_pairs(bandit, start, base, n_steps):
    """The loss of section 4 written out, its gradient by central differences."""
    alpha, pi = 0.2, start.probs
    mu = pi if base == "on-policy" else np.full((3, 4), 0.25)

    def loss(theta):
        total = 0.0
        for x in range(3):
            log_ratio = theta[x] - np.log(np.exp(theta[x]).sum()) - np.log(pi[x])
            for y in range(4):
                for y_base in range(4):
                    error = (log_ratio[y] - log_ratio[y_base]) / ETA - (bandit.reward[x, y] - bandit.reward[x, y_base])
                    total += bandit.context_dist[x] * pi[x, y] * mu[x, y_base] * error**2
        return total

    theta = np.log(pi)
    for _ in range(n_steps):
        gradient = np.zeros((3, 4))
        for place in np.ndindex(3, 4):
            up, down = theta.copy(), theta.copy()
            up[place] += 1e-3
            down[place] -= 1e-3
            gradient[place] = (loss(up) - loss(down)) / 2e-3  # exact to rounding: the loss is a quadratic
        theta = theta - alpha * ETA**2 * gradient
    expected = np.exp(theta) / np.exp(theta).sum(axis=-1, keepdims=True)
    algorithm = rt.InexactRebel(ETA, n_steps=n_steps, inner_step_size=alpha, base=base)
    np.testing.assert_allclose(last(bandit, algorithm, start)[0], expected, atol=1e-9)


@pytest.mark.parametrize("oracle", [rt.Exact(), rt.Sampled(30)])
def test_a_log_linear_class_with_one_feature_a_cell_moves_as_the_table_does(bandit, start, oracle):
    same = rt.LogLinearPolicy(np.eye(12).reshape(3, 4, 12), start.logits.reshape(-1))
    for k in (1, 2, 7):
        algorithm = rt.InexactRebel(ETA, n_steps=k)
        table, features = (last(bandit, algorithm, policy, n=3, oracle=oracle) for policy in (start, same))
        np.testing.assert_allclose(table, features, atol=1e-12)


def test_sampled_pairs_are_solved_in_the_limit(bandit, start):
    found, expected = (
        last(bandit, a, start, n=3, oracle=rt.Sampled(30)) for a in (rt.InexactRebel(ETA, n_steps=10**7), rt.Rebel(ETA))
    )
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_an_unstable_inner_step_is_an_error_and_bad_options_are_named(bandit, start):
    with pytest.raises(FloatingPointError, match="overflowed"):
        last(bandit, rt.InexactRebel(ETA, n_steps=10**5, inner_step_size=50.0), start)
    with pytest.raises(rt.InvalidProblemError, match=r"n_steps is 0.*\n.*inner_step_size is -1"):
        rt.InexactRebel(1.0, n_steps=0, inner_step_size=-1.0)
