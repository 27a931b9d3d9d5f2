"""Numba kernels that build alias tables of many rows. Import it inside functions only: it loads Numba."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def build_alias(probs, threshold, alias, work):
    """Fill an alias table (Walker 1977, Vose 1991) of ``probs`` (m,), which sum to 1; ``work`` (m,) is scratch.

    Entry i is drawn if a uniform on [0, 1) falls below ``threshold[i]``, ``alias[i]`` otherwise.
    """
    m = probs.shape[0]
    small, large = 0, m
    for i in range(m):
        threshold[i] = probs[i] * m
        alias[i] = i
        if threshold[i] < 1.0:
            work[small] = i
            small += 1
        else:
            large -= 1
            work[large] = i
    while small > 0 and large < m:
        low, high = work[small - 1], work[large]
        alias[low] = high
        threshold[high] = (threshold[high] + threshold[low]) - 1.0
        small -= 1
        if threshold[high] < 1.0:
            large += 1
            work[small] = high
            small += 1
    # what is left differs from 1 by rounding; an impossible entry must stay impossible
    best = 0
    for i in range(m):
        if probs[i] > probs[best]:
            best = i
    while large < m:
        threshold[work[large]] = 1.0
        large += 1
    while small > 0:
        small -= 1
        i = work[small]
        if probs[i] > 0.0:
            threshold[i] = 1.0
        else:
            alias[i] = best


@njit(cache=True)
def build_csr(indptr, data, threshold, alias):
    """Fill one alias table a row of a CSR matrix of distributions; offsets count from the row's start."""
    longest = 0
    for row in range(indptr.shape[0] - 1):
        longest = max(longest, indptr[row + 1] - indptr[row])
    work = np.empty(longest, dtype=np.int64)
    for row in range(indptr.shape[0] - 1):
        low, high = indptr[row], indptr[row + 1]
        build_alias(data[low:high], threshold[low:high], alias[low:high], work)
