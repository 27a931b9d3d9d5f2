"""The two arrays that every problem gives at a policy: state weights and a signal."""

from __future__ import annotations

from dataclasses import dataclass

from rebel_theory.arrays import BoolArray, FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Feedback:
    """What an algorithm sees of a problem at a policy pi (theory: section 1, "one unifying object").

    Attributes
    ----------
    weights : shape (..., S)
        d_pi: how often each row is met; sums to 1.
    signal : shape (..., S, A)
        q_pi: mean reward, Q^pi, or expected payoff against pi. Defined up to a constant per row.
    visited : shape (..., S)
        Rows with positive weight in exact arithmetic. ``weights`` may underflow to 0 where this is True, and
        a row that is never visited has no data: min-norm solutions leave it where it was.
    frequencies : shape (..., S, A), or None
        Empirical action frequencies of a sample; None when expectations are exact, under pi itself.
    """

    weights: FloatArray
    signal: FloatArray
    visited: BoolArray
    frequencies: FloatArray | None = None
