"""How many seeds: Stein's two-stage rule, so that the number is neither luck nor a look at the answer.

Stein 1945, "A two-sample test for a linear hypothesis whose power is independent of the variance", Annals of
Mathematical Statistics 16. A first stage of ``n_first`` values has variance s^2; the whole sample has

    n = max(n_first, ceil(t^2 s^2 / h^2)),   t Student's quantile with n_first - 1 degrees of freedom,

and its mean has the interval -+ t s/sqrt(n), at most ``h`` in half width. For normal values the mean is independent of
s, so that (mean - truth) sqrt(n)/s is Student's whatever n was chosen from s: the coverage is exact for every variance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.arrays import FloatArray
from rebel_theory.theory.intervals import Interval


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Values (n, ...) of which the first ``n_first`` chose n, and the number ``wanted`` before any cap."""

    values: FloatArray
    n_first: int
    wanted: int

    @property
    def standard_error(self) -> FloatArray:
        """Return the deviation of the first stage over the root of the whole number, shape (...)."""
        return np.asarray(self.values[: self.n_first].std(axis=0, ddof=1) / np.sqrt(len(self.values)))

    def interval(self, confidence: float = 0.95) -> Interval:
        """Return the mean of all values, and Stein's interval."""
        from scipy.special import stdtrit

        mean = self.values.mean(axis=0)
        half = -stdtrit(self.n_first - 1, (1 - confidence) / 2) * self.standard_error
        return Interval(mean, mean - half, mean + half)

    def columns(self) -> dict[str, FloatArray | int]:
        """Return what the test ``Estimates`` reads, beside the region that the statement allows."""
        return {
            "estimate": self.values.mean(axis=0),
            "standard_error": self.standard_error[()],  # a number, where there are no columns
            "dof": self.n_first - 1,
            "n_seeds": len(self.values),
            "n_wanted": self.wanted,
        }


@dataclass(frozen=True, slots=True)
class TwoStage:
    """Stein's rule.

    Parameters
    ----------
    n_first
        Seeds of the first stage, at least 2.
    half_width
        Wanted half width of the interval; one for each column of the values, if they have columns. The largest number
        that any column wants is drawn: the coverage of each is still exact, since the means are independent of all
        the variances.
    false_alarm
        Of one interval.
    cap
        The largest number drawn. A rule that wants more leaves the claim inconclusive, if it is not refuted.
    """

    n_first: int
    half_width: float | tuple[float, ...]
    false_alarm: float
    cap: int

    def __post_init__(self) -> None:
        if self.n_first < 2:
            raise ValueError(f"n_first is {self.n_first}: a variance needs at least 2 seeds")
        if self.cap < self.n_first:
            raise ValueError(f"cap is {self.cap}, below the first stage of {self.n_first} seeds: raise it")
        if not (np.asarray(self.half_width) > 0).all():
            raise ValueError(f"half_width is {self.half_width}, expected positive")

    def wanted(self, first: ArrayLike) -> int:
        """Return the number of seeds that the first stage (n_first, ...) asks for; values that are not finite add none.

        >>> TwoStage(2, half_width=1.0, false_alarm=0.05, cap=1_000).wanted([-1.0, 1.0])  # (12.706 sqrt(2))^2
        323
        """
        from scipy.special import stdtrit

        sample = np.asarray(first, dtype=np.float64)
        if len(sample) != self.n_first:
            raise ValueError(f"a first stage of {len(sample)} values, expected {self.n_first}")
        with np.errstate(invalid="ignore"):  # infinite values have no variance
            deviation = sample.std(axis=0, ddof=1)
        most = stdtrit(self.n_first - 1, self.false_alarm / 2) * deviation / np.asarray(self.half_width)
        if not np.isfinite(most).all():
            return self.n_first
        return max(self.n_first, int(np.ceil(np.max(most**2))))

    def number(self, first: ArrayLike, at_least: int = 0) -> int:
        """Return the number of seeds to draw in all: the number wanted, up to the cap, or ``at_least`` if that is more.

        More than wanted, or fewer, does not spoil the coverage, as long as the means had no say.
        """
        return max(min(self.wanted(first), self.cap), at_least)

    def first_only(self) -> TwoStage:
        """Return the rule that never draws a second stage: enough for a control, which need only be refuted."""
        return replace(self, cap=self.n_first)

    def sample(self, draw: Callable[[int], FloatArray], at_least: int = 0) -> Sample:
        """Return the sample: ``draw(n)`` gives n further values (n, ...), independent of those before."""
        first = draw(self.n_first)
        n = self.number(first, at_least)
        values = first if n == self.n_first else np.concatenate([first, draw(n - self.n_first)])
        return Sample(values, self.n_first, self.wanted(first))
