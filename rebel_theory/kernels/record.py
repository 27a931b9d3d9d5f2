"""Numba kernels of the record: what an iterate and an update are worth, every member of a batch in one pass.

Arrays have a leading axis of K members, or of length 1 where all share one. A member's numbers depend on nothing but
its own rows. ``_FAST`` lets sums be reordered and fused, nothing else: NaN and infinities keep their meaning; the
regression error does without it, because differences of nearly equal numbers must be taken in their order.
Import this module inside functions only: it loads Numba.
"""

from __future__ import annotations

from math import inf, isinf, isnan, sqrt

import numpy as np
from numba import boolean, float64, int64, njit, prange, types, void

_FAST = {"reassoc", "contract", "nsz"}
# read-only arrays are taken as they are: neither copied nor compiled for once more
_MEMBERS, _ROWS, _CELLS = (types.Array(float64, k, "C", readonly=True) for k in (1, 2, 3))
_MASK, _FOUND = types.Array(boolean, 2, "C", readonly=True), types.Array(float64, 1, "C")


@njit(
    void(_CELLS, _CELLS, _ROWS, _MEMBERS, _FOUND), cache=True, fastmath=_FAST, error_model="numpy"
)  # fmt: skip
def record_gaps(probs, shortfall, occupancy, mass, gap):
    """Fill ``gap`` (K,) with mass E_{d, pi}[shortfall]."""
    for k in range(gap.shape[0]):
        pi, lost, d = probs[k % probs.shape[0]], shortfall[k % shortfall.shape[0]], occupancy[k % occupancy.shape[0]]
        total = 0.0
        for s in range(pi.shape[0]):
            loss = 0.0
            for a in range(pi.shape[1]):
                loss += pi[s, a] * lost[s, a]
            total += d[s] * loss
        gap[k] = mass[k % mass.shape[0]] * total


@njit(void(_CELLS, _CELLS, _ROWS, _CELLS, _FOUND), cache=True, fastmath=_FAST, error_model="numpy")
def record_divergences(star, log_star, star_weights, log_probs, kl):
    """Fill ``kl`` (K,) with the mean of KL(star || pi) over rows of ``star_weights``."""
    for k in range(kl.shape[0]):
        p, log_p, log_q = star[k % star.shape[0]], log_star[k % log_star.shape[0]], log_probs[k % log_probs.shape[0]]
        weights = star_weights[k % star_weights.shape[0]]
        total = 0.0
        for s in range(p.shape[0]):
            if weights[s] > 0.0:
                row = 0.0
                for a in range(p.shape[1]):
                    row += p[s, a] * (log_p[s, a] - log_q[s, a]) if p[s, a] > 0.0 else 0.0
                total += weights[s] * (0.0 if row < 0.0 else row)  # rounding may leave -1e-17
        kl[k] = total


@njit(void(_CELLS, _ROWS, int64, types.Array(float64, 3, "C"), _FOUND), cache=True, fastmath=_FAST, error_model="numpy")
def record_mean_signals(signal, occupancy, n_before, mean, average):
    """Move ``mean`` (K, S, A) of ``n_before`` signals on by one; fill the duality gap of the mean policy (K,)."""
    for k in range(mean.shape[0]):
        q, d, m = signal[k % signal.shape[0]], occupancy[k % occupancy.shape[0]], mean[k]
        total = 0.0
        for s in range(m.shape[0]):
            best = 0.0
            for a in range(m.shape[1]):
                m[s, a] += (q[s, a] - m[s, a]) / (n_before + 1)
                best = max(best, m[s, a])
            total += d[s] * 2.0 * best
        average[k] = total


@njit(cache=True, error_model="numpy")
def row_error(s, f, q, pi, mu, on_policy):
    """Return the regression error of row ``s``, and E_pi f; ``f`` (A,) is its update, ``on_policy`` if mu is pi."""
    lost, mean, d_pi, d_mu = False, 0.0, 0.0, 0.0
    for a in range(f.shape[0]):
        delta = f[a] - q[s, a]
        if pi[s, a] > 0.0:
            lost |= isinf(delta)
            mean += pi[s, a] * f[a]
            d_pi += pi[s, a] * delta
        if not on_policy and mu[s, a] > 0.0:
            lost |= isinf(delta)
            d_mu += mu[s, a] * delta
    if lost:  # inf - inf below
        return inf, mean
    var_pi, var_mu = 0.0, 0.0
    for a in range(f.shape[0]):
        delta = f[a] - q[s, a]
        if pi[s, a] > 0.0:
            var_pi += pi[s, a] * ((delta - d_pi) * (delta - d_pi))
        if not on_policy and mu[s, a] > 0.0:
            var_mu += mu[s, a] * ((delta - d_mu) * (delta - d_mu))
    return (2.0 * var_pi if on_policy else var_pi + var_mu + (d_pi - d_mu) * (d_pi - d_mu)), mean


@njit(cache=True, error_model="numpy")
def update_of(log_pi, log_next, pi, mu, signal, weights, visited, eta, on_policy, star, star_weights, is_game, f):
    """Return one member's regression error, largest |g| and bound on the misfit; ``f`` (A,) is scratch."""
    error, largest, shift, unseen = 0.0, 0.0, 0.0, False
    for s in range(pi.shape[0]):
        for a in range(f.shape[0]):
            gone = log_pi[s, a] == -inf and log_next[s, a] == -inf
            f[a] = 0.0 if gone else (log_next[s, a] - log_pi[s, a]) / eta
        row, mean = row_error(s, f, signal, pi, mu, on_policy)
        error += weights[s] * row if weights[s] > 0.0 else 0.0
        unseen |= star_weights[s] > 0.0 and not visited[s]
        if visited[s]:
            for a in range(f.shape[0]):
                if pi[s, a] > 0.0:
                    g = abs(f[a] - mean)
                    largest = max(largest, inf if isnan(g) else g)  # NaN: f and its mean are both -inf
        ratio = star_weights[s] / weights[s]
        for a in range(f.shape[0]):
            if is_game:  # every policy is a comparator
                if ratio > 0.0:
                    shift = max(shift, ratio / mu[s, a])
            elif star_weights[s] * star[s, a] > 0.0:
                shift = max(shift, star_weights[s] * star[s, a] / (weights[s] * mu[s, a]))
    bound = sqrt(shift * error) if error > 0.0 else 0.0
    return error, largest, (inf if unseen else bound)


_UPDATE = (*(_CELLS,) * 5, _ROWS, _MASK, _MEMBERS, boolean, _CELLS, _ROWS, boolean)


@njit(void(*_UPDATE, int64, int64, *(_FOUND,) * 3), cache=True, error_model="numpy")
def record_updates(
    log_pi, log_next, pi, mu, signal, weights, visited, eta, on_policy, star, star_weights, is_game, low, high,
    error, largest, misfit,
):  # fmt: skip
    """Fill ``error``, ``largest`` and ``misfit`` (K,) of the members from ``low`` to ``high``."""
    f = np.empty(pi.shape[2])
    for k in range(low, high):
        error[k], largest[k], misfit[k] = update_of(
            log_pi[k % log_pi.shape[0]], log_next[k % log_next.shape[0]], pi[k % pi.shape[0]], mu[k % mu.shape[0]],
            signal[k % signal.shape[0]], weights[k % weights.shape[0]], visited[k % visited.shape[0]],
            eta[k % eta.shape[0]], on_policy, star[k % star.shape[0]], star_weights[k % star_weights.shape[0]],
            is_game, f,
        )  # fmt: skip


@njit(void(*_UPDATE, int64, *(_FOUND,) * 3), cache=True, parallel=True, error_model="numpy")
def record_updates_in_blocks(
    log_pi, log_next, pi, mu, signal, weights, visited, eta, on_policy, star, star_weights, is_game, n_blocks,
    error, largest, misfit,
):  # fmt: skip
    """The same of all members, number for number, threads across blocks of them."""
    n = error.shape[0]
    for block in prange(n_blocks):
        record_updates(
            log_pi, log_next, pi, mu, signal, weights, visited, eta, on_policy, star, star_weights, is_game,
            block * n // n_blocks, (block + 1) * n // n_blocks, error, largest, misfit,
        )  # fmt: skip
