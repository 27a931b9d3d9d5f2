"""The gallery: the figures of one scale in a folder, with their data, and a manifest that says when they are stale.

Of every claim the folder holds ``ID.pdf``, ``ID.png`` at screen size, and the cases as ``ID.check.parquet`` and
``ID.control.parquet``, from which the figure can be drawn again without a measurement. ``manifest.json`` keeps their
hashes, how they were measured, and two digests of the claim's file: of what measures and of all that draws. Comments,
docstrings and statements count in neither. A change in the library alone is not seen here: ``rebel-theory verify``
is there for that, and the manifest names the code that measured.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from rebel_bench import figures, registry, style
from rebel_bench.atomic import require_writable, whole_file
from rebel_bench.errors import UserError
from rebel_bench.outcomes import Outcome
from rebel_bench.registry import Found
from rebel_bench.render import render
from rebel_bench.reporting.images import small_png
from rebel_bench.reporting.source_code import digest, drawn_by, measured_by
from rebel_bench.style import Venue

MANIFEST = "manifest.json"
PARTS = ("check", "control")
VENUE: Venue = "neurips"
MEASURE = "rebel-theory verify {ids} --scale {scale} --out DIR && python figures/make.py --from DIR"
DRAW = "python figures/make.py"


def add(outcomes: Sequence[Outcome], folder: Path, found: Mapping[str, Found], *, command: str) -> list[str]:
    """Put ``outcomes`` into the gallery in ``folder``, in place of what it has of them, and return their ids."""
    require_writable(folder)
    manifest = read(folder) if (folder / MANIFEST).exists() else {"figures": {}}
    drawn = [outcome for outcome in outcomes if outcome.claim.figure is not None]
    for outcome in drawn:
        id_ = outcome.claim.id
        for part, cases in zip(PARTS, (outcome.cases, outcome.control_cases), strict=True):
            _write_cases(cases, _data(folder, id_, part))
        manifest["figures"][id_] = {
            "title": outcome.claim.title,
            "scale": outcome.scale.value,
            "seed": outcome.seed,
            "verdict": outcome.judgement.verdict,
            "control": outcome.control.verdict,
            "version": outcome.version,
            "libraries": outcome.libraries,
            "code": outcome.code,
            "measured_by": measured_by(found[id_].file),
            "data": {path.name: _hash(path) for path in (_data(folder, id_, part) for part in PARTS)},
        }
    manifest["command"] = command
    _write(manifest, folder)  # the data are safe, and what follows can be repeated from them
    return draw(folder, found, [outcome.claim.id for outcome in drawn])


def draw(folder: Path, found: Mapping[str, Found], ids: Iterable[str] | None = None) -> list[str]:
    """Draw what is stale, or ``ids``, again from the gallery's own data; figures of claims that are gone go."""
    manifest = read(folder)
    for id_ in set(manifest["figures"]) - {id_ for id_, entry in found.items() if entry.claim.figure is not None}:
        gone = manifest["figures"].pop(id_)
        for name in (*gone["data"], *gone.get("drawings", {})):
            (folder / name).unlink(missing_ok=True)
    if ids is None:
        broken = [id_ for id_ in manifest["figures"] if _damaged(folder, manifest["figures"][id_]["data"])]
        if broken:
            raise UserError(f"{folder}: the data of {', '.join(broken)} are damaged or missing: {_measure(broken)}")
        ids = [id_ for id_, entry in manifest["figures"].items() if _not_as_drawn(folder, entry, found[id_])]
    chosen = sorted(ids, key=registry.natural_order)
    for id_ in chosen:
        cases = [pd.read_parquet(_data(folder, id_, part)) for part in PARTS]
        files = render(found[id_].claim, cases[0], cases[1], folder, VENUE)
        for file in files:
            if file.suffix == ".png":
                small, _, _ = small_png(file)
                with whole_file(file) as temporary:
                    temporary.write_bytes(small)
        manifest["figures"][id_] |= {
            "title": found[id_].claim.title,
            "drawn_by": _drawn_by(found[id_].file),
            "drawings": {file.name: _hash(file) for file in files},
        }
        _write(manifest, folder)
    _write(manifest, folder)
    with whole_file(folder / "README.md") as temporary:
        temporary.write_text(_page(manifest), encoding="utf-8")
    return chosen


def faults(folder: Path, found: Mapping[str, Found]) -> list[str]:
    """Return what is wrong with the gallery, each with the command that mends it; empty if it is as it should be."""
    manifest = read(folder)
    there = manifest["figures"]
    wanted = [id_ for id_, entry in found.items() if entry.claim.figure is not None]
    missing = [id_ for id_ in wanted if id_ not in there]
    old = [id_ for id_ in wanted if id_ in there and there[id_]["measured_by"] != measured_by(found[id_].file)]
    damaged = [id_ for id_ in wanted if id_ in there and _damaged(folder, there[id_]["data"])]
    measure = sorted({*missing, *old, *damaged}, key=registry.natural_order)
    redraw = [i for i in wanted if i in there and i not in measure and _not_as_drawn(folder, there[i], found[i])]
    said = [
        (missing, "no figure", _measure(missing)),
        (old, "measured by code that has changed since", _measure(old)),
        (damaged, "the data are not those of the manifest", _measure(damaged)),
        (redraw, "drawn by code that has changed since, or the files are not those of the manifest", DRAW),
        ([id_ for id_ in there if id_ not in wanted], "the claim or its figure is gone", DRAW),
    ]
    return [f"{', '.join(ids)}: {what}; mend it with `{how}`" for ids, what, how in said if ids]


def read(folder: Path) -> dict[str, Any]:
    """Return the manifest."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"there is no gallery in {folder}: {_measure([])}") from None
    return manifest


def _write(manifest: dict[str, Any], folder: Path) -> None:
    entries = sorted(manifest["figures"].items(), key=lambda item: registry.natural_order(item[0]))
    text = json.dumps({**manifest, "figures": dict(entries)}, indent=1, ensure_ascii=False)
    with whole_file(folder / MANIFEST) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _measure(ids: Sequence[str]) -> str:
    return " ".join(MEASURE.format(ids=" ".join(ids), scale="paper").split())


def _data(folder: Path, id_: str, part: str) -> Path:
    return folder / f"{id_}.{part}.parquet"


def _write_cases(cases: pd.DataFrame, path: Path) -> None:
    table = pa.Table.from_pandas(cases, preserve_index=False).combine_chunks()
    with whole_file(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", compression_level=19)


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _damaged(folder: Path, hashes: Mapping[str, str]) -> bool:
    return any(not (folder / name).is_file() or _hash(folder / name) != known for name, known in hashes.items())


def _not_as_drawn(folder: Path, entry: Mapping[str, Any], found: Found) -> bool:
    drawings = entry.get("drawings", {})
    return not drawings or _damaged(folder, drawings) or entry["drawn_by"] != _drawn_by(found.file)


def _drawn_by(file: Path) -> str:
    """Return a digest of the claim's file and of the two modules that claims draw with."""
    return digest([drawn_by(file), *(drawn_by(Path(str(module.__file__))) for module in (figures, style))])


def _page(manifest: Mapping[str, Any]) -> str:
    """Return the gallery as Markdown."""
    lines = [
        "# Gallery",
        "",
        f"Written by `{manifest['command']}`; hashes, seeds and versions are in [{MANIFEST}]({MANIFEST}). The cases "
        "behind a figure lie beside it as Parquet.",
    ]
    for id_, entry in manifest["figures"].items():
        lines += [
            "",
            f"## {id_}: {entry['title']}",
            "",
            f"Scale {entry['scale']}, seed {entry['seed']}: {entry['verdict']}; its control: {entry['control']}. "
            f"[PDF]({id_}.pdf), cases of the [claim]({id_}.check.parquet) and of its [control]({id_}.control.parquet).",
            "",
            f"![{id_}: {entry['title']}]({id_}.png)",
        ]
    return "\n".join(lines) + "\n"
