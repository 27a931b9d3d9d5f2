"""Distances between policies: KL, total variation, concentrability."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.arrays import FloatArray, kl_rows, safe_log, total_variation_rows
from rebel_theory.problems.base import InvalidProblemError
from rebel_theory.solvers.evaluation import HasProbs


def concentrability(
    target: ArrayLike | HasProbs, base: ArrayLike | HasProbs, support: ArrayLike | None = None
) -> FloatArray:
    r"""Return C_{mu -> p} = max over x, y of p(y|x) / mu(y|x), shape (...).

    Parameters
    ----------
    target, base : shape (..., S, A), or policies
        p and mu; any non-negative weights do (state-action distributions for an MDP).
    support : shape (..., S), optional
        Rows with weight (or truth value) 0 are left out.

    Returns
    -------
    shape (...)
        ``inf`` where the base misses a point of the target; 0/0 counts as 0.

    Examples
    --------
    >>> float(concentrability([[0.5, 0.5]], [[0.25, 0.75]]))
    2.0
    """
    p, mu = _probs(target), _probs(base)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = np.where(p > 0, p / mu, 0.0)
    if support is not None:
        ratio = np.where(np.asarray(support)[..., None] > 0, ratio, 0.0)
    result: FloatArray = ratio.max(axis=(-2, -1))
    return result


def kl_divergence(p: ArrayLike | HasProbs, q: ArrayLike | HasProbs, weights: ArrayLike | None = None) -> FloatArray:
    """Return E_{x ~ weights} KL(p(.|x) || q(.|x)) in nats, shape (...); weights (..., S), uniform by default."""
    rows = kl_rows(safe_log(_probs(p)), safe_log(_probs(q)))
    return _mean(rows, weights)


def total_variation(p: ArrayLike | HasProbs, q: ArrayLike | HasProbs, support: ArrayLike | None = None) -> FloatArray:
    """Return the largest total variation over the rows of two policies, shape (...); rows of weight 0 left out."""
    rows = total_variation_rows(_probs(p), _probs(q))
    if support is not None:
        rows = np.where(np.asarray(support) > 0, rows, 0.0)
    result: FloatArray = rows.max(axis=-1)
    return result


def _mean(rows: FloatArray, weights: ArrayLike | None) -> FloatArray:
    if weights is None:
        mean: FloatArray = rows.mean(axis=-1)
        return mean
    w = np.asarray(weights, dtype=np.float64)
    total: FloatArray = np.multiply(w, rows, where=w > 0, out=np.zeros(np.broadcast_shapes(w.shape, rows.shape))).sum(
        -1
    )
    return total


def _probs(value: ArrayLike | HasProbs) -> FloatArray:
    array: FloatArray = np.asarray(value.probs if isinstance(value, HasProbs) else value, dtype=np.float64)
    if array.ndim < 1 or np.isnan(array).any() or (array < 0).any():
        raise InvalidProblemError("policy", ["probabilities must be non-negative numbers of shape (..., S, A)"])
    return array if array.ndim > 1 else array[None]
