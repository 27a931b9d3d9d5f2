"""Plain NumPy and SciPy versions that several suites share: what a careful user would write, vectorised."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.random import Generator

from rebel_theory.arrays import FloatArray, IntArray
from rebel_theory.problems import TabularMDP


def random_policy(n_states: int, n_actions: int, seed: int = 0) -> FloatArray:
    """Return a policy whose rows differ, (S, A)."""
    return np.random.default_rng(seed).dirichlet(np.full(n_actions, 2.0), size=n_states)


def evaluate_dense(p: FloatArray, r: FloatArray, gamma: float, rho: FloatArray, pi: FloatArray) -> tuple[Any, Any, Any]:
    """Return V (S,), Q (S, A) and the occupancy (S,): one LU factorisation by LAPACK, used for both systems."""
    from scipy.linalg import lu_factor, lu_solve

    s, a = r.shape
    p_pi = np.matmul(pi[:, None, :], p)[:, 0]  # (S, S)
    lu = lu_factor(np.eye(s) - gamma * p_pi, check_finite=False)
    v = lu_solve(lu, (pi * r).sum(axis=1), check_finite=False)
    d = lu_solve(lu, (1 - gamma) * rho, trans=1, check_finite=False)
    return v, r + gamma * (p.reshape(s * a, s) @ v).reshape(s, a), d


def evaluate_sparse(p: Any, r: FloatArray, gamma: float, rho: FloatArray, pi: FloatArray) -> tuple[Any, Any, Any]:
    """The same for a CSR transition (S A, S), by SuperLU."""
    from scipy.sparse import csr_array, eye_array
    from scipy.sparse.linalg import splu

    s, a = r.shape
    choose = csr_array((pi.ravel(), np.arange(s * a), np.arange(0, s * a + 1, a)), shape=(s, s * a))
    lu = splu((eye_array(s) - gamma * (choose @ p)).tocsc())
    v = lu.solve((pi * r).sum(axis=1))
    d = lu.solve((1 - gamma) * rho, trans="T")
    return v, r + gamma * (p @ v).reshape(s, a), d


def evaluate_sweeps(
    p: Any, r: FloatArray, gamma: float, rho: FloatArray, pi: FloatArray, error: float
) -> tuple[Any, Any, Any]:
    """The same by sweeps over the chain until the sup norm certifies ``error`` relative to the largest value."""
    from scipy.sparse import csr_array

    s, a = r.shape
    choose = csr_array((pi.ravel(), np.arange(s * a), np.arange(0, s * a + 1, a)), shape=(s, s * a))
    forward = csr_array(choose @ p)
    back = csr_array(forward.T)
    mean, start = (pi * r).sum(axis=1), (1 - gamma) * rho
    v, d = np.zeros(s), rho.copy()
    for _ in range(100_000):
        new, visits = mean + gamma * (forward @ v), start + gamma * (back @ d)
        change, moved = np.abs(new - v).max(), np.abs(visits - d).sum()
        v, d = new, visits
        if gamma * change <= (1 - gamma) * error * np.abs(v).max() and gamma * moved <= (1 - gamma) * error:
            break
    return v, r + gamma * (p @ v).reshape(s, a), d


def policy_iteration(p: FloatArray, r: FloatArray, gamma: float) -> FloatArray:
    """Return V* (S,) by Howard's policy iteration with LAPACK solves."""
    s, a = r.shape
    states, actions = np.arange(s), r.argmax(axis=1)
    flat = p.reshape(s * a, s)
    while True:
        v = np.linalg.solve(np.eye(s) - gamma * p[states, actions], r[states, actions])
        q = r + gamma * (flat @ v).reshape(s, a)
        better = q.max(axis=1) > q[states, actions] + 1e-12 * np.abs(q).max()
        if not better.any():
            best: FloatArray = q.max(axis=1)
            return best
        actions = np.where(better, q.argmax(axis=1), actions)


def softmax_step(log_pi: FloatArray, direction: FloatArray) -> FloatArray:
    """Return log-probabilities of pi exp(direction), rows normalised."""
    z = log_pi + direction
    z -= z.max(axis=-1, keepdims=True)
    result: FloatArray = z - np.log(np.exp(z).sum(axis=-1, keepdims=True))
    return result


def laplacian_solve(weights: FloatArray, targets: FloatArray) -> FloatArray:
    """Return the min-norm potentials (..., A) of pair regressions: pseudo-inverses of graph Laplacians, batched."""
    lap = -weights * (1 - np.eye(weights.shape[-1]))
    right = -(lap * targets).sum(axis=-1)
    np.einsum("...ii->...i", lap)[...] = -lap.sum(axis=-1)
    result: FloatArray = np.matmul(np.linalg.pinv(lap, hermitian=True), right[..., None])[..., 0]
    return result


def inverse_cdf(probs: FloatArray) -> FloatArray:
    """Return cumulative sums of rows (R, m), each shifted by its index: one increasing array for ``searchsorted``."""
    cdf = np.cumsum(probs, axis=1)
    cdf /= cdf[:, -1:]
    result: FloatArray = (cdf + np.arange(len(probs))[:, None]).ravel()
    return result


def draw_rows(rng: Generator, table: FloatArray, rows: IntArray, m: int) -> IntArray:
    """Return a column in [0, m) for every row in ``rows``, from :func:`inverse_cdf`."""
    found = np.searchsorted(table, rows + rng.random(rows.shape), side="right")
    columns: IntArray = np.minimum(found - rows * m, m - 1)
    return columns


def sample_pairs(
    rng: Generator, rho: FloatArray, pi: FloatArray, mu: FloatArray, reward: FloatArray, n: int
) -> tuple[FloatArray, FloatArray]:
    """Return symmetric weights and skew mean rewards (X, Y, Y) of n pairs with 0-1 rewards, vectorised."""
    rows, m = pi.shape
    joint = np.cumsum(rho[:, None] * pi)
    cell = np.searchsorted(joint / joint[-1], rng.random(n), side="right")
    x = cell // m
    other = draw_rows(rng, inverse_cdf(mu), x, m)
    flat = reward.ravel()
    value = (rng.random(n) < flat[cell]).astype(np.float64) - (rng.random(n) < flat[x * m + other])
    directed = cell * m + other
    shape = (rows, m, m)
    counts = np.bincount(directed, minlength=rows * m * m).reshape(shape).astype(np.float64)
    sums = np.bincount(directed, weights=value, minlength=rows * m * m).reshape(shape)
    both = counts + counts.swapaxes(1, 2)
    return both / n, (sums - sums.swapaxes(1, 2)) / np.maximum(both, 1)


class AliasRows:
    """Walker's alias tables of the rows of a CSR matrix, drawn from for many rows at once."""

    def __init__(self, indptr: Any, indices: Any, data: FloatArray) -> None:
        self.first = indptr[:-1].astype(np.int64)
        self.length = np.diff(indptr).astype(np.int64)
        self.threshold, self.here = np.ones(len(data)), indices.astype(np.int64)
        self.other = self.here.copy()
        for lo, hi in pairwise(indptr):
            self._fill(slice(lo, hi), data[lo:hi] * (hi - lo))

    def _fill(self, where: slice, scaled: FloatArray) -> None:
        threshold, other, here = self.threshold[where], self.other[where], self.here[where]
        small, large = list(np.flatnonzero(scaled < 1)), list(np.flatnonzero(scaled >= 1))
        while small and large:
            i, j = small.pop(), large[-1]
            threshold[i], other[i] = scaled[i], here[j]
            scaled[j] -= 1 - scaled[i]
            if scaled[j] < 1:
                small.append(large.pop())

    def draw(self, rng: Generator, rows: IntArray) -> IntArray:
        """Return one entry of every row in ``rows``."""
        u = rng.random(rows.shape) * self.length[rows]
        column = u.astype(np.int64)
        at = self.first[rows] + column
        result: IntArray = np.where(u - column < self.threshold[at], self.here[at], self.other[at])
        return result


def csr_of(problem: TabularMDP) -> Any:
    """Return the transition as CSR (S A, S)."""
    from scipy.sparse import csr_array

    if problem.is_sparse:
        return problem.transition
    return csr_array(problem.transition.reshape(-1, problem.n_states))


def chain_simulator(
    rng: Generator, table: Any, pi: FloatArray, reward: FloatArray, gamma: float, d: FloatArray, rho: FloatArray,
    lanes: int, steps: int,
) -> Callable[[], float]:  # fmt: skip
    """Return what simulates ``lanes`` chains by ``steps`` and gives the mean reward a transition.

    States start from the discounted occupancy d and are drawn anew from rho with probability 1 - gamma a step, so
    that the mean is E_{d, pi} r at every step.
    """
    s, a = pi.shape
    move = AliasRows(table.indptr, table.indices, table.data)
    act = AliasRows(np.arange(0, s * a + 1, a), np.tile(np.arange(a), s), pi.ravel().copy())
    start = np.cumsum(rho)
    from_d = np.cumsum(d)

    def run() -> float:
        x = np.searchsorted(from_d / from_d[-1], rng.random(lanes), side="right")
        total = 0.0
        for _ in range(steps):
            row = x * a + act.draw(rng, x)
            total += float(reward[row].sum())
            x = move.draw(rng, row)
            stopped = np.flatnonzero(rng.random(lanes) >= gamma)
            x[stopped] = np.searchsorted(start / start[-1], rng.random(stopped.size), side="right")
        return total / (lanes * steps)

    reward = np.ascontiguousarray(reward).ravel()
    return run
