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


def play(step, l, first, n):  # noqa: E741
    """Return the policies of n updates of ``step(l, policies so far)``, the first included."""
    policies = [np.asarray(first, dtype=float)]
    for _ in range(n):
        policies.append(step(l, policies))
    return policies


def omwu(eta):
    """Daskalakis and Panageas 2019: x_{t+1}(i) = x_t(i) e^{2 eta (A x_t)_i - eta (A x_{t-1})_i} / normaliser."""

    def step(l, policies):  # noqa: E741
        now, before = policies[-1], policies[-2] if len(policies) > 1 else policies[-1]
        w = [now[i] * math.exp(2 * eta * float(l[i] @ now) - eta * float(l[i] @ before)) for i in range(len(now))]
        return np.array(w) / sum(w)

    return step


def egpo(eta_p, beta, m):
    """Zhou, Fazel and Du 2025, paying P: theta <- (1 - eta beta) theta + eta beta (theta_ref + P pi / beta), twice."""

    def step(l, policies):  # noqa: E741
        p, theta, at = (np.asarray(l) + 1) / 2, np.log(policies[-1]), policies[-1]
        for _ in range(2):
            at = softmax((1 - eta_p * beta) * theta + eta_p * beta * np.log(m) + eta_p * (p @ at))
        return at

    return step


def mmd(eta, alpha, m):
    """Sokota et al. 2023: argmin eta (<F(x_t), x> + alpha KL(x||m)) + KL(x||x_t), by an optimiser over logits."""

    def step(l, policies):  # noqa: E741
        now = policies[-1]

        def objective(z):
            x = softmax(z)
            return eta * (-float(x @ (l @ now)) + alpha * kl(x, m)) + kl(x, now)

        return softmax(minimize(objective, np.log(now), method="BFGS", options={"gtol": 1e-12}).x)

    return step


def nash_md(eta_p, tau_p, m):
    """Munos et al. 2023, paying P: pi_{t+1} = argmax eta P(pi > pi_mix) - KL(pi, pi_mix); eta_p may depend on t."""

    def step(l, policies):  # noqa: E741
        t = len(policies) - 1
        eta = eta_p(t) if callable(eta_p) else eta_p
        mix = [policies[-1][i] ** (1 - eta * tau_p) * m[i] ** (eta * tau_p) for i in range(len(m))]
        mix = np.array(mix) / sum(mix)
        win = [sum(mix[j] * (l[i][j] + 1) / 2 for j in range(len(m))) for i in range(len(m))]
        w = [mix[i] * math.exp(eta * win[i]) for i in range(len(m))]
        return np.array(w) / sum(w)

    return step


def _minimise(loss, start):
    found = minimize(loss, np.log(np.asarray(start)), method="BFGS", options={"gtol": 1e-11, "maxiter": 10_000})
    return softmax(found.x)


def inpo(eta_source, tau_source, m):
    """Zhang et al. 2024, paying P: the expected loss over y, y' ~ pi_t and the outcome, every pair enumerated."""

    def step(l, policies):  # noqa: E741
        now, n = policies[-1], len(m)

        def loss(z):
            pi, total = softmax(z), 0.0
            for y in range(n):
                for k in range(n):
                    h = math.log(pi[y] / pi[k]) - tau_source / eta_source * math.log(m[y] / m[k])
                    h -= (eta_source - tau_source) / eta_source * math.log(now[y] / now[k])
                    win = (l[y][k] + 1) / 2
                    for outcome, p in ((1.0, win), (-1.0, 1 - win)):
                        total += now[y] * now[k] * p * (h - outcome / (2 * eta_source)) ** 2
            return total

        return _minimise(loss, now)

    return step


def ipo_loss(l, law, reference, beta):  # noqa: E741
    """Return the IPO loss of logits z: Azar et al. 2023, equation 17 over all pairs and outcomes."""

    def loss(z):
        h, total = np.log(softmax(z)) - np.log(reference), 0.0
        for y in range(len(law)):
            for k in range(len(law)):
                win = (l[y][k] + 1) / 2
                for outcome, p in ((1.0, win), (-1.0, 1 - win)):
                    total += law[y] * law[k] * p * (h[y] - h[k] - outcome / (2 * beta)) ** 2
        return total

    return loss


def ipo(l, law, reference, beta):  # noqa: E741
    return _minimise(ipo_loss(l, law, reference, beta), reference)


def dpo(l, law, reference, beta):  # noqa: E741
    """Return the maximiser of the expected log-likelihood of preferences between answers of a law."""

    def loss(z):
        h, total = np.log(softmax(z)) - np.log(reference), 0.0
        for y in range(len(law)):
            for k in range(len(law)):
                if y != k:
                    total += law[y] * law[k] * (l[y][k] + 1) / 2 * math.log1p(math.exp(-beta * (h[y] - h[k])))
        return total

    return _minimise(loss, reference)


def sppo(eta_source):
    """Wu et al. 2024: E_{y ~ pi_t} (ln pi/pi_t - eta (P(y beats pi_t) - 1/2))^2 over all policies."""

    def step(l, policies):  # noqa: E741
        now = policies[-1]
        win = (np.asarray(l) + 1) / 2 @ now

        def loss(z):
            return float(now @ (np.log(softmax(z)) - np.log(now) - eta_source * (win - 0.5)) ** 2)

        return _minimise(loss, now)

    return step
