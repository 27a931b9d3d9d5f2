"""``python -m rebel_bench.mutations``: list the bugs, run the claims against them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from rebel_bench import registry
from rebel_bench.claim import Claim
from rebel_bench.errors import UserError
from rebel_bench.mutations import bugs, runner


@dataclass(frozen=True)
class Run:
    """Plant the bugs one at a time and say which claims catch each: refuted, control not refuted, or an error.

    Every bug has a process of its own; the library itself is not touched. Results are kept, one JSON file a bug, and
    only what is missing is run: killed, it goes on where it stopped; an edited claim or bug is run again.
    """

    bugs: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="[BUG ...]")] = ()
    """Bugs to plant, all by default."""
    claims: tuple[str, ...] = ()
    """Claims to run, all by default: those that a bug is aimed at first, then the cheapest first. A bug in
    rebel_theory.torch meets those on networks only: no other imports it."""
    until_caught: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Stop at the first claim that catches a bug, in place of the full matrix."""
    faster_than: float = float("inf")
    """Leave out claims that take more seconds without a bug, unless a bug is aimed at them."""
    scale: Literal["quick", "paper", "full"] = "quick"
    seed: int = 0
    workers: int = 1
    """Processes."""
    limit: float = 600.0
    """Seconds for one claim; beyond, it counts as an error."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("rebel-results/mutations")

    def __call__(self) -> int:
        """Run; return 1 if a bug was not caught."""
        chosen = bugs.select(bugs.load(), self.bugs)
        for bug in chosen:
            bug.planted()  # a list that has rotted is said before any work starts
        entries, left_out = registry.runnable(
            registry.select(registry.find_all(), self.claims), asked=bool(self.claims)
        )
        claims = [found.claim.id for found in entries]
        neural = {found.claim.id for found in entries if found.claim.requires}
        if not neural:
            chosen = _without_networks(chosen, left_out, named=bool(self.bugs))
        plan = runner.Plan(tuple(claims), self.scale, self.seed, self.limit)
        baseline = runner.run_bug(None, plan, self.out, runner.codes(), _tell)["results"]
        bad = [c for c in claims if runner.caught(baseline[c])]
        if bad:
            raise UserError(f"without a bug {', '.join(bad)} do not pass: nothing that they say of a bug counts")
        order = sorted(claims, key=lambda c: float(baseline[c]["seconds"]))
        work = []
        for bug in chosen:
            mine = tuple(
                c for c in order
                if (baseline[c]["seconds"] <= self.faster_than or c in bug.aimed) and (c in neural or not bug.neural)
            )  # fmt: skip
            work.append((bug, replace(plan, claims=mine, until_caught=self.until_caught)))
        runner.run_all(work, self.out, self.workers, _tell)
        uncaught = [
            b.id for b in chosen if not any(map(runner.caught, runner.read(self.out, b.id)["results"].values()))
        ]
        print(f"{len(chosen) - len(uncaught)} of {len(chosen)} bugs caught" + _rest(uncaught))
        return 1 if uncaught else 0


@dataclass(frozen=True)
class List:
    """List the bugs: name, kind, file, and how one comes to write it."""

    def __call__(self) -> int:
        """Print them."""
        for bug in bugs.load().values():
            print(f"{bug.id:28} {bug.kind:16} {bug.file}\n    {bug.why}")
        return 0


def _without_networks(chosen: list[bugs.Bug], left_out: Sequence[Claim], named: bool) -> list[bugs.Bug]:
    """Return the bugs that other claims can meet; say what is left out, and why.

    Raises
    ------
    UserError
        If one of the bugs was ``named``.
    """
    lost = [bug for bug in chosen if bug.neural]
    names = sorted({name for claim in left_out for name in claim.missing})
    why = (
        f"{', '.join(names)} is not installed, run `{registry.install(names)}`"
        if names
        else "no claim on networks runs"
    )
    if lost and named:
        raise UserError(f"bug {lost[0].id} of rebel_theory.torch cannot be met: {why}")
    told = [", ".join(claim.id for claim in left_out)] if left_out else []
    told += [f"{len(lost)} bugs of rebel_theory.torch"] if lost else []
    if told:
        print(f"left out: {' and '.join(told)} ({why})", file=sys.stderr)
    return [bug for bug in chosen if not bug.neural]


def _rest(uncaught: list[str]) -> str:
    return f"; not caught: {', '.join(uncaught)}" if uncaught else ""


def _tell(name: str, result: runner.Result) -> None:
    print(f"{name:28} {result['claim']:4} {runner.how(result) or '-':12} {result['seconds']:7.1f} s "
          f"{result.get('error', '')}", file=sys.stderr, flush=True)  # fmt: skip


def main() -> int:
    """Parse the command line and run."""
    try:
        command: Run | List = tyro.cli(Run | List, prog="python -m rebel_bench.mutations")
        return command()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
