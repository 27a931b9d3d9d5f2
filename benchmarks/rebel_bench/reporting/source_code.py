"""Digests of a claim's file that are the same under every version of Python."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from pathlib import Path

from rebel_bench.fingerprint import sources_of
from rebel_bench.reach import tree_of

_TEXTS = {"title", "statement", "latex", "source", "control_statement", "finding", "false_alarm"}
_HELPERS = ("rebel_bench.claims.", "rebel_bench.instances")


def measured_by(file: Path) -> str:
    """Return a digest of what ``check`` and ``control`` of the claim in ``file`` run, there and in its helpers."""
    helpers = {name: path for name, path in sources_of(file).items() if name.startswith(_HELPERS)}
    trees = [tree_of(file, claim=True)]
    trees += [tree_of(path) for name, path in sorted(helpers.items()) if path.name != "__init__.py"]
    return digest(map(_canonical, trees))


def drawn_by(file: Path) -> str:
    """Return a digest of all code in ``file``, the texts of a claim left out."""
    tree = tree_of(file)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Claim":
            node.keywords = [keyword for keyword in node.keywords if keyword.arg not in _TEXTS]
    return digest([_canonical(tree)])


def digest(texts: Iterable[str]) -> str:
    """Return 16 hexadecimal digits."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


def _canonical(node: object) -> str:
    """Return a tree as text; ``ast.dump`` and the fields of a node differ between versions of Python."""
    if isinstance(node, ast.AST):
        fields = (f"{name}={_canonical(value)}" for name, value in ast.iter_fields(node) if value not in (None, []))
        return f"{type(node).__name__}({', '.join(fields)})"
    if isinstance(node, list):
        return f"[{', '.join(map(_canonical, node))}]"
    return repr(node)
