"""What attacks leave behind: an instance file, a record and a path each, and how to read them again.

``OUT/attacks/NAME.json`` is the instance, ``NAME.record.json`` the record, ``NAME.parquet`` the best ratio after each
batch of evaluations of each restart. NAME is the claim's id, with the attack's label where a claim has several.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from rebel_bench.adversary.search import Path as SearchPath
from rebel_bench.atomic import whole_file
from rebel_bench.errors import UserError
from rebel_bench.registry import natural_order

FOLDER = "attacks"
_RECORD = ".record.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What one attack found.

    Attributes
    ----------
    id, label, space
        The claim, and which instances were searched.
    verdict
        ``"refuted"`` if an instance has a ratio above 1, else ``"holds"``: of the instances tried.
    ratio
        The largest measured/bound; after a refutation that of the minimised instance, which ``file`` holds.
    target, found_again
        The ratio that the search is known to reach, where it is known, and whether it did.
    restarts
        The best ratio of each random start.
    known
        The best ratio of the start that instances known to be bad joined; None where there was none.
    random, random_cases
        The best ratio of the random instances of ``verify`` at scale quick, and their number; None where its test
        is not an inequality.
    dimension, budget, evaluations, seed, seconds, version
    file
        The instance file, relative to the folder of results.
    """

    id: str
    label: str
    space: str
    verdict: str
    ratio: float
    target: float | None
    found_again: bool | None
    restarts: tuple[float, ...]
    random: float | None
    random_cases: int | None
    dimension: int
    budget: int
    evaluations: int
    seed: int
    seconds: float
    version: str
    file: str
    known: float | None = None

    @property
    def name(self) -> str:
        """The stem of its files."""
        return f"{self.id}-{self.label}" if self.label else self.id


def write(record: Record, paths: Sequence[SearchPath], out: Path) -> None:
    """Write the record and the paths of its restarts; the instance file is written already."""
    folder = out / FOLDER
    frame = pd.concat(
        [pd.DataFrame({"restart": i, "evaluations": p.evaluations, "ratio": p.best}) for i, p in enumerate(paths)],
        ignore_index=True,
    )
    with whole_file(folder / f"{record.name}.parquet") as temporary:
        frame.to_parquet(temporary, index=False)
    with whole_file(folder / f"{record.name}{_RECORD}") as temporary:
        temporary.write_text(json.dumps(asdict(record), indent=1) + "\n", encoding="utf-8")


def results(out: Path) -> list[Record]:
    """Return the records in the folder of results ``out``, in the order of the claims; [] if nothing was attacked."""
    found = []
    for path in sorted((Path(out) / FOLDER).glob(f"*{_RECORD}")):
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            found.append(Record(**data | {"restarts": tuple(data["restarts"])}))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UserError(f"{path} is not the record of an attack ({error}): attack the claim again") from error
    return sorted(found, key=lambda record: (natural_order(record.id), record.label))


def path_of(record: Record, out: Path) -> pd.DataFrame:
    """Return the best ratio after each batch of evaluations: columns restart, evaluations, ratio."""
    return pd.read_parquet(Path(out) / FOLDER / f"{record.name}.parquet")
