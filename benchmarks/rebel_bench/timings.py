"""How long units took: ``OUT/timings.jsonl``, a line a unit, beside the results that must not depend on it."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rebel_bench.errors import UserError
from rebel_bench.store import Spec

_FIELDS = {"unit": str, "claim": str, "part": str, "scale": str, "seconds": float, "at": str}


@dataclass(frozen=True, slots=True)
class Timing:
    """One line; ``at`` is when the unit was finished, ISO 8601 in UTC."""

    unit: str
    claim: str
    part: str
    scale: str
    seconds: float
    at: str


@dataclass(frozen=True, slots=True)
class Timings:
    """The times under one folder; of several lines on a unit the last counts."""

    root: Path

    @property
    def path(self) -> Path:
        """Return the file."""
        return self.root / "timings.jsonl"

    def add(self, spec: Spec, seconds: float) -> None:
        """Append the time of a unit, on a line of its own even after a run that was killed within one."""
        line = {
            "unit": spec.name,
            "claim": spec.claim,
            "part": spec.part,
            "scale": spec.scale.value,
            "seed": spec.seed,
            "block": spec.block,
            "seconds": seconds,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        try:
            with self.path.open("ab+") as file:
                file.seek(0, os.SEEK_END)
                if file.tell():
                    file.seek(-1, os.SEEK_END)
                    begun = b"" if file.read(1) == b"\n" else b"\n"
                else:
                    begun = b""
                file.write(begun + json.dumps(line).encode() + b"\n")
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error.strerror or error}. Choose another folder") from error

    def read(self) -> list[Timing]:
        """Return the lines, oldest first; what is no line of this file is left out."""
        if not self.path.is_file():
            return []
        found = []
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(ValueError, TypeError, KeyError):  # a line that was cut off by a kill
                about = json.loads(line)
                found.append(Timing(**{name: kind(about[name]) for name, kind in _FIELDS.items()}))
        return found
