"""What ``rebel-theory report`` does: read, draw, write; nothing is measured."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rebel_bench.adversary.records import FOLDER, Record, results
from rebel_bench.atomic import require_writable, whole_file
from rebel_bench.bars import with_bar
from rebel_bench.errors import UserError
from rebel_bench.outcomes import Outcome
from rebel_bench.render import render
from rebel_bench.reporting import tables, words
from rebel_bench.reporting.images import small_png
from rebel_bench.reporting.page import Attachments, Picture, page
from rebel_bench.results import require_stored
from rebel_bench.scale import Scale
from rebel_bench.style import Venue


@dataclass(frozen=True, slots=True)
class Report:
    """What was written."""

    outcomes: tuple[Outcome, ...]
    attacks: tuple[Record, ...]
    page: Path
    files: tuple[Path, ...]


def write_report(
    ids: Iterable[str] = (),
    *,
    source: Path,
    out: Path,
    venue: Venue = "neurips",
    scale: Scale | None = None,
    seed: int | None = None,
    claims: Path | None = None,
) -> Report:
    """Write the report of what is stored under ``source`` into the folder ``out``.

    Raises
    ------
    UserError
        If nothing fitting is stored, for unknown ids, or if ``out`` takes no files: before anything is written.
    ClaimError
        If the figure of a claim raises.
    """
    outcomes = require_stored(ids, source=source, scale=scale, seed=seed, claims=claims)
    figures = out / "figures"
    require_writable(out)
    require_writable(figures)
    there = {outcome.claim.id for outcome in outcomes}
    instances = {record: source / record.file for record in results(source) if record.id in there}
    copies = {record: _copy(file, out / FOLDER) for record, file in instances.items()}
    attached: dict[str, Attachments] = {}
    written: list[Path] = []
    for outcome in with_bar(outcomes, "drawing"):
        id_ = outcome.claim.id
        drawn = render(outcome.claim, outcome.cases, outcome.control_cases, figures, venue)
        data = tables.write_cases(outcome, figures / f"{id_}.csv")
        picture = next((Picture(*small_png(file)) for file in drawn if file.suffix == ".png"), None)
        links = {"data (CSV)": data, **{f"figure ({file.suffix[1:].upper()})": file for file in drawn}}
        attacks = {file: record for record, file in copies.items() if record.id == id_}
        attached[id_] = Attachments(
            picture,
            {name: file.relative_to(out).as_posix() for name, file in links.items()},
            {file.relative_to(out).as_posix(): record for file, record in attacks.items()},
        )
        written += [*drawn, data, *attacks]
    caption = f"{words.summary(outcomes)} {words.runs(outcomes)}"
    written.append(tables.write_csv(outcomes, tuple(copies), out / "claims.csv"))
    written.append(tables.write_latex(outcomes, caption, out / "claims.tex"))
    index = out / "index.html"
    with whole_file(index) as temporary:  # last: whoever sees a page finds all that it links to
        temporary.write_text(page(outcomes, attached), encoding="utf-8")
    return Report(outcomes, tuple(copies), index, (index, *written))


def _copy(file: Path, folder: Path) -> Path:
    """Copy an instance file into the report, which so can travel without the results."""
    require_writable(folder)
    try:
        instance = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}): attack the claim again") from None
    with whole_file(folder / file.name) as temporary:
        temporary.write_bytes(instance)
    return folder / file.name
