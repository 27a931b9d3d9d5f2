"""Kernels against their plain-Python reading and against naive references; compiled = interpreted exactly."""

import numpy as np
import pytest
import reference as ref

from rebel_theory.kernels import pair_graphs as kernels

pytestmark = pytest.mark.kernels


def plain(kernel):
    """The Python function of a kernel; itself under NUMBA_DISABLE_JIT=1."""
    return getattr(kernel, "py_func", kernel)


@pytest.mark.parametrize("seed", range(3))
def test_compiled_is_interpreted_exactly(seed):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 3, size=(4, 5, 5)).astype(float)
    counts += np.swapaxes(counts, 1, 2)
    targets = rng.standard_normal((4, 5, 5))
    targets -= np.swapaxes(targets, 1, 2)
    results = []
    for take in (lambda k: k, plain):
        potentials = np.zeros((4, 5))
        take(kernels.solve_pair_graph)(counts, targets, potentials)
        results.append(potentials)
    np.testing.assert_array_equal(*results)


def graphs(n_graphs, seed=0):
    """Random graphs from empty to complete, weights over ten orders of magnitude."""
    rng = np.random.default_rng(seed)
    for _ in range(n_graphs):
        n = int(rng.integers(2, 8))
        w = 10.0 ** rng.uniform(-5, 5, (n, n)) * (rng.random((n, n)) < rng.random())
        w = np.triu(w, 1)
        t = np.triu(rng.standard_normal((n, n)), 1)
        yield w + w.T, t - t.T


def test_pair_graph_against_its_incidence_matrix():
    for w, t in graphs(200):
        z = np.zeros((1, len(w)))
        kernels.solve_pair_graph(w[None], t[None], z)
        expected = ref.hodge(w, t)
        np.testing.assert_allclose(z[0], expected, atol=1e-6)
        # the normal equations L z = div t, far below the accuracy of lstsq on such weights
        laplacian = np.diag(w.sum(1)) - w
        residual = laplacian @ z[0] - (w * t).sum(1)
        assert np.abs(residual).max() <= 1e-12 * max(1.0, w.max()) * (1 + np.abs(t).max()) * len(w)


def test_pair_graph_is_minimum_norm_on_every_component():
    for w, t in graphs(100, seed=1):
        z = np.zeros((1, len(w)))
        kernels.solve_pair_graph(w[None], t[None], z)
        reach = np.linalg.matrix_power((w > 0).astype(int) + np.eye(len(w), dtype=int), len(w)) > 0
        for members in np.unique(reach, axis=0):
            assert abs(z[0, members].sum()) < 1e-12 * len(w) * (1 + np.abs(z).max())


def test_pair_graph_recovers_potentials_and_ignores_the_diagonal():
    rng = np.random.default_rng(2)
    truth = rng.standard_normal((3, 5))
    w = rng.random((3, 5, 5))
    w = w + np.swapaxes(w, 1, 2)
    t = truth[:, :, None] - truth[:, None, :]
    z = np.zeros((3, 5))
    kernels.solve_pair_graph(w, t + np.eye(5), z)
    np.testing.assert_allclose(z, truth - truth.mean(axis=1, keepdims=True), atol=1e-13)


def test_star_of_hand():
    """One centre with weights 1, 2 and no other edge: every target is met exactly."""
    w, t = np.zeros((1, 3, 3)), np.zeros((1, 3, 3))
    w[0, 0, 1] = w[0, 1, 0] = 1
    w[0, 0, 2] = w[0, 2, 0] = 2
    t[0, 0, 1], t[0, 1, 0], t[0, 0, 2], t[0, 2, 0] = 3, -3, 6, -6
    z = np.zeros((1, 3))
    kernels.solve_pair_graph(w, t, z)
    np.testing.assert_allclose(z, [[3, 0, -3]])


def test_cycle_by_hand():
    """A pure cycle has no transitive part: potentials 0."""
    t = np.array([[0, 1, -1], [-1, 0, 1], [1, -1, 0.0]])
    z = np.ones((1, 3))
    kernels.solve_pair_graph(np.ones((1, 3, 3)), t[None], z)
    np.testing.assert_allclose(z, 0, atol=1e-16)


@pytest.mark.parametrize("on_policy", [True, False])
@pytest.mark.parametrize("take", [lambda k: k, plain])
def test_factorised_rows_solve_the_enumerated_regression(on_policy, take):
    """Against a pseudo-inverse of all S A A pairs; ruled-out actions, a row without data, and weights of 1e-300."""
    from rebel_theory.kernels.factorised import solve_factorised_rows

    rng = np.random.default_rng(8)
    log_pi = np.log(rng.dirichlet(np.ones(4), size=4))
    log_mu = log_pi.copy() if on_policy else np.log(rng.dirichlet(np.ones(4), size=4))
    log_pi[1, 2] = log_mu[1, 2] = log_mu[2, 0] = -np.inf  # never sampled; under pi only
    if on_policy:
        log_pi[2, 0] = -np.inf
    log_pi, log_mu = (z - np.log(np.exp(z).sum(axis=1, keepdims=True)) for z in (log_pi, log_mu))
    pi, mu = np.exp(log_pi), np.exp(log_mu)
    signal = rng.standard_normal((4, 4))
    got, visited = signal.copy(), np.array([True, True, True, False])
    take(solve_factorised_rows)(pi, mu, log_pi, log_mu, visited, got)
    for s in range(3):
        a, b = np.divmod(np.arange(16), 4)
        root = np.sqrt(pi[s, a] * mu[s, b])
        design = root[:, None] * (np.eye(4)[a] - np.eye(4)[b])
        expected = np.linalg.pinv(design) @ (root * (signal[s, a] - signal[s, b]))
        np.testing.assert_allclose(got[s], expected, atol=1e-12)
    assert (got[3] == 0).all()
    log_pi[0] = log_mu[0] = [0.0, -690.0, -1e3, -5.0]
    got = signal.copy()
    take(solve_factorised_rows)(np.exp(log_pi), np.exp(log_mu), log_pi, log_mu, visited, got)
    np.testing.assert_allclose(np.diff(got[0]), np.diff(signal[0]), atol=1e-12)
