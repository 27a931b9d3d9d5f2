"""The pair regression over completions: first-order steps by micro-batches, or Gauss-Newton by products."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from rebel_theory.torch.solvers import conjugate_gradient

if TYPE_CHECKING:
    from rebel_theory.torch.sequences.oracle import SequencePairs
    from rebel_theory.torch.sequences.policy import SequencePolicy


class SequenceSolver(Protocol):
    """Solves the pair regression of a sequence policy."""

    def solve_pairs(self, policy: SequencePolicy, pairs: SequencePairs, eta: float) -> Tensor:
        """Return parameters (p,)."""


def differences(policy: SequencePolicy, pairs: SequencePairs, theta: Tensor, rows: Tensor | slice) -> Tensor:
    """Return ln pi_theta/pi_t (y) - ln pi_theta/pi_t (y'), shape (n,)."""
    prompts = pairs.prompts.rows(rows)
    first, second = pairs.first.rows(rows), pairs.second.rows(rows)
    moved = policy.log_probs(prompts, first, theta) - policy.log_probs(prompts, second, theta)
    return moved - (pairs.start_first[rows] - pairs.start_second[rows])


def pair_loss(policy: SequencePolicy, pairs: SequencePairs, eta: float, theta: Tensor | None = None) -> float:
    """Return the REBEL loss of the sample, mean ((1/eta) difference - relative reward)^2, in squared rewards."""
    at = policy.theta if theta is None else theta
    totals = []
    with torch.no_grad():
        for part in policy.micro_batches(len(pairs)):
            z = differences(policy, pairs, at, part)
            totals.append(((z / eta - pairs.relative[part]) ** 2).sum().double())
        return float(torch.stack(totals).sum()) / len(pairs)


Loss: TypeAlias = "Callable[[Tensor, Tensor], Tensor]"


def squared(eta: float) -> Loss:
    """Return the loss of a log-ratio difference and a relative reward, (difference - eta relative)^2."""
    return lambda z, relative: (z - eta * relative) ** 2


def logistic(beta: float, ridge: float) -> Loss:
    """Return DPO's loss of a log-ratio difference and a comparison in {-1, 0, 1}, 0 a tie; plus ridge/2 margin^2."""

    def of(z: Tensor, relative: Tensor) -> Tensor:
        margin = beta * z
        loss: Tensor = torch.nn.functional.softplus(-margin) + (1 - relative) / 2 * margin + ridge / 2 * margin**2
        return loss

    return of


def minimised(policy: SequencePolicy, pairs: SequencePairs, loss: Loss, how: Any) -> Tensor:
    """Return theta after K optimiser steps on the mean loss, by random minibatches of pairs.

    The order of the pairs depends on ``how.seed`` and on the queries spent before them: another one at every update,
    the same one in a run that is resumed. The optimiser starts afresh at every regression.
    """
    n = len(pairs)
    size = n if how.contexts_per_step is None else min(how.contexts_per_step, n)
    draws = torch.Generator().manual_seed(int(np.random.SeedSequence([how.seed, pairs.number]).generate_state(1)[0]))
    per_epoch = n // size
    epochs = [torch.randperm(n, generator=draws)[: per_epoch * size] for _ in range(-(-how.steps // per_epoch))]
    chosen = torch.cat(epochs).view(-1, size)[: how.steps].to(policy.device)  # at once: every copy waits for the device
    theta = policy.theta.detach().clone().requires_grad_(True)
    method = how.optimiser([theta], lr=how.lr)
    for rows in chosen:
        method.zero_grad()
        for part in policy.micro_batches(len(rows)):
            some = rows[part]
            value = loss(differences(policy, pairs, theta, some), pairs.relative[some])
            torch.autograd.backward(value.sum() / len(rows))
        method.step()
    return theta.detach()


def levenberg_marquardt(policy: SequencePolicy, pairs: SequencePairs, eta: float, how: Any) -> Tensor:
    """Return a local minimiser of the pair loss by damped Gauss-Newton steps; a step that raises it is taken back."""
    n, theta = len(pairs), policy.theta.detach()
    goal = eta * pairs.relative
    damping, start, loss = how.damping, None, None
    for _ in range(how.max_steps):
        z, push, pull = products(policy, pairs, theta)
        loss = ((z - goal) ** 2).mean()
        b = pull((goal - z) / n)
        size = float(b.norm())
        start = size if start is None else start
        if size <= how.tolerance * start:
            break
        while damping < 1e12:
            x = conjugate_gradient(
                lambda v: pull(push(v[0]) / n)[None],  # noqa: B023 - used at once
                b[None], how.cg_iterations, how.cg_tolerance, damping,
            )  # fmt: skip
            with torch.no_grad():
                moved = differences(policy, pairs, theta + x[0], slice(None))
            if ((moved - goal) ** 2).mean() < loss:
                break
            damping *= 5
        else:
            break
        theta, damping = theta + x[0], max(0.2 * damping, 1e-14)
    return theta


def products(
    policy: SequencePolicy, pairs: SequencePairs, theta: Tensor
) -> tuple[Tensor, Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """Return the differences (n,), v -> J v and c -> J^T c; J v by differentiating J^T c twice, J never formed."""
    live = theta.detach().requires_grad_(True)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):  # fused kernels differentiate once
        z = differences(policy, pairs, live, slice(None))
    probe = torch.zeros_like(z, requires_grad=True)
    (pulled,) = torch.autograd.grad(z, live, probe, create_graph=True)

    def push(v: Tensor) -> Tensor:
        return torch.autograd.grad(pulled, probe, v, retain_graph=True)[0]

    def pull(c: Tensor) -> Tensor:
        return torch.autograd.grad(z, live, c, retain_graph=True)[0]

    return z.detach(), push, pull


def pair_direction(
    policy: SequencePolicy, pairs: SequencePairs, max_iterations: int, tolerance: float, damping: float = 0.0,
    stop_early: bool = True,
) -> Tensor:  # fmt: skip
    """Return F^+ E[(g_y - g_y')(r_y - r_y')]/2 (p,), F the pair Fisher: of Gauss-Newton's system both halves cancel."""
    _, push, pull = products(policy, pairs, policy.theta)
    n = len(pairs)
    b = pull(pairs.relative / n)
    x = conjugate_gradient(
        lambda v: pull(push(v[0]) / n)[None], b[None], max_iterations, tolerance, damping, stop_early
    )
    return x[0]
