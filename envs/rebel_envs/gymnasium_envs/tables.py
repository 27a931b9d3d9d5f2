"""Problems as the tables of running sums that single and vector environments draw from."""

from __future__ import annotations

from functools import singledispatch
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from rebel_envs.kernels import Table, running_sums
from rebel_envs.registry import make
from rebel_theory.arrays import BoolArray, FloatArray, IntArray
from rebel_theory.problems import ContextualBandit, FiniteHorizonMDP, LinearMDP, Problem, TabularMDP
from rebel_theory.problems.base import InvalidProblemError

_LARGEST = 100_000_000  # entries of a transition that may be formed from signed linear factors: 1.2 GB
_TABLES: WeakKeyDictionary[Problem, Table] = WeakKeyDictionary()
_ROUNDING = 1e-12  # of P(s | s, a) and of rewards that are products of linear factors


def resolve(problem: Problem | str, parameters: dict[str, Any]) -> Problem:
    """Return the problem itself, or the one of that name in :func:`rebel_envs.make`."""
    if isinstance(problem, str):
        return make(problem, **parameters)
    if parameters:
        raise InvalidProblemError(
            "environment",
            [f"keywords {', '.join(parameters)} belong to a constructor: pass its name instead of the problem"],
        )
    return problem


def table_of(problem: Problem) -> Table:
    """Return the table of a single problem; environments of one problem object share it.

    Raises
    ------
    InvalidProblemError
        A batch of instances, a preference game, or linear factors too large to form their transition.
    """
    if problem.batch_shape:
        raise InvalidProblemError(
            "environment",
            [f"the problem is a batch of shape {problem.batch_shape}: make one environment of each instance"],
        )
    if problem not in _TABLES:
        _TABLES[problem] = _table(problem)
    return _TABLES[problem]


def discount_of(problem: Problem) -> float:
    """Return gamma; 1 for a finite horizon and for a bandit, whose return is a plain sum."""
    return problem.discount if isinstance(problem, TabularMDP | LinearMDP) else 1.0


@singledispatch
def _table(problem: Problem) -> Table:
    raise InvalidProblemError(
        "environment",
        [
            f"a {type(problem).__name__} has no rewards of single actions: pass a TabularMDP, a FiniteHorizonMDP, "
            "a LinearMDP or a ContextualBandit"
        ],
    )


@_table.register
def _(problem: TabularMDP) -> Table:
    p = problem.transition
    runs = _compressed(p) if isinstance(p, np.ndarray) else (p.indptr, p.indices, p.data)
    return _build(runs, problem.reward[None], problem.absorbing, problem.initial_dist)


@_table.register
def _(problem: FiniteHorizonMDP) -> Table:
    p, r = _distinct(problem.transition), _distinct(problem.reward)
    no_ends = np.zeros(problem.n_states, dtype=np.bool_)
    runs = _compressed(p)
    return _build(runs, r, no_ends, problem.initial_dist, n_slices=len(p), horizon=problem.horizon)


@_table.register
def _(problem: ContextualBandit) -> Table:
    nothing = (np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.int32), np.zeros(0))
    no_ends = np.zeros(problem.n_contexts, dtype=np.bool_)
    return _build(nothing, problem.reward[None], no_ends, problem.context_dist, horizon=1)


@_table.register
def _(problem: LinearMDP) -> Table:
    phi, m = problem.features, problem.measures  # (S, A, d), (d, S)
    n_states, n_actions = phi.shape[:2]
    reward = phi @ problem.reward_weights  # (S, A)
    stays = np.einsum("sad,ds->sa", phi, m)
    ends = ((stays >= 1 - _ROUNDING) & (np.abs(reward) <= _ROUNDING)).all(axis=-1)
    if (phi >= 0).all() and (m >= 0).all():  # a mixture: draw a feature, then a state from its measure
        first, nodes = _compressed(phi * m.sum(axis=1)), _compressed(m)
        runs = (
            np.concatenate([first[0], first[0][-1] + nodes[0][1:]]),
            np.concatenate([first[1], nodes[1]]),
            np.concatenate([first[2], nodes[2]]),
        )
        return _build(runs, reward[None], ends, problem.initial_dist, first_node=n_states * n_actions)
    if n_states * n_actions * n_states > _LARGEST:
        raise InvalidProblemError(
            "environment",
            [
                f"features and measures are signed, and their transition has {n_states}^2 x {n_actions} entries, "
                f"more than {_LARGEST}: use non-negative factors, which are drawn from directly"
            ],
        )
    return _build(_compressed(np.maximum(phi @ m, 0.0)), reward[None], ends, problem.initial_dist)


def _build(
    runs: tuple[Any, Any, Any], reward: FloatArray, absorbing: BoolArray, first: FloatArray, *,
    n_slices: int = 1, first_node: int = -1, horizon: int = 0,
) -> Table:  # fmt: skip
    """Return the table from runs of (pointers, targets, probabilities) and the law of the first state."""
    # writeable, though nobody writes: Numba compiles a kernel again for a read-only array
    pointers = np.require(runs[0], np.int64, ["C", "W"])
    probs = np.require(runs[2], np.float64, ["C", "W"])
    sums = np.empty_like(probs)
    running_sums(pointers, probs, sums)
    starts = np.flatnonzero(first > 0)
    return Table(
        pointers=pointers,
        targets=np.require(runs[1], np.int32, ["C", "W"]),
        sums=sums,
        reward=np.array(reward, dtype=np.float64, order="C"),
        absorbing=np.array(absorbing, dtype=np.bool_),
        starts=starts.astype(np.int32),
        start_sums=np.cumsum(first[starts]),
        n_slices=n_slices,
        first_node=first_node,
        horizon=horizon,
    )


def _compressed(probs: FloatArray) -> tuple[IntArray, IntArray, FloatArray]:
    """Return pointers, targets and the positive entries of the rows (last axis) of ``probs``.

    >>> [part.tolist() for part in _compressed(np.array([[0.0, 1.0], [0.5, 0.5]]))]
    [[0, 1, 3], [1, 0, 1], [1.0, 0.5, 0.5]]
    """
    flat = np.ascontiguousarray(probs).ravel()
    places = np.flatnonzero(flat)
    counts = np.count_nonzero(probs, axis=-1).ravel()
    return np.concatenate([[0], np.cumsum(counts)]), places % probs.shape[-1], flat[places]


def _distinct(array: FloatArray) -> FloatArray:
    """Return the first slice alone, shape (1, ...), where all steps share one by broadcasting."""
    return array[:1] if array.strides[0] == 0 else array
