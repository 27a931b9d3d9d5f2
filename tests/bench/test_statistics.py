"""Intervals: by hand, and how often they cover."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import stdtrit
from scipy.stats import binom, norm

from rebel_bench.ledger import holm
from rebel_bench.statistics import (
    Interval,
    Sample,
    TwoStage,
    coverage,
    half_width,
    iqm,
    performance_profile,
    stratified_bootstrap,
    t_interval,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_t_interval_by_hand():
    # 1, 2, 3: mean 2, deviation 1, Student quantile with 2 degrees of freedom 4.30265
    found = t_interval([1.0, 2.0, 3.0])
    np.testing.assert_allclose(found, [2, 2 - 4.30265 / 3**0.5, 2 + 4.30265 / 3**0.5], atol=1e-5)
    np.testing.assert_allclose(found.half_width, half_width([1.0, 2.0, 3.0], 0.05))


def test_t_interval_along_an_axis():
    values = rng().standard_normal((4, 3))
    found, turned = t_interval(values, 0.9), t_interval(values.T, 0.9, axis=1)
    np.testing.assert_allclose(found, turned)
    assert isinstance(found, Interval)
    np.testing.assert_allclose([v[1] for v in found], t_interval(values[:, 1], 0.9))


def test_one_value_has_an_endless_interval_and_none_has_no_interval():
    assert t_interval([3.0])[1:] == (-np.inf, np.inf)
    assert half_width(np.zeros((1, 2)), 0.05).tolist() == [np.inf, np.inf]
    with pytest.raises(ValueError, match="no values"):
        t_interval([])


def test_tiny_false_alarms_do_not_round():
    # the normal quantile of 1e-20/2 in one tail is 9.3363: with a million values Student's is close
    sample = np.tile([-1.0, 1.0], 500_000)
    np.testing.assert_allclose(half_width(sample, 1e-20) * 1_000, 9.336, atol=2e-3)


def test_iqm_is_the_mean_of_the_middle_half():
    scores = np.array([[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 1e9]])  # 8 scores: 2 cut from either end
    assert iqm(scores) == (2 + 3 + 4 + 5) / 4
    np.testing.assert_array_equal(iqm(np.stack([scores, -scores])), [3.5, -3.5])
    with pytest.raises(ValueError, match="n_seeds, n_problems"):
        iqm([1.0, 2.0])


def test_the_bootstrap_keeps_problems_apart():
    """Columns that are constant within themselves: whatever is resampled, nothing changes."""
    scores = np.tile([0.0, 10.0, 1000.0], (5, 1))
    found = stratified_bootstrap(scores, lambda s: s.mean(axis=(-2, -1)), rng=rng())
    np.testing.assert_allclose(found, 1010 / 3)


def test_columns_are_resampled_independently():
    """The mean difference of two equal columns varies only if each is resampled by itself."""
    column = rng().standard_normal((20, 1))
    scores = np.repeat(column, 2, axis=1)
    found = stratified_bootstrap(scores, lambda s: s[..., 0].mean(axis=-1) - s[..., 1].mean(axis=-1), rng=rng())
    # the difference's deviation by hand: sqrt(2 * variance/n)
    np.testing.assert_allclose(found.half_width, 1.96 * (20 / 19) ** 0.5 * (2 * column.var() / 20) ** 0.5, rtol=0.1)


def test_the_bootstrap_of_a_vector_is_that_of_its_entries():
    scores = rng().standard_normal((8, 3))
    both = stratified_bootstrap(scores, lambda s: np.stack([iqm(s), s.mean(axis=(-2, -1))], axis=-1), rng=rng(1))
    for i, statistic in enumerate((iqm, lambda s: s.mean(axis=(-2, -1)))):
        alone = stratified_bootstrap(scores, statistic, rng=rng(1))
        np.testing.assert_allclose([v[i] for v in both], alone)


def test_the_bootstrap_follows_its_generator_and_says_what_it_needs():
    scores = rng().standard_normal((5, 2))
    first, second, other = (stratified_bootstrap(scores, rng=rng(seed)) for seed in (1, 1, 2))
    assert first == second != other
    with pytest.raises(ValueError, match="1 seed"):
        stratified_bootstrap(scores[:1], rng=rng())
    with pytest.raises(ValueError, match="expected"):
        stratified_bootstrap(scores[0], rng=rng())


def test_performance_profile_counts_runs_at_or_below():
    found = performance_profile([[1.0, 2.0], [2.0, 3.0]], [0.5, 1.0, 2.0, 3.0], rng=rng())
    assert found.mean.tolist() == [0.0, 0.25, 0.75, 1.0]
    assert (found.low <= found.mean).all()
    assert (found.mean <= found.high).all()
    assert found.low[0] == found.high[0] == 0


# ------------------------------------------------------------------------------------------ how many seeds


def test_two_stages_by_hand():
    # -1, 1: deviation sqrt(2), Student's quantile with 1 degree of freedom at 50% is 1: n = 2/h^2 = 29.6
    rule = TwoStage(2, half_width=0.26, false_alarm=0.5, cap=100)
    assert rule.wanted([-1.0, 1.0]) == 30
    assert [rule.number([-1.0, 1.0], n) for n in (0, 30, 31, 200)] == [30, 30, 31, 200]
    assert replace(rule, cap=10).number([-1.0, 1.0]) == 10
    assert rule.first_only().number([-1.0, 1.0]) == 2
    assert rule.wanted([3.0, 3.0]) == 2  # no spread, no second stage
    assert rule.wanted([math.nan, 1.0]) == 2  # nothing to reckon with: the verdict is about the NaN
    columns = TwoStage(2, half_width=(0.26, 10.0), false_alarm=0.5, cap=100)
    assert columns.wanted([[-1.0, -9.0], [1.0, 9.0]]) == 30  # the column that wants most
    assert columns.wanted([[-0.1, -99.0], [0.1, 99.0]]) == 197  # 196.02


def test_a_sample_by_two_stages_draws_what_is_missing():
    drawn = []

    def draw(n):
        drawn.append(n)
        return np.tile([-1.0, 1.0], n)[:n] + 10 * (len(drawn) - 1)

    sample = TwoStage(2, half_width=0.26, false_alarm=0.5, cap=12).sample(draw)
    assert drawn == [2, 10]
    assert (sample.n_first, sample.wanted, len(sample.values)) == (2, 30, 12)
    mean, low, high = sample.interval(0.5)
    np.testing.assert_allclose([mean, high - mean, mean - low], [100 / 12, *2 * [(2 / 12) ** 0.5]])
    row = sample.columns()
    assert (row["dof"], row["n_seeds"], row["n_wanted"]) == (1, 12, 30)
    np.testing.assert_allclose([row["estimate"], row["standard_error"]], [100 / 12, (2 / 12) ** 0.5])


def test_two_stages_without_a_second_are_a_plain_sample():
    values = rng().standard_normal((7, 3))
    np.testing.assert_allclose(Sample(values, 7, 7).interval(0.9), t_interval(values, 0.9))


@pytest.mark.parametrize(
    ("change", "message"),
    [({"n_first": 1}, "n_first"), ({"cap": 4}, "cap"), ({"half_width": (1.0, 0.0)}, "half_width")],
)
def test_a_rule_says_what_is_wrong_with_it(change, message):
    with pytest.raises(ValueError, match=message):
        TwoStage(**{"n_first": 5, "half_width": 0.1, "false_alarm": 0.05, "cap": 10} | change)
    with pytest.raises(ValueError, match="first stage of 3"):
        TwoStage(5, 0.1, 0.05, 10).wanted([1.0, 2.0, 3.0])


# ------------------------------------------------------------------------------------ how often they cover


def within(share, n, probability):
    """Return whether a share of ``n`` runs is as likely as not: two-sided binomial, false alarm 1e-6."""
    return binom.ppf(5e-7, n, probability) <= round(share * n) <= binom.isf(5e-7, n, probability)


@pytest.mark.parametrize("n_seeds", [3, 10])
def test_per_seed_slopes_cover_and_a_pooled_regression_does_not(n_seeds):
    n = 3_000
    per_seed, pooled = coverage.of_slopes(rng(1), n, n_seeds, n_points=100)
    assert within(per_seed, n, 0.95)
    assert pooled < 0.4  # of 95%: about 0.3


@pytest.mark.parametrize("n_first", [3, 10])
def test_two_stages_cover_at_any_variance(n_first):
    """Normal values: exactly 95%, where the variance wants no, some or much of a second stage."""
    n = 2_000
    for scale in (0.1, 1.0, 3.0):
        rule = TwoStage(n_first, half_width=0.8 / scale, false_alarm=0.05, cap=10**9)
        covered, number = coverage.of_two_stages(rng(2), n, rule)
        assert within(covered, n, 0.95)
        assert (number == n_first) == (scale == 0.1)


def test_the_cap_does_not_spoil_the_coverage():
    n = 2_000
    covered, number = coverage.of_two_stages(rng(3), n, TwoStage(5, 0.2, 0.05, cap=20))
    assert within(covered, n, 0.95)
    assert number < 20


def test_the_interval_is_at_most_as_long_as_wanted():
    for seed in range(200):
        generator = rng(seed)
        rule = TwoStage(5, 0.5, 0.05, cap=10**6)
        found = rule.sample(lambda n, g=generator: g.standard_normal(n)).interval(0.95)
        assert found.half_width <= 0.5 + 1e-12


def test_adding_values_until_the_interval_excludes_the_truth_does():
    assert coverage.of_peeking(rng(4), 4_000) < 0.85


@pytest.mark.parametrize("n_seeds", [10, 32])
def test_the_bootstrap_of_interquartile_means_covers(n_seeds):
    """Within 4 points of 95%, as measured; the binomial's tolerance at 1e-6 comes on top."""
    n = 200
    found = coverage.of_bootstrap(rng(5), n, n_seeds, 4, coverage.normal, n_resamples=300)
    assert binom.ppf(1e-6, n, 0.91) <= found * n <= binom.isf(1e-6, n, 0.98)


def test_the_bootstrap_is_widened_as_stated():
    """Of a mean of one problem: the quantile 1.96 times sqrt(n/(n - 1)) resampled deviations sqrt((n - 1)/n) s."""
    scores = rng(6).standard_normal((10, 1))
    both = [
        stratified_bootstrap(scores, lambda s: s.mean(axis=(-2, -1)), rng=rng(7), widen=w, n_resamples=100_000)
        for w in (True, False)
    ]
    ratio = both[0].half_width / both[1].half_width
    np.testing.assert_allclose(ratio, (10 / 9) ** 0.5, rtol=0.01)
    np.testing.assert_allclose(both[1].half_width, norm.isf(0.025) * scores.std() / 10**0.5, rtol=0.03)


def test_importance_sampling_counts_misses_as_counting_does():
    """chi^2 values at a false alarm that can be counted: runs of the rule itself, at six standard errors."""
    rule = TwoStage(20, half_width=0.8, false_alarm=0.02, cap=60)
    n, generator = 6_000, rng(8)
    covered, _ = coverage.of_two_stages(generator, n, rule, lambda g, shape: g.chisquare(1, shape) - 1)
    found = coverage.misses_of_squares(generator, 100_000, 1, rule)
    error = ((1 - covered) * covered / n) ** 0.5
    assert abs(found * rule.false_alarm - (1 - covered)) < 6 * error


def test_holm_rejects_a_true_hypothesis_no_more_often_than_stated():
    """Sixteen true hypotheses, dependent, and four false ones: at least one true one falls in at most 5% of runs."""
    n, generator, wrong, found = 20_000, rng(9), 0, 0
    shared = generator.standard_normal((n, 1))
    p = norm.sf(0.6 * shared + 0.8 * generator.standard_normal((n, 16)))
    false = norm.sf(4 + generator.standard_normal((n, 4)))
    for row in np.concatenate([p, false], axis=1):
        rejected = holm(row.tolist(), 0.05)
        wrong += any(rejected[:16])
        found += sum(rejected[16:])
    assert wrong <= binom.isf(1e-6, n, 0.05)
    assert found / (4 * n) > 0.8  # and it is not by rejecting nothing


def test_misses_below_are_those_that_are_counted():
    values = np.random.default_rng(0).exponential(size=400)
    values -= values.mean()
    drawn = np.random.default_rng(1).choice(values, size=(200_000, 20))
    t = -stdtrit(19, 0.01 / 2)
    counted = (drawn.mean(axis=1) + t * drawn.std(axis=1, ddof=1) / np.sqrt(20) < 0).mean() / 0.01
    found = coverage.misses_below(np.random.default_rng(2), 40_000, values, 20, 0.01)
    assert counted > 1.5  # a long upper tail makes samples look smaller than they are
    assert found == pytest.approx(counted, rel=0.1)  # standard errors of 2% together: 5 of them
    normal = norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    found = coverage.misses_below(np.random.default_rng(2), 40_000, normal, 120, 1e-4)
    assert found == pytest.approx(0.5, rel=0.15)  # half of the misses are on this side


def test_the_page_states_the_false_alarms_of_the_claims(monkeypatch):
    docs = Path(__file__).parents[2] / "docs"
    monkeypatch.syspath_prepend(str(docs))
    import make_statistics

    assert make_statistics.budget() in (docs / "statistics.md").read_text(encoding="utf-8"), (
        "a claim's rate of false alarms changed: run python docs/make_statistics.py claims"
    )
