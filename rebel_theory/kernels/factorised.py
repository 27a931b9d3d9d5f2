"""Numba kernel of the population's pair regression. Import this module inside functions only: it loads Numba."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def solve_factorised_rows(pi, mu, log_pi, log_mu, visited, signal):
    r"""Overwrite ``signal`` (S, A) with the min-norm solution of every row's pair regression; O(A) a row.

    The normal equations L z = L q, L = D - pi mu^T - mu pi^T and D = diag(pi + mu), are a diagonal plus rank two. In
    the gauge pi . z = 0 with alpha = mu . z eliminated,

    .. math:: z = D^{-1} L q + s \alpha, \qquad \alpha = \frac{\mu \cdot D^{-1} L q}{1 - \mu \cdot s},
        \qquad s = \frac{\pi}{\pi + \mu},

    with the shares s from log-probabilities: weights of 1e-300 are as exact as weights of 1/2;
    ``pi`` and ``mu`` (S, A) are their exponentials, which NumPy takes faster. The mean over what is
    sampled, under pi or mu, is taken off; other actions, and rows that are not ``visited`` (S,), get 0.
    """
    n_actions = signal.shape[1]
    share = np.empty(n_actions)
    for s in range(signal.shape[0]):
        if not visited[s]:
            signal[s] = 0.0
            continue
        q_pi, q_mu = 0.0, 0.0
        for a in range(n_actions):
            above, below = log_pi[s, a], log_mu[s, a]
            if pi[s, a] > 0.0:
                q_pi += pi[s, a] * signal[s, a]
            if mu[s, a] > 0.0:
                q_mu += mu[s, a] * signal[s, a]
            if above == below:  # both may be -inf
                share[a] = 0.5 if above > -np.inf else -1.0
            elif above > below:
                share[a] = 1.0 / (1.0 + np.exp(below - above))
            else:
                e = np.exp(above - below)
                share[a] = e / (1.0 + e)
        alpha, covered = 0.0, 0.0
        for a in range(n_actions):
            if share[a] < 0.0:  # never sampled
                continue
            q = signal[s, a]
            signal[s, a] = share[a] * (q - q_mu) + (1.0 - share[a]) * (q - q_pi)
            if mu[s, a] > 0.0:
                alpha += mu[s, a] * signal[s, a]
                covered += mu[s, a] * share[a]
        alpha /= 1.0 - covered
        total, size = 0.0, 0
        for a in range(n_actions):
            if share[a] >= 0.0:
                signal[s, a] += share[a] * alpha
                total += signal[s, a]
                size += 1
        for a in range(n_actions):
            signal[s, a] = signal[s, a] - total / size if share[a] >= 0.0 else 0.0


@njit(cache=True)
def fill_pair_rows(weights, pi, mu, features, signal, rows):
    """Fill ``rows`` (B, S, n, p + 2), zeros before, with design, target and scale of ``FactorisedPairs.rows``.

    ``weights`` (B, S); ``pi``, ``mu`` and ``signal`` (B, S, A); ``features`` (B, S, A, p), or (1, S, A, p) for all. Of
    the n = 2 A rows the first A are against the means under mu; n = A where mu is pi.
    """
    n_members, n_states, n_actions = pi.shape
    p, twice = features.shape[3], rows.shape[2] > n_actions
    mean, later = np.empty(p + 1), np.empty(n_actions)
    for m in range(n_members):
        of = m if features.shape[0] > 1 else 0
        for s in range(n_states):
            order = np.argsort(-np.maximum(pi[m, s], mu[m, s]), kind="mergesort")
            for second in range(2 if twice else 1):
                one, other = (mu[m, s], pi[m, s]) if second else (pi[m, s], mu[m, s])
                total = 0.0
                for k in range(n_actions - 1, -1, -1):
                    later[k] = total
                    total += one[order[k]]
                mass = 0.0
                mean[:] = 0.0
                for k in range(n_actions):
                    a = order[k]
                    upto = mass + other[a]
                    share = other[a] / upto if upto > 0.0 else 0.0
                    root = np.sqrt((1.0 if twice else 2.0) * weights[m, s] * mass * (one[a] + share * later[k]))
                    row, square = rows[m, s, second * n_actions + k], 0.0
                    for i in range(p):
                        z = features[of, s, a, i]
                        square += z * z
                        row[i] = root * (z - mean[i])
                        mean[i] += share * (z - mean[i])
                    row[p] = root * (signal[m, s, a] - mean[p])
                    mean[p] += share * (signal[m, s, a] - mean[p])
                    row[p + 1] = root * np.sqrt(square)
                    mass = upto
