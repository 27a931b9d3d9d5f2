"""Algorithms across problems: performance profiles, interquartile means, mean ranks, chances of being better.

A score is a run's gap over the gap of the first policy, so that problems have one scale and less is better.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.random import Generator

from rebel_bench.statistics import Interval, iqm, performance_profile, stratified_bootstrap
from rebel_theory.arrays import FloatArray

ROUNDING = 1e-12  # of the first gap: smaller shares are 0
_DIGITS = 8  # after the first
_THRESHOLDS = 200
_LEAST = 1e-6  # the smallest share of the first gap that a profile shows


def tables(runs: pd.DataFrame, results: pd.DataFrame, rng: Generator) -> dict[str, pd.DataFrame]:
    """Return ``profiles``, ``ranking`` and ``improvement`` of the runs (problem, algorithm, seed, gap)."""
    names = list(dict.fromkeys(runs["algorithm"]))
    values = scores(runs, results)
    return {
        "profiles": _profiles(values, names, rng),
        "ranking": _ranking(values, names, rng),
        "improvement": _improvement(values, names, rng),
    }


def scores(runs: pd.DataFrame, results: pd.DataFrame) -> FloatArray:
    """Return gap / first gap, shape (n_seeds, n_problems, n_algorithms); a run that overflowed is infinite.

    What rounding alone tells apart is tied: shares below 1e-12 are 0, others count to nine digits.
    """
    problems, names = (list(dict.fromkeys(runs[column])) for column in ("problem", "algorithm"))
    first = results.groupby("problem")["first_gap"].first()
    table = runs.pivot(index="seed", columns=["problem", "algorithm"], values="gap")
    columns = [[table[p, name].to_numpy() / first[p] for name in names] for p in problems]
    found = np.moveaxis(np.array(columns), -1, 0)
    found = np.where(np.isnan(found), np.inf, found)
    unit = 10.0 ** (np.floor(np.log10(np.clip(found, ROUNDING, 1.0))) - _DIGITS)
    return np.where(found < ROUNDING, 0.0, np.round(found / unit) * unit)


def _profiles(values: FloatArray, names: list[str], rng: Generator) -> pd.DataFrame:
    finite = values[np.isfinite(values)]
    low, high = max(float(finite.min(initial=1.0)), _LEAST), max(float(finite.max(initial=1.0)), 1.0)
    thresholds = np.geomspace(min(low, 0.5) / 1.1, high, _THRESHOLDS)
    frames = []
    for k, name in enumerate(names):
        share, below, above = performance_profile(values[..., k], thresholds, rng=rng)
        frames.append(
            pd.DataFrame({"algorithm": name, "threshold": thresholds, "share": share, "low": below, "high": above})
        )
    return pd.concat(frames, ignore_index=True)


def _ranking(values: FloatArray, names: list[str], rng: Generator) -> pd.DataFrame:
    """Return interquartile means and mean ranks with 95% intervals, the best mean rank first."""
    shape = values.shape[1:]
    middle = np.array([stratified_bootstrap(values[..., k], iqm, rng=rng) for k in range(len(names))])
    rank = stratified_bootstrap(values.reshape(len(values), -1), _taken_apart(mean_ranks, shape), rng=rng)
    table = pd.DataFrame(
        {
            "algorithm": names,
            "iqm": middle[:, 0], "iqm_low": middle[:, 1], "iqm_high": middle[:, 2],
            "rank": rank.mean, "rank_low": rank.low, "rank_high": rank.high,
        }
    )  # fmt: skip
    return table.sort_values("rank", kind="stable", ignore_index=True)


def _improvement(values: FloatArray, names: list[str], rng: Generator) -> pd.DataFrame:
    """Return for every two algorithms the chance that a run of the first has the smaller gap, mean over problems."""
    pairs = list(combinations(range(len(names)), 2))
    found = Interval(*np.zeros((3, 0)))
    if pairs:
        statistic = _taken_apart(chances, values.shape[1:])
        found = stratified_bootstrap(values.reshape(len(values), -1), statistic, rng=rng)
    first, second = ([names[pair[i]] for pair in pairs] for i in (0, 1))
    return pd.DataFrame(
        {"algorithm": first, "than": second, "probability": found.mean, "low": found.low, "high": found.high}
    )


def _taken_apart(
    statistic: Callable[[FloatArray], FloatArray], shape: tuple[int, ...]
) -> Callable[[FloatArray], FloatArray]:
    """Return the statistic of scores (..., n_seeds, n_problems * n_algorithms)."""
    return lambda flat: statistic(flat.reshape(*flat.shape[:-1], *shape))


def mean_ranks(values: FloatArray) -> FloatArray:
    """Return the rank (..., n_algorithms) of mean scores within a problem, 1 the best, averaged over problems.

    >>> mean_ranks(np.array([[[0.1, 0.2], [0.5, 0.5]]])).tolist()  # one seed, two problems, two algorithms; a tie
    [1.25, 1.75]
    """
    from scipy.stats import rankdata

    return np.asarray(rankdata(values.mean(axis=-3), axis=-1).mean(axis=-2))


def chances(values: FloatArray) -> FloatArray:
    """Return P(X < Y) + P(X = Y)/2 (..., n_pairs) for two runs of one problem, averaged over problems.

    >>> chances(np.array([[[0.1, 0.2]], [[0.3, 0.2]]])).tolist()  # two seeds, one problem: 0.1 < 0.2 < 0.3
    [0.5]
    """
    found = []
    for x, y in combinations(range(values.shape[-1]), 2):
        mine, theirs = values[..., :, None, :, x], values[..., None, :, :, y]  # (..., n, 1, P), (..., 1, n, P)
        found.append(((mine < theirs) + 0.5 * (mine == theirs)).mean(axis=(-3, -2, -1)))
    return np.stack(found, axis=-1)
