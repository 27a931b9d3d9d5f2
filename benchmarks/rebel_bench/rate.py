"""The test of a rate: a log-log slope with an honest interval."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import stdtr

from rebel_bench.judge import FloatArray, Judgement, Verdict, _nothing, _numbers
from rebel_bench.statistics import Sample, TwoStage


@dataclass(frozen=True, slots=True)
class RateFit:
    """A fitted exponent: the mean slope, its interval, and the slope of every group (n_groups,).

    ``standard_error`` and ``dof`` are those of the interval; ``wanted`` is the number of groups that the rule asks for.
    """

    slope: float
    low: float
    high: float
    slopes: FloatArray
    standard_error: float
    dof: int
    wanted: int


@dataclass(frozen=True, slots=True)
class Rate:
    """Hold when the interval of the log-log slope lies within ``expected`` plus or minus ``margin``.

    One least-squares slope per group (a seed, an instance), then a Student interval over the slopes: points
    along one curve are correlated, so their residuals would give an interval that is far too narrow. The
    claim is refuted when the interval lies wholly outside, and inconclusive when it straddles an edge, when
    there are fewer than two groups or than the rule wants, or when a value has no logarithm.

    Parameters
    ----------
    expected, margin
        The exponent claimed, and how far from it still counts as agreement.
    x, y, by
        The columns of the abscissa, the ordinate, and the groups.
    confidence
        Of the two-sided interval, if there is no rule.
    rule
        How many groups: the first ``rule.n_first`` that appear are the first stage of Stein's rule, which also has
        the interval's false alarm. ``collect`` draws by it.

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
    rule: TwoStage | None = None

    @property
    def false_alarm(self) -> float:
        """Return the largest probability of a refutation though the true slope is within the margin."""
        return round(1 - self.confidence, 12) if self.rule is None else self.rule.false_alarm

    def fit(self, cases: pd.DataFrame) -> RateFit:
        """Return the slope and its interval; raise ValueError with the reason where there is none."""
        slopes = self._group_slopes(cases)
        n = slopes.size
        first = n if self.rule is None else self.rule.n_first
        if n < max(first, 2):
            needed = f"the rule's first stage needs {first}" if first > 2 else "an interval needs at least two"
            raise ValueError(f"{n} group{'s' * (n != 1)} by {self.by!r}: {needed} independent curves")
        sample = Sample(slopes, first, n if self.rule is None else self.rule.wanted(slopes[:first]))
        mean, low, high = map(float, sample.interval(1 - self.false_alarm))
        return RateFit(mean, low, high, slopes, float(sample.standard_error), first - 1, sample.wanted)

    def collect(self, draw: Callable[[int], pd.DataFrame], at_least: int = 0) -> pd.DataFrame:
        """Return the cases of as many groups as the rule wants, up to its cap, or of ``at_least``.

        ``draw(n)`` returns the cases of n further groups.
        """
        if self.rule is None:
            raise ValueError("a rate without a rule cannot choose the number of groups")
        first = draw(self.rule.n_first)
        try:
            more = self.rule.number(self._group_slopes(first), at_least) - self.rule.n_first
        except ValueError:
            return first  # no slopes; the verdict says why
        return pd.concat([first, draw(more)], ignore_index=True) if more else first

    def judge(self, cases: pd.DataFrame) -> Judgement:
        """Return the verdict; ``measured`` is the mean slope, ``bound`` the expected one."""
        if len(cases) == 0:
            return _nothing(self.expected)
        try:
            fit = self.fit(cases)
        except ValueError as error:
            return _nothing(self.expected, len(cases), str(error))
        low, high = self.expected - self.margin, self.expected + self.margin
        n = fit.slopes.size
        verdict: Verdict = "inconclusive"
        if fit.high < low or high < fit.low:
            verdict = "refuted"
        elif low <= fit.low and fit.high <= high and fit.wanted <= n:
            verdict = "holds"
        outside = int(((fit.slopes < low) | (fit.slopes > high)).sum())
        note = (
            f"slope {fit.slope:.4g}, {100 * (1 - self.false_alarm):.6g}% interval [{fit.low:.4g}, {fit.high:.4g}] "
            f"over {n} groups"
        )
        if self.rule is not None:
            note += f"; the two-stage rule wants {fit.wanted}" + (", more than were drawn" if fit.wanted > n else "")
        beyond = max(low - fit.slope, fit.slope - high)
        p_value = min(1.0, 2 * _student_tail(beyond, fit.standard_error, fit.dof))
        return Judgement(verdict, fit.slope, self.expected, len(cases), outside, note=note, p_value=p_value)

    def describe(self) -> str:
        """Return ``slope of y in x = -1 +- 0.1``."""
        return f"log-log slope of {self.y} in {self.x} = {self.expected:g} ± {self.margin:g}"

    def _group_slopes(self, cases: pd.DataFrame) -> FloatArray:
        """Return one slope a group (n_groups,), in the order in which the groups appear."""
        x, y = _numbers(cases, self.x), _numbers(cases, self.y)  # (n_cases,) each
        bad = ~(np.isfinite(x) & np.isfinite(y) & (x > 0) & (y > 0))
        if bad.any():
            raise ValueError(f"{int(bad.sum())} of {x.size} cases have no logarithm (zero, negative or not finite)")
        if self.by not in cases.columns:
            raise KeyError(f"the cases have no column {self.by!r} to group the slopes by")
        return _slopes(np.log(x), np.log(y), pd.factorize(cases[self.by])[0])


def _student_tail(distance: float, error: float, dof: int) -> float:
    """Return the probability that a mean lies ``distance`` or more above its expectation."""
    if error == 0:
        return float(distance <= 0)
    return float(stdtr(dof, -distance / error))


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
