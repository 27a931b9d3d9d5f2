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
    """Compare algorithms on problems: at equal reward queries, against the step size, or with inexact solves.

    A TOML file names problems, algorithms, oracles, step sizes, a budget and seeds. A tuned study chooses step sizes on
    seeds of their own and reports fresh ones: gaps with 95% t intervals, performance profiles, a ranking. A study of
    sensitivity runs every step size of the grid. A study of inexact solves takes K gradient steps on REBEL's loss.
    """

    EXAMPLES: ClassVar[str] = """Examples:
  rebel-theory compare equal-queries            REBEL, RLOO, PPO, GRPO, NPG, REINFORCE on five problems
  rebel-theory compare step-size-sensitivity    step sizes from 1e-3 to 1e6
  rebel-theory compare inexact-solves           K gradient steps: from RLOO, K = 1, to mirror descent
  rebel-theory compare oracles                  exact, sampled and counted feedback
  rebel-theory compare offline                  fixed data sets against fresh pairs, log-linear policies
  rebel-theory compare my_study.toml --json
  rebel-theory compare equal-queries --queries 4000 --seeds 8 --workers 2

A specification:
  title = "mine"
  queries = 20000
  seeds = 32
  tuning_seeds = 8
  step_sizes = [0.1, 1.0, 10.0]
  policy = "log-linear"   # in n_features random features; "tabular" by default
  n_features = 8
  [algorithms]
  REBEL = "rebel"
  PPO = { algorithm = "ppo(clip=0.2)", oracles = ["few"] }
  mine = "my_file.py:MyAlgorithm"
  [oracles]
  few = "sampled(pairs=20)"
  true = "exact(pairs=20)"
  # with updates = 100 in place of queries also: log = "offline(pairs=5000, base=uniform, seed=0)"
  [problems]
  lake = "frozenlake"
  garnet = { env = "garnet", options = { n_states = 30 }, queries = 50000 }"""

    spec: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="SPEC")]
    """A TOML file, or the name of one that ships: equal-queries, inexact-solves, offline, oracles,
    step-size-sensitivity."""
    queries: int | None = None
    """Reward queries a run, in place of the file's; problems with a number of their own keep the ratio."""
    updates: int | None = None
    """Updates a run, in place of the file's, where it counts updates."""
    seeds: int | None = None
    """Seeds that are reported, in place of the file's."""
    seed: int | None = None
    """Which random streams, in place of the file's."""
    workers: int = 1
    """Processes; the numbers are the same for any number of them."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print one JSON object on stdout instead of a table."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("rebel-results/compare")
    """Folder for the figures, their data and the cells, which a later run takes up again."""
    venue: Venue = "neurips"
    """The figures' size and fonts."""
    figures: bool = True
    """Write the figures, their data and the cells."""

    def __call__(self) -> int:
        """Run the comparison."""
        with one_thread(spawning=False):  # before NumPy loads
            from rebel_bench.comparison.command import execute

        return execute(self)
