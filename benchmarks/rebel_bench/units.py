"""The unit of work: one block of one part of one claim, a pure function of its specification, in any process."""

from __future__ import annotations

import sys
import traceback
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import pandas as pd
import pyarrow as pa

from rebel_bench import registry
from rebel_bench.errors import ClaimError, UserError
from rebel_bench.store import Spec
from rebel_theory.blas import one_blas_thread


@dataclass(frozen=True, slots=True)
class Unit:
    """A specification, and the file of the claim."""

    spec: Spec
    file: Path


@dataclass(frozen=True, slots=True)
class Measured:
    """What a unit found."""

    unit: Unit
    cases: pd.DataFrame
    seconds: float


@dataclass(frozen=True, slots=True)
class Failed:
    """What went wrong, as text: an exception from another process need not pickle."""

    where: str
    details: str


def measure(unit: Unit) -> Measured | Failed:
    """Return the cases of ``unit``; importing the claim is not timed.

    The cases are as they will be when they are read from the disk (types may change on the way), so that what is
    judged and drawn does not depend on whether they were.
    """
    spec = unit.spec
    try:
        claim = registry.load(unit.file)
        # stdout belongs to the report: a claim that prints must not break `--json`
        with redirect_stdout(sys.stderr), one_blas_thread(with_scipy=True):
            begin = perf_counter()
            cases = claim.measure(spec.part, spec.scale, spec.seed, spec.block)
            seconds = round(perf_counter() - begin, 6)  # as it is written down
        return Measured(unit, pa.Table.from_pandas(cases, preserve_index=False).to_pandas(), seconds)
    except (UserError, ClaimError):
        raise
    except Exception:
        return Failed(f"{spec.claim} ({spec.part})", traceback.format_exc())
