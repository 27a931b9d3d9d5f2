"""Figures of claims, from the cases of a run or from stored ones."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd

from rebel_bench import registry
from rebel_bench.atomic import require_writable
from rebel_bench.claim import Claim
from rebel_bench.errors import ClaimError, UserError
from rebel_bench.results import require_stored
from rebel_bench.scale import Scale
from rebel_bench.style import Venue, figure, save
from rebel_bench.threads import numba_threads


def render(
    claim: Claim, cases: pd.DataFrame, control_cases: pd.DataFrame, folder: Path, venue: Venue = "neurips"
) -> tuple[Path, ...]:
    """Draw one claim into ``folder`` and return the files: PNG and PDF, or none if it has no figure."""
    if claim.figure is None:
        return ()
    try:
        with numba_threads(1), figure(venue, claim.panels) as fig:
            claim.figure(fig, cases, control_cases)
            return save(fig, folder / claim.id)
    except UserError:
        raise  # the disk, not the claim
    except Exception:
        raise ClaimError(f"{claim.id} (figure)", traceback.format_exc()) from None


def render_stored(
    ids: Iterable[str] = (),
    *,
    source: Path,
    out: Path,
    venue: Venue = "neurips",
    scale: Scale | None = None,
    seed: int | None = None,
    claims: Path | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> list[Path]:
    """Draw what is stored under ``source`` into ``out`` and return the files; nothing is measured.

    Without ids, every stored claim that has a figure. Of several stored runs of a claim the largest scale is
    drawn, then the smallest seed, unless ``scale`` or ``seed`` choose. ``note`` hears of results of other code.

    Raises
    ------
    UserError
        If nothing fitting is stored, for ids not run or without a figure, or if ``out`` takes no files.
    """
    texts = tuple(ids)
    picked = registry.select(registry.find_all(claims), texts)
    without = [entry.claim.id for entry in picked if entry.claim.figure is None]
    if texts and without:
        raise UserError(f"{', '.join(without)}: no figure is defined, leave the id out")
    outcomes = require_stored(texts, source=source, scale=scale, seed=seed, claims=claims)
    require_writable(out)
    if old := [o.claim.id for o in outcomes if not o.current]:
        note(f"{', '.join(old)}: measured by other code than this; `rebel-theory verify` measures again")
    return [file for o in outcomes for file in render(o.claim, o.cases, o.control_cases, out, venue)]
