"""From numbers in a box to distributions and preferences: what most attacks are decoded with."""

from __future__ import annotations

import numpy as np

from rebel_theory.arrays import FloatArray


def distributions(numbers: FloatArray) -> FloatArray:
    """Return rows (last axis) proportional to exp(numbers)."""
    weights = np.exp(numbers - numbers.max(axis=-1, keepdims=True))
    result: FloatArray = weights / weights.sum(axis=-1, keepdims=True)
    return result


def two_states(numbers: FloatArray) -> FloatArray:
    """Return distributions over two states (..., 2) with log-odds ``numbers`` (...) of the first."""
    return distributions(np.stack([numbers, np.zeros_like(numbers)], axis=-1))


def preferences(numbers: FloatArray, n_actions: int) -> FloatArray:
    """Return preferences (m, 1, Y, Y); their entries above the diagonal, row by row, are ``numbers`` (m, Y (Y-1)/2).

    Numbers beyond [0, 1] count as 0 and 1: a search with bounds wider than that meets sure wins as often as others.
    """
    numbers = np.clip(numbers, 0, 1)
    upper = np.triu_indices(n_actions, 1)
    found = np.full((len(numbers), 1, n_actions, n_actions), 0.5)
    found[:, 0, upper[0], upper[1]] = numbers
    found[:, 0, upper[1], upper[0]] = 1 - numbers
    return found


def against_first(numbers: FloatArray) -> FloatArray:
    """Return features (m, S, A, d) from those of all actions but the first (m, S, A - 1, d), whose own are 0.

    A policy depends on differences only. In steps of 1 many members share their features, and one run measures them.
    """
    return np.concatenate([np.zeros_like(numbers[:, :, :1]), numbers], axis=2)
