"""What methods share that compare two answers directly: which problems and oracles can, and laws to draw from."""

from __future__ import annotations

import numpy as np

from rebel_theory.algorithms.base import Algorithm
from rebel_theory.arrays import FloatArray
from rebel_theory.oracles import Exact, Offline, Oracle
from rebel_theory.policies import BaseLike, Policy, TabularPolicy, as_base
from rebel_theory.problems import Game, PreferenceGame, Problem


def no_comparisons(problem: Problem, oracle: Oracle) -> str | None:
    """Return why two answers cannot be compared directly, or None."""
    if not isinstance(problem, Game):
        return f"needs a preference game, in which answers are compared: a {type(problem).__name__} gives rewards"
    if not isinstance(problem, PreferenceGame) and not isinstance(oracle, Exact):
        return f"samples comparisons from written preferences: pass the dense() form of the {type(problem).__name__}"
    return None


class OnlineComparing(Algorithm):
    """An algorithm that compares fresh answers of laws of its own choice."""

    def refuses(self, problem: Problem, oracle: Oracle) -> str | None:
        """Return a reason for problems without preferences, and for data that was compared before."""
        if isinstance(oracle, Offline):
            return (
                "needs fresh comparisons of the policy's own answers, which Offline does not hold: use Sampled(n_pairs)"
            )
        return no_comparisons(problem, oracle)


class OfflineComparing(Algorithm):
    """An algorithm that fits comparisons of answers of one fixed law, or a data set of them."""

    def refuses(self, problem: Problem, oracle: Oracle) -> str | None:
        """Return a reason for problems without preferences, and for data that is not preferences alone."""
        if isinstance(oracle, Offline):
            if not oracle.dataset.is_preference:
                return "needs preferences, and this data set holds differences of rewards: give OfflineData preferred="
            if oracle.on_policy_pairs:
                return "fits the data set alone: use Offline(data) with on_policy_pairs=0"
        return no_comparisons(problem, oracle)


def law_of(base: BaseLike, first: Policy, problem: Problem) -> Policy:
    """Return the policy that answers are drawn from: the first policy, or another base."""
    if isinstance(base, str) and base == "first":
        return first
    return TabularPolicy(as_base(base).log_base(first, problem))


def pull(log_pi: FloatArray, log_m: FloatArray, temperature: float) -> FloatArray:
    """Return -tau (log pi - log m) (..., S, A), the regularised part of the payoff; 0 where pi rules an action out."""
    with np.errstate(invalid="ignore"):
        shift: FloatArray = temperature * (log_m - log_pi)
    return np.where(log_pi > -np.inf, shift, 0.0) if np.isnan(shift.max()) else shift
