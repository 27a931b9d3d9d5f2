"""Runs in pieces: how many seeds and places fit in memory at once, and the traces of the pieces put together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any, TypeAlias

import numpy as np

from rebel_theory.algorithms import Algorithm, NaturalPolicyGradient
from rebel_theory.arrays import FloatArray, IntArray
from rebel_theory.oracles import Exact, Oracle
from rebel_theory.policies import Policy
from rebel_theory.policies.parametric import ParametricPolicy
from rebel_theory.problems import FiniteHorizonMDP, Problem, TabularMDP
from rebel_theory.problems.base import InvalidProblemError
from rebel_theory.trace import Trace

Index: TypeAlias = "slice | tuple[slice | IntArray, ...]"
BUDGET = 2**28  # bytes that the arrays of one chunk may take: 256 MiB
_OWN = ("step_size",)  # arrays of a trace without an axis of seeds


def at_a_time(
    chunk_size: int | None,
    problem: Problem,
    algorithm: Algorithm,
    oracle: Oracle,
    policy: Policy,
    n_places: int,
    n_kept: int,
) -> tuple[int, int]:
    """Return how many seeds, and how many of the ``n_places`` places of the batch, are run at a time.

    Seeds: ``chunk_size``, checked, or as many as the budget holds, at least one. Places: as many as the budget holds
    for that many seeds, at least one. ``n_kept`` is the number of iterates that are kept whole.
    """
    if chunk_size is not None and (int(chunk_size) != chunk_size or chunk_size < 1):
        raise InvalidProblemError(
            "run", [f"chunk_size is {chunk_size}, expected an integer >= 1 (seeds at a time), or None"]
        )
    members = BUDGET // (8 * _numbers(problem, algorithm, oracle, policy, n_kept))
    n_seeds = max(1, members // n_places) if chunk_size is None else int(chunk_size)
    return n_seeds, min(n_places, max(1, members // n_seeds))


def _numbers(problem: Problem, algorithm: Algorithm, oracle: Oracle, policy: Policy, n_kept: int) -> int:
    """Return about how many numbers one seed and place has alive, from the shapes of the largest arrays."""
    s, a = problem.n_rows, problem.n_actions
    sampled = not isinstance(oracle, Exact)
    total = (16 + 2 * n_kept) * s * a
    if sampled:
        total += 3 * s * a * a  # directed counts and sums, and their graph
    if isinstance(policy, ParametricPolicy):
        rows = s * a * (a - 1) // 2 if sampled and not isinstance(algorithm, NaturalPolicyGradient) else 3 * s * a
        total += 4 * rows * policy.parameters.shape[-1]  # design, its differences, and the factorisation's copies
    elif isinstance(algorithm, NaturalPolicyGradient):
        total += 5 * s * a * a  # Fisher blocks
    if isinstance(problem, TabularMDP):
        total += 3 * s * s  # transitions under the policy
    elif isinstance(problem, FiniteHorizonMDP):
        total += 3 * problem.row_shape[1] ** 2
    return total


def pieces(n_members: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield (low, high) of consecutive pieces of at most ``size``."""
    for low in range(0, n_members, size):
        yield low, min(low + size, n_members)


class Joined:
    """Arrays with leading axes ``lead`` allocated once, and filled piece by piece."""

    def __init__(self, *lead: int) -> None:
        self._lead, self._arrays = lead, dict[Any, FloatArray]()

    def add(self, name: Any, index: Index, part: FloatArray) -> None:
        """Write the members at ``index``, whose only leading axis is flat, of array ``name``."""
        shape = (*self._lead, *part.shape[1:])
        if len(part) == int(np.prod(self._lead)):
            self._arrays[name] = part.reshape(shape)
            return
        if name not in self._arrays:
            self._arrays[name] = np.empty(shape)
        array = self._arrays[name]
        array[index] = part.reshape(array[index].shape)

    def whole(self, name: Any, n_seeds: int) -> FloatArray:
        """Return the array, a single member repeated (as a view) for every seed."""
        array = self._arrays[name]
        return array if len(array) == n_seeds else np.broadcast_to(array, (n_seeds, *array.shape[1:]))


class JoinedTrace:
    """A trace put together from traces of its seeds, or of its seeds and places."""

    def __init__(self, *lead: int) -> None:
        self._joined = Joined(*lead)
        self._first: Trace | None = None
        self._error = 0.0

    def add(self, index: Index, part: Trace) -> None:
        """Write the members at ``index``."""
        self._first = part if self._first is None else self._first
        self._error = max(self._error, part.evaluation_error)
        for name, array in _arrays(part).items():
            self._joined.add(name, index, array)

    def trace(self, n_seeds: int) -> Trace:
        """Return the whole trace."""
        first = self._first
        assert first is not None
        found = {name: self._joined.whole(name, n_seeds) for name in _arrays(first)}
        changed: dict[str, Any] = {name: array for (name, key), array in found.items() if key is None}
        for field, key in found:
            if key is not None:
                changed.setdefault(field, {})[key] = found[field, key]
        changed["final_policy"] = first.final_policy.with_parameters(changed["final_policy"])
        return replace(first, **changed, evaluation_error=self._error)


def _arrays(trace: Trace) -> dict[tuple[str, str | None], FloatArray]:
    """Return every array of a trace with an axis of seeds, by field and, in a dictionary, by key."""
    found: dict[tuple[str, str | None], FloatArray] = {}
    for name in (f.name for f in fields(Trace) if f.name not in _OWN):
        value = getattr(trace, name)
        if isinstance(value, Policy):
            found[name, None] = value.parameters
        elif isinstance(value, np.ndarray):
            found[name, None] = value
        elif isinstance(value, dict):
            found |= {(name, key): array for key, array in value.items()}
    return found
