"""Where a suite's results are kept: whole files, a table as Parquet and all the rest as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rebel_bench.atomic import whole_file
from rebel_bench.tables import json_text

if TYPE_CHECKING:
    import pandas as pd


def store_table(frame: pd.DataFrame, path: Path) -> Path:
    """Write a table as Parquet and return its path."""
    with whole_file(path) as temporary:
        frame.to_parquet(temporary, index=False)
    return path


def store_object(found: dict[str, Any], path: Path) -> Path:
    """Write an object as JSON and return its path."""
    with whole_file(path) as temporary:
        temporary.write_text(json_text(found) + "\n", encoding="utf-8")
    return path


def store(frame: pd.DataFrame, found: dict[str, Any], path: Path) -> list[Path]:
    """Write PATH.parquet and PATH.json and return their paths."""
    return [
        store_table(frame, path.with_name(f"{path.name}.parquet")),
        store_object(found, path.with_name(f"{path.name}.json")),
    ]
