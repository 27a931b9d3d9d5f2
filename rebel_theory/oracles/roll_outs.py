"""How MDPs are sampled: by roll-outs from resets, in kernels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import numpy as np
from numpy.random import Generator

from rebel_theory.arrays import BoolArray, FloatArray
from rebel_theory.oracles.samplers import Sampler, sampler
from rebel_theory.problems import FiniteHorizonMDP, LinearMDP, TabularMDP

_TABLE_LIMIT = 200_000_000  # entries of a linear MDP's transition that a sampler may hold


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """An MDP as roll-outs see it: a CSR transition (rows * A, rows or one more) with an end that is never acted in.

    Attributes
    ----------
    transition : CSR array
    reward : shape (rows, A)
    discount : float
        A roll-out goes on with this probability; 1 for a finite horizon.
    terminal : shape (rows,), or (rows + 1,) with an end
    """

    transition: Any
    reward: FloatArray
    discount: float
    terminal: BoolArray


@singledispatch
def table(problem: Any) -> Table:
    """Return the table of an MDP."""
    raise TypeError(f"a {type(problem).__name__} has no roll-outs: use Exact()")


class _RollOuts:
    """Roll-outs on a CSR transition; its alias tables are built once."""

    def __init__(self, table: Table) -> None:
        from rebel_theory.kernels.sampling import build_csr

        transition = table.transition
        self._indptr = transition.indptr.astype(np.int64)
        self._indices = transition.indices.astype(np.int64)
        self._threshold = np.empty(transition.nnz)
        self._alias = np.empty(transition.nnz, dtype=np.int32)
        build_csr(self._indptr, transition.data.astype(np.float64), self._threshold, self._alias)
        self._reward = np.ascontiguousarray(table.reward)
        self._discount, self._terminal = float(table.discount), np.ascontiguousarray(table.terminal)

    def draw(
        self, states: Any, rngs: list[Generator], rho: FloatArray, pi: FloatArray, mu: FloatArray, n: int,
        counts: FloatArray, sums: FloatArray,
    ) -> FloatArray:  # fmt: skip
        from rebel_theory.kernels import sampling as kernels

        seen = np.zeros(len(rngs))
        kernels.all_roll_outs(
            states, rho, pi, mu, n, self._indptr, self._indices, self._threshold, self._alias, self._reward,
            self._discount, self._terminal, counts, sums, seen,
        )  # fmt: skip
        return seen


@sampler.register(TabularMDP)
@sampler.register(LinearMDP)
@sampler.register(FiniteHorizonMDP)
def _(problem: TabularMDP | LinearMDP | FiniteHorizonMDP) -> Sampler:
    return _RollOuts(table(problem))


@table.register
def _(problem: TabularMDP) -> Table:
    from scipy.sparse import csr_array

    s, a = problem.n_states, problem.n_actions
    transition = problem.transition if problem.is_sparse else csr_array(problem.transition.reshape(s * a, s))
    return Table(transition, problem.reward, problem.discount, problem.absorbing)


@table.register
def _(problem: LinearMDP) -> Table:
    from scipy.sparse import csr_array

    s, a, d = problem.features.shape
    if s * a * s > _TABLE_LIMIT:
        raise ValueError(
            f"roll-outs would tabulate {s * a * s:,} transition probabilities of this linear MDP (limit "
            f"{_TABLE_LIMIT:,}): use Exact(), or a smaller problem"
        )
    moves = np.maximum(problem.features.reshape(s * a, d) @ problem.measures, 0.0)
    moves /= moves.sum(axis=1, keepdims=True)
    reward = problem.features @ problem.reward_weights
    return Table(csr_array(moves), reward, problem.discount, np.zeros(s, dtype=np.bool_))


@table.register
def _(problem: FiniteHorizonMDP) -> Table:
    """Return the rows (h, s), with one more row, the end, after the last step."""
    from scipy.sparse import block_diag, csr_array, hstack

    h, s, a = problem.policy_shape
    rows = h * s
    moves = [csr_array(problem.transition[t].reshape(s * a, s)) for t in range(h - 1)]
    last = csr_array(np.ones((s * a, 1)))
    # step t's rows lead to step t + 1's columns, the last step's to the end: a block diagonal, moved by s columns
    transition = csr_array(hstack([csr_array((rows * a, s)), block_diag([*moves, last])]))
    terminal = np.arange(rows + 1) == rows
    return Table(transition, problem.reward.reshape(rows, a), 1.0, terminal)
