"""Make a counterexample small: fewer updates, actions, states and features, rounder numbers, while it stays one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from rebel_bench.adversary.attack import Attack, sides, tightness
from rebel_bench.adversary.population import Population
from rebel_bench.errors import UserError
from rebel_bench.instance_files import Instance, as_lists, as_object, from_object
from rebel_bench.instance_schema import numbers
from rebel_theory.arrays import FloatArray

# the axes of every array of an instance: states, actions, features of the policy; next states are s, too
_AXES = {
    "reward": "sa", "transition": "sas", "context_dist": "s", "initial_dist": "s", "preference": "saa",
    "measures": "-s", "logits": "sa", "features": "sad", "theta": "d", "base": "sa", "reference": "sa",
}  # fmt: skip
_DISTRIBUTIONS = ("transition", "context_dist", "initial_dist", "base", "reference")
_DIGITS = (1, 2, 3, 4, 6)
_KEPT = 0.1  # share of the excess over 1 that a smaller instance must keep, at most 0.01
_MOST = 2_000  # evaluations


def measured(attack: Attack, instance: Instance) -> float:
    """Return the ratio of one instance, as the search counts it; NaN if a side is."""
    return float(tightness(*sides(attack, Population.of(instance)))[0])


def shrink(attack: Attack, instance: Instance, tell: Callable[[], None] = lambda: None) -> Instance:
    """Return a smaller instance whose ratio is still above 1, by trying one simplification after the other.

    Greedy, in passes until none helps: half the updates, one fewer; each action, state and feature left out; the
    numbers of each array rounded to few digits.
    """
    least = 1 + min(_KEPT * (measured(attack, instance) - 1), 0.01)
    spent = 0
    while True:
        for smaller in _smaller(instance):
            if attack.adjust is not None:
                smaller = attack.adjust(smaller)
                if as_object(smaller) == as_object(instance):
                    continue  # what is derived cannot be rounded
            spent += 1
            tell()
            if spent > _MOST:
                return instance
            if _still(attack, smaller, least):
                instance = smaller
                break
        else:
            return instance


def _still(attack: Attack, instance: Instance, least: float) -> bool:
    try:
        return measured(attack, instance) > least
    except (ValueError, ArithmeticError, AssertionError, np.linalg.LinAlgError):
        return False  # what the claim does not speak of is no smaller counterexample


def _smaller(instance: Instance) -> Iterator[Instance]:
    """Yield simplifications, those that remove most first."""
    t = instance.n_iterations
    for fewer in dict.fromkeys((t // 2, t - 1)):
        if fewer >= 1:
            yield replace(instance, n_iterations=fewer)
    arrays = _arrays(as_object(instance))
    for axis, least in (("a", 2), ("s", 1), ("d", 1)):
        sizes = [a.shape[k] for place, a in arrays.items() for k in _where(place, a, axis)]
        for i in range(max(sizes, default=0) if min(sizes, default=0) > least else 0):
            yield from _with(instance, {place: _without(place, a, axis, i) for place, a in arrays.items()})
    for place, array in arrays.items():
        for digits in _DIGITS:
            rounded = _rounded(place, array, digits)
            if np.allclose(rounded, array, rtol=1e-13, atol=0):
                break  # as round as that already
            yield from _with(instance, {place: rounded})
    for digits in _DIGITS:
        eta = float(f"{instance.step_size:.{digits - 1}e}")
        if eta == instance.step_size:
            break
        yield replace(instance, step_size=eta)


def _arrays(plain: dict[str, Any]) -> dict[tuple[str, ...], FloatArray]:
    """Return the arrays of an instance file by their place."""
    places: list[tuple[str, ...]] = [
        (part, name) for part in ("problem", "policy") for name in plain[part] if name in _AXES
    ]
    if plain["problem"]["kind"] == "linear-mdp":
        places.remove(("problem", "features"))  # its d is another
    found: dict[tuple[str, ...], FloatArray] = {place: numbers(plain[place[0]][place[1]]) for place in places}
    algorithm = plain["algorithm"]
    for place, value in ((("algorithm", "base"), algorithm["base"]), *(
        (("algorithm", "options", name), value) for name, value in algorithm["options"].items() if name in _AXES
    )):  # fmt: skip
        if isinstance(value, list):
            found[place] = numbers(value)
    return found


def _where(place: tuple[str, ...], array: FloatArray, axis: str) -> list[int]:
    """Return the axes of ``array`` that count states, actions or features, from the end: steps may come first."""
    axes = _AXES[place[-1]]
    return [k - len(axes) for k, name in enumerate(axes) if name == axis and len(axes) - k <= array.ndim]


def _without(place: tuple[str, ...], array: FloatArray, axis: str, i: int) -> FloatArray:
    for k in _where(place, array, axis):
        array = np.delete(array, i, axis=k)
    return _normalised(place, array)


def _rounded(place: tuple[str, ...], array: FloatArray, digits: int) -> FloatArray:
    """Return the array to ``digits`` digits of its largest number, distributions normalised again."""
    finite = np.abs(array[np.isfinite(array)])
    largest = float(finite.max(initial=0.0))
    decimals = digits - 1 - int(np.floor(np.log10(largest))) if largest > 0 else 0
    return _normalised(place, np.round(array, decimals))


def _normalised(place: tuple[str, ...], array: FloatArray) -> FloatArray:
    if place[-1] not in _DISTRIBUTIONS:
        return array
    with np.errstate(invalid="ignore", divide="ignore"):
        result: FloatArray = array / array.sum(axis=-1, keepdims=True)
    return result


def _with(instance: Instance, arrays: dict[tuple[str, ...], FloatArray]) -> Iterator[Instance]:
    """Yield the instance with other arrays, or nothing if they make none."""
    plain = as_object(instance)
    for place, array in arrays.items():
        part = plain
        for name in place[:-1]:
            part = part[name]
        part[place[-1]] = as_lists(array)
    with suppress(UserError):
        yield from_object(plain, "a smaller instance")
