"""Self-play preference optimisation by squared loss on log-ratios."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.algorithms._comparing import OnlineComparing
from rebel_theory.algorithms._magnets import per_cell
from rebel_theory.algorithms.base import State, check_step_size
from rebel_theory.arrays import FloatArray, expectation
from rebel_theory.least_squares import min_norm
from rebel_theory.oracles import BoundOracle
from rebel_theory.policies import ParametricPolicy
from rebel_theory.problems.base import InvalidProblemError

_STEPS = 100
_HALVINGS = 40
_STATIONARY = 1e-14


@dataclass(frozen=True, eq=False)
class Sppo(OnlineComparing):
    r"""Fit log-ratios to win rates, the log-partition taken as a constant (Wu et al. 2024, arXiv:2405.00675).

    .. math::
        \pi_{t+1} = \arg\min_\pi E_{y\sim\pi_t}\Big[\Big(\ln\tfrac{\pi(y)}{\pi_t(y)}
        - \eta_P\big(P(y \succ \pi_t) - \tfrac12\big)\Big)^2\Big].

    The source derives it from pi_t exp(eta_P P(. beats pi_t)) / Z with ln Z replaced by eta_P / 2. Its eta_P is twice
    the functional eta here, so the target is g = eta l(., pi_t). Since E g = 0 and pi must sum to 1, the target cannot
    be met: with kappa >= 0 such that the row sums to 1, a tabular class attains ln(pi/pi_t) = f with
    f + kappa e^f = g, that is f = g - W(kappa e^g), W Lambert's function. Large win rates are damped: f grows like
    ln g. ``log_partition="exact"`` keeps Z, which is Hedge and what the theorem is about. Win rates are means over
    direct comparisons of the policy's answers, centred under pi_t, as P is.

    Parameters
    ----------
    step_size : float or array
        The functional eta, half of the source's.
    log_partition : "constant" or "exact"
    """

    name: ClassVar[str] = "SPPO"
    key: ClassVar[str] = "sppo"
    source: ClassVar[str] = "Wu et al. 2024 (arXiv:2405.00675), section 4"
    update: ClassVar[str] = "argmin E_{y ~ pi_t}[(ln pi/pi_t(y) - eta l(y, pi_t))^2]"
    conditions: ClassVar[str] = 'preference game; fresh comparisons; the rate: log_partition="exact", exact tabular'
    rate: ClassVar[str] = "average iterate: duality gap O(1/sqrt(T)) with the exact log-partition"

    step_size: ArrayLike
    log_partition: Literal["constant", "exact"] = "constant"

    def __post_init__(self) -> None:
        check_step_size("Sppo", self.step_size)
        if self.log_partition not in ("constant", "exact"):
            raise InvalidProblemError("Sppo", [f'log_partition is {self.log_partition!r}: use "constant" or "exact"'])

    def step(self, state: State, oracle: BoundOracle) -> State:
        """Return the minimiser of the squared loss, or the projected Hedge step."""
        policy = state.policy
        feedback = oracle.comparisons(policy, policy).feedback()
        mean = expectation(policy.probs, feedback.signal)[..., None]
        target = per_cell(self.eta) * np.where(feedback.visited[..., None], feedback.signal - mean, 0.0)
        if self.log_partition == "exact":
            return State(policy.project(policy.log_probs + target, feedback))
        if isinstance(policy, ParametricPolicy):
            return State(_fit(policy, target, feedback.weights))
        return State(policy.project(policy.log_probs + constrained_fit(policy.probs, target), feedback))


def constrained_fit(probs: FloatArray, target: FloatArray) -> FloatArray:
    """Return f (..., A) minimising E_pi (f - g)^2 subject to E_pi e^f = 1, for targets g with E_pi g >= 0.

    f = g - W(kappa e^g) = g - omega(c + g), c = ln kappa, omega Wright's function (no overflow), and
    E e^f = e^-c E omega(c + g) falls in c: Newton on its logarithm, kept inside a bracket.
    """
    from scipy.special import wrightomega

    largest = np.maximum(target.max(axis=-1, keepdims=True), 0.0)
    low, high = np.full(largest.shape, -80.0), np.log1p(largest) + 2.0
    excess = np.expm1(np.minimum(target, 30.0))
    c = np.clip(np.log(np.maximum(expectation(probs, excess)[..., None], 1e-30)), low, high)
    for _ in range(_STEPS):
        omega = wrightomega(c + target)
        total = expectation(probs, omega)[..., None]
        value = np.log(total) - c  # ln E e^f, to be 0
        low, high = np.where(value > 0, c, low), np.where(value > 0, high, c)
        slope = expectation(probs, omega / (1 + omega))[..., None] / total - 1
        with np.errstate(divide="ignore", invalid="ignore"):
            newton = c - value / slope
        inside = (newton > low) & (newton < high)
        new = np.where(inside, newton, (low + high) / 2)
        done = np.abs(value) <= 4e-16
        if done.all() or (np.abs(new - c) <= 1e-15 * (1 + np.abs(c))).all():
            break
        c = np.where(done, c, new)
    fitted: FloatArray = target - wrightomega(c + target)
    return fitted


def _fit(policy: ParametricPolicy, target: FloatArray, weights: FloatArray) -> ParametricPolicy:
    """Return a local minimiser of E_{x~d, y~pi_t}(ln pi_theta/pi_t - g)^2 by Gauss-Newton with step halving."""
    old, law = policy.log_probs, policy.probs
    lead = np.broadcast_shapes(policy.theta.shape[:-1], target.shape[:-2], weights.shape[:-1])
    root = np.sqrt(np.broadcast_to(weights[..., None] * law, (*lead, *law.shape[-2:])))
    policy = policy.with_theta(np.broadcast_to(policy.theta, (*lead, policy.theta.shape[-1])))

    def misfit(at: ParametricPolicy) -> FloatArray:
        with np.errstate(invalid="ignore"):
            return np.where(root > 0, root * (target - (at.log_probs - old)), 0.0)

    loss = (misfit(policy) ** 2).sum(axis=(-2, -1))
    for _ in range(_STEPS):
        jacobian = policy.jacobian()
        scores = root[..., None] * (jacobian - np.matmul(policy.probs[..., None, :], jacobian))
        scale = root * np.sqrt((jacobian**2).sum(axis=-1))
        direction = min_norm(
            scores.reshape(*lead, -1, scores.shape[-1]), misfit(policy).reshape(*lead, -1), scale.reshape(*lead, -1)
        )
        size = np.ones(lead)
        for _ in range(_HALVINGS):
            trial = policy.with_theta(policy.theta + size[..., None] * direction)
            value = (misfit(trial) ** 2).sum(axis=(-2, -1))
            worse = ~(value <= loss)
            if not worse.any():
                break
            size = np.where(worse, 0.5 * size, size)
        size = np.where(worse, 0.0, size)
        policy = policy.with_theta(policy.theta + size[..., None] * direction)
        loss = (misfit(policy) ** 2).sum(axis=(-2, -1))
        if np.abs(size[..., None] * direction).max() <= _STATIONARY * (1 + np.abs(policy.theta).max()):
            break
    return policy
