"""Numba kernels of the physical limits: STREAM's triad, and xoshiro256++ with its state in registers.

Import this module inside functions only: it loads Numba. The generator is written out once more: a limit must not
follow what it is the limit of.
"""
# mypy: allow-untyped-defs

from __future__ import annotations

import numpy as np
from numba import njit, prange

_K11, _K17, _K23, _K41, _K45, _K19 = (np.uint64(k) for k in (11, 17, 23, 41, 45, 19))


@njit(cache=True)
def triad(a, b, c, rounds):
    """Set a = b + 3 c, ``rounds`` times: 24 bytes an element and round, as STREAM counts them (McCalpin 1995)."""
    for _ in range(rounds):
        for i in range(a.shape[0]):
            a[i] = b[i] + 3.0 * c[i]


@njit(cache=True, parallel=True)
def triad_together(a, b, c, rounds, parts):
    """The same by as many threads, each on its own part of the arrays."""
    size = -(-a.shape[0] // parts)
    for part in prange(parts):
        for _ in range(rounds):
            for i in range(part * size, min((part + 1) * size, a.shape[0])):
                a[i] = b[i] + 3.0 * c[i]


@njit(cache=True)
def draws(seeds, n):
    """Return the sum of n uniform doubles by xoshiro256++ (Blackman and Vigna 2021); ``seeds`` (4,) uint64."""
    s0, s1, s2, s3 = seeds[0], seeds[1], seeds[2], seeds[3]
    total = 0.0
    for _ in range(n):
        mixed = s0 + s3
        result = ((mixed << _K23) | (mixed >> _K41)) + s0
        shifted = s1 << _K17
        s2 ^= s0
        s3 ^= s1
        s1 ^= s2
        s0 ^= s3
        s2 ^= shifted
        s3 = (s3 << _K45) | (s3 >> _K19)
        total += np.float64(result >> _K11) * 2.0**-53
    return total
