"""REINFORCE with a baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from numpy.typing import ArrayLike

from rebel_theory.advantages import Critic
from rebel_theory.algorithms._score_methods import ScoreMethod, first_critic
from rebel_theory.algorithms.base import State, check_options
from rebel_theory.oracles import BoundOracle
from rebel_theory.policies import Policy


@dataclass(frozen=True, eq=False)
class Reinforce(ScoreMethod):
    r"""Single answers, with the mean of earlier rewards in the same row as the baseline (Williams 1992).

    .. math:: \theta_{t+1} = \theta_t + \eta \frac1N \sum_i \nabla \ln \pi_t(y_i|x_i) (r_i - b_t(x_i))

    b_t comes from the batches before t, so the estimate is unbiased for E[g A]; exact feedback gives that expectation.

    Parameters
    ----------
    step_size : float or array
        The step on theta.
    forgetting : float in [0, 1]
        The least weight of the latest batch in b; 0 is the plain mean, 1 the batch before alone.
    """

    name: ClassVar[str] = "REINFORCE"
    key: ClassVar[str] = "reinforce"
    source: ClassVar[str] = "Williams 1992 (Machine Learning 8)"
    update: ClassVar[str] = "theta_{t+1} = theta_t + eta mean_i g_i (r_i - b_t(x_i))"
    conditions: ClassVar[str] = "answers of the policy one by one; unbiased for the policy gradient"
    rate: ClassVar[str] = "that of stochastic policy gradient: O(1/sqrt(T)) to a stationary point"

    step_size: ArrayLike
    forgetting: float = 0.1

    def __post_init__(self) -> None:
        check_options(self, shares=["forgetting"])

    def init(self, policy: Policy) -> State:
        """Return the first policy and a critic that knows nothing."""
        return State(policy, first_critic(policy))

    def step(self, state: State, oracle: BoundOracle) -> State:
        """Return theta + eta times the estimate, and the critic after this batch."""
        policy, critic = state.policy, state.memory
        seen = oracle.advantages(policy, Critic(critic.values))
        moved = policy.moved(policy.gradient(seen.cells), self.eta)
        return State(moved, critic.updated(seen, self.forgetting))
