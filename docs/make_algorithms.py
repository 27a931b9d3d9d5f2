"""Write the list of algorithms in docs/algorithms.md and, from a stored comparison, its table, figure and data.

rebel-theory compare equal-queries
python docs/make_algorithms.py rebel-results/compare/equal-queries
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from rebel_bench.comparison.report import markdown
from rebel_bench.comparison.spec import read
from rebel_bench.speed.page import fill
from rebel_theory.algorithms.registry import find_algorithms

PAGE = Path(__file__).parent / "algorithms.md"
IMAGES = Path(__file__).parent / "images"


def listed() -> str:
    """Return the list of algorithms as a table."""
    rows = ["| name | | update | conditions | proven rate | source |", "|---|---|---|---|---|---|"]
    for key, kind in find_algorithms().items():
        words = (kind.name, kind.update, kind.conditions, kind.rate, kind.source)
        rows.append(f"| `{key}` | " + " | ".join(word.replace("|", "\\|") for word in words) + " |")
    return "\n".join(rows)


def main(stem: Path | None = None, page: Path = PAGE, images: Path = IMAGES) -> None:
    """Fill the page; with a stored comparison write its table, image and CSV as well."""
    parts = {"algorithms": listed()}
    if stem is not None:
        results = pd.read_parquet(stem.with_name(f"{stem.name}-results.parquet"))
        results.to_csv(images / "equal-queries.csv", index=False, float_format="%.5g")
        (images / "equal-queries.png").write_bytes(stem.with_suffix(".png").read_bytes())
        table = markdown(results, read(stem.name))
        parts["equal queries"] = (
            f"{table}\n\n![Gaps against reward queries on the five problems](images/equal-queries.png)"
        )
    page.write_text(fill(page.read_text(encoding="utf-8"), parts), encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) > 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]) if len(sys.argv) == 2 else None)
