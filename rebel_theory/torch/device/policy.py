"""A batch of neural policies on a device: what algorithms call, on tensors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from rebel_theory.policies import ConjugateGradient, FisherSolver
from rebel_theory.torch.forms import PairForm
from rebel_theory.torch.solvers import RegressionSolver, conjugate_gradient
from rebel_theory.torch.stacked import Stacked

_SCORING_STEPS = 30


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
    fisher: ConjugateGradient  # for projections, and where an algorithm asks for the pseudo-inverse

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
        eta = torch.as_tensor(np.asarray(step_size), dtype=self.theta.dtype)
        return eta.to(self.theta.device, non_blocking=True).expand(len(self.theta))

    def regress(self, pairs: PairForm, step_size: Any) -> Self:
        """Return the solver's answer to the pair regression."""
        return self.with_theta(self.solver.solve(self.net, self.contexts, self.theta, pairs, self._eta(step_size)))

    def natural_step(self, feedback: DeviceFeedback, step_size: Any, solver: FisherSolver) -> Self:
        """Return theta + eta F^+ E[g A], from Fisher-vector products."""
        how = solver if isinstance(solver, ConjugateGradient) else self.fisher
        law = self.probs if feedback.frequencies is None else feedback.frequencies
        d = feedback.weights[..., None]
        push, pull = self.net.linear(self.theta, self.contexts)

        def covariance(z: Tensor) -> Tensor:
            return d * law * (z - (law * z).sum(-1, keepdim=True))

        x = conjugate_gradient(
            lambda v: pull(covariance(push(v))), pull(covariance(feedback.signal)), how.max_iterations, how.tolerance
        )
        return self.moved(x, step_size)

    def gradient(self, cells: Tensor) -> Tensor:
        """Return sum c grad log pi for cells (B, S, A), shape (B, p)."""
        _, pull = self.net.linear(self.theta, self.contexts)
        return pull(cells - self.probs * cells.sum(-1, keepdim=True))

    def moved(self, direction: Tensor, step_size: Any) -> Self:
        """Return the policies at theta + eta * direction."""
        return self.with_theta(self.theta + self._eta(step_size)[:, None] * direction)

    def project(self, log_target: Tensor, feedback: DeviceFeedback) -> Self:
        """Return a minimiser of E_{x~d} KL(target || pi_theta) by Fisher scoring with step halving."""
        target, d = log_target.softmax(-1), feedback.weights[..., None]
        policy, loss = self, _cross_entropy(self.log_probs, target, d)
        for _ in range(_SCORING_STEPS):
            law = policy.probs
            push, pull = self.net.linear(policy.theta, self.contexts)
            x = conjugate_gradient(
                lambda v: pull(d * law * (push(v) - (law * push(v)).sum(-1, keepdim=True))),  # noqa: B023
                pull(d * (target - law)), self.fisher.max_iterations, self.fisher.tolerance,
            )  # fmt: skip
            size = torch.ones_like(loss)
            for _ in range(4):
                value = _cross_entropy(policy.with_theta(policy.theta + size[:, None] * x).log_probs, target, d)
                size = torch.where(value <= loss, size, size / 4)
            policy = policy.with_theta(policy.theta + torch.where(value <= loss, size, 0.0)[:, None] * x)
            loss = torch.minimum(loss, value)
        return policy


def _cross_entropy(log_probs: Tensor, target: Tensor, d: Tensor) -> Tensor:
    return -(d * target * log_probs).sum((-2, -1))
