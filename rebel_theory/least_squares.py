"""Batched minimum-norm least squares on rows, not on normal equations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rebel_theory.arrays import FloatArray

_GRADED = 1e-2  # rows, and singular values, that differ by less cost each other a factor of 1e4 eps at most


def min_norm(design: FloatArray, target: FloatArray, scale: FloatArray | float = 0.0) -> FloatArray:
    """Return the minimum-norm minimiser x (..., p) of ||design x - target||, design (..., n, p), target (..., n).

    A QR factorisation shrinks the rows to p + 1, then a singular value decomposition of the triangle drops
    directions below rounding: n eps times the largest singular value, or times the norm of ``scale`` if that is larger.
    Rows made by subtraction carry the rounding of what was subtracted; ``scale`` (..., n) holds the norms of the rows
    before it. Without it a direction in which features tie would be solved for from rounding errors.

    Against heavy rows, rows of probability 1e-30 are rounding, yet they alone may say where an action's logit goes.
    Where the rows and the singular values spread over more than 100, the rule is therefore applied row by row: a
    direction is dropped if *each* row, given the heavier ones, sees it by less than n eps times its own norm or its
    own scale. A row counts however light it is, unless its weight is 0; so the rank, like that of exact arithmetic,
    does not depend on the weights, nor does the accuracy of the solution (kernels/least_squares.py).
    """
    n, p = design.shape[-2:]
    lead = np.broadcast_shapes(design.shape[:-2], target.shape[:-1])
    joined = np.concatenate(
        [np.broadcast_to(design, (*lead, n, p)), np.broadcast_to(target, (*lead, n))[..., None]], axis=-1
    )
    # (..., p + 1, p + 1)
    triangle = np.asarray(np.linalg.qr(joined, mode="r")) if n > p + 1 else joined
    u, sigma, vt = np.linalg.svd(triangle[..., :p], full_matrices=False)
    total = np.sqrt(np.square(scale).sum(axis=-1)) if np.ndim(scale) else np.asarray(scale)
    largest = np.maximum(sigma[..., :1], total[..., None])
    cutoff = max(n, p) * np.finfo(np.float64).eps * largest
    kept = sigma > cutoff
    inverse = np.where(kept, 1 / np.where(kept, sigma, 1.0), 0.0)
    coordinates = np.matmul(np.swapaxes(u, -1, -2), triangle[..., p:])[..., 0]  # (..., k)
    solution: FloatArray = np.matmul(np.swapaxes(vt, -1, -2), (inverse * coordinates)[..., None])[..., 0]
    if (loose := sigma[..., -1] < _GRADED * largest[..., 0]).any():
        magnitude = np.maximum(np.broadcast_to(scale, (*lead, n)), np.abs(joined[..., :p]).max(axis=-1))
        least = np.where(magnitude > 0, magnitude, np.inf).min(axis=-1)
        graded = loose & (least < _GRADED * magnitude.max(axis=-1))
        if graded.any():
            from rebel_theory.kernels.least_squares import graded_solutions

            found = solution[graded]
            graded_solutions(joined[graded], magnitude[graded], max(n, p) * float(np.finfo(np.float64).eps), found)
            solution[graded] = found
    return solution


def ridge(design: FloatArray, target: FloatArray) -> Callable[[FloatArray], FloatArray]:
    """Return damping (...) -> the minimiser (..., p) of ||design x - target||^2 + damping sigma_1^2 ||x||^2.

    sigma_1 is the design's largest singular value; one decomposition serves all dampings.
    """
    u, sigma, vt = np.linalg.svd(design, full_matrices=False)
    coordinates = np.matmul(np.swapaxes(u, -1, -2), target[..., None])[..., 0]

    def solution(damping: FloatArray) -> FloatArray:
        filtered = sigma / np.maximum(sigma**2 + damping[..., None] * sigma[..., :1] ** 2, np.finfo(np.float64).tiny)
        found: FloatArray = np.matmul(np.swapaxes(vt, -1, -2), (filtered * coordinates)[..., None])[..., 0]
        return found

    return solution
