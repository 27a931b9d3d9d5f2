"""Newton's method along the path of regularised equilibria, from infinite temperature down; see :mod:`.regularised`.

With s = 1/tau, logits v over log m and p = softmax(log m + v), the equilibrium is v = s L p up to a constant a context.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rebel_theory.arrays import FloatArray, IntArray, log_softmax

_NEWTON_STEPS = 12  # a corrector that needs more was predicted from too far
_FEW = 4  # corrector steps after which the next stretch of the path is lengthened
_SHORTEST = 1e-6  # relative stretch of 1/tau below which the path is given up
_ON_PATH = 1e-4  # span of the residual at which a corrector stops, before the final temperature
_ROUNDING = 2e-14  # of a product L p in double precision, with room to spare; times s it is the residual's
_POLISH = 3  # Newton steps with residuals in extended precision at the final temperature


def follow_path(payoff: FloatArray, log_m: FloatArray, target: float) -> FloatArray:
    """Return logits v (X, Y) over log m with v near s L p(v) at s = 1/tau = ``target``, from v = 0 at s = 0.

    An Euler predictor in s, then Newton: the Jacobian I - s L D, D = diag p - p p^T, has eigenvalues 1 - i lambda,
    because L D is similar to the skew matrix D^(1/2) L D^(1/2): it is never singular, and the path never turns.
    """
    s, v = 0.0, np.zeros(log_m.shape)
    speed = np.matmul(payoff, np.exp(log_m)[..., None])[..., 0]  # dv/ds at s = 0
    stretch = min(target, 1.0 / max(float(np.abs(payoff).max()), 1e-300))
    while s < target:
        there = min(s + stretch, target)
        last = there == target
        stop = 1e-11 + _ROUNDING * target if last else _ON_PATH
        found = _correct(payoff, log_m, v + (there - s) * speed, there, stop, not last)
        if found is None:
            stretch *= 0.5
            if stretch < _SHORTEST * max(s, 1e-3):
                raise FloatingPointError(
                    f"Newton's method lost the path of equilibria at temperature {1 / max(s, 1e-300):.3g}: "
                    "please report the preference matrix; a larger temperature may work"
                )
            continue
        v, speed, n_steps = found
        s = there
        stretch *= 2.0 if n_steps <= _FEW else 1.0
        stretch = max(stretch, 0.25 * s if n_steps <= _FEW else 0.0)
    return v


def _correct(
    payoff: FloatArray, log_m: FloatArray, v: FloatArray, s: float, stop: float, go_on: bool
) -> tuple[FloatArray, FloatArray, int] | None:
    """Return (v, dv/ds, steps) after Newton's method at s, or None if it does not converge in a few full steps."""
    before = np.inf
    for k in range(_NEWTON_STEPS):
        p = np.exp(log_softmax(log_m + v))
        product = np.matmul(payoff, p[..., None])[..., 0]
        anchor = (log_m + v).argmax(axis=-1)[..., None]
        residual = _anchored(v - s * product, anchor)
        size = float(np.ptp(residual, axis=-1).max())
        if not np.isfinite(size) or (k > 2 and size > before):
            return None if size > 1e-7 else (v, product, k)  # at the end: rounding, which polishing removes
        if size <= stop and not go_on:
            return v, product, k
        right = np.stack([residual, product], axis=-1)
        solved = np.linalg.solve(_jacobian(payoff, p, s), right)
        v = _anchored(v - solved[..., 0], anchor)
        if size <= stop:
            return v, solved[..., 1], k
        before = size
    return None


def _jacobian(payoff: FloatArray, p: FloatArray, s: float) -> FloatArray:
    """Return I - s L (diag p - p p^T), (X, Y, Y)."""
    product = np.matmul(payoff, p[..., None])
    matrix: FloatArray = (payoff - product) * (-s * p[..., None, :])
    diagonal = np.arange(p.shape[-1])
    matrix[..., diagonal, diagonal] += 1.0
    return matrix


def _anchored(v: Any, anchor: IntArray) -> Any:
    """Return v with 0 at the likeliest action: others are as large as 1/tau, and must not round the likely ones."""
    return v - np.take_along_axis(v, anchor, axis=-1)


def polish(payoff: FloatArray, log_m: FloatArray, v: FloatArray, s: float) -> tuple[FloatArray, FloatArray]:
    """Return log p (X, Y) and certified L1 errors (X,): residuals in extended precision, steps in double."""
    wide, n = np.longdouble, payoff.shape[-1]
    log_m_wide, exact, step = log_m.astype(wide), v.astype(wide), np.zeros(v.shape)
    best: Any = exact
    best_bound: Any = np.full(v.shape[:-1], np.inf)
    for k in range(_POLISH):
        exact = exact - step
        shifted = log_m_wide + exact
        shifted = shifted - shifted.max(axis=-1, keepdims=True)
        p = np.exp(shifted)
        p /= p.sum(axis=-1, keepdims=True)
        product = np.stack([_wide_product(l, q) for l, q in zip(payoff, p, strict=True)])  # noqa: E741
        residual = exact - wide(s) * product
        span = np.ptp(residual, axis=-1)
        # rounding: n + 3 operations an entry of the product (whose sizes are at most 1), a few of the logits'
        unit = np.finfo(wide).eps
        rounding = unit * ((n + 3) * s * np.abs(payoff).max() + 4 * np.abs(exact).max(axis=-1))
        bound = (span / 2 + rounding).astype(np.float64)
        better = bound < best_bound
        best, best_bound = np.where(better[..., None], exact, best), np.where(better, bound, best_bound)
        if not better.any() or k == _POLISH - 1:
            break
        right = _anchored(residual, p.argmax(axis=-1)[..., None]).astype(np.float64)
        step = np.linalg.solve(_jacobian(payoff, p.astype(np.float64), s), right[..., None])[..., 0]
    log_p = log_m_wide + best
    log_p = log_p - log_p.max(axis=-1, keepdims=True)
    log_p = log_p - np.log(np.exp(log_p).sum(axis=-1, keepdims=True))
    p = np.exp(log_p)
    stored = np.abs(np.exp(log_p.astype(np.float64)) - p).sum(axis=-1)  # of the policy as it is returned
    return log_p.astype(np.float64), best_bound + 2 * stored.astype(np.float64)


def _wide_product(payoff: FloatArray, p: Any) -> Any:
    """Return payoff @ p in extended precision, by blocks of rows (the product of wide arrays has no library)."""
    out = np.empty(p.shape, dtype=p.dtype)
    for low in range(0, p.shape[0], 256):
        out[low : low + 256] = (payoff[low : low + 256] * p).sum(axis=-1)
    return out
