"""The facts in words and tables for people."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rebel_bench.game import versus_report
from rebel_bench.game.analysis import MAX_RANGES, NEAR, RIDGE, WELL_DETERMINED, Analysis, Gap
from rebel_bench.game.versus import Versus

_LOG_WIDTH = 120  # where there is no terminal to ask
_LISTED = 12  # names of a set that are written out
_RANKED = 12  # rows of the ranking: the first eight and the last three when there are more
_WIN_UNITS = "duality gap,\nwin-probability\nunits"
_PAYOFF_UNITS = "duality gap,\npayoff units,\nl = 2P-1"
_UNITS = (
    "Payoff l = 2 P - 1: a win pays 1, a loss -1. In win-probability units a win pays 1, a loss 0, "
    "and the gap is half as large: both are the same fact."
)


def print_report(found: Analysis, source: Path, files: Sequence[Path], against: Versus | None = None) -> None:
    """Print the analysis on stdout."""
    console = Console(width=None if sys.stdout.isatty() else _LOG_WIDTH, markup=False, highlight=False)
    _section(console, "The game", size_sentences(found, source))
    _section(console, "Who beats whom", tournament_sentences(found))
    _section(console, "Bradley-Terry: what a reward model sees", strength_sentences(found))
    console.print(_ranking(found))
    _section(console, "Von Neumann winner", winner_sentences(found))
    console.print(_support(found))
    _section(console, "Duality gaps: how much each policy can be beaten by", gap_sentences(found))
    console.print(_gaps(found))
    _section(console, "Preference REBEL in self-play", self_play_sentences(found))
    console.print(_self_play(found))
    if against is not None:
        _section(console, "Algorithms in self-play: duality gaps", versus_report.sentences(found, against))
        console.print(versus_report.table(found, against))
    if files:
        _section(console, "Files", [str(file) for file in files])


def _section(console: Console, title: str, sentences: Sequence[str]) -> None:
    console.print()
    console.rule(Text(title, style="bold"), align="left")
    for sentence in sentences:
        console.print(Text(sentence))


# -- sentences -----------------------------------------------------------------------------------------------


def size_sentences(found: Analysis, source: Path) -> list[str]:
    """Return what was read."""
    names = found.names
    said = [f"{source}: {len(names)} names: {_listing(names)}."]
    if found.game.counts is None:
        return [*said, "The entries are probabilities that the row beats the column."]
    per_pair = found.games_per_pair
    low, high = per_pair.min(), per_pair.max()
    spread = f"{low:g} for every pair" if low == high else f"{low:g} to {high:g} a pair"
    said.append(f"The entries are win counts: {per_pair.sum():g} games, {spread}.")
    if found.prior > 0:
        said.append(
            f"Probabilities are (wins + {found.prior:g}) / (games + {2 * found.prior:g}); "
            f"{int((per_pair == 0).sum())} pairs never met. Bradley-Terry and the test use the counts themselves."
        )
    return said


def tournament_sentences(found: Analysis) -> list[str]:
    """Return Condorcet winner, Smith set and cycles."""
    t, names = found.tournament, found.names
    if t.condorcet is not None:
        said = [f"{names[t.condorcet]} is the Condorcet winner: it beats each of the others more often than not."]
    else:
        said = ["There is no Condorcet winner: nobody beats all the others."]
    smith = _listing([names[i] for i in t.smith])
    if len(t.smith) == len(names):
        said.append(f"The Smith set, the smallest that beats everyone outside, is everyone ({len(names)}).")
    else:
        said.append(f"The Smith set, the smallest that beats everyone outside, has {len(t.smith)}: {smith}.")
    share = f" ({t.n_cycles / t.n_triples:.1%})" if t.n_triples else ""
    cycles = "triple is a cycle" if t.n_cycles == 1 else "triples are cycles"
    said.append(f"{t.n_cycles} of {t.n_triples} {cycles}{share}: x beats y beats z beats x.")
    if t.n_ties:
        tied = "1 pair is" if t.n_ties == 1 else f"{t.n_ties} pairs are"
        said.append(f"{tied} exactly tied; a tie is a win for neither.")
    return said


def strength_sentences(found: Analysis) -> list[str]:
    """Return how the model was fitted and what the counts say about the cycles."""
    s = found.strengths
    said = [f"The best arm of the fit is {found.names[s.fit.best]}."]
    if s.no_maximum is not None:
        said.append(
            f"Maximum likelihood has no answer: {s.no_maximum}. Fitted with ridge {RIDGE:g} instead (a Gaussian "
            f"prior of variance {1 / RIDGE:g} on strengths), so the strengths depend on that choice."
        )
    said.append(str(s.test) if s.test is not None else str(s.no_test))
    return said


def winner_sentences(found: Analysis) -> list[str]:
    """Return the gap of the winner, its uniqueness, and how well the matrix determines it."""
    w = found.winner
    unique = {
        True: "It is the only winner (certified by the rank of its support).",
        False: "It is not the only winner; this one is from inside the set of winners.",
        None: "Rounding cannot tell whether it is the only winner: the matrix is within about 1e-9 of the border.",
    }[w.unique]
    return [
        f"The mixture that no opponent beats more often than not. Its duality gap is {w.gap:.1e} (payoff units).",
        unique,
        determined_sentence(found),
    ]


def determined_sentence(found: Analysis) -> str:
    """Return how far near-winners are from each other."""
    if found.ranges is None or found.width is None:
        return f"How well it is determined was not computed: more than {MAX_RANGES} names."
    name = found.names[int((found.ranges[1] - found.ranges[0]).argmax())]
    near = f"policies that lose at most {NEAR:g} (payoff) to anyone"
    if found.width <= WELL_DETERMINED:
        return f"It is well determined: {near} differ by at most {found.width:.1g} in any probability."
    return (
        f"It is badly determined: {near} differ by up to {found.width:.2f} in one probability "
        f"({name}). Judge a policy by its duality gap, not by its distance to this winner."
    )


def gap_sentences(found: Analysis) -> list[str]:
    """Return the units, on the example of the first policy that can be beaten."""
    said = ["Duality gap: the most that an opponent can win from the policy, less what it can win back.", _UNITS]
    example = next((g for g in found.gaps if g.opponent is not None), None)
    if example is not None:
        said.append(
            f"A gap of {example.win_gap:.4f} ({example.policy}) means: some opponent wins "
            f"{_percent(example.win_rate)} against it."
        )
    return said


def self_play_sentences(found: Analysis) -> list[str]:
    """Return how it was run and what the bound says."""
    p, names = found.self_play, found.names
    eta = f"step size eta = {p.step_size:.4g}" + (" = sqrt(2 ln n / T)" if p.default_step else "")
    if p.uniform_start:
        start = "from the uniform policy, the start of the bound"
    else:
        start = (
            f"from two shares for {names[0]} and one for every other (the uniform policy is a winner: "
            "self-play would stand still)"
        )
    plain = p.default_step and p.uniform_start
    formula = "2 sqrt(2 ln n / T)" if plain else "2 (max ln 1/pi_1 / (eta T) + eta / 2)"
    verdict = "stays within its bound at every t" if p.holds else "EXCEEDS its bound: please report this matrix"
    return [
        f"T = {p.n_iterations} exact updates, {eta}, {start}.",
        f"The average of the iterates {verdict}; at T the bound is {formula}. "
        "The bound does not cover the last iterate, which may well move away from the winner.",
    ]


# -- tables --------------------------------------------------------------------------------------------------


def _ranking(found: Analysis) -> Table:
    fit, ranking = found.strengths.fit, found.strengths.ranking
    kind = "maximum likelihood" if found.strengths.no_maximum is None else f"ridge {RIDGE:g}"
    table = Table()
    table.add_column("rank", justify="right")
    table.add_column("name", overflow="fold")
    table.add_column(f"strength ({kind}, log-odds)", justify="right")
    table.add_column("wins against a random other", justify="right")
    beats = _mean_wins(found)
    rows = list(enumerate(ranking, 1))
    shown = rows if len(rows) <= _RANKED else [*rows[:8], None, *rows[-3:]]
    for row in shown:
        if row is None:
            table.add_row("...", Text(f"{len(rows) - 11} more"), "", "")
            continue
        rank, i = row
        table.add_row(str(rank), Text(found.names[i]), f"{fit.strengths[i]:+.3f}", f"{beats[i]:.1%}")
    return table


def _support(found: Analysis) -> Table:
    table = Table()
    table.add_column("name", overflow="fold")
    table.add_column("probability", justify="right")
    if found.ranges is not None:
        table.add_column(f"among policies within {NEAR:g}", justify="right")
    for i in found.support:
        row = [Text(found.names[i]), Text(f"{found.winner.policy[i]:.4f}")]
        if found.ranges is not None:
            row.append(Text(f"{found.ranges[0][i]:.4f} to {found.ranges[1][i]:.4f}"))
        table.add_row(*row)
    return table


def _gaps(found: Analysis) -> Table:
    table = Table()
    table.add_column("policy", no_wrap=True)
    table.add_column("plays", overflow="fold")
    table.add_column(_WIN_UNITS, justify="right")
    table.add_column(_PAYOFF_UNITS, justify="right")
    table.add_column("strongest opponent", overflow="fold")
    for g in found.gaps:
        table.add_row(g.policy, Text(g.plays), f"{g.win_gap:.4f}", f"{g.gap:.4f}", Text(_opponent(found, g)))
    return table


def _opponent(found: Analysis, g: Gap) -> str:
    return "none" if g.opponent is None else f"{found.names[g.opponent]}, wins {_percent(g.win_rate)}"


def _self_play(found: Analysis) -> Table:
    p = found.self_play
    table = Table()
    table.add_column("after T updates", no_wrap=True)
    table.add_column(_WIN_UNITS, justify="right")
    table.add_column(_PAYOFF_UNITS, justify="right")
    rows = (
        ("last iterate", float(p.last[-1])),
        ("average iterate", float(p.average[-1])),
        (
            "bound on the average (P1)" if p.default_step and p.uniform_start else "bound on the average",
            float(p.bound[-1]),
        ),
    )
    for label, gap in rows:
        table.add_row(label, f"{gap / 2:.4f}", f"{gap:.4f}")
    return table


# -- helpers -------------------------------------------------------------------------------------------------


def _mean_wins(found: Analysis) -> Any:
    """Return how often each wins against the others, on average over them."""
    n = len(found.names)
    return (found.game.preference[0].sum(axis=1) - 0.5) / (n - 1)


def _percent(rate: float) -> str:
    """Return a win rate, with more digits where one would round it to a draw."""
    return f"{rate:.1%}" if abs(rate - 0.5) >= 0.005 else f"{rate:.3%}"


def _listing(names: Sequence[str]) -> str:
    if len(names) <= _LISTED:
        return ", ".join(names)
    return f"{', '.join(names[: _LISTED - 2])} and {len(names) - _LISTED + 2} more"
