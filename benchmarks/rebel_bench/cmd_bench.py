"""``rebel-theory bench``: the options; the work is imported when it runs."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro

from rebel_bench.threads import one_thread


@dataclass(frozen=True)
class Bench:
    """Measure speed: every figure a ratio to plain NumPy and to the peers that are installed.

    Both sides of a ratio are checked against each other, warmed up, and then timed in turns in one process:
    medians with quartiles. Next to each stands the physical limit (memory bandwidth, random draws) as measured
    in the same rounds, and the share of it that is reached. Then comes every target with its verdict, and the
    machine. The exit code is 1 if plain NumPy and ours disagree, 2 for a wrong option; a target that is missed
    is reported, and is no error.

    Suites: batches, counted, evaluation, exact, games, linear, neural, neural-cost, optimal, regression, sampling,
    sparse, torch-seeds, updates. The suites neural (REBEL, PPO, RLOO, GRPO, REINFORCE and DPO on completions),
    neural-cost (what an iteration of each costs, by size) and torch-seeds (thousands of neural runs in one call) need
    PyTorch; each is a study of its own, run when it is named.
    A study neural that was killed goes on when the same command is given again, from its last race and minute: where
    calls are limited in time, repeat it until the table appears; neural-cost goes on at its size.
    """

    EXAMPLES: ClassVar[str] = """Examples:
  rebel-theory bench                       every suite, in a minute or two
  rebel-theory bench sampling optimal --repeats 15
  rebel-theory bench --suite games --json > games.json
  rebel-theory bench --scale paper         the sizes of the documentation: ten minutes, 6 GB of memory
  rebel-theory bench --suite neural        neural policies over completions, tiny
  rebel-theory bench --suite neural --scale paper --device cuda    a transformer of 25 million parameters
  rebel-theory bench --suite neural-cost --scale paper             what an iteration costs, up to that size
  rebel-theory bench --suite torch-seeds   thousands of runs of a perceptron in one call
  pip install 'rebel-theory[bench]'        the peers"""

    suites: Annotated[
        tyro.conf.Positional[tuple[str, ...]],
        tyro.conf.arg(metavar="[SUITE ...]", help_behavior_hint="(default: all)"),
    ] = ()
    """Suites to run, such as sampling exact or sampling,exact."""
    suite: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="SUITE", help_behavior_hint="(repeatable)")
    ] = ()
    """The same as an option."""
    scale: Literal["quick", "paper"] = "quick"
    """Sizes: minutes, or those of the documentation."""
    repeats: int = 5
    """Rounds of every case, at least 5; the median of them is reported."""
    device: Annotated[str, tyro.conf.arg(metavar="DEVICE")] = field(
        default_factory=lambda: os.environ.get("REBEL_DEVICE", "cpu")
    )
    """Where neural policies run: cpu or cuda; by default what REBEL_DEVICE says."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print one JSON object on stdout instead of a table."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("rebel-results")
    """Folder for the results (Parquet and JSON, in DIR/speed) and the figure."""
    figures: bool = True
    """Draw the figure of cost against size too, as PNG and PDF."""

    def __call__(self) -> int:
        """Measure and print."""
        with one_thread(spawning=False):  # all the while: SciPy brings a BLAS of its own, which loads later
            from rebel_bench.speed.command import execute

            return execute(self)
