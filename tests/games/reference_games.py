"""Naive references for games, written from the papers with loops and plain NumPy; imports nothing of the library."""

import math

import numpy as np
from scipy.optimize import brentq, minimize


def random_payoff(rng, n, x=None):
    """Return a skew-symmetric (n, n), or (x, n, n), matrix with entries uniform in [-1, 1]."""
    upper = np.triu(rng.uniform(-1, 1, (n, n) if x is None else (x, n, n)), 1)
    return upper - np.swapaxes(upper, -1, -2)


def softmax(z):
    z = np.asarray(z, dtype=float)
    e = np.exp(z - z.max())
    return e / e.sum()


def kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def regularised_payoff(l, x, y, tau, m):  # noqa: E741
    """Return l(x, y) - tau KL(x||m) + tau KL(y||m)."""
    return float(np.asarray(x) @ l @ np.asarray(y)) - tau * kl(x, m) + tau * kl(y, m)


def regularised_gap(l, p, tau, m):  # noqa: E741
    """Return max_x f(x, p) - min_y f(p, y), both solved by an optimiser over logits that knows no closed form."""
    start = np.zeros(len(p))

    def best(sign):
        def objective(z):
            q = softmax(z)
            return sign * (regularised_payoff(l, q, p, tau, m) if sign < 0 else regularised_payoff(l, p, q, tau, m))

        return minimize(objective, start, method="BFGS", options={"gtol": 1e-10}).fun

    return -best(-1.0) - best(1.0)


def equilibrium(l, tau, m, n_steps=200_000):  # noqa: E741
    """Return the regularised equilibrium by magnetic mirror descent with small steps (Sokota et al. 2023)."""
    eta = tau
    log_p = np.log(m)
    for _ in range(n_steps):
        p = np.exp(log_p)
        z = (log_p + eta * tau * np.log(m) + eta * (l @ p)) / (1 + eta * tau)
        new = z - z.max() - math.log(np.exp(z - z.max()).sum())
        if np.abs(new - log_p).max() < 1e-15:
            break
        log_p = new
    return np.exp(log_p)


def two_action_equilibrium(margin, tau, m):
    """Return p_0 of the 2 x 2 game l_01 = margin: log-odds log(m_0/m_1) + margin / tau."""
    return brentq(lambda p: math.log(p / (1 - p)) - math.log(m / (1 - m)) - margin / tau, 1e-12, 1 - 1e-12, xtol=1e-15)
