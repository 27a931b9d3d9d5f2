"""``rebel-theory figures``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro

from rebel_bench.style import Venue


@dataclass(frozen=True)
class Figures:
    """Draw the figures of claims that were checked, at a venue's size, as PNG and PDF.

    Nothing is measured again: the cases are read from what `rebel-theory verify` stored. Of several stored
    runs of a claim the largest scale is drawn, then the smallest seed.
    """

    EXAMPLES: ClassVar[str] = """Examples:
  rebel-theory figures
  rebel-theory figures C2 C3 --venue icml --out paper/figures
  rebel-theory figures --from old-results --scale paper"""

    ids: Annotated[
        tyro.conf.Positional[tuple[str, ...]],
        tyro.conf.arg(metavar="[ID ...]", help_behavior_hint="(default: all that are stored)"),
    ] = ()
    """Claims to draw, such as C2 e1 or c2,e1."""
    venue: Venue = "neurips"
    """Whose sizes and fonts."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="(default: figures in --from)")] = None
    """Folder for the figures."""
    source: Annotated[Path, tyro.conf.arg(name="from", metavar="DIR")] = Path("rebel-results")
    """Folder of the results, the --out of verify."""
    scale: Literal["largest", "quick", "paper", "full"] = "largest"
    """Which of the stored scales."""
    seed: Annotated[int | None, tyro.conf.arg(help_behavior_hint="(default: the smallest)")] = None
    """Which of the stored seeds."""
    claims: Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="(default: built in)")] = None
    """A folder of claim files, instead of the ones that ship."""

    def __call__(self) -> int:
        """Draw, and print the files."""
        import sys

        from rebel_bench.render import render_stored
        from rebel_bench.scale import Scale

        files = render_stored(
            self.ids,
            source=self.source,
            out=self.out or self.source / "figures",
            venue=self.venue,
            scale=None if self.scale == "largest" else Scale(self.scale),
            seed=self.seed,
            claims=self.claims,
            note=lambda text: print(f"note: {text}", file=sys.stderr),
        )
        for file in files:
            print(file)
        return 0
