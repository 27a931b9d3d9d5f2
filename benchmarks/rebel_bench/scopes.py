"""Which names of its module a piece of code reads or binds, by Python's scopes.

Where in doubt a name counts as the module's: too many names are harmless to those who ask, too few are not.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

_NO_NAMES: frozenset[str] = frozenset()
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_BODIES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
_SCOPES = (*_BODIES, *_COMPREHENSIONS)


def module_names(node: ast.AST) -> set[str]:
    """Return the names of the module that a statement or expression at its top reads, binds or deletes.

    Those of functions and classes inside it included, names that are theirs left out; annotations count, quoted or not.

    >>> sorted(module_names(ast.parse("def f(x): draw = y; return lambda z: (draw, x, z, g)")))
    ['f', 'g', 'y']
    """
    found: set[str] = set()
    _visit([node], _NO_NAMES, found)
    return found


def _visit(nodes: Iterable[ast.AST], local: frozenset[str], found: set[str]) -> None:
    """Add what ``nodes`` take from the module; ``local`` are the names of the functions around them."""
    for node in nodes:
        found |= _bound(node) - local
        if isinstance(node, ast.Name):
            found |= {node.id} - local
        elif isinstance(node, _COMPREHENSIONS):
            _comprehension(node, local, found)
        elif isinstance(node, _BODIES):
            body = node.body if isinstance(node.body, list) else [node.body]
            # what is evaluated outside: decorators, defaults, annotations, bases
            _visit((child for child in ast.iter_child_nodes(node) if child not in body), local, found)
            if isinstance(node, ast.ClassDef):
                _class(node, local, found)
            else:
                _visit(body, (local | _parameters(node.args) | bindings(body)) - _global(body), found)
        else:
            _visit(ast.iter_child_nodes(node), local, found)
        for annotation in _annotations(node):
            _visit(_quoted(annotation), local, found)


def _class(node: ast.ClassDef, local: frozenset[str], found: set[str]) -> None:
    """Visit the body of a class: what it binds hides nothing from its methods, and is read from the module if unset."""
    inside: set[str] = set()
    bound = bindings(node.body)
    _visit(node.body, local - bound - _global(node.body), inside)
    inside -= bound - set(_read(node.body))
    private = {name for name in inside if name.startswith("__") and not name.endswith("__")}
    found |= inside | {f"_{node.name.lstrip('_')}{name}" for name in private}  # as the compiler spells them


def _comprehension(
    node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp, local: frozenset[str], found: set[str]
) -> None:
    """Visit a comprehension: its variables are its own, and its first iterable is evaluated outside."""
    generators = node.generators
    first = generators[0].iter
    targets = bindings(generator.target for generator in generators)
    _visit([first], local, found)
    inner = [child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.comprehension)]
    inner += [part for generator in generators for part in ast.iter_child_nodes(generator) if part is not first]
    _visit(inner, local | targets, found)


def bindings(body: Iterable[ast.AST]) -> frozenset[str]:
    """Return the names that ``body`` binds in its own scope; those of ``:=`` within a comprehension are left out."""
    return frozenset(name for node in _same_scope(body) for name in _bound(node) if not isinstance(node, ast.Global))


def _global(body: Iterable[ast.AST]) -> frozenset[str]:
    return frozenset(name for node in _same_scope(body) if isinstance(node, ast.Global) for name in node.names)


def _read(body: Iterable[ast.AST]) -> Iterator[str]:
    """Yield the names that ``body`` reads in any scope, or declares to be the module's."""
    for node in (part for statement in body for part in ast.walk(statement)):
        match node:
            case ast.Name(id=name, ctx=ast.Load()) | ast.AugAssign(target=ast.Name(id=name)):
                yield name
            case ast.Global(names=names):
                yield from names


def _same_scope(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    for node in nodes:
        yield node
        if not isinstance(node, _SCOPES):
            yield from _same_scope(ast.iter_child_nodes(node))


def _bound(node: ast.AST) -> frozenset[str]:
    """Return the names that a node itself binds, or declares to be the module's."""
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
            return frozenset({name})
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return frozenset({name})
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            return frozenset({name})
        case ast.MatchMapping(rest=str(name)):
            return frozenset({name})
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            return frozenset(bound_by(alias) for alias in names)
        case ast.Global(names=names):
            return frozenset(names)
    return _NO_NAMES


def bound_by(alias: ast.alias) -> str:
    """Return the name that an import binds; ``*`` for one that binds whatever there is."""
    return alias.asname or alias.name.split(".")[0]


def _parameters(arguments: ast.arguments) -> frozenset[str]:
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    return frozenset(argument.arg for argument in named if argument is not None)


def _annotations(node: ast.AST) -> list[ast.AST]:
    fields = (getattr(node, name, None) for name in ("annotation", "returns"))
    return [field for field in fields if isinstance(field, ast.AST)]


def _quoted(annotation: ast.AST) -> Iterator[ast.AST]:
    """Yield the expressions that are written as texts in an annotation."""
    for node in ast.walk(annotation):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            try:
                yield ast.parse(node.value, mode="eval")
            except SyntaxError:
                continue  # words, as in Annotated[int, "how many"]
