"""Square tables of named numbers from a file, a data frame or an array; every bad cell is reported."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from rebel_theory.arrays import FloatArray
from rebel_theory.problems.base import Checks, InvalidProblemError, checking

_SHOWN = 5
_MISSING = ("", "na", "n/a", "nan", "none", "null", "<na>", "nat")


@dataclass(frozen=True, eq=False)
class Table:
    """A square table: finite numbers and the names of its rows and columns."""

    source: str
    names: tuple[str, ...]
    values: FloatArray  # (Y, Y)
    lines: tuple[int, ...] | None = None  # line of each row in a text file

    def place(self, i: Any, j: Any) -> str:
        """Return where a cell is, for messages."""
        line = f" (line {self.lines[i]})" if self.lines is not None else ""
        return f"[{self.names[i]}, {self.names[j]}]{line}"


def read_table(source: Any) -> Table:
    """Return the table in a CSV or Parquet file, a pandas DataFrame or a square array."""
    if isinstance(source, str | PathLike):
        path = Path(source)
        if not path.exists():
            raise FileNotFoundError(f"win matrix {str(path)!r} does not exist: check the path (a CSV or Parquet file)")
        if path.is_dir():
            raise InvalidProblemError(str(path), ["is a directory: pass a CSV or Parquet file"])
        if path.suffix.lower() in (".parquet", ".pq"):
            return _from_frame(_read_parquet(path), str(path))
        return _from_csv(path)
    if type(source).__module__.split(".")[0] == "pandas":
        return _from_frame(source, "data frame")
    return _from_array(source)


def _from_array(source: Any) -> Table:
    with checking("win matrix") as checks:
        values = checks.array("matrix", source, "a square array, a data frame, or the path of a CSV or Parquet file")
        if checks.require(
            values.ndim == 2 and values.shape[0] == values.shape[1],
            f"matrix has shape {values.shape}, expected a square (Y, Y): one row and one column per name",
        ):
            checks.require(len(values) >= 2, f"matrix has {len(values)} names, expected at least two to compare")
            checks.finite("matrix", values, ("i", "j"))
    return Table("win matrix", tuple(str(i) for i in range(len(values))), values)


def _read_parquet(path: Path) -> Any:
    import pandas as pd

    try:
        return pd.read_parquet(path)
    except ImportError:
        raise
    except Exception as error:  # pyarrow's own errors have no common base that can be named without importing it
        raise InvalidProblemError(str(path), [f"is not a readable Parquet file ({error}): write it again"]) from error


def _from_frame(frame: Any, source: str) -> Table:
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        raise InvalidProblemError(
            source, [f"is a {type(frame).__name__}, expected a DataFrame with one column per name"]
        )
    header = [str(name) for name in frame.columns]
    rows: list[list[Any]] = frame.to_numpy(dtype=object).tolist()
    if not isinstance(frame.index, pd.RangeIndex):
        header = ["", *header]
        rows = [[str(name), *row] for name, row in zip(frame.index, rows, strict=True)]
    return _build(source, header, rows, None)


def _from_csv(path: Path) -> Table:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidProblemError(
            str(path), [f"is not UTF-8 text (byte {error.start}): save it as CSV in UTF-8, or as .parquet"]
        ) from error
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = next((d for d in ",;\t" if d in first), ",")
    reader = csv.reader(text.splitlines(), delimiter=delimiter, skipinitialspace=True)
    rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    rows = [(line, row) for line, row in rows if any(row)]
    if not rows:
        raise InvalidProblemError(str(path), ["is empty: a header of names and one row per name are needed"])
    header, body = rows[0][1], rows[1:]
    if body and all(len(row) == len(header) + 1 for _, row in body):
        header = ["", *header]  # a first column of names without a header of its own
    return _build(str(path), header, [row for _, row in body], tuple(line for line, _ in body))


def _build(source: str, header: list[str], rows: Sequence[list[Any]], lines: tuple[int, ...] | None) -> Table:
    """Return the table after checking names, shape and cells, in this order."""
    named = _has_names(header, rows)
    names = tuple(name.strip() for name in header[named:])
    with checking(source) as checks:
        _check_names(checks, names)
        for r, row in enumerate(rows):
            where = f"line {lines[r]}" if lines is not None else f"row {r}"
            checks.require(
                len(row) == len(header),
                f"{where} has {len(row)} cells, the header has {len(header)}: fill or remove the difference",
            )
        if not checks.failed:
            _check_square(checks, names, [str(row[0]).strip() for row in rows] if named else None, len(rows))
        if checks.failed:
            checks.finish()
        table = Table(source, names, np.empty((len(names), len(names))), lines)
        for i, row in enumerate(rows):
            for j, cell in enumerate(row[named:]):
                table.values[i, j] = _number(cell)
        _check_cells(checks, table, [row[named:] for row in rows])
    return table


def _has_names(header: list[str], rows: Sequence[list[Any]]) -> int:
    """Return 1 when the first column holds names, 0 when it holds numbers."""
    first = [str(row[0]).strip() if row else "" for row in rows]
    columns = [name.strip() for name in header]
    if columns[0] == "" or first == columns[1:]:
        return 1
    words = bool(first) and len(header) > 1 and all(_is_word(cell) for cell in first)
    # in a square table words are bad numbers ("0,5"), unless they are names of columns and a row is missing
    return int(words and (len(header) != len(rows) or bool(set(first) & set(columns))))


def _is_word(cell: str) -> bool:
    return cell.lower() not in _MISSING and np.isnan(_number(cell))


def _check_names(checks: Checks, names: tuple[str, ...]) -> None:
    for name in dict.fromkeys(names):
        if name == "":
            checks.add(f"column {names.index('') + 1} has no name: give every column a name in the header")
        elif names.count(name) > 1:
            places = ", ".join(str(i + 1) for i, other in enumerate(names) if other == name)
            checks.add(f"name {name!r} appears {names.count(name)} times (columns {places}): rename all but one")
    checks.require(
        len(names) >= 2,
        f"has {len(names)} name{'' if len(names) == 1 else 's'} in the header, expected at least two to "
        "compare "
        "(cells separated by commas, semicolons or tabs)",
    )


def _check_square(checks: Checks, names: tuple[str, ...], labels: list[str] | None, n_rows: int) -> None:
    """Record a table that is not square, or whose rows are named otherwise than its columns."""
    hint = ""
    if not any(np.isnan(_number(name)) for name in names) and n_rows == len(names) - 1:
        hint = " (the first line looks like numbers: a header of names is needed above them)"
    if not checks.require(
        n_rows == len(names),
        f"is not square: {n_rows} rows for {len(names)} names{hint}; write one row per name, in the order "
        "of the "
        "header",
    ):
        return
    for i, label in enumerate(labels or ()):
        checks.require(
            label == names[i],
            f"row {i + 1} is named {label!r} but column {i + 1} is named {names[i]!r}: use the same names "
            "in the same "
            "order",
        )


def _check_cells(checks: Checks, table: Table, cells: list[list[Any]]) -> None:
    """Record missing, non-numeric and infinite cells."""
    bad = np.argwhere(~np.isfinite(table.values))
    for i, j in bad[:_SHOWN]:
        cell = cells[i][j]
        if cell is None or str(cell).strip().lower() in _MISSING:
            shown = "empty" if cell is None or str(cell).strip() == "" else f"{str(cell)!r}, a missing value"
            reason = f"is {shown}: fill it (for counts, 0 where the pair has never met)"
        elif np.isinf(table.values[i, j]):
            reason = f"is {cell}, expected a finite number: replace it"
        else:
            reason = f"is {str(cell)!r}, expected a number: replace it"
        checks.add(f"{table.place(i, j)} {reason}")
    if len(bad) > _SHOWN:
        checks.add(f"{len(bad) - _SHOWN} more cells that are not numbers")


def _number(cell: Any) -> float:
    """Return a cell as a float; NaN where it is missing or not a number."""
    try:
        return float("nan") if isinstance(cell, str) and "_" in cell else float(cell)
    except (TypeError, ValueError):
        return float("nan")
