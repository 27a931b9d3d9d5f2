"""Write the measured parts of docs/mutations.md, and the data behind them, from stored results.

Results of the data that the folder lacks are kept, while their bug is the same.

python -m rebel_bench.mutations run --out rebel-results/mutations
python docs/make_mutations.py rebel-results/mutations
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rebel_bench.mutations import page
from rebel_bench.mutations.bugs import load
from rebel_bench.speed.page import fill

PAGE = Path(__file__).parent / "mutations.md"
DATA = Path(__file__).parent / "mutations.json"


def main(folder: Path, page_file: Path = PAGE, data: Path = DATA) -> None:
    """Write the data, and fill the page from it."""
    bugs = load()
    earlier = json.loads(data.read_text(encoding="utf-8")) if data.is_file() else None
    stored = page.collect(folder, bugs, earlier)
    data.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    text = fill(page_file.read_text(encoding="utf-8"), page.sections(stored, bugs))
    page_file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
