"""The search itself: differential evolution from random starts, then a simplex, within a budget of evaluations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator

from rebel_bench.adversary.attack import Attack, sides, tightness
from rebel_bench.streams import stream
from rebel_theory.arrays import FloatArray

_POLISH = 0.15  # share of a restart's budget that the simplex gets
_PER_DIMENSION, _LEAST, _MOST = 5, 24, 96  # members of a generation


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

    def one(self, point: FloatArray) -> float:
        """Return minus the ratio at one point."""
        return float(self.many(point[:, None])[0])


def _silent(n_evaluations: int, best: float) -> None:
    """Tell nothing."""


def restart(
    attack: Attack,
    name: str,
    number: int,
    budget: int,
    seed: int,
    tell: Callable[[int, float], None] = _silent,
) -> Path:
    """Return what one random start finds; equal arguments, equal path."""
    rng = stream("attack", name, attack.label, number, seed=seed)
    evaluator = _Evaluator(attack, budget, tell)
    try:
        _evolve(attack, evaluator, rng, int(budget * (1 - _POLISH)))
        _polish(attack, evaluator)
    except _Done:
        pass
    assert evaluator.point is not None
    evaluations, best = zip(*evaluator.path, strict=True)
    return Path(evaluations, best, evaluator.point)


def _evolve(attack: Attack, evaluator: _Evaluator, rng: Generator, budget: int) -> None:
    """Spend ``budget`` evaluations on differential evolution, a whole generation in one run."""
    from scipy.optimize import differential_evolution

    bounds = attack.bounds
    size = int(np.clip(_PER_DIMENSION * attack.dimension, _LEAST, _MOST))
    start = bounds[:, 0] + (bounds[:, 1] - bounds[:, 0]) * rng.random((size, attack.dimension))
    differential_evolution(
        evaluator.many, bounds, init=start, vectorized=True, updating="deferred", polish=False, seed=rng,
        strategy="best1bin", mutation=(0.4, 0.9), recombination=0.8, tol=0, atol=0,
        maxiter=max(1, budget // size - 1),
    )  # fmt: skip


def _polish(attack: Attack, evaluator: _Evaluator) -> None:
    """Spend what is left on the simplex of Nelder and Mead, from the best point."""
    from scipy.optimize import minimize

    assert evaluator.point is not None
    while True:  # a simplex that has collapsed starts again from where it ended
        start = evaluator.best
        minimize(
            evaluator.one, evaluator.point, method="Nelder-Mead", bounds=attack.bounds,
            options={"maxfev": evaluator.budget, "adaptive": True, "xatol": 1e-10, "fatol": 1e-12},
        )  # fmt: skip
        if evaluator.best <= start * (1 + 1e-6):
            return
