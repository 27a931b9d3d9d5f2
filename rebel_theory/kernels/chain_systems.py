"""Numba kernels that solve (I - gamma P) x = b for a sparse chain: conjugate gradients, band factors.

The chain, its index types and ``_FAST`` are those of :mod:`rebel_theory.kernels.chains`.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_FAST = {"reassoc", "contract", "nsz"}


@njit(cache=True)
def _apply(data, indices, indptr, gamma, x, transposed, out):
    """Fill ``out`` with (I - gamma P) x, or its transpose's product."""
    n = x.shape[0]
    if transposed:
        out[:] = x
        for s in range(n):
            push = gamma * x[s]
            for k in range(indptr[s], indptr[s + 1]):
                out[indices[k]] -= data[k] * push
    else:
        for s in range(n):
            total = 0.0
            for k in range(indptr[s], indptr[s + 1]):
                total += data[k] * x[indices[k]]
            out[s] = x[s] - gamma * total


@njit(cache=True)
def bicgstab_csr(data, indices, indptr, gamma, transposed, x, residual, tolerance, n_steps):
    """Add to ``x`` an approximate solution of (I - gamma P) e = ``residual`` (S,); return the steps taken.

    Stabilised bi-conjugate gradients (van der Vorst 1992), which give no guarantee: the caller measures the residual
    again. ``residual`` is updated by recurrence; the return value is 0 on immediate breakdown.
    """
    n = x.shape[0]
    shadow, p, v = residual.copy(), residual.copy(), np.empty(n)
    t = np.empty(n)
    rho = np.dot(shadow, residual)
    for step in range(n_steps):
        _apply(data, indices, indptr, gamma, p, transposed, v)
        denominator = np.dot(shadow, v)
        if rho == 0.0 or denominator == 0.0 or not np.isfinite(denominator):
            return step
        alpha = rho / denominator
        for s in range(n):
            residual[s] -= alpha * v[s]
        _apply(data, indices, indptr, gamma, residual, transposed, t)
        tt = np.dot(t, t)
        omega = np.dot(t, residual) / tt if tt > 0.0 else 0.0
        largest = 0.0
        for s in range(n):
            x[s] += alpha * p[s] + omega * residual[s]
            residual[s] -= omega * t[s]
            largest = max(largest, abs(residual[s]))
        if largest <= tolerance or omega == 0.0:
            return step + 1
        new = np.dot(shadow, residual)
        beta = (new / rho) * (alpha / omega)
        rho = new
        for s in range(n):
            p[s] = residual[s] + beta * (p[s] - omega * v[s])
    return n_steps


@njit(cache=True)
def bandwidth(indices, indptr):
    """Return how far a chain's entries lie below and above the diagonal."""
    lower, upper = 0, 0
    for s in range(indptr.shape[0] - 1):
        for k in range(indptr[s], indptr[s + 1]):
            lower = max(lower, s - np.int64(indices[k]))
            upper = max(upper, np.int64(indices[k]) - s)
    return lower, upper


@njit(cache=True, fastmath=_FAST)
def factor_band(data, indices, indptr, gamma, lower, upper, lu):
    """Fill ``lu`` (S, lower + 1 + upper) with the factors of I - gamma P; entry (i, j) is at column j - i + lower.

    No pivoting: the rows are diagonally dominant, and elimination keeps them so (Higham 2002, section 9.5).
    """
    n = lu.shape[0]
    lu[:] = 0.0
    for s in range(n):
        lu[s, lower] = 1.0
        for k in range(indptr[s], indptr[s + 1]):
            lu[s, np.int64(indices[k]) - s + lower] -= gamma * data[k]
    for j in range(n):
        pivot = lu[j, lower]
        width = min(upper, n - 1 - j)
        for i in range(j + 1, min(j + lower, n - 1) + 1):
            if lu[i, j - i + lower] != 0.0:
                factor = lu[i, j - i + lower] / pivot
                lu[i, j - i + lower] = factor
                target = lu[i, j - i + lower + 1 : j - i + lower + 1 + width]
                source = lu[j, lower + 1 : lower + 1 + width]
                for c in range(width):
                    target[c] -= factor * source[c]


@njit(cache=True)
def solve_band(lu, lower, upper, x):
    """Overwrite ``x`` (S,) with the solution of L U x = x."""
    n = x.shape[0]
    for i in range(n):
        for j in range(max(0, i - lower), i):
            x[i] -= lu[i, j - i + lower] * x[j]
    for i in range(n - 1, -1, -1):
        for j in range(i + 1, min(n, i + upper + 1)):
            x[i] -= lu[i, j - i + lower] * x[j]
        x[i] /= lu[i, lower]


@njit(cache=True)
def solve_band_transposed(lu, lower, upper, x):
    """Overwrite ``x`` (S,) with the solution of (L U)^T x = x."""
    n = x.shape[0]
    for i in range(n):
        x[i] /= lu[i, lower]
        for j in range(i + 1, min(n, i + upper + 1)):
            x[j] -= lu[i, j - i + lower] * x[i]
    for i in range(n - 1, -1, -1):
        for j in range(max(0, i - lower), i):
            x[j] -= lu[i, j - i + lower] * x[i]
