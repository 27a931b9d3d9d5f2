"""Measured cases on disk: one Parquet file a unit, whole or absent, named by what it is a pure function of.

Layout: ``OUT/units/<claim>-<part>-<hash>.parquet``. The hash is of the unit's specification, which the metadata of
the file's schema spell out, so that a file that travels alone still says what it is. Nothing that differs between
two runs goes in: how long a unit took is in :mod:`rebel_bench.timings`, and verdicts are drawn from the cases.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from rebel_bench.atomic import is_temporary, remove_leftovers, require_writable, whole_file
from rebel_bench.claim import PARTS, Part
from rebel_bench.scale import Scale

_ABOUT = b"rebel-theory"
_BROKEN = (KeyError, TypeError, ValueError, OSError, pa.ArrowException)  # what reading a file of another kind raises


@dataclass(frozen=True, slots=True)
class Spec:
    """What the cases of a unit are a pure function of.

    Attributes
    ----------
    claim, part, scale, seed
        Which measurement.
    block, n_blocks
        Which of its pieces, from 0.
    code, libraries
        The fingerprint of the code that it runs, and the versions of the numerical libraries.
    """

    claim: str
    part: Part
    scale: Scale
    seed: int
    block: int
    n_blocks: int
    code: str
    libraries: str

    @property
    def name(self) -> str:
        """Return the name of the unit's file, without the ending."""
        text = json.dumps(asdict(self), sort_keys=True)
        return f"{self.claim}-{self.part}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    def siblings(self, part: Part) -> tuple[Spec, ...]:
        """Return all blocks of a part of the same measurement."""
        return tuple(replace(self, part=part, block=block) for block in range(self.n_blocks))


@dataclass(frozen=True, slots=True)
class Stored:
    """The cases of a unit, and the version of the package that measured them."""

    spec: Spec
    cases: pd.DataFrame
    version: str


class BrokenFileError(Exception):
    """A file that should hold a unit and does not; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Store:
    """The units under one folder."""

    root: Path

    @property
    def folder(self) -> Path:
        """Return the folder of the units."""
        return self.root / "units"

    def path(self, spec: Spec) -> Path:
        """Return where a unit is, or would be."""
        return self.folder / f"{spec.name}.parquet"

    def prepare(self) -> None:
        """Create the folders and try them; raise :class:`UserError` with the remedy if they take no files."""
        require_writable(self.folder)
        remove_leftovers(self.folder)
        figures = self.root / "figures"
        if figures.exists():  # otherwise it is made later, in a root that has just taken a folder
            require_writable(figures)

    def write(self, spec: Spec, cases: pd.DataFrame, *, statement: str, version: str) -> Path:
        """Write one unit and return its path: the old file or the new one, never a part of it."""
        table = pa.Table.from_pandas(cases, preserve_index=False).combine_chunks()
        about = {"spec": asdict(spec), "statement": statement, "version": version}
        metadata = {**(table.schema.metadata or {}), _ABOUT: json.dumps(about, sort_keys=True).encode()}
        path = self.path(spec)
        with whole_file(path) as temporary:
            pq.write_table(table.replace_schema_metadata(metadata), temporary, write_page_checksum=True)
        return path

    def read(self, spec: Spec) -> Stored | None:
        """Return one unit, or None if it is not there.

        Raises
        ------
        BrokenFileError
            If the file of that name is damaged, or holds something else.
        """
        path = self.path(spec)
        if not path.is_file():
            return None
        try:
            table = pq.read_table(path, page_checksum_verification=True)
            stored, version = _about(table.schema)
            cases = table.to_pandas()
        except FileNotFoundError:  # another run may prune
            return None
        except _BROKEN as error:
            raise BrokenFileError(f"{path} is not a result of rebel-theory ({type(error).__name__})") from None
        if stored != spec:
            raise BrokenFileError(f"{path} holds {stored.name}, which is another unit")
        return Stored(spec, cases, version)

    def written(self, spec: Spec) -> float:
        """Return when a unit was written, in seconds since the epoch; 0 if it is not there, or no longer."""
        try:
            return self.path(spec).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def specs(self, claim: str | None = None) -> Iterator[Spec]:
        """Yield what is stored, of one claim or of all, in the order of the names; other files are left alone."""
        for path in sorted(self.folder.glob(f"{claim or '*'}-*.parquet")):
            if is_temporary(path):
                continue
            try:
                spec, _ = _about(pq.read_schema(path))
            except _BROKEN:
                continue
            if spec.name == path.stem:
                yield spec


def _about(schema: pa.Schema) -> tuple[Spec, str]:
    """Return the specification and the version that a file states."""
    about: dict[str, Any] = json.loads(schema.metadata[_ABOUT])
    fields = dict(about["spec"])
    if fields["part"] not in PARTS:
        raise ValueError(fields["part"])
    spec = Spec(**{**fields, "scale": Scale(fields["scale"]), "part": cast(Part, fields["part"])})
    return spec, str(about["version"])
