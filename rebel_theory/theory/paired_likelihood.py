"""The Bradley-Terry likelihood and its maximisation, batched over data sets."""

from __future__ import annotations

import numpy as np

from rebel_theory.arrays import FloatArray

_MAX_NEWTON = 200  # quadratic near the optimum; a strength that runs off to infinity gains about 1 a step
_DECREMENT = 1e-10  # remaining log-likelihood at which Newton's method may stop, after two polishing steps
_JITTER = 1e-12  # of the largest curvature: keeps a saturated system solvable, moves no optimum


def win_probability(strengths: FloatArray) -> FloatArray:
    """Return sigma(s_y - s_z), shape (..., Y, Y)."""
    result: FloatArray = np.exp(-np.logaddexp(0.0, strengths[..., None, :] - strengths[..., :, None]))
    return result


def log_likelihood(wins: FloatArray, strengths: FloatArray) -> FloatArray:
    """Return sum_{y,z} w_yz ln sigma(s_y - s_z), shape (...); ``wins`` has a zero diagonal."""
    log_probs = -np.logaddexp(0.0, strengths[..., None, :] - strengths[..., :, None])
    total: FloatArray = (wins * log_probs).sum(axis=(-1, -2))
    return total


def deviance(wins: FloatArray, strengths: FloatArray) -> FloatArray:
    """Return 2 sum w ln(observed rate / fitted probability), shape (...); 0 ln 0 = 0."""
    games = wins + np.swapaxes(wins, -1, -2)
    rate = np.divide(wins, games, out=np.ones_like(wins), where=wins > 0)
    saturated = (wins * np.log(rate)).sum(axis=(-1, -2))
    # the fitted model is a special case of the saturated one; rounding may leave -1e-13
    result: FloatArray = np.maximum(2.0 * (saturated - log_likelihood(wins, strengths)), 0.0)
    return result


def newton(wins: FloatArray, start: FloatArray, ridge: float) -> tuple[FloatArray, FloatArray]:
    """Return maximisers (B, Y) of penalised log-likelihoods of ``wins`` (B, Y, Y), and gradient norms (B,).

    Newton with step halving, all problems at once; finished ones leave the batch. The Hessian is a graph
    Laplacian with weights n p (1 - p); adding a constant to every entry fixes the mean of the strengths at 0.
    A problem is finished two steps after its decrement g^T H^-1 g falls below 1e-10.
    """
    s = np.array(start, dtype=np.float64)
    s -= s.mean(axis=-1, keepdims=True)
    gradient_norm = np.zeros(len(s))
    n = s.shape[-1]
    todo = np.arange(len(s))
    polish = np.full(len(s), 2)
    for _ in range(_MAX_NEWTON):
        w, here = wins[todo], s[todo]
        games = w + np.swapaxes(w, -1, -2)
        p = win_probability(here)
        gradient = (w - games * p).sum(axis=-1) - ridge * here  # (B, Y)
        curvature = games * p * np.swapaxes(p, -1, -2)  # (B, Y, Y), zero diagonal
        degree = curvature.sum(axis=-1)
        hessian = -curvature
        diagonal = np.arange(n)
        top = degree.max(axis=-1, keepdims=True) + np.finfo(float).tiny  # (B, 1)
        hessian[:, diagonal, diagonal] += degree + ridge + _JITTER * top
        hessian += top[..., None] / n  # the constant direction, in which the gradient is 0
        step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        gradient_norm[todo] = np.abs(gradient).max(axis=-1)
        polish[todo[(gradient * step).sum(axis=-1) < _DECREMENT]] -= 1
        s[todo] = _line_search(w, here, step, ridge)
        todo = todo[polish[todo] > 0]
        if not todo.size:
            break
    s -= s.mean(axis=-1, keepdims=True)
    return s, gradient_norm


def _line_search(wins: FloatArray, here: FloatArray, step: FloatArray, ridge: float) -> FloatArray:
    """Return here + t step with t the first of 1, 1/2, 1/4, ... that does not lower the objective."""

    def objective(w: FloatArray, s: FloatArray) -> FloatArray:
        value: FloatArray = log_likelihood(w, s) - 0.5 * ridge * (s * s).sum(axis=-1)
        return value

    before = objective(wins, here)
    slack = 1e-13 * np.abs(before)  # rounding of a sum of log-likelihoods
    result = here + step
    worse = np.flatnonzero(objective(wins, result) < before - slack)
    t = 1.0
    while worse.size and t > 1e-9:
        t /= 2
        result[worse] = here[worse] + t * step[worse]
        worse = worse[objective(wins[worse], result[worse]) < before[worse] - slack[worse]]
    result[worse] = here[worse]
    return result
