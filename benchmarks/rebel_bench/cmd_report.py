"""``rebel-theory report``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro

from rebel_bench.style import Venue


@dataclass(frozen=True)
class Report:
    """Write the report of claims that were checked: a page, tables for LaTeX and CSV, figures with their data.

    Nothing is measured: the cases are read from what `rebel-theory verify` stored. The page (index.html) is one
    file that needs no network and no scripts. Of several stored runs of a claim the largest scale is shown, then the
    smallest seed.
    """

    EXAMPLES: ClassVar[str] = """Examples:
  rebel-theory report
  rebel-theory report --venue icml --scale paper --out paper/ledger
  rebel-theory report C2 C3 --from old-results --json"""

    ids: Annotated[
        tyro.conf.Positional[tuple[str, ...]],
        tyro.conf.arg(metavar="[ID ...]", help_behavior_hint="(default: all that are stored)"),
    ] = ()
    """Claims to report, such as C2 e1 or c2,e1."""
    venue: Venue = "neurips"
    """Whose sizes and fonts the figures take."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="(default: report in --from)")] = None
    """Folder for the report."""
    source: Annotated[Path, tyro.conf.arg(name="from", metavar="DIR")] = Path("rebel-results")
    """Folder of the results, the --out of verify."""
    scale: Literal["largest", "quick", "paper", "full"] = "largest"
    """Which of the stored scales."""
    seed: Annotated[int | None, tyro.conf.arg(help_behavior_hint="(default: the smallest)")] = None
    """Which of the stored seeds."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print one JSON object on stdout: the rows of claims.csv, and the files."""
    claims: Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="(default: built in)")] = None
    """A folder of claim files, instead of the ones that ship."""

    def __call__(self) -> int:
        """Write the report, and print where it is."""
        from rebel_bench.reporting import tables, words
        from rebel_bench.reporting.command import write_report
        from rebel_bench.scale import Scale
        from rebel_bench.tables import print_json

        report = write_report(
            self.ids,
            source=self.source,
            out=self.out or self.source / "report",
            venue=self.venue,
            scale=None if self.scale == "largest" else Scale(self.scale),
            seed=self.seed,
            claims=self.claims,
        )
        if self.json:
            rows = tables.rows(report.outcomes, report.attacks)
            print_json({"page": str(report.page), "files": list(map(str, report.files)), "claims": rows})
        else:
            print(words.summary(report.outcomes))
            print(f"{report.page} and {len(report.files) - 1} files beside it")
        return 0
