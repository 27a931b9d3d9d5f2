"""REINFORCE leave-one-out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from numpy.typing import ArrayLike

from rebel_theory.advantages import LeaveOneOut
from rebel_theory.algorithms._score_methods import ScoreMethod
from rebel_theory.algorithms.base import State, check_step_size
from rebel_theory.oracles import BoundOracle


@dataclass(frozen=True, eq=False)
class Rloo(ScoreMethod):
    r"""REINFORCE with k answers a context, each with the mean of the others as its baseline.

    .. math::
        \theta_{t+1} = \theta_t + \eta \frac1k \sum_{i=1}^k \nabla \ln \pi_t(y_i|x)
        \Big(r_i - \frac1{k-1}\sum_{j\ne i} r_j\Big),

    averaged over the contexts of a batch (Kool et al. 2019; Ahmadian et al. 2024, arXiv:2402.14740, equation 7).
    Unbiased for E[g A] for every k >= 2; exact feedback gives that expectation, the softmax policy gradient.

    Parameters
    ----------
    step_size : float or array
        The step on theta.
    group_size : int >= 2
        k; a batch has 2 n_pairs / k contexts, so that it costs what REBEL's n_pairs pairs cost.
    """

    name: ClassVar[str] = "RLOO"
    key: ClassVar[str] = "rloo"
    source: ClassVar[str] = "Kool et al. 2019; Ahmadian et al. 2024 (arXiv:2402.14740), equation 7"
    update: ClassVar[str] = "theta_{t+1} = theta_t + eta mean_i g_i (r_i - mean_{j != i} r_j)"
    conditions: ClassVar[str] = "answers of the policy one by one; unbiased for the policy gradient for every k >= 2"
    rate: ClassVar[str] = "that of stochastic policy gradient: O(1/sqrt(T)) to a stationary point"

    step_size: ArrayLike
    group_size: int = 4

    def __post_init__(self) -> None:
        check_step_size("Rloo", self.step_size)
        LeaveOneOut(self.group_size)

    def step(self, state: State, oracle: BoundOracle) -> State:
        """Return theta + eta times the leave-one-out estimate."""
        policy = state.policy
        seen = oracle.advantages(policy, LeaveOneOut(self.group_size))
        return State(policy.moved(policy.gradient(seen.cells), self.eta))
