"""The steps of ``rebel-theory attack``: search or replay, print, draw."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from rebel_bench.adversary.hunt import Progress, hunt, replay
from rebel_bench.adversary.records import FOLDER, Record
from rebel_bench.bars import StderrBar
from rebel_bench.errors import UserError
from rebel_bench.tables import print_json, print_rows
from rebel_bench.version import version

if TYPE_CHECKING:
    from rebel_bench.cmd_attack import Attack

_SAME = 1e-9  # of the ratio: a replay on another machine may differ by rounding


def execute(options: Attack) -> int:
    """Return 0, or 1 if a counterexample was found."""
    if options.problem is not None:
        return _replay(options, options.problem)
    records = hunt(
        options.ids, out=options.out, progress=_OnStderr(), budget=options.budget, restarts=options.restarts,
        seed=options.seed, claims=options.claims,
    )  # fmt: skip
    if options.json:
        print_json({"attacks": [asdict(record) for record in records], "seed": options.seed, "version": version()})
    else:
        print_rows(COLUMNS, [row(record, options.out) for record in records], {"refuted": "red", "holds": "green"})
    if options.figures:
        from rebel_bench.adversary.figure import draw

        files = draw(records, options.out, options.out / FOLDER / "attacks", options.venue)
        if not options.json:
            print(*files, sep="\n")
    return int(any(record.verdict == "refuted" for record in records))


COLUMNS = ("claim", "searched", "best ratio", "random search", "target", "verdict", "evaluations", "time", "file")


def row(record: Record, out: Path) -> dict[str, str]:
    """Return a record as words, under :data:`COLUMNS`."""
    target = "" if record.target is None else f"{record.target:g} {'reached' if record.found_again else 'NOT reached'}"
    return {
        "claim": record.id,
        "searched": record.space,
        "best ratio": f"{record.ratio:.4f}" if record.ratio >= 1e-3 else f"{record.ratio:.2g}",
        "random search": "" if record.random is None else f"{record.random:.3g} of {record.random_cases:,}",
        "target": target,
        "verdict": record.verdict,
        "evaluations": f"{record.evaluations:,}",
        "time": f"{record.seconds:.0f} s",
        "file": str(out / record.file),
    }


def _replay(options: Attack, path: Path) -> int:
    if options.ids:
        raise UserError(f"{' '.join(options.ids)} --problem: the file names its claim; leave the ids out")
    instance, ratio = replay(path, options.claims)
    refuted = ratio > 1
    found: dict[str, Any] = {
        "claim": instance.claim, "file": str(path), "stored": instance.ratio, "ratio": ratio,
        "verdict": "refuted" if refuted else "holds", "note": instance.note,
    }  # fmt: skip
    if options.json:
        print_json(found)
    else:
        stored = "none" if instance.ratio is None else f"{instance.ratio:.10g}"
        same = instance.ratio is not None and math.isclose(ratio, instance.ratio, rel_tol=_SAME)
        print(f"{instance.claim}: measured/bound = {ratio:.10g} (stored: {stored}{'' if same else ', NOT the same'})")
        print(f"{'refuted: a counterexample' if refuted else 'holds on this instance'}; {instance.note}")
    return int(refuted)


@final
class _OnStderr(StderrBar, Progress):
    """A bar on a terminal; elsewhere one line an attack."""

    def __init__(self) -> None:
        super().__init__("attack")
        self._name = ""

    def begin(self, name: str, budget: int) -> None:
        self._name = name
        self.restart(budget, name)

    def advance(self, n_evaluations: int, best: float) -> None:
        self.move(advance=n_evaluations, description=f"{self._name}: {best:.4f}")

    def finished(self, record: Record) -> None:
        if not self.is_shown:
            self.line(f"{self._name}: {record.ratio:.4f} {record.verdict}, {record.seconds:.1f} s")
