"""rebel_bench: claims with their controls, their results on disk, their figures, and the command line.

Nothing heavy is imported here: ``rebel-theory --help`` must answer at once, so the notebook functions load
on first use.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if __name__ != "rebel_bench":
    raise ImportError(
        f"this package was imported as {__name__!r}, which would give every class a second identity: "
        "write `import rebel_bench`, after `pip install -e .` or with the folder `benchmarks` on PYTHONPATH"
    )

if TYPE_CHECKING:
    from rebel_bench.outcomes import Outcome, Verification
    from rebel_bench.registry import find_claims
    from rebel_bench.results import stored_outcomes
    from rebel_bench.runner import verify

IMPORTED_AT = time.time()  # sources edited later are not what this process runs

_HOMES = {
    "Outcome": "rebel_bench.outcomes",
    "Verification": "rebel_bench.outcomes",
    "find_claims": "rebel_bench.registry",
    "stored_outcomes": "rebel_bench.results",
    "verify": "rebel_bench.runner",
}

__all__ = ["Outcome", "Verification", "find_claims", "stored_outcomes", "verify"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'rebel_bench' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
