"""Tests that turn a table of cases into a verdict: equality, inequality, rate, and a floor.

Every test is a frozen dataclass with ``judge(cases) -> Judgement`` and ``describe() -> str``; a new kind of
test is a new class, and nothing else changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Verdict: TypeAlias = Literal["holds", "refuted", "inconclusive"]
FloatArray: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict and the figures behind it.

    Attributes
    ----------
    verdict
        ``"holds"``, ``"refuted"``, or ``"inconclusive"`` when the cases cannot decide.
    measured, bound
        The most extreme measured figure, and what it is held against; NaN where there is none.
    n_cases, violations
        Rows of the table, and those (of a rate: those groups) that break the statement.
    undefined
        How many of the violations are NaN. A control that is refuted by NaN alone has shown nothing.
    note
        One sentence where the figures do not speak for themselves.
    p_value
        The probability, were the statement true, of figures as far against it as these; NaN where the test is exact.
    """

    verdict: Verdict
    measured: float
    bound: float
    n_cases: int
    violations: int
    undefined: int = 0
    note: str = ""
    p_value: float = float("nan")


class Test(Protocol):
    """What a claim's test can do."""

    def judge(self, cases: pd.DataFrame) -> Judgement:
        """Return the verdict over ``cases``, one row per instance or measurement."""
        ...

    def describe(self) -> str:
        """Return the test in a few words, for tables."""
        ...


@dataclass(frozen=True, slots=True)
class Equality:
    """Hold when every ``|column|`` is at most ``tolerance``; NaN and infinities refute.

    >>> Equality(1e-10).judge(pd.DataFrame({"error": [1e-14, 3e-12]})).verdict
    'holds'
    """

    tolerance: float
    column: str = "error"

    def judge(self, cases: pd.DataFrame) -> Judgement:
        """Return the verdict; ``measured`` is the largest error."""
        errors = np.abs(_numbers(cases, self.column))  # (n_cases,)
        if errors.size == 0:
            return _nothing(self.tolerance)
        bad = ~(errors <= self.tolerance)  # written so that NaN is bad
        return _counted(bad, np.isnan(errors), float(errors.max()), self.tolerance)

    def describe(self) -> str:
        """Return ``max |error| <= 1e-10``."""
        return f"max |{self.column}| <= {self.tolerance:g}"


@dataclass(frozen=True, slots=True)
class Inequality:
    """Hold when ``value <= bound`` in every row, up to rounding.

    ``measured`` is the tightest ratio value/bound over the rows, against a ``bound`` of 1: a ratio of 0.2
    says that the bound is five times the truth at best. Infinite values violate; an infinite bound is met.

    Parameters
    ----------
    value, bound
        The columns compared.
    slack, absolute
        Allowed for rounding: ``value <= bound + slack |bound| + absolute``. The absolute part is small, so
        that a bound that has itself decayed to 1e-9 is still tested.

    >>> Inequality().judge(pd.DataFrame({"value": [0.1, 0.3], "bound": [1.0, 0.6]})).measured
    0.5
    """

    value: str = "value"
    bound: str = "bound"
    slack: float = 1e-9
    absolute: float = 1e-12

    def judge(self, cases: pd.DataFrame) -> Judgement:
        """Return the verdict; ``measured`` is the largest ratio value/bound."""
        value, bound = _numbers(cases, self.value), _numbers(cases, self.bound)  # (n_cases,) each
        if value.size == 0:
            return _nothing(1.0)
        undefined = np.isnan(value) | np.isnan(bound)
        room = np.where(np.isfinite(bound), self.slack * np.abs(bound) + self.absolute, 0.0)
        good = (value <= bound + room) & np.isfinite(value)
        ratios = _ratios(value, bound)
        ratios = np.where(good, np.minimum(ratios, 1.0), ratios)  # within the rounding allowed: tight, not over
        return _counted(~good, undefined, float(ratios.max()), 1.0)

    def describe(self) -> str:
        """Return ``value <= bound``."""
        return f"{self.value} <= {self.bound}"


@dataclass(frozen=True, slots=True)
class AtLeast:
    """Hold when every ``column`` is at least ``threshold``: growth, a floor, a gap that stays open.

    >>> AtLeast(0.1, "gap").judge(pd.DataFrame({"gap": [0.2, 0.05]})).violations
    1
    """

    threshold: float
    column: str = "value"

    def judge(self, cases: pd.DataFrame) -> Judgement:
        """Return the verdict; ``measured`` is the smallest value."""
        values = _numbers(cases, self.column)  # (n_cases,)
        if values.size == 0:
            return _nothing(self.threshold)
        bad = ~(values >= self.threshold) | np.isinf(values)
        return _counted(bad, np.isnan(values), float(values.min()), self.threshold)

    def describe(self) -> str:
        """Return ``min value >= 0.1``."""
        return f"min {self.column} >= {self.threshold:g}"


def _ratios(value: FloatArray, bound: FloatArray) -> FloatArray:
    """Return how much of the bound is used, (n_cases,): at most 1 exactly where ``value <= bound``.

    For a negative bound the ratio is turned over (a value of -2 uses half of a bound of -1); a bound of 0 is
    used fully by 0, not at all by a negative value, and infinitely by a positive one.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        positive = np.where(np.isposinf(bound), 0.0, value / bound)
        negative = np.where(value < 0, bound / value, np.inf)
    zero = np.where(value == 0, 1.0, np.where(value > 0, np.inf, 0.0))
    ratio = np.where(bound > 0, positive, np.where(bound < 0, negative, zero))
    return np.where(np.isnan(value) | np.isnan(bound), np.nan, ratio)


def _numbers(cases: pd.DataFrame, column: str) -> FloatArray:
    """Return a column as float64, (n_cases,); a missing one is a bug in the claim and names what is there."""
    if column not in cases.columns:
        if len(cases) == 0:
            return np.empty(0)
        raise KeyError(f"the cases have no column {column!r}; they have {sorted(map(str, cases.columns))}")
    return cases[column].to_numpy(dtype=np.float64, na_value=np.nan)


def _nothing(bound: float, n_cases: int = 0, note: str = "no cases were measured") -> Judgement:
    return Judgement("inconclusive", float("nan"), bound, n_cases, 0, note=note)


def _counted(bad: NDArray[np.bool_], undefined: NDArray[np.bool_], measured: float, bound: float) -> Judgement:
    """Return ``holds`` or ``refuted`` by the number of bad rows."""
    n_undefined = int(undefined.sum())
    note = f"{n_undefined} of {bad.size} cases are NaN" if n_undefined else ""
    verdict: Verdict = "refuted" if bad.any() else "holds"
    return Judgement(verdict, measured, bound, int(bad.size), int(bad.sum()), n_undefined, note)
