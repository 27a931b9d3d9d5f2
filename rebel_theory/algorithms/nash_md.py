"""Nash mirror descent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.algorithms._magnets import Regularised, mixture, per_cell, too_long
from rebel_theory.algorithms.base import State
from rebel_theory.arrays import FloatArray
from rebel_theory.oracles import BoundOracle, Oracle
from rebel_theory.policies import BaseLike, TabularPolicy
from rebel_theory.problems import Problem
from rebel_theory.problems.base import InvalidProblemError


@dataclass(frozen=True, eq=False)
class NashMD(Regularised):
    r"""Play against a geometric mixture of the policy and the reference (Munos et al. 2023, arXiv:2312.00886).

    .. math::
        \pi_t^{mix} \propto \pi_t^{1-\eta\tau} m^{\eta\tau}, \qquad
        \pi_{t+1} \propto \pi_t^{mix} \exp(\eta\, q(\pi_t^{mix})).

    The source pays P, here l = 2 P - 1 is paid: its eta_P and tau_P are eta = eta_P / 2 and tau = 2 tau_P
    (:func:`rebel_theory.payoff_step_size`, :func:`rebel_theory.payoff_temperature`), with the same product eta tau.
    With a constant step the limit is not the regularised equilibrium but m exp(L p / tau) with p the equilibrium at
    temperature tau / (1 - eta tau): the mixture is an equilibrium, at a temperature a little too high. The theorem's
    steps eta_t = 2 / (tau (t + 2)), t = 0, 1, ..., remove that bias; ``step_size`` is then not used, and the first
    step (eta tau = 1) forgets the first policy.

    Parameters
    ----------
    step_size : float or array
        The functional eta; eta tau may be 1 at most.
    temperature : float > 0
        tau, in payoffs l = 2 P - 1.
    reference : "first", "uniform", a policy, or an array (S, A)
        m; "first" is the first policy.
    schedule : "constant" or "theorem"
    """

    name: ClassVar[str] = "Nash-MD"
    key: ClassVar[str] = "nash-md"
    source: ClassVar[str] = "Munos et al. 2023 (arXiv:2312.00886), section 6 and theorem 1"
    update: ClassVar[str] = "pi_{t+1} prop. to pi_mix exp(eta q(pi_mix)), pi_mix prop. to pi_t^(1-eta tau) m^(eta tau)"
    conditions: ClassVar[str] = 'game: eta tau <= 1; the rate: schedule="theorem", exact tabular feedback'
    rate: ClassVar[str] = "KL(p*_tau||pi_T) <= 8 / (tau_P^2 (T + 1)), tau_P = tau / 2 (P5)"

    step_size: ArrayLike
    temperature: float = 0.1
    reference: BaseLike = "first"
    schedule: Literal["constant", "theorem"] = "constant"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.schedule not in ("constant", "theorem"):
            raise InvalidProblemError("NashMD", [f'schedule is {self.schedule!r}: use "constant" or "theorem"'])

    def refuses(self, problem: Problem, oracle: Oracle) -> str | None:
        """Return a reason for constant steps with eta tau > 1."""
        return too_long(self.eta, self.temperature) if self.schedule == "constant" else None

    def steps(self, t: int) -> FloatArray:
        """Return eta_t (...) of the update number t = 0, 1, ...."""
        return self.eta if self.schedule == "constant" else np.full(self.eta.shape, 2 / (self.temperature * (t + 2)))

    def step(self, state: State, oracle: BoundOracle) -> State:
        """Return the projection of the step from the mixture, with the signal at the mixture."""
        memory = state.memory.bound(self.reference, oracle.problem)
        eta = per_cell(self.steps(memory.n_updates))
        mixed = TabularPolicy._trusted(mixture(state.policy.log_probs, memory.log_probs, eta * self.temperature))
        feedback = oracle.feedback(mixed)
        target = mixed.log_probs + eta * feedback.signal
        return State(state.policy.project(target, feedback), memory.after())
