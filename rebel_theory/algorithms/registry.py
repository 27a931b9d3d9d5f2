"""Algorithms found on disk: a file of this package is an algorithm, and adding one touches nothing else."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from pathlib import Path

from rebel_theory.algorithms.base import Algorithm

_NOT_ALGORITHMS = ("base", "registry", "mirror_maps")


@cache
def find_algorithms() -> dict[str, type[Algorithm]]:
    """Return the algorithm classes by their command-line key, in alphabetical order of the keys."""
    found: dict[str, type[Algorithm]] = {}
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if module.name in _NOT_ALGORITHMS or module.name.startswith("_"):
            continue
        loaded = importlib.import_module(f"rebel_theory.algorithms.{module.name}")
        for value in vars(loaded).values():
            if _is_own(value, loaded.__name__):
                found[value.key] = value
    return dict(sorted(found.items()))


def _is_own(value: object, module: str) -> bool:
    return isinstance(value, type) and issubclass(value, Algorithm) and value.__module__ == module and bool(value.key)


def by_class_name() -> dict[str, type[Algorithm]]:
    """Return the same classes by the name that ``rebel_theory`` exports them under."""
    return {kind.__name__: kind for kind in find_algorithms().values()}
