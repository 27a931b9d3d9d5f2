"""The regret identity behind every bound, term by term, and the population regression error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.arrays import FloatArray, expectation, kl_rows


@dataclass(frozen=True, slots=True, eq=False)
class RegretTerms:
    """One iteration of the regret identity; every field has the batch shape (...).

    Attributes
    ----------
    gap : E_{d, pi*} q - E_{d, pi_t} q, the quantity that the identity splits.
    progress : (KL(pi*||pi_t) - KL(pi*||pi_{t+1})) / eta.
    curvature : (1/eta) E_x ln E_{pi_t} exp(eta g_t); at most eta B^2 / 2.
    misfit : E_{pi*}[A_t - g_t]; at most sqrt(C eps_t).
    largest_update : B_t = max |g_t| over rows of positive weight.
    """

    gap: FloatArray
    progress: FloatArray
    curvature: FloatArray
    misfit: FloatArray
    largest_update: FloatArray

    @property
    def error(self) -> FloatArray:
        """Absolute error of the identity: 0 up to rounding, for every update of every algorithm."""
        result: FloatArray = np.abs(self.gap - self.progress - self.curvature - self.misfit)
        return result


def update_function(log_pi: FloatArray, log_next: FloatArray, step_size: ArrayLike) -> FloatArray:
    """Return f = (1/eta) ln(pi_{t+1} / pi_t), shape (..., S, A); 0 where both probabilities are 0."""
    eta = np.asarray(step_size, dtype=np.float64)[..., None, None]
    with np.errstate(invalid="ignore"):
        difference = log_next - log_pi
    result: FloatArray = np.where(np.isneginf(log_pi) & np.isneginf(log_next), 0.0, difference) / eta
    return result


def regret_identity(
    log_pi: FloatArray,
    log_next: FloatArray,
    signal: FloatArray,
    comparator: FloatArray,
    weights: FloatArray,
    step_size: ArrayLike,
) -> RegretTerms:
    r"""Return the terms of the identity (section 4 of the theory notes; the proof of arXiv:2404.16767, Theorem 1).

    .. math::
        E_{\pi^*} q - E_{\pi_t} q = \frac{KL(\pi^*\|\pi_t) - KL(\pi^*\|\pi_{t+1})}{\eta}
        + \frac1\eta E_x \ln E_{\pi_t} e^{\eta g_t} + E_{\pi^*}[A_t - g_t]

    an equality for any two policies of equal support, any comparator, signal and weights, with
    f = (1/eta) ln(pi_{t+1}/pi_t) and g = f - E_{pi_t} f.

    Parameters
    ----------
    log_pi, log_next, signal : shape (..., S, A)
    comparator : shape (..., S, A)
        pi*, probabilities.
    weights : shape (..., S)
        rho; d* for an MDP, where (1-gamma) times the sub-optimality is the gap here.
    step_size : shape (...)
    """
    eta = np.asarray(step_size, dtype=np.float64)
    pi = np.exp(log_pi)
    f = update_function(log_pi, log_next, eta)
    mean_f, mean_q = expectation(pi, f), expectation(pi, signal)
    g, advantage = f - mean_f[..., None], signal - mean_q[..., None]
    log_star = _log(comparator)
    progress = kl_rows(log_star, log_pi) - kl_rows(log_star, log_next)
    curvature = _log_mean_exp(log_pi, eta[..., None, None] * g) / eta[..., None]
    with np.errstate(invalid="ignore"):
        update = np.where((pi > 0) & (weights[..., None] > 0), np.abs(g), 0.0)
    return RegretTerms(
        gap=_average(weights, expectation(comparator, signal) - mean_q),
        progress=_average(weights, progress) / eta,
        curvature=_average(weights, curvature),
        misfit=_average(weights, expectation(comparator, advantage - g)),
        largest_update=update.max(axis=(-2, -1)),
    )


def regression_error(
    f: FloatArray, signal: FloatArray, log_pi: FloatArray, log_mu: FloatArray, weights: FloatArray
) -> FloatArray:
    r"""Return eps = E[((f(y) - f(y')) - (q(y) - q(y')))^2], the population REBEL loss of an update f, shape (...).

    By :math:`E_{\pi}(\Delta-\Delta_\pi)^2 + E_\mu(\Delta-\Delta_\mu)^2 + E_x(\Delta_\pi-\Delta_\mu)^2` with
    Delta = f - q: O(S A), never the S A A pairs. The unit is the signal's squared. ``inf`` where an action that is
    sampled leaves the support (a Euclidean mirror step does that: its log-ratio is infinite).
    """
    pi, mu = np.exp(log_pi), np.exp(log_mu)
    with np.errstate(invalid="ignore"):
        delta = f - signal
        d_pi, d_mu = expectation(pi, delta), expectation(mu, delta)
        per_row = (
            expectation(pi, (delta - d_pi[..., None]) ** 2)
            + expectation(mu, (delta - d_mu[..., None]) ** 2)
            + (d_pi - d_mu) ** 2
        )
    lost = (np.isinf(delta) & ((pi > 0) | (mu > 0))).any(axis=-1)  # inf - inf above
    return _average(weights, np.where(lost, np.inf, per_row))


def _log_mean_exp(log_pi: FloatArray, values: FloatArray) -> FloatArray:
    """Return ln E_pi exp(values) of every row, (..., S); not simplified, so that the identity is a check."""
    with np.errstate(invalid="ignore"):
        exponent = np.where(np.isneginf(log_pi), -np.inf, log_pi + values)
    largest = exponent.max(axis=-1, keepdims=True)
    result: FloatArray = (largest + np.log(np.exp(exponent - largest).sum(axis=-1, keepdims=True)))[..., 0]
    return result


def _average(weights: FloatArray, rows: FloatArray) -> FloatArray:
    return expectation(weights, rows)


def _log(probs: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore"):
        result: FloatArray = np.log(probs)
    return result
