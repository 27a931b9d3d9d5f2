"""How a claim's inequality is attacked: which instances there are, and what is measured on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from rebel_bench.adversary.population import Population
from rebel_bench.instance_files import Instance
from rebel_theory.arrays import BoolArray, FloatArray

Parameters: TypeAlias = Mapping[str, FloatArray]
Sides: TypeAlias = tuple[FloatArray, FloatArray]

SLACK, ABSOLUTE = 1e-9, 1e-12  # of the judge's Inequality: what rounding may add to a bound


@dataclass(frozen=True, slots=True)
class Box:
    """An array of numbers to choose, each between ``low`` and ``high``, in multiples of ``step`` if it is not 0."""

    low: float
    high: float
    shape: tuple[int, ...] = ()
    step: float = 0.0

    @property
    def size(self) -> int:
        """How many numbers."""
        return int(np.prod(self.shape))


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One search for a claim.

    Attributes
    ----------
    space
        The instances searched, in words; "n = 10, ..." where a claim has several searches.
    parameters
        The numbers that describe an instance, by name. The search knows nothing about them but their bounds.
    decode
        From arrays (m, *shape) by name to m instances.
    measure
        From instances with one class of policies to the two sides (m,), (m,) of the inequality value <= bound.
    label
        Distinguishes several searches of one claim: part of the file name, such as "n10".
    target
        Where it is known, the ratio that the search must find again.
    budget
        Evaluations by default, over all restarts.
    adjust
        Returns an instance with what the statement derives from the rest, such as a step size, derived again.
    known
        Returns instances that theory says are bad, as arrays (k, *shape) by name: a claim's own traps. No random start
        sees them; one more start has them in its first generation, and is reported apart.
    """

    space: str
    parameters: Mapping[str, Box]
    decode: Callable[[Parameters], Population]
    measure: Callable[[Population], Sides]
    label: str = ""
    target: float | None = None
    budget: int = 6_000
    adjust: Callable[[Instance], Instance] | None = None
    known: Callable[[], Parameters] | None = None

    @property
    def dimension(self) -> int:
        """How many numbers describe an instance."""
        return sum(box.size for box in self.parameters.values())

    @property
    def bounds(self) -> FloatArray:
        """Lower and upper bounds, shape (dimension, 2)."""
        return np.concatenate([np.tile([[box.low, box.high]], (box.size, 1)) for box in self.parameters.values()])

    @property
    def smooth(self) -> BoolArray:
        """Which numbers may take any value within their bounds, shape (dimension,)."""
        return np.concatenate([np.full(box.size, box.step == 0) for box in self.parameters.values()])

    def known_points(self) -> FloatArray:
        """Return the points (k, dimension) of the instances that are known to be bad; none where nothing is known."""
        if self.known is None:
            return np.empty((0, self.dimension))
        arrays = self.known()
        points = np.concatenate([np.reshape(arrays[k], (len(arrays[k]), -1)) for k in self.parameters], axis=-1)
        low, high = self.bounds.T
        if not ((low <= points) & (points <= high)).all():
            raise ValueError(f"a known instance of {self.space!r} lies outside the bounds of the search")
        return points

    def population(self, points: FloatArray) -> Population:
        """Return the instances at ``points``, shape (m, dimension)."""
        arrays, start = {}, 0
        for name, box in self.parameters.items():
            part = points[:, start : start + box.size].reshape(len(points), *box.shape)
            arrays[name] = np.round(part / box.step) * box.step if box.step else part
            start += box.size
        return self.decode(arrays)


def tightest(value: FloatArray, bound: FloatArray, telling: BoolArray | None = None) -> Sides:
    """Return the two sides (m,) at the number of updates where the ratio is largest; both come as (m, T).

    Where ``telling`` (m, T) is given, other places count only if they refute: a bound that has not yet fallen below
    what is known anyway is met with a ratio near 1 by an instance on which nothing has happened.
    """
    ratio = tightness(value, bound)
    if telling is not None:
        value = np.where(telling | ~(ratio <= 1), value, 0.0)
        ratio = tightness(value, bound)
    place = np.arange(len(value)), np.where(np.isnan(ratio), np.inf, ratio).argmax(axis=-1)
    return value[place], bound[place]


def sides(attack: Attack, population: Population) -> Sides:
    """Return value and bound (m,) of every member, in as few runs as there are classes of policies."""
    value, bound = np.empty(len(population)), np.empty(len(population))
    for members in population.groups():
        whole = len(members) == len(population)
        value[members], bound[members] = attack.measure(population if whole else population.take(members))
    return value, bound


def tightness(value: FloatArray, bound: FloatArray) -> FloatArray:
    """Return value/bound (m,), the bound with what rounding may add: above 1 exactly where the inequality is refuted.

    NaN where a side is; an infinite bound is met.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        room = np.where(np.isfinite(bound), bound + SLACK * np.abs(bound) + ABSOLUTE, np.inf)
        found: FloatArray = np.where(np.isposinf(bound), 0.0, value / room)
    return np.where(np.isnan(value) | np.isnan(bound), np.nan, found)
