"""Numba kernels that stream over the features of a linear MDP.

``_FAST`` lets sums be reordered and fused, nothing else: NaN and infinities keep their meaning. Every bound on
rounding holds for any order.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numba.extending import overload

_FAST = {"reassoc", "contract", "nsz"}


@njit(cache=True, nogil=True, fastmath={"contract"})  # "reassoc" would undo the two-part product with ln 2
def exponentials(x, bits):
    """Replace -700 <= x <= 0 (n,) by its exponential (smaller ones by e^-700); ``bits`` (n,) int64 is scratch.

    A polynomial on [-ln 2 / 2, ln 2 / 2], Taylor's remainder at degree 12 below 2e-16, times a power of 2 written as
    bits: seven times as fast as the library's, since it becomes vector instructions.
    """
    n = x.shape[0]
    powers = bits.view(np.float64)
    for i in range(n):
        y = max(x[i], -700.0)
        k = np.floor(y * 1.4426950408889634 + 0.5)
        y = (y - k * 0.693147180369123816490) - k * 1.90821492927058770002e-10
        p = 1.0 / 479001600.0
        p = p * y + 1.0 / 39916800.0
        p = p * y + 1.0 / 3628800.0
        p = p * y + 1.0 / 362880.0
        p = p * y + 1.0 / 40320.0
        p = p * y + 1.0 / 5040.0
        p = p * y + 1.0 / 720.0
        p = p * y + 1.0 / 120.0
        p = p * y + 1.0 / 24.0
        p = p * y + 1.0 / 6.0
        p = p * y + 0.5
        p = p * y + 1.0
        p = p * y + 1.0
        x[i] = p
        bits[i] = (np.int64(k) + 1023) << 52
    for i in range(n):
        x[i] *= powers[i]


@njit(cache=True, nogil=True, fastmath=_FAST)
def _softmax_rows(logits, greedy, bits):
    """Replace the rows of ``logits`` (n, A) by their softmax, or by the indicator of the first maximum."""
    n, n_actions = logits.shape
    for s in range(n):
        largest = logits[s, 0]
        for a in range(1, n_actions):
            largest = max(largest, logits[s, a])  # without a branch, which random logits would mispredict
        for a in range(n_actions):
            logits[s, a] -= largest
    if greedy:
        for s in range(n):
            left = 1.0
            for a in range(n_actions):
                chosen = left if logits[s, a] == 0.0 else 0.0
                logits[s, a] = chosen
                left -= chosen
    else:
        exponentials(logits.reshape(n * n_actions), bits)
        for s in range(n):
            total = 0.0
            for a in range(n_actions):
                total += logits[s, a]
            total = 1.0 / total
            for a in range(n_actions):
                logits[s, a] *= total


@njit(cache=True, nogil=True, fastmath=_FAST)
def _mix_rows(pi, rows, mean):
    """Fill ``mean`` (n, d) with sum_a pi(a) rows(a), for pi (n, A) and rows (n * A, d).

    Eight actions a time: a shorter body is unrolled so far that rows of d = 16 fall through to its scalar remainder.
    """
    n, n_actions = pi.shape
    d = rows.shape[1]
    for s in range(n):
        target, p, at = mean[s], pi[s], s * n_actions
        for i in range(d):
            target[i] = 0.0
        a = 0
        while a + 8 <= n_actions:
            p0, p1, p2, p3, p4, p5, p6, p7 = p[a], p[a + 1], p[a + 2], p[a + 3], p[a + 4], p[a + 5], p[a + 6], p[a + 7]
            r0, r1, r2, r3 = rows[at + a], rows[at + a + 1], rows[at + a + 2], rows[at + a + 3]
            r4, r5, r6, r7 = rows[at + a + 4], rows[at + a + 5], rows[at + a + 6], rows[at + a + 7]
            for i in range(d):
                first = (p0 * r0[i] + p1 * r1[i]) + (p2 * r2[i] + p3 * r3[i])
                target[i] += first + ((p4 * r4[i] + p5 * r5[i]) + (p6 * r6[i] + p7 * r7[i]))
            a += 8
        while a < n_actions:
            p0, r0 = p[a], rows[at + a]
            for i in range(d):
                target[i] += p0 * r0[i]
            a += 1


def _in_double(rows, buffer):
    """Return rows (n, d) in double precision: themselves, or a copy in ``buffer``."""
    if rows.dtype == np.float64:
        return rows
    buffer[: rows.shape[0]] = rows
    return buffer[: rows.shape[0]]


@overload(_in_double)
def _compiled_in_double(rows, buffer):
    if rows.dtype == types.float64:
        return lambda rows, buffer: rows

    def copied(rows, buffer):
        n, d = rows.shape
        source, target = rows.reshape(n * d), buffer[:n].reshape(n * d)  # one loop, not one a row
        for i in range(n * d):
            target[i] = source[i]
        return buffer[:n]

    return copied


@njit(cache=True, nogil=True)
def scan_features(phi, totals, largest):
    """Fill ``largest`` (d,) with max |phi_i|; return min phi and max |phi . totals - 1|, NaN if phi is not finite.

    ``phi`` (n, d) is read once; ``totals`` (d,) are the measures of the whole space.
    """
    smallest, worst = np.inf, 0.0
    largest[:] = 0.0
    for row in range(phi.shape[0]):
        total = 0.0
        for i in range(phi.shape[1]):
            x = np.float64(phi[row, i])
            total += x * totals[i]
            smallest = min(smallest, x)
            largest[i] = max(largest[i], abs(x))
        off = abs(total - 1.0)
        if not np.isfinite(off):
            return np.nan, np.nan
        worst = max(worst, off)
    return smallest, worst


@njit(cache=True, nogil=True, fastmath=_FAST)
def linear_pass(phi, measures, rho, theta, greedy, first, last, block, kernel, start):
    """Fill ``kernel`` (d, d), ``start`` (d,) with sum m(s) phi_pi(s)^T, sum rho(s) phi_pi(s) over first <= s < last.

    ``phi`` (S * A, d) and ``measures`` (d, S) are read once, in either width, in blocks of states that stay in the
    cache; sums are in double precision. pi is the softmax of phi . theta, or its first maximiser if ``greedy``.
    """
    d = phi.shape[1]
    n_actions = phi.shape[0] // rho.shape[0]
    buffer = np.empty((block * n_actions, d))
    logits, bits = np.empty(block * n_actions), np.empty(block * n_actions, np.int64)
    mean, mass, part = np.empty((block, d)), np.empty((d, block)), np.empty((d, d))
    kernel[:] = 0.0
    start[:] = 0.0
    for low in range(first, last, block):
        n = min(block, last - low)
        size = n * n_actions
        rows = _in_double(phi[low * n_actions : low * n_actions + size], buffer)
        np.dot(rows, theta, logits[:size])
        pi = logits[:size].reshape(n, n_actions)
        _softmax_rows(pi, greedy, bits)
        _mix_rows(pi, rows, mean)
        for i in range(d):
            for s in range(n):
                mass[i, s] = measures[i, low + s]
        if n == block:
            np.dot(mass, mean, part)
        else:
            np.dot(mass[:, :n].copy(), mean[:n], part)
        kernel += part
        start += np.dot(rho[low : low + n], mean[:n])
