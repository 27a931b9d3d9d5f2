"""Condorcet winner, Smith set and three-cycles against their definitions, tried over all subsets."""

from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rebel_theory.problems.base import InvalidProblemError
from rebel_theory.problems.game import PreferenceGame
from rebel_theory.theory.tournament import condorcet_winner, smith_set, three_cycle_list, three_cycles

RPS = [[0.5, 0.0, 1.0], [1.0, 0.5, 0.0], [0.0, 1.0, 0.5]]


def random_preference(seed, n, ties):
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.choice([0.2, 0.5, 0.9] if ties else [0.2, 0.9], (n, n)), 1)
    return upper + np.tril(1 - upper.T, -1) + 0.5 * np.eye(n)


def naive_smith(P):
    n = len(P)
    for size in range(1, n + 1):
        for inside in combinations(range(n), size):
            if all(P[i][j] > 0.5 for i in inside for j in range(n) if j not in inside):
                return inside
    raise AssertionError


def naive_cycles(P):
    return [
        (x, y, z)
        for x in range(len(P))
        for y in range(len(P))
        for z in range(len(P))
        if x < min(y, z) and P[x][y] > 0.5 and P[y][z] > 0.5 and P[z][x] > 0.5
    ]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.booleans())
def test_against_the_definitions(seed, n, ties):
    P = random_preference(seed, n, ties)
    assert smith_set(P) == naive_smith(P)
    assert three_cycles(P) == len(naive_cycles(P))
    assert [tuple(c) for c in three_cycle_list(P).tolist()] == naive_cycles(P)
    champions = [i for i in range(n) if all(P[i][j] > 0.5 for j in range(n) if j != i)]
    assert condorcet_winner(P) == (champions[0] if champions else None)
    if champions:
        assert smith_set(P) == (champions[0],)
    if not ties:
        assert three_cycles(P) == comb(n, 3) - sum(comb(int(s), 2) for s in (P > 0.5).sum(axis=1))


def test_ties_are_wins_for_neither():
    tie = [[0.5, 0.5, 0.9], [0.5, 0.5, 0.9], [0.1, 0.1, 0.5]]
    assert condorcet_winner(tie) is None
    assert smith_set(tie) == (0, 1)
    almost = np.array(RPS)
    almost[0, 1] = almost[1, 0] = 0.5
    assert three_cycles(almost) == 0
    assert smith_set(almost) == (0, 1, 2)
    rounding = [[0.5, 0.5 + 1e-15, 1], [0.5 - 1e-15, 0.5, 1], [0, 0, 0.5]]
    assert condorcet_winner(rounding) is None


def test_a_game_is_accepted_and_a_stack_of_matrices_is_not():
    assert three_cycles(PreferenceGame(RPS)) == 1
    with pytest.raises(ValueError, match="expected one matrix"):
        smith_set(np.stack([RPS, RPS]))
    with pytest.raises(InvalidProblemError, match="expected 1"):
        condorcet_winner([[0.5, 0.9], [0.9, 0.5]])


def test_measured_games(soccer, rrps):
    assert condorcet_winner(soccer) is None
    assert len(smith_set(soccer)) == 6
    assert three_cycles(soccer) == 6
    assert condorcet_winner(rrps) is None
    assert len(smith_set(rrps)) == 43
    assert three_cycles(rrps) == 956
