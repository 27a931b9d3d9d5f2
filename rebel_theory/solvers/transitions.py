"""The transition of one MDP as kernels read it, prepared once a problem."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from rebel_theory.arrays import FloatArray
from rebel_theory.problems import TabularMDP

_FILL = 0.1  # a dense transition with a smaller share of entries is evaluated in its sparse form


@dataclass(frozen=True, slots=True, eq=False)
class Transitions:
    """A transition as the kernels read it: CSR arrays, or dense (S, A, S), and how far its rows are from 1."""

    dense: FloatArray | None
    data: FloatArray
    indices: Any
    indptr: Any
    deviation: float
    longest: int


_TRANSITIONS: WeakKeyDictionary[TabularMDP, Transitions] = WeakKeyDictionary()  # problems are immutable


def transitions(problem: TabularMDP) -> Transitions:
    """Return the transition of one instance in kernel form, once a problem."""
    if problem not in _TRANSITIONS:
        _TRANSITIONS[problem] = _prepare(problem)
    return _TRANSITIONS[problem]


def _prepare(problem: TabularMDP) -> Transitions:
    from rebel_theory.kernels.chains import row_deviation

    s, a = problem.n_states, problem.n_actions
    p = problem.transition
    if not problem.is_sparse:
        flat = p.reshape(s * a, s)
        if np.count_nonzero(flat) > _FILL * flat.size:
            off, _ = row_deviation(flat.reshape(-1), np.arange(s * a + 1, dtype=np.uint64) * np.uint64(s))
            return Transitions(p, np.empty(0), np.empty(0, np.uint32), np.empty(0, np.uint64), float(off), s)
        from scipy.sparse import csr_array

        p = csr_array(flat)
    # views where the widths agree: no copy of int32 indices
    indices = p.indices.view(np.uint32) if p.indices.dtype == np.int32 else p.indices.astype(np.uint32)
    indptr = p.indptr.astype(np.uint64)
    off, longest = row_deviation(p.data, indptr)
    return Transitions(None, p.data, indices, indptr, float(off), int(longest))
