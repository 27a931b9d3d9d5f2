"""Write the list of algorithms in docs/algorithms.md.

python docs/make_algorithms.py
"""

from __future__ import annotations

from pathlib import Path

from rebel_bench.speed.page import fill
from rebel_theory.algorithms.registry import find_algorithms

PAGE = Path(__file__).parent / "algorithms.md"


def listed() -> str:
    """Return the list of algorithms as a table."""
    rows = ["| name | | update | conditions | proven rate | source |", "|---|---|---|---|---|---|"]
    for key, kind in find_algorithms().items():
        words = (kind.name, kind.update, kind.conditions, kind.rate, kind.source)
        rows.append(f"| `{key}` | " + " | ".join(word.replace("|", "\\|") for word in words) + " |")
    return "\n".join(rows)


if __name__ == "__main__":
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8"), {"algorithms": listed()}), encoding="utf-8")
