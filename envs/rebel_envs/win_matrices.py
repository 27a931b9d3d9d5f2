"""Preference games from win matrices: CSV, Parquet, data frames and arrays; probabilities or win counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rebel_envs._tables import Table, read_table
from rebel_theory.arrays import BoolArray, FloatArray, frozen
from rebel_theory.problems import PreferenceGame, Problem
from rebel_theory.problems.base import Checks, checking
from rebel_theory.problems.game import SYMMETRY_TOLERANCE

_SHOWN = 5  # offenders listed per condition; the rest are counted


@dataclass(frozen=True, eq=False, init=False)
class NamedGame(PreferenceGame):
    """A preference game between named players, with the win counts it was estimated from, if any."""

    names: tuple[str, ...]
    counts: FloatArray | None  # (Y, Y), counts[i, j] = wins of i over j, without the prior; zero diagonal

    def __init__(self, preference: Any, *, names: tuple[str, ...], counts: FloatArray | None = None) -> None:
        super().__init__(preference)
        with checking("NamedGame") as checks:
            checks.require(
                len(names) == self.n_actions,
                f"names has {len(names)} entries, expected one per action ({self.n_actions})",
            )
        object.__setattr__(self, "names", tuple(names))
        object.__setattr__(self, "counts", None if counts is None else frozen(counts))


def from_win_matrix(path: str | PathLike[str] | NDArray[Any] | Any, *, prior: float = 0.0) -> NamedGame:
    r"""Return the preference game of a win matrix, as probabilities or as counts.

    Parameters
    ----------
    path : path of a CSV or Parquet file, pandas DataFrame, or array of shape (Y, Y)
        A header of names, then one row per name; a first column of the same names is optional (an array has
        the names "0", "1", ...). Entry [i, j] is either the probability that i beats j (all entries in [0,
        1], P + P^T = 1, so 0.5 on the diagonal), or the number of times i beat j (whole numbers, and halves
        where ties count half to each; the diagonal is ignored). CSV cells are separated by commas, semicolons
        or tabs.
    prior : float >= 0
        Pseudo-wins added to both sides of every pair of a count matrix:
        :math:`P_{ij} = (W_{ij} + c) / (W_{ij} + W_{ji} + 2 c)` (the posterior mean under Beta(c, c)). Needed
        where a pair has never met. ``--prior`` on the command line.

    Returns
    -------
    NamedGame
        A ``PreferenceGame`` with ``names`` and ``counts``.

    Raises
    ------
    InvalidProblemError
        All offending places, each with its remedy.
    FileNotFoundError
        No such file.

    Examples
    --------
    >>> game = from_win_matrix(np.array([[0, 3], [1, 0]]))
    >>> float(game.preference[0, 0, 1]), game.names
    (0.75, ('0', '1'))
    """
    table = read_table(path)
    with checking(table.source) as checks:
        checks.require(
            bool(np.isfinite(prior)) and prior >= 0,
            f"prior is {prior}, expected a finite number of pseudo-wins >= 0",
        )
        kind = _kind(table.values)
        if kind == "neither":
            _explain_neither(checks, table)
        elif kind == "probabilities":
            _check_probabilities(checks, table, prior)
        else:
            _check_seen(checks, table, prior)
    if kind == "probabilities":
        return NamedGame(table.values, names=table.names)
    counts = table.values * (1 - np.eye(len(table.names)))
    wins = counts + prior
    played = wins + wins.T
    preference = np.divide(wins, played, out=np.full_like(wins, 0.5), where=played > 0)
    np.fill_diagonal(preference, 0.5)
    return NamedGame(preference, names=table.names, counts=counts)


def _kind(values: FloatArray) -> str:
    """Return "probabilities", "counts" or "neither".

    A matrix of 0, 0.5 and 1 could be both; its diagonal decides: nobody has beaten itself, and half of the
    time everybody beats itself. The two readings agree wherever both are possible.
    """
    halves = bool((2 * values == np.round(2 * values)).all() and (values >= 0).all())
    if bool(((values >= 0) & (values <= 1)).all()):
        return "counts" if halves and not values.diagonal().any() else "probabilities"
    return "counts" if halves else "neither"


def _explain_neither(checks: Checks, table: Table) -> None:
    """Record why the entries are neither probabilities nor counts."""
    values = table.values
    _cells(checks, table, values < 0, "is {value}, expected no negative number: remove the sign")
    fractional = (values > 1) & (2 * values != np.round(2 * values))
    _cells(
        checks, table, fractional,
        "is {value}: neither a probability (in [0, 1]) nor a win count (a whole number, or a half for a "
        "tie); "
        "divide percentages by 100, or write counts",
    )  # fmt: skip
    if not checks.failed:
        mixed = (values < 1) & (2 * values != np.round(2 * values))
        largest = tuple(int(i) for i in np.unravel_index(values.argmax(), values.shape))
        _cells(
            checks, table, mixed,
            f"is {{value}}, a probability, but {table.place(*largest)} is {values[largest]:g}, a count: "
            "the matrix is neither probabilities nor counts, use one of them throughout",
        )  # fmt: skip


def _check_probabilities(checks: Checks, table: Table, prior: float) -> None:
    """Record pairs with P + P^T != 1, and a prior that has nothing to act on."""
    values, names = table.values, table.names
    checks.require(
        prior == 0,
        f"prior is {prior}, but the matrix holds probabilities: a prior adds to win counts, remove it",
    )
    total = values + values.T
    bad = np.argwhere(np.triu(np.abs(total - 1) > SYMMETRY_TOLERANCE))
    for i, j in bad[:_SHOWN]:
        if i == j:
            checks.add(f"{table.place(i, i)} is {values[i, i]:g}, expected 0.5 on the diagonal of probabilities")
        else:
            checks.add(
                f"{table.place(i, j)} is {values[i, j]:.10g} and {table.place(j, i)} is {values[j, i]:.10g}: "
                f"P + P^T is {total[i, j]:.10g}, expected 1 ({names[i]} beats {names[j]} or the other way "
                "round)"
            )
    _count_rest(checks, len(bad), "pairs with P + P^T != 1")


def _check_seen(checks: Checks, table: Table, prior: float) -> None:
    """Record pairs that never met, unless there is a prior."""
    names = table.names
    unseen: BoolArray = np.triu(table.values + table.values.T == 0, 1)
    pairs = np.argwhere(unseen)
    if prior > 0 or not len(pairs):
        return
    for i, j in pairs[:_SHOWN]:
        checks.add(
            f"{names[i]} and {names[j]} have never met ({table.place(i, j)} and {table.place(j, i)} are 0): "
            "add pseudo-wins to both sides with prior=1.0 (--prior 1 on the command line), or remove one "
            "of them"
        )
    _count_rest(checks, len(pairs), "pairs that have never met")


def _cells(checks: Checks, table: Table, bad: BoolArray, message: str) -> None:
    places = np.argwhere(bad)
    for i, j in places[:_SHOWN]:
        checks.add(f"{table.place(i, j)} {message.format(value=f'{table.values[i, j]:.10g}')}")
    _count_rest(checks, len(places), "cells like these")


def _count_rest(checks: Checks, found: int, what: str) -> None:
    if found > _SHOWN:
        checks.add(f"{found - _SHOWN} more {what}")


def measured_cycle(*, prior: float = 0.0) -> NamedGame:
    """Return a win matrix of three players in a cycle, the smallest example of an imported game.

    Counts 70:30, 60:40 and 80:20. With payoffs a = 0.4 (rock over scissors), b = 0.2 (scissors over paper)
    and c = 0.6 (paper over rock) the von Neumann winner plays rock, paper and scissors in proportion b : a :
    c.

    Examples
    --------
    >>> measured_cycle().names
    ('rock', 'paper', 'scissors')
    """
    import pandas as pd

    counts = np.array([[0, 20, 70], [80, 0, 40], [30, 60, 0]])
    return from_win_matrix(pd.DataFrame(counts, columns=["rock", "paper", "scissors"]), prior=prior)


EXAMPLES: Mapping[str, Callable[..., Problem]] = {"measured-cycle": measured_cycle}
