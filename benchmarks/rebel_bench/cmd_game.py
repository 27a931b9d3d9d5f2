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
    next to its bound. With --algorithms: any others in self-play as well, off equilibrium from the start: the gaps of
    last and average iterates, who is played, and the paths. The figures and the data behind them go to --out.
    """

    EXAMPLES: ClassVar[str] = """Examples:
  rebel-theory game wins.csv
  rebel-theory game counts.csv --prior 1 --bootstrap 9999 --out league
  rebel-theory game wins.csv --algorithms rebel,omwu,egpo,mmd,nash-md --temperature 0.05 --iterations 10000
  rebel-theory game wins.csv --algorithms "omwu,mmd(temperature=0.2)" --algorithm my_file.py:MyAlgorithm
  rebel-theory game wins.csv --algorithms rebel,omwu --pairs 100 --seeds 16
  rebel-theory game wins.parquet --iterations 20000 --venue icml
  rebel-theory game wins.csv --json --no-figures | python -m json.tool"""

    wins: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="WINS.csv")]
    """A table with a row and a column for every player: how often the row beat the column."""
    prior: float = 0.0
    """Pseudo-wins added to both sides of every pair of a count matrix, for pairs that never met."""
    iterations: int = 2000
    """Updates T of preference REBEL in self-play, and of the algorithms compared."""
    step_size: Annotated[
        float | None, tyro.conf.arg(help_behavior_hint="(default: sqrt(2 ln n / iterations); 0.1 in a comparison)")
    ] = None
    """Step size eta of the functional update."""
    algorithms: str = ""
    """Compare these too: names from `rebel-theory algorithms`, joined by commas; options in parentheses."""
    algorithm: Annotated[tuple[str, ...], tyro.conf.arg(metavar="FILE:CLASS")] = ()
    """Compare an algorithm of your own: a Python file and the class in it."""
    temperature: Annotated[float | None, tyro.conf.arg(help_behavior_hint="(default: each algorithm's own)")] = None
    """Temperature of the regularised algorithms compared, in payoffs l = 2P - 1."""
    pairs: Annotated[int | None, tyro.conf.arg(help_behavior_hint="(default: exact expectations)")] = None
    """Sampled pairs an update of the algorithms compared."""
    seeds: int = 1
    """How many seeds (with --pairs)."""
    bootstrap: int = 999
    """Replicates of the noise test of win counts; 0 leaves the test out."""
    seed: int = 0
    """Random streams of the noise test and of sampled pairs; nothing else is random."""
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
