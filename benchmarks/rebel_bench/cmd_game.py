"""``rebel-theory game``: the options; the work is imported when it runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from rebel_bench.style import Venue


@dataclass(frozen=True)
class Game:
    """Analyse a win matrix of your own: its von Neumann winner, its cycles, and what a reward model loses."""

    EXAMPLES: ClassVar[str] = """Examples:
  rebel-theory game wins.csv
  rebel-theory game wins.csv --iterations 2000 --json"""

    wins: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="WINS.csv")]
    """A table with a row and a column for every player: how often the row beat the column."""
    iterations: int = 1000
    """Updates of preference REBEL in self-play."""
    step_size: Annotated[float | None, tyro.conf.arg(help_behavior_hint="(default: sqrt(2 ln n / iterations))")] = None
    """Step size eta of the functional update."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print one JSON object on stdout instead of tables."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("rebel-results")
    """Folder for the figure and its data."""
    venue: Venue = "neurips"
    """Whose sizes and fonts the figure takes."""
    figures: bool = True
    """Draw the figure too."""

    def __call__(self) -> int:
        """Analyse the matrix."""
        from rebel_bench.errors import UserError

        raise UserError(
            "`rebel-theory game` is not yet in this version: use rebel_theory.von_neumann_winner from Python"
        )
