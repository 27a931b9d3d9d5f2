"""Natural policy gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from numpy.typing import ArrayLike

from rebel_theory.algorithms.base import Algorithm, State, check_step_size
from rebel_theory.oracles import BoundOracle
from rebel_theory.policies import FisherSolver, OnPolicy, PseudoInverse
from rebel_theory.problems.base import InvalidProblemError


@dataclass(frozen=True, eq=False)
class NaturalPolicyGradient(Algorithm):
    r"""Follow the natural policy gradient (Kakade 2001; Agarwal et al. 2021, JMLR 22).

    .. math::
        \theta_{t+1} = \theta_t + \eta F^+ E_{x\sim d, y\sim\pi_t}[g A], \qquad F = E[g g^\top],
        \quad g = \nabla_\theta \ln \pi_{\theta_t}(y|x).

    The Fisher system is formed from score vectors and solved; nothing here knows of mirror descent.

    From samples there are two estimators of the system, equal when expectations are exact. The *plug-in* one takes
    single actions: F and E[g A] under their empirical frequencies. The *pair* one takes the pairs of on-policy REBEL,
    y and y' ~ pi_t, in which the mean score and the baseline cancel:

    .. math::
        F = \tfrac12 E[(g_y - g_{y'})(g_y - g_{y'})^\top], \qquad
        E[g A] = \tfrac12 E[(g_y - g_{y'})(r_y - r_{y'})].

    Its step is one Gauss-Newton step of REBEL on those pairs. On the same actions the two part by cross terms of
    order N^{-1/2}. Both spend two reward queries a pair of ``n_pairs``. From offline data the pair estimator takes
    the logged pairs at their weights, whatever policy logged them.

    Parameters
    ----------
    step_size : float or array
        The *functional* eta. The natural gradient of V in a discounted MDP uses eta_npg = (1 - gamma) eta; see
        :func:`rebel_theory.functional_step_size`.
    solver : PseudoInverse(), Damped(damping) or ConjugateGradient(max_iterations, tolerance)
    fisher : "plug-in" or "pairs"
        What the Fisher system is estimated from.
    """

    name: ClassVar[str] = "NPG"
    key: ClassVar[str] = "npg"
    source: ClassVar[str] = "Kakade 2001; Agarwal et al. 2021 (JMLR 22)"
    update: ClassVar[str] = "theta_{t+1} = theta_t + eta F^+ E[g A]"
    conditions: ClassVar[str] = "a differentiable class; exact tabular for the rate"
    rate: ClassVar[str] = "ln A/(eta T) + 1/((1-gamma)^2 T) in a discounted MDP (C5)"

    step_size: ArrayLike
    solver: FisherSolver = PseudoInverse()  # noqa: RUF009 - immutable
    fisher: Literal["plug-in", "pairs"] = "plug-in"

    def __post_init__(self) -> None:
        check_step_size("NaturalPolicyGradient", self.step_size)
        if self.fisher not in ("plug-in", "pairs"):
            raise InvalidProblemError(
                "NaturalPolicyGradient", [f"fisher is {self.fisher!r}, expected 'plug-in' or 'pairs'"]
            )

    def step(self, state: State, oracle: BoundOracle) -> State:
        """Return theta + eta F^+ E[g A]."""
        if self.fisher == "pairs":
            pairs = oracle.pairs(state.policy, OnPolicy())
            return State(state.policy.pair_natural_step(pairs, self.eta, self.solver))
        feedback = oracle.feedback(state.policy)
        return State(state.policy.natural_step(feedback, self.eta, self.solver))
