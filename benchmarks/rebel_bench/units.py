"""The unit of work: one part of one claim, a pure function of its named inputs, in any process."""

from __future__ import annotations

import sys
import traceback
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import pandas as pd

from rebel_bench import registry
from rebel_bench.errors import ClaimError, UserError
from rebel_bench.judge import Judgement
from rebel_bench.store import Key


@dataclass(frozen=True, slots=True)
class Unit:
    """A key, and the file of the claim."""

    key: Key
    file: Path


@dataclass(frozen=True, slots=True)
class Measured:
    """What a unit found."""

    key: Key
    cases: pd.DataFrame
    judgement: Judgement
    seconds: float


@dataclass(frozen=True, slots=True)
class Failed:
    """What went wrong, as text: an exception from another process need not pickle."""

    where: str
    details: str


def measure(unit: Unit) -> Measured | Failed:
    """Return the cases of ``unit`` and their verdict; importing the claim is not timed."""
    key = unit.key
    try:
        claim = registry.load(unit.file)
        # stdout belongs to the report: a claim that prints must not break `--json`
        with redirect_stdout(sys.stderr):
            begin = perf_counter()
            cases = claim.measure(key.part, key.scale, key.seed)
            seconds = perf_counter() - begin
        return Measured(key, cases, claim.judge(key.part, cases), seconds)
    except (UserError, ClaimError):
        raise
    except Exception:
        return Failed(f"{key.claim} ({key.part})", traceback.format_exc())
