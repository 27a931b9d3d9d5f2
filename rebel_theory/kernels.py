"""Every Numba kernel of the library; callers and callees share this file so that the cache sees edits.

Python validates and allocates, a kernel fills. Import this module inside functions only: it loads Numba.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def draw(rng, cdf):
    """Return an index with the probabilities whose running sums are ``cdf`` (A,), by bisection.

    The last entry of ``cdf`` may fall short of 1 by rounding; the largest index with positive probability is
    returned then.
    """
    u = rng.random() * cdf[-1]
    low, high = 0, cdf.shape[0] - 1
    while low < high:
        middle = (low + high) // 2
        if cdf[middle] > u:
            high = middle
        else:
            low = middle + 1
    return low


@njit(cache=True)
def sample_pairs(rng, cdf_rho, cdf_pi, cdf_mu, x, y, y_base):
    """Draw x ~ rho, y ~ pi(. | x), y' ~ mu(. | x); fill x, y, y_base (n,) in place."""
    for i in range(x.shape[0]):
        x[i] = draw(rng, cdf_rho)
        y[i] = draw(rng, cdf_pi[x[i]])
        y_base[i] = draw(rng, cdf_mu[x[i]])


@njit(cache=True)
def sample_actions(rng, x, cdf, y):
    """Draw y ~ pi(. | x) for given rows x (n,); fill y (n,) in place."""
    for i in range(x.shape[0]):
        y[i] = draw(rng, cdf[x[i]])


@njit(cache=True)
def roll_out(rng, cdf_transition, reward, cdf_pi, discount, terminal, states, actions, returns):
    """Fill ``returns`` (n,) with unbiased samples of Q(s, a); return the number of rewards observed.

    The discounted return is the undiscounted return of a roll-out that survives each step with probability
    ``discount`` (geometric stopping). ``terminal`` (S,) marks absorbing states, where a roll-out ends at once.
    ``cdf_transition`` is (S * A, S).
    """
    n_actions = reward.shape[1]
    seen = 0
    for i in range(states.shape[0]):
        s, a, total = states[i], actions[i], 0.0
        while True:
            total += reward[s, a]
            seen += 1
            if discount < 1.0 and rng.random() >= discount:
                break
            s = draw(rng, cdf_transition[s * n_actions + a])
            if terminal[s]:
                break
            a = draw(rng, cdf_pi[s])
        returns[i] = total
    return seen


@njit(cache=True)
def accumulate_pairs(x, y, y_base, difference, counts, sums):
    """Add n pairs to ``counts`` (S, A, A) and ``sums`` (S, A, A), both sides of each pair.

    ``sums[x, a, b]`` collects the observed signal of a minus that of b, so it is skew-symmetric.
    """
    for i in range(x.shape[0]):
        a, b = y[i], y_base[i]
        if a != b:
            counts[x[i], a, b] += 1.0
            counts[x[i], b, a] += 1.0
            sums[x[i], a, b] += difference[i]
            sums[x[i], b, a] -= difference[i]


@njit(cache=True)
def solve_pair_graph(weights, targets, potentials):
    r"""Fill ``potentials`` (S, A) with the min-norm minimiser of a weighted pair regression, row by row.

    Minimises :math:`\sum_{a<b} w_{ab} (z_a - z_b - t_{ab})^2` for ``weights`` (S, A, A) symmetric and
    ``targets`` (S, A, A) skew-symmetric. Vertices are eliminated one at a time (star-mesh transform): the
    least squares over z_k of a star with weights w_k turns into edges w_ki w_kj / sum(w_k). Only sums of
    positive numbers and weighted means occur, so weights of any scale are safe. Each connected component is
    then centred, and isolated vertices stay at 0: the minimum Euclidean norm.
    """
    n_rows, n_actions = weights.shape[0], weights.shape[1]
    w = np.empty((n_actions, n_actions))
    t = np.empty((n_actions, n_actions))
    degree = np.empty(n_actions)
    component = np.empty(n_actions, dtype=np.int64)
    for s in range(n_rows):
        w[:] = weights[s]
        t[:] = targets[s]
        for k in range(n_actions):
            total = 0.0
            for j in range(k + 1, n_actions):
                total += w[k, j]
            degree[k] = total
            if total <= 0.0:
                continue
            for i in range(k + 1, n_actions):
                if w[k, i] <= 0.0:
                    continue
                for j in range(i + 1, n_actions):
                    if w[k, j] <= 0.0:
                        continue
                    extra = (w[k, i] / total) * w[k, j]
                    if extra <= 0.0:
                        continue
                    merged = w[i, j] + extra
                    t[i, j] += (extra / merged) * (t[k, j] - t[k, i] - t[i, j])
                    t[j, i] = -t[i, j]
                    w[i, j] = merged
                    w[j, i] = merged
        for k in range(n_actions - 1, -1, -1):
            value = 0.0
            component[k] = k
            if degree[k] > 0.0:
                for j in range(k + 1, n_actions):
                    if w[k, j] > 0.0:
                        value += (w[k, j] / degree[k]) * (potentials[s, j] + t[k, j])
                        component[k] = component[j]
            potentials[s, k] = value
        for root in range(n_actions):
            total, size = 0.0, 0
            for k in range(n_actions):
                if component[k] == root:
                    total += potentials[s, k]
                    size += 1
            for k in range(n_actions):
                if component[k] == root:
                    potentials[s, k] -= total / size
