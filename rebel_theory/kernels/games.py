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
    for i in range(n):
        p, total = probs[i], 0.0
        row, weights, target = payoff[i, i + 1 :], probs[i + 1 :], out[i + 1 :]
        for j in range(n - i - 1):
            total += row[j] * weights[j]
            target[j] -= row[j] * p
        out[i] += total
