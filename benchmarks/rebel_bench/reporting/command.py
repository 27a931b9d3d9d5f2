"""What ``rebel-theory report`` does: read, draw, write; nothing is measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rebel_bench.adversary.records import FOLDER, Record, results
from rebel_bench.atomic import require_writable, whole_file
from rebel_bench.errors import UserError
from rebel_bench.outcomes import Outcome
from rebel_bench.render import render
from rebel_bench.reporting import tables, words
from rebel_bench.reporting.images import small_png
from rebel_bench.reporting.page import Attachments, Picture, page
from rebel_bench.results import stored_outcomes
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
    for outcome in with_bar(outcomes):
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


def require_stored(
    ids: Iterable[str] = (),
    *,
    source: Path,
    scale: Scale | None = None,
    seed: int | None = None,
    claims: Path | None = None,
) -> tuple[Outcome, ...]:
    """Return what is stored; raise :class:`UserError` with the command that measures it if something is missing."""
    texts = tuple(ids)
    outcomes = stored_outcomes(texts, source=source, scale=scale, seed=seed, claims=claims)
    there = {outcome.claim.id for outcome in outcomes}
    missing = [] if not texts else [id_ for id_ in _wanted(texts, claims) if id_ not in there]
    if outcomes and not missing:
        return outcomes
    what = f"no results of {', '.join(missing)} are stored" if missing else "no results are stored"
    what += f" at scale {scale.value}" if scale else ""
    what += f" with seed {seed}" if seed is not None else ""
    options = " ".join(
        [*missing, *([f"--scale {scale.value}"] if scale else []), *([f"--seed {seed}"] if seed is not None else [])]
    )
    raise UserError(f"{what} in {source}: run `rebel-theory verify {options}{' ' if options else ''}--out {source}`")


def _wanted(texts: Sequence[str], claims: Path | None) -> list[str]:
    from rebel_bench import registry

    return [found.claim.id for found in registry.select(registry.find_all(claims), texts)]


def with_bar(outcomes: Sequence[Outcome]) -> Iterable[Outcome]:
    """Yield ``outcomes`` under a bar on stderr, on a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(outcomes, "drawing", console=console, transient=True, disable=not console.is_terminal)
