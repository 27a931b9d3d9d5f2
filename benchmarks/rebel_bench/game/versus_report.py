"""The comparison of algorithms on a win matrix, in words, as a table and as plain Python."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from rebel_bench.game.analysis import Analysis
from rebel_bench.game.versus import PLAYED, Contender, Versus, outside, played
from rebel_theory.arrays import FloatArray


def sentences(found: Analysis, versus: Versus) -> list[str]:
    """Return how it was run and how the table is to be read."""
    feedback = "exact updates"
    if versus.n_pairs is not None:
        many = "" if versus.n_seeds == 1 else f", means over {versus.n_seeds} seeds"
        feedback = f"updates of {versus.n_pairs} sampled pairs{many}"
    uniform = bool(np.ptp(versus.first) == 0)
    start = "the uniform policy" if uniform else f"two shares for {found.names[0]} and one for every other"
    said = [
        f"T = {versus.n_iterations} {feedback}, step size {versus.step_size:g} unless its own is given, from {start}. "
        f"The von Neumann winner plays {int(found.winner.support.sum())} of {len(found.names)} names; "
        f"plays: names of probability {PLAYED:g} or more in the last policy; "
        "outside: how often it plays what the winner does not."
    ]
    if any(c.temperature is not None for c in versus.contenders):
        said.append(
            "A temperature tau changes the game: bias is the duality gap of the regularised equilibrium, where such "
            "an algorithm may come to rest, and the regularised gap is the last policy's gap in the game with tau."
        )
    return said


def table(found: Analysis, versus: Versus) -> Table:
    """Return the table, a row an algorithm."""
    regularised = any(c.temperature is not None for c in versus.contenders)
    made = Table()
    made.add_column("algorithm", overflow="fold")
    for heading in ("last iterate\nwin-prob.", "\npayoff", "average\nwin-prob.", "\npayoff", "\nplays", "\noutside"):
        made.add_column(heading, justify="right")
    if regularised:
        for heading in ("\ntau", "regularised\ngap, payoff", "bias\npayoff"):
            made.add_column(heading, justify="right")
    for c in versus.contenders:
        last, average = float(c.last[:, -1].mean()), float(c.average[:, -1].mean())
        row = [_gap(last / 2), _gap(last), _gap(average / 2), _gap(average)]
        row += [f"{played(c.final).mean():g}", f"{outside(found, c.final).mean():.1%}"]
        if regularised:
            row += ["-"] * 3 if c.regularised is None else [f"{c.temperature:g}", _gap(_mean(c.regularised)), _bias(c)]
        made.add_row(Text(c.name), *row)
    return made


def as_object(found: Analysis, versus: Versus) -> dict[str, Any]:
    """Return everything as plain Python; gaps in payoff units, with their halves where people read them."""
    return {
        "iterations": versus.n_iterations,
        "step_size": versus.step_size,
        "pairs": versus.n_pairs,
        "seeds": versus.n_seeds,
        "seed": versus.seed,
        "first_policy": dict(zip(found.names, versus.first.tolist(), strict=True)),
        "algorithms": {c.name: _contender(found, c) for c in versus.contenders},
    }


def _contender(found: Analysis, c: Contender) -> dict[str, Any]:
    last, average = float(c.last[:, -1].mean()), float(c.average[:, -1].mean())
    return {
        "last_gap": last,
        "last_gap_win_probability": last / 2,
        "last_gap_by_seed": c.last[:, -1].tolist(),
        "average_gap": average,
        "average_gap_win_probability": average / 2,
        "average_gap_by_seed": c.average[:, -1].tolist(),
        "plays": float(played(c.final).mean()),
        "outside_the_winner": float(outside(found, c.final).mean()),
        "policy": dict(zip(found.names, c.final.mean(axis=0).tolist(), strict=True)),
        "temperature": c.temperature,
        "regularised_gap": None if c.regularised is None else _mean(c.regularised),
        "regularised_equilibrium_gap": c.bias,
    }


def _mean(values: FloatArray) -> float:
    return float(np.mean(values))


def _gap(gap: float) -> str:
    """Return a gap with four decimals, or in powers of ten where these would all be 0."""
    return f"{gap:.4f}" if gap >= 5e-4 or gap == 0 else f"{gap:.1e}"


def _bias(c: Contender) -> str:
    return "?" if c.bias is None else _gap(c.bias)
