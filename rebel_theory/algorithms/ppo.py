"""Proximal policy optimisation: clipped, and with an adaptive KL penalty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.advantages import Advantages, Critic
from rebel_theory.algorithms._score_methods import ScoreMethod, first_critic, gradient_epochs
from rebel_theory.algorithms.base import State, check_options
from rebel_theory.arrays import FloatArray, expectation, kl_rows
from rebel_theory.oracles import BoundOracle
from rebel_theory.policies import Policy


def clipped_cells(seen: Advantages, ratio: FloatArray, clip: float) -> FloatArray:
    """Return d/d log pi (..., S, A) of E[min(rho A, clamp(rho, 1 - clip, 1 + clip) A)] at ratios rho.

    A gain counts while rho < 1 + clip, a loss while rho > 1 - clip; beyond, the surrogate is flat.
    """
    active = seen.up * (ratio < 1 + clip) - seen.down * (ratio > 1 - clip)
    cells: FloatArray = seen.weights[..., None] * seen.frequencies * ratio * active
    return cells


@dataclass(frozen=True, eq=False)
class Ppo(ScoreMethod):
    r"""PPO with the clipped surrogate (Schulman et al. 2017, arXiv:1707.06347, equation 7).

    K full-batch gradient steps on :math:`E[\min(\rho A, \mathrm{clip}(\rho, 1-\epsilon, 1+\epsilon) A)]`,
    :math:`\rho = \pi_\theta/\pi_t`, with A from single answers and a tabular critic (the running mean of a row's
    rewards); exact feedback gives the population's surrogate with the exact advantage. Q-values come from roll-outs of
    an MDP, so the generalised advantage estimator has nothing left to trade. No entropy bonus.

    Parameters
    ----------
    step_size : float or array
        The gradient step on theta, in each of the epochs.
    clip : float > 0
    n_epochs : int >= 1
        K; with K = 1 the step is REINFORCE's.
    forgetting : float in [0, 1]
        The critic's least weight of the latest batch.
    """

    name: ClassVar[str] = "PPO"
    key: ClassVar[str] = "ppo"
    source: ClassVar[str] = "Schulman et al. 2017 (arXiv:1707.06347), equation 7"
    update: ClassVar[str] = "K gradient steps on E[min(rho A, clip(rho, 1-eps, 1+eps) A)], rho = pi_theta/pi_t"
    conditions: ClassVar[str] = "answers of the policy one by one; single gradient step: policy gradient"
    rate: ClassVar[str] = "none proven"

    step_size: ArrayLike
    clip: float = 0.2
    n_epochs: int = 4
    forgetting: float = 0.1

    def __post_init__(self) -> None:
        check_options(self, positive=["clip"], counts=["n_epochs"], shares=["forgetting"])

    def init(self, policy: Policy) -> State:
        """Return the first policy and a critic that knows nothing."""
        return State(policy, first_critic(policy))

    def step(self, state: State, oracle: BoundOracle) -> State:
        """Return the policy after K steps on the clipped surrogate."""
        seen = oracle.advantages(state.policy, Critic(state.memory.values))
        policy = gradient_epochs(
            state.policy, seen, lambda ratio, _: clipped_cells(seen, ratio, self.clip), self.eta, self.n_epochs
        )
        return State(policy, state.memory.updated(seen, self.forgetting))


@dataclass(frozen=True, eq=False)
class PpoKl(ScoreMethod):
    r"""PPO with an adaptive KL penalty (Schulman et al. 2017, arXiv:1707.06347, section 4).

    K gradient steps on :math:`E[\rho A] - \beta E_x KL(\pi_t \| \pi_\theta)`; after an update with divergence D, beta
    is halved if D < target/1.5 and doubled if D > 1.5 target.

    Parameters
    ----------
    step_size : float or array
        The gradient step on theta.
    target_kl : float > 0
        In nats.
    penalty : float > 0
        The first beta.
    n_epochs, forgetting : as in :class:`Ppo`
    """

    name: ClassVar[str] = "PPO (KL)"
    key: ClassVar[str] = "ppo-kl"
    source: ClassVar[str] = "Schulman et al. 2017 (arXiv:1707.06347), equation 8 and section 4"
    update: ClassVar[str] = "K gradient steps on E[rho A] - beta KL(pi_t || pi_theta), beta adapted to a target KL"
    conditions: ClassVar[str] = "answers of the policy one by one"
    rate: ClassVar[str] = "none proven"

    step_size: ArrayLike
    target_kl: float = 0.01
    penalty: float = 1.0
    n_epochs: int = 4
    forgetting: float = 0.1

    def __post_init__(self) -> None:
        check_options(self, positive=["target_kl", "penalty"], counts=["n_epochs"], shares=["forgetting"])

    def init(self, policy: Policy) -> State:
        """Return the first policy, a critic that knows nothing, and the first beta."""
        beta = np.full(policy.log_probs.shape[:-2], float(self.penalty))
        return State(policy, (first_critic(policy), beta))

    def step(self, state: State, oracle: BoundOracle) -> State:
        """Return the policy after K steps on the penalised surrogate, and the adapted beta."""
        critic, beta = state.memory
        old = state.policy
        seen = oracle.advantages(old, Critic(critic.values))
        weighted = seen.weights[..., None] * seen.frequencies * seen.mean
        pull = beta[..., None, None] * seen.weights[..., None] * old.probs  # of -beta KL(pi_t || pi) on log pi
        policy = gradient_epochs(old, seen, lambda ratio, _: weighted * ratio + pull, self.eta, self.n_epochs)
        divergence = expectation(seen.weights, kl_rows(old.log_probs, policy.log_probs))
        beta = np.where(divergence < self.target_kl / 1.5, beta / 2, beta)
        beta = np.where(divergence > 1.5 * self.target_kl, beta * 2, beta)
        return State(policy, (critic.updated(seen, self.forgetting), np.clip(beta, 1e-12, 1e12)))
