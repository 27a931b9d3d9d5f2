"""Log-linear policies: logits linear in features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self, final

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.arrays import FloatArray, batch_products, frozen
from rebel_theory.pairs import Pairs
from rebel_theory.policies.parametric import ParametricPolicy
from rebel_theory.problems.base import checking


@final
@dataclass(frozen=True, eq=False, init=False)
class LogLinearPolicy(ParametricPolicy):
    """pi(a|s) proportional to exp(theta . phi(s, a)).

    Parameters
    ----------
    features : shape (S, A, d), or (H, S, A, d) for a finite horizon
    theta : shape (..., d)

    Examples
    --------
    >>> LogLinearPolicy(np.eye(2)[None], [0.0, np.log(3.0)]).probs.round(2)
    array([[0.25, 0.75]])
    """

    features: FloatArray  # (S, A, d)
    theta: FloatArray  # (..., d)

    def __init__(self, features: ArrayLike, theta: ArrayLike) -> None:
        with checking("LogLinearPolicy") as checks:
            phi = checks.array("features", features, "numbers of shape (S, A, d)")
            parameters = checks.array("theta", theta, "numbers of shape (d,)")
            if checks.require(phi.ndim >= 3, f"features has shape {phi.shape}, expected (S, A, d)"):
                checks.require(
                    parameters.ndim >= 1 and parameters.shape[-1] == phi.shape[-1],
                    f"theta has shape {parameters.shape}, expected (..., d) with d = {phi.shape[-1]}",
                )
            checks.finite("features", phi, ("s", "a", "i"))
            checks.finite("theta", parameters, ("i",))
        object.__setattr__(self, "features", phi)
        object.__setattr__(self, "theta", parameters)

    @classmethod
    def zeros(cls, features: ArrayLike) -> Self:
        """Return the uniform policy of the class, theta = 0."""
        phi = np.asarray(features, dtype=np.float64)
        return cls(phi, np.zeros(phi.shape[-1]))

    def logits(self) -> FloatArray:
        """Return theta . phi, shape (..., S, A)."""
        d = self.features.shape[-1]
        flat = self.features.reshape(1, -1, d)  # one product for the whole batch
        products = batch_products(self.theta[..., None, :], np.swapaxes(flat, 1, 2))
        return products.reshape(*self.theta.shape[:-1], *self.features.shape[:-1])

    def jacobian(self) -> FloatArray:
        """Return the features, whatever theta."""
        return self.features

    @property
    def inputs(self) -> FloatArray:
        """The features."""
        return self.features

    def with_inputs(self, inputs: FloatArray) -> Self:
        """Return the policy on other features."""
        other = object.__new__(type(self))
        object.__setattr__(other, "features", inputs)
        object.__setattr__(other, "theta", self.theta)
        return other

    def with_theta(self, theta: FloatArray) -> Self:
        """Return the policy at other parameters; the features are shared, not copied."""
        if not np.isfinite(theta).all():
            raise FloatingPointError("an update produced non-finite parameters: reduce the step size")
        other = object.__new__(type(self))
        object.__setattr__(other, "features", self.features)
        object.__setattr__(other, "theta", frozen(theta))
        return other

    def regress(self, pairs: Pairs, step_size: FloatArray) -> Self:
        """Return the exact minimiser: the log-partition cancels, so the regression is linear in theta."""
        return self.gauss_newton_step(pairs, step_size)
