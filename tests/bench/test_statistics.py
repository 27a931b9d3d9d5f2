"""Intervals: by hand, and how often they cover."""

from __future__ import annotations

import numpy as np
import pytest

from rebel_bench.statistics import Interval, half_width, iqm, performance_profile, stratified_bootstrap, t_interval


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
