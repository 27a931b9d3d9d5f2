"""Batched minimum-norm least squares on rows, not on normal equations."""

from __future__ import annotations

import numpy as np

from rebel_theory.arrays import FloatArray


def min_norm(design: FloatArray, target: FloatArray, scale: FloatArray | float = 0.0) -> FloatArray:
    """Return the minimum-norm minimiser x (..., p) of ||design x - target||, design (..., n, p), target (..., n).

    A QR factorisation shrinks the rows to p + 1, then a singular value decomposition of the triangle drops
    directions below rounding: n eps times the largest singular value, or times ``scale`` (...) if that is larger.
    Rows made by subtraction carry the rounding of what was subtracted; ``scale`` is the norm of the rows before it.
    Without it a direction in which features tie would be solved for from rounding errors.
    """
    n, p = design.shape[-2:]
    lead = np.broadcast_shapes(design.shape[:-2], target.shape[:-1])
    joined = np.concatenate(
        [np.broadcast_to(design, (*lead, n, p)), np.broadcast_to(target, (*lead, n))[..., None]], axis=-1
    )
    if n > p + 1:
        joined = np.asarray(np.linalg.qr(joined, mode="r"))  # (..., p + 1, p + 1)
    u, sigma, vt = np.linalg.svd(joined[..., :p], full_matrices=False)
    largest = np.maximum(sigma[..., :1], np.asarray(scale)[..., None])
    cutoff = max(n, p) * np.finfo(np.float64).eps * largest
    inverse = np.where(sigma > cutoff, 1 / np.where(sigma > cutoff, sigma, 1.0), 0.0)
    coordinates = np.matmul(np.swapaxes(u, -1, -2), joined[..., p:])[..., 0]  # (..., k)
    solution: FloatArray = np.matmul(np.swapaxes(vt, -1, -2), (inverse * coordinates)[..., None])[..., 0]
    return solution
