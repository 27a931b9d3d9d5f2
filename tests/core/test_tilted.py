"""The regression's step in kernels: against NumPy, its plain reading, and whatever the number of threads."""

import numpy as np
import pytest

import rebel_theory as rt
from rebel_theory.arrays import log_softmax
from rebel_theory.kernels import pair_graphs as kernels
from rebel_theory.pairs import PairCounts


def sample(rng, *lead):
    counts = rng.integers(0, 3, size=(*lead, 4, 4)).astype(float)
    return PairCounts(counts, rng.normal(size=counts.shape) * counts)


@pytest.mark.kernels
@pytest.mark.parametrize("eta", [0.7, 1e6, np.array([[0.1], [2.0]])])
def test_tilted_is_log_softmax_of_the_step(eta):
    rng = np.random.default_rng(0)
    pairs, log_pi = sample(rng, 2, 5), log_softmax(rng.standard_normal((5, 4)))
    log_pi[2, 1] = -np.inf
    lead = (2, 2, 5, 4) if np.ndim(eta) else (2, 5, 4)
    found = pairs.tilted(log_pi, eta)
    expected = log_softmax(log_pi + np.asarray(eta)[..., None, None] * pairs.potentials())
    assert found.shape == lead
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(
        found, PairCounts(pairs.counts, pairs.sums).graph.tilted(log_pi, eta), atol=1e-9, rtol=1e-9
    )
    assert (found[..., 2, 1] == -np.inf).all()


@pytest.mark.kernels
def test_steps_are_interpreted_as_compiled_and_threads_change_nothing():
    rng = np.random.default_rng(1)
    pairs, log_pi, eta = sample(rng, 30), log_softmax(rng.standard_normal((30, 4))), np.full(30, 0.3)
    results = []
    for blocks in (1, 7, 64):
        for take in (lambda k: k, lambda k: getattr(k, "py_func", k)):
            z, tilted = np.full((30, 4), np.nan), np.full((30, 4), np.nan)
            take(kernels.solve_pair_counts)(pairs.counts, pairs.sums, blocks, z)
            take(kernels.tilt_rows)(log_pi, z, eta, blocks, tilted)
            results.append((z, tilted))
    for z, tilted in results[1:]:
        np.testing.assert_allclose(z, results[0][0], rtol=1e-13, atol=1e-14)
        np.testing.assert_allclose(tilted, results[0][1], rtol=1e-13, atol=1e-14)
    np.testing.assert_array_equal(results[2], results[0])
    np.testing.assert_allclose(results[0][0], pairs.graph.potentials(), rtol=1e-12, atol=1e-13)


def test_an_overflowing_step_is_refused():
    bandit = rt.ContextualBandit([[1e300, -1e300]])
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match="NaN logits"):
        rt.run(bandit, rt.Rebel(1e300), n_iterations=2, oracle=rt.Sampled(20))


@pytest.mark.kernels
@pytest.mark.parametrize("n_actions", [1, 2, 5, 8])
def test_rows_side_by_side_are_solved_as_one_by_one(n_actions):
    """Rows without data, in several components, and with weights whose reciprocals overflow; any lane, any number."""
    rng = np.random.default_rng(n_actions)
    counts = rng.poisson(1.5 / n_actions, size=(45, n_actions, n_actions)).astype(float)
    counts[40] = 0.0
    sums = rng.normal(size=counts.shape) * counts
    counts[3] *= 1e-310
    sums[3] *= 1e-310
    counts[7] *= 1e15
    sums[7] *= 1e15
    one_by_one, found, last = (np.full((45, n_actions), np.nan) for _ in range(3))
    with np.errstate(all="ignore"):
        kernels.solve_rows(counts, sums, 0, 45, one_by_one)
        kernels.solve_few_actions(counts, sums, 0, 45, found)
        kernels.solve_few_actions(counts, sums, 44, 45, last)
        kernels.solve_few_actions(counts, sums, 13, 45, last)
    np.testing.assert_allclose(found, one_by_one, rtol=1e-12, atol=1e-13)
    np.testing.assert_array_equal(last[13:], found[13:])
    assert (found[40] == 0).all()
