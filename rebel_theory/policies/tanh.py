"""A small tanh network: the simplest class whose log-ratios are not linear in its parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self, final

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.arrays import FloatArray, frozen
from rebel_theory.pairs import Pairs
from rebel_theory.policies.parametric import ParametricPolicy


@final
@dataclass(frozen=True, eq=False)
class TanhPolicy(ParametricPolicy):
    """A one-hidden-layer network: f(s, a) = v . tanh(W x(s, a)), theta = (W, v) flattened.

    The smallest class in which the log-ratio is not linear in theta: where REBEL, its Gauss-Newton step and
    mirror descent part.

    Parameters
    ----------
    points : shape (S, A, k)
        x(s, a).
    theta : shape (..., h (k + 1))
        The h k entries of W row by row, then the h entries of v.
    """

    points: FloatArray
    theta: FloatArray

    @property
    def inputs(self) -> FloatArray:
        """The points x(s, a)."""
        return self.points

    def with_inputs(self, inputs: FloatArray) -> Self:
        """Return the network on other points."""
        return type(self)(inputs, self.theta)

    @classmethod
    def random(cls, points: ArrayLike, n_hidden: int, rng: np.random.Generator) -> Self:
        """Return a network with normal weights of variance 1 / fan-in."""
        x = np.asarray(points, dtype=np.float64)
        k = x.shape[-1]
        w = rng.standard_normal(n_hidden * k) / np.sqrt(k)
        return cls(frozen(x), frozen(np.concatenate([w, rng.standard_normal(n_hidden) / np.sqrt(n_hidden)])))

    @property
    def _layers(self) -> tuple[FloatArray, FloatArray]:
        """W (..., 1, h, k) and v (..., 1, h), with an axis of length 1 for every row axis of the points."""
        k = self.inputs.shape[-1]
        h = self.theta.shape[-1] // (k + 1)
        rows = (1,) * (self.inputs.ndim - 2)  # of the points: (S,), or (H, S) in the natural shape of a finite horizon
        lead = (*self.theta.shape[:-1], *rows)
        return self.theta[..., : h * k].reshape(*lead, h, k), self.theta[..., h * k :].reshape(*lead, h)

    def _hidden(self) -> FloatArray:
        w, _ = self._layers
        hidden: FloatArray = np.tanh(np.matmul(self.inputs, np.swapaxes(w, -1, -2)))
        return hidden  # (..., S, A, h)

    def logits(self) -> FloatArray:
        """Return f, shape (..., S, A)."""
        _, v = self._layers
        result: FloatArray = np.matmul(self._hidden(), v[..., None])[..., 0]
        return result

    def jacobian(self) -> FloatArray:
        """Return d f / d theta, shape (..., S, A, h (k + 1))."""
        _, v = self._layers
        hidden = self._hidden()
        slope = (1 - hidden**2) * v[..., None, :]  # (..., S, A, h)
        by_w = slope[..., None] * self.inputs[..., None, :]  # (..., S, A, h, k)
        return np.concatenate([by_w.reshape(*hidden.shape[:-1], -1), hidden], axis=-1)

    def with_theta(self, theta: FloatArray) -> Self:
        """Return the network at other parameters."""
        return type(self)(self.points, frozen(theta))

    def regress(self, pairs: Pairs, step_size: FloatArray) -> Self:
        """Return a local minimiser of the REBEL loss, from theta_t."""
        return self.minimise(pairs, step_size, self.theta)
