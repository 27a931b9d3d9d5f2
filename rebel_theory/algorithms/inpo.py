"""Iterative Nash policy optimisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from numpy.typing import ArrayLike

from rebel_theory.algorithms._comparing import OnlineComparing, pull
from rebel_theory.algorithms._magnets import Regularised, too_long
from rebel_theory.algorithms.base import State
from rebel_theory.oracles import BoundOracle, Oracle
from rebel_theory.policies import BaseLike
from rebel_theory.problems import Problem


@dataclass(frozen=True, eq=False)
class Inpo(OnlineComparing, Regularised):
    r"""No-regret self-play with a KL penalty, by regression on comparisons (Zhang et al. 2024, arXiv:2407.00617).

    .. math::
        \pi_{t+1} = \arg\min_\pi E_{y,y'\sim\pi_t}\Big[\Big(\ln\tfrac{\pi(y)}{\pi(y')}
        - (1-\eta\tau)\ln\tfrac{\pi_t(y)}{\pi_t(y')} - \eta\tau\ln\tfrac{m(y)}{m(y')} - \eta(2o-1)\Big)^2\Big]

    with o = 1 where y was preferred. Its solution in a tabular class is online mirror descent on the regularised game,
    pi_{t+1} prop. to pi_t^{1 - eta tau} m^{eta tau} exp(eta l(., pi_t)): comparisons of two answers of pi_t stand for
    the payoff against pi_t, at one query each. The source pays P, and its eta divides: eta = 1/(2 eta_source),
    tau = 2 tau_source.

    The regularised equilibrium is the fixed point for any eta, and attracts where eta < 2 tau / (tau^2 + 1): the
    Jacobian there has eigenvalues 1 - eta tau + i eta lambda, |lambda| <= max |l| <= 1. The theorem's steps fall.

    Parameters
    ----------
    step_size : float or array
        The functional eta; eta tau may be 1 at most.
    temperature : float >= 0
        tau, in payoffs l = 2 P - 1; 0 is preference REBEL with direct comparisons.
    reference : "first", "uniform", a policy, or an array (S, A)
        m; "first" is the first policy.
    """

    name: ClassVar[str] = "INPO"
    key: ClassVar[str] = "inpo"
    source: ClassVar[str] = "Zhang et al. 2024 (arXiv:2407.00617)"
    update: ClassVar[str] = (
        "regress ln pi/pi'(y, y') on (1-eta tau) ln pi_t + eta tau ln m + eta (2 o - 1), y, y' ~ pi_t"
    )
    conditions: ClassVar[str] = "preference game; fresh comparisons of the policy's own answers; eta tau <= 1"
    rate: ClassVar[str] = "average iterate: duality gap O(1/sqrt(T)); last iterate O(1/T) in KL with steps of order 1/t"

    may_be_plain: ClassVar[bool] = True

    step_size: ArrayLike
    temperature: float = 0.1
    reference: BaseLike = "first"

    def refuses(self, problem: Problem, oracle: Oracle) -> str | None:
        """Return a reason for other problems, for Offline, and for steps with eta tau > 1."""
        return super().refuses(problem, oracle) or too_long(self.eta, self.temperature)

    def step(self, state: State, oracle: BoundOracle) -> State:
        """Return the policy that solves the regression on regularised comparisons."""
        policy, memory = state.policy, state.memory.bound(self.reference, oracle.problem)
        seen = oracle.comparisons(policy, policy)
        shift = pull(policy.log_probs, memory.log_probs, self.temperature) if self.temperature else None
        return State(policy.regress(seen.pairs(shift), self.eta), memory.after())
