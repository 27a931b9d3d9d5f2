"""Which names of its module a statement uses, against Python's own tables of symbols."""

from __future__ import annotations

import ast
import symtable
from pathlib import Path

import pytest

import rebel_bench
import rebel_theory
from rebel_bench.scopes import module_names

FOLDERS = [Path(str(package.__file__)).parent for package in (rebel_theory, rebel_bench)]


def names(text):
    [statement] = ast.parse(text).body
    return module_names(statement)


def by_python(text):
    """The names of the module by the compiler's tables; what a class binds and reads may be the module's."""
    found = set()

    def visit(table, top=False):
        for symbol in table.get_symbols():
            unsure = table.get_type() == "class" and symbol.is_local() and symbol.is_referenced()
            if top or symbol.is_global() or unsure:
                found.add(symbol.get_name())
        for child in table.get_children():
            visit(child)

    visit(symtable.symtable(text, "text", "exec"), top=True)
    return {name for name in found if not name.startswith((".", "__"))}


SNIPPETS = {
    "def f():\n    def draw(): pass\n    return draw()": {"f"},
    "def f():\n    return draw()": {"f", "draw"},
    "def f():\n    def g(): return draw\n    def h(draw): return draw\n    return g, h": {"f", "draw"},
    "def f(draw):\n    def g(): return draw\n    return g": {"f"},
    "def f(x=draw): return x": {"f", "draw"},
    "def f(*, x=draw): return x": {"f", "draw"},
    "def f(x=lambda draw: draw): return draw": {"f", "draw"},  # the parameter is the lambda's
    "def f(*draw, **other): return draw, other": {"f"},
    "@draw\ndef f(draw): pass": {"f", "draw"},
    "def f(x: draw) -> other: pass": {"f", "draw", "other"},
    "def f(x: 'list[draw]') -> 'other': pass": {"f", "list", "draw", "other"},
    "def f(x: 'no name, words'): pass": {"f"},
    "def f():\n    x: 'draw' = 1": {"f", "draw"},
    "def f():\n    global draw\n    draw = 1": {"f", "draw"},
    "def f(draw):\n    def g():\n        global draw\n        return draw\n    return g": {"f", "draw"},
    "def f():\n    draw = 1\n    def g():\n        nonlocal draw\n        draw = 2\n    return g": {"f"},
    "def f():\n    global draw\n    def draw(): pass": {"f", "draw"},
    "def f():\n    import draw\n    from a import b as c\n    return draw, c": {"f"},
    "def f():\n    import draw.inner\n    return draw": {"f"},
    "def f():\n    for draw in x:\n        pass\n    return draw": {"f", "x"},
    "def f():\n    with x as draw: return draw": {"f", "x"},
    "def f():\n    try: pass\n    except x as draw: return draw": {"f", "x"},
    "def f(x):\n    match x:\n        case [draw, *other] | {'a': draw, **other}: return draw, other": {"f"},
    "def f(x):\n    match x:\n        case draw.this: return 1": {"f", "draw"},
    "def f():\n    return draw\n    del draw": {"f"},
    "def f(): return [draw for draw in x]": {"f", "x"},
    "def f(): return [draw for other in x], other": {"f", "draw", "x", "other"},
    "def f(): return [y for draw in x for y in draw if draw]": {"f", "x"},
    "def f(): return {draw: 1 for x in draw}": {"f", "draw"},
    "def f(): return [1 for draw in draw]": {"f", "draw"},  # the first iterable is evaluated outside
    "def f(): return [draw for x in y for draw in draw]": {"f", "y"},
    "def f(): return (lambda draw: draw)(other)": {"f", "other"},
    "def f():\n    if (draw := x): return draw": {"f", "x"},
    "class A:\n    draw = 1\n    def f(self): return draw": {"A", "draw"},
    "class A:\n    def draw(self): return 1": {"A"},
    "class A:\n    def draw(self):\n        global draw\n        draw = 1": {"A", "draw"},
    "class A:\n    draw = draw": {"A", "draw"},
    "class A:\n    draw += 1": {"A", "draw"},
    "class A:\n    x = [draw for y in other]": {"A", "draw", "other"},
    "class A(draw, metaclass=other): pass": {"A", "draw", "other"},
    "class A:\n    x: draw = 1": {"A", "draw"},
    "class A:\n    def f(self): return __draw": {"A", "__draw", "_A__draw"},
    "def f(draw):\n    class A:\n        draw = draw\n    return A": {"f", "draw"},  # past the function, to the module
    "def f(draw):\n    class A:\n        def g(self): return draw\n    return A": {"f"},
    "draw = [i for i in x]": {"draw", "x"},
    "draw.x[y] = z": {"draw", "y", "z"},
    "import a.b as draw, c.d": {"draw", "c"},
    "for draw in x: pass": {"draw", "x"},
}


@pytest.mark.parametrize("text", SNIPPETS)
def test_names_by_hand(text):
    assert names(text) == SNIPPETS[text]
    assert by_python(text) <= names(text)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_nothing_that_python_finds_is_left_out(folder):
    n = more = 0
    for file in sorted(folder.rglob("*.py")):
        for statement in ast.parse(file.read_text(encoding="utf-8")).body:
            found, known = module_names(statement), by_python(ast.unparse(statement))
            assert known <= found, f"{file}, line {statement.lineno}: {known - found}"
            n, more = n + 1, more + (found > known)
    assert n > 1000
    assert more < 0.05 * n  # nor is all called the module's: names of a class that a method reads as its own
