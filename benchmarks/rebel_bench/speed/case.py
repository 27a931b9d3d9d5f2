"""What a speed suite is made of: plans, cases, sides, limits. NumPy-free, so that listing the suites is quick."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

OURS = "ours"
SpeedScale: TypeAlias = Literal["quick", "paper"]
Axis: TypeAlias = Literal["S", "A", "N", "d", "seeds"]


class Peers(Protocol):
    """Where a case gets its peers from; an absent one is remembered for the report."""

    def load(self, module: str) -> Any:
        """Return the module, or None if it cannot be imported."""
        ...


@dataclass(frozen=True, slots=True)
class Side:
    """One way to do the work.

    Attributes
    ----------
    run : callable
        What the clock sees; set-up is done before, in the builder of the case.
    work : float
        Units that one call does.
    answer : callable, optional
        What of the output is compared with the other sides; the output itself by default. Never timed.
    threads : int
        Threads of this side; Numba has as many while it runs.
    less : callable, optional
        A run whose time, measured next to that of ``run``, is taken off: fixed costs, so that ``work`` is what is left.
    """

    run: Callable[[], Any]
    work: float = 1.0
    answer: Callable[[Any], Any] | None = None
    threads: int = 1
    less: Callable[[], Any] | None = None


@dataclass(frozen=True, slots=True)
class Limit:
    """The physical limit of one unit: so many random draws, or so many bytes of memory moved.

    ``footprint`` is the working set in bytes: bandwidth is measured on arrays of this size, so that a problem that
    fits a cache is not compared with main memory; it is that of as many threads as ours has.
    """

    kind: Literal["draws", "bytes"]
    per_unit: float
    footprint: float = 0.0

    def describe(self) -> str:
        """Return the limit in words, per unit.

        >>> Limit("bytes", 8e6, 8e6).describe(), Limit("draws", 1.0).describe()
        ('8 MB moved', '1 draw')
        """
        if self.kind == "draws":
            return f"{self.per_unit:,.0f} draw{'s' * (self.per_unit != 1)}"
        for size, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
            if self.per_unit >= size:
                return f"{self.per_unit / size:.3g} {name} moved"
        return f"{self.per_unit:.3g} B moved"


@dataclass(frozen=True, slots=True)
class Case:
    """Sides that give the same answer within ``tolerance`` (largest absolute difference), timed in units of work.

    ``sides`` has :data:`OURS`. ``certified`` is the error that ours certifies. ``note`` is stored with the row of ours.
    """

    unit: str
    sides: Mapping[str, Side]
    tolerance: float
    limit: Limit | None = None
    certified: float | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if OURS not in self.sides:
            raise ValueError(f"a case needs a side {OURS!r}, this one has {', '.join(self.sides)}")


@dataclass(frozen=True, slots=True)
class Plan:
    """A case before its set-up: named, and built when its turn comes, so that one at a time is in memory.

    A plan with an ``axis`` is a point of the figure at ``size``. ``memory`` is what it needs, in bytes.
    """

    name: str
    build: Callable[[Peers], Case]
    axis: Axis | None = None
    size: float = 0.0
    memory: float = 0.0


@dataclass(frozen=True, slots=True)
class Suite:
    """A named list of plans; ``plans`` takes the scale.

    A suite may be a study instead, which is run when it is named alone: scale, device, folder, whether to draw, and
    whether to print JSON are its arguments, and it keeps and prints what it found.
    """

    name: str
    title: str
    plans: Callable[[SpeedScale], Sequence[Plan]] = field(repr=False)
    study: Callable[[SpeedScale, str, Path, bool, bool], None] | None = field(default=None, repr=False)
