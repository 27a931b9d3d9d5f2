"""How often the intervals of this package hold the truth, by simulation; docs/statistics.md shows it.

Every function returns shares of simulated runs. A share p of n runs has standard error sqrt(p (1 - p)/n).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.random import Generator

from rebel_bench.statistics.bootstrap import iqm, stratified_bootstrap
from rebel_bench.statistics.two_stage import TwoStage
from rebel_theory.arrays import FloatArray
from rebel_theory.theory.intervals import half_width, t_interval

Law: TypeAlias = Callable[[Generator, tuple[int, ...]], FloatArray]


def normal(rng: Generator, shape: tuple[int, ...]) -> FloatArray:
    """Return normal values of mean 0 and variance 1."""
    return rng.standard_normal(shape)


def log_normal(rng: Generator, shape: tuple[int, ...]) -> FloatArray:
    """Return exp(standard normal) - sqrt(e): mean 0, deviation 2.16, skewness 6.2."""
    return np.asarray(np.exp(rng.standard_normal(shape)) - np.exp(0.5))


def of_slopes(rng: Generator, n_runs: int, n_seeds: int, n_points: int = 12) -> tuple[float, float]:
    """Return the coverage of 95% intervals of a log-log slope: over per-seed slopes, and of one pooled regression.

    Each seed's curve is a line and a random walk: neighbouring points share most of their noise.
    """
    x = np.linspace(-1, 1, n_points)
    y = rng.standard_normal((n_runs, n_seeds, n_points)).cumsum(axis=-1)  # true slope 0
    slopes = (y - y.mean(axis=-1, keepdims=True)) @ x / (x @ x)  # (n_runs, n_seeds)
    per_seed = t_interval(slopes, axis=1)
    n = n_seeds * n_points
    centred = y - y.mean(axis=(1, 2), keepdims=True)
    slope = (centred @ x).sum(axis=1) / (n_seeds * (x @ x))
    residual = ((centred - slope[:, None, None] * x) ** 2).sum(axis=(1, 2)) / (n - 2)
    # 1.96: more than a hundred residuals
    pooled = np.abs(slope) <= 1.96 * np.sqrt(residual / (n_seeds * (x @ x)))
    return float(((per_seed.low <= 0) & (per_seed.high >= 0)).mean()), float(pooled.mean())


def of_two_stages(rng: Generator, n_runs: int, rule: TwoStage, law: Law = normal) -> tuple[float, float]:
    """Return the coverage of Stein's interval for the mean of a law with mean 0, and the average number of values."""
    covered, number = 0, 0
    for _ in range(n_runs):
        sample = rule.sample(lambda n: law(rng, (n,)))
        _, low, high = sample.interval(1 - rule.false_alarm)
        covered += bool(low <= 0 <= high)
        number += len(sample.values)
    return covered / n_runs, number / n_runs


def of_peeking(rng: Generator, n_runs: int, looks: tuple[int, ...] = tuple(range(10, 101, 10))) -> float:
    """Return the coverage if values are added until a 95% interval misses 0, or to the last look: luck as a rule."""
    values = rng.standard_normal((n_runs, looks[-1]))
    covered = np.ones(n_runs, dtype=bool)
    for n in looks:
        part = values[:, :n]
        covered &= np.abs(part.mean(axis=1)) <= half_width(part, 0.05, axis=1)
    return float(covered.mean())


def of_bootstrap(
    rng: Generator, n_runs: int, n_seeds: int, n_problems: int, law: Law, *, widen: bool = True, n_resamples: int = 600
) -> float:
    """Return the coverage of the 95% stratified bootstrap interval of the interquartile mean.

    Problems differ in place and scale, so that strata matter; the truth is the statistic of 10^5 seeds.
    """
    scale = 1 + np.arange(n_problems) / n_problems

    def scores(n: int, generator: Generator) -> FloatArray:
        return scale * law(generator, (n, n_problems)) + scale

    truth = float(iqm(scores(100_000, np.random.default_rng(0))))
    covered = 0
    for _ in range(n_runs):
        found = stratified_bootstrap(scores(n_seeds, rng), rng=rng, widen=widen, n_resamples=n_resamples)
        covered += bool(found.low <= truth <= found.high)
    return covered / n_runs


def misses_of_squares(rng: Generator, n_runs: int, dof: int, rule: TwoStage) -> float:
    """Return how often Stein's interval misses the mean of chi^2/dof, as a multiple of ``rule.false_alarm``.

    By importance sampling, since the rates of claims are far too small to count: values are drawn with a mean of mu
    in place of 1, where a miss is common, and weighed by the ratio of the two densities. The number of values depends
    on those drawn only, which leaves the weights unbiased.
    """
    from scipy.special import stdtrit

    shape = dof / 2  # of a gamma law with mean 1, deviation 1/sqrt(shape)
    t = -stdtrit(rule.n_first - 1, rule.false_alarm / 2)
    total = 0.0
    for side in (-1, 1):
        # with mu in place of 1 the deviation is mu/sqrt(shape): a miss where |mu - 1| sqrt(n) = t mu/sqrt(shape)
        half = t / np.sqrt(shape)
        typical = min(max((half / np.max(rule.half_width)) ** 2, rule.n_first), rule.cap)
        mu = 1 / (1 - side * half / np.sqrt(typical))
        first = mu * rng.standard_gamma(shape, (n_runs, rule.n_first)) / shape
        deviation = first.std(axis=1, ddof=1)
        n = np.clip(np.ceil((t * deviation / np.max(rule.half_width)) ** 2), rule.n_first, rule.cap)
        rest = np.where(n > rule.n_first, rng.standard_gamma(np.maximum(shape * (n - rule.n_first), 1e-9)), 0.0)
        sums = first.sum(axis=1) + mu * rest / shape
        missed = side * (sums / n - 1) > t * deviation / np.sqrt(n)
        total += float(np.mean(missed * np.exp(shape * (n * np.log(mu) - sums * (1 - 1 / mu)))))
    return total / rule.false_alarm


def misses_below(rng: Generator, n_runs: int, values: FloatArray, n: int, false_alarm: float) -> float:
    """Return how often Student's interval of ``n`` values lies wholly below their mean 0, over ``false_alarm``.

    The values are drawn from the list ``values``. By importance sampling: drawn with weights exp(-s v), which make a
    miss common, and weighed back; s is such that the mean is as far below 0 as a miss needs with the deviation that
    the tilted values have.
    """
    from scipy.optimize import brentq
    from scipy.special import stdtrit

    t, unit = -stdtrit(n - 1, false_alarm / 2), values / values.std()

    def tilted(s: float) -> tuple[FloatArray, float]:
        weight = np.exp(-s * unit)
        return weight / weight.sum(), float(np.log(weight.mean()))

    def short(s: float) -> float:
        p, _ = tilted(s)
        mean = float(p @ unit)
        return float(mean * np.sqrt(n) + t * np.sqrt(p @ (unit - mean) ** 2))

    s = float(brentq(short, 0.0, 20.0))
    p, scale = tilted(s)
    drawn = rng.choice(unit, size=(n_runs, n), p=p)
    missed = drawn.mean(axis=1) * np.sqrt(n) < -t * drawn.std(axis=1, ddof=1)
    return float(np.mean(missed * np.exp(n * scale + s * drawn.sum(axis=1)))) / false_alarm
