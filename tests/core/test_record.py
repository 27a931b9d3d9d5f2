"""The record's kernels against the formulas of the theory notes in NumPy, infinities included."""

import numpy as np
import pytest

import rebel_theory as rt
from rebel_theory.arrays import expectation, kl_rows, log_softmax, safe_log
from rebel_theory.kernels import record as kernels
from rebel_theory.theory.bounds import misfit_bound
from rebel_theory.theory.divergences import concentrability
from rebel_theory.theory.identity import regression_error, update_function

K, S, A = 6, 3, 5


def draw(seed):
    """Return policies, a signal, weights and comparators with every kind of infinity among the members."""
    rng = np.random.default_rng(seed)
    log_pi, log_next = (log_softmax(rng.normal(size=(K, S, A))) for _ in range(2))
    log_pi[1, 0, 2] = log_next[1, 0, 2] = -np.inf  # ruled out before and after
    log_next[2, 1, 3] = -np.inf  # left the support
    log_pi[3, 2, 0] = -800.0  # a probability that underflows
    weights = rng.dirichlet(np.ones(S), size=K)
    visited = np.ones((K, S), dtype=bool)
    weights[4, 1], visited[4, 1] = 0.0, False  # the comparator goes there
    log_next[4, 1] *= 100.0  # a large update there, which no data shows
    weights[5, 0], visited[5, 0] = 0.0, False  # nobody goes there
    log_pi[0, 0] = [0.0, -800.0, -800.0, -800.0, -800.0]  # one action, which leaves the support
    log_next[0, 0, 0] = -np.inf
    star = np.eye(A)[rng.integers(A, size=(1, S))]
    eta = np.linspace(0.3, 1e3, K)
    return rng, log_pi, log_next, rng.normal(size=(1, S, A)), weights, visited, star, eta


def naive_update(log_pi, log_next, log_mu, signal, weights, visited, eta, star, star_weights, is_game):
    f = update_function(log_pi, log_next, eta)
    pi, mu = np.exp(log_pi), np.exp(log_mu)
    error = regression_error(f, signal, log_pi, log_mu, weights)
    with np.errstate(all="ignore"):
        g = np.where(pi > 0, np.abs(f - expectation(pi, f)[..., None]), 0.0)
        g = np.where(np.isnan(g), np.inf, g)
        shift = star_weights / weights
        ratio = np.where(shift[..., None] > 0, shift[..., None] / mu, 0.0).max(axis=(-2, -1))
    c = ratio if is_game else concentrability(star_weights[..., None] * star, weights[..., None] * mu)
    unseen = ((star_weights > 0) & ~visited).any(axis=-1)
    misfit = np.where(unseen, np.inf, misfit_bound(c, error))
    return error, np.where(visited[..., None], g, 0.0).max(axis=(-2, -1)), misfit


@pytest.mark.kernels
@pytest.mark.parametrize("on_policy", [True, False])
@pytest.mark.parametrize("is_game", [True, False])
def test_updates_are_the_theorys(on_policy, is_game):
    rng, log_pi, log_next, signal, weights, visited, star, eta = draw(0)
    log_mu = log_pi if on_policy else log_softmax(rng.normal(size=(K, S, A)))
    star_weights = rng.dirichlet(np.ones(S), size=1)
    star_weights[0, 0] = 0.0
    expected = naive_update(log_pi, log_next, log_mu, signal, weights, visited, eta, star, star_weights, is_game)
    assert np.isinf(expected[0][2])
    assert np.isinf(expected[2][4])
    arguments = (
        log_pi, log_next, np.exp(log_pi), np.exp(log_mu), signal, weights, visited, eta, on_policy, star,
        star_weights, is_game,
    )  # fmt: skip
    for kernel, where in ((kernels.record_updates, (0, K)), (kernels.record_updates_in_blocks, (4,))):
        found = np.full((3, K), np.nan)
        with np.errstate(all="ignore"):
            kernel(*arguments, *where, *found)
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@pytest.mark.kernels
def test_iterates_are_the_theorys():
    rng, log_pi, _, _, weights, _, star, _ = draw(1)
    probs, shortfall, mass = np.exp(log_pi), rng.random((1, S, A)), np.array([3.0])
    found = np.full((2, K), np.nan)
    kernels.record_gaps(probs, shortfall, weights, mass, found[0])
    np.testing.assert_allclose(found[0], 3.0 * (weights * (probs * shortfall).sum(-1)).sum(-1), rtol=1e-12)
    for p in (star, rng.dirichlet(np.ones(A), size=(1, S))):
        p_weights = np.array([[0.0, 0.25, 0.75]])
        kernels.record_divergences(p, safe_log(p), p_weights, log_pi, found[1])
        np.testing.assert_allclose(found[1], expectation(p_weights, kl_rows(safe_log(p), log_pi)), rtol=1e-12)
    kernels.record_divergences(probs, log_pi, weights, log_pi, found[1])
    np.testing.assert_array_equal(found[1], 0.0)  # of a policy to itself: no rounding below 0
    above = np.nextafter(log_pi, 0.0)
    kernels.record_divergences(probs, log_pi, weights, above, found[1])
    np.testing.assert_array_equal(found[1], 0.0)  # nor by it
    log_pi[0, 1, 0] = -np.inf
    kernels.record_divergences(
        np.full((1, 1, 1), 1.0), np.zeros((1, 1, 1)), np.ones((1, 1)), log_pi[:1, 1:2], found[1, :1]
    )
    assert found[1, 0] == np.inf
    mean, average = np.zeros((K, S, A)), np.zeros(K)
    signals = [rng.normal(size=(n, S, A)) - 0.5 for n in (1, K, K)]
    for t, q in enumerate(signals):
        kernels.record_mean_signals(q, weights, t, mean, average)
    expected = np.mean([np.broadcast_to(q, mean.shape) for q in signals], axis=0)
    np.testing.assert_allclose(mean, expected, rtol=1e-12, atol=1e-15)
    gap = (weights * 2 * np.maximum(expected.max(-1), 0.0)).sum(-1)
    np.testing.assert_allclose(average, gap, rtol=1e-12)


@pytest.mark.kernels
def test_an_exact_update_has_no_error_and_says_nothing_of_unseen_rows():
    """Differences are taken in their order: nothing is left of f = q + c with eta of 1e6 at a vertex."""
    log_pi, q = np.array([[[0.0, -700.0], [0.0, -1.0]]]), np.array([[[0.1, 0.7], [0.3, 0.9]]])
    log_next, eta = log_softmax(log_pi + 1e6 * q), np.array([1e6])
    f = np.full((1, 2, 2), 0.25)
    for signal, after in ((q, log_next), (np.full((1, 2, 2), 0.25), log_pi + 1e6 * f)):
        for visited in (np.array([[True, True]]), np.array([[True, False]])):
            weights = np.where(visited, 1.0 / visited.sum(), 0.0)
            found = np.full((3, 1), np.nan)
            star, star_weights = np.eye(2)[None], np.full((1, 2), 0.5)
            with np.errstate(all="ignore"):
                kernels.record_updates(
                    log_pi, after, np.exp(log_pi), np.exp(log_pi), signal, weights, visited, eta, True, star,
                    star_weights, False, 0, 1, *found,
                )  # fmt: skip
            expected = naive_update(log_pi, after, log_pi, signal, weights, visited, eta, star, star_weights, False)
            np.testing.assert_array_equal(found[0], expected[0])
            assert np.isinf(found[2, 0]) == (not visited.all())


def test_a_batch_is_recorded_as_its_members_one_by_one():
    """In blocks over threads or alone, shared arrays or not: the same digits."""
    rng = np.random.default_rng(2)
    bandit = rt.ContextualBandit(rng.random((40, 6)))
    start = rng.dirichlet(np.ones(6), size=(1000, 40))
    whole = rt.run(bandit, rt.Rebel(2.0, base="uniform"), n_iterations=2, policy=start, n_seeds=1000)
    for i in (0, 511, 999):
        one = rt.run(bandit, rt.Rebel(2.0, base="uniform"), n_iterations=2, policy=start[i : i + 1])
        for name in ("gap", "average_gap", "kl", "regression_error", "queries"):
            np.testing.assert_array_equal(getattr(whole, name)[i], getattr(one, name)[0])
        for name, bound in whole.bound.items():
            np.testing.assert_array_equal(bound[i], one.bound[name][0])
    np.testing.assert_allclose(whole.average_gap[:, 2], whole.gap.mean(axis=-1), rtol=1e-13)
