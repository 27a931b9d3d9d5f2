"""How much work a claim does: seconds, minutes, or as much as the paper's figure deserves."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

from rebel_bench.errors import UserError

T = TypeVar("T")


class Scale(StrEnum):
    """``quick`` for a test run, ``paper`` for a figure, ``full`` for a cluster."""

    QUICK = "quick"
    PAPER = "paper"
    FULL = "full"

    def cases(self, *, quick: T, paper: T, full: T) -> T:
        """Return the value for this scale.

        >>> Scale.PAPER.cases(quick=10, paper=200, full=5000)
        200
        """
        return {Scale.QUICK: quick, Scale.PAPER: paper, Scale.FULL: full}[self]


def scale_of(name: Scale | str) -> Scale:
    """Return the scale of a name; raise :class:`UserError` with the names there are."""
    try:
        return Scale(name)
    except ValueError:
        raise UserError(f"scale {name!r}: expected one of {', '.join(Scale)}") from None
