"""Cells on disk, one Parquet file each, so that a study that was killed goes on; and cells in many processes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from rebel_bench.atomic import remove_leftovers, require_writable, whole_file
from rebel_bench.comparison import cells
from rebel_bench.comparison.cells import Cell, measure
from rebel_bench.errors import UserError
from rebel_bench.fingerprint import code_of, libraries
from rebel_bench.pool import run_all
from rebel_bench.threads import numba_threads
from rebel_bench.user_files import in_words
from rebel_theory.blas import one_blas_thread

_ABOUT = b"rebel-theory"
_DIGITS = 20


@dataclass(frozen=True)
class Cells:
    """Runs cells, in ``workers`` processes; keeps them under ``root``, or nowhere.

    Attributes
    ----------
    tell
        Called with every cell that is there, and whether it had been kept.
    """

    root: Path | None
    workers: int = 1
    tell: Callable[[Cell, bool], None] = lambda _cell, _kept: None
    code: str = field(default_factory=lambda: code_of(Path(cells.__file__)))

    def __call__(self, wanted: Sequence[Cell]) -> list[pd.DataFrame]:
        """Return the table of every cell, in their order; only those that are not kept are measured."""
        if self.root is not None:
            require_writable(self.root)
            remove_leftovers(self.root)
        found = {cell: table for cell in wanted if (table := self._read(cell)) is not None}
        for cell in found:
            self.tell(cell, True)
        missing = [cell for cell in dict.fromkeys(wanted) if cell not in found]
        for cell, table in run_all(_measured, missing, self.workers):
            self._write(cell, table)
            found[cell] = table
            self.tell(cell, False)
        return [found[cell] for cell in wanted]

    def about(self, cell: Cell) -> str:
        """Return what the table of a cell is a pure function of, as JSON."""
        own = _own_file(cell)
        given = asdict(cell) | {"code": self.code, "libraries": libraries(), "own": own}
        return json.dumps(given, sort_keys=True)

    def path(self, cell: Cell) -> Path | None:
        """Return where a cell is, or would be; None if nothing is kept."""
        name = hashlib.sha256(self.about(cell).encode()).hexdigest()[:_DIGITS]
        return None if self.root is None else self.root / f"{name}.parquet"

    def _read(self, cell: Cell) -> pd.DataFrame | None:
        """Return a kept cell, or None if there is none or the file is damaged: then it is measured again."""
        path = self.path(cell)
        if path is None or not path.is_file():
            return None
        try:
            table = pq.read_table(path, page_checksum_verification=True)
            same = (table.schema.metadata or {}).get(_ABOUT) == self.about(cell).encode()
            return table.to_pandas() if same else None
        except (OSError, ValueError, pa.ArrowException):
            return None

    def _write(self, cell: Cell, found: pd.DataFrame) -> None:
        """Keep a cell, unless the code on the disk is no longer what the run began with."""
        path = self.path(cell)
        if path is None or code_of(Path(cells.__file__)) != self.code:  # edited during the run: nobody knows what ran
            return
        table = pa.Table.from_pandas(found, preserve_index=False)
        metadata = {**(table.schema.metadata or {}), _ABOUT: self.about(cell).encode()}
        with whole_file(path) as temporary:
            pq.write_table(table.replace_schema_metadata(metadata), temporary, write_page_checksum=True)


def _own_file(cell: Cell) -> str:
    """Return the digest of the user's file that a cell runs, or nothing."""
    file, mark, _ = cell.algorithm.partition(".py")
    return hashlib.sha256(Path(file + mark).read_bytes()).hexdigest() if mark else ""


def _measured(cell: Cell) -> tuple[Cell, pd.DataFrame]:
    """Return a cell and its table, measured in one thread."""
    try:
        with numba_threads(1), one_blas_thread(with_scipy=True):
            return cell, measure(cell)
    except UserError:
        raise
    except Exception as error:  # a step of the user's own may raise anything
        raise UserError(
            f"{cell.algorithm} on {cell.env} with {cell.oracle}, step size {cell.step_size:g}: {in_words(error)}. "
            "Cells that were done are kept"
        ) from None
