"""Instance files: one problem, first policy and algorithm as JSON, exact to the last bit, to be replayed.

A file is written by ``rebel-theory attack`` and read by ``attack``, ``audit`` and ``run``. Floats are written in the
shortest form that reads back as the same float.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from pydantic import ValidationError

import rebel_theory as rt
from rebel_bench.atomic import whole_file
from rebel_bench.errors import UserError
from rebel_bench.instance_schema import CLASSES, FORMAT, KINDS, MODELS, VERSION, File, make_algorithm, numbers
from rebel_theory.arrays import FloatArray


@dataclass(frozen=True, eq=False, kw_only=True)
class Instance:
    """What a run needs, and which claim it was found for.

    Attributes
    ----------
    problem
        A single ContextualBandit, TabularMDP (dense), FiniteHorizonMDP, LinearMDP or PreferenceGame.
    policy
        The first policy, TabularPolicy or LogLinearPolicy, without leading axes.
    step_size, n_iterations
        The functional eta, and the number of updates T.
    algorithm
        A key of ``rebel-theory algorithms``.
    options
        The algorithm's other fields: numbers, words, arrays.
    base
        REBEL's mu: ``"on-policy"``, ``"uniform"``, or probabilities (S, A).
    share
        Of ``base`` in mu; the rest is on-policy.
    claim, ratio, seed, note
        The id of the claim, measured/bound as found, the seed of the search, and a sentence.
    """

    problem: rt.Problem
    policy: rt.TabularPolicy | rt.LogLinearPolicy
    step_size: float
    n_iterations: int
    algorithm: str = "rebel"
    options: Mapping[str, Any] = field(default_factory=dict)
    base: str | FloatArray = "on-policy"
    share: float = 1.0
    claim: str | None = None
    ratio: float | None = None
    seed: int | None = None
    note: str = ""

    def make_algorithm(self, step_size: float | None = None) -> rt.Algorithm:
        """Return the algorithm, with another step size if one is given."""
        return make_algorithm(
            self.algorithm, self.options, self.step_size if step_size is None else step_size, self.base, self.share
        )

    def run(self, **options: Any) -> rt.Trace:
        """Return the trace of the exact run; ``options`` go to :func:`rebel_theory.run`."""
        arguments: dict[str, Any] = {"n_iterations": self.n_iterations, "policy": self.policy, **options}
        return rt.run(self.problem, self.make_algorithm(), **arguments)


def save(instance: Instance, path: Path) -> Path:
    """Write ``instance`` to ``path``, whole or not at all, and return the path.

    Raises
    ------
    UserError
        If the file cannot be written.
    TypeError
        For a problem or a policy that the format does not know.
    """
    text = json.dumps(as_object(instance), indent=1, allow_nan=False)
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}. Choose another folder") from error
    with whole_file(path) as temporary:
        temporary.write_text(_rows_on_a_line(text) + "\n", encoding="utf-8")
    return path


def load(path: Path) -> Instance:
    """Return the instance in the file at ``path``.

    Raises
    ------
    UserError
        If there is no such file, or it is not an instance: every fault at once, each with its place.
    """
    path = Path(path)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read the instance file {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not an instance file: it is not text in UTF-8") from error
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is not JSON: {error.msg} in line {error.lineno}, column {error.colno}") from error
    return from_object(data, str(path))


# --- writing ---


def as_object(instance: Instance) -> dict[str, Any]:
    """Return the instance as what JSON knows."""
    ratio = instance.ratio
    return {
        "format": FORMAT,
        "version": VERSION,
        "claim": instance.claim,
        "ratio": "inf" if ratio is not None and np.isinf(ratio) else ratio,
        "seed": instance.seed,
        "note": instance.note,
        "n_iterations": instance.n_iterations,
        "algorithm": {
            "name": instance.algorithm,
            "options": {key: as_lists(value) for key, value in instance.options.items()},
            "step_size": float(instance.step_size),
            "base": as_lists(instance.base),
            **({} if instance.share == 1 else {"share": float(instance.share)}),
        },
        "policy": _described(instance.policy),
        "problem": _described(instance.problem),
    }


def _described(thing: Any) -> dict[str, Any]:
    kind = KINDS.get(type(thing))
    if kind is None:
        raise TypeError(f"an instance file cannot hold a {type(thing).__name__}: it knows {', '.join(CLASSES)}")
    if getattr(thing, "batch_shape", ()) or getattr(thing, "is_sparse", False):
        raise TypeError("an instance file holds one instance with dense arrays: take problem.instance(i)")
    fields = {name: getattr(thing, name) for name in MODELS[kind].model_fields if name != "kind"}
    if not getattr(thing, "contextual", True):
        fields["preference"] = fields["preference"][0]
    return {"kind": kind} | {name: as_lists(value) for name, value in fields.items() if value is not None}


def as_lists(value: Any) -> Any:
    """Return arrays as nested lists of floats, minus infinity as a word; other values as they are."""
    if isinstance(value, (np.ndarray, list, tuple)):
        return [as_lists(row) for row in value]
    if isinstance(value, (float, np.floating)):
        return "-inf" if value == -np.inf else float(value)
    return value.item() if isinstance(value, np.generic) else value


def _rows_on_a_line(text: str) -> str:
    """Return indented JSON with lists of numbers on one line each."""
    return re.sub(r"\[[^\[\]{}]*\]", lambda match: " ".join(match[0].split()), text)


# --- reading ---


def from_object(data: Any, where: str) -> Instance:
    """Return the instance that ``data`` describes; ``where`` names it in errors."""
    try:
        file = File.model_validate(data)
    except ValidationError as error:
        faults = [sentence for fault in error.errors() for sentence in _sentences(fault)]
        head = f"{where} is not an instance file: {len(faults)} fault{'s' if len(faults) > 1 else ''}"
        raise UserError("\n".join([head, *(f"  - {fault}" for fault in faults)])) from None
    made = file.algorithm
    return Instance(
        problem=cast("rt.Problem", file.problem), policy=cast("rt.TabularPolicy", file.policy),
        step_size=made.step_size, n_iterations=file.n_iterations, algorithm=made.name, base=made.base,
        share=made.share,
        options={k: numbers(v) if isinstance(v, list) else v for k, v in made.options.items()},
        claim=file.claim, ratio=float("inf") if file.ratio == "inf" else file.ratio, seed=file.seed, note=file.note,
    )  # fmt: skip


def _sentences(fault: Any) -> list[str]:
    """Return what is wrong at one place of the file, a sentence each."""
    place = ".".join(str(part) for part in fault["loc"])
    return [f"{place}: {line}" if place else line for line in fault["msg"].removeprefix("Value error, ").split("\n")]
