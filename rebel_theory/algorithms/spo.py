"""Self-play preference optimisation with Hedge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from numpy.typing import ArrayLike

from rebel_theory.algorithms._comparing import OnlineComparing
from rebel_theory.algorithms._magnets import per_cell
from rebel_theory.algorithms.base import State, check_step_size
from rebel_theory.oracles import BoundOracle


@dataclass(frozen=True, eq=False)
class Spo(OnlineComparing):
    r"""Reward an answer by its win rate against the policy's other answers (Swamy et al. 2024, arXiv:2401.04056).

    .. math::
        \pi_{t+1} \propto \pi_t \exp(\eta\, l(\cdot, \pi_t)), \qquad l = 2P - 1.

    Any no-regret learner will do; this is Hedge, and a comparison of y with y' ~ pi_t scores both (the source compares
    all answers of a batch). With exact feedback it is mirror descent, and preference REBEL (E9).

    Parameters
    ----------
    step_size : float or array
        The functional eta; twice it multiplies win rates P.
    """

    name: ClassVar[str] = "SPO"
    key: ClassVar[str] = "spo"
    source: ClassVar[str] = "Swamy et al. 2024 (arXiv:2401.04056), algorithm 1, with Hedge"
    update: ClassVar[str] = (
        "pi_{t+1} prop. to pi_t exp(eta l(., pi_t)), l by comparisons among the policy's own answers"
    )
    conditions: ClassVar[str] = "preference game; fresh comparisons; exact tabular for the rate, eta = sqrt(2 ln n/T)"
    rate: ClassVar[str] = "average iterate: duality gap <= 2 sqrt(2 ln n/T) (P1); the last iterate cycles (P2)"

    step_size: ArrayLike

    def __post_init__(self) -> None:
        check_step_size("Spo", self.step_size)

    def step(self, state: State, oracle: BoundOracle) -> State:
        """Return the projection of the Hedge step."""
        feedback = oracle.comparisons(state.policy, state.policy).feedback()
        target = state.policy.log_probs + per_cell(self.eta) * feedback.signal
        return State(state.policy.project(target, feedback))
