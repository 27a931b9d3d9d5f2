"""``rebel-theory run``: the options; the work is imported when it runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro

from rebel_bench.style import Venue


@dataclass(frozen=True)
class Run:
    """Run algorithms side by side on one problem: a table of the gaps, their distances, and a figure.

    The algorithms start from the same policy and, when sampled, from the same random streams. With a tabular
    softmax and exact feedback the three coincide; with a log-linear policy and an off-policy base they part.
    """

    EXAMPLES: ClassVar[str] = """Examples:
  rebel-theory run frozenlake
  rebel-theory run icu-sepsis --iterations 50
  rebel-theory run frozenlake --policy log-linear --base uniform
  rebel-theory run garnet --set n_states=100 discount=0.99 --pairs 1000 --seeds 16
  rebel-theory run rock-paper-scissors --step-size 0.1 --iterations 500
  rebel-theory run rebel-results/attacks/C3-n10.json    an instance that `rebel-theory attack` found
  rebel-theory run list                 the names of all problems"""

    env: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="ENV")]
    """The problem: a name from `rebel-theory run list`, any Gymnasium id that has a transition table, or an instance
    file (.json) with its own first policy, algorithm, base, step size and number of updates."""
    algorithms: Annotated[
        str | None, tyro.conf.arg(help_behavior_hint="(default: rebel,npg,md; of an instance file, its own)")
    ] = None
    """Names from `rebel-theory algorithms`, joined by commas; options in parentheses, as in ppo(clip=0.1)."""
    algorithm: Annotated[tuple[str, ...], tyro.conf.arg(metavar="FILE:CLASS")] = ()
    """An algorithm of your own: a Python file and the class in it; it runs next to the others."""
    iterations: Annotated[int | None, tyro.conf.arg(help_behavior_hint="(default: 200, or the file's)")] = None
    """Updates of every algorithm."""
    step_size: Annotated[
        float | None, tyro.conf.arg(help_behavior_hint="(default: 1 / the first signal's largest spread over actions)")
    ] = None
    """The functional step size eta of pi exp(eta signal); NPG's own is (1 - discount) times it."""
    policy: Literal["tabular", "log-linear"] = "tabular"
    """The policy class: tabular softmax, or log-linear in random features (a linear MDP's own)."""
    features: int = 8
    """Dimension of the log-linear features."""
    base: Annotated[
        Literal["on-policy", "uniform"] | None, tyro.conf.arg(help_behavior_hint="(default: on-policy, or the file's)")
    ] = None
    """Where REBEL's second answer is drawn from."""
    start: Literal["auto", "uniform", "random"] = "auto"
    """The first policy; auto: uniform, but random in a game, whose equilibrium may be uniform."""
    pairs: Annotated[int | None, tyro.conf.arg(help_behavior_hint="(default: exact expectations)")] = None
    """Sampled pairs an iteration."""
    seeds: int = 1
    """How many seeds, run as one batch (with --pairs)."""
    seed: int = 0
    """Which random streams, first policy and features."""
    set: Annotated[tuple[str, ...], tyro.conf.arg(metavar="KEY=VALUE")] = ()
    """Options of the problem's constructor, such as n_states=50 discount=0.99."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print one JSON object on stdout instead of a table."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("rebel-results/run")
    """Folder for the figure and its data."""
    venue: Venue = "neurips"
    """Whose sizes and fonts the figure takes."""
    figures: bool = True
    """Write the figure and its data (Parquet)."""

    def __call__(self) -> int:
        """Run the algorithms."""
        from rebel_bench.side_by_side.command import execute

        return execute(self)
