"""Write the measured parts of docs/speed.md, with its figure and data, from a stored run.

rebel-theory bench --scale paper --repeats 7
python docs/make_speed.py rebel-results/speed/all.paper.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd

from rebel_bench.speed import page
from rebel_bench.speed.drawing import draw_png

PAGE = Path(__file__).parent / "speed.md"
IMAGES = Path(__file__).parent / "images"


def main(stored: Path, page_file: Path = PAGE, images: Path = IMAGES) -> None:
    """Fill the page; write speed.csv and speed.png."""
    run = json.loads(stored.read_text(encoding="utf-8"))
    page_file.write_text(page.fill(page_file.read_text(encoding="utf-8"), page.sections(run)), encoding="utf-8")
    pd.DataFrame(page.curves(run)).to_csv(images / "speed.csv", index=False, float_format="%.4g")
    draw_png(pd.read_csv(images / "speed.csv"), images / "speed.png")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
