"""The pair regression over completions: first-order steps by micro-batches, or Gauss-Newton by products."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

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
    total = 0.0
    with torch.no_grad():
        for part in policy.micro_batches(len(pairs)):
            z = differences(policy, pairs, at, part)
            total += float(((z / eta - pairs.relative[part]) ** 2).sum())
    return total / len(pairs)


def first_order(policy: SequencePolicy, pairs: SequencePairs, eta: float, how: Any) -> Tensor:
    """Return theta after K optimiser steps on mean (difference - eta relative)^2, by random minibatches of pairs."""
    n = len(pairs)
    size = n if how.contexts_per_step is None else min(how.contexts_per_step, n)
    draws = torch.Generator().manual_seed(how.seed)
    theta = policy.theta.detach().clone().requires_grad_(True)
    method = how.optimiser([theta], lr=how.lr)
    order = torch.empty(0, dtype=torch.long)
    for _ in range(how.steps):
        if len(order) < size:  # a new epoch
            order = torch.randperm(n, generator=draws)
        rows, order = order[:size].to(policy.device), order[size:]
        method.zero_grad()
        for part in policy.micro_batches(len(rows)):
            some = rows[part]
            error = differences(policy, pairs, theta, some) - eta * pairs.relative[some]
            torch.autograd.backward((error**2).sum() / len(rows))
        method.step()
    return theta.detach()


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


def pair_direction(policy: SequencePolicy, pairs: SequencePairs, max_iterations: int, tolerance: float) -> Tensor:
    """Return F^+ E[(g_y - g_y')(r_y - r_y')]/2 (p,), F the pair Fisher: of Gauss-Newton's system both halves cancel."""
    _, push, pull = products(policy, pairs, policy.theta)
    n = len(pairs)
    b = pull(pairs.relative / n)
    x = conjugate_gradient(lambda v: pull(push(v[0]) / n)[None], b[None], max_iterations, tolerance)
    return x[0]
