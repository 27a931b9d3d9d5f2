"""REBEL: regress relative rewards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from numpy.typing import ArrayLike

from rebel_theory.algorithms.base import Algorithm, State, check_step_size
from rebel_theory.oracles import BoundOracle
from rebel_theory.policies import Base, BaseLike, as_base


@dataclass(frozen=True, eq=False)
class Rebel(Algorithm):
    r"""Regress relative rewards on log-ratio differences (Gao et al. 2024, arXiv:2404.16767, Algorithm 1).

    .. math::
        \theta_{t+1} = \arg\min_\theta E\Big[\Big(\tfrac1\eta\Big(\ln\tfrac{\pi_\theta(y|x)}{\pi_t(y|x)}
        - \ln\tfrac{\pi_\theta(y'|x)}{\pi_t(y'|x)}\Big) - (r(x,y) - r(x,y'))\Big)^2\Big],
        \quad x \sim d_{\pi_t},\; y \sim \pi_t,\; y' \sim \mu.

    The signal r becomes Q^{pi_t} in an MDP (this project's extension) and the expected payoff against pi_t in a
    preference game. The official implementation minimises eta^2 times this loss, which has the same minimiser.

    Parameters
    ----------
    step_size : float or array
        The functional eta; an array is a batch of runs.
    base : "on-policy", "uniform", a policy, an array (S, A), or a Mixture
        The distribution mu of y'.
    """

    name: ClassVar[str] = "REBEL"
    key: ClassVar[str] = "rebel"
    source: ClassVar[str] = "arXiv:2404.16767, Algorithm 1"
    update: ClassVar[str] = (
        "theta_{t+1} = argmin E[(ln pi_theta/pi_t(y) - ln pi_theta/pi_t(y') - eta (r(y) - r(y')))^2]"
    )
    conditions: ClassVar[str] = "pairs y ~ pi_t, y' ~ mu; realisable regression, or misfit eps_t"
    rate: ClassVar[str] = "average gap <= KL/(eta T) + eta B^2/2 + mean sqrt(C eps_t) (C1); exact: KL/(eta T) (C2, C5)"

    step_size: ArrayLike
    base: BaseLike = "on-policy"

    def __post_init__(self) -> None:
        check_step_size("Rebel", self.step_size)
        as_base(self.base)

    @property
    def base_distribution(self) -> Base:
        """The distribution mu of y'."""
        return as_base(self.base)

    def step(self, state: State, oracle: BoundOracle) -> State:
        """Return the policy that solves the pair regression."""
        pairs = oracle.pairs(state.policy, self.base_distribution)
        return State(state.policy.regress(pairs, self.eta))
