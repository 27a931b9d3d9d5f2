"""Numba kernels of the tabular pair regression. Import this module inside functions only: it loads Numba."""

from __future__ import annotations

import numpy as np
from numba import njit, prange

_LANES = 32  # rows that are eliminated side by side, in vector registers
_FEW_ACTIONS = 8  # up to here that is faster than a row at a time, which leaves out what is 0 (measured)


@njit(cache=True)
def fold_pairs(counts, sums, weights, targets):
    """Fill symmetric shares and skew-symmetric means (K, S, A, A) from directed counts and sums of the same shape.

    A pair (y', y) with the opposite sign is the same observation; y against itself compares nothing.
    """
    n_actions = counts.shape[2]
    for k in range(counts.shape[0]):
        total = counts[k].sum()
        for s in range(counts.shape[1]):
            for a in range(n_actions):
                weights[k, s, a, a] = 0.0
                targets[k, s, a, a] = 0.0
                for b in range(a):
                    seen = counts[k, s, a, b] + counts[k, s, b, a]
                    mean = (sums[k, s, a, b] - sums[k, s, b, a]) / seen if seen > 0.0 else 0.0
                    weights[k, s, a, b] = weights[k, s, b, a] = seen / total
                    targets[k, s, a, b] = mean
                    targets[k, s, b, a] = -mean


@njit(cache=True)
def solve_row(w, t, degree, component, potentials):
    r"""Fill ``potentials`` (A,) with the min-norm minimiser of one row's pair regression.

    Minimises :math:`\sum_{a<b} w_{ab} (z_a - z_b - t_{ab})^2`; ``w``, ``t`` are used up, above their diagonals only.
    Vertices are eliminated one at a time (star-mesh transform): the least squares over z_k of a star with weights
    w_k turns into edges w_ki w_kj / sum(w_k). Only sums of positive numbers and weighted means occur, so weights of
    any scale are safe. Each connected component is then centred, and isolated vertices stay at 0: the minimum
    Euclidean norm. ``degree`` and ``component`` (A,) are scratch.
    """
    n_actions = w.shape[0]
    for k in range(n_actions):
        total = 0.0
        for j in range(k + 1, n_actions):
            total += w[k, j]
        degree[k] = total
        if total <= 0.0:
            continue
        for i in range(k + 1, n_actions):
            share = w[k, i] / total
            if share <= 0.0:
                continue
            for j in range(i + 1, n_actions):
                extra = share * w[k, j]
                merged = w[i, j] + extra
                t[i, j] += (extra / (merged if merged > 0.0 else 1.0)) * (t[k, j] - t[k, i] - t[i, j])
                w[i, j] = merged
    for k in range(n_actions - 1, -1, -1):
        value = 0.0
        component[k] = k
        if degree[k] > 0.0:
            for j in range(k + 1, n_actions):
                value += (w[k, j] / degree[k]) * (potentials[j] + t[k, j])
                component[k] = component[j] if w[k, j] > 0.0 else component[k]
        potentials[k] = value
    size = w[0]  # of components, at their roots; w and degree have served
    for k in range(n_actions):
        degree[k] = size[k] = 0.0
    for k in range(n_actions):
        degree[component[k]] += potentials[k]
        size[component[k]] += 1.0
    for k in range(n_actions):
        potentials[k] -= degree[component[k]] / size[component[k]]


@njit(cache=True)
def solve_pair_graph(weights, targets, potentials):
    """Solve every row: ``weights`` (S, A, A) symmetric, ``targets`` (S, A, A) skew-symmetric, ``potentials`` (S, A)."""
    n_rows, n_actions = weights.shape[0], weights.shape[1]
    w, t = np.empty((n_actions, n_actions)), np.empty((n_actions, n_actions))
    degree, component = np.empty(n_actions), np.empty(n_actions, dtype=np.int64)
    for s in range(n_rows):
        w[:] = weights[s]
        t[:] = targets[s]
        solve_row(w, t, degree, component, potentials[s])


@njit(cache=True)
def solve_rows(counts, sums, low, high, potentials):
    """Solve the rows from ``low`` to ``high`` one by one."""
    n_actions = counts.shape[1]
    w, t = np.empty((n_actions, n_actions)), np.empty((n_actions, n_actions))
    degree, component = np.empty(n_actions), np.empty(n_actions, dtype=np.int64)
    for s in range(low, high):
        for a in range(n_actions):
            for b in range(a + 1, n_actions):
                seen = counts[s, a, b] + counts[s, b, a]
                w[a, b] = seen
                t[a, b] = (sums[s, a, b] - sums[s, b, a]) / (seen if seen > 0.0 else 1.0)
        solve_row(w, t, degree, component, potentials[s])


@njit(cache=True)
def solve_lanes(w, flow, degree, component, total, z):
    """The same as :func:`solve_row` for the rows of ``_LANES`` lanes, without branches: ``z`` (A, lanes).

    ``w`` and ``flow`` = w t (A, A, lanes), above their diagonals. Flows are eliminated in place of targets: one never
    exceeds its weight times the largest target. ``degree``, ``component`` (A, lanes) and ``total`` (2, lanes) are
    scratch.
    """
    n_actions = w.shape[0]
    for k in range(n_actions):
        own = degree[k]
        own[:] = 0.0
        for j in range(k + 1, n_actions):
            edge = w[k, j]
            for lane in range(_LANES):
                own[lane] += edge[lane]
        for lane in range(_LANES):
            own[lane] = 1.0 / (own[lane] if own[lane] > 0.0 else 1.0)
        for i in range(k + 1, n_actions):
            to_i, flow_i = w[k, i], flow[k, i]
            for j in range(i + 1, n_actions):
                to_j, flow_j, edge, between = w[k, j], flow[k, j], w[i, j], flow[i, j]
                for lane in range(_LANES):
                    share = to_i[lane] * own[lane]
                    edge[lane] += share * to_j[lane]
                    between[lane] += share * flow_j[lane] - (to_j[lane] * own[lane]) * flow_i[lane]
    for k in range(n_actions - 1, -1, -1):
        value, label, own = z[k], component[k], degree[k]
        value[:] = 0.0
        label[:] = k
        for j in range(k + 1, n_actions):
            edge, along, other, found = w[k, j], flow[k, j], z[j], component[j]
            for lane in range(_LANES):
                value[lane] += edge[lane] * other[lane] + along[lane]
                label[lane] = found[lane] if edge[lane] > 0.0 else label[lane]
        for lane in range(_LANES):
            value[lane] *= own[lane]
    for k in range(n_actions):
        degree[k] = z[k]
    for k in range(n_actions):
        mean, count, label, value = total[0], total[1], component[k], z[k]
        mean[:] = 0.0
        count[:] = 0.0
        for j in range(n_actions):
            other, found = degree[j], component[j]
            for lane in range(_LANES):
                mean[lane] += other[lane] if found[lane] == label[lane] else 0.0
                count[lane] += 1.0 if found[lane] == label[lane] else 0.0
        for lane in range(_LANES):
            value[lane] -= mean[lane] / count[lane]


@njit(cache=True)
def solve_few_actions(counts, sums, low, high, potentials):
    """Solve the rows from ``low`` to ``high``, ``_LANES`` at a time; a row's digits do not depend on its lane."""
    n_actions = counts.shape[1]
    w, flow = np.zeros((n_actions, n_actions, _LANES)), np.zeros((n_actions, n_actions, _LANES))
    degree, component, z = np.zeros((n_actions, _LANES)), np.zeros((n_actions, _LANES)), np.zeros((n_actions, _LANES))
    total = np.zeros((2, _LANES))
    for start in range(low, high, _LANES):
        size = min(_LANES, high - start)
        for lane in range(size):
            count, value = counts[start + lane], sums[start + lane]
            for a in range(n_actions):
                for b in range(a + 1, n_actions):
                    w[a, b, lane] = count[a, b] + count[b, a]
                    flow[a, b, lane] = value[a, b] - value[b, a]
        solve_lanes(w, flow, degree, component, total, z)
        for lane in range(size):
            finite = True
            for a in range(n_actions):
                potentials[start + lane, a] = z[a, lane]
                finite &= np.isfinite(z[a, lane])
            if not finite:  # weights so small that their reciprocals overflow
                solve_rows(counts, sums, start + lane, start + lane + 1, potentials)


@njit(cache=True, parallel=True)
def solve_pair_counts(counts, sums, n_blocks, potentials):
    """Solve every row from directed counts and summed relative rewards (S, A, A), threads across blocks of rows."""
    n_rows = counts.shape[0]
    for block in prange(n_blocks):
        low, high = block * n_rows // n_blocks, (block + 1) * n_rows // n_blocks
        if counts.shape[1] <= _FEW_ACTIONS:
            solve_few_actions(counts, sums, low, high, potentials)
        else:
            solve_rows(counts, sums, low, high, potentials)


@njit(cache=True, parallel=True)
def tilt_rows(log_probs, direction, step_size, n_blocks, tilted):
    """Fill ``tilted`` (S, A) with log-softmax(log_probs + step_size * direction), threads across blocks of rows.

    ``step_size`` (S,). An entry of -inf stays -inf; NaN goes through the whole row.
    """
    n_rows, n_actions = tilted.shape
    for block in prange(n_blocks):
        for s in range(block * n_rows // n_blocks, (block + 1) * n_rows // n_blocks):
            largest = -np.inf
            for a in range(n_actions):
                value = log_probs[s, a] + step_size[s] * direction[s, a]
                tilted[s, a] = value
                largest = value if not value <= largest else largest
            total = 0.0
            for a in range(n_actions):
                tilted[s, a] -= largest
                total += np.exp(tilted[s, a])
            total = np.log(total)
            for a in range(n_actions):
                tilted[s, a] -= total
