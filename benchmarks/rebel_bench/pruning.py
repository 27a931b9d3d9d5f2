"""Units that no run will read again: measured by older code or libraries, and replaced by those of this run.

Safe beside another run: only what was there before this one began may go, only if the file is what it was then, and
only of claims whose present units are whole. What another scale, seed or device would read stays, as do units of
claims that this run did not have, damaged files, and whatever else lies in the folder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rebel_bench.claim import PARTS
from rebel_bench.fingerprint import same_libraries
from rebel_bench.outcomes import Outcome
from rebel_bench.store import Spec, Store

_State = tuple[int, int, int]  # inode, time of modification, size


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed, or would be.

    Attributes
    ----------
    units
        By the paths of their files.
    n_bytes
        Their size together.
    failed
        Why files could not be removed, by their paths.
    dry_run
        Whether nothing was removed.
    """

    units: Mapping[Path, Spec]
    n_bytes: int
    failed: Mapping[Path, str]
    dry_run: bool

    def __str__(self) -> str:
        """Return one sentence."""
        counts = Counter(spec.claim for spec in self.units.values())
        each = ", ".join(f"{id_} {n}" for id_, n in counts.items())
        what = f": {each} ({self.n_bytes / 1e3:.0f} kB)" if each else ""
        verb = "Would remove" if self.dry_run else "Removed"
        return f"{verb} {len(self.units)} units of older code or libraries{what}"

    def row(self) -> dict[str, object]:
        """Return the object ``pruned`` in ``verify --json``."""
        return {"units": [path.name for path in self.units], "bytes": self.n_bytes, "dry_run": self.dry_run}


@dataclass(frozen=True, slots=True)
class Prunable:
    """The units under one folder as they were before a run."""

    store: Store
    there: Mapping[Spec, _State]

    @classmethod
    def before_the_run(cls, folder: Path) -> Prunable:
        """Return what is there now."""
        store = Store(folder)
        found = ((spec, _state(store.path(spec))) for spec in store.specs())
        return cls(store, {spec: state for spec, state in found if state is not None})

    def prune(self, outcomes: Iterable[Outcome], *, dry_run: bool = False) -> Pruned:
        """Remove what ``outcomes``, of the run that followed, replace: of their claims, at their scale."""
        present = {outcome.claim.id: outcome for outcome in outcomes if self._is_whole(outcome)}
        units: dict[Path, Spec] = {}
        failed: dict[Path, str] = {}
        n_bytes = 0
        for spec, (*_, size) in self.there.items():
            path = self.store.path(spec)
            outcome = present.get(spec.claim)
            if outcome is None or not _replaced(spec, outcome) or _state(path) != self.there[spec]:
                continue
            try:
                if not dry_run:
                    path.unlink()
            except FileNotFoundError:  # another run has pruned
                continue
            except OSError as error:
                failed[path] = error.strerror or str(error)
                continue
            units[path] = spec
            n_bytes += size
        return Pruned(units, n_bytes, failed, dry_run)

    def _is_whole(self, outcome: Outcome) -> bool:
        o = outcome
        first = Spec(o.claim.id, "check", o.scale, o.seed, 0, o.n_units // len(PARTS), o.code, o.libraries)
        return all(self.store.path(spec).is_file() for part in PARTS for spec in first.siblings(part))


def _replaced(spec: Spec, outcome: Outcome) -> bool:
    """Return whether a unit is of the scale of ``outcome``, and no run of its code would read it on any device."""
    if spec.scale != outcome.scale:
        return False
    return spec.code != outcome.code or not same_libraries(spec.libraries, outcome.libraries)


def _state(path: Path) -> _State | None:
    try:
        about = path.stat()
    except FileNotFoundError:
        return None
    return about.st_ino, about.st_mtime_ns, about.st_size
