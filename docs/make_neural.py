"""Write the measured parts of docs/torch-neural.md, with its figure and data, from a stored run.

rebel-theory bench --suite neural
rebel-theory bench --suite neural-cost --scale paper
python docs/make_neural.py rebel-results/speed/neural.quick
python docs/make_neural.py rebel-results/speed/neural-cost.paper
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd

from rebel_bench.speed.neural import cost, show
from rebel_bench.speed.page import fill

PAGE = Path(__file__).parent / "torch-neural.md"
IMAGES = Path(__file__).parent / "images"


def main(stored: Path, page_file: Path = PAGE, images: Path = IMAGES) -> None:
    """Fill the study's section; write its JSON (rows, device), CSV (curves or rounds) and PNG."""
    run = json.loads(Path(f"{stored}.json").read_text(encoding="utf-8"))
    data = pd.read_parquet(f"{stored}.parquet")
    if stored.name.startswith("neural-cost"):
        name, table, legend, draw = "neural-cost", cost.markdown(run["rows"], run["about"]), cost.LEGEND, cost.draw
    else:
        name, legend, draw = "neural", show.LEGEND, show.draw
        table = show.markdown(pd.DataFrame(run["rows"]), run["about"])
    page = fill(page_file.read_text(encoding="utf-8"), {name: f"{table}\n\n{legend[0].upper()}{legend[1:]}."})
    page_file.write_text(page, encoding="utf-8")
    (images / f"{name}.json").write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
    data.to_csv(images / f"{name}.csv", index=False, float_format="%.4g")
    draw(data, images / name)[1].unlink()  # the page needs no PDF


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
