"""What methods with single answers share: which oracles give them, a critic, and gradient epochs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rebel_theory.advantages import Advantages
from rebel_theory.algorithms.base import Algorithm
from rebel_theory.arrays import FloatArray
from rebel_theory.oracles import Counted, Offline, Oracle
from rebel_theory.policies import Policy
from rebel_theory.problems import Problem


class ScoreMethod(Algorithm):
    """An algorithm that reads ``oracle.advantages``."""

    def refuses(self, problem: Problem, oracle: Oracle) -> str | None:
        """Return a reason for oracles without answers one by one."""
        if isinstance(oracle, Counted):
            return "Counted draws counts, not answers one by one: use Sampled(n_pairs) or Exact()"
        if isinstance(oracle, Offline):
            return "Offline holds compared pairs, not fresh answers of the policy: use Sampled(n_pairs) or Exact()"
        return None


def first_critic(policy: Policy) -> CriticState:
    """Return the critic that knows nothing: a table, or what a policy without a table brings for itself."""
    own = getattr(policy, "first_critic", None)
    found: CriticState = CriticState.zeros(policy) if own is None else own()
    return found


@dataclass(frozen=True, slots=True, eq=False)
class CriticState:
    """A tabular critic: the mean reward seen in each row, later batches weighing at least ``forgetting``."""

    values: FloatArray  # (..., S)
    batches: FloatArray  # (..., S): how many batches met the row

    @classmethod
    def zeros(cls, policy: Policy) -> CriticState:
        """Return the critic that knows nothing, of a policy in rows form."""
        shape = policy.log_probs.shape[:-1]
        return cls(np.zeros(shape), np.zeros(shape))

    def updated(self, seen: Advantages, forgetting: float) -> CriticState:
        """Return the critic after one batch more."""
        mean = (seen.frequencies * seen.signal).sum(axis=-1)  # (..., S)
        batches = self.batches + seen.visited
        rate = np.where(seen.visited, np.maximum(1 / np.maximum(batches, 1), forgetting), 0.0)
        return CriticState(self.values + rate * (mean - self.values), batches)


def gradient_epochs(
    policy: Policy, seen: Advantages, cells: Callable[[FloatArray, FloatArray], FloatArray], step_size: FloatArray,
    n_epochs: int,
) -> Policy:  # fmt: skip
    """Return the policy after ``n_epochs`` gradient steps on sum_cells L(log pi), over the cells of ``seen``.

    ``cells(ratio, log_probs)`` returns dL / d log pi (..., S, A) at likelihood ratios pi / pi_old.
    """
    old = seen.log_probs_of(policy)
    for _ in range(n_epochs):
        log_probs = seen.log_probs_of(policy)
        with np.errstate(invalid="ignore"):
            moved = np.where(log_probs > -np.inf, log_probs - old, 0.0)
        ratio = np.exp(np.minimum(moved, 700.0))
        policy = policy.moved(policy.gradient(seen.at(cells(ratio, log_probs))), step_size)
    return policy
