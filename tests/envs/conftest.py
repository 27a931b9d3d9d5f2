"""Plain-NumPy readings that the tests compare against; nothing of ours is imported."""

from types import SimpleNamespace

import numpy as np
import pytest


def dense(mdp):
    """Transition (S, A, S) of a dense or sparse MDP."""
    p = mdp.transition
    return p if isinstance(p, np.ndarray) else p.toarray().reshape(*mdp.reward.shape, -1)


def optimal_values(p, r, gamma):
    """V* by policy iteration with dense solves, shape (S,)."""
    s = len(r)
    actions = np.zeros(s, dtype=int)
    for _ in range(1000):
        v = np.linalg.solve(np.eye(s) - gamma * p[np.arange(s), actions], r[np.arange(s), actions])
        q = r + gamma * p @ v
        better = q.argmax(1)
        better = np.where(q[np.arange(s), better] > q[np.arange(s), actions] + 1e-12, better, actions)
        if (better == actions).all():
            return v
        actions = better
    raise RuntimeError("policy iteration did not stop")


def values(p, r, gamma, pi):
    """V^pi, shape (S,)."""
    return np.linalg.solve(np.eye(len(r)) - gamma * np.einsum("sa,sat->st", pi, p), (pi * r).sum(1))


def stationary(p):
    """Stationary law of a stochastic matrix with one recurrent class."""
    n = len(p)
    a = np.vstack([p.T - np.eye(n), np.ones(n)])
    return np.linalg.lstsq(a, np.append(np.zeros(n), 1.0), rcond=None)[0]


def exponentiated(r, eta, t):
    """Sub-optimality after t exact updates from the uniform policy on one context."""
    w = np.exp(eta * t * (r - r.max()))
    return r.max() - (w / w.sum()) @ r


@pytest.fixture(scope="session")
def exact():
    """The functions above (test modules cannot import a sibling under importlib mode)."""
    return SimpleNamespace(
        dense=dense,
        optimal_values=optimal_values,
        values=values,
        stationary=stationary,
        exponentiated=exponentiated,
    )
