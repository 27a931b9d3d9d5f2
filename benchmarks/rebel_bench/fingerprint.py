"""What a measurement depends on besides its names: the code that it runs, and the numerical libraries.

Found by reading, never by importing: every source of ``rebel_theory`` and ``rebel_envs``, what ``check`` and
``control`` reach in the claim's file, and whatever that imports of ``rebel_bench`` or of the user's own.
Comments, docstrings, statements and figures do not count, so that a word mended costs no measurement. What is
not seen: files opened or modules named at run time.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
import platform
import sys
import time
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rebel_bench.errors import ClaimError

DEVICE = "REBEL_DEVICE"  # environment variable: reaches worker processes, too

_WHOLE = ("rebel_theory", "rebel_envs")  # used through their top: everything may matter
_INSTALLED = {"site-packages", "dist-packages"}
_LIBRARIES = ("numpy", "scipy", "numba")
_NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@cache
def libraries() -> str:
    """Return the versions that rounding depends on, such as ``"python 3.11, numpy 2.3.4, ..."``."""
    words = ["python " + ".".join(platform.python_version_tuple()[:2])]
    for name in _LIBRARIES:
        try:
            words.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            words.append(f"{name} none")
    device = os.environ.get(DEVICE, "cpu")
    if device != "cpu":  # where the networks of the claims N1 on are evaluated
        words.append(f"device {device}")
    return ", ".join(words)


def code_of(file: Path) -> str:
    """Return 16 hexadecimal digits that change with the code that the claim in ``file`` runs."""
    total = hashlib.sha256()
    for name, path in sorted(sources_of(file).items()):
        total.update(f"{name} {_digest(*_state(path), path == file)}\n".encode())
    return total.hexdigest()[:16]


def sources_of(file: Path) -> dict[str, Path]:
    """Return the files that the claim in ``file`` runs by the names of their modules; its own is ``"claim"``."""
    found: dict[str, Path] = {"claim": file}
    for package in _WHOLE:
        found |= _package(package)
    waiting, seen = [file], set[str]()
    while waiting:
        path = waiting.pop()
        for module in _imports(*_state(path), path == file):
            if (place := _place(module)) in seen:
                continue
            seen.add(place)
            new = {name: source for name, source in _files(place).items() if name not in found}
            found |= new
            waiting += [source for source in new.values() if source.suffix == ".py"]
    return found


def edited_since(file: Path, moment: float) -> list[Path]:
    """Return what the claim in ``file`` runs and was edited after ``moment``, its own file left out.

    A process that imported a source before runs the old one still, and the claim's file alone is loaded each time.
    """
    now = time.time()  # a time to come says nothing: an archive, or the clock of another machine
    return [path for path in sources_of(file).values() if path != file and moment < path.stat().st_mtime <= now]


def _state(path: Path) -> tuple[Path, int, int]:
    """Return a path with what changes when the file does: the keys of the caches below."""
    about = path.stat()
    return path, about.st_mtime_ns, about.st_size


@cache
def _digest(path: Path, _modified: int, _size: int, claim: bool) -> str:
    if path.suffix != ".py":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return hashlib.sha256(ast.dump(tree_of(path, claim=claim)).encode()).hexdigest()


@cache
def _imports(path: Path, _modified: int, _size: int, claim: bool) -> tuple[str, ...]:
    """Return what a file imports, as absolute names; ``from a import b`` gives ``a`` and ``a.b``."""
    names: list[str] = []
    for node in ast.walk(tree_of(path, claim=claim)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:  # the style is absolute imports
            module = node.module or ""
            names += [module, *(f"{module}.{alias.name}" for alias in node.names)]
    return tuple(dict.fromkeys(names))


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


def tree_of(path: Path, *, claim: bool = False) -> ast.Module:
    """Return the tree of a file without what does not run: docstrings, imports for type checkers.

    With ``claim``, only what the measurement of the claim in it reaches.
    """
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError as error:
        raise ClaimError(f"file {path.name}", str(error)) from None
    if claim:
        tree.body = _reached(tree.body)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(node, (ast.Module, *_NAMED)) and body and _is_text(body[0]):
            del body[0]
        if isinstance(body, list):
            body[:] = [part for part in body if not _is_for_type_checkers(part)]
    return tree


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_for_type_checkers(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _reached(body: list[ast.stmt]) -> list[ast.stmt]:
    """Return what ``check``, ``control`` and ``blocks`` of ``CLAIM = Claim(...)`` reach; all, if it reads otherwise.

    Statements that do more than to define a name are kept: they may change anything.
    """
    measured = _measured(body)
    if measured is None:
        return body
    free = [node for node in body if not _defined(node) and not _is_for_type_checkers(node) and not _is_text(node)]
    wanted = {name for node in (*measured, *free) for name in _used(node)}
    kept: list[ast.stmt] = []
    rest = [node for node in body if _defined(node)]
    while more := [node for node in rest if _defined(node) & wanted]:
        kept += more
        rest = [node for node in rest if node not in more]
        wanted |= {name for node in more for name in _used(node)}
    chosen = {id(node) for node in (*free, *kept)}
    return [node for node in body if id(node) in chosen] + [ast.Expr(value) for value in measured]


def _measured(body: list[ast.stmt]) -> list[ast.expr] | None:
    """Return the expressions that measure, from the one plain ``CLAIM = Claim(check=..., ...)``."""
    calls = [node.value for node in body if isinstance(node, ast.Assign) and _defined(node) == {"CLAIM"}]
    if len(calls) != 1 or not isinstance(calls[0], ast.Call):
        return None
    fields = {keyword.arg: keyword.value for keyword in calls[0].keywords}
    if None in fields or not {"id", "check", "control"} <= set(fields):
        return None
    return [fields[name] for name in ("id", "check", "control", "blocks") if name in fields]


def _defined(node: ast.stmt) -> set[str]:
    """Return the names that a statement defines and does nothing else; none if it may do more."""
    if isinstance(node, _NAMED):
        return {node.name}
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return {(alias.asname or alias.name).split(".")[0] for alias in node.names} - {"*"}
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    names = {target.id for target in targets if isinstance(target, ast.Name)}
    return names if len(names) == len(targets) else set()


def _used(node: ast.AST) -> Iterator[str]:
    return (part.id for part in ast.walk(node) if isinstance(part, ast.Name))
