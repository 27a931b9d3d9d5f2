"""Claims found on disk: a file is a claim, and adding one touches nothing else."""

from __future__ import annotations

import difflib
import importlib
import re
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from rebel_bench.claim import Claim
from rebel_bench.errors import ClaimError, UserError
from rebel_bench.user_files import load_module

CLAIMS = Path(__file__).parent / "claims"
_GROUPS = "ECSPN"  # equivalences, convergence, sample complexity, preference games, networks: the docs' order


@dataclass(frozen=True, slots=True)
class Found:
    """A claim and the file that defines it; workers load the file again, for functions do not travel."""

    claim: Claim
    file: Path


def find_claims(folder: Path | None = None) -> tuple[Claim, ...]:
    """Return every claim in ``folder`` (the ones that ship, by default), in natural order."""
    return tuple(found.claim for found in find_all(folder).values())


def find_all(folder: Path | None = None) -> dict[str, Found]:
    """Return the claims of ``folder`` by id, in natural order.

    Raises
    ------
    UserError
        For a folder that does not exist, a file without ``CLAIM``, or two files with one id.
    ClaimError
        For a file that cannot be imported.
    """
    folder = (CLAIMS if folder is None else Path(folder)).resolve()
    if not folder.is_dir():
        raise UserError(f"there is no folder of claims at {folder}: pass one that holds claim files (*.py)")
    found: dict[str, Found] = {}
    for file in sorted(folder.glob("*.py")):
        if file.name.startswith("_"):
            continue  # __init__ and helpers that claims share
        claim = load(file)
        if claim.id in found:
            raise UserError(
                f"claim {claim.id} is defined twice, in {found[claim.id].file.name} and in {file.name}: renumber one"
            )
        found[claim.id] = Found(claim, file)
    return dict(sorted(found.items(), key=lambda item: natural_order(item[0])))


def load(file: Path) -> Claim:
    """Return the claim that ``file`` defines as ``CLAIM``."""
    try:
        module = _module(file)
    except UserError:
        raise
    except Exception:
        raise ClaimError(f"file {file.name}", traceback.format_exc()) from None
    claim = getattr(module, "CLAIM", None)
    if not isinstance(claim, Claim):
        raise UserError(
            f"the claim file {file} has no `CLAIM = Claim(...)`: add it, or start the name of a helper with _"
        )
    return claim


def _module(file: Path) -> ModuleType:
    if file.parent == CLAIMS.resolve():
        return importlib.import_module(f"rebel_bench.claims.{file.stem}")
    return load_module(file, "claim")


def select(found: Mapping[str, Found], ids: Iterable[str] = ()) -> tuple[Found, ...]:
    """Return the claims with ``ids`` in natural order, all of them if none is given.

    Ids may be lower case, repeated, and joined by commas. Unknown ones raise :class:`UserError`, which names
    the nearest.
    """
    if not found:
        raise UserError("no claims were found: a claim is a file *.py with `CLAIM = Claim(...)`")
    known = {id_.upper(): id_ for id_ in found}
    wanted = [part.strip() for text in ids for part in text.split(",") if part.strip()]
    unknown = [text for text in wanted if text.upper() not in known]
    if unknown:
        raise UserError("\n".join(_unknown(text, found) for text in dict.fromkeys(unknown)))
    chosen = {known[text.upper()] for text in wanted} or set(found)
    return tuple(entry for id_, entry in found.items() if id_ in chosen)


def runnable(chosen: Iterable[Found], asked: bool) -> tuple[tuple[Found, ...], tuple[Claim, ...]]:
    """Return the claims that can run here, and those that need a package which is not installed.

    Raises
    ------
    UserError
        If a claim that cannot run was ``asked`` for by its id, with the command that installs what it needs.
    """
    entries = tuple(chosen)
    left_out = tuple(found.claim for found in entries if found.claim.missing)
    if asked and left_out:
        names = sorted({name for claim in left_out for name in claim.missing})
        ids = ", ".join(claim.id for claim in left_out)
        raise UserError(f"{ids}: needs {', '.join(names)}, not installed: run `{install(names)}`")
    return tuple(found for found in entries if not found.claim.missing), left_out


def install(names: Iterable[str]) -> str:
    """Return the command that installs extras."""
    return f"pip install 'rebel-theory[{','.join(names)}]'"


def _unknown(text: str, found: Mapping[str, Found]) -> str:
    near = difflib.get_close_matches(text.upper(), list(found), n=3, cutoff=0.3) or list(found)[:3]
    near.sort(key=natural_order)
    return f"unknown claim {text!r}: the nearest are {', '.join(near)}; `rebel-theory claims` lists all"


def natural_order(id_: str) -> tuple[int, str, int, str]:
    """Return a sort key: E, C, S, P, N, then other letters; numbers as numbers (C2 before C11)."""
    match = re.fullmatch(r"([A-Za-z]*)(\d*)(.*)", id_)
    letters, number, rest = match.groups() if match else (id_, "", "")
    letters = letters.upper()
    group = _GROUPS.index(letters) if len(letters) == 1 and letters in _GROUPS else len(_GROUPS)
    return group, letters, int(number or 0), rest
