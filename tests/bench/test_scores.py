"""Profiles, ranks and chances: closed forms, ties, and intervals that cover."""

import numpy as np
import pandas as pd
import pytest

from rebel_bench.comparison import scores


def runs(gaps):
    """Return the long table of gaps (n_seeds, n_problems, n_algorithms), and first gaps of 2."""
    rows = [
        {"problem": f"p{p}", "algorithm": f"a{a}", "seed": i, "gap": gaps[i, p, a]}
        for i, p, a in np.ndindex(gaps.shape)
    ]
    return pd.DataFrame(rows), pd.DataFrame({"problem": [f"p{p}" for p in range(gaps.shape[1])], "first_gap": 2.0})


def test_scores_are_shares_of_the_first_gap_in_the_order_of_the_table():
    gaps = np.arange(1.0, 13.0).reshape(2, 3, 2)
    np.testing.assert_allclose(scores.scores(*runs(gaps)), gaps / 2, rtol=1e-8)


def test_what_rounding_tells_apart_is_tied_and_an_overflow_is_last():
    gaps = np.array([[[1e-13, 3e-250, 0.3, 0.3 * (1 + 1e-13), np.nan]]])
    found = scores.scores(*runs(gaps))[0, 0]
    assert found[0] == found[1] == 0
    assert found[2] == found[3]
    assert found[4] == np.inf
    ranks = scores.mean_ranks(scores.scores(*runs(gaps)))
    assert ranks.tolist() == [1.5, 1.5, 3.5, 3.5, 5.0]


def test_chances_are_counts_of_pairs():
    x, y = np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.5, 0.5])
    values = np.stack([x, y], axis=-1)[:, None, :]
    expected = np.mean([(a < b) + 0.5 * (a == b) for a in x for b in y])
    assert scores.chances(values) == pytest.approx(expected)
    twice = np.concatenate([values, values[..., ::-1]], axis=1)  # a problem where the two are exchanged
    assert scores.chances(twice) == pytest.approx(0.5)


def test_a_clear_order_has_sharp_intervals_and_equal_algorithms_wide_ones():
    rng = np.random.default_rng(0)
    gaps = 1 + 0.02 * rng.standard_normal((16, 3, 3))
    gaps[..., 2] -= 0.9  # far below: better on every problem, in every resample
    found = scores.tables(*runs(gaps), np.random.default_rng(1))
    ranking = found["ranking"].set_index("algorithm")
    assert found["ranking"]["algorithm"].iloc[0] == "a2"
    assert (ranking.loc["a2", ["rank", "rank_low", "rank_high"]] == 1.0).all()
    for name in ("a0", "a1"):
        assert ranking.loc[name, "rank_low"] < ranking.loc[name, "rank_high"]
        assert ranking.loc[name, "iqm_low"] < 0.5 < ranking.loc[name, "iqm_high"]
    better = found["improvement"].set_index(["algorithm", "than"])
    assert better.loc[("a0", "a2"), "probability"] == 0
    assert better.loc[("a0", "a1"), "low"] < 0.5 < better.loc[("a0", "a1"), "high"]
    profile = found["profiles"][found["profiles"]["algorithm"] == "a2"]
    assert profile["share"].iloc[0] == 0
    assert profile["share"].iloc[-1] == 1
    assert ((profile["low"] <= profile["share"]) & (profile["share"] <= profile["high"])).all()


def test_the_interval_of_the_chance_covers():
    """200 draws of two equal laws: a 95% interval misses 1/2 in at most 40 of them, but for 1 draw in 10^13."""
    rng = np.random.default_rng(0)
    missed = 0
    for _ in range(200):
        table = scores._improvement(rng.standard_normal((12, 2, 2)), ["a", "b"], rng)
        missed += not table["low"].iloc[0] <= 0.5 <= table["high"].iloc[0]
    assert missed <= 40


def test_one_algorithm_has_a_profile_and_no_opponent():
    found = scores.tables(*runs(np.full((3, 2, 1), 0.5)), np.random.default_rng(0))
    assert found["ranking"]["rank"].tolist() == [1.0]
    assert found["improvement"].empty
