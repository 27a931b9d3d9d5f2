"""Problems by name, for the command line: collected from the ``EXAMPLES`` of every module of the package."""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

import rebel_envs
from rebel_theory.problems import Problem
from rebel_theory.problems.base import InvalidProblemError

_GYMNASIUM_ID = re.compile(r".+-v\d+")
_NOT_CONSTRUCTORS = ("registry", "gym", "kernels")  # the last two load Gymnasium and Numba


@cache
def examples() -> Mapping[str, Callable[..., Problem]]:
    """Return every constructor by name, sorted; adding a module with ``EXAMPLES`` adds its names."""
    found: dict[str, Callable[..., Problem]] = {}
    for module in pkgutil.iter_modules(rebel_envs.__path__):
        if module.name.startswith("_") or module.name in _NOT_CONSTRUCTORS:
            continue
        loaded = importlib.import_module(f"rebel_envs.{module.name}")
        for name, build in getattr(loaded, "EXAMPLES", {}).items():
            if name in found:
                raise ImportError(f"environment {name!r} of {loaded.__name__} exists already: rename it")
            found[name] = build
    return MappingProxyType(dict(sorted(found.items())))


def names() -> tuple[str, ...]:
    """Return the names that :func:`make` knows, sorted; any Gymnasium id is understood as well."""
    return tuple(examples())


def make(name: str, **kwargs: Any) -> Problem:
    """Return the problem called ``name``, a small instance unless ``kwargs`` say otherwise.

    Parameters
    ----------
    name : str
        One of :func:`names`, or a Gymnasium id such as ``"FrozenLake-v1"``.
    **kwargs
        Keyword hyper-parameters of the constructor.

    Raises
    ------
    InvalidProblemError
        An unknown name, or an unknown hyper-parameter, with the nearest ones.

    Examples
    --------
    >>> make("chain", n_states=4).row_shape
    (4,)
    """
    build, bound = _find(name)
    parameters = inspect.signature(build).parameters
    known = [p.name for p in parameters.values() if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        for key in kwargs:
            if key not in known:
                raise InvalidProblemError(
                    name,
                    [f"has no parameter {key!r}: {_nearest(key, known)}its parameters are {', '.join(known)}"],
                )
    return build(*bound, **kwargs)


def describe(name: str) -> str:
    """Return the first line of a constructor's docstring, without the leading "Return"."""
    build, bound = _find(name)
    if bound:
        return f"the transition table of Gymnasium's {name}."
    lines = (inspect.getdoc(getattr(build, "func", build)) or "").splitlines()
    fixed = "".join(f" ({argument})" for argument in getattr(build, "args", ()))
    return lines[0].removeprefix("Return ") + fixed if lines else ""


def _find(name: str) -> tuple[Callable[..., Problem], tuple[str, ...]]:
    """Return a constructor and its positional arguments."""
    known = examples()
    if name in known:
        return known[name], ()
    if _GYMNASIUM_ID.fullmatch(name):
        from rebel_envs.gymnasium_tables import from_gymnasium

        return from_gymnasium, (name,)
    raise InvalidProblemError(
        "environment",
        [f"{name!r} is unknown: {_nearest(name, list(known))}rebel_envs.names() lists all {len(known)} names"],
    )


def _nearest(word: str, known: list[str]) -> str:
    lowered = word.lower().replace("_", "-")
    near = difflib.get_close_matches(lowered if lowered in known else word.lower(), known, n=3, cutoff=0.5)
    near = near or difflib.get_close_matches(lowered, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}? " if near else ""
