"""``rebel-theory run``: the options; the work is imported when it runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from rebel_bench.style import Venue


@dataclass(frozen=True)
class Run:
    """Run algorithms side by side on one problem: a table of the gaps, and a figure."""

    EXAMPLES: ClassVar[str] = """Examples:
  rebel-theory run garnet --algorithms rebel,npg,md
  rebel-theory run chain --step-size 0.5 --iterations 500
  rebel-theory run rock_paper_scissors --pairs 1000 --seeds 64"""

    env: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="ENV")]
    """The problem: the name of a constructor in rebel_envs."""
    algorithms: str = "rebel,npg,md"
    """Which algorithms, joined by commas."""
    iterations: int = 200
    """Updates of every algorithm."""
    step_size: float = 1.0
    """Step size eta of the functional update pi exp(eta signal)."""
    pairs: Annotated[int | None, tyro.conf.arg(help_behavior_hint="(default: exact expectations)")] = None
    """Sampled pairs an iteration."""
    seeds: int = 1
    """How many seeds, run as one batch."""
    seed: int = 0
    """Which random streams."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print one JSON object on stdout instead of a table."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("rebel-results")
    """Folder for the figure and its data."""
    venue: Venue = "neurips"
    """Whose sizes and fonts the figure takes."""
    figures: bool = True
    """Draw the figure too."""

    def __call__(self) -> int:
        """Run the algorithms."""
        from rebel_bench.errors import UserError

        raise UserError("`rebel-theory run` is not yet in this version: use rebel_theory.compare from Python")
