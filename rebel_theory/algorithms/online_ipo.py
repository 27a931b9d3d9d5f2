"""Identity preference optimisation on the policy's own answers: online IPO and IPO-MD."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.algorithms._comparing import OnlineComparing, pull
from rebel_theory.algorithms._magnets import Regularised, mixture
from rebel_theory.algorithms.base import State, check_options
from rebel_theory.oracles import BoundOracle
from rebel_theory.policies import BaseLike, Policy, TabularPolicy


@dataclass(frozen=True, eq=False)
class OnlineIpo(OnlineComparing, Regularised):
    r"""Gradient steps of the IPO loss on answers of the policy (Calandriello et al. 2024, arXiv:2403.08635).

    .. math::
        \theta_{t+1} = \theta_t - \lambda \nabla_\theta E_{y,y'\sim SG[\pi_t]}\Big[\Big(h(y) - h(y')
        - \tfrac{1}{2\tau_P}(2o-1)\Big)^2\Big], \qquad h = \ln(\pi_\theta/m).

    The gradient is -(2/tau_P) times that of the regularised self-play game, so the step is theta_t + eta E[grad
    ln pi_t(y) (l(y, pi_t) - tau ln(pi_t/m)(y))], written with tau = 2 tau_P in payoffs l = 2 P - 1 and
    lambda = eta tau_P / 2. Where it stands still with full support is the regularised equilibrium. With ``mixture`` > 0
    the answers are drawn from pi_t^{1 - mixture} m^{mixture}: IPO-MD.

    Parameters
    ----------
    step_size : float or array
        eta, the step on theta in units of payoffs: 2 lambda / tau_P.
    temperature : float > 0
        tau, in payoffs l = 2 P - 1.
    reference : "first", "uniform", a policy, or an array (S, A)
        m; "first" is the first policy.
    mixture : float in [0, 1]
        Weight of m in the law of the answers.
    """

    name: ClassVar[str] = "Online IPO"
    key: ClassVar[str] = "online-ipo"
    source: ClassVar[str] = "Calandriello et al. 2024 (arXiv:2403.08635)"
    update: ClassVar[str] = "theta_{t+1} = theta_t + eta E[grad ln pi_t(y) (l(y, pi_t) - tau ln(pi_t/m)(y))]"
    conditions: ClassVar[str] = "preference game; fresh comparisons of the policy's own (or the mixture's) answers"
    rate: ClassVar[str] = "none proven; stationary points with full support are regularised equilibria"

    step_size: ArrayLike
    temperature: float = 0.1
    reference: BaseLike = "first"
    mixture: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_options(self, shares=["mixture"])

    def step(self, state: State, oracle: BoundOracle) -> State:
        """Return theta after one gradient step."""
        policy, memory = state.policy, state.memory.bound(self.reference, oracle.problem)
        law: Policy = policy
        if self.mixture:
            law = TabularPolicy(mixture(policy.log_probs, memory.log_probs, np.asarray(self.mixture)))
        seen = oracle.comparisons(policy, law)
        cells = seen.cells(pull(policy.log_probs, memory.log_probs, self.temperature))
        return State(policy.moved(policy.gradient(cells), self.eta), memory.after())
