"""Conservative policy iteration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.algorithms.base import Algorithm, State, check_step_size
from rebel_theory.arrays import FloatArray, expectation, safe_log
from rebel_theory.oracles import BoundOracle
from rebel_theory.problems import FiniteHorizonMDP, TabularMDP


@dataclass(frozen=True, eq=False)
class ConservativePolicyIteration(Algorithm):
    r"""Mix a little of the greedy policy into the current one (Kakade and Langford 2002, ICML, section 4).

    .. math::
        \pi_{t+1} = (1 - \alpha)\pi_t + \alpha \pi', \qquad \pi' \text{ greedy for } Q^{\pi_t}, \qquad
        \alpha = \min\Big(1, \eta, \frac{(1-\gamma)\,\mathbb{A}}{4 R}\Big)

    with A = E_{d, pi'}[A^{pi_t}] the policy advantage and R the largest spread of the signal times (1 - gamma), which
    bounds the rewards' range from what is seen. Ties share. Under exact feedback the value never falls.

    Parameters
    ----------
    step_size : float or array
        The largest share alpha.
    cautious : bool
        True: alpha as above. False: alpha = min(1, eta), the usual practice.
    """

    name: ClassVar[str] = "CPI"
    key: ClassVar[str] = "cpi"
    source: ClassVar[str] = "Kakade and Langford 2002 (ICML), section 4 and corollary 4.2"
    update: ClassVar[str] = "pi_{t+1} = (1 - alpha) pi_t + alpha greedy(Q_t), alpha = (1-gamma) A/(4R)"
    conditions: ClassVar[str] = "discounted MDP or bandit; a restart distribution for the guarantee"
    rate: ClassVar[str] = "improves by at least A^2/(8R) a step, A the policy advantage; O(R^2/eps^2) steps"

    step_size: ArrayLike
    cautious: bool = True

    def __post_init__(self) -> None:
        check_step_size("ConservativePolicyIteration", self.step_size)

    def step(self, state: State, oracle: BoundOracle) -> State:
        """Return the mixture, projected on the class."""
        policy, feedback = state.policy, oracle.feedback(state.policy)
        q, pi = feedback.signal, policy.probs
        allowed = np.where(policy.log_probs > -np.inf, q, -np.inf)
        best = allowed == allowed.max(axis=-1, keepdims=True)
        greedy = best / best.sum(axis=-1, keepdims=True)
        share = np.minimum(self.eta, 1.0)
        if self.cautious:
            share = np.minimum(share, _cautious_share(oracle, feedback.weights, pi, greedy, q))
        alpha = share[..., None, None]
        return State(policy.project(safe_log((1 - alpha) * pi + alpha * greedy), feedback))


def _cautious_share(
    oracle: BoundOracle, weights: FloatArray, pi: FloatArray, greedy: FloatArray, q: FloatArray
) -> FloatArray:
    """Return (1-gamma) A/(4R), shape (...)."""
    gamma = oracle.problem.discount if isinstance(oracle.problem, TabularMDP) else 0.0
    if isinstance(oracle.problem, FiniteHorizonMDP):
        gamma = 1 - 1 / oracle.problem.horizon
    advantage = expectation(weights, expectation(greedy, q) - expectation(pi, q))
    spread = np.ptp(q, axis=-1).max(axis=-1) * (1 - gamma)
    return np.where(spread > 0, (1 - gamma) * advantage / (4 * np.where(spread > 0, spread, 1.0)), 0.0)
