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


@njit(cache=True)
def eliminate(indptr, indices, probs, discount, terminal, pi, moves, via, leaving, actions):
    r"""Prepare :func:`visit_returns`: the policy's chain on S states and an end, with states taken out one by one.

    The chain on the states 0..k and the end (column S) has probabilities p; a path that skips k has
    p_ij + p_ik p_kj / (1 - p_kk), where 1 - p_kk is the sum of the other entries: no subtraction (Grassmann, Taksar
    and Heyman 1985). ``via`` (S, S, S + 1) is filled with the share of that which goes through k, ``leaving`` (S,)
    with 1 - p_kk, ``moves`` (S, S + 1) with the conditional probabilities of a multinomial over the places j < k or
    the end where a path from k goes that skips k, and ``actions`` (S, S + 1, A) with those over the action taken on
    a move i -> j of the whole chain.
    """
    s, m = moves.shape[0], actions.shape[2]
    p = np.zeros((s, s + 1))
    actions[:] = 0.0
    via[:] = 0.0
    for i in range(s):
        for a in range(m):
            weight = pi[i * m + a]
            actions[i, s, a] += weight * (1.0 - discount)
            for e in range(indptr[i * m + a], indptr[i * m + a + 1]):
                j = s if terminal[indices[e]] else indices[e]
                actions[i, j, a] += weight * discount * probs[e]
        for j in range(s + 1):
            for a in range(m - 1, -1, -1):
                p[i, j] += actions[i, j, a]
                if p[i, j] > 0.0:
                    actions[i, j, a] /= p[i, j]
    for k in range(s - 1, -1, -1):
        rest = p[k, s]
        for j in range(k - 1, -1, -1):
            rest += p[k, j]
            moves[k, j] = p[k, j] / rest if rest > 0.0 else 0.0
        leaving[k] = rest / (rest + p[k, k]) if rest > 0.0 else 1.0
        for i in range(k):
            for j in range(s + 1):
                if (k <= j < s) or p[i, k] <= 0.0 or p[k, j] <= 0.0:
                    continue
                extra = p[i, k] * (p[k, j] / rest)
                p[i, j] += extra
                via[k, i, j] = extra / p[i, j]


@njit(cache=True)
def split(rng, n, p):
    """Return a binomial draw, all of ``n`` if rounding took p to 1."""
    if n == 0 or p <= 0.0:
        return 0
    return n if p >= 1.0 else rng.binomial(n, p)


@njit(cache=True)
def visit_returns(
    rng, starts, counts, most, indptr, indices, probs, tails, reward, discount, terminal, moves, via, leaving, actions,
    totals,
):  # fmt: skip
    """Add to ``totals`` (K,) the sums of ``counts[k]`` returns from cell ``starts[k]``; return the rewards seen.

    The moves that all roll-outs of a start make together are drawn, not step by step but state by state. Paths enter
    the chain without its last states at the first state that they meet there; in the chain of the first state alone
    they stay there a negative binomial number of times; and as each state is put back, every move i -> j turns out to
    have gone through it with the probability ``via``, and to have stayed there a negative binomial number of times. By
    the strong Markov property this is the law of the counts, at a cost free of the roll-outs' number and length:
    S^3/3 + S^2 A draws. At most ``most`` roll-outs at a time: the numbers of moves stay below 2^63.
    """
    s, m = moves.shape[0], actions.shape[2]
    n_moves, entering = np.empty((s, s + 1), dtype=np.int64), np.zeros(terminal.shape[0], dtype=np.int64)
    reached = np.empty(terminal.shape[0], dtype=np.int64)
    seen = 0.0
    for start in range(starts.shape[0]):
        cell, left = starts[start], counts[start]
        while left > 0:
            n = min(left, most)
            left -= n
            totals[start] += n * reward[cell // m, cell % m]
            seen += n
            entering[:] = 0
            move(rng, n, cell, indptr, indices, probs, tails, discount, terminal, entering, reached, 0)
            n_moves[:] = 0
            for k in range(s - 1, -1, -1):
                n = entering[k]
                for j in range(k):
                    came = split(rng, n, moves[k, j])
                    n_moves[k, j] = came
                    entering[j] += came
                    n -= came
                n_moves[k, s] = n
            for k in range(s):
                for i in range(k):
                    for j in range(s + 1):
                        if n_moves[i, j] > 0 and via[k, i, j] > 0.0:
                            through = split(rng, n_moves[i, j], via[k, i, j])
                            n_moves[i, j] -= through
                            n_moves[i, k] += through
                            n_moves[k, j] += through
                n = n_moves[k].sum()
                if n > 0 and leaving[k] < 1.0:
                    n_moves[k, k] = rng.negative_binomial(n, leaving[k])
            for i in range(s):
                for j in range(s + 1):
                    n = n_moves[i, j]
                    seen += n
                    for a in range(m):
                        if n == 0:
                            break
                        taken = split(rng, n, actions[i, j, a])
                        n -= taken
                        totals[start] += taken * reward[i, a]
    return seen
