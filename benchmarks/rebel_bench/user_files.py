"""Python files of the user's own, loaded under a name that two folders cannot share."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import FrameType, ModuleType

from rebel_bench.errors import UserError

_OWN = ("_rebel_algorithm_", "_rebel_problem_")


def load_module(file: Path, what: str) -> ModuleType:
    """Return the module of ``file``; ``what`` goes into its name. Whatever the file raises, it raises here."""
    file = file.resolve()
    digest = hashlib.sha256(str(file).encode()).hexdigest()[:12]
    name = f"_rebel_{what}_{digest}_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UserError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses in the file look their own module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def is_own(error: BaseException) -> bool:
    """Return whether an algorithm's or a problem's file of the user's was running when ``error`` was raised."""
    return bool(_own_lines(error))


def in_words(error: BaseException) -> str:
    """Return the error and its place: the last line of a user's file, or the last line of all if there is none."""
    frame, line = (_own_lines(error) or list(traceback.walk_tb(error.__traceback__)))[-1]
    return f"{type(error).__name__}: {error} (line {line} of {Path(frame.f_code.co_filename).name})"


def _own_lines(error: BaseException) -> list[tuple[FrameType, int]]:
    lines = traceback.walk_tb(error.__traceback__)
    return [(frame, line) for frame, line in lines if str(frame.f_globals.get("__name__")).startswith(_OWN)]
