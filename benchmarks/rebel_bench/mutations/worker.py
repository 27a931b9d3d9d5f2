"""One process with one bug in it: ``python -P worker.py MODULE FILE SCALE SEED CLAIM...``, one JSON line a claim.

The bug is laid over the library, not copied into it: where MODULE is imported, FILE is read in its place. So
everything else comes from where it lies, compiled caches included, and what FILE compiles is cached beside FILE.
Run by path, so that nothing of the library is imported before the bug is in. MODULE ``-`` plants nothing.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class Overlay(MetaPathFinder):
    """Finds one module elsewhere."""

    def __init__(self, module: str, file: str) -> None:
        self._module, self._file = module, file

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of the file with the bug for its module, and leave all others alone."""
        return importlib.util.spec_from_file_location(fullname, self._file) if fullname == self._module else None


def outcome(claim: str, scale: str, seed: int) -> dict[str, Any]:
    """Return the verdicts of one claim and its control, or the error that it ended in."""
    from time import perf_counter

    begin = perf_counter()
    try:
        from rebel_bench import verify

        (found,) = verify(claim, scale=scale, seed=seed)
        result: dict[str, Any] = {
            "verdict": found.judgement.verdict,
            "control": found.control.verdict,
            "measured": found.judgement.measured,
            "bound": found.judgement.bound,
        }
    except Exception as error:
        details = str(getattr(error, "details", "") or error).strip().splitlines()
        result = {"error": (details[-1] if details else type(error).__name__)[:200]}
    return {"claim": claim, "seconds": round(perf_counter() - begin, 3), **result}


def main(module: str, file: str, scale: str, seed: str, *claims: str) -> None:
    """Print one line of JSON a claim, as soon as it is there."""
    if module != "-":
        sys.meta_path.insert(0, Overlay(module, file))
    for claim in claims:
        with redirect_stdout(sys.stderr):
            found = outcome(claim, scale, int(seed))
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
