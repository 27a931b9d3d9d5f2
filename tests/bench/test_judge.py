"""Verdicts: closed cases, edges, and the coverage of the interval."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student

from rebel_bench.claim import AtLeast, Equality, Estimates, Inequality, Rate, TwoStage

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


@pytest.mark.parametrize("test", [Equality(1.0), Inequality(), AtLeast(0.0), Rate(-1, 0.1), Estimates(0.01)])
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


def test_the_p_value_of_a_rate_by_hand():
    # slopes -0.9 and -1.1: mean -1, standard error 0.1, one degree of freedom (a Cauchy law)
    def p(expected, margin):
        return Rate(expected, margin).judge(power_law([-0.9, -1.1])).p_value

    np.testing.assert_allclose(p(-0.8, 0.1), 0.5, rtol=1e-9)  # one standard error from the edge: 2 x 1/4
    np.testing.assert_allclose(p(-1.2, 0.1), 0.5, rtol=1e-9)
    assert p(-1.0, 0.1) == 1
    assert Rate(-1.0, 0.1).judge(power_law([-0.5, -0.5])).p_value < 1e-12


@pytest.mark.parametrize("rule", [None, TwoStage(3, 0.1, 0.01, 100)])
def test_a_rate_is_refuted_just_where_its_p_value_is_below_the_stated_rate(rule):
    rng, seen = np.random.default_rng(0), set()
    for centre in np.linspace(-1, -0.2, 60):
        cases = power_law(centre + 0.05 * rng.standard_normal(6))
        test = Rate(-1.0, 0.1, rule=rule)
        found = test.judge(cases)
        assert (found.verdict == "refuted") == (found.p_value < test.false_alarm)
        seen.add(found.verdict)
    assert {"holds", "refuted"} <= seen


def test_a_rate_by_rule_has_the_interval_of_stein():
    # a first stage of two slopes, -0.9 and -1.1 (deviation 0.1 sqrt 2); two more that have no say in the deviation
    test = Rate(-1.0, 0.1, rule=TwoStage(2, half_width=0.05, false_alarm=0.5, cap=100))
    fit = test.fit(power_law([-0.9, -1.1, -1.0, -1.0]))
    half = student.ppf(0.75, 1) * 0.1 * 2**0.5 / 4**0.5
    np.testing.assert_allclose([fit.slope, fit.low, fit.high], [-1, -1 - half, -1 + half], rtol=1e-9)
    assert fit.wanted == math.ceil((0.1 * 2**0.5 / 0.05) ** 2) == 9
    found = test.judge(power_law([-0.9, -1.1, -1.0, -1.0]))
    assert (found.verdict, "wants 9, more than" in found.note) == ("inconclusive", True)
    assert test.judge(power_law([-0.9, -1.1, *7 * [-1.0]])).verdict == "holds"
    assert test.judge(power_law([-0.3, -0.5, -0.4])).verdict == "refuted"  # short of groups, and far outside


def test_a_rate_collects_what_its_rule_wants():
    drawn = []

    def draw(n):
        drawn.append(n)
        slopes = [-0.9, -1.1] if len(drawn) == 1 else [-1.0] * n
        return power_law(slopes).assign(seed=lambda t: t["seed"] + 100 * len(drawn))

    test = Rate(-1.0, 0.1, rule=TwoStage(2, half_width=0.05, false_alarm=0.5, cap=100))
    assert test.judge(test.collect(draw)).verdict == "holds"
    assert drawn == [2, 7]
    drawn.clear()
    assert test.collect(draw, at_least=20)["seed"].nunique() == 20
    drawn.clear()
    short = Rate(-1.0, 0.1, rule=TwoStage(2, half_width=0.05, false_alarm=0.5, cap=4))
    assert short.judge(short.collect(draw)).verdict == "inconclusive"
    assert drawn == [2, 2]


def estimates(**columns):
    fixed = {"estimate": [0.0], "standard_error": [1.0], "dof": [10.0], "at_least": [0.0], "at_most": [0.0]}
    return table(**(fixed | columns))


# Student's quantile with 10 degrees of freedom: 2.228 at 5%
@pytest.mark.parametrize(
    ("columns", "verdict"),
    [
        ({"resolution": [2.3]}, "holds"),
        ({"resolution": [2.2]}, "inconclusive"),  # the interval is longer than what it should tell apart
        ({"estimate": [1.0], "resolution": [3.3]}, "holds"),
        ({"estimate": [1.0], "resolution": [3.2]}, "inconclusive"),
        ({"estimate": [-1.0], "resolution": [3.2]}, "inconclusive"),
        ({"estimate": [2.2], "resolution": [9.0]}, "holds"),
        ({"estimate": [2.3], "resolution": [9.0]}, "refuted"),
        ({"estimate": [-2.3], "resolution": [9.0]}, "refuted"),
        ({"estimate": [-2.3], "at_least": [-INF]}, "holds"),  # one-sided, no resolution needed
        ({"estimate": [-2.2], "at_least": [-INF]}, "inconclusive"),
        ({"estimate": [2.3], "at_least": [-INF]}, "refuted"),
        ({"estimate": [NAN], "resolution": [9.0]}, "refuted"),
        ({"standard_error": [NAN], "resolution": [9.0]}, "refuted"),
        ({"estimate": [INF], "resolution": [9.0]}, "refuted"),
        ({"standard_error": [0.0]}, "holds"),  # a fact
        ({"standard_error": [0.0], "estimate": [1e-9], "at_most": [1e-10]}, "refuted"),
        ({"resolution": [9.0], "n_seeds": [10], "n_wanted": [11]}, "inconclusive"),
        ({"resolution": [9.0], "n_seeds": [11], "n_wanted": [11]}, "holds"),
        ({"estimate": [2.3], "n_seeds": [10], "n_wanted": [11]}, "refuted"),
    ],
)
def test_estimates_row_by_row(columns, verdict):
    found = Estimates(0.05).judge(estimates(**columns))
    assert found.verdict == verdict
    assert found.violations == (verdict == "refuted")
    assert found.undefined == ("estimate" in columns and math.isnan(columns["estimate"][0])) + (
        "standard_error" in columns and math.isnan(columns["standard_error"][0])
    )


def test_estimates_share_their_false_alarm():
    """Two noisy rows and a fact: each noisy one at half the level, again at a tenth of it with an allowance of 10."""
    cases = estimates(estimate=[0.0, 3.0, 0.0], standard_error=[1.0, 1.0, 0.0], dof=[10.0, 5.0, 1.0],
                      at_least=[0.0] * 3, at_most=[0.0] * 3)  # fmt: skip
    for test, level in ((Estimates(0.05), 0.025), (Estimates(0.05, allowance=10), 0.0025)):
        np.testing.assert_allclose(test.half_widths(cases)[:2], student.isf(level / 2, [10, 5]))
        assert test.half_widths(cases)[2] == 0
        found = test.judge(cases)
        np.testing.assert_allclose(found.p_value, 0.05 / level * student.sf(3, 5) * 2)
        np.testing.assert_allclose(found.measured, 3 / student.isf(level / 2, 5))


def test_estimates_are_refuted_just_where_their_p_value_is_below_the_stated_rate():
    rng, seen = np.random.default_rng(0), set()
    for centre in np.linspace(0, 6, 200):
        cases = estimates(estimate=centre + rng.standard_normal(3), standard_error=[1.0] * 3, dof=[10.0, 20.0, 30.0],
                          at_least=[-1.0] * 3, at_most=[1.0] * 3)  # fmt: skip
        found = Estimates(0.01).judge(cases)
        assert (found.verdict == "refuted") == (found.p_value < 0.01)
        seen.add(found.verdict)
    assert seen == {"inconclusive", "refuted"}


def test_estimates_refuted_by_nan_alone_leave_a_control_inconclusive():
    found = Estimates(0.05).judge(estimates(estimate=[NAN]))
    assert found.violations == found.undefined == 1
