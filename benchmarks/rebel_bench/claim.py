"""A claim: a statement, its source, a measurement, the test of it, and a control that must be refuted.

Everything that a claim file needs is imported from here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import pandas as pd
from numpy.random import Generator

from rebel_bench.estimates import Estimates
from rebel_bench.judge import AtLeast, Equality, Inequality, Judgement, Test, Verdict
from rebel_bench.rate import Rate
from rebel_bench.scale import Scale
from rebel_bench.statistics import TwoStage, half_width
from rebel_bench.streams import stream

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "DRAWN",
    "PARTS",
    "AtLeast",
    "Claim",
    "Drawing",
    "Equality",
    "Estimates",
    "Finding",
    "Inequality",
    "Judgement",
    "Measurement",
    "Part",
    "Rate",
    "Scale",
    "Test",
    "TwoStage",
    "Verdict",
    "half_width",
    "stream",
]

Part: TypeAlias = Literal["check", "control"]
PARTS: tuple[Part, ...] = get_args(Part)
DRAWN = "drawn"  # a column of cases: true for rows that are measured for the figure alone, and not judged
Measurement: TypeAlias = Callable[[Generator, Scale], pd.DataFrame]
Finding: TypeAlias = Callable[[pd.DataFrame, pd.DataFrame], str]
Drawing: TypeAlias = "Callable[[Figure, pd.DataFrame, pd.DataFrame], None]"

_ID = re.compile(r"[A-Z]{1,8}[0-9]{1,6}[a-z]?")  # also a file name, so nothing that a file system could mistake
_LARGEST_FALSE_ALARM = 0.05


def _installed(name: str) -> bool:
    """True for a package; a folder that happens to have the name, and is importable for it, has no origin."""
    spec = find_spec(name)
    return spec is not None and spec.origin is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One statement that can be checked, in one file.

    Attributes
    ----------
    id, title
        Such as ``"C2"`` (letters, digits, perhaps one small letter), and a heading of a few words.
    statement, latex
        The statement in plain words, and optionally as a formula for the docs (without dollars).
    source
        Where it comes from: arXiv id and theorem.
    test
        How the cases are judged: ``Equality``, ``Inequality``, ``AtLeast``, ``Rate`` or ``Estimates``.
    check
        ``check(rng, scale)`` measures and returns a tidy table, one row per case. Where it has a column ``drawn``,
        rows with true are for the figure, and are not judged.
    control, control_statement
        The same measurement with something deliberately broken, and what. It must come out refuted.
    figure
        ``figure(fig, cases, control_cases)`` draws on an empty Matplotlib figure; None for no figure.
    panels
        Rows and columns of panels, for the figure's proportions.
    blocks
        ``blocks(scale)`` independent pieces of ``check`` and of ``control``, each from a stream of its own: what is
        measured in pieces goes on after an interruption where it stopped. Each piece is what ``check`` returns; the
        cases are those of all pieces, with a column ``block``. None for one piece.
    false_alarm
        The probability, over the random streams, that ``check`` is refuted though the statement is true; 0 where
        the test is exact. At most 0.05.
    finding
        ``finding(cases, control_cases)`` returns a sentence or two with the numbers and intervals that the cases
        show, beyond the verdict; None for nothing to add.
    requires
        Packages that the measurement imports and that the library itself does without, such as ``("torch",)``, each
        the name of an extra. Where one is missing the claim is left out, and named.
    """

    id: str
    title: str
    statement: str
    source: str
    test: Test
    check: Measurement
    control: Measurement
    control_statement: str
    latex: str = ""
    figure: Drawing | None = None
    panels: tuple[int, int] = (1, 1)
    blocks: Callable[[Scale], int] | None = None
    false_alarm: float = 0.0
    finding: Finding | None = None
    requires: tuple[str, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        """What of ``requires`` is not installed here."""
        return tuple(name for name in self.requires if not _installed(name))

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise ValueError(f"claim id {self.id!r}: expected capital letters and a number, such as C2 or E10")
        for name in ("title", "statement", "source", "control_statement"):
            if not getattr(self, name).strip():
                raise ValueError(f"claim {self.id}: {name} is empty, write it down")
        if not 0 <= self.false_alarm <= _LARGEST_FALSE_ALARM:  # written so that NaN is refused
            raise ValueError(
                f"claim {self.id}: false_alarm is {self.false_alarm}, expected 0 (exact) to {_LARGEST_FALSE_ALARM}: "
                "use more cases or a wider tolerance"
            )

    def n_blocks(self, scale: Scale) -> int:
        """Return in how many pieces each part is measured."""
        n = 1 if self.blocks is None else self.blocks(scale)
        if n < 1:
            raise ValueError(f"claim {self.id}: blocks({scale.value}) is {n}, expected at least 1")
        return n

    def measure(self, part: Part, scale: Scale, seed: int, block: int = 0) -> pd.DataFrame:
        """Return the cases of one block of ``part`` from its own random stream: equal arguments, equal cases."""
        measurement = self.check if part == "check" else self.control
        names = ("claim", self.id, part) if self.n_blocks(scale) == 1 else ("claim", self.id, part, block)
        cases = measurement(stream(*names, seed=seed), scale)
        if not isinstance(cases, pd.DataFrame):
            raise TypeError(f"claim {self.id}: {part} returned {type(cases).__name__}, expected a pandas DataFrame")
        return cases.reset_index(drop=True)

    def join(self, blocks: Sequence[pd.DataFrame]) -> pd.DataFrame:
        """Return the cases of all blocks of a part, in the order of the blocks."""
        if len(blocks) == 1:
            return blocks[0]
        if any("block" in cases.columns for cases in blocks):
            raise ValueError(f"claim {self.id}: the column 'block' is written by the runner, name yours otherwise")
        numbered = [cases.assign(block=i) for i, cases in enumerate(blocks)]
        return pd.concat(numbered, ignore_index=True)

    def judge(self, part: Part, cases: pd.DataFrame) -> Judgement:
        """Return the verdict over ``cases``; a control refuted by NaN alone is inconclusive.

        A broken variant that merely crashes into NaN would otherwise pass for evidence that the test can tell
        right from wrong.
        """
        judgement = self.test.judge(cases[~cases[DRAWN].astype(bool)] if DRAWN in cases else cases)
        if part == "control" and judgement.verdict == "refuted" and judgement.undefined == judgement.violations:
            if judgement.undefined == 0:
                return judgement  # a refuted rate counts groups, and may have none outside
            note = "the control is refuted by NaN alone, which shows nothing: break it so that it stays finite"
            return replace(judgement, verdict="inconclusive", note=note)
        return judgement
