"""``rebel-theory compare``: the options; the work is imported when it runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from rebel_bench.style import Venue
from rebel_bench.threads import one_thread


@dataclass(frozen=True)
class Compare:
    """Compare algorithms at equal reward queries on several problems, each at its best step size of a grid.

    A TOML file names problems, algorithms, step sizes, queries and seeds. Step sizes are chosen on seeds of their own;
    the table reports mean gaps on fresh seeds with 95% t intervals.
    """

    EXAMPLES: ClassVar[str] = """Examples:
  rebel-theory compare equal-queries            REBEL, RLOO, PPO, GRPO, NPG, REINFORCE on five problems
  rebel-theory compare my_study.toml --json
  rebel-theory compare equal-queries --queries 4000 --seeds 8

A specification:
  title = "mine"
  queries = 20000
  pairs = 50
  seeds = 32
  tuning_seeds = 8
  step_sizes = [0.1, 1.0, 10.0]
  [algorithms]
  REBEL = "rebel"
  PPO = "ppo(clip=0.2)"
  mine = "my_file.py:MyAlgorithm"
  [problems]
  lake = "frozenlake"
  garnet = { env = "garnet", options = { n_states = 30 } }"""

    spec: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="SPEC")]
    """A TOML file, or the name of one that ships: equal-queries."""
    queries: int | None = None
    """Reward queries a run, in place of the file's."""
    seeds: int | None = None
    """Seeds that are reported, in place of the file's."""
    seed: int | None = None
    """Which random streams, in place of the file's."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print one JSON object on stdout instead of a table."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("rebel-results/compare")
    """Folder for the figure and its data."""
    venue: Venue = "neurips"
    """The figure's size and fonts."""
    figures: bool = True
    """Write the figure and its data."""

    def __call__(self) -> int:
        """Run the comparison."""
        with one_thread(spawning=False):  # before NumPy loads
            from rebel_bench.comparison.command import execute

        return execute(self)
