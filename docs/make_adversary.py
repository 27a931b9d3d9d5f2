"""Write the measured parts of docs/adversary.md, with its figure and data, from a stored run.

rebel-theory attack
python docs/make_adversary.py rebel-results      table of results, where the slack sits, figure
python docs/make_adversary.py --rates            how often C3 and C8 are found, over 20 seeds (minutes)
python docs/make_adversary.py --rates C3-n10     one of them again
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

import rebel_theory as rt
from rebel_bench import registry
from rebel_bench.adversary.figure import draw
from rebel_bench.adversary.find import attacks_of
from rebel_bench.adversary.records import Record, results
from rebel_bench.adversary.search import restart
from rebel_bench.instance_files import load
from rebel_bench.speed.page import fill

PAGE = Path(__file__).parent / "adversary.md"
IMAGES = Path(__file__).parent / "images"
SEEDS = 20
AUDITED = ("C1", "C7", "C11", "P7")  # attacked, and the proof has an audit
BUDGETS = {("C3", "n2"): 300, ("C3", "n10"): 1_200, ("C3", "n1000"): 1_500, ("C8", ""): 1_500}  # those of the tests


def main(stored: Path) -> None:
    """Fill the table of results; write adversary.csv and adversary.png."""
    records = results(stored)
    rows = [
        {"claim": r.id, "instances": r.space, "best ratio": r.ratio, "lowest restart": min(r.restarts),
         "known instances": r.known, "verify": r.random, "cases": r.random_cases, "evaluations": r.evaluations}
        for r in records
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(IMAGES / "adversary.csv", index=False, float_format="%.6g")
    _png, pdf = draw(records, stored, IMAGES / "adversary", "neurips")
    pdf.unlink()
    columns = ("claim", "instances searched", "random starts", "known", "`verify`", "evaluations")
    _fill("results", "\n".join([_head(columns), *(_row(r) for r in records)]))
    columns = ("claim", "best ratio", "at", "what the rest of the bound is, by lines of the proof (0.5% and more)")
    _fill("slack", "\n".join([_head(columns), *(_slack(r, stored) for r in records if r.id in AUDITED)]))


def _row(r: Record) -> str:
    random = f"{max(r.restarts):.4f} (from {min(r.restarts):.4f})" if max(r.restarts) > 0.01 else f"{r.ratio:.2g}"
    known = "" if r.known is None else f"{r.known:.4f}"
    verify = "" if r.random is None else f"{r.random:.3g}"
    return f"| {r.id} | {r.space} | {random} | {known} | {verify} | {r.evaluations:,} |"


def _slack(r: Record, stored: Path) -> str:
    """Return what the bound is made of at the tightest T of the instance found: the gap, and the slack of each line."""
    found = load(stored / r.file)
    audit = rt.audit(
        r.id, found.problem, found.make_algorithm(), n_iterations=found.n_iterations, policy=found.policy
    )  # fmt: skip
    t = int(np.argmax(audit.measured[:, 0] / audit.bound[:, 0]))
    shares = sorted(((float(audit.shares(p.name)[t, 0]), p.name) for p in audit.proof), reverse=True)
    words = ", ".join(f"{name} {100 * share:.1f}%" for share, name in shares if share >= 0.005)
    return f"| {r.id} {r.label} | {r.ratio:.4f} | T = {t + 1} | {words or 'none above 0.5%'} |"


def _head(columns: tuple[str, ...]) -> str:
    return f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}"


def rates(names: list[str]) -> None:
    """Fill the table of success rates; write adversary-rates.csv. Attacks that are not named keep their rows."""
    file = IMAGES / "adversary-rates.csv"
    kept = pd.read_csv(file, keep_default_na=False) if names else pd.DataFrame()
    found, tables = registry.find_all(), []
    for (id_, label), budget in BUDGETS.items():
        if names and f"{id_}-{label}".strip("-") not in names:
            tables.append(kept[(kept["claim"] == id_) & (kept["label"] == label)])
            continue
        attack = next(a for a in attacks_of(found[id_]) if a.label == label)
        ratios = [restart(attack, id_, 0, budget, seed).ratio for seed in range(SEEDS)]
        shared = {"claim": id_, "label": label, "budget": budget, "target": attack.target}
        tables.append(pd.DataFrame({**shared, "seed": range(SEEDS), "ratio": ratios}))
    frame = pd.concat(tables, ignore_index=True)
    frame.to_csv(file, index=False, float_format="%.8g")
    lines = [_head(("attack", "evaluations", "target", "found, of 20 seeds", "lowest ratio", "median"))]
    for (id_, label), part in frame.groupby(["claim", "label"], sort=False):
        hits, target = int((part["ratio"] >= part["target"]).sum()), part["target"].iloc[0]
        lines.append(f"| {id_} {label} | {part['budget'].iloc[0]:,} | {target:g} | {hits} | {part['ratio'].min():.4f} "
                     f"| {part['ratio'].median():.4f} |")  # fmt: skip
    _fill("rates", "\n".join(lines))


def _fill(name: str, text: str) -> None:
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8"), {name: text}), encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    if sys.argv[1] == "--rates":
        rates(sys.argv[2:])
    else:
        main(Path(sys.argv[1]))
