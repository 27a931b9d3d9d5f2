"""Student's interval for a mean: the one implementation behind rates, claims and comparisons."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.arrays import FloatArray


class Interval(NamedTuple):
    """An estimate with the interval around it; numbers, or arrays of one shape."""

    mean: FloatArray
    low: FloatArray
    high: FloatArray

    @property
    def half_width(self) -> FloatArray:
        """Return half of the interval's length."""
        return np.asarray((self.high - self.low) / 2)


def half_width(values: ArrayLike, false_alarm: float, axis: int = 0) -> FloatArray:
    """Return half of Student's interval around the mean along ``axis``, which misses with ``false_alarm``.

    Infinite for a single value: it says nothing about its own spread.

    >>> round(float(half_width([-1.0, 1.0], 0.05)), 2)
    12.71
    """
    from scipy.special import stdtrit

    sample = np.asarray(values, dtype=np.float64)
    n = sample.shape[axis]
    if n == 0:
        raise ValueError("an interval of no values: give at least one, and two for a finite interval")
    if n == 1:
        return np.full(sample.mean(axis=axis).shape, np.inf)
    # the lower quantile: 1 - false_alarm/2 would round
    half: FloatArray = -stdtrit(n - 1, false_alarm / 2) * sample.std(axis=axis, ddof=1) / np.sqrt(n)
    return half


def t_interval(values: ArrayLike, confidence: float = 0.95, axis: int = 0) -> Interval:
    """Return the mean along ``axis`` and Student's two-sided interval.

    Exact for independent normal values. The values are one a seed, a curve, an instance: points along one curve are
    not independent.

    >>> mean, low, high = t_interval([1.0, 2.0, 3.0])
    >>> float(mean), round(float(low), 3), round(float(high), 3)  # 2 -+ 4.303 / sqrt(3)
    (2.0, -0.484, 4.484)
    """
    sample = np.asarray(values, dtype=np.float64)
    half = half_width(sample, 1 - confidence, axis)
    mean = sample.mean(axis=axis)
    return Interval(mean, mean - half, mean + half)
