"""Grid worlds from a text map or with random obstacles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from rebel_envs._checks import assemble, generator, whole, within
from rebel_envs._layouts import FREE, Layout, lay_out
from rebel_theory.arrays import BoolArray, frozen
from rebel_theory.problems import Problem, TabularMDP
from rebel_theory.problems.base import checking

# Gymnasium's order; an action's neighbours in this circle are the two directions perpendicular to it
LEFT, DOWN, RIGHT, UP = range(4)
_STEPS = ((0, -1), (1, 0), (0, 1), (-1, 0))
_WALL, _START, _GOAL, _HOLE = "#SGH"
_LETTERS = "SGH#.F "
_ATTEMPTS = 1000  # random maps drawn until one connects start and goal


def gridworld(
    height: int = 5,
    width: int = 5,
    *,
    layout: str | Sequence[str] | None = None,
    obstacle_density: float = 0.0,
    slip: float = 0.0,
    discount: float = 0.95,
    seed: int = 0,
    sparse: bool = False,
) -> TabularMDP:
    r"""Return a grid world: entering the goal earns 1 and ends, everything else earns 0.

    For ``slip = 0``, :math:`V^*(s) = \gamma^{d(s) - 1}` where d(s) is the number of steps of the shortest way
    to the goal. With FrozenLake's map and ``slip = 2/3`` it is Gymnasium's slippery FrozenLake.

    Parameters
    ----------
    height, width : int
        Size when no ``layout`` is given: start at the top left, goal at the bottom right.
    layout : str or sequence of str, optional
        A map, one text line per row: ``S`` start (several: uniform; none: uniform over all free cells),
        ``G`` goal, ``H`` hole (ends with nothing), ``#`` wall, ``.`` (or ``F`` or a blank) free.
    obstacle_density : float in [0, 1)
        Probability of a wall in each cell of a random map, drawn anew until the goal can be reached; cells that
        cannot be reached are walled up.
    slip : float in [0, 1]
        Probability of moving at a right angle instead, half of it to each side.
    discount : float in [0, 1)
        gamma.
    seed : int
        Of the random obstacles.
    sparse : bool
        CSR transition of shape (S * A, S).

    Returns
    -------
    TabularMDP
        States are the cells that are not walls, row by row; actions 0 left, 1 down, 2 right, 3 up
        (Gymnasium's order). A move into a wall or off the grid stays. Goals and holes are absorbing.

    Examples
    --------
    >>> gridworld(layout="S.G").reward[:, 2]  # going right
    array([0., 1., 0.])
    """
    with checking("gridworld") as checks:
        h, w = whole(checks, "height", height), whole(checks, "width", width)
        within(checks, "obstacle_density", obstacle_density, "[0, 1)")
        within(checks, "slip", slip, "[0, 1]")
        rng = generator(checks, seed)
    cells = _random_map(rng, h, w, obstacle_density) if layout is None else _parse(layout)
    moves = _moves(cells)  # (S, A)
    kinds = cells[cells != _WALL]  # (S,)
    n = kinds.size
    ends = (kinds == _GOAL) | (kinds == _HOLE)
    moves[ends] = np.flatnonzero(ends)[:, None]
    sides = [moves, np.roll(moves, 1, axis=1), np.roll(moves, -1, axis=1)]
    targets = np.stack(sides, axis=-1)  # (S, A, intended or left or right of it)
    probs = np.broadcast_to([1 - slip, slip / 2, slip / 2], targets.shape)
    reward = np.where(ends[:, None], 0.0, (probs * (kinds[targets] == _GOAL)).sum(axis=-1))
    starts = kinds == _START
    starts = starts if starts.any() else ~ends
    origins = np.repeat(np.arange(n * 4), 3)
    transition = assemble(origins, targets, probs, n_states=n, n_actions=4, sparse=sparse)
    mdp = TabularMDP(transition, reward, discount=discount, initial_dist=starts / starts.sum())
    board = np.where(np.isin(cells, ("F", " ")), FREE, cells)
    places = frozen(np.argwhere(cells != _WALL), np.int64)  # (S, row and column)
    return lay_out(mdp, Layout(board, places, ("left", "down", "right", "up")))


def _parse(layout: str | Sequence[str]) -> NDArray[np.str_]:
    """Return the map as an array of letters, shape (height, width)."""
    lines = layout.strip("\n").split("\n") if isinstance(layout, str) else list(layout)
    with checking("gridworld") as checks:
        for i, line in enumerate(lines):
            checks.require(
                len(line) == len(lines[0]) > 0,
                f"layout line {i} ({line!r}) has {len(line)} letters, line 0 has {len(lines[0])}: "
                "make all lines equally long, with at least one letter",
            )
            for j, letter in enumerate(line):
                checks.require(
                    letter in _LETTERS,
                    f"layout[{i}][{j}] is {letter!r}, expected one of {_LETTERS!r}: replace it",
                )
        text = "".join(lines)
        checks.require(_GOAL in text, "layout has no goal: mark at least one cell with G")
        checks.require(
            any(letter in _LETTERS.replace("#", "").replace("G", "").replace("H", "") for letter in text),
            "layout has no free cell to start from: mark one with S or .",
        )
    return np.array([list(line) for line in lines])


def _moves(cells: NDArray[np.str_]) -> NDArray[np.int64]:
    """Return the next state of every (state, action) without slipping, shape (S, 4)."""
    free = cells != _WALL
    index = np.full(np.add(cells.shape, 2), -1)  # a border of walls
    index[1:-1, 1:-1][free] = np.arange(free.sum())
    here = np.argwhere(free) + 1  # (S, 2)
    there = np.stack([index[tuple((here + step).T)] for step in _STEPS], axis=1)  # (S, 4)
    return np.where(there < 0, np.arange(len(here))[:, None], there)


def _random_map(rng: Generator, height: int, width: int, density: float) -> NDArray[np.str_]:
    """Return a random map whose goal can be reached; cells that cannot be reached become walls."""
    for _ in range(_ATTEMPTS):
        cells = np.where(rng.random((height, width)) < density, _WALL, ".")
        cells[0, 0], cells[-1, -1] = _START, _GOAL
        seen = _reached(cells)
        if seen[-1]:  # the goal is the last free cell
            cells[cells != _WALL] = np.where(seen, cells[cells != _WALL], _WALL)
            return cells
    with checking("gridworld") as checks:
        checks.require(
            height * width > 1, "height and width are 1: start and goal need a cell each, pass a larger grid"
        )
        checks.require(
            height * width == 1,
            f"obstacle_density is {density}: none of {_ATTEMPTS} random maps of {height} x {width} "
            "connects start "
            "and goal, lower it",
        )
    raise AssertionError("unreachable: one of the two conditions fails")  # pragma: no cover


def _reached(cells: NDArray[np.str_]) -> BoolArray:
    """Return the mask (S,) of free cells that can be reached from a start."""
    moves = _moves(cells)
    seen: BoolArray = cells[cells != _WALL] == _START
    frontier = np.flatnonzero(seen)
    while frontier.size:  # every cell is in the frontier once
        found = moves[frontier].ravel()
        frontier = np.unique(found[~seen[found]])
        seen[frontier] = True
    return seen


EXAMPLES: Mapping[str, Callable[..., Problem]] = {
    "gridworld": partial(gridworld, height=5, width=5, obstacle_density=0.2, slip=0.1),
}
