"""Extragradient, plain and regularised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from numpy.typing import ArrayLike

from rebel_theory.algorithms._magnets import Regularised, mixture, per_cell, too_long
from rebel_theory.algorithms.base import State
from rebel_theory.arrays import FloatArray
from rebel_theory.oracles import BoundOracle, Oracle
from rebel_theory.policies import BaseLike, Policy
from rebel_theory.problems import Problem


@dataclass(frozen=True, eq=False)
class Egpo(Regularised):
    r"""Look ahead, then step from where you were (Zhou, Fazel and Du 2025, arXiv:2503.08942).

    .. math::
        \pi_{t+1/2} \propto \pi_t^{1-\eta\tau} m^{\eta\tau} e^{\eta q(\pi_t)}, \qquad
        \pi_{t+1} \propto \pi_t^{1-\eta\tau} m^{\eta\tau} e^{\eta q(\pi_{t+1/2})}.

    Extragradient preference optimisation; with tau = 0 the extragradient method (Korpelevich 1976; mirror prox,
    Nemirovski 2004) on the original game. Two calls of feedback an update. The source pays P: its step eta_P and
    temperature beta are eta = eta_P / 2 and tau = 2 beta here (:func:`rebel_theory.payoff_step_size`). Cen, Wei and Chi
    2021 (arXiv:2105.15186) analyse the same iteration with a uniform m.

    The rate: with KL_t = KL(p*||pi_t) and payoffs in [-1, 1], skew symmetry gives KL_{t+1} = (1 - eta tau) KL_t
    - eta tau KL(pi_half||p*) - (1 - eta tau) KL(pi_half||pi_t) + KL(pi_half||pi_{t+1}), and the last term is at most
    eta KL(pi_half||pi_t); hence the condition eta (1 + tau) <= 1, and
    :func:`rebel_theory.theory.bounds.extragradient_bound`.

    Parameters
    ----------
    step_size : float or array
        The functional eta; eta tau may be 1 at most.
    temperature : float >= 0
        tau, in payoffs l = 2 P - 1.
    reference : "first", "uniform", a policy, or an array (S, A)
        m; "first" is the first policy.
    """

    name: ClassVar[str] = "EGPO"
    key: ClassVar[str] = "egpo"
    source: ClassVar[str] = "Zhou, Fazel and Du 2025 (arXiv:2503.08942); Korpelevich 1976"
    update: ClassVar[str] = (
        "pi_{t+1} prop. to pi_t^(1-eta tau) m^(eta tau) exp(eta q(pi_half)), pi_half likewise at pi_t"
    )
    conditions: ClassVar[str] = "game: eta (1 + tau) <= 1, exact tabular feedback; two calls of feedback an update"
    rate: ClassVar[str] = "KL(p*||pi_t) <= (1 - eta tau)^t KL_0; tau = 0: KL does not increase, last iterate converges"

    may_be_plain: ClassVar[bool] = True

    step_size: ArrayLike
    temperature: float = 0.0
    reference: BaseLike = "first"

    def refuses(self, problem: Problem, oracle: Oracle) -> str | None:
        """Return a reason for steps with eta tau > 1."""
        return too_long(self.eta, self.temperature)

    def step(self, state: State, oracle: BoundOracle) -> State:
        """Return the projection of the step with the signal at the look-ahead policy."""
        policy, memory = state.policy, state.memory.bound(self.reference, oracle.problem)
        eta, log_pi = per_cell(self.eta), policy.log_probs
        pulled = mixture(log_pi, memory.log_probs, eta * self.temperature) if self.temperature else log_pi

        def moved(at: Policy) -> Policy:
            feedback = oracle.feedback(at)
            target: FloatArray = pulled + eta * feedback.signal
            return policy.project(target, feedback)

        return State(moved(moved(policy)), memory.after())
