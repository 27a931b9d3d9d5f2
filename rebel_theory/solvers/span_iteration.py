"""Span-stopped modified policy iteration: optimal values of a discounted MDP to a certified error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rebel_theory.arrays import FloatArray, IntArray
from rebel_theory.problems import TabularMDP
from rebel_theory.solvers.transitions import transitions

_UNIT = np.finfo(np.float64).eps / 2
_NARROWING = 0.02  # how far a policy is evaluated before it is improved
_TRIAL = 4  # rounds of plain sweeps before their progress is judged
_FAST = 0.1  # and by how much they must have narrowed the span to go on
_ROUNDS = 10_000


@dataclass(frozen=True, slots=True, eq=False)
class Greedy:
    """Values (S,) with their certified error, the greedy actions (S,), and improvements made."""

    values: FloatArray
    actions: IntArray
    error_bound: float
    n_improvements: int


def span_iteration(problem: TabularMDP, tolerance: float) -> Greedy:
    r"""Return values within ``tolerance`` of V* and a greedy policy, for one instance with gamma < 1.

    Stops by the span of the last change (Puterman 1994, section 6.6), which takes a number of sweeps set by how fast
    the chain mixes, not by gamma. The error is certified from the last improvement, as for a policy in
    ``chains._certify``; a ``tolerance`` below rounding is not reached, and ``error_bound`` says so.
    """
    from rebel_theory.kernels import optimal

    kernels: Any = optimal  # dispatchers: mypy would read their one-argument stubs
    p, gamma, reward = transitions(problem), problem.discount, np.ascontiguousarray(problem.reward)
    n_states = reward.shape[0]
    size = float(np.abs(reward).max())
    w = np.zeros(n_states)
    g, actions = np.empty(n_states), np.zeros(n_states, np.int64)
    span = max(1.8 * tolerance * (1 - gamma), 16 * _UNIT * size)
    transition: tuple[Any, ...] = (p.data, p.indices, p.indptr) if p.dense is None else (p.dense,)
    improve = kernels.improve_csr if p.dense is None else kernels.improve_dense
    work = (reward, gamma, w, g, actions, span, _NARROWING)
    if p.dense is not None:
        rounds, _, _ = kernels.optimal_dense(p.dense, *work, _ROUNDS)
    else:
        rounds, before, after = 0, np.inf, np.inf
        while after > span and not after > _FAST * before:
            n, low, high = kernels.optimal_csr(*transition, *work, _TRIAL)
            rounds, before, after = rounds + n, after, high - low
        if after > span:
            n, _, _ = kernels.optimal_in_order_csr(*transition, *work, _ROUNDS)
            rounds += n
    w -= 0.5 * (w.min() + w.max())  # centred, a last look at it rounds least
    low, high = improve(*transition, reward, gamma, w, g, actions)
    half, middle = 0.5 * (high - low), 0.5 * (low + high)
    largest = float(np.abs(w).max())
    hidden = 1.01 * (p.longest + 8) * _UNIT * (size + 2 * largest)
    left = 1 - gamma * (1 + p.deviation)
    error = (half + hidden) / left + abs(middle) * gamma * p.deviation / ((1 - gamma) * left) if left > 0 else np.inf
    shift = middle / (1 - gamma)
    error += 4 * _UNIT * (abs(shift) + largest)
    return Greedy(w + shift, actions, float(error), rounds)
