"""The test of a rate: a log-log slope with an honest interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from rebel_bench.judge import FloatArray, Judgement, Verdict, _nothing, _numbers
from rebel_theory.theory.intervals import t_interval


@dataclass(frozen=True, slots=True)
class RateFit:
    """A fitted exponent: the mean slope, its interval, and the slope of every group (n_groups,)."""

    slope: float
    low: float
    high: float
    slopes: FloatArray


@dataclass(frozen=True, slots=True)
class Rate:
    """Hold when the interval of the log-log slope lies within ``expected`` plus or minus ``margin``.

    One least-squares slope per group (a seed, an instance), then a Student interval over the slopes: points
    along one curve are correlated, so their residuals would give an interval that is far too narrow. The
    claim is refuted when the interval lies wholly outside, and inconclusive when it straddles an edge, when
    there are fewer than two groups, or when a value has no logarithm.

    Parameters
    ----------
    expected, margin
        The exponent claimed, and how far from it still counts as agreement.
    x, y, by
        The columns of the abscissa, the ordinate, and the groups.
    confidence
        Of the two-sided interval.

    >>> cases = pd.DataFrame({"seed": [0, 0, 1, 1], "x": [1, 10, 1, 10], "y": [3.0, 0.3, 5.0, 0.5]})
    >>> Rate(expected=-1, margin=0.01).judge(cases).verdict
    'holds'
    """

    expected: float
    margin: float
    x: str = "x"
    y: str = "y"
    by: str = "seed"
    confidence: float = 0.95

    def fit(self, cases: pd.DataFrame) -> RateFit:
        """Return the slope and its interval; raise ValueError with the reason where there is none."""
        x, y = _numbers(cases, self.x), _numbers(cases, self.y)  # (n_cases,) each
        bad = ~(np.isfinite(x) & np.isfinite(y) & (x > 0) & (y > 0))
        if bad.any():
            raise ValueError(f"{int(bad.sum())} of {x.size} cases have no logarithm (zero, negative or not finite)")
        if self.by not in cases.columns:
            raise KeyError(f"the cases have no column {self.by!r} to group the slopes by")
        slopes = _slopes(np.log(x), np.log(y), pd.factorize(cases[self.by])[0])
        n = slopes.size
        if n < 2:
            raise ValueError(f"{n} group by {self.by!r}: an interval needs at least two independent curves")
        mean, low, high = map(float, t_interval(slopes, self.confidence))
        return RateFit(mean, low, high, slopes)

    def judge(self, cases: pd.DataFrame) -> Judgement:
        """Return the verdict; ``measured`` is the mean slope, ``bound`` the expected one."""
        if len(cases) == 0:
            return _nothing(self.expected)
        try:
            fit = self.fit(cases)
        except ValueError as error:
            return _nothing(self.expected, len(cases), str(error))
        low, high = self.expected - self.margin, self.expected + self.margin
        verdict: Verdict = "inconclusive"
        if low <= fit.low and fit.high <= high:
            verdict = "holds"
        elif fit.high < low or high < fit.low:
            verdict = "refuted"
        outside = int(((fit.slopes < low) | (fit.slopes > high)).sum())
        note = (
            f"slope {fit.slope:.4g}, {self.confidence:.0%} interval [{fit.low:.4g}, {fit.high:.4g}] "
            f"over {fit.slopes.size} groups"
        )
        return Judgement(verdict, fit.slope, self.expected, len(cases), outside, note=note)

    def describe(self) -> str:
        """Return ``slope of y in x = -1 +- 0.1``."""
        return f"log-log slope of {self.y} in {self.x} = {self.expected:g} ± {self.margin:g}"


def _slopes(log_x: FloatArray, log_y: FloatArray, group: np.ndarray) -> FloatArray:
    """Return the least-squares slope of every group, (n_groups,)."""
    sizes = np.bincount(group)
    centred_x = log_x - (np.bincount(group, log_x) / sizes)[group]
    centred_y = log_y - (np.bincount(group, log_y) / sizes)[group]
    spread = np.bincount(group, centred_x**2)
    # distinct abscissae differ by far more than the rounding of a logarithm
    if (spread <= 1e-20 * sizes).any():
        raise ValueError("a group has a single abscissa: a slope needs at least two")
    slopes: FloatArray = np.bincount(group, centred_x * centred_y) / spread
    return slopes
