"""Figures of claims, from the cases of a run or from stored ones."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from rebel_bench import registry
from rebel_bench.atomic import require_writable
from rebel_bench.claim import Claim
from rebel_bench.errors import ClaimError, UserError
from rebel_bench.scale import Scale
from rebel_bench.store import Key, Store
from rebel_bench.style import Venue, figure, save


def render(
    claim: Claim, cases: pd.DataFrame, control_cases: pd.DataFrame, folder: Path, venue: Venue = "neurips"
) -> tuple[Path, ...]:
    """Draw one claim into ``folder`` and return the files: PNG and PDF, or none if it has no figure."""
    if claim.figure is None:
        return ()
    try:
        with figure(venue, claim.panels) as fig:
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
) -> list[Path]:
    """Draw what is stored under ``source`` into ``out`` and return the files; nothing is measured.

    Without ids, every stored claim that has a figure. Of several stored runs of a claim the largest scale is
    drawn, then the smallest seed, unless ``scale`` or ``seed`` choose.

    Raises
    ------
    UserError
        If nothing fitting is stored, for ids not run or without a figure, or if ``out`` takes no files.
    """
    store = Store(source)
    runs = _complete(store.list_keys(), scale, seed)
    if not runs:
        chosen = f" at scale {scale.value}" if scale else ""
        chosen += f" with seed {seed}" if seed is not None else ""
        raise UserError(f"no results are stored{chosen} in {source}: run `rebel-theory verify --out {source}` first")
    found = registry.find_all(claims)
    texts = tuple(ids)
    picked = registry.select(found, texts)
    missing = [entry.claim.id for entry in picked if entry.claim.id not in runs]
    if texts and missing:
        raise UserError(
            f"no results of {', '.join(missing)} are stored in {source}: "
            f"run `rebel-theory verify {' '.join(missing)} --out {source}` first"
        )
    without = [entry.claim.id for entry in picked if entry.claim.figure is None]
    if texts and without:
        raise UserError(f"{', '.join(without)}: no figure is defined, leave the id out")
    require_writable(out)
    files: list[Path] = []
    for entry in picked:
        if entry.claim.id in runs:
            run = runs[entry.claim.id]
            check = store.read(Key(entry.claim.id, "check", *run))
            control = store.read(Key(entry.claim.id, "control", *run))
            files += render(entry.claim, check.cases, control.cases, out, venue)
    return files


def _complete(keys: Sequence[Key], scale: Scale | None, seed: int | None) -> dict[str, tuple[Scale, int]]:
    """Return the run to draw for every claim of which the check and the control are both stored."""
    stored = set(keys)
    sizes = list(Scale)
    runs: dict[str, tuple[Scale, int]] = {}
    for key in keys:
        both = all(Key(key.claim, part, key.scale, key.seed) in stored for part in ("check", "control"))
        wanted = scale in (None, key.scale) and seed in (None, key.seed)
        if both and wanted:
            best = runs.get(key.claim, (key.scale, key.seed))
            runs[key.claim] = max(best, (key.scale, key.seed), key=lambda run: (sizes.index(run[0]), -run[1]))
    return runs
