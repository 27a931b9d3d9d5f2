"""Natural policy gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from numpy.typing import ArrayLike

from rebel_theory.algorithms.base import Algorithm, State, check_step_size
from rebel_theory.oracles import BoundOracle
from rebel_theory.policies import FisherSolver, PseudoInverse


@dataclass(frozen=True, eq=False)
class NaturalPolicyGradient(Algorithm):
    r"""Follow the natural policy gradient (Kakade 2001; Agarwal et al. 2021, JMLR 22).

    .. math::
        \theta_{t+1} = \theta_t + \eta F^+ E_{x\sim d, y\sim\pi_t}[g A], \qquad F = E[g g^\top],
        \quad g = \nabla_\theta \ln \pi_{\theta_t}(y|x).

    The Fisher system is formed from score vectors and solved; nothing here knows of mirror descent.

    Parameters
    ----------
    step_size : float or array
        The *functional* eta. The natural gradient of V in a discounted MDP uses eta_npg = (1 - gamma) eta; see
        :func:`rebel_theory.functional_step_size`.
    solver : PseudoInverse(), Damped(damping) or ConjugateGradient(max_iterations, tolerance)
    """

    name: ClassVar[str] = "NPG"
    source: ClassVar[str] = "Kakade 2001; Agarwal et al. 2021 (JMLR 22)"

    step_size: ArrayLike
    solver: FisherSolver = PseudoInverse()  # noqa: RUF009 - immutable

    def __post_init__(self) -> None:
        check_step_size("NaturalPolicyGradient", self.step_size)

    def step(self, state: State, oracle: BoundOracle) -> State:
        """Return theta + eta F^+ E[g A]."""
        feedback = oracle.feedback(state.policy)
        return State(state.policy.natural_step(feedback, self.eta, self.solver))
