"""Policy search by dynamic programming."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.algorithms.base import Algorithm, State, check_step_size
from rebel_theory.arrays import safe_log
from rebel_theory.oracles import BoundOracle, Oracle
from rebel_theory.policies import Policy
from rebel_theory.problems import FiniteHorizonMDP, Problem


@dataclass(frozen=True, eq=False)
class Psdp(Algorithm):
    """Make one step of the horizon greedy at a time, from the last to the first (Bagnell et al. 2003, NeurIPS).

    Update t makes pi_h greedy for Q_h of the policies that follow, h = H - 1 - (t mod H), in the rows that are met;
    ties share. With exact feedback that meets every state (a restart distribution, or a first policy that does) the
    policy is optimal after H updates; sampled feedback makes the greedy choice among the actions that were seen. The
    source's baseline distributions mu_h are the rows' weights: those of the current policy, whose steps before h are
    still the first policy's in the first H updates, or a restart distribution's.

    Parameters
    ----------
    step_size : float or array
        Not used: the greedy step is the limit of large eta. Here so that PSDP runs next to the others.
    """

    name: ClassVar[str] = "PSDP"
    key: ClassVar[str] = "psdp"
    source: ClassVar[str] = "Bagnell et al. 2003 (NeurIPS), algorithm 1"
    update: ClassVar[str] = "pi_h = greedy for Q_h of pi_{h+1}, ..., pi_H, h = H, H - 1, ..., 1"
    conditions: ClassVar[str] = "a finite horizon; baseline state distributions that cover those of a good policy"
    rate: ClassVar[str] = "H updates; gap <= T eps + T d(mu, mu_ref) there; exact: optimal after H updates"

    step_size: ArrayLike = 1.0

    def __post_init__(self) -> None:
        check_step_size("Psdp", self.step_size)

    def refuses(self, problem: Problem, oracle: Oracle) -> str | None:
        """Return a reason for problems without steps."""
        return None if isinstance(problem, FiniteHorizonMDP) else "works through the steps of a finite horizon"

    def init(self, policy: Policy) -> State:
        """Return the first policy and the count of updates."""
        return State(policy, 0)

    def step(self, state: State, oracle: BoundOracle) -> State:
        """Return the policy with one more step made greedy."""
        problem, policy = oracle.problem, state.policy
        assert isinstance(problem, FiniteHorizonMDP)
        horizon, n_states = problem.row_shape
        h = horizon - 1 - state.memory % horizon
        feedback = oracle.feedback(policy)
        seen = policy.log_probs > -np.inf
        if feedback.frequencies is not None:
            seen = seen & (feedback.frequencies > 0)
        allowed = np.where(seen, feedback.signal, -np.inf)
        best = seen & (allowed == allowed.max(axis=-1, keepdims=True))
        now = np.arange(problem.n_rows) // n_states == h
        changed = now & feedback.visited & seen.any(axis=-1)
        greedy = best / np.maximum(best.sum(axis=-1, keepdims=True), 1)
        target = np.where(changed[..., None], safe_log(greedy), policy.log_probs)
        return State(policy.project(target, feedback), state.memory + 1)
