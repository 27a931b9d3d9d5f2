"""Group relative policy optimisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.advantages import GroupScore
from rebel_theory.algorithms._score_methods import ScoreMethod, gradient_epochs
from rebel_theory.algorithms.base import State, check_options
from rebel_theory.algorithms.ppo import clipped_cells
from rebel_theory.arrays import FloatArray
from rebel_theory.oracles import BoundOracle
from rebel_theory.policies import Policy


@dataclass(frozen=True, eq=False)
class Grpo(ScoreMethod):
    r"""The clipped surrogate with advantages scored in groups (Shao et al. 2024, arXiv:2402.03300, equation 3).

    k answers to each context; A_i = (r_i - mean) / standard deviation of its group (divided by k; 0 where all agree).
    With ``kl_weight`` > 0 the mean over answers of :math:`\pi_{ref}/\pi_\theta - \ln(\pi_{ref}/\pi_\theta) - 1` is
    subtracted, pi_ref the first policy. Dividing by the spread makes the step biased for the policy gradient; exact
    feedback gives the limit of large groups, E[g A / sd(A)].

    Parameters
    ----------
    step_size : float or array
        The gradient step on theta, in each of the epochs.
    group_size : int >= 2
    clip : float > 0
    n_epochs : int >= 1
    kl_weight : float >= 0
        0 by default, so that the objective is the reward; the source uses 0.04.
    """

    name: ClassVar[str] = "GRPO"
    key: ClassVar[str] = "grpo"
    source: ClassVar[str] = "Shao et al. 2024 (arXiv:2402.03300), equations 3 and 4"
    update: ClassVar[str] = "K gradient steps on E[min(rho A, clip(rho) A)], A_i = (r_i - mean)/sd of its group"
    conditions: ClassVar[str] = "answers of the policy one by one, in groups"
    rate: ClassVar[str] = "none proven"

    step_size: ArrayLike
    group_size: int = 4
    clip: float = 0.2
    n_epochs: int = 4
    kl_weight: float = 0.0

    def __post_init__(self) -> None:
        check_options(self, positive=["clip"], counts=["n_epochs"], not_negative=["kl_weight"])
        GroupScore(self.group_size)

    def init(self, policy: Policy) -> State:
        """Return the first policy, which is also the reference."""
        return State(policy, policy)

    def step(self, state: State, oracle: BoundOracle) -> State:
        """Return the policy after K steps on the clipped surrogate."""
        seen = oracle.advantages(state.policy, GroupScore(self.group_size))
        reference = seen.log_probs_of(state.memory)

        def cells(ratio: FloatArray, log_probs: FloatArray) -> FloatArray:
            found = clipped_cells(seen, ratio, self.clip)
            if not self.kl_weight:
                return found
            with np.errstate(invalid="ignore"):
                far = np.where(log_probs > -np.inf, reference - log_probs, 0.0)
            pull = np.exp(np.minimum(far, 700.0)) - 1
            found += self.kl_weight * seen.weights[..., None] * seen.frequencies * pull
            return found

        return State(gradient_epochs(state.policy, seen, cells, self.eta, self.n_epochs), state.memory)
