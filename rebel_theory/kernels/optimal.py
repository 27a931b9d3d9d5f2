"""Numba kernels of optimal values: greedy sweeps stopped by span, and the search for what is reachable.

Index types and layouts are those of :mod:`rebel_theory.kernels.chains`.

``_FAST`` lets sums be reordered and fused, nothing else: NaN and infinities keep their meaning. Every bound on
rounding holds for any order.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_FAST = {"reassoc", "contract", "nsz"}


@njit(cache=True)
def improve_csr(data, indices, indptr, reward, gamma, w, q, g, actions):
    """Centre w, fill q = r + gamma P w, its greedy ``actions`` (the first of equals) and g = max_a q - w.

    Return min g, max g and how many actions are new.
    """
    n_states, n_actions = reward.shape
    low, high, n_new = np.inf, -np.inf, 0
    w -= 0.5 * (w.min() + w.max())  # rounding grows with |w|
    for s in range(n_states):
        best, chosen = -np.inf, 0
        for a in range(n_actions):
            total = 0.0
            for k in range(indptr[s * n_actions + a], indptr[s * n_actions + a + 1]):
                total += data[k] * w[indices[k]]
            total = reward[s, a] + gamma * total
            q[s, a] = total
            if total > best:
                best, chosen = total, a
        n_new += chosen != actions[s]
        actions[s] = chosen
        g[s] = best - w[s]
        low, high = min(low, g[s]), max(high, g[s])
    return low, high, n_new


@njit(cache=True)
def _residual_csr(data, indices, indptr, reward, gamma, actions, w, g):
    """Fill g = r + gamma P w - w for the policy ``actions``; return min g, max g."""
    n_states, n_actions = reward.shape
    low, high = np.inf, -np.inf
    for s in range(n_states):
        row = s * n_actions + actions[s]
        total = 0.0
        for k in range(indptr[row], indptr[row + 1]):
            total += data[k] * w[indices[k]]
        g[s] = reward[s, actions[s]] + gamma * total - w[s]
        low, high = min(low, g[s]), max(high, g[s])
    return low, high


@njit(cache=True)
def _relax(data, indices, indptr, row, s, reward, gamma, w):
    """Return the value of state ``s`` under the action of ``row``, taken for good, other states as they are."""
    total, own = 0.0, 0.0
    for k in range(indptr[row], indptr[row + 1]):
        if indices[k] == s:
            own += data[k]
        else:
            total += data[k] * w[indices[k]]
    return (reward + gamma * total) / (1.0 - gamma * own)


@njit(cache=True)
def _goal(span, n_new, n_states, tolerance, narrowing):
    """Return the span to which a policy is evaluated: the last one if improving changed few actions.

    The policy may then be optimal; if not, to finish in vain costs little, a sweep being a share 1 / A of improving.
    """
    return 0.25 * tolerance if 20 * n_new <= n_states else max(narrowing * span, 0.25 * tolerance)


@njit(cache=True)
def optimal_csr(data, indices, indptr, reward, gamma, w, q, g, actions, tolerance, narrowing, n_rounds):
    """Modified policy iteration until g = T w - w spans ``tolerance``; return (rounds, min g, max g).

    V* - w lies in [min g, max g] / (1 - gamma) whatever w (Puterman 1994, section 6.6). A round evaluates the
    policy by plain sweeps until its own g has ``narrowing`` of the span, or for 20 sweeps, then improves it. Before and
    after, q, g and ``actions`` belong to w as :func:`improve_csr` leaves them.
    """
    n_states = w.shape[0]
    low, high, n_new = g.min(), g.max(), n_states
    for rounds in range(n_rounds):
        if high - low <= tolerance:
            return rounds, low, high
        goal = _goal(high - low, n_new, n_states, tolerance, narrowing)
        for _ in range(20):
            w += g - 0.5 * (low + high)
            low, high = _residual_csr(data, indices, indptr, reward, gamma, actions, w, g)
            if high - low <= goal:
                break
        low, high, n_new = improve_csr(data, indices, indptr, reward, gamma, w, q, g, actions)
    return n_rounds, low, high


@njit(cache=True)
def optimal_in_order_csr(data, indices, indptr, reward, gamma, w, q, g, actions, tolerance, narrowing, n_rounds):
    """:func:`optimal_csr` by pairs of Gauss-Seidel sweeps, down and up the states: news runs through a chain at once.

    The first pair of a round improves, the others evaluate. Every shift is by min g / (1 - gamma), which leaves
    T w >= w: from there on everything rises towards V* (the middle of g would be nearer, and can diverge).
    """
    n_states, n_actions = reward.shape
    low, high = g.min(), g.max()
    smallest, stalled = high - low, 0
    for rounds in range(n_rounds):
        if high - low <= tolerance or stalled > 50:
            return rounds, low, high
        goal = max(narrowing * (high - low), 0.25 * tolerance)
        w += low / (1.0 - gamma)
        for turn in range(2 * n_states):
            s = n_states - 1 - turn if turn < n_states else turn - n_states
            best = -np.inf
            for a in range(n_actions):
                value = _relax(data, indices, indptr, s * n_actions + a, s, reward[s, a], gamma, w)
                if value > best:
                    best = value
                    actions[s] = a
            w[s] = best
        for _ in range(100):
            below, above = _residual_csr(data, indices, indptr, reward, gamma, actions, w, g)
            if above - below <= goal:
                break
            if below > 0.0:
                w += below / (1.0 - gamma)
            for turn in range(2 * n_states):
                s = n_states - 1 - turn if turn < n_states else turn - n_states
                w[s] = _relax(data, indices, indptr, s * n_actions + actions[s], s, reward[s, actions[s]], gamma, w)
        low, high, _ = improve_csr(data, indices, indptr, reward, gamma, w, q, g, actions)
        stalled = 0 if high - low < 0.9 * smallest else stalled + 1
        smallest = min(smallest, high - low)
    return n_rounds, low, high


@njit(cache=True, fastmath=_FAST)
def improve_dense(transition, reward, gamma, w, q, g, actions):
    """:func:`improve_csr` for a dense transition (S, A, S)."""
    n_states, n_actions = reward.shape
    low, high, n_new = np.inf, -np.inf, 0
    w -= 0.5 * (w.min() + w.max())
    for s in range(n_states):
        best, chosen = -np.inf, 0
        for a in range(n_actions):
            total = 0.0
            row = transition[s, a]
            for t in range(n_states):
                total += row[t] * w[t]
            total = reward[s, a] + gamma * total
            q[s, a] = total
            if total > best:
                best, chosen = total, a
        n_new += chosen != actions[s]
        actions[s] = chosen
        g[s] = best - w[s]
        low, high = min(low, g[s]), max(high, g[s])
    return low, high, n_new


@njit(cache=True, fastmath=_FAST)
def optimal_dense(transition, reward, gamma, w, q, g, actions, tolerance, narrowing, n_rounds):
    """:func:`optimal_csr` for a dense transition (S, A, S), with plain sweeps, for which no shift matters."""
    n_states = reward.shape[0]
    low, high, n_new = g.min(), g.max(), n_states
    smallest, stalled = high - low, 0
    for rounds in range(n_rounds):
        if high - low <= tolerance or stalled > 50:
            return rounds, low, high
        goal = _goal(high - low, n_new, n_states, tolerance, narrowing)
        for _ in range(1000):
            w += g - 0.5 * (low + high)
            low, high = np.inf, -np.inf
            for s in range(n_states):
                total = 0.0
                row = transition[s, actions[s]]
                for t in range(n_states):
                    total += row[t] * w[t]
                g[s] = reward[s, actions[s]] + gamma * total - w[s]
                low, high = min(low, g[s]), max(high, g[s])
            if high - low <= goal:
                break
        low, high, n_new = improve_dense(transition, reward, gamma, w, q, g, actions)
        stalled = 0 if high - low < 0.9 * smallest else stalled + 1
        smallest = min(smallest, high - low)
    return n_rounds, low, high


@njit(cache=True)
def search_csr(data, indices, indptr, support, seen):
    """Mark in ``seen`` (S,) every state that the marked ones lead to by the actions ``support`` (S, A)."""
    n_states, n_actions = support.shape
    stack = np.empty(n_states, np.int64)
    size = 0
    for s in range(n_states):
        if seen[s]:
            stack[size] = s
            size += 1
    while size > 0:
        size -= 1
        s = stack[size]
        for a in range(n_actions):
            if support[s, a]:
                for k in range(indptr[s * n_actions + a], indptr[s * n_actions + a + 1]):
                    t = indices[k]
                    if data[k] > 0.0 and not seen[t]:
                        seen[t] = True
                        stack[size] = t
                        size += 1
