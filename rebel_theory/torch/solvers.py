"""How a neural policy solves its regression: Gauss-Newton, Levenberg-Marquardt, first-order steps.

All work on a batch of parameters (B, p) and a :class:`~rebel_theory.torch.forms.PairForm`; members do not see each
other. Nothing here knows of rewards or problems.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from rebel_theory.torch.forms import PairForm, pair_loss
from rebel_theory.torch.stacked import Stacked


class RegressionSolver(Protocol):
    """Solves the pair regression from theta_t."""

    def solve(self, net: Stacked, contexts: Tensor, theta: Tensor, form: PairForm, eta: Tensor) -> Tensor:
        """Return parameters (B, p) from theta (B, p) and step sizes (B,)."""


def conjugate_gradient(
    product: Callable[[Tensor], Tensor],
    b: Tensor,
    max_iterations: int,
    tolerance: float,
    damping: Tensor | float = 0.0,
    stop_early: bool = True,
) -> Tensor:
    """Return x with (product + damping) x = b (B, p), each member stopped at ``tolerance`` times its |b|.

    Without damping, and started at 0, the iterates stay in the range, so the limit is the minimum-norm solution.
    Of a right-hand side with a part outside the range, rounding mostly, the iterate of least residual is returned: the
    later ones run away. ``stop_early=False`` runs ``max_iterations`` rounds, in which members that are done stand
    still: the same answer without a look at the device.
    """
    x, r = torch.zeros_like(b), b.clone()
    d, norm = r.clone(), (r * r).sum(-1, keepdim=True)
    best, least = x, norm
    target = max(tolerance, 8 * torch.finfo(b.dtype).eps) ** 2 * norm  # below its rounding a residual only wanders
    for _ in range(max_iterations):
        active = norm > target
        if stop_early and not bool(active.any()):
            break
        image = product(d) + damping * d
        curvature = (d * image).sum(-1, keepdim=True)
        good = active & (curvature > 0)
        step = torch.where(good, norm / torch.where(good, curvature, 1.0), 0.0)
        x, r = x + step * d, r - step * image
        new = (r * r).sum(-1, keepdim=True)
        d = r + torch.where(good, new / torch.where(norm > 0, norm, 1.0), 0.0) * d
        best, least = torch.where(new < least, x, best), torch.minimum(new, least)
        norm = torch.where(good, new, torch.zeros_like(norm))  # a direction without curvature ends the member
    return best


@dataclass(frozen=True, slots=True)
class Minimise:
    """Damped Gauss-Newton to convergence on the dense Jacobian, as small classes do; few parameters only."""


@dataclass(frozen=True, slots=True)
class GaussNewton:
    """One linearised solve by conjugate gradients on Jacobian products: with mu = pi_t the natural gradient (E2).

    Parameters
    ----------
    max_iterations, tolerance
        Of the conjugate gradients; the tolerance is relative to the right-hand side.
    damping
        Added to J^T W J.
    stop_early
        End the conjugate gradients when all members are done, for which the host must wait for the device at every
        iteration. Without, each solve takes exactly ``max_iterations`` and a whole update is queued without waiting:
        give as many as the class needs, at most its number of parameters.
    """

    max_iterations: int = 200
    tolerance: float = 1e-12
    damping: float = 0.0
    stop_early: bool = True

    def __post_init__(self) -> None:
        if self.max_iterations < 1 or self.tolerance < 0 or self.damping < 0:
            raise ValueError(f"{self}: expected max_iterations >= 1, tolerance >= 0 and damping >= 0")

    def solve_pairs(self, policy: Any, pairs: Any, eta: float) -> Tensor:
        """Return theta + eta times the same on pairs of completions; the damping is added to J^T J / n."""
        from rebel_theory.torch.sequences.solvers import pair_direction

        how = self.max_iterations, self.tolerance, self.damping, self.stop_early
        x = pair_direction(policy, pairs, *how)
        moved: Tensor = policy.theta + eta * x
        return moved

    def solve(self, net: Stacked, contexts: Tensor, theta: Tensor, form: PairForm, eta: Tensor) -> Tensor:
        """Return theta + eta (J^T W J + damping)^{-1} J^T m."""
        push, pull = net.linear(theta, contexts)
        return theta + eta[:, None] * self.invert(lambda v: pull(form.product(push(v))), pull(form.moment))

    def invert(self, product: Callable[[Tensor], Tensor], b: Tensor) -> Tensor:
        """Return x with (product + damping) x = b by conjugate gradients, shape (B, p)."""
        return conjugate_gradient(product, b, self.max_iterations, self.tolerance, self.damping, self.stop_early)


@dataclass(frozen=True, slots=True)
class LevenbergMarquardt:
    """Damped Gauss-Newton steps to convergence; a step that does not lower a member's loss is taken back.

    Parameters
    ----------
    max_steps, tolerance
        A member is done when its gradient is below ``tolerance`` times the first one, or no step lowers its loss.
    damping
        The first damping, relative to the mean diagonal of J^T W J.
    cg_iterations, cg_tolerance
        Of the inner conjugate gradients.
    """

    max_steps: int = 200
    tolerance: float = 1e-10
    damping: float = 1e-4
    cg_iterations: int = 200
    cg_tolerance: float = 1e-10

    def solve_pairs(self, policy: Any, pairs: Any, eta: float) -> Tensor:
        """Return a local minimiser of the pair loss on pairs of completions."""
        from rebel_theory.torch.sequences.solvers import levenberg_marquardt

        return levenberg_marquardt(policy, pairs, eta, self)

    def solve(self, net: Stacked, contexts: Tensor, theta: Tensor, form: PairForm, eta: Tensor) -> Tensor:
        """Return a local minimiser of the pair loss."""
        first = net.logits(theta, contexts)
        z = torch.zeros_like(first)
        loss = pair_loss(form, z, eta)
        damping = torch.full_like(eta, self.damping)[:, None]
        start: Tensor | None = None
        for _ in range(self.max_steps):
            push, pull = net.linear(theta, contexts)
            b = pull(eta[:, None, None] * form.moment - form.product(z))
            size = b.norm(dim=-1)
            start = size if start is None else start
            moving = (size > self.tolerance * start) & (damping[:, 0] < 1e12)
            if not bool(moving.any()):
                break
            x = conjugate_gradient(
                lambda v: pull(form.product(push(v))),  # noqa: B023 - used at once
                b, self.cg_iterations, self.cg_tolerance, damping,
            )  # fmt: skip
            trial = theta + torch.where(moving[:, None], x, torch.zeros_like(x))
            moved = net.logits(trial, contexts) - first
            value = pair_loss(form, moved, eta)
            better = moving & (value < loss)
            theta = torch.where(better[:, None], trial, theta)
            z = torch.where(better[:, None, None], moved, z)
            loss = torch.where(better, value, loss)
            factor = torch.where(better, 0.2, torch.where(moving, 5.0, 1.0))[:, None]
            damping = (damping * factor).clamp_min(1e-14)
        return theta


@dataclass(frozen=True, slots=True)
class FirstOrder:
    """K steps of an optimiser of torch on the pair loss, on all contexts or on a random part of them at each step.

    K = 1 with plain SGD is an RLOO step (claim E5); many small steps approach the exact regression (E6).

    Parameters
    ----------
    steps : int
        K.
    lr : float
        The optimiser's step on theta. The loss is that of log-ratios, eta^2 times the paper's.
    optimiser : callable
        Such as ``torch.optim.SGD``; called with [theta] and ``lr``.
    contexts_per_step : int, optional
        Drawn without replacement at each step, the loss scaled to stay unbiased; all by default.
    seed : int
        Of the draws; over completions every update draws another order.
    """

    steps: int = 100
    lr: float = 1e-2
    optimiser: Callable[..., Any] = torch.optim.Adam
    contexts_per_step: int | None = None
    seed: int = 0

    def solve_pairs(self, policy: Any, pairs: Any, eta: float) -> Tensor:
        """Return theta after K steps on pairs of completions."""
        from rebel_theory.torch.sequences.solvers import minimised, squared

        return minimised(policy, pairs, squared(eta), self)

    def solve(self, net: Stacked, contexts: Tensor, theta: Tensor, form: PairForm, eta: Tensor) -> Tensor:
        """Return theta after K steps."""
        with torch.no_grad():
            first = net.logits(theta, contexts)
        n = len(contexts)
        part = n if self.contexts_per_step is None else min(self.contexts_per_step, n)
        draws = torch.Generator().manual_seed(self.seed)
        chosen: Iterable[Tensor | None] = [None] * self.steps
        if part < n:  # sent at once: every copy waits for the device
            orders = [torch.randperm(n, generator=draws)[:part] for _ in range(self.steps)]
            chosen = torch.stack(orders).to(theta.device) if orders else []
        live = theta.detach().clone().requires_grad_(True)
        method = self.optimiser([live], lr=self.lr)
        for rows in chosen:
            method.zero_grad()
            z = net.logits(live, contexts) - first
            if rows is not None:
                mask = torch.zeros(n, dtype=z.dtype, device=z.device).index_fill_(0, rows, n / part)[:, None]
                value = (z * mask * form.product(z)).sum() - 2 * (eta[:, None, None] * z * mask * form.moment).sum()
            else:
                value = pair_loss(form, z, eta).sum()
            torch.autograd.backward(value)
            method.step()
        return live.detach()
