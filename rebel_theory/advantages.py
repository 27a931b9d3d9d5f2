r"""What score-function methods see: advantages by cell, split by sign, from groups of answers or exactly.

A score-function method weighs grad log pi(y_i|x_i) by an advantage estimate A_i. All answers in a cell (x, y) share
the score and the likelihood ratio, so the means of A_i^+ and A_i^- in each cell are enough for every one of them,
clipped or not: any function of the ratio times A is linear in the two parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np

from rebel_theory.arrays import BoolArray, FloatArray, IntArray, expectation
from rebel_theory.feedback import Feedback
from rebel_theory.problems.base import InvalidProblemError


class WithLogProbs(Protocol):
    """A policy, as far as advantages look at one."""

    @property
    def log_probs(self) -> FloatArray:
        """Log-probabilities (..., S, A)."""


SMALLEST_SPREAD = 1e-12  # a group whose rewards agree to this, relative to their size, has no score


@dataclass(frozen=True, slots=True)
class LeaveOneOut:
    """A_i = r_i minus the mean of the other k - 1 answers to the same x (Kool et al. 2019; Ahmadian et al. 2024)."""

    group_size: int = 4

    def __post_init__(self) -> None:
        _check_group_size("LeaveOneOut", self.group_size)


@dataclass(frozen=True, slots=True)
class GroupScore:
    """A_i = (r_i - mean) / standard deviation over the k answers to one x (Shao et al. 2024, arXiv:2402.03300)."""

    group_size: int = 4

    def __post_init__(self) -> None:
        _check_group_size("GroupScore", self.group_size)


@dataclass(frozen=True, slots=True, eq=False)
class Critic:
    """A_i = r_i - b(x_i), b (..., S) learned from earlier batches; single answers. Exact feedback has b = E_pi q."""

    values: FloatArray

    @property
    def group_size(self) -> int:
        """One answer a context."""
        return 1


Baseline: TypeAlias = LeaveOneOut | GroupScore | Critic


def _check_group_size(what: str, k: int) -> None:
    if int(k) != k or k < 2:
        raise InvalidProblemError(what, [f"group_size is {k}, expected an integer of at least 2"])


@dataclass(frozen=True, slots=True, eq=False)
class Advantages:
    """Advantage estimates by cell.

    Attributes
    ----------
    weights, visited : shape (..., S)
        Share of the answers in each row; whether there is any.
    frequencies : shape (..., S, A)
        Share of each action among a row's answers; pi itself when expectations are exact.
    up, down : shape (..., S, A)
        Means of max(A_i, 0) and of max(-A_i, 0) over the answers in a cell; 0 where there is none.
    signal : shape (..., S, A)
        Mean reward of a cell; the row's mean where there is none.
    """

    weights: FloatArray
    visited: BoolArray
    frequencies: FloatArray
    up: FloatArray
    down: FloatArray
    signal: FloatArray

    @property
    def mean(self) -> FloatArray:
        """Mean advantage of a cell, shape (..., S, A)."""
        return self.up - self.down

    def log_probs_of(self, policy: WithLogProbs) -> FloatArray:
        """Return ln pi of every cell (..., S, A); of single answers, where a space of answers has no table."""
        return policy.log_probs

    def at(self, cells: FloatArray) -> FloatArray:
        """Return coefficients (..., S, A) as ``policy.gradient`` takes them."""
        return cells

    @property
    def cells(self) -> FloatArray:
        """E[1{x, y} A], shape (..., S, A): sum_i A_i grad log pi(y_i|x_i) / N is ``policy.gradient(cells)``."""
        result: FloatArray = self.weights[..., None] * self.frequencies * self.mean
        return result


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """Answers one by one: k answers to each of n contexts, a seed.

    Attributes
    ----------
    rows : shape (n_seeds, n)
    actions, rewards : shape (n_seeds, n, k)
    """

    rows: IntArray
    actions: IntArray
    rewards: FloatArray

    def advantages(self, baseline: Baseline, n_rows: int, n_actions: int) -> Advantages:
        """Return the advantages by cell."""
        n_seeds = len(self.rows)
        estimate = _estimates(self, baseline)
        seed = np.arange(n_seeds)[:, None, None]
        cell = ((seed * n_rows + self.rows[..., None]) * n_actions + self.actions).ravel()
        shape = (n_seeds, n_rows, n_actions)

        def summed(values: FloatArray | None) -> FloatArray:
            weights = None if values is None else values.ravel()
            return np.bincount(cell, weights, n_seeds * n_rows * n_actions).reshape(shape).astype(np.float64)

        counts = summed(None)
        plug_in = Feedback.from_sums(counts, summed(self.rewards))
        assert plug_in.frequencies is not None
        some = np.maximum(counts, 1)
        return Advantages(
            weights=plug_in.weights,
            visited=plug_in.visited,
            frequencies=plug_in.frequencies,
            up=summed(np.maximum(estimate, 0)) / some,
            down=summed(np.maximum(-estimate, 0)) / some,
            signal=plug_in.signal,
        )


def _estimates(groups: Groups, baseline: Baseline) -> FloatArray:
    """Return A_i, shape (n_seeds, n, k)."""
    r = groups.rewards
    if isinstance(baseline, Critic):
        values = np.broadcast_to(baseline.values, (r.shape[0], baseline.values.shape[-1]))
        centred: FloatArray = r - np.take_along_axis(values, groups.rows, axis=-1)[..., None]
        return centred
    return estimates(r, baseline)


def estimates(rewards: FloatArray, baseline: LeaveOneOut | GroupScore) -> FloatArray:
    """Return A_i (..., k) of groups of k answers from their rewards (..., k)."""
    k = rewards.shape[-1]
    centred: FloatArray = rewards - rewards.mean(axis=-1, keepdims=True)
    if isinstance(baseline, LeaveOneOut):
        centred *= k / (k - 1)
        return centred
    return _scored(centred, rewards.std(axis=-1, keepdims=True), rewards)


def exact_advantages(feedback: Feedback, probs: FloatArray, baseline: Baseline) -> Advantages:
    """Return the population's advantages: q - E_pi q, and for groups their limit as k grows.

    A :class:`GroupScore` divides by the standard deviation of q under pi. The noise of rewards, which a finite group
    would see in its spread and its signs, is not in the exact signal.
    """
    q = feedback.signal
    advantage = q - expectation(probs, q)[..., None]
    if isinstance(baseline, GroupScore):
        spread = np.sqrt(expectation(probs, advantage**2))[..., None]
        advantage = _scored(advantage, spread, q)
    return Advantages(
        weights=feedback.weights,
        visited=feedback.visited,
        frequencies=probs,
        up=np.maximum(advantage, 0),
        down=np.maximum(-advantage, 0),
        signal=q,
    )


def _scored(centred: FloatArray, spread: FloatArray, rewards: FloatArray) -> FloatArray:
    """Return centred / spread, 0 where the rewards agree to rounding."""
    floor = SMALLEST_SPREAD * np.abs(rewards).max(axis=-1, keepdims=True)
    score: FloatArray = np.where(spread > floor, centred / np.where(spread > 0, spread, 1.0), 0.0)
    return score
