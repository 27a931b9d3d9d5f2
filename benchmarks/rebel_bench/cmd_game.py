"""``rebel-theory game``: the options; the work is imported when it runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from rebel_bench.style import Venue


@dataclass(frozen=True)
class Game:
    """Analyse a win matrix of your own: its cycles, its von Neumann winner, and what a reward model loses.

    WINS.csv (or .parquet) has a header of names and one row per name; a first column of the same names is
    optional. Entry [row, column] is either the probability that the row beats the column (P + P^T = 1), or
    the number of times it did. Win counts also give a test of whether the cycles exceed sampling noise.

    Printed: Condorcet winner, Smith set and three-cycles; Bradley-Terry strengths; the von Neumann winner, how
    unique and how well determined it is; the duality gap of five policies; and self-play by preference REBEL
    next to its bound. The figures and the data behind them go to --out.
    """

    EXAMPLES: ClassVar[str] = """Examples:
  rebel-theory game wins.csv
  rebel-theory game counts.csv --prior 1 --bootstrap 9999 --out league
  rebel-theory game wins.parquet --iterations 20000 --venue icml
  rebel-theory game wins.csv --json --no-figures | python -m json.tool"""

    wins: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="WINS.csv")]
    """A table with a row and a column for every player: how often the row beat the column."""
    prior: float = 0.0
    """Pseudo-wins added to both sides of every pair of a count matrix, for pairs that never met."""
    iterations: int = 2000
    """Updates T of preference REBEL in self-play."""
    step_size: Annotated[float | None, tyro.conf.arg(help_behavior_hint="(default: sqrt(2 ln n / iterations))")] = None
    """Step size eta of the functional update."""
    bootstrap: int = 999
    """Replicates of the noise test of win counts; 0 leaves the test out."""
    seed: int = 0
    """Random stream of the noise test; nothing else is random."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("rebel-results/game")
    """Folder for the figures and their data."""
    venue: Venue = "neurips"
    """Whose sizes and fonts the figures take."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print one JSON object on stdout instead of tables."""
    figures: bool = True
    """Draw the figures too; with --no-figures nothing is written."""

    def __call__(self) -> int:
        """Analyse the matrix."""
        from rebel_bench.game.command import execute

        return execute(self)
