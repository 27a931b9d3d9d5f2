"""Run claims with their controls, store what they find, and say whether everything came out as it should."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from rebel_bench import registry
from rebel_bench.claim import Claim
from rebel_bench.errors import ClaimError, UserError
from rebel_bench.judge import Judgement
from rebel_bench.pool import run_units
from rebel_bench.progress import Progress, Silent
from rebel_bench.scale import Scale
from rebel_bench.store import Key, Store, Stored
from rebel_bench.units import Measured, Unit
from rebel_bench.version import version


@dataclass(frozen=True, slots=True)
class Outcome:
    """One claim, judged, with the cases of its check and of its control."""

    claim: Claim
    judgement: Judgement
    control: Judgement
    seconds: float
    cases: pd.DataFrame
    control_cases: pd.DataFrame
    finding: str | None

    @property
    def passed(self) -> bool:
        """Return whether the claim holds and its control is refuted: one without the other shows nothing."""
        return self.judgement.verdict == "holds" and self.control.verdict == "refuted"


@dataclass(frozen=True, slots=True)
class Verification:
    """The outcomes of one run, in natural order; ``result["C2"]`` is one of them."""

    outcomes: tuple[Outcome, ...]
    scale: Scale
    seed: int
    version: str

    @property
    def passed(self) -> bool:
        """Return whether every claim holds and every control is refuted."""
        return all(outcome.passed for outcome in self.outcomes)

    def __iter__(self) -> Iterator[Outcome]:
        return iter(self.outcomes)

    def __len__(self) -> int:
        return len(self.outcomes)

    def __getitem__(self, id_: str) -> Outcome:
        for outcome in self.outcomes:
            if outcome.claim.id.upper() == id_.upper():
                return outcome
        raise KeyError(f"claim {id_!r} was not run; this run has {', '.join(o.claim.id for o in self.outcomes)}")

    def rows(self) -> list[dict[str, object]]:
        """Return one dictionary a claim, with the keys of ``verify --json``."""
        return [
            {
                "id": o.claim.id,
                "statement": o.claim.statement,
                "verdict": o.judgement.verdict,
                "control": o.control.verdict,
                "measured": o.judgement.measured,
                "bound": o.judgement.bound,
                "n_cases": o.judgement.n_cases,
                "violations": o.judgement.violations,
                "seconds": o.seconds,
                "false_alarm": o.claim.false_alarm,
                "finding": o.finding,
            }
            for o in self.outcomes
        ]

    def to_frame(self) -> pd.DataFrame:
        """Return the same rows as a table."""
        return pd.DataFrame(self.rows())

    def _repr_html_(self) -> str:
        html: str = self.to_frame().to_html(index=False)
        return html


def verify(
    ids: str | Iterable[str] = (),
    *,
    scale: Scale | str = Scale.QUICK,
    seed: int = 0,
    workers: int = 1,
    out: str | Path | None = None,
    claims: str | Path | None = None,
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
        Processes. More than one spawns them, so a script needs ``if __name__ == "__main__":``. They use one
        thread each; in this process BLAS keeps the number it was loaded with, which may change last digits.
    out
        A folder for the results (one Parquet file a part, as soon as it is finished); None stores nothing.
    claims
        A folder of claim files; None for the ones that ship.
    progress
        What to tell about the run; None for nothing.

    Raises
    ------
    UserError
        For unknown ids, or a folder that cannot be written: before any work starts.
    ClaimError
        If a claim raises.
    """
    scale = _scale(scale)
    if seed < 0:
        raise UserError(f"--seed {seed}: expected 0 or more")
    texts = (ids,) if isinstance(ids, str) else tuple(ids)
    chosen = registry.select(registry.find_all(None if claims is None else Path(claims)), texts)
    store = None if out is None else Store(Path(out))
    if store is not None:
        store.prepare()
    units = [
        Unit(Key(found.claim.id, part, scale, seed), found.file) for found in chosen for part in ("check", "control")
    ]
    done: dict[Key, Measured] = {}
    with progress or Silent() as report:
        report.start(len(units))
        for measured in run_units(units, workers):
            done[measured.key] = measured
            if store is not None:
                store.write(_stored(measured, registry.select_claim(chosen, measured.key.claim)))
            report.finished(measured)
    outcomes = tuple(
        _outcome(found.claim, *(done[Key(found.claim.id, part, scale, seed)] for part in ("check", "control")))
        for found in chosen
    )
    return Verification(outcomes, scale, seed, version())


def _scale(scale: Scale | str) -> Scale:
    try:
        return Scale(scale)
    except ValueError:
        raise UserError(f"scale {scale!r}: expected one of {', '.join(Scale)}") from None


def _stored(measured: Measured, claim: Claim) -> Stored:
    return Stored(measured.key, measured.cases, measured.judgement, claim.statement, version(), measured.seconds)


def _outcome(claim: Claim, check: Measured, control: Measured) -> Outcome:
    seconds = check.seconds + control.seconds
    finding = state_finding(claim, check.cases, control.cases)
    return Outcome(claim, check.judgement, control.judgement, seconds, check.cases, control.cases, finding)


def state_finding(claim: Claim, cases: pd.DataFrame, control_cases: pd.DataFrame) -> str | None:
    """Return what ``claim`` finds in its cases, in one line, or None if it has nothing to add."""
    if claim.finding is None:
        return None
    try:
        with redirect_stdout(sys.stderr):
            return " ".join(claim.finding(cases, control_cases).split())
    except Exception:
        raise ClaimError(f"{claim.id} (finding)", traceback.format_exc()) from None
