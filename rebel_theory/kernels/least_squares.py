"""Numba kernel of graded least squares. Import this module inside functions only: it loads Numba."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def graded_solutions(rows, scale, tolerance, x):
    """Solve ``rows`` (B, n, p + 1), targets last, into ``x`` (B, p), whatever the ratios of the rows' weights.

    The complete orthogonal decomposition of Hough and Vavasis (1997, SIAM J. Matrix Anal. 18). Reflections of the
    unknowns, pivoting on the row of which most is left, make the rows lower trapezoidal: unknown k is one that the rows
    before row k cannot see. They act on every row by itself, so a heavy row leaves no rounding in a light one; what is
    left of a row is 0 once it is below the row's rounding, ``tolerance`` times its norm or its ``scale`` (B, n), plus
    what came with the pivots'. Then reflections of the rows, lightest unknown first, make them a triangle: a heavy row
    that does not see the unknown takes no part, and its misfit stays away from the light rows. Unknowns that no row
    sees are 0: the minimum norm.

    ``rows`` and ``scale`` are overwritten.
    """
    p = rows.shape[2] - 1
    reflectors, z = np.empty((p, p)), np.empty(p)
    for m in range(rows.shape[0]):
        a = rows[m]
        rank = _trapezoid(a, scale[m], tolerance, reflectors)
        for k in range(rank - 1, -1, -1):
            _eliminate(a, k, rank)
        z[:] = 0.0
        for k in range(rank):
            value = a[k, p]
            for j in range(k):
                value -= a[k, j] * z[j]
            z[k] = value / a[k, k]
        for k in range(rank - 1, -1, -1):
            _reflect(z, reflectors[k], k, p)
        x[m] = z


@njit(cache=True)
def _trapezoid(a, rounding, tolerance, reflectors):
    """Make the rows lower trapezoidal by ``reflectors`` (p, p) of the unknowns; return the rank."""
    n, p = a.shape[0], a.shape[1] - 1
    left = np.empty(n)
    for i in range(n):
        left[i] = _norm(a[i], 0, p)
        rounding[i] = tolerance * max(rounding[i], left[i])
    for k in range(min(n, p)):
        pivot = k
        for i in range(k, n):
            if left[i] <= rounding[i]:
                left[i] = 0.0
                a[i, k:p] = 0.0
            elif left[i] > left[pivot]:
                pivot = i
        longest = left[pivot]
        if longest == 0.0:
            return k
        for j in range(p + 1):
            a[k, j], a[pivot, j] = a[pivot, j], a[k, j]
        rounding[k], rounding[pivot] = rounding[pivot], rounding[k]
        left[k], left[pivot] = left[pivot], left[k]
        beta = -longest if a[k, k] > 0.0 else longest
        v = reflectors[k]
        for j in range(k, p):
            v[j] = a[k, j] / longest
        v[k] = (a[k, k] - beta) / longest
        a[k, k:p] = 0.0
        a[k, k] = beta
        for i in range(k + 1, n):
            if left[i] > 0.0:
                _reflect(a[i], v, k, p)
                left[i] = _norm(a[i], k + 1, p)
                rounding[i] += abs(a[i, k]) * (rounding[k] / longest)  # the reflector is known so far
    return min(n, p)


@njit(cache=True)
def _norm(row, start, stop):
    """Return the Euclidean norm of row[start:stop], of which no square under- or overflows."""
    total = 0.0
    for j in range(start, stop):
        total += row[j] * row[j]
    if 1e-280 < total < 1e280:
        return np.sqrt(total)
    top = 0.0
    for j in range(start, stop):
        top = max(top, abs(row[j]))
    if top == 0.0:
        return 0.0
    total = 0.0
    for j in range(start, stop):
        total += (row[j] / top) ** 2
    return top * np.sqrt(total)


@njit(cache=True)
def _reflect(row, v, start, stop):
    """Overwrite row[start:stop] with its reflection at v, which was u - beta e for a unit vector u, |beta| = 1."""
    product = 0.0
    for j in range(start, stop):
        product += row[j] * v[j]
    product /= abs(v[start])  # |v|^2 = 2 |v_start|
    for j in range(start, stop):
        row[j] -= product * v[j]


@njit(cache=True)
def _eliminate(a, k, rank):
    """Reflect row k with the rows from ``rank`` on, so that these lose unknown k, of which row k sees most."""
    n, p = a.shape[0], a.shape[1] - 1
    pivot, total = a[k, k], 1.0
    for i in range(rank, n):
        total += (a[i, k] / pivot) ** 2
    norm = np.sqrt(total)  # of the column over the pivot, whose reflector is (1 + norm, a_ik / pivot)
    head = 1.0 + norm
    products, of_target = a[k, :k].copy(), a[k, p]
    for i in range(rank, n):
        a[i, k] /= pivot * head
        for j in range(k):
            products[j] += a[i, k] * a[i, j]
        of_target += a[i, k] * a[i, p]
    products *= head / norm
    of_target *= head / norm
    for i in range(rank, n):
        for j in range(k):
            a[i, j] -= a[i, k] * products[j]
        a[i, p] -= a[i, k] * of_target
    a[k, :k] -= products
    a[k, p] -= of_target
    a[k, k] = -pivot * norm
