"""What earlier runs stored, put together again: figures and reports read here, and measure nothing."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from rebel_bench import registry
from rebel_bench.claim import PARTS
from rebel_bench.errors import ClaimError, UserError
from rebel_bench.fingerprint import code_of, libraries
from rebel_bench.outcomes import Outcome
from rebel_bench.registry import Found
from rebel_bench.runs import Done, Run
from rebel_bench.scale import Scale, scale_of
from rebel_bench.store import BrokenFileError, Spec, Store
from rebel_bench.timings import Timings


def stored_outcomes(
    ids: str | Iterable[str] = (),
    *,
    source: str | Path,
    scale: Scale | str | None = None,
    seed: int | None = None,
    claims: str | Path | None = None,
) -> tuple[Outcome, ...]:
    """Return what is stored under ``source`` of the claims ``ids`` (all by default), in natural order.

    Claims of which nothing whole is stored are left out. Of several runs of a claim the largest scale is taken, then
    the smallest seed, unless ``scale`` or ``seed`` choose; of those, what the present code would give
    (``outcome.current``), otherwise what was measured last.
    """
    texts = (ids,) if isinstance(ids, str) else ids
    chosen = registry.select(registry.find_all(None if claims is None else Path(claims)), texts)
    results = Results(Path(source))
    size = None if scale is None else scale_of(scale)
    found = (results.latest(entry, size, seed) for entry in chosen)
    return tuple(outcome for outcome in found if outcome is not None)


def require_stored(
    ids: Iterable[str] = (),
    *,
    source: Path,
    scale: Scale | None = None,
    seed: int | None = None,
    claims: Path | None = None,
) -> tuple[Outcome, ...]:
    """Return what :func:`stored_outcomes` does, all of ``ids`` and at least one claim.

    Raises
    ------
    UserError
        If something is missing, with the command that measures it.
    """
    texts = tuple(ids)
    outcomes = stored_outcomes(texts, source=source, scale=scale, seed=seed, claims=claims)
    there = {outcome.claim.id for outcome in outcomes}
    wanted = registry.select(registry.find_all(claims), texts) if texts else ()
    missing = [found.claim.id for found in wanted if found.claim.id not in there]
    if outcomes and not missing:
        return outcomes
    what = f"no results of {', '.join(missing)} are stored" if missing else "no results are stored"
    what += f" at scale {scale.value}" if scale else ""
    what += f" with seed {seed}" if seed is not None else ""
    chosen = {"--scale": scale and scale.value, "--seed": seed, "--claims": claims, "--out": source}
    options = [f"{option} {value}" for option, value in chosen.items() if value is not None]
    raise UserError(f"{what} in {source}: run `rebel-theory verify {' '.join([*missing, *options])}`")


@dataclass(frozen=True)
class Results:
    """The results under one folder, the ``--out`` of ``verify``."""

    root: Path

    @cached_property
    def _store(self) -> Store:
        return Store(self.root)

    @cached_property
    def _seconds(self) -> dict[str, float]:
        return {timing.unit: timing.seconds for timing in Timings(self.root).read()}

    def latest(self, found: Found, scale: Scale | None = None, seed: int | None = None) -> Outcome | None:
        """Return the newest whole result of one claim, or None; see :func:`stored_outcomes` for the choice."""
        runs: dict[Spec, list[Spec]] = defaultdict(list)
        for spec in self._store.specs(found.claim.id):
            if scale in (None, spec.scale) and seed in (None, spec.seed):
                runs[replace(spec, part="check", block=0)].append(spec)
        now = (code_of(found.file), libraries(found.file))
        sizes = list(Scale)

        def order(first: Spec) -> tuple[int, int, bool, float]:
            written = max(self._store.written(spec) for spec in runs[first])
            return sizes.index(first.scale), -first.seed, (first.code, first.libraries) == now, written

        for first in sorted(runs, key=order, reverse=True):
            outcome = self._outcome(Run(found, first), current=(first.code, first.libraries) == now)
            if outcome is not None:
                return outcome
        return None

    def _outcome(self, run: Run, *, current: bool) -> Outcome | None:
        """Return one run, or None if it is not whole, or is of older code and no longer fits the claim."""
        done = {spec: unit for spec in run.units() if (unit := self._read(spec)) is not None}
        try:
            check, control = (run.judge(part, done) for part in PARTS)
            if check is None or control is None:
                return None
            return run.outcome(check, control, done, kept=done, current=current)
        except ClaimError:
            if current:
                raise
            return None

    def _read(self, spec: Spec) -> Done | None:
        try:
            stored = self._store.read(spec)
        except BrokenFileError:
            return None
        return None if stored is None else Done(stored, self._seconds.get(spec.name, math.nan))
