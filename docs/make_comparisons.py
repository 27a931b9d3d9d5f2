"""Write the tables, figures and data of docs/comparisons.md from stored comparisons.

for study in equal-queries oracles step-size-sensitivity inexact-solves offline; do rebel-theory compare $study; done
python docs/make_comparisons.py rebel-results/compare
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from rebel_bench.comparison.figures import drawn
from rebel_bench.comparison.plan import load
from rebel_bench.comparison.report import markdown
from rebel_bench.comparison.study import Study
from rebel_bench.speed.page import fill
from rebel_bench.style import save

PAGE = Path(__file__).parent / "comparisons.md"
IMAGES = Path(__file__).parent / "images"
SHOWN = {
    "equal-queries": {"curves": "Gaps against reward queries", "ranking": "Profiles, interquartile means, mean ranks"},
    "oracles": {"curves": "Gaps against reward queries with three oracles"},
    "step-size-sensitivity": {"sensitivity": "Gap over first gap against the step size"},
    "offline": {"curves": "Gaps against updates, with fresh pairs and with fixed data"},
    "inexact-solves": {"inexact": "Total variation and gaps against the number of gradient steps"},
}
DATA = ("results", "ranking", "sensitivity", "inexact", "apart")
DPI = 150


def main(folder: Path, page: Path = PAGE, images: Path = IMAGES) -> None:
    """Fill the page from the studies that are stored in a folder; the others keep what they have."""
    parts = {}
    for name, figures in SHOWN.items():
        files = {path.stem.removeprefix(f"{name}-"): path for path in folder.glob(f"{name}-*.parquet")}
        if not files:
            continue
        plan, tables = load(name), {table: pd.read_parquet(path) for table, path in files.items()}
        for table in DATA:
            if table in tables:
                tables[table].to_csv(images / f"{name}-{table}.csv", index=False, float_format="%.5g")
        for table, fig in drawn(Study(plan, tables), "neurips"):
            if table in figures:
                _, pdf = save(fig, images / f"{name}-{table}", dpi=DPI)
                pdf.unlink()
        pictures = [f"![{words}](images/{name}-{table}.png)" for table, words in figures.items()]
        parts[name] = "\n\n".join([markdown(plan, tables), *pictures])
    page.write_text(fill(page.read_text(encoding="utf-8"), parts), encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
