"""Entropy-regularised natural policy gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.algorithms.base import Algorithm, State, check_options
from rebel_theory.arrays import FloatArray, log_softmax
from rebel_theory.oracles import BoundOracle, Exact, Oracle
from rebel_theory.policies.base import per_row
from rebel_theory.problems import ContextualBandit, Problem, TabularMDP
from rebel_theory.solvers.soft import soft_values


@dataclass(frozen=True, eq=False)
class EntropyNPG(Algorithm):
    r"""Natural policy gradient of the entropy-regularised value, in closed form (Cen et al. 2021, arXiv:2007.06558).

    .. math:: \pi_{t+1} \propto \pi_t^{1 - \eta\tau} \exp(\eta\, Q_\tau^{\pi_t})

    with the functional eta = eta_npg/(1-gamma) of the source's closed form. At eta tau = 1 it is soft policy iteration.
    Q_tau = r + gamma P V_tau, V_tau = E_pi[Q_tau - tau ln pi]. Soft values of an MDP are exact (a dense solve); in a
    bandit Q_tau is the reward, sampled or not. The recorded gap is that of the reward alone: it stops at the bias of
    the regularised optimum.

    Parameters
    ----------
    step_size : float or array
        Functional eta; 1/temperature is used where it is more.
    temperature : float > 0
        tau.
    """

    name: ClassVar[str] = "entropy NPG"
    key: ClassVar[str] = "entropy-npg"
    source: ClassVar[str] = "Cen et al. 2021 (arXiv:2007.06558), theorem 1"
    update: ClassVar[str] = "pi_{t+1} prop. to pi_t^{1 - eta tau} exp(eta Q_tau)"
    conditions: ClassVar[str] = "exact soft values of a discounted MDP, tabular, eta tau <= 1"
    rate: ClassVar[str] = "sup-norm error of Q_tau <= C_1 gamma (1 - eta_npg tau)^t (C7)"

    step_size: ArrayLike
    temperature: float = 0.1

    def __post_init__(self) -> None:
        check_options(self, positive=["temperature"])

    def refuses(self, problem: Problem, oracle: Oracle) -> str | None:
        """Return a reason for problems without exact soft values."""
        if isinstance(problem, ContextualBandit):
            return None
        if not isinstance(problem, TabularMDP) or problem.discount >= 1:
            return "needs soft values: a bandit, or a tabular MDP with a discount below 1"
        return None if isinstance(oracle, Exact) else "soft values of an MDP are evaluated exactly: use Exact()"

    @property
    def used_step(self) -> FloatArray:
        """The step size, at most 1/temperature: beyond, pi_t would enter with a negative power."""
        return np.minimum(self.eta, 1 / self.temperature)

    def step(self, state: State, oracle: BoundOracle) -> State:
        """Return the geometric mixture of pi_t and the soft greedy policy."""
        policy, feedback = state.policy, oracle.feedback(state.policy)
        signal = feedback.signal
        if isinstance(oracle.problem, TabularMDP):
            signal = soft_values(oracle.problem, policy.log_probs, self.temperature)[1]
        eta = per_row(self.used_step)
        kept = (1 - eta * self.temperature) * np.where(eta * self.temperature < 1, policy.log_probs, 0.0)
        return State(policy.project(log_softmax(kept + eta * signal), feedback))
