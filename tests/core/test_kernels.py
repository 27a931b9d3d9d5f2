"""Kernels against their plain-Python reading and against naive references; compiled = interpreted exactly."""

import numpy as np
import pytest
import reference as ref

from rebel_theory import kernels

pytestmark = pytest.mark.kernels


def plain(kernel):
    """The Python function of a kernel; itself under NUMBA_DISABLE_JIT=1."""
    return getattr(kernel, "py_func", kernel)


def cdf(rng, *shape):
    return np.cumsum(rng.dirichlet(np.full(shape[-1], 0.5), size=shape[:-1]), axis=-1)


@pytest.mark.parametrize("seed", range(3))
def test_compiled_is_interpreted_exactly(seed):
    rng = np.random.default_rng(seed)
    s, a, n = 4, 3, 300
    rho, pi, mu, transition = cdf(rng, s), cdf(rng, s, a), cdf(rng, s, a), cdf(rng, s * a, s)
    reward, terminal = rng.random((s, a)), np.array([False, False, False, True])
    results = []
    for take in (lambda k: k, plain):
        g = np.random.default_rng(seed)
        x, y, other = (np.empty(n, dtype=np.int64) for _ in range(3))
        take(kernels.sample_pairs)(g, rho, pi, mu, x, y, other)
        third = np.empty(n, dtype=np.int64)
        take(kernels.sample_actions)(g, x, pi, third)
        returns, seen = np.empty(n), []
        for gamma in (0.9, 1.0):
            seen.append(take(kernels.roll_out)(g, transition, reward, pi, gamma, terminal, x, y, returns))
        counts, sums = np.zeros((s, a, a)), np.zeros((s, a, a))
        take(kernels.accumulate_pairs)(x, y, other, returns, counts, sums)
        potentials = np.zeros((s, a))
        take(kernels.solve_pair_graph)(counts, sums, potentials)
        results.append([x, y, other, third, returns, np.array(seen), counts, sums, potentials, g.random(1)])
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


def test_draw_by_definition():
    """The index of the first running sum above u, for the same stream of u."""
    rng = np.random.default_rng(0)
    for p in ([0.2, 0.5, 0.3], [0.0, 0.5, 0.0, 0.5, 0.0], [1.0], [0.0, 0.0, 1.0], [1e-300, 1.0]):
        running = np.cumsum(p)
        one, two = np.random.default_rng(1), np.random.default_rng(1)
        got = [kernels.draw(one, running) for _ in range(200)]
        expected = [int(np.searchsorted(running, two.random() * running[-1], side="right")) for _ in range(200)]
        assert got == expected
        assert all(p[i] > 0 for i in got)

    class Zero:  # u = 0 exactly: an action of probability 0 in front must not be drawn
        def random(self):
            return 0.0

    assert plain(kernels.draw)(Zero(), np.array([0.0, 0.0, 0.5, 1.0])) == 2
    short = np.array([0.5, 0.75])  # sums that stop short are taken relative to the last one
    assert {kernels.draw(rng, short) for _ in range(100)} == {0, 1}


def test_accumulate_pairs_by_definition():
    x, y, other = np.array([0, 0, 1, 1]), np.array([0, 1, 2, 2]), np.array([1, 0, 2, 0])
    counts, sums = np.zeros((2, 3, 3)), np.zeros((2, 3, 3))
    kernels.accumulate_pairs(x, y, other, np.array([1.0, 3.0, 7.0, 5.0]), counts, sums)
    expected = np.zeros((2, 3, 3))
    expected[0, 0, 1], expected[1, 2, 0] = 1 - 3, 5
    np.testing.assert_array_equal(sums, expected - np.swapaxes(expected, 1, 2))
    assert counts[0, 0, 1] == counts[0, 1, 0] == 2
    assert counts[1, 2, 0] == counts[1, 0, 2] == 1
    assert counts.sum() == 6


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


def test_roll_out_without_randomness():
    """A deterministic cycle, survival decided by the same stream: the return is a sum of the rewards on the way."""
    p = np.zeros((3, 1, 3))
    p[[0, 1, 2], 0, [1, 2, 0]] = 1
    reward, ends = np.array([[1.0], [10.0], [100.0]]), np.ones(3, dtype=bool)
    table, pi = np.cumsum(p.reshape(3, 3), axis=-1), np.ones((3, 1))
    start, actions, returns = np.arange(3), np.zeros(3, dtype=np.int64), np.empty(3)
    seen = kernels.roll_out(np.random.default_rng(0), table, reward, pi, 0.0, ends, start, actions, returns)
    np.testing.assert_array_equal(returns, reward[:, 0])
    assert seen == 3
    seen = kernels.roll_out(
        np.random.default_rng(0), table, reward, pi, 1.0, np.array([True, False, False]), start, actions, returns
    )
    np.testing.assert_array_equal(returns, [111, 110, 100])
    assert seen == 6
