"""REFUEL: REBEL over several turns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from numpy.typing import ArrayLike

from rebel_theory.algorithms.base import Algorithm, State, check_step_size
from rebel_theory.oracles import BoundOracle, Oracle
from rebel_theory.policies import OnPolicy
from rebel_theory.problems import FiniteHorizonMDP, Problem


@dataclass(frozen=True, eq=False)
class Refuel(Algorithm):
    r"""Roll in to a random step, reset there, regress differences of returns (Gao et al. 2024, arXiv:2410.04612).

    .. math::
        \min_\theta E\Big[\Big(\tfrac1\eta\Big(\ln\tfrac{\pi_\theta(y|x_h)}{\pi_t(y|x_h)}
        - \ln\tfrac{\pi_\theta(y'|x_h)}{\pi_t(y'|x_h)}\Big) - (R(x_h, y) - R(x_h, y'))\Big)^2\Big]

    with h uniform over the steps, x_h from rolling in with pi_t, y and y' ~ pi_t, and R the return of each when pi_t
    goes on from there. All steps enter one regression, so a class that shares parameters over the turns is fitted
    jointly; Q-values instead of rewards are what sets it apart from REBEL on whole episodes.

    Parameters
    ----------
    step_size : float or array
        The functional eta.
    """

    name: ClassVar[str] = "REFUEL"
    key: ClassVar[str] = "refuel"
    source: ClassVar[str] = "Gao et al. 2024 (arXiv:2410.04612), algorithm 1"
    update: ClassVar[str] = "REBEL's regression on (x_h, y, y', R - R'), h uniform, R the returns after a reset"
    conditions: ClassVar[str] = "a finite horizon with resets; realisable differences of Q"
    rate: ClassVar[str] = "that of natural policy gradient with the regression's error, under coverage by pi_t"

    step_size: ArrayLike

    def __post_init__(self) -> None:
        check_step_size("Refuel", self.step_size)

    def refuses(self, problem: Problem, oracle: Oracle) -> str | None:
        """Return a reason for problems without turns."""
        return None if isinstance(problem, FiniteHorizonMDP) else "works over the turns of a finite horizon"

    def step(self, state: State, oracle: BoundOracle) -> State:
        """Return the policy that solves the regression over all steps."""
        pairs = oracle.pairs(state.policy, OnPolicy())  # rows (h, s) ~ uniform h, s ~ d_h: the normalised occupancy
        return State(state.policy.regress(pairs, self.eta))
