"""Run claims with their controls, keep what they find, and say whether everything came out as it should."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rebel_bench import IMPORTED_AT, registry
from rebel_bench.claim import PARTS
from rebel_bench.errors import UserError
from rebel_bench.fingerprint import edited_since
from rebel_bench.keeper import Keeper
from rebel_bench.outcomes import Verification
from rebel_bench.pool import run_units
from rebel_bench.progress import Progress, Silent
from rebel_bench.registry import Found
from rebel_bench.runs import Done, run_of
from rebel_bench.scale import Scale, scale_of
from rebel_bench.store import Stored
from rebel_bench.units import Unit
from rebel_bench.version import version


def verify(
    ids: str | Iterable[str] = (),
    *,
    scale: Scale | str = Scale.QUICK,
    seed: int = 0,
    workers: int = 1,
    out: str | Path | None = None,
    claims: str | Path | None = None,
    fresh: bool = False,
    progress: Progress | None = None,
) -> Verification:
    """Return the verdicts of the claims ``ids`` (all of them by default) and of their controls.

    Parameters
    ----------
    ids
        Such as ``"C2"``, ``"c2,e1"`` or ``["C2", "E1"]``.
    scale, seed
        How much work, and which random streams. Each part of each claim has its own, hashed from its name, so
        the numbers depend neither on ``workers`` nor on which other claims run.
    workers
        Processes. More than one spawns them, so a script needs ``if __name__ == "__main__":``.
    out
        A folder for the results: one Parquet file a unit, as soon as it is finished. What is there already, from the
        same code, is not measured again, so that a run that was killed goes on. None stores nothing.
    claims
        A folder of claim files; None for the ones that ship.
    fresh
        Measure again what is there already.
    progress
        What to tell about the run; None for nothing.

    Raises
    ------
    UserError
        For unknown ids, or a folder that cannot be written: before any work starts.
    ClaimError
        If a claim raises.
    """
    scale = scale_of(scale)
    if seed < 0:
        raise UserError(f"--seed {seed}: expected 0 or more")
    texts = (ids,) if isinstance(ids, str) else tuple(ids)
    chosen = registry.select(registry.find_all(None if claims is None else Path(claims)), texts)
    chosen, left_out = registry.runnable(chosen, asked=bool(texts))
    keeper = None if out is None else Keeper.at(Path(out))
    if keeper is not None and workers == 1:
        _require_unedited(chosen)
    runs = {found.claim.id: run_of(found, scale, seed) for found in chosen}
    specs = [spec for run in runs.values() for spec in run.units()]
    with progress or Silent() as report:
        done = {} if keeper is None or fresh else keeper.kept(specs, report)
        kept = frozenset(done)
        judged = {(id_, part): run.judge(part, done) for id_, run in runs.items() for part in PARTS}
        units = [Unit(spec, runs[spec.claim].found.file) for spec in specs if spec not in kept]
        report.start(len(units))
        if keeper is not None and workers > 1:
            units = keeper.longest_first(units)
        for measured in run_units(units, workers):
            spec, run = measured.unit.spec, runs[measured.unit.spec.claim]
            done[spec] = Done(Stored(spec, measured.cases, version()), measured.seconds)
            if keeper is not None:
                keeper.keep(measured.unit, done[spec], run.found.claim.statement, report)
            judged[spec.claim, spec.part] = part = run.judge(spec.part, done)
            report.finished(spec, measured.seconds, None if part is None else part.judgement)
    parts = {key: part for key, part in judged.items() if part is not None}
    outcomes = (
        run.outcome(parts[id_, "check"], parts[id_, "control"], done, kept=kept, current=True)
        for id_, run in runs.items()
    )
    return Verification(tuple(outcomes), scale, seed, version(), left_out)


def _require_unedited(chosen: Iterable[Found]) -> None:
    """Raise :class:`UserError` if this process may run older sources than those that results would be named by."""
    for found in chosen:
        if edited := edited_since(found.file, IMPORTED_AT):
            raise UserError(
                f"{edited[0]} was edited after this process had started, which may run what it was before: "
                "start again, take --workers 2, or store nothing (out=None)"
            )
