"""REBEL with its regression solved by a few gradient steps: from RLOO to mirror descent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.algorithms.base import Algorithm, State, check_options
from rebel_theory.arrays import FloatArray
from rebel_theory.oracles import BoundOracle
from rebel_theory.pairs import Pairs
from rebel_theory.policies import Base, BaseLike, Policy, TabularPolicy, as_base


@dataclass(frozen=True, eq=False)
class InexactRebel(Algorithm):
    r"""REBEL's regression by K full-batch gradient steps from theta_t, as in practice (arXiv:2404.16767, section 4).

    .. math::
        \theta^{(k+1)} = \theta^{(k)} - \alpha \eta^2 \nabla_\theta E\Big[\Big(\tfrac1\eta\Big(
        \ln\tfrac{\pi_\theta(y|x)}{\pi_t(y|x)} - \ln\tfrac{\pi_\theta(y'|x)}{\pi_t(y'|x)}\Big)
        - (r(x,y) - r(x,y'))\Big)^2\Big],

    so that alpha is a step on (theta - theta_t)/eta and needs no other unit. On-policy the first step adds
    4 alpha eta E[gA]: for alpha = 1/4, K = 1 is RLOO with step eta, and K to infinity REBEL with step eta (claim E6).
    Cells that are rarely seen converge last: a direction of the regression with eigenvalue lambda keeps
    (1 - 2 alpha lambda)^K of its error.

    Parameters
    ----------
    step_size : float or array
        The functional eta of the regression.
    n_steps : int >= 1
        K. Tabular policies pay log2(K) products of (A, A) matrices a row, others K gradients.
    inner_step_size : float > 0
        alpha; stable below 1/2 for tabular policies, below 1/lambda_max of E[(g_y - g_y')(g_y - g_y')^T] for others.
    base : "on-policy", "uniform", a policy, an array (S, A), or a Mixture
        The distribution mu of y'.
    """

    name: ClassVar[str] = "inexact REBEL"
    key: ClassVar[str] = "inexact-rebel"
    source: ClassVar[str] = "arXiv:2404.16767, section 4"
    update: ClassVar[str] = "K gradient steps of alpha eta^2 on REBEL's loss from theta_t"
    conditions: ClassVar[str] = "as REBEL; alpha < 1/2 tabular, alpha below 1/lambda_max of the pair Fisher otherwise"
    rate: ClassVar[str] = "K = 1: that of RLOO; K to infinity: that of REBEL (E6); error (1 - 2 alpha lambda)^K between"

    step_size: ArrayLike
    n_steps: int = 10
    inner_step_size: float = 0.25
    base: BaseLike = "on-policy"

    def __post_init__(self) -> None:
        check_options(self, positive=["inner_step_size"], counts=["n_steps"])
        as_base(self.base)

    @property
    def base_distribution(self) -> Base:
        """The distribution mu of y'."""
        return as_base(self.base)

    def step(self, state: State, oracle: BoundOracle) -> State:
        """Return the policy after K gradient steps on the pair loss."""
        policy = state.policy
        laplacian, target = _normal_equations(oracle.pairs(policy, self.base_distribution), policy)
        solve = _tabular if isinstance(policy, TabularPolicy) else _by_gradients
        return State(solve(policy, laplacian, target, self.eta, int(self.n_steps), float(self.inner_step_size)))


def _normal_equations(pairs: Pairs, policy: Policy) -> tuple[FloatArray, FloatArray]:
    """Return L (..., S, A, A) and b (..., S, A): the loss of a table z is E z' L z - 2 b z + constant."""
    s, a = policy.log_probs.shape[-2:]
    design, rewards, _ = pairs.rows(np.broadcast_to(np.eye(a), (s, a, a)))  # row after row, as many in each
    design = design.reshape(*design.shape[:-2], s, -1, a)
    rewards = rewards.reshape(design.shape[:-1])
    transposed = np.swapaxes(design, -1, -2)
    return np.matmul(transposed, design), np.matmul(transposed, rewards[..., None])[..., 0]


def _tabular(
    policy: Policy, laplacian: FloatArray, target: FloatArray, eta: FloatArray, n_steps: int, alpha: float
) -> Policy:
    """Return the policy at u = (theta - theta_t)/eta after u <- (I - 2 alpha L) u + 2 alpha b, K times from u = 0.

    u_K = (I + M + ... + M^(K-1)) 2 alpha b, by doubling: the sums of 2k + 1 and 2k powers follow from that of k.
    """
    eye = np.eye(laplacian.shape[-1])
    once = eye - 2 * alpha * laplacian
    power, total = np.broadcast_to(eye, once.shape), np.zeros_like(once)  # M^k and the sum of the first k powers
    with np.errstate(over="ignore", invalid="ignore"):  # an unstable alpha: the policy refuses what is not finite
        for bit in bin(n_steps)[2:]:
            total = total + np.matmul(power, total)
            power = np.matmul(power, power)
            if bit == "1":
                total, power = total + power, np.matmul(power, once)
        direction = np.matmul(total, 2 * alpha * target[..., None])[..., 0]
    return policy.moved(direction, eta)


def _by_gradients(
    policy: Policy, laplacian: FloatArray, target: FloatArray, eta: FloatArray, n_steps: int, alpha: float
) -> Policy:
    """Return the policy after K gradients of the loss, each at its own parameters."""
    old = policy.log_probs
    per_cell = eta[..., None, None]
    for _ in range(n_steps):
        ratio = (policy.log_probs - old) / per_cell
        cells = 2 * (target - np.matmul(laplacian, ratio[..., None])[..., 0])  # of -d loss / d ratio
        policy = policy.moved(policy.gradient(cells), alpha * eta)
    return policy
