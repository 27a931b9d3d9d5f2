"""A measured game with many cycles: the types of Pokemon."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from rebel_envs.win_matrices import NamedGame
from rebel_theory.problems import Problem

# A row attacks, a column (in the rows' order) defends: twice the damage, the usual, half (h), none (0). Generations 6
# to 9; the entries are gen9typechart.json of poke-env 0.16 (MIT), its 18 types without Stellar, which has no defence.
_CHART = """
bug      1211hhhhh2111h21h1
dark     1h11hh112111112111
dragon   1121011111111111h1
electric 11hh11121h01111112
fairy    122112h111111h11h1
fighting h211h11h01122hh221
fire     21h111h11212111h2h
flying   211h12111211111hh1
ghost    1h1111112111012111
grass    h1h111hh1h211h12h2
ground   h11211201h11121221
ice      112111h2122h1111hh
normal   111111110111111hh1
poison   11112111h2h11h1h01
psychic  10111211111112h1h1
rock     21111h2211h21111h1
steel    111h21h111121112hh
water    11h111211h2111121h
"""
_DAMAGE = {"0": 0.0, "h": 0.5, "1": 1.0, "2": 2.0}


def type_chart() -> NamedGame:
    r"""Return the game of the 18 Pokemon types: each side deals damage by the type chart, in turn.

    With e(i, j) the damage factor of i against j, P(i beats j) = e(i, j) / (e(i, j) + e(j, i)), the share of the damage
    that i deals, and 1/2 where neither hurts the other. The chart is official (generations 6 to 9, as poke-env has it);
    that a share of damage is a probability of winning is this function's reading. Nobody beats everybody, the Smith
    set is all 18, and there are many von Neumann winners: compare policies by their gap.

    Examples
    --------
    Water hits fire with a factor of 2 and takes 1/2; electricity does not reach the ground:

    >>> game = type_chart()
    >>> fire, water, electric, ground = (game.names.index(t) for t in ("fire", "water", "electric", "ground"))
    >>> float(game.preference[0, water, fire]), float(game.preference[0, ground, electric])
    (0.8, 1.0)
    """
    rows = [line.split() for line in _CHART.split("\n") if line]
    damage = np.array([[_DAMAGE[mark] for mark in marks] for _, marks in rows])
    both = damage + damage.T
    preference = np.where(both > 0, damage / np.where(both > 0, both, 1.0), 0.5)
    return NamedGame(preference, names=tuple(name for name, _ in rows))


EXAMPLES: Mapping[str, Callable[..., Problem]] = {"type-chart": type_chart}
