"""Numba kernel of the tabular natural gradient. Import this module inside functions only: it loads Numba."""

from __future__ import annotations

from numba import njit


@njit(cache=True)
def solve_fisher_rows(probs, support, visited, signal):
    r"""Overwrite ``signal`` (S, A) with the min-norm solution x of every row's Fisher system; O(A) a row.

    Row a of F x = E[g A] with F = diag(pi) - pi pi^T is pi_a times x_a - pi . x = A_a; dividing by pi_a keeps the
    solution set and removes the scale, so probabilities of 1e-300, and those that underflow, count like any other.
    F has the ones vector as its kernel: the likeliest action g is grounded, x_g = 0, which leaves the identity
    minus 1 pi^T on the others. By Sherman and Morrison (1950), with 1 - sum_{a != g} pi_a = pi_g,

    .. math:: x_a = A_a + c, \qquad c = \frac{1}{\pi_g} \sum_{a \ne g} \pi_a A_a .

    The mean over the support is taken off at the end: the minimum norm. Actions off ``support`` (S, A) and rows that
    are not ``visited`` (S,) get 0.
    """
    n_actions = signal.shape[1]
    for s in range(signal.shape[0]):
        ground, mean = 0, 0.0
        for a in range(n_actions):
            if probs[s, a] > probs[s, ground]:
                ground = a
            if probs[s, a] > 0.0:
                mean += probs[s, a] * signal[s, a]
        if not visited[s]:
            signal[s] = 0.0
            continue
        c = 0.0
        for a in range(n_actions):
            if a != ground and probs[s, a] > 0.0:
                c += probs[s, a] * (signal[s, a] - mean)
        c /= probs[s, ground]
        total, size = 0.0, 0
        for a in range(n_actions):
            if not support[s, a]:
                signal[s, a] = 0.0
                continue
            signal[s, a] = 0.0 if a == ground else signal[s, a] - mean + c
            total += signal[s, a]
            size += 1
        for a in range(n_actions):
            if support[s, a]:
                signal[s, a] -= total / size
