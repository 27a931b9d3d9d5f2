"""Suites found on disk."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from rebel_bench.errors import UserError
from rebel_bench.speed.case import Suite

SUITES = Path(__file__).parent / "suites"


def suites() -> dict[str, Suite]:
    """Return the suites by name, in alphabetical order of their files."""
    found: dict[str, Suite] = {}
    for file in sorted(SUITES.glob("*.py")):
        if file.name.startswith("_"):
            continue
        suite = importlib.import_module(f"rebel_bench.speed.suites.{file.stem}").SUITE
        if not isinstance(suite, Suite):
            raise TypeError(f"{file.name}: SUITE is a {type(suite).__name__}, expected a Suite")
        if suite.name in found:
            raise ValueError(f"{file.name}: the suite {suite.name} exists already: rename one")
        found[suite.name] = suite
    return found


def select(found: Mapping[str, Suite], names: Iterable[str] = ()) -> tuple[Suite, ...]:
    """Return the named suites, all of them if none is named; names may be joined by commas and in upper case.

    Raises
    ------
    UserError
        For an unknown name; it gives the nearest.
    """
    wanted = [part.strip().lower() for text in names for part in text.split(",") if part.strip()]
    for name in wanted:
        if name not in found:
            near = difflib.get_close_matches(name, list(found), n=1, cutoff=0.0)
            raise UserError(
                f"unknown suite {name!r}: did you mean {near[0] if near else next(iter(found))}? "
                f"There are {', '.join(found)}"
            )
    return tuple(suite for name, suite in found.items() if name in wanted or not wanted)
