"""Where the states of a problem lie on a board: for drawing only, and known to constructors that have a picture.

The layouts live in a side table keyed weakly on the problem object, so a problem stays a plain, frozen array
structure; a copied or unpickled problem has the general layout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rebel_theory.arrays import IntArray, frozen
from rebel_theory.problems import FiniteHorizonMDP, Problem, TabularMDP

WALL, START, GOAL, HOLE, FREE, WATER, END, NOTHING = "#SGH.~E "
_WRAP = 20  # cells in a line of states before it continues in the next row, like text

P = TypeVar("P", bound=Problem)


@dataclass(frozen=True, eq=False)
class Layout:
    """A board of letters, and the cell of every row of a policy.

    Parameters
    ----------
    board : shape (height, width), letters
        ``#`` wall, ``S`` start, ``G`` reward, ``H`` hole, ``.`` free, ``~`` water, ``E`` end, blank: nothing.
    cells : shape (rows, 2), int
        Board row and column of each row of the policy (state, or step and state).
    actions : sequence of str
        Names; ``left``, ``right``, ``up`` and ``down`` are drawn as arrows. Numbers by default.
    notes : mapping from rows to str
        Short texts in a cell, such as a reward.
    """

    board: NDArray[np.str_]
    cells: IntArray
    actions: Sequence[str] = ()
    notes: Mapping[int, str] = field(default_factory=dict)

    def action(self, index: int) -> str:
        """Return the name of an action."""
        return self.actions[index] if self.actions else f"action {index}"


_LAYOUTS: WeakKeyDictionary[Problem, Layout] = WeakKeyDictionary()


def lay_out(problem: P, layout: Layout) -> P:
    """Return ``problem`` itself after noting how to draw it."""
    _LAYOUTS[problem] = layout
    return problem


def layout_of(problem: Problem) -> Layout:
    """Return the layout a constructor gave, or a general one.

    In general states fill a square row by row with ends marked, and a finite horizon has one board row per step.
    """
    known = _LAYOUTS.get(problem)
    if known is not None:
        return known
    if isinstance(problem, FiniteHorizonMDP):
        height, width = problem.row_shape
        letters = np.full(height * width, FREE)
    else:
        width = int(np.ceil(np.sqrt(problem.n_rows)))
        ends = problem.absorbing if isinstance(problem, TabularMDP) else np.zeros(problem.n_rows, dtype=np.bool_)
        letters = np.where(ends, END, FREE)
    return in_rows(letters, width)


def in_rows(
    letters: ArrayLike, width: int = _WRAP, *, actions: Sequence[str] = (), notes: Mapping[int, str] | None = None
) -> Layout:
    """Return the layout of states in reading order, ``width`` to a row.

    >>> in_rows(list("S..G"), 3).board.tolist()
    [['S', '.', '.'], ['G', ' ', ' ']]
    """
    letters = np.asarray(letters)
    width = min(width, letters.size)
    board = np.full((-(-letters.size // width), width), NOTHING)
    board.ravel()[: letters.size] = letters
    cells = np.stack(np.divmod(np.arange(letters.size), width), axis=1)
    return Layout(board, frozen(cells, np.int64), actions, notes or {})
