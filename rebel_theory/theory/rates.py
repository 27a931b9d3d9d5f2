"""Rates from data: per-seed slopes in log-log, with a t interval over the seeds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.arrays import FloatArray
from rebel_theory.theory.intervals import t_interval


@dataclass(frozen=True, slots=True, eq=False)
class RateFit:
    """A fitted exponent: the mean of the per-seed slopes with its t interval (low, high)."""

    slope: float
    low: float
    high: float
    slopes: FloatArray  # (n_seeds,)


def fit_rate(x: ArrayLike, y: ArrayLike, *, confidence: float = 0.95) -> RateFit:
    """Return the exponent of y ~ x^slope, one least-squares slope a seed and a t interval over the seeds.

    Points of one seed share their noise, so a pooled regression's interval is far too short; slopes of independent
    seeds are independent.

    Parameters
    ----------
    x : shape (n,)
    y : shape (n_seeds, n)
        Positive. One seed gives a slope and an infinite interval.

    Examples
    --------
    >>> fit_rate([1, 10, 100], [[5, 0.5, 0.05], [2, 0.2, 0.02]]).slope.__round__(6)
    -1.0
    """
    lx, ly = np.log(np.asarray(x, dtype=np.float64)), np.log(np.atleast_2d(np.asarray(y, dtype=np.float64)))
    centred = lx - lx.mean()
    slopes: FloatArray = ly @ centred / (centred @ centred)
    mean, low, high = map(float, t_interval(slopes, confidence))
    return RateFit(mean, low, high, slopes)
