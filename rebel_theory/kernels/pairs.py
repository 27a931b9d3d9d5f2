"""Numba kernels that draw pairs one by one: two actions of a row, and the relative reward that is observed.

A pair is drawn in two passes over chunks that stay in the cache: its directed cell (x, y, y'), by inverse CDF or,
for many pairs, from one alias table of all cells; then what is observed there. The state of a stream stays in
registers meanwhile. A sample is split into ``n_streams`` streams, which the caller fixes by its size alone, so that
results do not depend on the number of threads. Callers and callees share this file so that the cache sees edits.
Import it inside functions only: it loads Numba.
"""

from __future__ import annotations

from math import erfc, exp, log, pi, sqrt

import numpy as np
from numba import njit, prange

MEANS, BERNOULLI, GAUSSIAN, SHARED, SEPARATE = 0, 1, 2, 3, 4  # what is observed: the last two of a game

_CHUNK = 256  # pairs
_BLOCKS = 64  # of seeds that share scratch memory
_SEEN = np.int64(1) << np.int64(32)  # counts in the upper half of an integer, summed values in the lower
_HALF_SEEN = np.int64(1) << np.int64(31)
_UNIT = 2.0**-53
_NEVER = 2.0  # above every uniform
_ZERO, _ONE, _TWO, _THREE, _HALF, _LAYER = (np.uint64(k) for k in (0, 1, 2, 3, 11, 255))
_K17, _K19, _K23, _K27, _K30, _K31, _K41, _K45 = (np.uint64(k) for k in (17, 19, 23, 27, 30, 31, 41, 45))
_GOLDEN, _MIX1, _MIX2 = (np.uint64(k) for k in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def _ziggurat(layers: int = 256, tail: float = 3.6541528853610088) -> tuple[np.ndarray, ...]:
    """Return edges x_0 > ... > x_layers = 0, their ratios and their densities (Marsaglia and Tsang 2000)."""
    area = tail * exp(-(tail**2) / 2) + sqrt(pi / 2) * erfc(tail / sqrt(2))
    edges = np.zeros(layers + 1)
    edges[0], edges[1] = area * exp(tail**2 / 2), tail
    for i in range(2, layers):
        edges[i] = sqrt(-2 * log(area / edges[i - 1] + exp(-(edges[i - 1] ** 2) / 2)))
    return edges, edges[1:] / edges[:-1], np.exp(-(edges**2) / 2)


_EDGES, _RATIOS, _DENSITIES = _ziggurat()
_TAIL = _EDGES[1]


@njit(cache=True, inline="always")
def advance(s0, s1, s2, s3):
    """Return 64 random bits and the next state, by xoshiro256++ (Blackman and Vigna 2021)."""
    total = s0 + s3
    word = ((total << _K23) | (total >> _K41)) + s0
    shifted = s1 << _K17
    s2 ^= s0
    s3 ^= s1
    s1 ^= s2
    s0 ^= s3
    s2 ^= shifted
    s3 = (s3 << _K45) | (s3 >> _K19)
    return word, s0, s1, s2, s3


@njit(cache=True, inline="always")
def unit(word):
    """Return a uniform double in [0, 1) from 53 of 64 bits."""
    return np.float64(np.int64(word >> _HALF)) * _UNIT


@njit(cache=True)
def split(state, streams):
    """Fill ``streams`` (G, 4) with the states of independent streams; ``state`` (4,) moves on."""
    s0, s1, s2, s3 = state[0], state[1], state[2], state[3]
    for g in range(streams.shape[0]):
        for j in range(4):
            word, s0, s1, s2, s3 = advance(s0, s1, s2, s3)
            word += _GOLDEN  # the finaliser of SplitMix64 (Steele, Lea and Flood 2014)
            word = (word ^ (word >> _K30)) * _MIX1
            word = (word ^ (word >> _K27)) * _MIX2
            streams[g, j] = word ^ (word >> _K31)
    state[0], state[1], state[2], state[3] = s0, s1, s2, s3


@njit(cache=True)
def cumulate(probs, cdf):
    """Fill ``cdf`` (rows, P), P a power of two, with cumulative sums of ``probs`` (rows, m) for :func:`search`.

    From the last possible entry on the sum is above every uniform: an impossible one is never found.
    """
    rows, m = probs.shape
    for s in range(rows):
        total, last = 0.0, 0
        for a in range(m):
            total += probs[s, a]
            if a < cdf.shape[1]:
                cdf[s, a] = total
            last = a if probs[s, a] > 0.0 else last
        for a in range(last, cdf.shape[1]):
            cdf[s, a] = _NEVER


@njit(cache=True, inline="always")
def search(cdf, start, halvings, u):
    """Return how many of 4 * 2^halvings sums from ``start`` are at most u: bisection to four, without branches."""
    low, bit = start, halvings
    while bit > _ZERO:
        low += np.uint64(u >= cdf[low + (_TWO << bit) - _ONE]) << (bit + _ONE)
        bit -= _ONE
    found = np.uint64(u >= cdf[low]) + np.uint64(u >= cdf[low + _ONE])
    found += np.uint64(u >= cdf[low + _TWO]) + np.uint64(u >= cdf[low + _THREE])
    return low - start + found


@njit(cache=True)
def halvings_of(cdf):
    """Return the number of halvings from a row of ``cdf`` (rows, 4 * 2^h) to four sums."""
    halvings = 0
    while 4 << halvings < cdf.shape[1]:
        halvings += 1
    return np.uint64(halvings)


@njit(cache=True)
def build_alias(threshold, pick, work):
    """Turn weights in ``threshold`` (n,), of any positive sum, into an alias table (Walker 1977, Vose 1991).

    ``pick[2 i + 1]`` = i is drawn if a uniform on [0, 1) falls below ``threshold[i]``, ``pick[2 i]`` otherwise: a load
    in place of a branch that cannot be predicted. ``work`` (n,) is scratch.
    """
    n = threshold.shape[0]
    total, best = 0.0, 0
    for i in range(n):
        total += threshold[i]
        best = i if threshold[i] > threshold[best] else best
    small, large = 0, n
    for i in range(n):
        threshold[i] *= n / total
        pick[2 * i] = pick[2 * i + 1] = i
        if threshold[i] < 1.0:
            work[small] = i
            small += 1
        else:
            large -= 1
            work[large] = i
    while small > 0 and large < n:
        low, high = work[small - 1], work[large]
        pick[2 * low] = high
        threshold[high] = (threshold[high] + threshold[low]) - 1.0
        small -= 1
        if threshold[high] < 1.0:
            large += 1
            work[small] = high
            small += 1
    # what is left differs from 1 by rounding; an impossible entry must stay impossible
    while large < n:
        threshold[work[large]] = 1.0
        large += 1
    while small > 0:
        small -= 1
        i = work[small]
        if threshold[i] > 0.0:
            threshold[i] = 1.0
        else:
            pick[2 * i] = best


@njit(cache=True, inline="always")
def draw_alias(threshold, pick, u):
    """Return an entry of an alias table, column and remainder from one uniform."""
    scaled = u * threshold.shape[0]
    column = np.int64(scaled)
    at = np.uint64(column)
    return pick[at + at + np.uint64(scaled - column < threshold[at])]


@njit(cache=True)
def draw_cells(state, rows, pi_cdf, base_cdf, n_actions, width, cells, n):
    """Fill ``cells`` with n directed cells (x A + y) width + y': x from an alias table, y and y' by inverse CDF."""
    s0, s1, s2, s3 = state[0], state[1], state[2], state[3]
    threshold, pick = rows
    p, halvings = np.uint64(pi_cdf.shape[1]), halvings_of(pi_cdf)
    by_y, by_other = pi_cdf.ravel(), base_cdf.ravel()
    m, w = np.uint64(n_actions), np.uint64(width)
    for i in range(n):
        word, s0, s1, s2, s3 = advance(s0, s1, s2, s3)
        x = draw_alias(threshold, pick, unit(word))
        word, s0, s1, s2, s3 = advance(s0, s1, s2, s3)
        cell = x * m + search(by_y, x * p, halvings, unit(word))
        if width > 1:
            word, s0, s1, s2, s3 = advance(s0, s1, s2, s3)
            cell = cell * w + search(by_other, x * p, halvings, unit(word))
        cells[i] = cell
    state[0], state[1], state[2], state[3] = s0, s1, s2, s3


@njit(cache=True)
def draw_joint(state, threshold, pick, cells, n):
    """Fill ``cells`` with n directed cells from their alias table."""
    s0, s1, s2, s3 = state[0], state[1], state[2], state[3]
    for i in range(n):
        word, s0, s1, s2, s3 = advance(s0, s1, s2, s3)
        cells[i] = draw_alias(threshold, pick, unit(word))
    state[0], state[1], state[2], state[3] = s0, s1, s2, s3


@njit(cache=True)
def observe_bernoulli(state, reward, n_actions, width, cells, n, tally):
    """Add n cells, and the difference of two 0-1 rewards each, to ``tally``; the difference takes one uniform."""
    s0, s1, s2, s3 = state[0], state[1], state[2], state[3]
    m, w = np.uint64(n_actions), np.uint64(width)
    by_width, by_m = 1.0 / width, 1.0 / n_actions
    for i in range(n):
        cell = cells[i]
        word, s0, s1, s2, s3 = advance(s0, s1, s2, s3)
        u = unit(word)
        if width > 1:
            first = np.uint64(np.int64((np.float64(np.int64(cell)) + 0.5) * by_width))
            x = np.uint64(np.int64((np.float64(np.int64(first)) + 0.5) * by_m))
            p, q = reward[first], reward[x * m + (cell - first * w)]
            value = np.int64(u < p * (1.0 - q)) - np.int64(u >= 1.0 - q * (1.0 - p))
        else:
            value = np.int64(u < reward[cell])
        tally[cell] += _SEEN + value
    state[0], state[1], state[2], state[3] = s0, s1, s2, s3


@njit(cache=True)
def observe_outcomes(state, preference, pi_cdf, shared, n_actions, width, cells, n, tally):
    """Add n cells of a game; y'' ~ pi is met by both actions if ``shared``, one each otherwise.

    The value is half the difference of two outcomes 2 o - 1, or one of them where ``width`` is 1.
    """
    s0, s1, s2, s3 = state[0], state[1], state[2], state[3]
    m, p, halvings = np.uint64(n_actions), np.uint64(pi_cdf.shape[1]), halvings_of(pi_cdf)
    rivals = pi_cdf.ravel()
    for i in range(n):
        cell = np.int64(cells[i])
        first = cell // width
        x = np.uint64(first // n_actions)
        word, s0, s1, s2, s3 = advance(s0, s1, s2, s3)
        rival = search(rivals, x * p, halvings, unit(word))
        wins = preference[np.uint64(first) * m + rival]
        if width > 1:
            if not shared:
                word, s0, s1, s2, s3 = advance(s0, s1, s2, s3)
                rival = search(rivals, x * p, halvings, unit(word))
            other = preference[(x * m + np.uint64(cell - first * width)) * m + rival]
            word, s0, s1, s2, s3 = advance(s0, s1, s2, s3)
            u = unit(word)
            value = np.int64(u < wins * (1.0 - other)) - np.int64(u >= 1.0 - other * (1.0 - wins))
        else:
            word, s0, s1, s2, s3 = advance(s0, s1, s2, s3)
            value = np.int64(1) if unit(word) < wins else np.int64(-1)
        tally[cell] += _SEEN + value
    state[0], state[1], state[2], state[3] = s0, s1, s2, s3


@njit(cache=True)
def observe_normal(state, cells, n, tally, noise):
    """Add n cells, and a standard normal each to ``noise``, by the ziggurat of Marsaglia and Tsang (2000).

    The layer and the position in it come from different bits (Doornik 2005).
    """
    s0, s1, s2, s3 = state[0], state[1], state[2], state[3]
    for i in range(n):
        while True:
            word, s0, s1, s2, s3 = advance(s0, s1, s2, s3)
            layer = word & _LAYER
            u = (np.float64(np.int64(word) >> np.int64(11)) + 0.5) * (2.0 * _UNIT)
            z = u * _EDGES[layer]
            if abs(u) < _RATIOS[layer]:
                break
            if layer == _ZERO:
                while True:
                    word, s0, s1, s2, s3 = advance(s0, s1, s2, s3)
                    beyond = -np.log1p(-unit(word)) / _TAIL
                    word, s0, s1, s2, s3 = advance(s0, s1, s2, s3)
                    if -2.0 * np.log1p(-unit(word)) > beyond * beyond:
                        break
                z = _TAIL + beyond if u > 0.0 else -_TAIL - beyond
                break
            word, s0, s1, s2, s3 = advance(s0, s1, s2, s3)
            low, high = _DENSITIES[layer], _DENSITIES[layer + _ONE]
            if low + unit(word) * (high - low) < np.exp(-0.5 * z * z):
                break
        tally[cells[i]] += _SEEN
        noise[cells[i]] += z
    state[0], state[1], state[2], state[3] = s0, s1, s2, s3


@njit(cache=True)
def draw_stream(state, rows, tables, kind, signal, n_actions, width, n, cells, tally, noise):
    """Add n pairs of one stream to ``tally`` and ``noise`` (cells,), chunk by chunk."""
    pi_cdf, base_cdf, threshold, pick = tables
    for low in range(0, n, _CHUNK):
        size = min(_CHUNK, n - low)
        if threshold.shape[0] > 0:
            draw_joint(state, threshold, pick, cells, size)
        else:
            draw_cells(state, rows, pi_cdf, base_cdf, n_actions, width, cells, size)
        if kind == BERNOULLI:
            observe_bernoulli(state, signal, n_actions, width, cells, size, tally)
        elif kind == GAUSSIAN:
            observe_normal(state, cells, size, tally, noise)
        elif kind == MEANS:
            for i in range(size):
                tally[cells[i]] += _SEEN
        else:
            observe_outcomes(state, signal, pi_cdf, kind == SHARED, n_actions, width, cells, size, tally)


@njit(cache=True)
def settle(kind, scale, first, tally, noise, counts, sums):
    """Add a stream's tally to ``counts`` and ``sums`` (cells,), or write it there if it is the ``first``; clear it."""
    for i in range(tally.shape[0]):
        seen = (tally[i] + _HALF_SEEN) >> np.int64(32)
        value = np.float64(tally[i] - (seen << np.int64(32)))
        counts[i] = np.float64(seen) + (0.0 if first else counts[i])
        sums[i] = scale * value + (0.0 if first else sums[i])
        tally[i] = 0
    if kind == GAUSSIAN:
        for i in range(noise.shape[0]):
            sums[i] += scale * noise[i]
            noise[i] = 0.0


@njit(cache=True)
def add_means(reward, n_actions, width, counts, sums):
    """Add counts times (differences of) mean rewards to ``sums`` (cells,)."""
    i = 0
    for first in range(reward.shape[0]):
        start = first - first % n_actions
        for other in range(width):
            mean = reward[first] - reward[start + other] if width > 1 else reward[first]
            sums[i] += counts[i] * mean
            i += 1


@njit(cache=True)
def make_tables(n_rows, n_actions, width, joint):
    """Return empty tables of one seed, and ``work``; what is not needed has size 0."""
    wide = 4
    while wide < n_actions - 1:
        wide *= 2
    size = n_rows * n_actions * width if joint else 0
    cdfs, pick = np.empty((2, n_rows, wide)), np.empty(2 * size, dtype=np.uint64)
    return (cdfs[0], cdfs[1], np.empty(size), pick), np.empty(size, dtype=np.int64)


@njit(cache=True)
def fill_tables(rho, pi, base, kind, width, tables, work):
    """Fill the tables of one seed."""
    pi_cdf, base_cdf, threshold, pick = tables
    joint = threshold.shape[0] > 0
    if joint:
        i = 0
        for x in range(pi.shape[0]):
            for y in range(pi.shape[1]):
                for other in range(width):
                    threshold[i] = rho[x] * pi[x, y] * (base[x, other] if width > 1 else 1.0)
                    i += 1
        build_alias(threshold, pick, work)
    elif width > 1:
        cumulate(base, base_cdf)
    if not joint or kind in (SHARED, SEPARATE):
        cumulate(pi, pi_cdf)


@njit(cache=True)
def row_table(rho):
    """Return the alias table of the rows."""
    pick = np.empty(2 * rho.shape[0], dtype=np.uint64)
    threshold = rho.copy()
    build_alias(threshold, pick, np.empty(rho.shape[0], dtype=np.int64))
    return threshold, pick


@njit(cache=True, parallel=True)
def draw_seeds(states, rho, pi, base, n, n_streams, joint, kind, signal, scale, counts, sums):
    """Draw n pairs a seed, threads across the seeds, into ``counts`` and ``sums`` (K, S A width).

    ``width`` = A compares y ~ pi with y' ~ base, 1 observes y alone. ``rho`` (S,), ``pi`` and ``base`` (K, S, A).
    ``signal`` holds means (S A,), or preferences (S A A,); ``scale`` is that of the noise, or the unit of an outcome.
    ``states`` (K, 4) move on.
    """
    n_seeds, n_rows, n_actions = pi.shape
    width = counts.shape[1] // (n_rows * n_actions)
    rows = row_table(rho)
    n_blocks = min(_BLOCKS, n_seeds)
    for b in prange(n_blocks):
        tables, work = make_tables(n_rows, n_actions, width, joint)
        cells = np.empty(_CHUNK, dtype=np.uint64)
        tally = np.zeros(counts.shape[1], dtype=np.int64)
        noise = np.zeros(tally.size if kind == GAUSSIAN else 0)
        streams = np.empty((n_streams, 4), dtype=np.uint64)
        for k in range(b * n_seeds // n_blocks, (b + 1) * n_seeds // n_blocks):
            fill_tables(rho, pi[k], base[k], kind, width, tables, work)
            split(states[k], streams)
            for g in range(n_streams):
                share = n // n_streams + (1 if g < n % n_streams else 0)
                draw_stream(streams[g], rows, tables, kind, signal, n_actions, width, share, cells, tally, noise)
                settle(kind, scale, g == 0, tally, noise, counts[k], sums[k])
            if kind in (MEANS, GAUSSIAN):
                add_means(signal, n_actions, width, counts[k], sums[k])


@njit(cache=True, parallel=True)
def draw_streams(states, rho, pi, base, n, n_streams, joint, kind, signal, scale, counts, sums):
    """The same, number for number, with threads across the streams of one seed after the other."""
    n_seeds, n_rows, n_actions = pi.shape
    width = counts.shape[1] // (n_rows * n_actions)
    rows = row_table(rho)
    tables, work = make_tables(n_rows, n_actions, width, joint)
    tally = np.zeros((n_streams, counts.shape[1]), dtype=np.int64)
    noise = np.zeros((n_streams, tally.shape[1] if kind == GAUSSIAN else 0))
    streams = np.empty((n_streams, 4), dtype=np.uint64)
    for k in range(n_seeds):
        fill_tables(rho, pi[k], base[k], kind, width, tables, work)
        split(states[k], streams)
        for g in prange(n_streams):
            cells = np.empty(_CHUNK, dtype=np.uint64)
            share = n // n_streams + (1 if g < n % n_streams else 0)
            draw_stream(streams[g], rows, tables, kind, signal, n_actions, width, share, cells, tally[g], noise[g])
        for g in range(n_streams):
            settle(kind, scale, g == 0, tally[g], noise[g], counts[k], sums[k])
        if kind in (MEANS, GAUSSIAN):
            add_means(signal, n_actions, width, counts[k], sums[k])
