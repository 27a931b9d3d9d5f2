"""What a measurement depends on besides its names: the code that it runs, and the numerical libraries.

Found by reading, never by importing: every source of ``rebel_theory`` and ``rebel_envs``, what ``check`` and
``control`` reach in the claim's file (:mod:`rebel_bench.reach`), and whatever that imports of ``rebel_bench`` or of
the user's own. Of these ``rebel_theory.torch`` counts, and the version of PyTorch, only for a claim that requires
torch, or whose code has the word anywhere. Comments, docstrings, statements and figures do not count, so that a word
mended costs no measurement. What is not seen: files opened or modules named at run time.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import platform
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rebel_bench.devices import device
from rebel_bench.reach import fields_of_claim, parsed, tree_of

_WHOLE = ("rebel_theory", "rebel_envs")  # used through their top: everything may matter
_APART = "rebel_theory/torch/"  # but for this, which nothing else imports
_RUNNER = ("rebel_bench.scale", "rebel_bench.streams")  # what every measurement is called with
_INSTALLED = {"site-packages", "dist-packages"}
_LIBRARIES = ("numpy", "scipy", "numba")
_ON = ", device "


def libraries(file: Path | None = None) -> str:
    """Return the versions that rounding depends on, such as ``"python 3.11, numpy 2.3.4, ..."``.

    For the claim in ``file`` those of what it requires besides, and with torch the device, unless that is the CPU.
    """
    required, neural = set[str](), file is not None and needs_torch(file)
    if file is not None:
        required = {*_required(*_state(file)), *(("torch",) if neural else ())}
    found = ", ".join(map(_version, ("python", *_LIBRARIES, *sorted(required.difference(_LIBRARIES)))))
    return found + (f"{_ON}{device()}" if neural and device() != "cpu" else "")


def same_libraries(one: str, other: str) -> bool:
    """Return whether two texts of :func:`libraries` differ in the device at most."""
    return one.split(_ON)[0] == other.split(_ON)[0]


def code_of(file: Path) -> str:
    """Return 16 hexadecimal digits that change with the code that the claim in ``file`` runs."""
    total = hashlib.sha256()
    for name, path in sorted(sources_of(file).items()):
        total.update(f"{name} {_read(*_state(path), path == file).digest}\n".encode())
    return total.hexdigest()[:16]


def sources_of(file: Path) -> dict[str, Path]:
    """Return the files that the claim in ``file`` runs by the names of their modules; its own is ``"claim"``."""
    found = _all_sources(file)
    if _reads_torch(file, found):
        return found
    return {name: path for name, path in found.items() if not name.startswith(_APART)}


def needs_torch(file: Path) -> bool:
    """Return whether the claim in ``file`` requires torch, or runs code with the word in it."""
    return _reads_torch(file, _all_sources(file))


def edited_since(file: Path, moment: float) -> list[Path]:
    """Return what the claim in ``file`` runs and was edited after ``moment``, its own file left out.

    A process that imported a source before runs the old one still, and the claim's file alone is loaded each time.
    """
    now = time.time()  # a time to come says nothing: an archive, or the clock of another machine
    return [path for path in sources_of(file).values() if path != file and moment < path.stat().st_mtime <= now]


def _all_sources(file: Path) -> dict[str, Path]:
    found: dict[str, Path] = {"claim": file}
    for package in _WHOLE:
        found |= _package(package)
    waiting, seen = [file], set[str]()
    for module in _RUNNER:
        found |= _files(module)
        waiting.append(found[module])
    while waiting:
        path = waiting.pop()
        for module in _read(*_state(path), path == file).imports:
            if (place := _place(module)) in seen:
                continue
            seen.add(place)
            new = {name: source for name, source in _files(place).items() if name not in found}
            found |= new
            waiting += [source for source in new.values() if source.suffix == ".py"]
    return found


def _reads_torch(file: Path, found: dict[str, Path]) -> bool:
    if "torch" in _required(*_state(file)):
        return True
    ours = (path for name, path in found.items() if path.suffix == ".py" and not name.startswith(_APART))
    return any(_read(*_state(path), path == file).torch for path in ours)


@dataclass(frozen=True, slots=True)
class _Source:
    """What is known of a file: a digest of what runs, the modules that it imports, whether it speaks of torch."""

    digest: str
    imports: tuple[str, ...]
    torch: bool


def _state(path: Path) -> tuple[Path, int, int]:
    """Return a path with what changes when the file does: the keys of the caches below."""
    about = path.stat()
    return path, about.st_mtime_ns, about.st_size


@cache
def _read(path: Path, _modified: int, _size: int, claim: bool) -> _Source:
    if path.suffix != ".py":
        return _Source(hashlib.sha256(path.read_bytes()).hexdigest(), (), False)
    tree = tree_of(path, claim=claim)
    text = ast.dump(tree)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return _Source(digest, tuple(dict.fromkeys(_imports(tree, path))), re.search(r"\btorch\b", text) is not None)


@cache
def _required(path: Path, _modified: int, _size: int) -> tuple[str, ...]:
    """Return what the claim in a file ``requires``; torch, where that is not written out."""
    fields = fields_of_claim(parsed(path).body)
    if fields is None or "requires" not in fields:
        return ()  # a file that reads otherwise counts as a whole, the word included
    try:
        return tuple(map(str, ast.literal_eval(fields["requires"])))
    except ValueError:
        return ("torch",)


@cache
def _version(name: str) -> str:
    if name == "python":
        return "python " + ".".join(platform.python_version_tuple()[:2])
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"{name} none"


def _imports(tree: ast.Module, path: Path) -> Iterator[str]:
    """Yield what a file imports, as absolute names; ``from a import b`` gives ``a`` and ``a.b``, ``a.c`` used too."""
    bound: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
                bound[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom):
            module = ".".join(filter(None, (_around(path, node.level), node.module)))
            yield module
            for alias in node.names:
                yield f"{module}.{alias.name}"
                bound[alias.asname or alias.name] = f"{module}.{alias.name}"
    for node in ast.walk(tree):
        first, *rest = _dotted(node)
        if rest and first in bound:  # a module that somebody else has imported
            yield ".".join((bound[first], *rest))


def _around(path: Path, level: int) -> str:
    """Return the package that an import with ``level`` dots starts from; only ours are ever read one by one."""
    if not level:
        return ""
    folder = path.parents[level - 1]
    top = Path(__file__).parent
    return ".".join((top.name, *folder.relative_to(top).parts)) if folder.is_relative_to(top) else folder.name


def _dotted(node: ast.AST) -> tuple[str, ...]:
    """Return the names in ``a.b.c``; one empty name for anything else."""
    if isinstance(node, ast.Name):
        return (node.id,)
    if isinstance(node, ast.Attribute):
        return (*_dotted(node.value), node.attr)
    return ("",)


def _place(module: str) -> str:
    """Return the module of ours, or the package of somebody else's, that an import of ``module`` reads."""
    top = module.split(".")[0]
    return module if top == "rebel_bench" else top


def _files(module: str) -> dict[str, Path]:
    """Return the sources that importing ``module`` runs, its parents' included; none for what is installed."""
    top, *rest = module.split(".")
    if top in _WHOLE or top in sys.stdlib_module_names:
        return {}
    if top != "rebel_bench":
        return _of_the_user(top)
    folder = Path(__file__).parent
    found = {top: folder / "__init__.py"}
    for i, word in enumerate(rest):
        name = ".".join((top, *rest[: i + 1]))
        candidates = (folder / f"{word}.py", folder / word / "__init__.py")
        found.update((name, path) for path in candidates if path.is_file())
        folder = folder / word
    return found


def _of_the_user(top: str) -> dict[str, Path]:
    """Return the Python files of a package or module that somebody works on; none for one that was installed."""
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # a module without a spec, such as __main__
        return {}
    if spec is None:
        return {}
    places = [Path(place) for place in spec.submodule_search_locations or filter(None, [spec.origin])]
    ours = [place for place in places if not _INSTALLED & set(place.parts)]
    files = [(place, path) for place in ours for path in (place.rglob("*.py") if place.is_dir() else (place,))]
    return {path.relative_to(place.parent).as_posix(): path for place, path in files if path.suffix == ".py"}


def _package(top: str) -> dict[str, Path]:
    """Return every file of one of our own packages, wherever it is installed."""
    spec = importlib.util.find_spec(top)  # finds a top-level package without importing it
    folders = [Path(folder) for folder in (spec.submodule_search_locations if spec else None) or ()]
    return {
        path.relative_to(folder.parent).as_posix(): path
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
