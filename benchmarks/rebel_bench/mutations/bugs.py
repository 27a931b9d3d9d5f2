"""The planted bugs: a file, a text that occurs in it exactly once, and what replaces it."""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rebel_bench.errors import UserError

LIST = Path(__file__).parent / "bugs.toml"


@dataclass(frozen=True, slots=True)
class Bug:
    """One planted bug.

    Attributes
    ----------
    id
        Its name, such as ``rebel-half-step``.
    file
        The module as a path that an import would take: ``rebel_theory/algorithms/rebel.py``.
    old, new
        The text that is replaced, which occurs exactly once, and what by.
    kind, why
        Sign, factor, wrong base, ...; and how one comes to write it.
    aimed
        The claims that ought to catch it, which are run first.
    uncaught
        Why no claim can, for a bug that changes nothing that a claim states; empty for all others.
    """

    id: str
    file: str
    old: str
    new: str
    kind: str
    why: str
    aimed: tuple[str, ...]
    uncaught: str = ""

    @property
    def module(self) -> str:
        """The module's name."""
        return self.file.removesuffix(".py").replace("/", ".")

    @property
    def neural(self) -> bool:
        """Whether it is in a module that only claims on networks import."""
        return self.file.startswith("rebel_theory/torch/")

    @property
    def fingerprint(self) -> str:
        """Changes with the bug."""
        return hashlib.sha256("\0".join((self.file, self.old, self.new)).encode()).hexdigest()[:12]

    def source(self) -> Path:
        """Return the file of the module as it is imported here; the module itself is not imported."""
        package, *inner = self.file.split("/")
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise UserError(f"bug {self.id}: there is no package {package}")
        return Path(spec.submodule_search_locations[0]).joinpath(*inner)

    def planted(self) -> str:
        """Return the module's source with the bug in it."""
        path = self.source()
        if not path.is_file():
            raise UserError(f"bug {self.id}: there is no file {self.file}, correct bugs.toml")
        text = path.read_text(encoding="utf-8")
        count = text.count(self.old)
        if count != 1:
            raise UserError(
                f"bug {self.id}: its old text occurs {count} times in {self.file}, expected once: correct bugs.toml\n"
                f"  {self.old.strip().splitlines()[0]}"
            )
        return text.replace(self.old, self.new)


def load(file: Path = LIST) -> dict[str, Bug]:
    """Return the bugs of the list by id, in its order."""
    found: dict[str, Bug] = {}
    for entry in tomllib.loads(file.read_text(encoding="utf-8"))["bug"]:
        bug = Bug(**{**entry, "aimed": tuple(entry["aimed"])})
        if bug.id in found:
            raise UserError(f"{file.name}: bug {bug.id} is listed twice, rename one")
        found[bug.id] = bug
    return found


def select(bugs: dict[str, Bug], ids: Iterable[str]) -> list[Bug]:
    """Return the bugs with ``ids``, all if there is none; an unknown one raises UserError naming the nearest."""
    wanted = list(ids)
    for id_ in wanted:
        if id_ not in bugs:
            near = difflib.get_close_matches(id_, bugs, n=3, cutoff=0.3) or list(bugs)[:3]
            raise UserError(f"unknown bug {id_!r}: the nearest are {', '.join(near)}; `list` shows all")
    return [bug for bug in bugs.values() if not wanted or bug.id in wanted]
