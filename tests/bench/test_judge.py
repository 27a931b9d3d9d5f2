"""Verdicts: closed cases, edges, and the coverage of the interval."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from rebel_bench.claim import AtLeast, Equality, Inequality, Rate

NAN, INF = math.nan, math.inf


def table(**columns):
    return pd.DataFrame(columns)


@pytest.mark.parametrize(
    ("errors", "verdict", "violations", "undefined"),
    [
        ([0.0, 1e-9, -1e-8], "holds", 0, 0),  # the tolerance itself is allowed, and signs do not matter
        ([0.0, 1.01e-8], "refuted", 1, 0),
        ([0.0, -1.01e-8], "refuted", 1, 0),
        ([0.0, NAN, 1.0], "refuted", 2, 1),
        ([0.0, INF], "refuted", 1, 0),
        ([], "inconclusive", 0, 0),
    ],
)
def test_equality(errors, verdict, violations, undefined):
    found = Equality(1e-8).judge(table(error=np.array(errors, dtype=float)))
    assert (found.verdict, found.violations, found.undefined) == (verdict, violations, undefined)
    assert found.n_cases == len(errors)
    assert found.bound == 1e-8


def test_equality_measures_the_largest_error():
    assert Equality(1.0, column="gap").judge(table(gap=[0.25, -0.75])).measured == 0.75


@pytest.mark.parametrize(
    ("value", "bound", "verdict", "ratio"),
    [
        (0.5, 1.0, "holds", 0.5),
        (1.0, 1.0, "holds", 1.0),
        (1.0 + 1e-10, 1.0, "holds", 1.0),  # rounding
        (1.0 + 1e-8, 1.0, "refuted", 1.0 + 1e-8),
        (1.1e-10, 1e-10, "refuted", 1.1),  # a bound that has decayed is still tested
        (0.0, 0.0, "holds", 1.0),
        (1e-15, 0.0, "holds", 1.0),
        (1e-3, 0.0, "refuted", INF),
        (-1.0, 0.0, "holds", 0.0),
        (-2.0, -1.0, "holds", 0.5),
        (-0.5, -1.0, "refuted", 2.0),
        (0.5, -1.0, "refuted", INF),
        (3.0, INF, "holds", 0.0),
        (INF, INF, "refuted", None),
        (3.0, -INF, "refuted", None),
        (NAN, 1.0, "refuted", NAN),
        (1.0, NAN, "refuted", NAN),
    ],
)
def test_inequality_row_by_row(value, bound, verdict, ratio):
    found = Inequality().judge(table(value=[value], bound=[bound]))
    assert found.verdict == verdict
    assert found.violations == (verdict == "refuted")
    assert found.undefined == (math.isnan(value) or math.isnan(bound))
    if ratio is not None:
        np.testing.assert_allclose(found.measured, ratio, rtol=1e-12)


def test_inequality_counts_every_violation_and_measures_the_tightest_ratio():
    found = Inequality("gap", "limit").judge(table(gap=[1.0, 4.0, 3.0], limit=[2.0, 2.0, 2.0]))
    assert (found.violations, found.n_cases, found.measured, found.bound) == (2, 3, 2.0, 1.0)


def test_at_least():
    assert AtLeast(0.1).judge(table(value=[0.1, 0.3])).verdict == "holds"
    found = AtLeast(0.1).judge(table(value=[0.05, 0.3, NAN]))
    assert (found.verdict, found.violations, found.undefined) == ("refuted", 2, 1)
    assert AtLeast(0.1).judge(table(value=[0.2, INF])).verdict == "refuted"


@pytest.mark.parametrize("test", [Equality(1.0), Inequality(), AtLeast(0.0), Rate(-1, 0.1)])
def test_no_cases_decide_nothing(test):
    assert test.judge(pd.DataFrame()).verdict == "inconclusive"


def test_a_missing_column_names_those_there_are():
    with pytest.raises(KeyError, match=r"'error'.*'gap'"):
        Equality(1.0).judge(table(gap=[1.0]))
    with pytest.raises(KeyError, match="seed"):
        Rate(-1, 0.1).judge(table(x=[1.0], y=[1.0]))


def power_law(slopes, points=5):
    x = np.geomspace(1, 1000, points)
    rows = [table(seed=i, x=x, y=(2.0 + i) * x**slope) for i, slope in enumerate(slopes)]
    return pd.concat(rows, ignore_index=True)


@pytest.mark.parametrize(
    ("slopes", "verdict", "violations"),
    [
        ([-1.0, -1.0, -1.0], "holds", 0),  # a deterministic family: the interval is a point
        ([-1.09, -1.09], "holds", 0),
        ([-1.11, -1.11], "refuted", 2),
        ([-0.5, -0.5, -0.5], "refuted", 3),
        ([-0.8, -1.2], "inconclusive", 2),  # mean -1, but who can tell
        ([-1.0], "inconclusive", 0),  # one curve has no interval
    ],
)
def test_rate(slopes, verdict, violations):
    found = Rate(-1.0, 0.1).judge(power_law(slopes))
    assert (found.verdict, found.violations) == (verdict, violations)


def test_rate_interval_by_hand():
    # slopes -0.9 and -1.1: mean -1, standard error 0.1, Student quantile with 1 degree of freedom 12.706
    fit = Rate(-1.0, 0.1).fit(power_law([-0.9, -1.1]))
    np.testing.assert_allclose([fit.low, fit.high], [-1 - 1.2706, -1 + 1.2706], atol=1e-4)


@pytest.mark.parametrize("bad", [0.0, -1.0, NAN, INF])
def test_rate_of_what_has_no_logarithm_is_inconclusive(bad):
    cases = power_law([-1.0, -1.0])
    cases.loc[3, "y"] = bad
    found = Rate(-1.0, 0.1).judge(cases)
    assert found.verdict == "inconclusive"
    assert "1 of 10" in found.note


def test_rate_needs_two_abscissae():
    cases = table(seed=[0, 0, 1, 1], x=[3.0, 3.0, 3.0, 3.0], y=[1.0, 2.0, 1.0, 2.0])
    assert "single abscissa" in Rate(-1.0, 0.1).judge(cases).note


def test_the_interval_of_a_rate_covers_as_often_as_it_says():
    """Random walks around a line, whose points are correlated: 95 % of the intervals hold the true slope.

    Misses are Binomial(600, 0.05): mean 30, deviation 5.3. Outside 5 deviations: false alarm below 1e-5.
    """
    rng, n, seeds, misses = np.random.default_rng(1), 600, 6, 0
    log_x = np.linspace(0, 5, 12)
    for _ in range(n):
        noise = 0.1 * rng.standard_normal((seeds, 12)).cumsum(axis=1)
        y = np.exp(-0.5 * log_x + noise)
        cases = table(seed=np.repeat(np.arange(seeds), 12), x=np.tile(np.exp(log_x), seeds), y=y.ravel())
        fit = Rate(-0.5, 0.1).fit(cases)
        misses += not fit.low <= -0.5 <= fit.high
    assert abs(misses - 0.05 * n) < 5 * math.sqrt(n * 0.05 * 0.95)
