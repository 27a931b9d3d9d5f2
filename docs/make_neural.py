"""Write the measured parts of docs/torch-neural.md, with its figure and data, from a stored run.

rebel-theory bench --suite neural
python docs/make_neural.py rebel-results/speed/neural.quick
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd

from rebel_bench.speed.neural.show import LEGEND, draw, markdown
from rebel_bench.speed.page import fill

PAGE = Path(__file__).parent / "torch-neural.md"
IMAGES = Path(__file__).parent / "images"


def main(stored: Path, page_file: Path = PAGE, images: Path = IMAGES) -> None:
    """Fill the page; write neural.json (rows, tuning, device), neural.csv (curves) and neural.png."""
    run = json.loads(Path(f"{stored}.json").read_text(encoding="utf-8"))
    page = fill(
        page_file.read_text(encoding="utf-8"),
        {"neural": f"{markdown(pd.DataFrame(run['rows']), run['about'])}\n\n{LEGEND[0].upper()}{LEGEND[1:]}."},
    )
    page_file.write_text(page, encoding="utf-8")
    curves = pd.read_parquet(f"{stored}.parquet")
    (images / "neural.json").write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
    curves.to_csv(images / "neural.csv", index=False, float_format="%.4g")
    draw(curves, images / "neural")[1].unlink()  # the page needs no PDF


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
