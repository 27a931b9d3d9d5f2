"""The five tasks at three sizes, by name, and a transformer for each size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal, TypeAlias, TypedDict, get_args

from rebel_theory.problems import InvalidProblemError
from rebel_theory.torch.sequences.digits import Arithmetic, Copy, Sort
from rebel_theory.torch.sequences.tasks import Grammar, SequenceTask, TargetStyle

TaskSize: TypeAlias = Literal["small", "medium", "large"]


class TransformerShape(TypedDict):
    """What ``task.policy`` takes."""

    width: int
    depth: int
    heads: int


_TASKS: Mapping[str, tuple[type[Any], tuple[dict[str, int], ...]]] = {
    "copy": (Copy, ({"length": 2, "n_symbols": 4}, {"length": 4, "n_symbols": 10}, {"length": 8, "n_symbols": 10})),
    "sort": (Sort, ({"length": 2, "n_symbols": 4}, {"length": 4, "n_symbols": 10}, {"length": 8, "n_symbols": 10})),
    "arithmetic": (
        Arithmetic,
        ({"length": 1, "n_symbols": 5}, {"length": 2, "n_symbols": 11}, {"length": 3, "n_symbols": 11}),
    ),
    "grammar": (Grammar, ({"length": 4, "kinds": 1}, {"length": 8, "kinds": 2}, {"length": 16, "kinds": 3})),
    "target-style": (
        TargetStyle,
        ({"length": 3, "n_symbols": 6}, {"length": 6, "n_symbols": 12}, {"length": 12, "n_symbols": 24}),
    ),
}
_SHAPES: tuple[TransformerShape, ...] = (
    {"width": 32, "depth": 2, "heads": 2},
    {"width": 128, "depth": 4, "heads": 4},
    {"width": 512, "depth": 8, "heads": 8},
)


def sequence_task(kind: str, size: TaskSize = "small", **options: int) -> SequenceTask:
    """Return a task at one of three sizes.

    Parameters
    ----------
    kind : "copy", "sort", "arithmetic", "grammar" or "target-style"
    size : "small", "medium" or "large"
        Words of 2, 4 or 8 digits; sums of numbers of 1 (base 4), 2 or 3 digits (base 10); bracket words of up to 4, 8
        or 16 in 1, 2 or 3 kinds; texts of 3, 6 or 12 symbols out of 6, 12 or 24.
    options
        Parameters of the task's class, in place of the size's.

    Raises
    ------
    InvalidProblemError
        For an unknown kind, size or option; it names those that there are.

    Examples
    --------
    >>> sequence_task("sort", "large")
    Sort(length=8, n_symbols=10)
    >>> sequence_task("copy", length=3)
    Copy(length=3, n_symbols=4)
    """
    faults = []
    if kind not in _TASKS:
        faults.append(f"kind is {kind!r}, expected one of {', '.join(_TASKS)}")
    at = _index(size, faults)
    if not faults:
        make, sizes = _TASKS[kind]
        known = [field.name for field in fields(make)]
        faults += [f"{kind} has no {name}, but {', '.join(known)}" for name in options if name not in known]
    if faults:
        raise InvalidProblemError("sequence_task", faults)
    task: SequenceTask = make(**{**sizes[at], **options})
    return task


def transformer_shape(size: TaskSize = "small") -> TransformerShape:
    """Return width, depth and heads for ``task.policy``: about 26 thousand, 800 thousand and 25 million parameters.

    >>> transformer_shape("medium")
    {'width': 128, 'depth': 4, 'heads': 4}
    """
    faults: list[str] = []
    at = _index(size, faults)
    if faults:
        raise InvalidProblemError("transformer_shape", faults)
    return _SHAPES[at].copy()


def task_kinds() -> tuple[str, ...]:
    """Return the kinds that :func:`sequence_task` knows."""
    return tuple(_TASKS)


def _index(size: Any, faults: list[str]) -> int:
    sizes = get_args(TaskSize)
    if size not in sizes:
        faults.append(f"size is {size!r}, expected one of {', '.join(sizes)}")
        return 0
    return sizes.index(size)


__all__ = ["TaskSize", "sequence_task", "task_kinds", "transformer_shape"]
