"""Numba kernels that roll out MDPs, several chains in flight.

One chain waits for memory at every step, so a block of roll-outs walks ``LANES`` of them side by side, each on its
own xoshiro256++ stream, and starts the next one in a lane as soon as its chain ends. A seed's blocks have streams
derived from the seed's key and the block's number: results do not depend on the number of threads. Alias tables are
packed, threshold and both targets in 16 bytes, and drawn from in 64-bit fixed point. Callers and callees share this
file so that the cache sees edits. Import it inside functions only: it loads Numba.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

LANES = 16
GEOMETRIC, FIXED, UNIFORM = 0, 1, 2  # laws of the number of further steps

_TASKS = 128  # blocks that wait to be added up
_LOW = np.uint64(2**32 - 1)
_ZERO, _ONE, _HALF, _K17, _K19, _K23, _K27, _K30, _K31, _K32, _K41, _K45 = (
    np.uint64(k) for k in (0, 1, 11, 17, 19, 23, 27, 30, 31, 32, 41, 45)
)
_GOLDEN, _MIX1, _MIX2 = (np.uint64(k) for k in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


@njit(cache=True)
def pack(indptr, threshold, alias, targets, entries):
    """Fill ``entries`` (2 n,) with alias tables: a threshold in units of 2^-64, then two targets of 32 bits.

    A draw below the threshold takes the upper target. Without ``targets`` they are offsets from the row's start.
    """
    for row in range(indptr.shape[0] - 1):
        low = indptr[row]
        for j in range(low, indptr[row + 1]):
            certain = threshold[j] >= 1.0
            other = j if certain else low + alias[j]
            own, rest = (targets[j], targets[other]) if targets.shape[0] else (j - low, other - low)
            entries[2 * j] = _ZERO if certain else np.uint64(threshold[j] * 2.0**64)
            entries[2 * j + 1] = (np.uint64(own) << _K32) | np.uint64(rest)


@njit(cache=True, inline="always")
def advance(streams, words):
    """Advance every stream of ``streams`` (4, m) once and write its 64 bits to ``words`` (m,)."""
    for i in range(words.shape[0]):
        a, b, c, d = streams[0, i], streams[1, i], streams[2, i], streams[3, i]
        total = a + d
        words[i] = ((total << _K23) | (total >> _K41)) + a
        shifted = b << _K17
        c ^= a
        d ^= b
        b ^= c
        a ^= d
        c ^= shifted
        streams[0, i], streams[1, i], streams[2, i] = a, b, c
        streams[3, i] = (d << _K45) | (d >> _K19)


@njit(cache=True)
def seed_streams(key, number, streams):
    """Fill the streams (4, m) of block ``number`` by SplitMix64 from the seed's key (Steele, Lea and Flood 2014)."""
    n, m = streams.shape
    counter = key + np.uint64(number * n * m) * _GOLDEN
    for i in range(m):
        for j in range(n):
            counter += _GOLDEN
            z = (counter ^ (counter >> _K30)) * _MIX1
            z = (z ^ (z >> _K27)) * _MIX2
            streams[j, i] = z ^ (z >> _K31)


@njit(cache=True, inline="always")
def pick(entries, low, m, word):
    """Return a target from the table of ``m`` < 2^32 entries at ``low``; all uint64.

    ``word`` * m / 2^64 has the column as its integer part and the remainder as its fraction, both exact.
    """
    column = ((word >> _K32) * m + (((word & _LOW) * m) >> _K32)) >> _K32
    j = (low + column) << _ONE
    # a shift rather than a branch, which would be mispredicted
    return (entries[j + _ONE] >> (_K32 * np.uint64(word * m < entries[j]))) & _LOW


@njit(cache=True, inline="always")
def further_steps(word, kind, number):
    """Return how many steps follow the first, by the inverse of its distribution function."""
    if kind == FIXED:
        return np.int64(number)
    u = np.float64(word >> _HALF) * 2.0**-53
    if kind == UNIFORM:
        return np.int64(u * number)
    return np.int64(np.log(1.0 - u) * number)  # P(k or more) = gamma^k with number = 1 / log(gamma)


@njit(cache=True)
def walk(streams, cells, values, last, mdp, choices, law):
    """Walk a chain from every cell s A + a of ``cells`` (n,); fill its rewards' sum and its last cell.

    ``mdp`` is (spans, moves, reward, alive): where a cell's next states lie in ``moves`` and how many there are (32
    bits each), their table, the reward of a cell, and 0 for states that end a chain; ``choices`` holds the policy's
    tables. ``law`` is (kind, number, decay): the law of the length, and the weight of a reward over the one before.
    ``last`` may be ``cells``. Return the number of rewards seen.
    """
    spans, moves, reward, alive = mdp
    kind, number, decay = law
    n_actions = np.uint64(reward.shape[0] // alive.shape[0])
    first, second = np.empty(LANES, dtype=np.uint64), np.empty(LANES, dtype=np.uint64)
    here, left = np.empty(LANES, dtype=np.uint64), np.empty(LANES, dtype=np.int64)
    total, weight, place = np.empty(LANES), np.empty(LANES), np.empty(LANES, dtype=np.int64)
    n, waiting, active = cells.shape[0], 0, 0
    seen = n
    while True:
        while active < LANES and waiting < n:
            advance(streams, first)
            for i in range(active, LANES):
                if waiting < n:
                    cell, steps = cells[waiting], further_steps(first[i], kind, number)
                    if steps == 0:
                        values[waiting], last[waiting] = reward[cell], cell
                    else:
                        here[active], left[active], place[active] = cell, steps, waiting
                        total[active], weight[active] = reward[cell], 1.0
                        active += 1
                    waiting += 1
        if active == 0:
            return seen
        ended = False
        while not ended:
            advance(streams, first)
            advance(streams, second)
            for i in range(active):
                span = spans[here[i]]
                state = pick(moves, span >> _K32, span & _LOW, first[i])
                low = state * n_actions
                cell = low + pick(choices, low, n_actions, second[i])
                here[i] = cell
                weight[i] *= decay
                total[i] += weight[i] * reward[cell]
                seen += alive[state]
                steps = (left[i] - 1) * alive[state]
                left[i] = steps
                ended |= steps == 0
        i = 0
        while i < active:
            if left[i] > 0:
                i += 1
                continue
            values[place[i]], last[place[i]] = total[i], here[i]
            active -= 1
            here[i], left[i], place[i] = here[active], left[active], place[active]
            total[i], weight[i] = total[active], weight[active]


@njit(cache=True)
def block(key, number, mdp, tables, roll_in, law, width, cells, values):
    """Draw ``cells.shape[0]`` pairs (x, y, y'); write (x A + y) width + y' and the difference of two roll-outs.

    ``tables`` are those of the states, of y ~ pi and of y' of one seed; the states are followed by a walk of law
    ``roll_in`` whose last cell is (x, y). ``width`` = 1 draws y only. Return the number of rewards seen.
    """
    starts, choices, others = tables
    n, n_states = cells.shape[0], np.uint64(starts.shape[0] // 2)
    m = np.uint64(mdp[2].shape[0] // mdp[3].shape[0])
    streams = np.empty((4, LANES), dtype=np.uint64)
    seed_streams(key, number, streams)
    first, second = np.empty(LANES, dtype=np.uint64), np.empty(LANES, dtype=np.uint64)
    origin = np.empty(n if width == 1 else 2 * n, dtype=np.uint64)
    result = np.empty(origin.shape[0])
    for low in range(0, n, LANES):
        advance(streams, first)
        advance(streams, second)
        for i in range(min(LANES, n - low)):
            row = pick(starts, _ZERO, n_states, first[i]) * m
            origin[low + i] = row + pick(choices, row, m, second[i])
    walk(streams, origin[:n], result[:n], origin[:n], mdp, choices, roll_in)
    for i in range(n):
        cells[i] = np.int64(origin[i]) * width
    if width > 1:
        for low in range(0, n, LANES):
            advance(streams, first)
            for i in range(min(LANES, n - low)):
                row = origin[low + i] // m * m
                other = pick(others, row, m, first[i])
                cells[low + i] += np.int64(other)
                origin[n + low + i] = row + other
    seen = walk(streams, origin, result, origin, mdp, choices, law)
    for i in range(n):
        values[i] = result[i] if width == 1 else result[i] - result[n + i]
    return seen


@njit(cache=True, parallel=True)
def all_roll_outs(states, starts, choices, others, n, size, mdp, roll_in, law, counts, sums, seen):
    """Draw n pairs of every seed in blocks of ``size``; add them up in directed cells of ``counts``, ``sums``.

    ``states`` (K, 4) are the seeds' streams, advanced once; the tables have a leading seed axis, and so have the
    cells (K, S, A, width). ``seen`` (K,) counts the rewards. Threads across blocks; sums are in the order of pairs.
    """
    n_seeds, width = states.shape[0], counts.shape[3]
    n_blocks = (n + size - 1) // size
    slab = min(n_seeds, _TASKS)
    group = min(n_blocks, max(1, _TASKS // slab))
    keys, met = np.empty(n_seeds, dtype=np.uint64), np.zeros((slab, group), dtype=np.int64)
    cells, values = np.empty((slab, group * size), dtype=np.int64), np.empty((slab, group * size))
    for k in range(n_seeds):
        advance(states[k].reshape(4, 1), keys[k : k + 1])
    for base in range(0, n_seeds, slab):
        here = min(slab, n_seeds - base)
        for first in range(0, n_blocks, group):
            waiting = min(n - first * size, group * size)
            for task in prange(here * group):
                i, j = task // group, task % group
                low, high = j * size, min(waiting, (j + 1) * size)
                if low < high:
                    k = base + i
                    met[i, j] = block(
                        keys[k], first + j, mdp, (starts[k], choices[k], others[k]), roll_in, law, width,
                        cells[i, low:high], values[i, low:high],
                    )  # fmt: skip
            for i in prange(here):
                k = base + i
                for j in range(min(group, n_blocks - first)):
                    seen[k] += met[i, j]
                count, total = counts[k].reshape(-1), sums[k].reshape(-1)
                for j in range(waiting):
                    count[cells[i, j]] += 1.0
                    total[cells[i, j]] += values[i, j]
