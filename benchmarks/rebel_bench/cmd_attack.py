"""``rebel-theory attack``: the options; the work is imported when it runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from rebel_bench.style import Venue
from rebel_bench.threads import one_thread


@dataclass(frozen=True)
class Attack:
    """Search for instances at which a claim's inequality is tight, or false.

    Differential evolution from random starts, then gradients and small populations around the best point, maximise
    measured/bound within a budget of evaluations. Where a claim's own traps are known, one more start begins with
    them, and is reported apart. The best instance is saved as a file that `rebel-theory run`, `audit` and
    `attack --problem` replay. A ratio above 1 is a counterexample: it is minimised, saved, and the exit code is 1.
    """

    EXAMPLES: ClassVar[str] = """Examples:
  rebel-theory attack                              every claim that can be attacked, in several minutes
  rebel-theory attack C3 c8 --budget 3000          two claims
  rebel-theory attack --problem rebel-results/attacks/C8.json      measure a found instance again
  rebel-theory run rebel-results/attacks/C8.json   and look at it"""

    ids: Annotated[
        tyro.conf.Positional[tuple[str, ...]],
        tyro.conf.arg(metavar="[ID ...]", help_behavior_hint="(default: all that can be attacked)"),
    ] = ()
    """Claims to attack, such as C3 c8 or c3,c8."""
    budget: Annotated[int | None, tyro.conf.arg(help_behavior_hint="(default: 600 to 6,000)")] = None
    """Evaluations an attack, over all restarts; an evaluation is one run of one instance."""
    restarts: int = 3
    """Random starts, which share the budget (with the start from known traps, where there is one)."""
    seed: int = 0
    """Which random streams; the same seed finds the same instances."""
    problem: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="(default: none)")] = None
    """An instance file: print its ratio as stored and as measured now, and search nothing."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print one JSON object on stdout instead of a table."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("rebel-results")
    """Folder for the results; instances, records and paths go to DIR/attacks."""
    venue: Venue = "neurips"
    """Whose sizes and fonts the figure takes."""
    figures: bool = True
    """Draw best ratio against evaluations, as PNG and PDF."""
    claims: Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="(default: built in)")] = None
    """A folder of claim files with attack files in DIR/attacks, instead of the ones that ship."""

    def __call__(self) -> int:
        """Attack, or replay."""
        with one_thread(spawning=False):  # before NumPy loads
            from rebel_bench.adversary.command import execute

        return execute(self)
