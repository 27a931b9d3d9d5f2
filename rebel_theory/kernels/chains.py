"""Numba kernels of policy evaluation: the chain of a policy, sweeps over it, the certifying pass.

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
_UNIT = np.finfo(np.float64).eps / 2
_TRIAL = 5  # sweeps before their rate is judged


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
    """Fill ``out`` (S, S) with P_pi for ``transition`` (S, A, S); actions of probability 0 are not read."""
    n_states, n_actions = probs.shape
    played = np.empty(n_actions, np.int64)
    for s in range(n_states):
        n = 0
        for a in range(n_actions):
            played[n] = a
            n += probs[s, a] != 0.0
        row, pi = out[s], probs[s]
        row[:] = 0.0
        for k in range(0, n - n % 4, 4):  # four actions at a time: a quarter of the traffic of ``row``
            a, b, c, d = played[k], played[k + 1], played[k + 2], played[k + 3]
            p_a, p_b, p_c, p_d = transition[s, a], transition[s, b], transition[s, c], transition[s, d]
            for t in range(n_states):
                row[t] += (pi[a] * p_a[t] + pi[b] * p_b[t]) + (pi[c] * p_c[t] + pi[d] * p_d[t])
        for k in range(n - n % 4, n):
            a = played[k]
            p_a = transition[s, a]
            for t in range(n_states):
                row[t] += pi[a] * p_a[t]


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


@njit(cache=True, fastmath=_FAST)
def _pass_dense(p_pi, reward, gamma, w, g, d, pushed):
    """Fill g = r + gamma P w - w and ``pushed`` = P^T d in one reading of P; return min g, max g."""
    n = w.shape[0]
    pushed[:] = 0.0
    whole = n - n % 4
    for s in range(0, whole, 4):  # four rows at a time: a quarter of the traffic of ``pushed``
        row_a, row_b, row_c, row_d = p_pi[s], p_pi[s + 1], p_pi[s + 2], p_pi[s + 3]
        at_a, at_b, at_c, at_d = d[s], d[s + 1], d[s + 2], d[s + 3]
        sum_a, sum_b, sum_c, sum_d = 0.0, 0.0, 0.0, 0.0
        for t in range(n):
            x = w[t]
            sum_a += row_a[t] * x
            sum_b += row_b[t] * x
            sum_c += row_c[t] * x
            sum_d += row_d[t] * x
            pushed[t] += (at_a * row_a[t] + at_b * row_b[t]) + (at_c * row_c[t] + at_d * row_d[t])
        g[s], g[s + 1], g[s + 2], g[s + 3] = sum_a, sum_b, sum_c, sum_d
    for s in range(whole, n):
        total = 0.0
        for t in range(n):
            total += p_pi[s, t] * w[t]
            pushed[t] += d[s] * p_pi[s, t]
        g[s] = total
    low, high = np.inf, -np.inf
    for s in range(n):
        g[s] = reward[s] + gamma * g[s] - w[s]
        low, high = min(low, g[s]), max(high, g[s])
    return low, high


@njit(cache=True)
def span_limit(low, high, w, reward, gamma, tolerance):
    """Return the span of g at which w is good to ``tolerance`` of the largest value, or to rounding."""
    size, largest = 0.0, 0.0
    for s in range(w.shape[0]):
        size, largest = max(size, abs(w[s])), max(largest, abs(reward[s]))
    scale = 0.5 * abs(low + high) / (1.0 - gamma) + size
    return max(2.0 * tolerance * (1.0 - gamma) * scale, 16.0 * _UNIT * (largest + 2.0 * size))


@njit(cache=True)
def sweep_dense(p_pi, reward, start, gamma, tolerance, w, d, g, pushed, budget):
    """Improve values w and visits d of a dense chain (S, S) by sweeps that serve both; return whether they are good.

    Values as in :func:`sweep_csr`. Visits by d <- start + gamma P^T d, scaled to their known total: the move of a step
    bounds what is left of a zero-sum change, up to gamma / (1 - gamma). Gives up after ``budget`` sweeps, or where the
    decay of the first spans predicts more than half as many.
    """
    total = start.sum() / (1.0 - gamma)
    small, moved = max(8.0 * _UNIT, 0.1 * tolerance) / (1.0 - gamma), np.inf
    low, high = _pass_dense(p_pi, reward, gamma, w, g, d, pushed)
    first = 0.0
    for k in range(budget):
        span, limit = high - low, span_limit(low, high, w, reward, gamma, tolerance)
        if span <= limit and moved <= small:
            return True
        if k == 1:
            first = span
        if k == _TRIAL and span > limit:
            if not 0.0 < span < first:
                return False
            if 2.0 * np.log(span / limit) * (_TRIAL - 1) > budget * np.log(first / span):
                return False
        middle, arrived = 0.5 * (low + high), 0.0
        for s in range(w.shape[0]):
            w[s] += g[s] - middle
            pushed[s] = start[s] + gamma * pushed[s]
            arrived += pushed[s]
        scale, moved = total / arrived, 0.0
        for s in range(w.shape[0]):
            value = scale * pushed[s]
            moved += abs(value - d[s])
            d[s] = value
        low, high = _pass_dense(p_pi, reward, gamma, w, g, d, pushed)
    return False


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
