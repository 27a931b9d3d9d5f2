"""Python files of the user's own, loaded under a name that two folders cannot share."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from rebel_bench.errors import UserError


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
