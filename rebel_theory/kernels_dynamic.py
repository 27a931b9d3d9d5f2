"""Numba kernels of dynamic programming: sweeps, pushes, band factors; streaming passes over features.

Python validates and allocates, a kernel fills. Import this module inside functions only: it loads Numba. A chain
is the CSR form (data, indices, indptr) of a policy's transition P_pi (S, S); an MDP that of P (S * A, S).
``indices`` are uint32 and ``indptr`` uint64: a signed index costs a test for wrapping around, up to 5 times a sweep.

``_FAST`` lets sums be reordered and fused, nothing else: NaN and infinities keep their meaning. It is set where rows
are dense and long (4 times faster); on the short rows of a chain the order is kept, which is faster there. Every
bound on rounding holds for any order.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numba.extending import overload

_FAST = {"reassoc", "contract", "nsz"}


@njit(cache=True)
def mix_csr(probs, data, indices, indptr, slot, out_data, out_indices, out_indptr):
    """Fill a chain with P_pi for policy ``probs`` (S, A), entries of one place added up; return its entries.

    ``slot`` (S,) is scratch. Actions of probability 0 leave no entry.
    """
    n_states, n_actions = probs.shape
    slot[:] = -1
    n = 0
    for s in range(n_states):
        first = n
        for a in range(n_actions):
            p = probs[s, a]
            if p == 0.0:
                continue
            for k in range(indptr[s * n_actions + a], indptr[s * n_actions + a + 1]):
                t = indices[k]
                if slot[t] >= first:
                    out_data[slot[t]] += p * data[k]
                else:
                    slot[t] = n
                    out_indices[n] = t
                    out_data[n] = p * data[k]
                    n += 1
        out_indptr[s + 1] = n
    return n


@njit(cache=True, fastmath=_FAST)
def mix_dense(probs, transition, out):
    """Fill ``out`` (S, S) with P_pi for ``transition`` (S, A, S)."""
    n_states, n_actions = probs.shape
    for s in range(n_states):
        row = out[s]
        row[:] = probs[s, 0] * transition[s, 0]
        for a in range(1, n_actions):
            p = probs[s, a]
            if p != 0.0:
                source = transition[s, a]
                for t in range(n_states):
                    row[t] += p * source[t]


@njit(cache=True)
def _residual_csr(data, indices, indptr, reward, gamma, w, g):
    low, high = np.inf, -np.inf
    for s in range(w.shape[0]):
        total = 0.0
        for k in range(indptr[s], indptr[s + 1]):
            total += data[k] * w[indices[k]]
        value = reward[s] + gamma * total - w[s]
        g[s] = value
        low = min(low, value)
        high = max(high, value)
    return low, high


@njit(cache=True, fastmath=_FAST)
def _residual_dense(p_pi, reward, gamma, w, g):
    low, high = np.inf, -np.inf
    n = w.shape[0]
    for s in range(n):
        total = 0.0
        row = p_pi[s]
        for t in range(n):
            total += row[t] * w[t]
        value = reward[s] + gamma * total - w[s]
        g[s] = value
        low = min(low, value)
        high = max(high, value)
    return low, high


@njit(cache=True)
def sweep_csr(data, indices, indptr, reward, gamma, w, g, tolerance, n_sweeps):
    """Iterate w <- w + g - mid(g), g = r + gamma P w - w, until g spans ``tolerance``; return (sweeps, min g, max g).

    Values up to a constant: V - w lies in [min g, max g] / (1 - gamma) (MacQueen 1966), whatever w. On return ``g``
    belongs to ``w``.
    """
    low, high = _residual_csr(data, indices, indptr, reward, gamma, w, g)
    for k in range(n_sweeps):
        if high - low <= tolerance:
            return k, low, high
        middle = 0.5 * (low + high)
        for s in range(w.shape[0]):
            w[s] += g[s] - middle
        low, high = _residual_csr(data, indices, indptr, reward, gamma, w, g)
    return n_sweeps, low, high


@njit(cache=True)
def sweep_dense(p_pi, reward, gamma, w, g, tolerance, n_sweeps):
    """:func:`sweep_csr` for a dense P_pi (S, S)."""
    low, high = _residual_dense(p_pi, reward, gamma, w, g)
    for k in range(n_sweeps):
        if high - low <= tolerance:
            return k, low, high
        middle = 0.5 * (low + high)
        for s in range(w.shape[0]):
            w[s] += g[s] - middle
        low, high = _residual_dense(p_pi, reward, gamma, w, g)
    return n_sweeps, low, high


@njit(cache=True)
def gauss_seidel_csr(data, indices, indptr, reward, gamma, w, g, tolerance, n_pairs):
    """Like :func:`sweep_csr` by pairs of Gauss-Seidel sweeps, up and down the states, with reward r - mid(g).

    Fast where states are numbered along the motion: a deterministic chain is solved by one pair.
    """
    n = w.shape[0]
    low, high = _residual_csr(data, indices, indptr, reward, gamma, w, g)
    for pair in range(n_pairs):
        if high - low <= tolerance:
            return pair, low, high
        middle = 0.5 * (low + high)
        for turn in range(2 * n):
            s = n - 1 - turn if turn < n else turn - n
            total, own = 0.0, 0.0
            for k in range(indptr[s], indptr[s + 1]):
                t = indices[k]
                if t == s:
                    own += data[k]
                else:
                    total += data[k] * w[t]
            w[s] = (reward[s] - middle + gamma * total) / (1.0 - gamma * own)
        low, high = _residual_csr(data, indices, indptr, reward, gamma, w, g)
    return n_pairs, low, high


@njit(cache=True)
def _apply(data, indices, indptr, gamma, x, transposed, out):
    """Fill ``out`` with (I - gamma P) x, or its transpose's product."""
    n = x.shape[0]
    if transposed:
        out[:] = x
        for s in range(n):
            push = gamma * x[s]
            for k in range(indptr[s], indptr[s + 1]):
                out[indices[k]] -= data[k] * push
    else:
        for s in range(n):
            total = 0.0
            for k in range(indptr[s], indptr[s + 1]):
                total += data[k] * x[indices[k]]
            out[s] = x[s] - gamma * total


@njit(cache=True)
def bicgstab_csr(data, indices, indptr, gamma, transposed, x, residual, tolerance, n_steps):
    """Add to ``x`` an approximate solution of (I - gamma P) e = ``residual`` (S,); return the steps taken.

    Stabilised bi-conjugate gradients (van der Vorst 1992), which give no guarantee: the caller measures the residual
    again. ``residual`` is updated by recurrence; the return value is 0 on immediate breakdown.
    """
    n = x.shape[0]
    shadow, p, v = residual.copy(), residual.copy(), np.empty(n)
    t = np.empty(n)
    rho = np.dot(shadow, residual)
    for step in range(n_steps):
        _apply(data, indices, indptr, gamma, p, transposed, v)
        denominator = np.dot(shadow, v)
        if rho == 0.0 or denominator == 0.0 or not np.isfinite(denominator):
            return step
        alpha = rho / denominator
        for s in range(n):
            residual[s] -= alpha * v[s]
        _apply(data, indices, indptr, gamma, residual, transposed, t)
        tt = np.dot(t, t)
        omega = np.dot(t, residual) / tt if tt > 0.0 else 0.0
        largest = 0.0
        for s in range(n):
            x[s] += alpha * p[s] + omega * residual[s]
            residual[s] -= omega * t[s]
            largest = max(largest, abs(residual[s]))
        if largest <= tolerance or omega == 0.0:
            return step + 1
        new = np.dot(shadow, residual)
        beta = (new / rho) * (alpha / omega)
        rho = new
        for s in range(n):
            p[s] = residual[s] + beta * (p[s] - omega * v[s])
    return n_steps


@njit(cache=True)
def visit_residual_csr(data, indices, indptr, gamma, start, d, residual):
    """Fill ``residual`` with start + gamma P^T d - d; return its absolute sum."""
    residual[:] = start - d
    for s in range(d.shape[0]):
        push = gamma * d[s]
        if push != 0.0:
            for k in range(indptr[s], indptr[s + 1]):
                residual[indices[k]] += data[k] * push
    return np.abs(residual).sum()


@njit(cache=True)
def push_csr(data, indices, indptr, gamma, start, d, residual, tolerance, n_pairs):
    """Move ``residual`` into visits ``d`` by pairs of Gauss-Seidel pushes, down and up the states; return what is left.

    d + (I - gamma P^T)^{-1} residual is the same before and after, so the absolute sum that is left, over 1 - gamma,
    bounds the L1 error. After each pair d is scaled to its known total, which removes the slowest mode.
    """
    n = d.shape[0]
    total = start.sum() / (1.0 - gamma)
    left = np.abs(residual).sum()
    for _ in range(n_pairs):
        if left <= tolerance:
            return left
        for turn in range(2 * n):
            s = turn if turn < n else 2 * n - 1 - turn
            mass = residual[s]
            if mass == 0.0:
                continue
            own = 0.0
            for k in range(indptr[s], indptr[s + 1]):
                if indices[k] == s:
                    own += data[k]
            mass /= 1.0 - gamma * own
            d[s] += mass
            residual[s] = 0.0
            for k in range(indptr[s], indptr[s + 1]):
                if indices[k] != s:
                    residual[indices[k]] += gamma * data[k] * mass
        have = d.sum()
        if have > 0.5 * total:
            scale = total / have
            for s in range(n):
                d[s] *= scale
                residual[s] = scale * residual[s] + (1.0 - scale) * start[s]
        left = np.abs(residual).sum()
    return left


@njit(cache=True)
def forward_csr(data, indices, indptr, gamma, start, d, new, tolerance, n_sweeps):
    """Iterate d <- start + gamma P^T d, scaled to its known total, until it moves by ``tolerance``; return the move."""
    n = d.shape[0]
    total = start.sum() / (1.0 - gamma)
    moved = np.inf
    for _ in range(n_sweeps):
        new[:] = start
        for s in range(n):
            push = gamma * d[s]
            for k in range(indptr[s], indptr[s + 1]):
                new[indices[k]] += data[k] * push
        scale = total / new.sum()
        moved = 0.0
        for s in range(n):
            value = scale * new[s]
            moved += abs(value - d[s])
            d[s] = value
        if moved <= tolerance:
            break
    return moved


@njit(cache=True, fastmath=_FAST)
def forward_dense(p_pi, start, gamma, d, new, tolerance, n_sweeps):
    """Iterate d <- start + gamma P^T d, scaled to its known total, until it moves by ``tolerance``; return the move."""
    n = d.shape[0]
    total = start.sum() / (1.0 - gamma)
    moved = np.inf
    for _ in range(n_sweeps):
        new[:] = start
        for s in range(n):
            push = gamma * d[s]
            row = p_pi[s]
            for t in range(n):
                new[t] += push * row[t]
        scale = total / new.sum()
        moved = 0.0
        for s in range(n):
            value = scale * new[s]
            moved += abs(value - d[s])
            d[s] = value
        if moved <= tolerance:
            break
    return moved


@njit(cache=True)
def q_csr(data, indices, indptr, probs, reward, gamma, w, q, g):
    """Fill q = r + gamma P w (S, A) and g = pi . q - w; return min g, max g and the policy rows' largest |sum - 1|."""
    n_states, n_actions = probs.shape
    low, high, off = np.inf, -np.inf, 0.0
    for s in range(n_states):
        value, mass = 0.0, 0.0
        for a in range(n_actions):
            total = 0.0
            for k in range(indptr[s * n_actions + a], indptr[s * n_actions + a + 1]):
                total += data[k] * w[indices[k]]
            total = reward[s, a] + gamma * total
            q[s, a] = total
            value += probs[s, a] * total
            mass += probs[s, a]
        value -= w[s]
        g[s] = value
        low, high, off = min(low, value), max(high, value), max(off, abs(mass - 1.0))
    return low, high, off


@njit(cache=True, fastmath=_FAST)
def q_dense(transition, probs, reward, gamma, w, q, g):
    """:func:`q_csr` for a dense transition (S, A, S)."""
    n_states, n_actions = probs.shape
    low, high, off = np.inf, -np.inf, 0.0
    for s in range(n_states):
        value, mass = 0.0, 0.0
        for a in range(n_actions):
            total = 0.0
            row = transition[s, a]
            for t in range(n_states):
                total += row[t] * w[t]
            total = reward[s, a] + gamma * total
            q[s, a] = total
            value += probs[s, a] * total
            mass += probs[s, a]
        value -= w[s]
        g[s] = value
        low, high, off = min(low, value), max(high, value), max(off, abs(mass - 1.0))
    return low, high, off


@njit(cache=True)
def row_deviation(data, indptr):
    """Return the largest |row sum - 1| of CSR rows and the longest row, by compensated sums (Neumaier 1974)."""
    worst, longest = 0.0, 0
    for row in range(indptr.shape[0] - 1):
        total, lost = -1.0, 0.0
        for k in range(indptr[row], indptr[row + 1]):
            x = data[k]
            new = total + x
            lost += (total - new) + x if abs(total) >= abs(x) else (x - new) + total
            total = new
        worst = max(worst, abs(total + lost))
        longest = max(longest, np.int64(indptr[row + 1] - indptr[row]))
    return worst, longest


@njit(cache=True)
def bandwidth(indices, indptr):
    """Return how far a chain's entries lie below and above the diagonal."""
    lower, upper = 0, 0
    for s in range(indptr.shape[0] - 1):
        for k in range(indptr[s], indptr[s + 1]):
            lower = max(lower, s - np.int64(indices[k]))
            upper = max(upper, np.int64(indices[k]) - s)
    return lower, upper


@njit(cache=True, fastmath=_FAST)
def factor_band(data, indices, indptr, gamma, lower, upper, lu):
    """Fill ``lu`` (S, lower + 1 + upper) with the factors of I - gamma P; entry (i, j) is at column j - i + lower.

    No pivoting: the rows are diagonally dominant, and elimination keeps them so (Higham 2002, section 9.5).
    """
    n = lu.shape[0]
    lu[:] = 0.0
    for s in range(n):
        lu[s, lower] = 1.0
        for k in range(indptr[s], indptr[s + 1]):
            lu[s, np.int64(indices[k]) - s + lower] -= gamma * data[k]
    for j in range(n):
        pivot = lu[j, lower]
        width = min(upper, n - 1 - j)
        for i in range(j + 1, min(j + lower, n - 1) + 1):
            if lu[i, j - i + lower] != 0.0:
                factor = lu[i, j - i + lower] / pivot
                lu[i, j - i + lower] = factor
                target = lu[i, j - i + lower + 1 : j - i + lower + 1 + width]
                source = lu[j, lower + 1 : lower + 1 + width]
                for c in range(width):
                    target[c] -= factor * source[c]


@njit(cache=True)
def solve_band(lu, lower, upper, x):
    """Overwrite ``x`` (S,) with the solution of L U x = x."""
    n = x.shape[0]
    for i in range(n):
        for j in range(max(0, i - lower), i):
            x[i] -= lu[i, j - i + lower] * x[j]
    for i in range(n - 1, -1, -1):
        for j in range(i + 1, min(n, i + upper + 1)):
            x[i] -= lu[i, j - i + lower] * x[j]
        x[i] /= lu[i, lower]


@njit(cache=True)
def solve_band_transposed(lu, lower, upper, x):
    """Overwrite ``x`` (S,) with the solution of (L U)^T x = x."""
    n = x.shape[0]
    for i in range(n):
        x[i] /= lu[i, lower]
        for j in range(i + 1, min(n, i + upper + 1)):
            x[j] -= lu[i, j - i + lower] * x[i]
    for i in range(n - 1, -1, -1):
        for j in range(max(0, i - lower), i):
            x[j] -= lu[i, j - i + lower] * x[i]


@njit(cache=True)
def improve_csr(data, indices, indptr, reward, gamma, w, g, actions):
    """Fill the greedy ``actions`` (the first of equals) and g = max_a q - w; return min g, max g."""
    n_states, n_actions = reward.shape
    low, high = np.inf, -np.inf
    for s in range(n_states):
        best, chosen = -np.inf, 0
        for a in range(n_actions):
            total = 0.0
            for k in range(indptr[s * n_actions + a], indptr[s * n_actions + a + 1]):
                total += data[k] * w[indices[k]]
            total = reward[s, a] + gamma * total
            if total > best:
                best, chosen = total, a
        actions[s] = chosen
        g[s] = best - w[s]
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
def optimal_csr(data, indices, indptr, reward, gamma, w, g, actions, tolerance, narrowing, n_rounds):
    """Modified policy iteration until g = T w - w spans ``tolerance``; return (rounds, min g, max g).

    V* - w lies in [min g, max g] / (1 - gamma) whatever w (Puterman 1994, section 6.6). A round improves the policy and
    evaluates it by plain sweeps until its own g has ``narrowing`` of the span, or for 20 sweeps.
    """
    n_states, n_actions = reward.shape
    low, high = improve_csr(data, indices, indptr, reward, gamma, w, g, actions)
    for rounds in range(n_rounds):
        if high - low <= tolerance:
            return rounds, low, high
        goal = max(narrowing * (high - low), 0.25 * tolerance)
        below, above = low, high
        for _ in range(20):
            middle = 0.5 * (below + above)
            for s in range(n_states):
                w[s] += g[s] - middle
            below, above = np.inf, -np.inf
            for s in range(n_states):
                row = s * n_actions + actions[s]
                total = 0.0
                for k in range(indptr[row], indptr[row + 1]):
                    total += data[k] * w[indices[k]]
                g[s] = reward[s, actions[s]] + gamma * total - w[s]
                below, above = min(below, g[s]), max(above, g[s])
            if above - below <= goal:
                break
        low, high = improve_csr(data, indices, indptr, reward, gamma, w, g, actions)
    return n_rounds, low, high


@njit(cache=True)
def optimal_in_order_csr(data, indices, indptr, reward, gamma, w, g, actions, tolerance, narrowing, n_rounds):
    """:func:`optimal_csr` by pairs of Gauss-Seidel sweeps, down and up the states: news runs through a chain at once.

    The first pair of a round improves, the others evaluate. Every shift is by min g / (1 - gamma), which leaves
    T w >= w: from there on everything rises towards V* (the middle of g would be nearer, and can diverge).
    """
    n_states, n_actions = reward.shape
    low, high = improve_csr(data, indices, indptr, reward, gamma, w, g, actions)
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
            below, above = np.inf, -np.inf
            for s in range(n_states):
                row = s * n_actions + actions[s]
                total = 0.0
                for k in range(indptr[row], indptr[row + 1]):
                    total += data[k] * w[indices[k]]
                moved = reward[s, actions[s]] + gamma * total - w[s]
                below, above = min(below, moved), max(above, moved)
            if above - below <= goal:
                break
            if below > 0.0:
                w += below / (1.0 - gamma)
            for turn in range(2 * n_states):
                s = n_states - 1 - turn if turn < n_states else turn - n_states
                w[s] = _relax(data, indices, indptr, s * n_actions + actions[s], s, reward[s, actions[s]], gamma, w)
        low, high = improve_csr(data, indices, indptr, reward, gamma, w, g, actions)
        stalled = 0 if high - low < 0.9 * smallest else stalled + 1
        smallest = min(smallest, high - low)
    return n_rounds, low, high


@njit(cache=True, fastmath=_FAST)
def improve_dense(transition, reward, gamma, w, g, actions):
    """:func:`improve_csr` for a dense transition (S, A, S)."""
    n_states, n_actions = reward.shape
    low, high = np.inf, -np.inf
    for s in range(n_states):
        best, chosen = -np.inf, 0
        for a in range(n_actions):
            total = 0.0
            row = transition[s, a]
            for t in range(n_states):
                total += row[t] * w[t]
            total = reward[s, a] + gamma * total
            if total > best:
                best, chosen = total, a
        actions[s] = chosen
        g[s] = best - w[s]
        low, high = min(low, g[s]), max(high, g[s])
    return low, high


@njit(cache=True, fastmath=_FAST)
def optimal_dense(transition, reward, gamma, w, g, actions, tolerance, narrowing, n_rounds):
    """:func:`optimal_csr` for a dense transition (S, A, S), with plain sweeps, for which no shift matters."""
    n_states = reward.shape[0]
    low, high = improve_dense(transition, reward, gamma, w, g, actions)
    smallest, stalled = high - low, 0
    for rounds in range(n_rounds):
        if high - low <= tolerance or stalled > 50:
            return rounds, low, high
        goal = max(narrowing * (high - low), 0.25 * tolerance)
        for s in range(n_states):
            w[s] += g[s] - 0.5 * (low + high)
        for _ in range(1000):
            below, above = np.inf, -np.inf
            for s in range(n_states):
                total = 0.0
                row = transition[s, actions[s]]
                for t in range(n_states):
                    total += row[t] * w[t]
                g[s] = reward[s, actions[s]] + gamma * total - w[s]
                below, above = min(below, g[s]), max(above, g[s])
            if above - below <= goal:
                break
            for s in range(n_states):
                w[s] += g[s] - 0.5 * (below + above)
        low, high = improve_dense(transition, reward, gamma, w, g, actions)
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


@njit(cache=True, nogil=True, fastmath={"contract"})  # "reassoc" would undo the two-part product with ln 2
def exponentials(x, bits):
    """Replace -700 <= x <= 0 (n,) by its exponential (smaller ones by e^-700); ``bits`` (n,) int64 is scratch.

    A polynomial on [-ln 2 / 2, ln 2 / 2], Taylor's remainder at degree 12 below 2e-16, times a power of 2 written as
    bits: seven times as fast as the library's, since it becomes vector instructions.
    """
    n = x.shape[0]
    powers = bits.view(np.float64)
    for i in range(n):
        y = max(x[i], -700.0)
        k = np.floor(y * 1.4426950408889634 + 0.5)
        y = (y - k * 0.693147180369123816490) - k * 1.90821492927058770002e-10
        p = 1.0 / 479001600.0
        p = p * y + 1.0 / 39916800.0
        p = p * y + 1.0 / 3628800.0
        p = p * y + 1.0 / 362880.0
        p = p * y + 1.0 / 40320.0
        p = p * y + 1.0 / 5040.0
        p = p * y + 1.0 / 720.0
        p = p * y + 1.0 / 120.0
        p = p * y + 1.0 / 24.0
        p = p * y + 1.0 / 6.0
        p = p * y + 0.5
        p = p * y + 1.0
        p = p * y + 1.0
        x[i] = p
        bits[i] = (np.int64(k) + 1023) << 52
    for i in range(n):
        x[i] *= powers[i]


@njit(cache=True, nogil=True, fastmath=_FAST)
def _softmax_rows(logits, greedy, bits):
    """Replace the rows of ``logits`` (n, A) by their softmax, or by the indicator of the first maximum."""
    n, n_actions = logits.shape
    for s in range(n):
        largest = logits[s, 0]
        for a in range(1, n_actions):
            largest = max(largest, logits[s, a])  # without a branch, which random logits would mispredict
        for a in range(n_actions):
            logits[s, a] -= largest
    if greedy:
        for s in range(n):
            left = 1.0
            for a in range(n_actions):
                chosen = left if logits[s, a] == 0.0 else 0.0
                logits[s, a] = chosen
                left -= chosen
    else:
        exponentials(logits.reshape(n * n_actions), bits)
        for s in range(n):
            total = 0.0
            for a in range(n_actions):
                total += logits[s, a]
            total = 1.0 / total
            for a in range(n_actions):
                logits[s, a] *= total


@njit(cache=True, nogil=True, fastmath=_FAST)
def _mix_rows(pi, rows, mean):
    """Fill ``mean`` (n, d) with sum_a pi(a) rows(a), for pi (n, A) and rows (n * A, d).

    Eight actions a time: a shorter body is unrolled so far that rows of d = 16 fall through to its scalar remainder.
    """
    n, n_actions = pi.shape
    d = rows.shape[1]
    for s in range(n):
        target, p, at = mean[s], pi[s], s * n_actions
        for i in range(d):
            target[i] = 0.0
        a = 0
        while a + 8 <= n_actions:
            p0, p1, p2, p3, p4, p5, p6, p7 = p[a], p[a + 1], p[a + 2], p[a + 3], p[a + 4], p[a + 5], p[a + 6], p[a + 7]
            r0, r1, r2, r3 = rows[at + a], rows[at + a + 1], rows[at + a + 2], rows[at + a + 3]
            r4, r5, r6, r7 = rows[at + a + 4], rows[at + a + 5], rows[at + a + 6], rows[at + a + 7]
            for i in range(d):
                first = (p0 * r0[i] + p1 * r1[i]) + (p2 * r2[i] + p3 * r3[i])
                target[i] += first + ((p4 * r4[i] + p5 * r5[i]) + (p6 * r6[i] + p7 * r7[i]))
            a += 8
        while a < n_actions:
            p0, r0 = p[a], rows[at + a]
            for i in range(d):
                target[i] += p0 * r0[i]
            a += 1


def _in_double(rows, buffer):
    """Return rows (n, d) in double precision: themselves, or a copy in ``buffer``."""
    if rows.dtype == np.float64:
        return rows
    buffer[: rows.shape[0]] = rows
    return buffer[: rows.shape[0]]


@overload(_in_double)
def _compiled_in_double(rows, buffer):
    if rows.dtype == types.float64:
        return lambda rows, buffer: rows

    def copied(rows, buffer):
        n, d = rows.shape
        source, target = rows.reshape(n * d), buffer[:n].reshape(n * d)  # one loop, not one a row
        for i in range(n * d):
            target[i] = source[i]
        return buffer[:n]

    return copied


@njit(cache=True, nogil=True)
def scan_features(phi, totals, largest):
    """Fill ``largest`` (d,) with max |phi_i|; return min phi and max |phi . totals - 1|, NaN if phi is not finite.

    ``phi`` (n, d) is read once; ``totals`` (d,) are the measures of the whole space.
    """
    smallest, worst = np.inf, 0.0
    largest[:] = 0.0
    for row in range(phi.shape[0]):
        total = 0.0
        for i in range(phi.shape[1]):
            x = np.float64(phi[row, i])
            total += x * totals[i]
            smallest = min(smallest, x)
            largest[i] = max(largest[i], abs(x))
        off = abs(total - 1.0)
        if not np.isfinite(off):
            return np.nan, np.nan
        worst = max(worst, off)
    return smallest, worst


@njit(cache=True, nogil=True, fastmath=_FAST)
def linear_pass(phi, measures, rho, theta, greedy, first, last, block, kernel, start):
    """Fill ``kernel`` (d, d), ``start`` (d,) with sum m(s) phi_pi(s)^T, sum rho(s) phi_pi(s) over first <= s < last.

    ``phi`` (S * A, d) and ``measures`` (d, S) are read once, in either width, in blocks of states that stay in the
    cache; sums are in double precision. pi is the softmax of phi . theta, or its first maximiser if ``greedy``.
    """
    d = phi.shape[1]
    n_actions = phi.shape[0] // rho.shape[0]
    buffer = np.empty((block * n_actions, d))
    logits, bits = np.empty(block * n_actions), np.empty(block * n_actions, np.int64)
    mean, mass, part = np.empty((block, d)), np.empty((d, block)), np.empty((d, d))
    kernel[:] = 0.0
    start[:] = 0.0
    for low in range(first, last, block):
        n = min(block, last - low)
        size = n * n_actions
        rows = _in_double(phi[low * n_actions : low * n_actions + size], buffer)
        np.dot(rows, theta, logits[:size])
        pi = logits[:size].reshape(n, n_actions)
        _softmax_rows(pi, greedy, bits)
        _mix_rows(pi, rows, mean)
        for i in range(d):
            for s in range(n):
                mass[i, s] = measures[i, low + s]
        if n == block:
            np.dot(mass, mean, part)
        else:
            np.dot(mass[:, :n].copy(), mean[:n], part)
        kernel += part
        start += np.dot(rho[low : low + n], mean[:n])


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
