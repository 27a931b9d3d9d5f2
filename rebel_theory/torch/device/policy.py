"""A batch of neural policies on a device: what algorithms call, on tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from rebel_theory.policies import ConjugateGradient, Damped, FisherSolver
from rebel_theory.torch.forms import PairForm
from rebel_theory.torch.solvers import GaussNewton, RegressionSolver
from rebel_theory.torch.stacked import Stacked

# steps and halvings of a projection: with looks at the device, as many as it takes; without, a fixed number
_SCORING_STEPS = {True: 200, False: 30}
_HALVINGS = {True: 60, False: 6}
_STATIONARY, _ROUNDING = 45, 450  # gradients, in units of rounding: the 1e-14 and 1e-13 of ParametricPolicy.project
_TIE = 2  # of losses, in units of rounding
_PATIENCE = 3  # scoring steps without a halved gradient before rounding level is believed


@dataclass(frozen=True, slots=True, eq=False)
class DeviceFeedback:
    """State weights (B, S), signal (B, S, A), and the action frequencies (B, S, A) of a sample or None."""

    weights: Tensor
    signal: Tensor
    frequencies: Tensor | None = None


@dataclass(frozen=True, eq=False)
class DevicePolicy:
    """B policies of one module: parameters (B, p), contexts (S, k)."""

    net: Stacked
    contexts: Tensor
    theta: Tensor
    solver: RegressionSolver
    fisher: GaussNewton  # the conjugate gradients of natural steps and projections

    @cached_property
    def log_probs(self) -> Tensor:
        """Log-probabilities (B, S, A)."""
        with torch.no_grad():
            return self.net.log_probs(self.theta, self.contexts)

    @cached_property
    def probs(self) -> Tensor:
        """Probabilities (B, S, A)."""
        return self.log_probs.exp()

    def with_theta(self, theta: Tensor) -> Self:
        """Return the policies at other parameters (B, p)."""
        return replace(self, theta=theta.detach())

    def _eta(self, step_size: Any) -> Tensor:
        eta = torch.as_tensor(np.array(step_size, dtype=np.float64), dtype=self.theta.dtype)
        return eta.to(self.theta.device, non_blocking=True).expand(len(self.theta))

    def regress(self, pairs: PairForm, step_size: Any) -> Self:
        """Return the solver's answer to the pair regression."""
        return self.with_theta(self.solver.solve(self.net, self.contexts, self.theta, pairs, self._eta(step_size)))

    def natural_step(self, feedback: DeviceFeedback, step_size: Any, solver: FisherSolver) -> Self:
        """Return theta + eta F^+ E[g A], from Fisher-vector products.

        Nothing here forms scores, so ``PseudoInverse()``, the default of NPG, is conjugate gradients from 0, whose
        limit it is, with the iterations and tolerance of ``fisher``; ``Damped`` adds its damping to them.
        """
        how = self._how(solver)
        law = self.probs if feedback.frequencies is None else feedback.frequencies
        covariance = _covariance(feedback.weights, law)
        advantage = feedback.signal - (law * feedback.signal).sum(-1, keepdim=True)  # keeps more digits
        push, pull = self.net.linear(self.theta, self.contexts)
        return self.moved(how.invert(lambda v: pull(covariance(push(v))), pull(covariance(advantage))), step_size)

    def pair_natural_step(self, pairs: PairForm, step_size: Any, solver: FisherSolver) -> Self:
        """Return the natural step whose Fisher and gradient are estimated from pairs: each half of the form's."""
        push, pull = self.net.linear(self.theta, self.contexts)
        x = self._how(solver).invert(lambda v: 0.5 * pull(pairs.product(push(v))), 0.5 * pull(pairs.moment))
        return self.moved(x, step_size)

    def _how(self, solver: FisherSolver) -> GaussNewton:
        if isinstance(solver, ConjugateGradient):
            return replace(self.fisher, max_iterations=solver.max_iterations, tolerance=solver.tolerance)
        return replace(self.fisher, damping=solver.damping) if isinstance(solver, Damped) else self.fisher

    def gradient(self, cells: Tensor) -> Tensor:
        """Return sum c grad log pi for cells (B, S, A), shape (B, p)."""
        _, pull = self.net.linear(self.theta, self.contexts)
        return pull(cells - self.probs * cells.sum(-1, keepdim=True))

    def moved(self, direction: Tensor, step_size: Any) -> Self:
        """Return the policies at theta + eta * direction."""
        return self.with_theta(self.theta + self._eta(step_size)[:, None] * direction)

    def project(self, log_target: Tensor, feedback: DeviceFeedback) -> Self:
        """Return a minimiser of E_{x~d} KL(target || pi_theta) by Fisher scoring with step halving.

        The method of :meth:`~rebel_theory.policies.parametric.ParametricPolicy.project`, member by member: what is
        done no longer moves. The host looks at the device once a step and halving, or never: see ``stop_early`` of
        :class:`~rebel_theory.torch.solvers.GaussNewton`; then steps and halvings have fixed numbers.
        """
        target, d, look = log_target.softmax(-1), feedback.weights, self.fisher.stop_early
        rounding = torch.finfo(target.dtype).eps
        policy, loss = self, _cross_entropy(self.log_probs, target, d)
        done = torch.zeros_like(loss, dtype=torch.bool)
        smallest, stalled = torch.full_like(loss, torch.inf), torch.zeros_like(loss)
        for _ in range(_SCORING_STEPS[look]):
            push, pull = self.net.linear(policy.theta, self.contexts)
            apart = d[..., None] * (target - policy.probs)
            # what does not sum to 0 in a row is rounding outside the range of the Fisher matrix: no step explains it
            gradient = pull(apart - policy.probs * apart.sum(-1, keepdim=True))
            largest = gradient.abs().amax(-1)
            stalled = torch.where(largest < 0.5 * smallest, 0.0, stalled + 1)
            smallest = torch.minimum(smallest, largest)
            done = done | (largest <= _STATIONARY * rounding)
            done = done | ((stalled >= _PATIENCE) & (largest <= _ROUNDING * rounding))
            if look and bool(done.all()):
                break
            covariance = _covariance(d, policy.probs)
            direction = self.fisher.invert(lambda v: pull(covariance(push(v))), gradient)  # noqa: B023 - used at once
            policy, loss, done = policy._halve(direction, loss, target, d, done)
        return policy

    def _halve(
        self, direction: Tensor, loss: Tensor, target: Tensor, d: Tensor, done: Tensor
    ) -> tuple[Self, Tensor, Tensor]:
        """Return the policy after the longest step 2^-k that does not raise the loss, and which members are done."""
        look = self.fisher.stop_early
        size = torch.where(done, 0.0, torch.ones_like(loss))
        # near the minimum the loss is flat to its last digits while the gradient is not: a tie is progress
        most = loss + _TIE * torch.finfo(loss.dtype).eps * loss.abs()
        for _ in range(_HALVINGS[look]):
            trial = self.with_theta(self.theta + size[:, None] * direction)
            value = _cross_entropy(trial.log_probs, target, d)
            worse = ~(value <= most) & ~done
            if look and not bool(worse.any()):
                return trial, value, done
            size = torch.where(worse, 0.5 * size, size)
        size = torch.where(worse, 0.0, size)
        trial = self.with_theta(self.theta + size[:, None] * direction)
        return trial, _cross_entropy(trial.log_probs, target, d), size == 0


def _covariance(d: Tensor, law: Tensor) -> Callable[[Tensor], Tensor]:
    """Return z -> d (diag(law) - law law^T) z: the scores' weights, the mean score taken out."""

    def product(z: Tensor) -> Tensor:
        return d[..., None] * law * (z - (law * z).sum(-1, keepdim=True))

    return product


def _cross_entropy(log_probs: Tensor, target: Tensor, d: Tensor) -> Tensor:
    return -(d[..., None] * target * log_probs).sum((-2, -1))
