"""Mirror maps on the simplex: where a step of a given direction ends, row by row, in log-probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from rebel_theory.arrays import FloatArray, log_softmax, safe_log
from rebel_theory.problems.base import InvalidProblemError

_NEWTON_STEPS = 200


@runtime_checkable
class MirrorMap(Protocol):
    """A strictly convex potential psi on the simplex, through the step that it defines."""

    def move(self, log_probs: FloatArray, step: FloatArray) -> FloatArray:
        """Return log p', p' = argmax <step, p> - D_psi(p, pi), for log pi and step of shape (..., S, A)."""


@dataclass(frozen=True, slots=True)
class KLMap:
    """Negative entropy: p' proportional to pi exp(step)."""

    def move(self, log_probs: FloatArray, step: FloatArray) -> FloatArray:
        """Return log-softmax(log pi + step)."""
        return log_softmax(log_probs + step)


@dataclass(frozen=True, slots=True)
class EuclideanMap:
    """Half the squared norm: p' is the projection of pi + step on the simplex (sort-based, Held et al. 1974)."""

    def move(self, log_probs: FloatArray, step: FloatArray) -> FloatArray:
        """Return the logarithm of the projection; actions that leave the support get ``-inf``."""
        shifted = step - step.max(axis=-1, keepdims=True)  # a shift per row changes nothing, and keeps pi's digits
        point = np.exp(log_probs) + shifted
        ordered = -np.sort(-point, axis=-1)
        excess = np.cumsum(ordered, axis=-1) - 1
        size = (ordered * np.arange(1, point.shape[-1] + 1) > excess).sum(axis=-1, keepdims=True)
        threshold = np.take_along_axis(excess, size - 1, axis=-1) / size
        return log_softmax(safe_log(np.maximum(point - threshold, 0.0)))


@dataclass(frozen=True, slots=True)
class TsallisMap:
    r"""Negative Tsallis entropy of index alpha in (0, 1): psi(p) = -sum p^alpha / (alpha (1 - alpha)).

    :math:`p'_a = (\pi_a^{\alpha-1} - (1-\alpha)(s_a - \lambda))^{1/(\alpha-1)}` with lambda set so that p' sums to 1;
    alpha to 1 gives the KL map, alpha = 1/2 the map of Zimmert and Seldin 2021 (JMLR 22).
    """

    alpha: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise InvalidProblemError(
                "TsallisMap",
                [f"alpha is {self.alpha}, expected a number in (0, 1): for alpha = 1 use the KL map"],
            )

    def move(self, log_probs: FloatArray, step: FloatArray) -> FloatArray:
        """Return log p' by Newton's method on a convex decreasing function, from the side where it is monotone."""
        k = 1 / (1 - self.alpha)
        n = log_probs.shape[-1]
        with np.errstate(over="ignore"):
            dual = np.exp((self.alpha - 1) * log_probs) - step / k  # inf where pi = 0: p' stays 0
        offset = dual - dual.min(axis=-1, keepdims=True)  # (..., A) >= 0
        u = np.ones((*offset.shape[:-1], 1))  # the root lies in [1, n^(1-alpha)]
        moving = np.ones(u.shape, dtype=np.bool_)  # row by row: a row's digits must not depend on the others
        for _ in range(_NEWTON_STEPS):
            base = offset + u
            value = (base**-k).sum(axis=-1, keepdims=True) - 1
            slope = -k * (base ** (-k - 1)).sum(axis=-1, keepdims=True)
            new = np.where(moving, np.clip(u - value / slope, 1.0, float(n) ** (1 - self.alpha)), u)
            moving = np.abs(new - u) > 4e-16 * n
            u = new
            if not moving.any():
                break
        return log_softmax(-k * np.log(offset + u))


_NAMES: dict[str, MirrorMap] = {"kl": KLMap(), "euclidean": EuclideanMap()}


def as_mirror_map(value: str | MirrorMap) -> MirrorMap:
    """Return a mirror map from its name or itself."""
    if isinstance(value, str):
        if value not in _NAMES:
            raise InvalidProblemError(
                "mirror_map",
                [f"{value!r} is not a mirror map: use one of {', '.join(_NAMES)}, or TsallisMap(alpha)"],
            )
        return _NAMES[value]
    return value
