"""Numba kernels of roll-outs moved as populations. Import this module inside functions only: it loads Numba."""

from __future__ import annotations

import numpy as np
from numba import njit

DRAWS_PER_SPLIT = 2.0  # steps of single roll-outs in the time of a binomial draw, measured; it sets the cost only


@njit(cache=True)
def build_tails(indptr, probs, tails):
    """Fill ``tails`` with the sums of each row's probabilities from an entry to the row's end, small ones first."""
    for row in range(indptr.shape[0] - 1):
        total = 0.0
        for i in range(indptr[row + 1] - 1, indptr[row] - 1, -1):
            total += probs[i]
            tails[i] = total


@njit(cache=True)
def pick(rng, tails, low, high):
    """Return an index drawn from the row low:high of probabilities, by bisection in its tails."""
    v = rng.random() * tails[low]
    while high - low > 1:  # tails[low] > v, and tails[high] <= v or high is the row's end
        middle = (low + high) // 2
        if tails[middle] > v:
            low = middle
        else:
            high = middle
    return low


@njit(cache=True)
def share(rng, n, probs, tails, i):
    """Return how many of the ``n`` that fell on entry i or later in its row fell on i: one step of a multinomial."""
    if n == 0 or probs[i] <= 0.0:
        return 0
    return n if probs[i] >= tails[i] else rng.binomial(n, probs[i] / tails[i])


@njit(cache=True)
def move(rng, n, cell, indptr, indices, probs, tails, discount, terminal, there, reached, n_reached):
    """Move the survivors of ``n`` that acted in a cell to their next states; return how many states are occupied.

    ``there`` counts by state, ``reached`` lists the states that it holds; ends keep nobody.
    """
    if discount < 1.0:
        n = rng.binomial(n, discount)
    for i in range(indptr[cell], indptr[cell + 1]):
        if n == 0:
            break
        came = share(rng, n, probs, tails, i)
        n -= came
        state = indices[i]
        if came > 0 and not terminal[state]:
            if there[state] == 0:
                reached[n_reached] = state
                n_reached += 1
            there[state] += came
    return n_reached


@njit(cache=True)
def single(rng, state, indptr, indices, tails, reward, discount, terminal, pi_tails):
    """Return the return of one roll-out under the policy from a state, and the number of rewards seen."""
    m = reward.shape[1]
    total, seen = 0.0, 0.0
    while not terminal[state]:
        cell = pick(rng, pi_tails, state * m, state * m + m)
        total += reward[state, cell - state * m]
        seen += 1.0
        if discount < 1.0 and rng.random() >= discount:
            break
        state = indices[pick(rng, tails, indptr[cell], indptr[cell + 1])]
    return total, seen


@njit(cache=True)
def summed_returns(
    rng, starts, counts, indptr, indices, probs, tails, reward, discount, terminal, pi, pi_tails, per_split, totals
):
    """Fill ``totals`` (K,) with the sums of ``counts[k]`` returns from cell ``starts[k]`` = state * A + action.

    Each start's roll-outs are one population: by state, its actions are multinomial, the survivors of each action
    binomial, and their next states multinomial. From the step at which the roll-outs are fewer than ``per_split``
    times the binomial draws that a step of the population takes, they go on one by one: the law is the same.
    ``pi`` and ``pi_tails`` are flat, (rows * A,). Return the number of rewards seen.
    """
    m = reward.shape[1]
    here, there = np.zeros(terminal.shape[0], dtype=np.int64), np.zeros(terminal.shape[0], dtype=np.int64)
    at, reached = np.empty(terminal.shape[0], dtype=np.int64), np.empty(terminal.shape[0], dtype=np.int64)
    seen = 0.0
    for k in range(starts.shape[0]):
        cell, n = starts[k], counts[k]
        total = n * reward[cell // m, cell % m]
        seen += n
        n_at = move(rng, n, cell, indptr, indices, probs, tails, discount, terminal, here, at, 0)
        while n_at > 0:
            live, splits = 0, 0
            for i in range(n_at):
                live += here[at[i]]
                splits += m + indptr[(at[i] + 1) * m] - indptr[at[i] * m]
            alone = live <= per_split * splits
            n_reached = 0
            for i in range(n_at):
                state = at[i]
                n, here[state] = here[state], 0
                if alone:
                    for _ in range(n):
                        value, steps = single(rng, state, indptr, indices, tails, reward, discount, terminal, pi_tails)
                        total += value
                        seen += steps
                    continue
                for a in range(m):
                    if n == 0:
                        break
                    acting = share(rng, n, pi, pi_tails, state * m + a)
                    if acting == 0:
                        continue
                    n -= acting
                    total += acting * reward[state, a]
                    seen += acting
                    n_reached = move(
                        rng, acting, state * m + a, indptr, indices, probs, tails, discount, terminal, there, reached,
                        n_reached,
                    )  # fmt: skip
            here, there, at, reached, n_at = there, here, reached, at, n_reached
        totals[k] = total
    return seen
