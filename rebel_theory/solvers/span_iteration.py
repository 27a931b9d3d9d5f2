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
    """Values (S,) with their certified error, Q-values r + gamma P V (S, A), greedy actions (S,), improvements made."""

    values: FloatArray
    q_values: FloatArray
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
    w, q, actions = np.zeros(n_states), reward.copy(), reward.argmax(axis=1)  # greedy for w = 0
    g = reward.max(axis=1)
    span = max(1.8 * tolerance * (1 - gamma), 16 * _UNIT * size)
    work = (reward, gamma, w, q, g, actions, span, _NARROWING)
    if p.dense is not None:
        rounds, low, high = kernels.optimal_dense(p.dense, *work, _ROUNDS)
    else:
        rounds, before, low, high = 0, np.inf, float(g.min()), float(g.max())
        while high - low > span and not high - low > _FAST * before:
            before = high - low
            n, low, high = kernels.optimal_csr(p.data, p.indices, p.indptr, *work, _TRIAL)
            rounds += n
        if high - low > span:
            n, low, high = kernels.optimal_in_order_csr(p.data, p.indices, p.indptr, *work, _ROUNDS)
            rounds += n
    half, middle = 0.5 * (high - low), 0.5 * (low + high)
    largest = float(np.abs(w).max())
    hidden = 1.01 * (p.longest + 8) * _UNIT * (size + 2 * largest)
    left = 1 - gamma * (1 + p.deviation)
    error = (half + hidden) / left + abs(middle) * gamma * p.deviation / ((1 - gamma) * left) if left > 0 else np.inf
    shift = middle / (1 - gamma)
    error += 4 * _UNIT * (abs(shift) + largest)
    return Greedy(w + shift, q + gamma * shift, actions, float(error), rounds)
