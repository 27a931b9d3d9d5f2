"""Who beats whom: Condorcet winner, Smith set and three-cycles of a preference matrix.

Everywhere y *beats* z when P[y, z] > 1/2 (strictly, beyond ``TIE_TOLERANCE``). A tie is a win for neither.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.arrays import BoolArray, FloatArray, IntArray
from rebel_theory.problems.game import PreferenceGame

TIE_TOLERANCE = 1e-12  # P = 1 - 0.5 typed as sums of decimals differs from 1/2 by a few 1e-17


def condorcet_winner(preference: ArrayLike | PreferenceGame) -> int | None:
    """Return the action that beats every other one, or None.

    ``preference`` is (Y, Y), P[y, z] = probability that y is preferred to z, or a game without contexts. A
    tie with anyone disqualifies. The Condorcet winner, where it exists, is the von Neumann winner and the
    Smith set.

    Raises
    ------
    InvalidProblemError, ValueError
        If ``preference`` is not one preference matrix.

    Examples
    --------
    >>> condorcet_winner([[0.5, 0.9], [0.1, 0.5]]), condorcet_winner([[0.5, 0.5], [0.5, 0.5]])
    (0, None)
    """
    wins = beats(preference)
    winners = np.flatnonzero(wins.sum(axis=1) == wins.shape[0] - 1)
    return int(winners[0]) if winners.size else None


def smith_set(preference: ArrayLike | PreferenceGame) -> tuple[int, ...]:
    """Return the smallest non-empty set whose members beat everyone outside, in increasing order.

    A tie between a member and an outsider is not a win, so whoever ties with a member is a member (the Smith
    set, or GETCHA; the Schwartz set would leave some of them out). Input and errors as for
    :func:`condorcet_winner`.

    Notes
    -----
    Sets that beat their outside are nested. A member of the smallest wins at least as often as there are
    outsiders, an outsider less often: whoever wins most is inside. Then add whoever some member does not
    beat.

    References
    ----------
    Smith 1973 (Econometrica 41); Schwartz 1986.

    Examples
    --------
    Rock, paper, scissors, and something that loses to all three:

    >>> smith_set([[0.5, 0, 1, 1], [1, 0.5, 0, 1], [0, 1, 0.5, 1], [0, 0, 0, 0.5]])
    (0, 1, 2)
    """
    wins = beats(preference)
    inside = np.zeros(wins.shape[0], dtype=np.bool_)
    inside[wins.sum(axis=1).argmax()] = True
    while True:
        grown = inside | ~wins[inside].all(axis=0)
        if (grown == inside).all():
            return tuple(int(i) for i in np.flatnonzero(inside))
        inside = grown


def three_cycles(preference: ArrayLike | PreferenceGame) -> int:
    r"""Return the number of triples {x, y, z} with x beats y beats z beats x.

    With W the 0/1 matrix of wins this is trace(W^3)/3; a triple with a tie is no cycle. Without ties it is
    :math:`\binom{n}{3} - \sum_y \binom{s_y}{2}` with s_y the number of wins of y (Kendall and Babington Smith
    1940). Input and errors as for :func:`condorcet_winner`.

    Examples
    --------
    >>> three_cycles([[0.5, 0, 1], [1, 0.5, 0], [0, 1, 0.5]])
    1
    """
    return int(count_three_cycles(beats(preference)))


def three_cycle_list(preference: ArrayLike | PreferenceGame) -> IntArray:
    """Return the cycles (n, 3): x beats y beats z beats x, with x the smallest index, in increasing order.

    The list has n = :func:`three_cycles` rows; input and errors as for :func:`condorcet_winner`.

    Examples
    --------
    >>> three_cycle_list([[0.5, 0, 1], [1, 0.5, 0], [0, 1, 0.5]]).tolist()
    [[0, 2, 1]]
    """
    wins = beats(preference)
    found = [np.empty((0, 3), dtype=np.int64)]
    for x in range(wins.shape[0]):
        later = x + 1
        pairs = np.argwhere(wins[x, later:, None] & wins[later:, later:] & wins[later:, x]) + later  # (k, 2)
        found.append(np.column_stack([np.full(len(pairs), x), pairs]))
    return np.concatenate(found)


def beats(preference: ArrayLike | PreferenceGame) -> BoolArray:
    """Return the matrix (Y, Y) of strict wins, P[y, z] > 1/2 + ``TIE_TOLERANCE``."""
    game = preference if isinstance(preference, PreferenceGame) else PreferenceGame(preference)
    if game.contextual:
        raise ValueError(
            f"preference has shape {game.preference.shape}, expected one matrix (Y, Y): pass the matrix of one context"
        )
    wins: BoolArray = game.preference[0] > 0.5 + TIE_TOLERANCE
    return wins


def count_three_cycles(wins: BoolArray) -> FloatArray:
    """Return trace(W^3)/3 of 0/1 matrices of strict wins (..., Y, Y), shape (...)."""
    w = wins.astype(np.float64)  # products of 0/1 matrices are exact in floating point up to 2^53
    count: FloatArray = ((w @ w) * np.swapaxes(w, -1, -2)).sum(axis=(-1, -2)) / 3.0
    return count
