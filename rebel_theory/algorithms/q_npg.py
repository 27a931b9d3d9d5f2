"""Q-NPG: natural policy gradient with uncentred features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.algorithms.base import Algorithm, State, check_step_size
from rebel_theory.arrays import FloatArray
from rebel_theory.feedback import Feedback
from rebel_theory.least_squares import min_norm
from rebel_theory.oracles import BoundOracle
from rebel_theory.policies import Policy
from rebel_theory.policies.parametric import ParametricPolicy


@dataclass(frozen=True, eq=False)
class QNpg(Algorithm):
    r"""Regress Q, not the advantage, on the features of the logits (Agarwal et al. 2021, JMLR 22, section 6).

    .. math::
        \theta_{t+1} = \theta_t + \eta w_t, \qquad
        w_t \in \arg\min_w E_{x\sim d, y\sim\pi_t}[(Q^{\pi_t}(x, y) - w\cdot\phi(x, y))^2],

    the minimum-norm w, phi = d logits / d theta (the source's log-linear features). For a tabular softmax w = Q on what
    is met, and the update is NPG's; otherwise it regresses without centring, so a constant added to Q matters. A
    tabular action that a sample misses has w = 0: as if its Q were 0.

    Parameters
    ----------
    step_size : float or array
        The functional eta, which is the source's in its section 6: theta + eta w, without the 1/(1-gamma) that its
        tabular NPG has.
    """

    name: ClassVar[str] = "Q-NPG"
    key: ClassVar[str] = "q-npg"
    source: ClassVar[str] = "Agarwal et al. 2021 (JMLR 22), section 6"
    update: ClassVar[str] = "theta_{t+1} = theta_t + eta argmin_w E[(Q - w . phi)^2]"
    conditions: ClassVar[str] = "log-linear policies; bounded features and regression error"
    rate: ClassVar[str] = "O(sqrt(ln A/T)) to a floor set by the regression and transfer errors"
    shift_invariant: ClassVar[bool] = False

    step_size: ArrayLike

    def __post_init__(self) -> None:
        check_step_size("QNpg", self.step_size)

    def step(self, state: State, oracle: BoundOracle) -> State:
        """Return theta + eta w."""
        policy, feedback = state.policy, oracle.feedback(state.policy)
        return State(policy.moved(_weights(policy, feedback), self.eta))


def _weights(policy: Policy, feedback: Feedback) -> FloatArray:
    """Return the minimum-norm regression of the signal on the features, in the parameters' shape."""
    frequencies = policy.probs if feedback.frequencies is None else feedback.frequencies
    if not isinstance(policy, ParametricPolicy):  # one-hot features
        met = feedback.visited[..., None] & (
            policy.log_probs > -np.inf if feedback.frequencies is None else frequencies > 0
        )
        return np.where(met, feedback.signal, 0.0)
    jacobian = policy.jacobian()
    cells = feedback.weights[..., None] * frequencies
    lead = np.broadcast_shapes(jacobian.shape[:-3], cells.shape[:-2], feedback.signal.shape[:-2])
    root = np.sqrt(np.broadcast_to(cells, (*lead, *cells.shape[-2:])).reshape(*lead, -1))
    flat = np.broadcast_to(jacobian, (*lead, *jacobian.shape[-3:])).reshape(*lead, -1, jacobian.shape[-1])
    target = np.broadcast_to(feedback.signal, (*lead, *feedback.signal.shape[-2:])).reshape(*lead, -1)
    return min_norm(root[..., None] * flat, root * target)
