"""``rebel-theory audit``: the options; the work is imported when it runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro

from rebel_bench.style import Venue


@dataclass(frozen=True)
class Audit:
    """Audit the proof of C1, C2, C7, C11 or P7 on one run: where its slack sits, and which line is violated.

    Every term and both sides of every inequality are computed exactly at every iteration. The proofs of C1, C11 and P7
    hold for any algorithm; what a wrong one violates is the promise of an exact step, and the audit says at which
    update and by which action. C2 and C7 need exact steps: there their own lines fail. Exits 1 if anything is violated.
    """

    EXAMPLES: ClassVar[str] = """Examples:
  rebel-theory audit C1                                        a bandit of its own, log-linear, with misfit
  rebel-theory audit C11 --problem garnet --set discount=0.99 --policy log-linear
  rebel-theory audit C11 --problem frozenlake --algorithm "ppo(clip=0.1)"
  rebel-theory audit C7 --problem frozenlake --algorithm "entropy-npg(temperature=0.05)"
  rebel-theory audit P7 --problem type-chart --pairs 200
  rebel-theory audit C1 --problem rebel-results/attacks/C1.json   an instance that `rebel-theory attack` found
  rebel-theory audit C11 --problem mine.py:make_mdp --algorithm mine.py:MyAlgorithm"""

    id: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="ID")]
    """The claim: C1 (bandits), C2 (bandits, exact steps), C7 (entropy-regularised NPG), C11 (MDPs) or P7 (games)."""
    problem: Annotated[
        str | None, tyro.conf.arg(metavar="NAME|FILE", help_behavior_hint="(default: one that fits the claim)")
    ] = None
    """A name from `rebel-theory run list`, an instance file (.json) with its own first policy and algorithm, or
    FILE.py:function, which returns a problem, or a problem and a first policy."""
    algorithm: Annotated[
        str | None,
        tyro.conf.arg(metavar="NAME|FILE", help_behavior_hint="(default: rebel, entropy-npg, or the file's)"),
    ] = None
    """A name from `rebel-theory algorithms`, options in parentheses as in ppo(clip=0.1), or FILE.py:Class."""
    iterations: Annotated[int | None, tyro.conf.arg(help_behavior_hint="(default: 200, or the file's)")] = None
    """Updates."""
    step_size: Annotated[
        float | None,
        tyro.conf.arg(help_behavior_hint="(default: the file's, 1 / the signal's spread, or C7: half the largest)"),
    ] = None
    """The functional step size eta of pi exp(eta signal)."""
    policy: Annotated[
        Literal["tabular", "log-linear"] | None,
        tyro.conf.arg(
            help_behavior_hint="(default: tabular; log-linear for the problems of C1, C11 and P7 themselves)"
        ),
    ] = None
    """The policy class: tabular softmax, or log-linear in random features (a linear MDP's own)."""
    features: int = 4
    """Dimension of the log-linear features."""
    base: Annotated[
        Literal["on-policy", "uniform"] | None, tyro.conf.arg(help_behavior_hint="(default: uniform, or the file's)")
    ] = None
    """Where REBEL's second answer is drawn from."""
    start: Literal["auto", "uniform", "random"] = "auto"
    """The first policy; auto: uniform, but random in a game, whose equilibrium may be uniform."""
    pairs: Annotated[int | None, tyro.conf.arg(help_behavior_hint="(default: exact expectations)")] = None
    """Sampled pairs an iteration; the audit itself stays exact."""
    seed: int = 0
    """Which random streams, first policy and features."""
    set: Annotated[tuple[str, ...], tyro.conf.arg(metavar="KEY=VALUE")] = ()
    """Options of the problem's constructor or function, such as n_states=50 discount=0.99."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print one JSON object on stdout instead of a table."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("rebel-results/audit")
    """Folder for the figure, and for every term and inequality (Parquet)."""
    venue: Venue = "neurips"
    """Whose sizes and fonts the figure takes."""
    figures: bool = True
    """Write the figure and the data."""

    def __call__(self) -> int:
        """Return 0 if nothing was violated, 1 otherwise."""
        from rebel_bench.audit.command import execute

        return execute(self)
