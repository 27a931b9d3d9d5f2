"""Files that are either whole or absent."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rebel_bench.errors import UserError

_TEMPORARY = ".tmp-"  # readers skip names that start with it; a killed run may leave one behind
_ABANDONED = 3600.0  # seconds


def is_temporary(path: Path) -> bool:
    """Return whether ``path`` is what a killed run left of an unfinished file."""
    return path.name.startswith(_TEMPORARY)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path`` and rename it to ``path`` when the block succeeds.

    The bytes are flushed to the disk before the rename, so that even a power cut leaves the old file or the
    new one. Nothing is left when the block raises.
    """
    temporary = path.with_name(f"{_TEMPORARY}{os.getpid()}-{path.name}")
    try:
        temporary.touch()
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}. Free space or choose another folder"
        ) from error
    finally:
        with suppress(OSError):  # below a file, even a look fails; the first error is the one to show
            temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Flush the names in ``folder`` to the disk: without it a power cut may undo the rename."""
    with suppress(OSError):  # some systems open no folders, and some file systems sync none
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_leftovers(folder: Path) -> None:
    """Remove the unfinished files that killed runs left in ``folder`` more than an hour ago: no write takes so long."""
    for path in folder.glob(f"{_TEMPORARY}*"):
        with suppress(OSError):  # another run may have been quicker
            if path.stat().st_mtime < time.time() - _ABANDONED:
                path.unlink()


def require_writable(folder: Path, *, option: str = "--out") -> None:
    """Create ``folder`` and try it; raise :class:`UserError` with the reason and the remedy if it fails.

    Called before any work starts, so that an hour of results is never computed for a folder that cannot
    take them. A trial file is the only honest test: permission bits say nothing to root or on network disks.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=_TEMPORARY, dir=folder)
        os.close(handle)
        Path(name).unlink()
    except OSError as error:
        raise UserError(
            f"cannot write to the folder {folder}: {error.strerror or error}. "
            f"Choose another folder with {option} DIR, or make this one writable."
        ) from None
