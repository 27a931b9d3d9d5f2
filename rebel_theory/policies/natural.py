"""How a Fisher system is solved: pseudo-inverse, damping, conjugate gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from rebel_theory.arrays import FloatArray
from rebel_theory.least_squares import min_norm


class FisherSolver(Protocol):
    """Solves F x = E[g A], F = E[g g^T], given the score rows of a sample or a population."""

    def solve(
        self, scores: FloatArray, weights: FloatArray, advantage: FloatArray, scale: FloatArray | float = 0.0
    ) -> FloatArray:
        """Return x (..., p) for scores g (..., n, p), weights (..., n) and advantages (..., n).

        ``scale`` (..., n) holds the norms of what the scores were centred from; their rounding is eps times it.
        """


@dataclass(frozen=True, slots=True)
class PseudoInverse:
    """x = F^+ E[g A], computed as the minimum-norm regression of the advantage on the score (Kakade 2001).

    Parameters
    ----------
    explicit : bool
        Write out the Fisher blocks of a tabular class and solve them by LAPACK, O(A^3) a row, where by default they
        are solved in O(A) as a diagonal plus rank one: the same system and, to rounding, the same solution.
        Other classes always form their scores.
    """

    explicit: bool = False

    def solve(
        self, scores: FloatArray, weights: FloatArray, advantage: FloatArray, scale: FloatArray | float = 0.0
    ) -> FloatArray:
        """Return the minimum-norm minimiser of E[(g . x - A)^2], shape (..., p)."""
        root = np.sqrt(weights)
        return min_norm(root[..., None] * scores, root * advantage, root * scale)


@dataclass(frozen=True, slots=True)
class Damped:
    """x = (F + damping I)^{-1} E[g A]; shrinks the step in directions that the policy rarely explores."""

    damping: float = 1e-3

    def __post_init__(self) -> None:
        if not self.damping > 0:
            raise ValueError(f"damping is {self.damping}, expected a number > 0: for none use PseudoInverse()")

    def solve(
        self, scores: FloatArray, weights: FloatArray, advantage: FloatArray, scale: FloatArray | float = 0.0
    ) -> FloatArray:
        """Return the damped solution, shape (..., p)."""
        fisher, gradient = fisher_and_gradient(scores, weights, advantage)
        damped = fisher + self.damping * np.eye(fisher.shape[-1])
        return np.asarray(np.linalg.solve(damped, gradient[..., None])[..., 0], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class ConjugateGradient:
    """x by conjugate gradients from 0 on F x = E[g A], which needs products with F only (as TRPO does).

    Started at 0 it stays in the range of F, so its limit is the pseudo-inverse solution.
    """

    max_iterations: int = 100
    tolerance: float = 1e-12

    def solve(
        self, scores: FloatArray, weights: FloatArray, advantage: FloatArray, scale: FloatArray | float = 0.0
    ) -> FloatArray:
        """Return the iterate whose residual is below ``tolerance`` times the gradient's norm, (..., p)."""
        weighted = weights[..., None] * scores
        transposed = np.swapaxes(weighted, -1, -2)
        gradient = np.matmul(transposed, advantage[..., None])[..., 0]

        def product(x: FloatArray) -> FloatArray:
            result: FloatArray = np.matmul(transposed, np.matmul(scores, x[..., None]))[..., 0]
            return result

        return conjugate_gradient(product, gradient, self.max_iterations, self.tolerance)


def fisher_and_gradient(
    scores: FloatArray, weights: FloatArray, advantage: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return F = E[g g^T] (..., p, p) and E[g A] (..., p)."""
    weighted = np.swapaxes(weights[..., None] * scores, -1, -2)  # (..., p, n)
    fisher: FloatArray = np.matmul(weighted, scores)
    gradient: FloatArray = np.matmul(weighted, advantage[..., None])[..., 0]
    return fisher, gradient


def conjugate_gradient(
    product: Callable[[FloatArray], FloatArray], b: FloatArray, max_iterations: int, tolerance: float
) -> FloatArray:
    """Return x with product(x) = b for a symmetric positive semi-definite product, batched over leading axes."""
    x = np.zeros_like(b)
    residual = b.copy()
    direction = b.copy()
    norm = (residual**2).sum(axis=-1, keepdims=True)
    target = tolerance**2 * norm
    for _ in range(max_iterations):
        active = norm > target
        if not active.any():
            break
        image = product(direction)
        curvature = (direction * image).sum(axis=-1, keepdims=True)
        step = np.where(active & (curvature > 0), norm / np.where(curvature > 0, curvature, 1.0), 0.0)
        x = x + step * direction
        residual = residual - step * image
        new = (residual**2).sum(axis=-1, keepdims=True)
        direction = residual + np.where(active, new / np.where(norm > 0, norm, 1.0), 0.0) * direction
        norm = np.where(active, new, norm)
    return x
