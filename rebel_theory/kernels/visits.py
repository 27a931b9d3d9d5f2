"""Numba kernels of a sparse chain's discounted visits d = start + gamma P^T d: pushes and forward sweeps.

The chain and its index types are those of :mod:`rebel_theory.kernels.chains`.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def visit_residual_csr(data, indices, indptr, gamma, start, d, residual):
    """Fill ``residual`` with start + gamma P^T d - d; return its absolute sum."""
    residual[:] = start - d
    for s in range(d.shape[0]):
        push = gamma * d[s]
        if push != 0.0:
            for k in range(indptr[s], indptr[s + 1]):
                residual[indices[k]] += data[k] * push
    return np.abs(residual).sum()


@njit(cache=True)
def push_csr(data, indices, indptr, gamma, start, d, residual, tolerance, n_pairs):
    """Move ``residual`` into visits ``d`` by pairs of Gauss-Seidel pushes, down and up the states; return what is left.

    d + (I - gamma P^T)^{-1} residual is the same before and after, so the absolute sum that is left, over 1 - gamma,
    bounds the L1 error. After each pair d is scaled to its known total, which removes the slowest mode.
    """
    n = d.shape[0]
    total = start.sum() / (1.0 - gamma)
    left = np.abs(residual).sum()
    for _ in range(n_pairs):
        if left <= tolerance:
            return left
        for turn in range(2 * n):
            s = turn if turn < n else 2 * n - 1 - turn
            mass = residual[s]
            if mass == 0.0:
                continue
            own = 0.0
            for k in range(indptr[s], indptr[s + 1]):
                if indices[k] == s:
                    own += data[k]
            mass /= 1.0 - gamma * own
            d[s] += mass
            residual[s] = 0.0
            for k in range(indptr[s], indptr[s + 1]):
                if indices[k] != s:
                    residual[indices[k]] += gamma * data[k] * mass
        have = d.sum()
        if have > 0.5 * total:
            scale = total / have
            for s in range(n):
                d[s] *= scale
                residual[s] = scale * residual[s] + (1.0 - scale) * start[s]
        left = np.abs(residual).sum()
    return left


@njit(cache=True)
def forward_csr(data, indices, indptr, gamma, start, d, new, tolerance, n_sweeps):
    """Iterate d <- start + gamma P^T d, scaled to its known total, until it moves by ``tolerance``; return the move."""
    n = d.shape[0]
    total = start.sum() / (1.0 - gamma)
    moved = np.inf
    for _ in range(n_sweeps):
        new[:] = start
        for s in range(n):
            push = gamma * d[s]
            for k in range(indptr[s], indptr[s + 1]):
                new[indices[k]] += data[k] * push
        scale = total / new.sum()
        moved = 0.0
        for s in range(n):
            value = scale * new[s]
            moved += abs(value - d[s])
            d[s] = value
        if moved <= tolerance:
            break
    return moved
