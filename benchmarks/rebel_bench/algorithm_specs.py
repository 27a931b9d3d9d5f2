"""From the words ``rebel,ppo(clip=0.1),my_file.py:MyAlgorithm`` to algorithms; every error before any work."""

from __future__ import annotations

import ast
import dataclasses
import difflib
import inspect
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

import rebel_theory as rt
from rebel_bench.errors import UserError
from rebel_bench.user_files import in_words, load_module
from rebel_theory.algorithms.registry import find_algorithms
from rebel_theory.policies.bases import BaseLike

ALIASES = {
    "npg-pairs": "npg(fisher=pairs)",
    "md-euclidean": "md(mirror_map=euclidean)",
    "md-tsallis": "md(mirror_map=tsallis)",
}
_ITEM = re.compile(r"(?P<name>[^()]+?)\s*(?:\((?P<options>.*)\))?", re.DOTALL)


@dataclass(frozen=True)
class Spec:
    """An algorithm class and the options that were given for it."""

    text: str
    kind: type[rt.Algorithm]
    options: dict[str, Any]

    @property
    def label(self) -> str:
        """The algorithm's name, with the options that differ from its defaults."""
        if not self.options:
            return self.kind.name
        words = (v.capitalize() if isinstance(v, str) else f"{k}={v}" for k, v in self.options.items())
        return f"{self.kind.name} ({', '.join(words)})"

    def make(self, step_size: ArrayLike, base: BaseLike = "on-policy") -> rt.Algorithm:
        """Return the algorithm; the step size and REBEL's base are used unless the options say otherwise."""
        fields = {field.name for field in dataclasses.fields(self.kind)}  # type: ignore[arg-type]
        shared = {"step_size": step_size, "base": base}
        given = {k: v for k, v in shared.items() if k in fields} | self.options
        if given.get("mirror_map") == "tsallis":
            given["mirror_map"] = rt.TsallisMap(0.5)
        try:
            return self.kind(**given)
        except (TypeError, ValueError) as error:
            raise UserError(f"--algorithms {self.text}: {error}") from error


def parse(texts: Iterable[str]) -> list[Spec]:
    """Return the algorithms of comma-joined lists, in order, each once.

    An item is a key of ``rebel-theory algorithms``, or FILE.py:Class, with options in parentheses.
    """
    items = [item for text in texts for item in _split(text)]
    if not items:
        raise UserError(f"--algorithms: nothing is not one of {', '.join(find_algorithms())}")
    specs = [_parse(ALIASES.get(item.lower(), item)) for item in dict.fromkeys(items)]
    return list({spec.label: spec for spec in specs}.values())


def _split(text: str) -> list[str]:
    """Return the items of a list joined by commas that are outside parentheses."""
    items, depth, start = [], 0, 0
    for i, letter in enumerate(text):
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and depth == 0:
            items.append(text[start:i])
            start = i + 1
    return [item.strip() for item in [*items, text[start:]] if item.strip()]


def _parse(item: str) -> Spec:
    match = _ITEM.fullmatch(item)
    if match is None:
        raise UserError(f"--algorithms {item}: expected NAME or NAME(option=value, ...), such as ppo(clip=0.1)")
    kind = _kind(match["name"])
    return Spec(item, kind, _options(item, kind, match["options"]))


def _kind(name: str) -> type[rt.Algorithm]:
    known = find_algorithms()
    if name.lower() in known:
        return known[name.lower()]
    if ".py" in name:
        return from_file(name)
    names = [*known, *ALIASES]
    near = difflib.get_close_matches(name.lower(), names, 1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise UserError(
        f"--algorithms {name}: not one of {', '.join(names)}.{hint} An algorithm of your own is FILE.py:Class"
    )


def from_file(text: str) -> type[rt.Algorithm]:
    """Return the class that FILE.py:Class names, or the only algorithm that FILE.py defines."""
    file, _, name = text.partition(".py")
    path = Path(file + ".py")
    name = name.removeprefix(":")
    if not path.is_file():
        raise UserError(f"--algorithms {text}: there is no file {path}; expected FILE.py:Class")
    try:
        module = load_module(path, "algorithm")
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path} cannot be imported: {in_words(error)}") from error
    own = {
        key: value
        for key, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, rt.Algorithm)
        and value.__module__ == module.__name__
        and not inspect.isabstract(value)
    }
    if not name and len(own) == 1:
        name = next(iter(own))
    if name not in own:
        found = ", ".join(own) or "none: subclass rebel_theory.Algorithm and write its step"
        raise UserError(f"{text}: expected {path}:Class with one of the file's algorithms ({found})")
    kind = own[name]
    _check(kind, path)
    return kind


def _check(kind: type[rt.Algorithm], path: Path) -> None:
    if not dataclasses.is_dataclass(kind) or "step_size" not in {field.name for field in dataclasses.fields(kind)}:
        raise UserError(
            f"{path}: {kind.__name__} must be a dataclass with a field step_size: write @dataclass(frozen=True, "
            "eq=False) above it and step_size: float in it"
        )
    if not isinstance(getattr(kind, "name", None), str):
        kind.name = kind.__name__  # a name for tables, if the file gives none


def _options(item: str, kind: type[rt.Algorithm], text: str | None) -> dict[str, Any]:
    known = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    found: dict[str, Any] = {}
    for part in _split(text or ""):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or key not in known:
            raise UserError(f"--algorithms {item}: {part} is not an option of {kind.name}: use {', '.join(known)}")
        found[key] = _value(value)
    return found


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def name_and_options(text: str) -> tuple[str, dict[str, Any]]:
    """Return the parts of NAME or NAME(option=value, ...)."""
    match = _ITEM.fullmatch(text.strip())
    if match is None:
        raise UserError(f"{text}: expected NAME or NAME(option=value, ...)")
    parts = [part.partition("=") for part in _split(match["options"] or "")]
    for key, equals, _ in parts:
        if not equals:
            raise UserError(f"{text}: {key} has no value: expected option=value")
    return match["name"], {key.strip(): _value(value.strip()) for key, _, value in parts}
