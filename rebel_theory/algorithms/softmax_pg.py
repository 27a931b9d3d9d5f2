"""Softmax policy gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from numpy.typing import ArrayLike

from rebel_theory.algorithms.base import Algorithm, State, check_step_size
from rebel_theory.arrays import expectation
from rebel_theory.oracles import BoundOracle


@dataclass(frozen=True, eq=False)
class PolicyGradient(Algorithm):
    r"""Follow the gradient of the softmax parameters, without the Fisher metric (Mei et al. 2020, ICML; update 1).

    .. math:: \theta_{t+1} = \theta_t + \eta\, E_{x\sim d_\pi, y\sim\pi_t}[\nabla_\theta \ln \pi_t(y|x)\, A(x, y)]

    The gradient of V in a discounted MDP is 1/(1-gamma) times this expectation: d is the normalised occupancy. In a
    game it is the gradient of pi -> l(pi, pi_t) at pi_t. With sampled feedback the expectation is the plug-in one, the
    mean signal of a cell times its frequency, with the row's mean as the baseline.

    Parameters
    ----------
    step_size : float or array
        eta, the same number that :class:`rebel_theory.NaturalPolicyGradient` multiplies F^+ E[g A] by.
    """

    name: ClassVar[str] = "softmax PG"
    key: ClassVar[str] = "pg"
    source: ClassVar[str] = "Williams 1992; Mei et al. 2020 (ICML), update 1"
    update: ClassVar[str] = "theta_{t+1} = theta_t + eta E[g A]"
    conditions: ClassVar[str] = "exact, tabular, eta = 2/5 in a bandit with rewards in [0, 1] (Mei et al., Theorem 2)"
    rate: ClassVar[str] = "gap <= 5/(c^2 T), c = min_t pi_t(a*), which a bad start makes as small as it likes (C9)"

    step_size: ArrayLike

    def __post_init__(self) -> None:
        check_step_size("PolicyGradient", self.step_size)

    def step(self, state: State, oracle: BoundOracle) -> State:
        """Return theta + eta E[g A]."""
        policy, feedback = state.policy, oracle.feedback(state.policy)
        frequencies = policy.probs if feedback.frequencies is None else feedback.frequencies
        advantage = feedback.signal - expectation(frequencies, feedback.signal)[..., None]
        cells = feedback.weights[..., None] * frequencies * advantage
        return State(policy.moved(policy.gradient(cells), self.eta))
