"""Numba kernels of dynamic programming: sweeps, pushes, band factors.

Python validates and allocates, a kernel fills. Import this module inside functions only: it loads Numba. A chain
is the CSR form (data, indices, indptr) of a policy's transition P_pi (S, S); an MDP that of P (S * A, S).
``indices`` are uint32 and ``indptr`` uint64: a signed index costs a test for wrapping around, up to 5 times a sweep.

``_FAST`` lets sums be reordered and fused, nothing else: NaN and infinities keep their meaning. It is set where rows
are dense and long (4 times faster); on the short rows of a chain the order is kept, which is faster there. Every
bound on rounding holds for any order.
"""

from __future__ import annotations

import numpy as np
from numba import njit

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
