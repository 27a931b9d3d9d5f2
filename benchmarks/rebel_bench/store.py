"""Results on disk: one Parquet file per claim, part, scale and seed, whole or absent.

Layout: ``OUT/claims/<id>.<scale>.<seed>.<part>.parquet``. The cases are the table; what they were judged
is in the metadata of its schema, so a file that travels alone still says what it is.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from rebel_bench.atomic import is_temporary, require_writable, whole_file
from rebel_bench.claim import Part
from rebel_bench.errors import UserError
from rebel_bench.judge import Judgement
from rebel_bench.scale import Scale

_KEY = b"rebel-theory"


@dataclass(frozen=True, slots=True)
class Key:
    """What a stored table is a pure function of, next to the version of the code."""

    claim: str
    part: Part
    scale: Scale
    seed: int

    @property
    def file_name(self) -> str:
        """Return the name of the table's file."""
        return f"{self.claim}.{self.scale.value}.{self.seed}.{self.part}.parquet"


@dataclass(frozen=True, slots=True)
class Stored:
    """One measured table and what is known about it; ``seconds`` is the time of the measurement alone."""

    key: Key
    cases: pd.DataFrame
    judgement: Judgement
    statement: str
    version: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Store:
    """The results under one folder."""

    root: Path

    @property
    def folder(self) -> Path:
        """Return the folder of the tables."""
        return self.root / "claims"

    def prepare(self) -> None:
        """Create the folders and try them; raise :class:`UserError` with the remedy if they take no files."""
        require_writable(self.folder)
        figures = self.root / "figures"
        if figures.exists():  # otherwise it is made later, in a root that has just taken a folder
            require_writable(figures)

    def write(self, stored: Stored) -> Path:
        """Write one table and return its path: the old file or the new one, never a part of it."""
        table = pa.Table.from_pandas(stored.cases, preserve_index=False)
        about = {
            **asdict(stored.key),
            "statement": stored.statement,
            "version": stored.version,
            "seconds": stored.seconds,
            "judgement": _encode(asdict(stored.judgement)),
        }
        metadata = {**(table.schema.metadata or {}), _KEY: json.dumps(about, allow_nan=False).encode()}
        path = self.folder / stored.key.file_name
        with whole_file(path) as temporary:
            pq.write_table(table.replace_schema_metadata(metadata), temporary)
        return path

    def read(self, key: Key) -> Stored:
        """Return one table; raise :class:`UserError` if it is missing or is not one of ours."""
        path = self.folder / key.file_name
        if not path.is_file():
            raise UserError(f"no result of claim {key.claim} ({key.part}) at {path}: run `rebel-theory verify` first")
        try:
            table = pq.read_table(path)
            about: dict[str, Any] = json.loads(table.schema.metadata[_KEY])
        except (KeyError, TypeError, OSError, pa.ArrowInvalid) as error:
            raise UserError(
                f"{path} is not a result of rebel-theory ({type(error).__name__}): delete it and verify again"
            ) from None
        return Stored(
            key,
            table.to_pandas(),
            Judgement(**_decode(about["judgement"])),
            about["statement"],
            about["version"],
            about["seconds"],
        )

    def list_keys(self) -> list[Key]:
        """Return what is stored, in the order of the file names; other files are left alone."""
        keys = []
        for path in sorted(self.folder.glob("*.parquet")):
            parts = path.name.split(".")
            if is_temporary(path) or len(parts) != 5 or not parts[2].isdigit():
                continue
            claim, scale, seed, part = parts[0], parts[1], int(parts[2]), parts[3]
            if scale in list(Scale) and part in get_args(Part):
                keys.append(Key(claim, "check" if part == "check" else "control", Scale(scale), seed))
        return keys


def _encode(judgement: dict[str, Any]) -> dict[str, Any]:
    """Return strict JSON values: the non-finite floats become their names."""
    return {
        name: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in judgement.items()
    }


def _decode(judgement: dict[str, Any]) -> dict[str, Any]:
    floats = {name: float(judgement[name]) for name in ("measured", "bound", "p_value")}
    return {**judgement, **floats}
