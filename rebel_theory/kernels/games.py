"""Numba kernels of games: products with a payoff.

``_FAST`` lets sums be reordered and fused, nothing else: NaN and infinities keep their meaning. Every bound on
rounding holds for any order.
"""

from __future__ import annotations

from numba import njit

_FAST = {"reassoc", "contract", "nsz"}


@njit(cache=True, fastmath=_FAST)
def skew_product(payoff, probs, out):
    """Fill ``out`` (Y,) with the product of a skew-symmetric ``payoff`` (Y, Y) and ``probs`` (Y,).

    Only the upper triangle is read, each entry once for both of its places: half the memory of a general product.
    """
    n = probs.shape[0]
    out[:] = 0.0
    whole = n - n % 4
    for i in range(0, whole, 4):  # four rows at a time: a quarter of the traffic of ``out``
        for k in range(i, i + 4):
            for j in range(k + 1, i + 4):
                out[k] += payoff[k, j] * probs[j]
                out[j] -= payoff[k, j] * probs[k]
        a, b, c, d = payoff[i, i + 4 :], payoff[i + 1, i + 4 :], payoff[i + 2, i + 4 :], payoff[i + 3, i + 4 :]
        p, q, r, s = probs[i], probs[i + 1], probs[i + 2], probs[i + 3]
        sum_a, sum_b, sum_c, sum_d = 0.0, 0.0, 0.0, 0.0
        weights, target = probs[i + 4 :], out[i + 4 :]
        for j in range(n - i - 4):
            x = weights[j]
            sum_a += a[j] * x
            sum_b += b[j] * x
            sum_c += c[j] * x
            sum_d += d[j] * x
            target[j] -= (a[j] * p + b[j] * q) + (c[j] * r + d[j] * s)
        out[i] += sum_a
        out[i + 1] += sum_b
        out[i + 2] += sum_c
        out[i + 3] += sum_d
    for i in range(whole, n):
        for j in range(i + 1, n):
            out[i] += payoff[i, j] * probs[j]
            out[j] -= payoff[i, j] * probs[i]
