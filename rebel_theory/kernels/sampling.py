"""Numba kernels that sample: xoshiro256++ streams, alias tables, pairs with rewards and outcomes.

One stream a seed, one thread a seed: results do not depend on the number of threads. Callers and callees share
this file so that the cache sees edits. Import it inside functions only: it loads Numba.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

COUNTS_ONLY, BERNOULLI, GAUSSIAN = 0, 1, 2

_HALF = np.uint64(11)
_UNIT = 2.0**-53
_K17, _K23, _K41, _K45, _K19 = (np.uint64(k) for k in (17, 23, 41, 45, 19))


@njit(cache=True, inline="always")
def uniform(state):
    """Return a uniform double in [0, 1) with 53 random bits, by xoshiro256++ (Blackman and Vigna 2021).

    ``state`` (4,) uint64 must not be all zero; it is advanced in place.
    """
    total = state[0] + state[3]
    result = ((total << _K23) | (total >> _K41)) + state[0]
    shifted = state[1] << _K17
    state[2] ^= state[0]
    state[3] ^= state[1]
    state[1] ^= state[2]
    state[0] ^= state[3]
    state[2] ^= shifted
    state[3] = (state[3] << _K45) | (state[3] >> _K19)
    return np.float64(result >> _HALF) * _UNIT


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


@njit(cache=True, inline="always")
def draw_alias(state, threshold, alias, start, m):
    """Return an offset in [0, m) from the table at ``start``: one uniform gives the column and its remainder."""
    scaled = uniform(state) * m
    column = np.int64(scaled)
    if scaled - column >= threshold[start + column]:
        column = np.int64(alias[start + column])
    return column


@njit(cache=True)
def build_rows(probs, threshold, alias, work):
    """Fill one alias table a row of ``probs`` (S, A), laid out end to end."""
    rows, m = probs.shape
    for s in range(rows):
        build_alias(probs[s], threshold[s * m : (s + 1) * m], alias[s * m : (s + 1) * m], work)


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


@njit(cache=True)
def normal_pair(state):
    """Return two independent standard normal numbers (Marsaglia's polar method)."""
    while True:
        u, v = 2.0 * uniform(state) - 1.0, 2.0 * uniform(state) - 1.0
        square = u * u + v * v
        if 0.0 < square < 1.0:
            factor = np.sqrt(-2.0 * np.log(square) / square)
            return u * factor, v * factor


@njit(cache=True)
def joint_tables(rho, pi, base, threshold, alias, base_threshold, base_alias):
    """Fill the tables of (x, y) ~ rho x pi, end to end over S A cells, and of y' ~ base, one a row."""
    rows, m = pi.shape
    joint = np.empty(rows * m)
    total = 0.0
    for s in range(rows):
        for a in range(m):
            joint[s * m + a] = rho[s] * pi[s, a]
            total += joint[s * m + a]
    for i in range(rows * m):
        joint[i] /= total
    work = np.empty(rows * m, dtype=np.int64)
    build_alias(joint, threshold, alias, work)
    build_rows(base, base_threshold, base_alias, work)


@njit(cache=True)
def pairs_with_rewards(state, rho, pi, base, n, reward, noise, sigma, counts, sums):
    """Draw n pairs of one seed and add them up in directed cells (x, y, y') of ``counts``, ``sums`` (S, A, width).

    ``width`` = A draws y' ~ base and adds the difference of two noisy rewards; ``width`` = 1 draws y only and adds
    its noisy reward. Under ``COUNTS_ONLY`` the sums stay 0: they follow from the counts.
    """
    rows, m = pi.shape
    paired = counts.shape[2] > 1
    cells = rows * m
    threshold, alias = np.empty(cells), np.empty(cells, dtype=np.int32)
    base_threshold, base_alias = np.empty(cells), np.empty(cells, dtype=np.int32)
    joint_tables(rho, pi, base, threshold, alias, base_threshold, base_alias)
    row_start = (np.arange(cells) // m) * m
    flat = reward.ravel()
    for _ in range(n):
        cell = draw_alias(state, threshold, alias, 0, cells)
        start = row_start[cell]
        other = draw_alias(state, base_threshold, base_alias, start, m) if paired else 0
        if noise == BERNOULLI:
            value = 1.0 if uniform(state) < flat[cell] else 0.0
            if paired and uniform(state) < flat[start + other]:
                value -= 1.0
        elif noise == GAUSSIAN:
            first, second = normal_pair(state)
            value = flat[cell] + sigma * first
            if paired:
                value -= flat[start + other] + sigma * second
        else:
            value = 0.0
        x, y = start // m, cell - start
        counts[x, y, other] += 1.0
        sums[x, y, other] += value


@njit(cache=True)
def pairs_with_outcomes(state, rho, pi, base, n, preference, shared, counts, sums):
    """The same for preferences: an outcome o against y'' ~ pi counts as 2 o - 1.

    Both terms of a pair meet one y'' if ``shared``, each its own otherwise.
    """
    rows, m = pi.shape
    paired = counts.shape[2] > 1
    cells = rows * m
    threshold, alias = np.empty(cells), np.empty(cells, dtype=np.int32)
    base_threshold, base_alias = np.empty(cells), np.empty(cells, dtype=np.int32)
    joint_tables(rho, pi, base, threshold, alias, base_threshold, base_alias)
    rival_threshold, rival_alias = np.empty(cells), np.empty(cells, dtype=np.int32)
    build_rows(pi, rival_threshold, rival_alias, np.empty(m, dtype=np.int64))
    for _ in range(n):
        cell = draw_alias(state, threshold, alias, 0, cells)
        x = cell // m
        y = cell - x * m
        rival = draw_alias(state, rival_threshold, rival_alias, x * m, m)
        value = 1.0 if uniform(state) < preference[x, y, rival] else -1.0
        other = 0
        if paired:
            other = draw_alias(state, base_threshold, base_alias, x * m, m)
            if not shared:
                rival = draw_alias(state, rival_threshold, rival_alias, x * m, m)
            value -= 1.0 if uniform(state) < preference[x, other, rival] else -1.0
        counts[x, y, other] += 1.0
        sums[x, y, other] += value


@njit(cache=True, parallel=True)
def all_rewards(states, rho, pi, base, n, reward, noise, sigma, counts, sums):
    """Run :func:`pairs_with_rewards` for every seed, threads across seeds; every array has a leading seed axis."""
    for k in prange(states.shape[0]):
        pairs_with_rewards(states[k], rho[k], pi[k], base[k], n, reward, noise, sigma, counts[k], sums[k])


@njit(cache=True, parallel=True)
def all_outcomes(states, rho, pi, base, n, preference, shared, counts, sums):
    """Run :func:`pairs_with_outcomes` for every seed."""
    for k in prange(states.shape[0]):
        pairs_with_outcomes(states[k], rho[k], pi[k], base[k], n, preference, shared, counts[k], sums[k])
