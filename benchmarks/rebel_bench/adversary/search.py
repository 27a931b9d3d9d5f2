"""The search itself: differential evolution, then steps up from its best point, in turns until the budget is spent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator

from rebel_bench.adversary.attack import Attack, sides, tightness
from rebel_bench.streams import stream
from rebel_theory.arrays import FloatArray

_EVOLUTION = 0.7  # of what is left of a start's budget: the rest goes to steps up from the best point
_PER_DIMENSION, _LEAST, _MOST = 5, 24, 96  # members of a generation
_CONVERGED = 1e-7  # spread of a generation's ratios
_DIFFERENCE = 1e-6  # of a range: the width of differences
_STEPS = 30  # of gradients, before populations get another turn
_WIDTHS, _LOCAL = (0.1, 0.003), 12  # ranges and generations of the populations around the best point
_IMPROVED = 1e-6  # relative: less than this is no step up


@dataclass(frozen=True, eq=False)
class Path:
    """One restart: the best ratio so far after each batch of evaluations."""

    evaluations: tuple[int, ...]
    best: tuple[float, ...]
    point: FloatArray  # (dimension,)

    @property
    def ratio(self) -> float:
        """The largest ratio found."""
        return self.best[-1]


class _Done(Exception):  # noqa: N818 - not an error
    """The budget is spent, or the inequality is refuted."""


@dataclass
class _Evaluator:
    """Count and remember; SciPy sees a function to be minimised."""

    attack: Attack
    budget: int
    tell: Callable[[int, float], None]
    best: float = -np.inf
    point: FloatArray | None = None
    spent: int = 0
    path: list[tuple[int, float]] = field(default_factory=list)

    def many(self, points: FloatArray) -> FloatArray:
        """Return minus the ratios (m,) at ``points`` (dimension, m), SciPy's order."""
        points = np.atleast_2d(points.T)
        if self.spent >= self.budget:
            raise _Done
        points = points[: self.budget - self.spent]
        ratio = tightness(*sides(self.attack, self.attack.population(points)))
        ratio = np.where(np.isfinite(ratio) | np.isposinf(ratio), ratio, -1.0)  # NaN shows nothing
        i = int(ratio.argmax())
        if self.point is None or ratio[i] > self.best:
            self.best, self.point = float(ratio[i]), points[i].copy()
        self.spent += len(points)
        self.path.append((self.spent, self.best))
        self.tell(len(points), self.best)
        if self.best > 1 or self.spent >= self.budget:
            raise _Done
        return -ratio


def _silent(n_evaluations: int, best: float) -> None:
    """Tell nothing."""


def restart(
    attack: Attack,
    name: str,
    number: int,
    budget: int,
    seed: int,
    tell: Callable[[int, float], None] = _silent,
    *,
    known: bool = False,
) -> Path:
    """Return what one start finds, a random one unless ``known`` instances join it; equal arguments, equal path."""
    rng = stream("attack", name, attack.label, number, seed=seed)
    evaluator = _Evaluator(attack, budget, tell)
    try:
        first = attack.known_points() if known else np.empty((0, attack.dimension))
        while True:  # what is left after the last step up goes to a new population
            _evolve(attack, evaluator, rng, int(_EVOLUTION * (budget - evaluator.spent)), first)
            _climb(attack, evaluator, rng)
    except _Done:
        pass
    assert evaluator.point is not None
    evaluations, best = zip(*evaluator.path, strict=True)
    return Path(evaluations, best, evaluator.point)


def _evolve(attack: Attack, evaluator: _Evaluator, rng: Generator, budget: int, first: FloatArray) -> None:
    """Spend at most ``budget`` evaluations on a population over the whole box that ``first`` (k, dimension) joins."""
    size = int(np.clip(_PER_DIMENSION * attack.dimension, _LEAST, _MOST))
    _population(evaluator, attack.bounds, rng, size, budget // size, first)


def _population(
    evaluator: _Evaluator, bounds: FloatArray, rng: Generator, size: int, generations: int, first: FloatArray
) -> None:
    """Run differential evolution within ``bounds`` from a Latin hypercube, a whole generation in one run."""
    from scipy.optimize import differential_evolution

    strata = rng.permuted(np.tile(np.arange(size), (len(bounds), 1)), axis=1).T
    start = bounds[:, 0] + (bounds[:, 1] - bounds[:, 0]) * (strata + rng.random(strata.shape)) / size
    start[: len(first)] = first[: size // 2]
    differential_evolution(
        evaluator.many, bounds, init=start, vectorized=True, updating="deferred", polish=False, seed=rng,
        strategy="best1bin", mutation=(0.4, 0.9), recombination=0.8, tol=0, atol=_CONVERGED,
        maxiter=max(1, generations - 1),
    )  # fmt: skip


def _climb(attack: Attack, evaluator: _Evaluator, rng: Generator) -> None:
    """Go up from the best point by gradients, and by small populations around it where the ratio has kinks."""
    low, high = attack.bounds.T
    while True:
        before = evaluator.best
        _ascend(attack, evaluator)
        for width in _WIDTHS:
            point = evaluator.point
            assert point is not None
            half = np.where(attack.smooth, width, 1e-12) * (high - low) / 2  # what comes in steps stays
            near = np.stack([np.maximum(point - half, low), np.minimum(point + half, high)], axis=-1)
            _population(evaluator, near, rng, _LEAST, _LOCAL, point[None])
        if evaluator.best <= before * (1 + _IMPROVED):
            return


def _ascend(attack: Attack, evaluator: _Evaluator) -> None:
    """Follow central differences, all of a point's in one run (L-BFGS-B); numbers that come in steps stay."""
    from scipy.optimize import minimize

    point = evaluator.point
    assert point is not None
    low, high = attack.bounds[attack.smooth].T

    def slope(unit: FloatArray) -> tuple[float, FloatArray]:
        """Return minus the ratio and its derivatives at ``unit`` (k,), in shares of the ranges."""
        ahead, behind = (np.clip(unit + side * _DIFFERENCE * np.eye(len(unit)), 0, 1) for side in (1, -1))
        units = np.concatenate([unit[None], ahead, behind])
        points = np.tile(point[:, None], (1, len(units)))
        points[attack.smooth] = (low + (high - low) * units).T
        found = evaluator.many(points)
        up, down = np.split(found[1:], 2)
        return float(found[0]), (up - down) / (ahead - behind).diagonal()

    start = np.clip((point[attack.smooth] - low) / (high - low), 0, 1)
    minimize(
        slope, start, jac=True, method="L-BFGS-B", bounds=[(0.0, 1.0)] * len(start),
        options={"ftol": 1e-12, "gtol": 1e-9, "maxiter": _STEPS},
    )  # fmt: skip
