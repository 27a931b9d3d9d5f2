"""What runs in a source file, and of a claim's file what its measurement reaches.

Read, not run. Not seen: names made up at run time (``getattr`` by a text, ``sys.modules``; a call of ``globals``,
``vars``, ``eval`` or ``exec`` makes the whole file count), and what an import changes elsewhere, unless nobody uses
the name that it binds: then it is there for what it does.
"""

from __future__ import annotations

import ast
import builtins
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from rebel_bench.errors import ClaimError
from rebel_bench.scopes import bindings, bound_by, module_names

_MEASURING = ("id", "check", "control", "blocks")
_ANY_NAME = {"globals", "vars", "eval", "exec"}
_NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_IMPORTS = (ast.Import, ast.ImportFrom)
_FIXED = (ast.Constant, ast.Name, ast.Tuple, ast.UnaryOp, ast.BinOp, ast.operator, ast.unaryop, ast.expr_context)
_QUIET = {  # calling what comes from here changes nothing in the file that calls
    "__future__", "collections", "dataclasses", "enum", "functools", "itertools", "math", "typing",
    "numpy", "pandas", "scipy", "rebel_theory", "rebel_envs", "rebel_bench",
}  # fmt: skip


def tree_of(path: Path, *, claim: bool = False) -> ast.Module:
    """Return the tree of a file without what does not run: docstrings, imports for type checkers.

    With ``claim``, only what the measurement of the claim in it reaches.
    """
    tree = parsed(path)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(node, (ast.Module, *_NAMED)) and body and _is_text(body[0]):
            del body[0]
        for name in ("body", "orelse", "finalbody"):
            statements = getattr(node, name, None)
            if isinstance(statements, list):
                statements[:] = [part for statement in statements for part in _running(statement)]
    if claim:
        tree.body = _reached(tree.body)
    return tree


def parsed(path: Path) -> ast.Module:
    """Return the tree of a whole file; raise :class:`ClaimError` if it is not Python."""
    try:
        return ast.parse(path.read_bytes())
    except SyntaxError as error:
        raise ClaimError(f"file {path.name}", str(error)) from None


def fields_of_claim(body: Iterable[ast.stmt]) -> dict[str, ast.expr] | None:
    """Return the arguments of the one plain ``CLAIM = Claim(check=..., ...)``; None if the file is written otherwise.

    ``Claim`` has to be the library's: something else may wrap what it is given.
    """
    calls = [node for node in body if "CLAIM" in bindings([node])]
    if len(calls) != 1 or not isinstance(calls[0], ast.Assign) or _defined(calls[0]) != {"CLAIM"}:
        return None
    call = calls[0].value
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        return None
    makers = [node for node in body if call.func.id in bindings([node])]
    if len(makers) != 1 or not isinstance(makers[0], ast.ImportFrom) or makers[0].module != "rebel_bench.claim":
        return None
    fields = {keyword.arg: keyword.value for keyword in call.keywords}
    if call.args or None in fields or not {"id", "check", "control"} <= set(fields):
        return None
    return {name: value for name, value in fields.items() if name is not None}


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _running(node: ast.stmt) -> list[ast.stmt]:
    """Return a statement, or of ``if TYPE_CHECKING:`` what stands under ``else``."""
    checked = isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    return node.orelse if isinstance(node, ast.If) and checked else [node]


@dataclass(frozen=True, eq=False)
class _Statement:
    """One statement at the top of a file."""

    node: ast.stmt

    @cached_property
    def defines(self) -> set[str]:
        """The names that it defines, if it does nothing else; none if it may do more."""
        return _defined(self.node)

    @cached_property
    def names(self) -> set[str]:
        """The names of the module that occur in it."""
        return module_names(self.node)

    @cached_property
    def runs(self) -> bool:
        """Whether it does anything when the file is imported; a plain function does not."""
        node = self.node
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            return bool(node.decorator_list or node.args.defaults or any(node.args.kw_defaults))
        return True

    @property
    def fixed(self) -> bool:
        """Whether what it defines is a function, or a number, a text or a tuple: nothing that others could change."""
        node = self.node
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            return all(isinstance(part, _FIXED) for part in ast.walk(node.value)) if node.value else True
        if isinstance(node, _IMPORTS):
            return _quiet(node)
        return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))

    def calls(self) -> Iterator[str]:
        """Yield the first names of what runs in it on import: called, decorating, inherited from, written into."""
        for node in _on_import(self.node):
            if isinstance(node, ast.Call):
                yield _root(node.func)
            elif isinstance(node, (ast.Attribute, ast.Subscript)) and not isinstance(node.ctx, ast.Load):
                yield _root(node)
            elif isinstance(node, _NAMED):
                yield from map(_root, node.decorator_list)
                yield from map(_root, getattr(node, "bases", ()))
                yield from (_root(keyword.value) for keyword in getattr(node, "keywords", ()))


def _reached(body: list[ast.stmt]) -> list[ast.stmt]:
    """Return what ``check``, ``control`` and ``blocks`` of the claim reach; all, if it reads otherwise.

    Kept besides: statements that do more than to define a name, for they may change anything; what is run on import
    and may change something that is reached, as a decorator does that registers; what runs and binds a name in vain.
    """
    fields = fields_of_claim(body)
    if fields is None:
        return body
    measured: list[ast.stmt] = [ast.Expr(fields[name]) for name in _MEASURING if name in fields]
    statements = [_Statement(node) for node in body if _defined(node) != {"CLAIM"}]
    counts = Counter(name for node in body for name in module_names(node))
    vain = (s.defines for s in statements if s.runs and all(counts[name] == 1 for name in s.defines))
    in_vain = {name for names in vain for name in names} - {"TYPE_CHECKING"}
    kept = _closure(statements, {name for node in measured for name in module_names(node)} | in_vain)
    if kept & {"CLAIM", *_ANY_NAME}:
        return body
    reached = [s.node for s in statements if not s.defines or s.defines & kept]
    return [_with_names(node, kept) for node in reached] + measured


def _closure(statements: Sequence[_Statement], names: set[str]) -> set[str]:
    """Return the names that code with ``names`` reaches, with those of statements that may change what it reaches."""
    quiet = {name for s in statements if isinstance(s.node, _IMPORTS) and _quiet(s.node) for name in s.defines}
    quiet |= set(dir(builtins)) - {name for s in statements for name in bindings([s.node])}
    changing = [s for s in statements if s.defines and s.runs and not isinstance(s.node, _IMPORTS)]
    changing = [s for s in changing if not quiet.issuperset(s.calls())]
    loose = {name for s in statements if not s.fixed for name in bindings([s.node])}
    touched = [(s, _follow(statements, s.names, always=False) & loose) for s in changing]
    while True:
        names = _follow(statements, names, always=True)
        more = {name for s, objects in touched if objects & names for name in s.defines} - names
        if not more:
            return names
        names |= more


def _follow(statements: Sequence[_Statement], names: Collection[str], *, always: bool) -> set[str]:
    """Return ``names`` with those that their definitions use; with ``always`` those of statements that define none."""
    found = set(names)
    while (
        more := {name for s in statements if (s.defines & found or (always and not s.defines)) for name in s.names}
        - found
    ):
        found |= more
    return found


def _defined(node: ast.stmt) -> set[str]:
    """Return the names that a statement defines and does nothing else; none if it may do more."""
    if isinstance(node, _NAMED):
        return {node.name}
    if isinstance(node, _IMPORTS):
        return {bound_by(alias) for alias in node.names} - {"*"}
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    names = {target.id for target in targets if isinstance(target, ast.Name)}
    more = any(isinstance(part, ast.NamedExpr) for part in ast.walk(node))
    return names if len(names) == len(targets) and not more else set()


def _with_names(node: ast.stmt, names: set[str]) -> ast.stmt:
    """Return an import of those of its names alone that are among ``names``; other statements as they are."""
    if not isinstance(node, _IMPORTS):
        return node
    cut = copy(node)
    cut.names = [alias for alias in node.names if bound_by(alias) in names or alias.name == "*"]
    return cut


def _quiet(node: ast.stmt) -> bool:
    modules = (
        [node.module or ""]
        if isinstance(node, ast.ImportFrom)
        else [alias.name for alias in getattr(node, "names", ())]
    )
    return all(module.split(".")[0] in _QUIET for module in modules)


def _on_import(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the parts of a statement that run when the file is imported: not the bodies of functions."""
    yield node
    body = getattr(node, "body", None) if isinstance(node, _FUNCTIONS) else None
    inside = body if isinstance(body, list) else [body]
    for child in ast.iter_child_nodes(node):
        if child not in inside:
            yield from _on_import(child)


def _root(node: ast.AST) -> str:
    """Return the first name of ``a.b(c).d``; of a literal a name that is harmless, of anything else none that is."""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call, ast.Starred)):
        node = node.func if isinstance(node, ast.Call) else node.value
    if isinstance(node, ast.Name):
        return node.id
    return "str" if isinstance(node, (ast.Constant, ast.JoinedStr)) else ""
