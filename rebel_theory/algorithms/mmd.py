"""Magnetic mirror descent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from numpy.typing import ArrayLike

from rebel_theory.algorithms._magnets import Regularised, mixture, per_cell
from rebel_theory.algorithms.base import State
from rebel_theory.oracles import BoundOracle
from rebel_theory.policies import BaseLike


@dataclass(frozen=True, eq=False)
class MagneticMirrorDescent(Regularised):
    r"""Mirror descent with a pull to a magnet m (Sokota et al. 2023, arXiv:2206.05825).

    .. math::
        \pi_{t+1} = \arg\max_p\; \eta\big(\langle q_t, p\rangle - \alpha KL(p\|m)\big) - KL(p\|\pi_t)
        \propto \big[\pi_t\, m^{\eta\alpha} e^{\eta q_t}\big]^{1/(1+\eta\alpha)}.

    Its fixed point in a game is :func:`rebel_theory.regularised_equilibrium` at temperature alpha. The step is the
    source's; a logit moves by eta / (1 + eta alpha) times the signal. L in the condition is the largest payoff:
    |l(p, .) - l(p', .)| <= L ||p - p'||_1, so L = 1 always does for payoffs l = 2 P - 1 in [-1, 1].

    Parameters
    ----------
    step_size : float or array
        eta.
    temperature : float > 0
        alpha, in payoffs l = 2 P - 1.
    reference : "first", "uniform", a policy, or an array (S, A)
        m; "first" is the first policy. The source's magnet is uniform, or moves slowly, which this does not.
    """

    name: ClassVar[str] = "MMD"
    key: ClassVar[str] = "mmd"
    source: ClassVar[str] = "Sokota et al. 2023 (arXiv:2206.05825), section 3"
    update: ClassVar[str] = "pi_{t+1} prop. to [pi_t m^(eta alpha) exp(eta q_t)]^(1/(1+eta alpha))"
    conditions: ClassVar[str] = "game: eta <= alpha / L^2, L = max |l| <= 1; exact tabular feedback"
    rate: ClassVar[str] = "KL(p*_alpha||pi_t) <= (1 + eta alpha)^-t KL_0 to the regularised equilibrium (P4)"

    step_size: ArrayLike
    temperature: float = 0.1
    reference: BaseLike = "first"

    def step(self, state: State, oracle: BoundOracle) -> State:
        """Return the projection of the magnetic step at every visited row."""
        memory = state.memory.bound(self.reference, oracle.problem)
        feedback = oracle.feedback(state.policy)
        eta = per_cell(self.eta)
        short = eta / (1 + eta * self.temperature)  # eta alpha / (1 + eta alpha) is m's share
        target = mixture(state.policy.log_probs, memory.log_probs, short * self.temperature) + short * feedback.signal
        return State(state.policy.project(target, feedback), memory.after())
