"""The two arrays that every problem gives at a policy: state weights and a signal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rebel_theory.arrays import BoolArray, FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Feedback:
    """What an algorithm sees of a problem at a policy pi (theory: section 1, "one unifying object").

    Attributes
    ----------
    weights : shape (..., S)
        How often each row is met: d_pi, or a restart distribution; sums to 1.
    signal : shape (..., S, A)
        q_pi: mean reward, Q^pi, or expected payoff against pi. Defined up to a constant per row.
    visited : shape (..., S)
        Rows of positive weight in exact arithmetic. ``weights`` may underflow to 0 where this is True, and
        a row that is never visited has no data: min-norm solutions leave it where it was.
    frequencies : shape (..., S, A), or None
        Empirical action frequencies of a sample; None when expectations are exact, under pi itself.
    """

    weights: FloatArray
    signal: FloatArray
    visited: BoolArray
    frequencies: FloatArray | None = None

    @classmethod
    def from_sums(cls, counts: FloatArray, totals: FloatArray) -> Feedback:
        """Return plug-in feedback from cell counts and summed signals (..., S, A).

        The mean observed signal per cell; a cell that was not sampled gets its row's mean, a row that was not
        sampled is not ``visited``.
        """
        per_row = counts.sum(axis=-1, keepdims=True)
        row_mean = totals.sum(axis=-1, keepdims=True) / np.maximum(per_row, 1)
        return cls(
            weights=per_row[..., 0] / per_row.sum(axis=(-2, -1), keepdims=True)[..., 0],
            signal=np.where(counts > 0, totals / np.maximum(counts, 1), row_mean),
            visited=per_row[..., 0] > 0,
            frequencies=counts / np.maximum(per_row, 1),
        )
