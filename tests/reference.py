"""Naive references in plain NumPy and Python: the oracles of the fast code. Nothing of ours is imported.

Everything here is one instance at a time, enumerates whatever it can, and is written from the definitions in
the papers, not from the library. Slow is fine; wrong is not.
"""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np

# ------------------------------------------------------------------------------------------------ policies


def softmax(z):
    """Softmax of the last axis."""
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def kl(p, q):
    """KL(p || q) of two vectors, in nats."""
    return sum(a * np.log(a / b) if b > 0 else np.inf for a, b in zip(p, q, strict=True) if a > 0)


def tv(p, q):
    """Largest total variation over rows."""
    return 0.5 * np.abs(p - q).sum(axis=-1).max()


# ---------------------------------------------------------------------------------------------- evaluation


def policy_matrix(p, pi):
    """P_pi (S, S) by loops."""
    s, a = pi.shape
    out = np.zeros((s, s))
    for i, j in itertools.product(range(s), range(a)):
        out[i] += pi[i, j] * p[i, j]
    return out


def values_by_solve(p, r, gamma, pi):
    """V^pi by a linear solve."""
    return np.linalg.solve(np.eye(len(r)) - gamma * policy_matrix(p, pi), (pi * r).sum(1))


def values_by_power(p, r, gamma, pi, n=20_000):
    """V^pi as a long sum of gamma^t P^t r, in extended precision."""
    big, term = np.longdouble(0) * r[:, 0], (pi * r).sum(1).astype(np.longdouble)
    m = policy_matrix(p, pi).astype(np.longdouble) * np.longdouble(gamma)
    for _ in range(n):
        big = big + term
        term = m @ term
    return big


def occupancy(p, gamma, pi, rho, n=20_000):
    """(1-gamma) sum_t gamma^t P(s_t = s), by walking forward."""
    m, d, term = policy_matrix(p, pi), np.zeros(len(rho)), np.array(rho, float)
    for _ in range(n):
        d += term
        term = gamma * (term @ m)
        if term.sum() < 1e-18:
            break
    return (1 - gamma) * d


def exact_values(p, r, gamma, pi):
    """V^pi by Gauss elimination on fractions, from the exact values of the given floats."""
    s, a = pi.shape
    f = Fraction
    g = f(gamma)
    rows = []
    for i in range(s):
        row = [-g * sum(f(pi[i, j]) * f(p[i, j, t]) for j in range(a)) for t in range(s)]
        row[i] += 1
        rows.append([*row, sum(f(pi[i, j]) * f(r[i, j]) for j in range(a))])
    for k in range(s):
        pivot = max(range(k, s), key=lambda i: abs(rows[i][k]))
        rows[k], rows[pivot] = rows[pivot], rows[k]
        for i in range(s):
            if i != k and rows[i][k]:
                c = rows[i][k] / rows[k][k]
                rows[i] = [x - c * y for x, y in zip(rows[i], rows[k], strict=True)]
    return [rows[i][s] / rows[i][i] for i in range(s)]


def q_from(p, r, gamma, v):
    """Q = r + gamma P V."""
    return r + gamma * np.einsum("sat,t->sa", p, v)


def value_iteration(p, r, gamma, tol=1e-13):
    """V* by value iteration."""
    v = np.zeros(len(r))
    while True:
        new = q_from(p, r, gamma, v).max(axis=1)
        if np.abs(new - v).max() < tol * (1 - gamma):
            return new
        v = new


def brute_force_optimum(p, r, gamma, rho):
    """Largest V^pi(rho) over all A^S deterministic policies, with the pointwise maximum V*."""
    s, a = r.shape
    best, pointwise = -np.inf, np.full(s, -np.inf)
    for actions in itertools.product(range(a), repeat=s):
        v = values_by_solve(p, r, gamma, np.eye(a)[list(actions)])
        best, pointwise = max(best, rho @ v), np.maximum(pointwise, v)
    return best, pointwise


def horizon(p, r, pi, rho):
    """(V, Q, d/H) of a finite-horizon MDP: p (H, S, A, S), r (H, S, A), pi (H, S, A)."""
    h, s, a = r.shape
    v, q, d = np.zeros((h + 1, s)), np.zeros((h, s, a)), np.zeros((h + 1, s))
    for k in reversed(range(h)):
        for i, j in itertools.product(range(s), range(a)):
            q[k, i, j] = r[k, i, j] + p[k, i, j] @ v[k + 1]
        v[k] = (pi[k] * q[k]).sum(axis=1)
    d[0] = rho
    for k in range(h):
        d[k + 1] = d[k] @ policy_matrix(p[k], pi[k])
    return v[:h], q, d[:h] / h


def horizon_optimum(p, r):
    """V*_1 (S,) by backward induction."""
    v = np.zeros(r.shape[1])
    for k in reversed(range(len(r))):
        v = np.array([max(r[k, i, j] + p[k, i, j] @ v for j in range(r.shape[2])) for i in range(r.shape[1])])
    return v


def time_expanded(p, r, rho):
    """The finite horizon as one episodic MDP: states (h, s) and an absorbing end."""
    h, s, a = r.shape
    n = h * s + 1
    big, reward, start = np.zeros((n, a, n)), np.zeros((n, a)), np.zeros(n)
    for k, i, j in itertools.product(range(h), range(s), range(a)):
        reward[k * s + i, j] = r[k, i, j]
        if k + 1 < h:
            big[k * s + i, j, (k + 1) * s : (k + 2) * s] = p[k, i, j]
        else:
            big[k * s + i, j, -1] = 1
    big[-1, :, -1] = 1
    start[:s] = rho
    return big, reward, start


def game_signal(preference, pi):
    """E_{y''~pi} l(x, y, y'') by loops, preference (X, Y, Y)."""
    x, y = pi.shape
    q = np.zeros((x, y))
    for i, a, b in itertools.product(range(x), range(y), range(y)):
        q[i, a] += pi[i, b] * (2 * preference[i, a, b] - 1)
    return q


def duality_gap(preference, pi, rho):
    """max_{pi'} l(pi', pi) - min_{pi'} l(pi, pi'), by enumeration of pure answers."""
    l = 2 * preference - 1  # noqa: E741
    total = 0.0
    for i in range(len(pi)):
        total += rho[i] * ((l[i] @ pi[i]).max() - (pi[i] @ l[i]).min())
    return total


# --------------------------------------------------------------------------------------- pair regressions


def enumerated_pairs(d, pi, mu, q, jacobian):
    """All S A A rows of the population regression: sqrt(w) (g_y - g_y'), sqrt(w) (q_y - q_y')."""
    design, target = [], []
    s, a = pi.shape
    for i, y, z in itertools.product(range(s), range(a), range(a)):
        w = np.sqrt(d[i] * pi[i, y] * mu[i, z])
        design.append(w * (jacobian[i, y] - jacobian[i, z]))
        target.append(w * (q[i, y] - q[i, z]))
    return np.array(design), np.array(target)


def rebel_direction(d, pi, mu, q, jacobian, rcond=None):
    """Min-norm least squares of the enumerated pairs, shape (p,)."""
    x, y = enumerated_pairs(d, pi, mu, q, jacobian)
    return np.linalg.lstsq(x, y, rcond=rcond)[0]


def tabular_jacobian(s, a):
    """Indicator features (S, A, S A)."""
    return np.eye(s * a).reshape(s, a, s * a)


def rebel_tabular(d, pi, mu, q, eta):
    """One tabular REBEL step by the enumerated regression, row by row (the min norm separates over rows)."""
    out = np.empty_like(pi)
    for i in range(len(pi)):
        z = np.zeros(pi.shape[1])
        if d[i] > 0:
            z = rebel_direction(np.ones(1), pi[i : i + 1], mu[i : i + 1], q[i : i + 1], np.eye(len(z))[None])
        out[i] = pi[i] * np.exp(eta * (z - z.max()))
    return out / out.sum(axis=1, keepdims=True)


def scores(pi, jacobian):
    """g(s, a) = J(s, a) - E_{pi} J(s, .), written out."""
    return np.array([[j - pi[s] @ jacobian[s] for j in jacobian[s]] for s in range(len(pi))])


def npg_direction(d, pi, q, jacobian, rcond=1e-12):
    """F^+ E[g A] with an explicit Fisher matrix and a pseudo-inverse."""
    g = scores(pi, jacobian)
    p = g.shape[-1]
    fisher, gradient = np.zeros((p, p)), np.zeros(p)
    for s, a in itertools.product(*map(range, pi.shape)):
        w = d[s] * pi[s, a]
        fisher += w * np.outer(g[s, a], g[s, a])
        gradient += w * g[s, a] * (q[s, a] - pi[s] @ q[s])
    return np.linalg.pinv(fisher, rcond=rcond, hermitian=True) @ gradient


def mixed_npg_direction(d, pi, mu, q, jacobian, rcond=1e-12):
    """E2: F_mix^+ E_{pi_mix}[g A], pi_mix = (pi + mu)/2, with g and A centred under pi."""
    g = scores(pi, jacobian)
    mix = (pi + mu) / 2
    p = g.shape[-1]
    fisher, gradient = np.zeros((p, p)), np.zeros(p)
    for s, a in itertools.product(*map(range, pi.shape)):
        w = d[s] * mix[s, a]
        fisher += w * np.outer(g[s, a], g[s, a])
        gradient += w * g[s, a] * (q[s, a] - pi[s] @ q[s])
    return np.linalg.pinv(fisher, rcond=rcond, hermitian=True) @ gradient


def pair_loss(d, pi, mu, f, q):
    """Population REBEL loss E[((f(y) - f(y')) - (q(y) - q(y')))^2] by enumeration."""
    total = 0.0
    s, a = pi.shape
    for i, y, z in itertools.product(range(s), range(a), range(a)):
        total += d[i] * pi[i, y] * mu[i, z] * ((f[i, y] - f[i, z]) - (q[i, y] - q[i, z])) ** 2
    return total


def hodge(weights, targets):
    """Min-norm potentials of one weighted graph by lstsq on its incidence matrix."""
    n = len(weights)
    rows, right = [np.zeros(n)], [0.0]
    for i, j in itertools.combinations(range(n), 2):
        if weights[i, j] > 0:
            e = np.zeros(n)
            e[i], e[j] = 1, -1
            rows.append(np.sqrt(weights[i, j]) * e)
            right.append(np.sqrt(weights[i, j]) * targets[i, j])
    return np.linalg.lstsq(np.array(rows), np.array(right), rcond=1e-13)[0]


# ------------------------------------------------------------------------------------------- mirror maps


def hedge(pi, q, eta):
    """pi exp(eta q) normalised, row by row."""
    w = pi * np.exp(eta * (q - q.max(axis=1, keepdims=True)))
    return w / w.sum(axis=1, keepdims=True)


def project_simplex(point):
    """Euclidean projection of one vector by bisection on the threshold."""
    low, high = point.min() - 1, point.max()
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if np.maximum(point - middle, 0).sum() > 1 else (low, middle)
    p = np.maximum(point - high, 0)
    return p / p.sum()


def project_simplex_by_faces(point):
    """The same by brute force: the nearest feasible minimiser over all faces (2^n - 1)."""
    n, best, where = len(point), np.inf, None
    for k in range(1, n + 1):
        for face in map(list, itertools.combinations(range(n), k)):
            p = np.zeros(n)
            p[face] = point[face] + (1 - point[face].sum()) / k
            if (p >= 0).all() and ((p - point) ** 2).sum() < best:
                best, where = ((p - point) ** 2).sum(), p
    return where


def tsallis(pi, step, alpha):
    """argmax <step, p> - D_psi(p, pi) of one vector, psi = -sum p^alpha/(alpha (1-alpha)), by root finding."""
    from scipy.optimize import brentq

    # psi'(p) = -p^(alpha-1)/(1-alpha);  psi'(p') = psi'(pi) + step - lambda, the smallest base is exp(x)
    base = pi ** (alpha - 1) - (1 - alpha) * step
    base = base - base.min()
    x = brentq(lambda x: ((base + np.exp(x)) ** (1 / (alpha - 1))).sum() - 1, -1, 10, xtol=1e-14, rtol=1e-15)
    return (base + np.exp(x)) ** (1 / (alpha - 1))


# ----------------------------------------------------------------------------------------------- networks


def tanh_logits(points, theta):
    """F(s, a) = v . tanh(W x), theta = (W row by row, v)."""
    k = points.shape[-1]
    h = len(theta) // (k + 1)
    w, v = theta[: h * k].reshape(h, k), theta[h * k :]
    return np.array([[v @ np.tanh(w @ x) for x in row] for row in points])


def finite_difference(f, theta, step=1e-6):
    """Central differences of f(theta), trailing axis the parameters."""
    out = []
    for e in np.eye(len(theta)):
        out.append((f(theta + step * e) - f(theta - step * e)) / (2 * step))
    return np.stack(out, axis=-1)
