"""Conservative policy iteration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.algorithms.base import Algorithm, State, check_step_size
from rebel_theory.arrays import FloatArray, expectation, safe_log
from rebel_theory.oracles import BoundOracle, Oracle
from rebel_theory.problems import FiniteHorizonMDP, LinearMDP, Problem, TabularMDP


@dataclass(frozen=True, eq=False)
class ConservativePolicyIteration(Algorithm):
    r"""Mix a little of the greedy policy into the current one (Kakade and Langford 2002, ICML, section 4).

    .. math::
        \pi_{t+1} = (1 - \alpha)\pi_t + \alpha \pi', \qquad \pi' \text{ greedy for } Q^{\pi_t}, \qquad
        \alpha = \min\Big(1, \eta, \frac{(1-\gamma)\,\mathbb{A}}{4 R}\Big)

    with A = E_{d, pi'}[A^{pi_t}] the policy advantage and R the largest spread max_a Q - min_a Q of a row. The source
    normalises values by 1 - gamma and takes for R the largest reward; alpha is a ratio, so both may be in units of Q,
    and R need only bound the advantages of pi'. A finite horizon has 1/H for 1 - gamma. Ties share.

    Under exact feedback the value never falls, and the uncapped step gains at least A^2/(8R) (units of Q).

    Parameters
    ----------
    step_size : float or array
        The largest share alpha.
    cautious : bool
        True: alpha as above, from A and R as the oracle shows them. False: alpha = min(1, eta), the usual practice.
    """

    name: ClassVar[str] = "CPI"
    key: ClassVar[str] = "cpi"
    source: ClassVar[str] = "Kakade and Langford 2002 (ICML), section 4 and corollary 4.2"
    update: ClassVar[str] = "pi_{t+1} = (1 - alpha) pi_t + alpha greedy(Q_t), alpha = (1-gamma) A/(4R)"
    conditions: ClassVar[str] = (
        "bandit, discounted MDP or finite horizon, tabular; a restart distribution in the source"
    )
    rate: ClassVar[str] = (
        "improves by at least A^2/(8R) a step, A the policy advantage; so A <= eps in O(R^2/eps^2) steps"
    )

    step_size: ArrayLike
    cautious: bool = True

    def __post_init__(self) -> None:
        check_step_size("ConservativePolicyIteration", self.step_size)

    def refuses(self, problem: Problem, oracle: Oracle) -> str | None:
        """Return a reason for undiscounted MDPs, where the cautious share is 0."""
        if self.cautious and isinstance(problem, TabularMDP) and problem.discount >= 1:
            return "the cautious share (1-gamma) A/(4R) is 0 at discount 1: use cautious=False"
        return None

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
    gamma = oracle.problem.discount if isinstance(oracle.problem, TabularMDP | LinearMDP) else 0.0
    if isinstance(oracle.problem, FiniteHorizonMDP):
        gamma = 1 - 1 / oracle.problem.horizon
    advantage = expectation(weights, expectation(greedy, q) - expectation(pi, q))
    spread = np.ptp(q, axis=-1).max(axis=-1)
    return np.where(spread > 0, (1 - gamma) * advantage / (4 * np.where(spread > 0, spread, 1.0)), 0.0)
