"""Checks of the numbers that constructors take: counts, intervals, seeds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import Generator

from rebel_theory.problems.base import Checks


def whole(checks: Checks, name: str, value: Any, *, at_least: int = 1, at_most: int | None = None) -> int:
    """Return ``value`` as an int; record anything but a whole number in the range."""
    upper = "" if at_most is None else f" and at most {at_most}"
    try:
        number = int(value)
        good = number == value and number >= at_least and (at_most is None or number <= at_most)
    except (TypeError, ValueError, OverflowError):
        number, good = at_least, False
    checks.require(bool(good), f"{name} is {value!r}, expected a whole number of at least {at_least}{upper}")
    return number if good else at_least


def within(checks: Checks, name: str, value: Any, interval: str, *, why: str = "") -> float:
    """Return ``value`` as a float; record anything outside ``interval``, such as ``"[0, 1)"``."""
    low, high = (float(bound) for bound in interval[1:-1].split(","))
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    good = (number >= low if interval[0] == "[" else number > low) and (
        number <= high if interval[-1] == "]" else number < high
    )
    checks.require(good, f"{name} is {value!r}, expected a number in {interval}{': ' + why if why else ''}")
    return number if good else low


def generator(checks: Checks, seed: Any) -> Generator:
    """Return ``default_rng(seed)``; record anything but a whole number >= 0."""
    return np.random.default_rng(whole(checks, "seed", seed, at_least=0))


def batch(checks: Checks, n_instances: int | None) -> tuple[int, ...]:
    """Return the leading axes of a batch: () for a single instance."""
    return () if n_instances is None else (whole(checks, "n_instances", n_instances),)
