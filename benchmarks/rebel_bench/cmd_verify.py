"""``rebel-theory verify``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import tyro

from rebel_bench.threads import one_thread

if TYPE_CHECKING:
    from rebel_bench.pruning import Pruned


@dataclass(frozen=True)
class Verify:
    """Check claims: one row each, with the verdict of the claim and the verdict of its control.

    A control is the same measurement with something deliberately broken; a claim counts only if it holds and
    its control is refuted. The exit code is 0 if that is so for every claim, and 1 otherwise. What --out holds
    from the same code is not measured again, so that a run that was killed goes on.
    """

    EXAMPLES: ClassVar[str] = """Examples:
  rebel-theory verify                              every claim, in two minutes or so
  rebel-theory verify C2 e1,e2 --scale paper       three claims, as many cases as for a figure
  rebel-theory verify --workers 8 --json > all.json
  rebel-theory verify C2 --fresh                   measured again, though it is in rebel-results
  rebel-theory verify --scale paper --prune        and remove what older code left of this scale
  rebel-theory verify C2 --prune --dry-run         of C2 alone, listed and not removed
  rebel-theory verify --claims my_conjectures      your own claim files"""

    ids: Annotated[
        tyro.conf.Positional[tuple[str, ...]],
        tyro.conf.arg(metavar="[ID ...]", help_behavior_hint="(default: all)"),
    ] = ()
    """Claims to check, such as C2 e1 or c2,e1."""
    scale: Literal["quick", "paper", "full"] = "quick"
    """How many cases: a test run, a figure, or a cluster."""
    seed: int = 0
    """Which random streams; the same seed gives the same numbers for any number of workers."""
    workers: int = 1
    """Processes."""
    cluster: Annotated[str | None, tyro.conf.arg(metavar="ADDRESS", help_behavior_hint="(default: none)")] = None
    """Run on the cluster at this address (not yet in this version)."""
    device: str = "cpu"
    """Where the networks of the claims N1 to N5 are evaluated, such as cuda; the others run on the CPU."""
    fresh: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Measure again what is in --out already."""
    prune: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Then remove from --out what older code or libraries left of these claims at this scale, whatever the seed."""
    dry_run: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """With --prune: list what would be removed, and remove nothing."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print one JSON object on stdout instead of a table."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("rebel-results")
    """Folder for the results (Parquet) and the figures; results of the same code that are there are kept."""
    figures: bool = True
    """Draw the figures too, as PNG and PDF."""
    claims: Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="(default: built in)")] = None
    """A folder of claim files, instead of the ones that ship."""

    def __call__(self) -> int:
        """Check the claims and print the verdicts."""
        from rebel_bench.errors import UserError

        if self.cluster is not None:
            raise UserError("--cluster is not yet in this version: leave it out, and use --workers N on one machine")
        if self.dry_run and not self.prune:
            raise UserError("--dry-run lists what --prune would remove: add --prune, or leave it out")
        if self.device != "cpu":
            _use(self.device)
        with one_thread(spawning=False):  # before NumPy loads, so that one worker rounds as many do
            from rebel_bench import tables
            from rebel_bench.atomic import require_writable
            from rebel_bench.progress import OnStderr
            from rebel_bench.pruning import Prunable
            from rebel_bench.runner import verify

        before = Prunable.before_the_run(self.out) if self.prune else None
        result = verify(
            self.ids,
            scale=self.scale,
            seed=self.seed,
            workers=self.workers,
            out=self.out,
            claims=self.claims,
            fresh=self.fresh,
            progress=OnStderr(),
        )
        pruned = before.prune(result, dry_run=self.dry_run) if before is not None else None
        # the verdicts first: a figure that fails must not take them along
        if self.json:
            tables.print_verification_json(result, {} if pruned is None else {"pruned": pruned.row()})
        else:
            tables.print_verification(result)
        if pruned is not None:
            _tell(pruned, listed=not self.json)
        if self.figures:
            from rebel_bench.render import render

            drawings = self.out / "figures"
            require_writable(drawings)
            for outcome in result:
                render(outcome.claim, outcome.cases, outcome.control_cases, drawings)
        return 0 if result.passed else 1


def _tell(pruned: Pruned, *, listed: bool) -> None:
    """Say what was removed, and warn of what could not be."""
    import sys

    if listed:
        print(pruned)
        if pruned.dry_run:
            print(*pruned.units, sep="\n", end="\n" if pruned.units else "")
    for path, reason in pruned.failed.items():
        print(f"warning: {path} could not be removed ({reason})", file=sys.stderr)


def _use(device: str) -> None:
    """Make the claims on networks run on a device, if there is one of that name."""
    import os

    from rebel_bench.devices import DEVICE, require_device

    require_device(device, f"--device {device}")
    os.environ[DEVICE] = device
