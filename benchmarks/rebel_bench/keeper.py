"""What a run keeps, and what it finds kept by earlier ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rebel_bench.fingerprint import code_of
from rebel_bench.progress import Progress
from rebel_bench.runs import Done
from rebel_bench.store import BrokenFileError, Spec, Store
from rebel_bench.timings import Timings
from rebel_bench.units import Unit


@dataclass(frozen=True, slots=True)
class Keeper:
    """The units and the timings under one folder."""

    store: Store
    timings: Timings

    @classmethod
    def at(cls, folder: Path) -> Keeper:
        """Return the keeper of ``folder``, which is made and tried; :class:`UserError` if it takes no files."""
        keeper = cls(Store(folder), Timings(folder))
        keeper.store.prepare()
        return keeper

    def kept(self, specs: Iterable[Spec], report: Progress) -> dict[Spec, Done]:
        """Return those of the units that are there already; a damaged one is told of, and left to be measured."""
        seconds = {timing.unit: timing.seconds for timing in self.timings.read()}
        found = {}
        for spec in specs:
            try:
                stored = self.store.read(spec)
            except BrokenFileError as error:
                report.warn(f"{error}: {spec.claim} ({spec.part}) is measured again")
                continue
            if stored is not None:
                found[spec] = Done(stored, seconds.get(spec.name, math.nan))
        return found

    def keep(self, unit: Unit, done: Done, statement: str, report: Progress) -> None:
        """Keep a unit, unless the code on the disk is no longer what the run began with.

        The time goes first: were the run killed in between, the unit would be measured again, and a kept unit has one.
        """
        spec = unit.spec
        if code_of(unit.file) != spec.code:
            report.warn(f"{spec.claim} ({spec.part}) is not kept: its code was edited during the run. Verify again")
            return
        self.timings.add(spec, done.seconds)
        self.store.write(spec, done.stored.cases, statement=statement, version=done.stored.version)

    def longest_first(self, units: Sequence[Unit]) -> list[Unit]:
        """Return the units in the order of the times they took earlier, so that no long one is left to the end.

        Another scale will do for a guess; what nobody has timed comes first, in the order given.
        """
        timings = self.timings.read()
        guess = {(t.claim, t.part): t.seconds for t in timings}
        exact = {(t.claim, t.part, t.scale): t.seconds for t in timings}

        def seconds(unit: Unit) -> float:
            part = (unit.spec.claim, unit.spec.part)
            return exact.get((*part, unit.spec.scale.value), guess.get(part, math.inf))

        return sorted(units, key=seconds, reverse=True)
