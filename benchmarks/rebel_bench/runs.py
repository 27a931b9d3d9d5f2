"""The measurement of one claim: which units it has, and what they come to once they are there."""

from __future__ import annotations

import math
import sys
import traceback
from collections.abc import Collection, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass

import pandas as pd

from rebel_bench.claim import PARTS, Claim, Judgement, Part
from rebel_bench.errors import ClaimError
from rebel_bench.fingerprint import code_of, libraries
from rebel_bench.outcomes import Outcome
from rebel_bench.registry import Found
from rebel_bench.scale import Scale
from rebel_bench.store import Spec, Stored


@dataclass(frozen=True, slots=True)
class Done:
    """A unit that was measured, now or earlier, and how long that took (NaN if nobody knows)."""

    stored: Stored
    seconds: float


@dataclass(frozen=True, slots=True)
class Judged:
    """One part of a claim, all blocks together."""

    cases: pd.DataFrame
    judgement: Judgement


@dataclass(frozen=True, slots=True)
class Run:
    """One measurement of a claim; ``first`` is its first unit, from which the others differ in part and block."""

    found: Found
    first: Spec

    def units(self) -> tuple[Spec, ...]:
        """Return the units of both parts."""
        return tuple(spec for part in PARTS for spec in self.first.siblings(part))

    def judge(self, part: Part, done: Mapping[Spec, Done]) -> Judged | None:
        """Return the verdict on a part, or None while a block is missing; :class:`ClaimError` if judging fails."""
        specs = self.first.siblings(part)
        if any(spec not in done for spec in specs):
            return None
        claim = self.found.claim
        try:
            with redirect_stdout(sys.stderr):
                cases = claim.join([done[spec].stored.cases for spec in specs])
                return Judged(cases, claim.judge(part, cases))
        except Exception:
            raise ClaimError(f"{claim.id} ({part})", traceback.format_exc()) from None

    def outcome(
        self, check: Judged, control: Judged, done: Mapping[Spec, Done], *, kept: Collection[Spec], current: bool
    ) -> Outcome:
        """Return the outcome of both parts."""
        units = self.units()
        return Outcome(
            claim=self.found.claim,
            scale=self.first.scale,
            seed=self.first.seed,
            judgement=check.judgement,
            control=control.judgement,
            finding=_finding(self.found.claim, check.cases, control.cases),
            cases=check.cases,
            control_cases=control.cases,
            seconds=math.fsum(done[spec].seconds for spec in units),
            n_units=len(units),
            n_kept=sum(spec in kept for spec in units),
            version=done[self.first].stored.version,
            code=self.first.code,
            libraries=self.first.libraries,
            current=current,
        )


def run_of(found: Found, scale: Scale, seed: int) -> Run:
    """Return the measurement of a claim by the present code."""
    n_blocks = found.claim.n_blocks(scale)
    return Run(
        found, Spec(found.claim.id, "check", scale, seed, 0, n_blocks, code_of(found.file), libraries(found.file))
    )


def _finding(claim: Claim, cases: pd.DataFrame, control_cases: pd.DataFrame) -> str | None:
    """Return what ``claim`` finds in its cases, in one line, or None if it has nothing to add."""
    if claim.finding is None:
        return None
    try:
        with redirect_stdout(sys.stderr):
            return " ".join(claim.finding(cases, control_cases).split())
    except Exception:
        raise ClaimError(f"{claim.id} (finding)", traceback.format_exc()) from None
