"""Checks of hyper-parameters and the assembly of transition tables, shared by the constructors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from rebel_theory.arrays import FloatArray
from rebel_theory.problems.parameters import batch, generator, whole, within

__all__ = ["assemble", "batch", "context_distribution", "generator", "whole", "within"]


def context_distribution(rng: Generator, n_contexts: int, concentration: float | None) -> ArrayLike | None:
    """Return None (uniform), or one draw of a symmetric Dirichlet distribution, shape (X,)."""
    return None if concentration is None else rng.dirichlet(np.full(n_contexts, concentration))


def assemble(
    origins: ArrayLike,
    targets: ArrayLike,
    probs: ArrayLike,
    *,
    n_states: int,
    n_actions: int,
    sparse: bool,
) -> Any:
    """Return the transition (S, A, S), or CSR (S * A, S), from entries; entries at one place add up.

    ``origins`` holds ``s * A + a``, ``targets`` next states, ``probs`` probabilities, all of one shape.
    """
    rows = np.asarray(origins, dtype=np.int64).ravel()
    columns = np.asarray(targets, dtype=np.int64).ravel()
    values = np.asarray(probs, dtype=np.float64).ravel()
    if sparse:
        from scipy.sparse import coo_array

        kept = values > 0
        entries = (values[kept], (rows[kept], columns[kept]))
        return coo_array(entries, shape=(n_states * n_actions, n_states)).tocsr()
    table: FloatArray = np.zeros((n_states * n_actions, n_states))
    np.add.at(table, (rows, columns), values)
    return table.reshape(n_states, n_actions, n_states)
