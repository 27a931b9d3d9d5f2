"""Deep sea: a treasure that only one of 2^N action sequences finds, discounted or with a horizon."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from rebel_envs._checks import assemble, generator, whole, within
from rebel_envs._layouts import END, GOAL, NOTHING, START, WATER, Layout, lay_out
from rebel_theory.arrays import IntArray, frozen
from rebel_theory.problems import FiniteHorizonMDP, Problem, TabularMDP
from rebel_theory.problems.base import checking


def _right_actions(size: int, move_cost: float, seed: int | None) -> IntArray:
    """Return the action that dives right in every cell, shape (N, N); 1 everywhere without a seed."""
    with checking("deep_sea") as checks:
        n = whole(checks, "size", size, at_least=2)
        within(checks, "move_cost", move_cost, "[0, 1)", why="the treasure must be worth the dive")
        if seed is None:
            return np.ones((n, n), dtype=np.int64)
        rng = generator(checks, seed)
    return rng.integers(2, size=(n, n))


def deep_sea(
    size: int = 6,
    *,
    move_cost: float = 0.01,
    discount: float = 0.99,
    seed: int | None = None,
    sparse: bool = False,
) -> TabularMDP:
    r"""Return the discounted deep sea: N right moves in a row reach the treasure of 1.

    Osband et al. (2020, arXiv:1908.03568). A diver starts at the top left of an N x N grid and sinks one row
    a step, left or right; each right move costs ``move_cost / N``; the right move out of the bottom right
    cell earns 1. States are the N (N + 1) / 2 cells that can be reached, row by row, and an absorbing end, so
    that ``discount=1`` is allowed. From the start,
    :math:`V^* = \gamma^{N-1} - (c/N)(1 - \gamma^N)/(1 - \gamma)` wherever that is positive (else 0).

    Parameters
    ----------
    size : int
        N >= 2.
    move_cost : float in [0, 1)
        c, in units of the treasure.
    discount : float in [0, 1]
        gamma.
    seed : int, optional
        Which of the two actions dives right is drawn for every cell; by default it is action 1 everywhere.
    sparse : bool
        CSR transition of shape (S * A, S).

    Examples
    --------
    >>> deep_sea(4).n_states
    11
    """
    right = _right_actions(size, move_cost, seed)
    rows, cols = np.tril_indices(size)
    cells, end = np.arange(rows.size), rows.size
    below = (rows + 1) * (rows + 2) // 2  # index of the first cell of the next row
    last = rows == size - 1
    targets = np.full((end + 1, 2), end)
    reward = np.zeros((end + 1, 2))
    dive = right[rows, cols]
    targets[cells, dive] = np.where(last, end, below + cols + 1)
    targets[cells, 1 - dive] = np.where(last, end, below + np.maximum(cols - 1, 0))
    reward[cells, dive] = np.where(last & (cols == size - 1), 1.0, 0.0) - move_cost / size
    transition = assemble(
        np.arange(targets.size), targets, np.ones(targets.size), n_states=end + 1, n_actions=2, sparse=sparse
    )
    mdp = TabularMDP(transition, reward, discount=discount, initial_dist=np.arange(end + 1) == 0)
    places = np.append(np.stack([rows, cols], axis=1), [[size, (size - 1) // 2]], axis=0)
    return lay_out(mdp, _picture(size, places, end - 1, seed))


def deep_sea_finite_horizon(size: int = 6, *, move_cost: float = 0.01, seed: int | None = None) -> FiniteHorizonMDP:
    r"""Return the deep sea with horizon N: states are columns, the step is the row.

    The best return is :math:`1 - c` (N right moves); the uniform policy finds the treasure with probability
    :math:`2^{-N}`. Parameters as in :func:`deep_sea`. Osband et al. (2020, arXiv:1908.03568).

    Examples
    --------
    >>> deep_sea_finite_horizon(4).policy_shape
    (4, 4, 2)
    """
    right = _right_actions(size, move_cost, seed)
    steps, cols = np.indices((size, size))
    transition = np.zeros((size, size, 2, size))  # (H, S, A, S)
    transition[steps, cols, right, np.minimum(cols + 1, size - 1)] = 1.0
    transition[steps, cols, 1 - right, np.maximum(cols - 1, 0)] = 1.0
    reward = np.zeros((size, size, 2))  # (H, S, A)
    reward[steps, cols, right] = -move_cost / size
    reward[-1, -1, right[-1, -1]] += 1.0
    mdp = FiniteHorizonMDP(transition, reward, horizon=size, initial_dist=np.arange(size) == 0)
    return lay_out(mdp, _picture(size, np.argwhere(np.ones((size, size))), size * size - 1, seed))


def _picture(size: int, places: IntArray, treasure: int, seed: int | None) -> Layout:
    """Return the triangle of water, above an end where there is one, for states at ``places`` (rows, 2)."""
    board = np.where(np.tri(size + 1, size, dtype=np.bool_), WATER, NOTHING)
    board[-1] = NOTHING
    board[-1, (size - 1) // 2], board[0, 0], board[size - 1, size - 1] = END, START, GOAL
    actions = ("left", "right") if seed is None else ()  # with a seed an action's direction differs by cell
    return Layout(board[: places[:, 0].max() + 1], frozen(places, np.int64), actions, {treasure: "+1"})


EXAMPLES: Mapping[str, Callable[..., Problem]] = {
    "deep-sea": partial(deep_sea, size=6),
    "deep-sea-finite-horizon": partial(deep_sea_finite_horizon, size=6),
}
