"""Trust region policy optimisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.algorithms.base import Algorithm, State, check_options
from rebel_theory.arrays import BoolArray, FloatArray, expectation, kl_rows
from rebel_theory.feedback import Feedback
from rebel_theory.oracles import BoundOracle
from rebel_theory.policies import FisherSolver, Policy, PseudoInverse

_HALVINGS = 60


@dataclass(frozen=True, eq=False)
class Trpo(Algorithm):
    r"""The natural gradient direction, as far as a KL constraint allows (Schulman et al. 2015, arXiv:1502.05477).

    .. math::
        \max_\theta\; E_{x\sim d, y\sim\pi_t}\Big[\frac{\pi_\theta(y|x)}{\pi_t(y|x)} A\Big]
        \quad\text{s.t.}\quad E_x KL(\pi_t \| \pi_\theta) \le \delta.

    The direction is x = F^+ E[g A]; the first try is the length at which the quadratic model of the divergence meets
    the constraint, sqrt(2 delta / (x . F x)) with E[g A] for F x (equal when the solver is exact), halved until the
    constraint holds and the surrogate does not fall. After 60 halvings the policy stays.

    Parameters
    ----------
    step_size : float or array
        The largest eta that is tried; the constraint usually asks for less.
    max_kl : float > 0
        delta, in nats.
    solver : PseudoInverse(), Damped(damping) or ConjugateGradient(max_iterations, tolerance)
    """

    name: ClassVar[str] = "TRPO"
    key: ClassVar[str] = "trpo"
    source: ClassVar[str] = "Schulman et al. 2015 (arXiv:1502.05477), section 6 and appendix C"
    update: ClassVar[str] = "theta_{t+1} = theta_t + eta_t F^+ E[g A], the longest halved step with KL <= delta"
    conditions: ClassVar[str] = "a differentiable class"
    rate: ClassVar[str] = "monotone improvement up to a penalty (theorem 1 there); no rate for the line search"

    step_size: ArrayLike
    max_kl: float = 0.01
    solver: FisherSolver = PseudoInverse()  # noqa: RUF009 - immutable

    def __post_init__(self) -> None:
        check_options(self, positive=["max_kl"])

    def step(self, state: State, oracle: BoundOracle) -> State:
        """Return the policy at the accepted step."""
        old, feedback = state.policy, oracle.feedback(state.policy)
        frequencies = old.probs if feedback.frequencies is None else feedback.frequencies
        advantage = feedback.signal - expectation(frequencies, feedback.signal)[..., None]
        cells = feedback.weights[..., None] * frequencies * advantage
        direction = old.natural_direction(feedback, self.solver)
        curvature = np.abs(_inner(old.gradient(cells) * direction, old.parameter_axes))  # x F x = E[g A] . x
        with np.errstate(divide="ignore"):
            eta = np.minimum(np.sqrt(2 * self.max_kl / curvature), self.eta)
        for _ in range(_HALVINGS):
            new = old.moved(direction, eta)
            refused = self._refused(old, new, feedback, cells)
            if not refused.any():
                return State(new)
            eta = np.where(refused, eta / 2, eta)
        return State(old.moved(direction, np.where(refused, 0.0, eta)))

    def _refused(self, old: Policy, new: Policy, feedback: Feedback, cells: FloatArray) -> BoolArray:
        """Return the mask (...) of instances whose step is too far, or lowers the surrogate."""
        divergence = expectation(feedback.weights, kl_rows(old.log_probs, new.log_probs))
        with np.errstate(invalid="ignore"):
            moved = np.where(old.log_probs > -np.inf, new.log_probs - old.log_probs, 0.0)
        # sum cells (rho - 1): sum cells is 0 up to rounding, and the difference keeps small gains
        gain = (cells * np.expm1(np.minimum(moved, 700.0))).sum(axis=(-2, -1))
        accepted: BoolArray = (divergence <= self.max_kl) & (gain >= 0)
        return ~accepted


def _inner(product: FloatArray, n_axes: int) -> FloatArray:
    """Return the sum (...) over the parameters' axes."""
    total: FloatArray = product.sum(axis=tuple(range(-n_axes, 0)))
    return total
