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
    """Fill ``lu`` (S, lower + 1 + upper + 3) with the factors of I - gamma P; entry (i, j) is at column j - i + lower.

    Row by row, four earlier rows at a time; the last three columns are zeros that they read beyond their ends. No
    pivoting: the rows are diagonally dominant, and elimination keeps them so (Higham 2002, section 9.5).
    """
    n = lu.shape[0]
    lu[:] = 0.0
    for i in range(n):
        row = lu[i]
        row[lower] = 1.0
        for k in range(indptr[i], indptr[i + 1]):
            row[np.int64(indices[k]) - i + lower] -= gamma * data[k]
        j = max(0, i - lower)
        while j < i:
            at = j - i + lower  # of column j in row i
            if i - j >= 4:
                up_a, up_b, up_c, up_d = (
                    lu[j, lower:],
                    lu[j + 1, lower - 1 :],
                    lu[j + 2, lower - 2 :],
                    lu[j + 3, lower - 3 :],
                )
                a = row[at] / up_a[0]
                b = (row[at + 1] - a * up_a[1]) / up_b[1]
                c = (row[at + 2] - a * up_a[2] - b * up_b[2]) / up_c[2]
                d = (row[at + 3] - a * up_a[3] - b * up_b[3] - c * up_c[3]) / up_d[3]
                row[at], row[at + 1], row[at + 2], row[at + 3] = a, b, c, d
                target = row[at:]
                if a != 0.0 or b != 0.0 or c != 0.0 or d != 0.0:
                    for k in range(4, upper + 4):
                        target[k] -= (a * up_a[k] + b * up_b[k]) + (c * up_c[k] + d * up_d[k])
                j += 4
            else:
                up_a, target = lu[j, lower:], row[at:]
                a = row[at] / up_a[0]
                row[at] = a
                if a != 0.0:
                    for k in range(1, upper + 1):
                        target[k] -= a * up_a[k]
                j += 1


@njit(cache=True, fastmath=_FAST)
def solve_band(lu, lower, upper, x):
    """Overwrite ``x`` (S,) with the solution of L U x = x."""
    n = x.shape[0]
    for i in range(n):
        first = max(0, i - lower)
        row, known, total = lu[i, first - i + lower :], x[first:], 0.0
        for j in range(i - first):
            total += row[j] * known[j]
        x[i] -= total
    for i in range(n - 1, -1, -1):
        row, known, total = lu[i, lower:], x[i:], 0.0
        for j in range(1, min(n - i, upper + 1)):
            total += row[j] * known[j]
        x[i] = (x[i] - total) / row[0]


@njit(cache=True, fastmath=_FAST)
def solve_band_transposed(lu, lower, upper, x):
    """Overwrite ``x`` (S,) with the solution of (L U)^T x = x."""
    n = x.shape[0]
    for i in range(n):
        row, target = lu[i, lower:], x[i:]
        x[i] /= row[0]
        value = x[i]
        for j in range(1, min(n - i, upper + 1)):
            target[j] -= row[j] * value
    for i in range(n - 1, -1, -1):
        first = max(0, i - lower)
        row, target, value = lu[i, first - i + lower :], x[first:], x[i]
        for j in range(i - first):
            target[j] -= row[j] * value
