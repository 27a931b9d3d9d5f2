"""Draws by inverse distribution functions, without a look at the result."""

from __future__ import annotations

import torch
from torch import Tensor


def pick(probs: Tensor, stream: torch.Generator) -> Tensor:
    """Return one index a row of probabilities (..., A), shape (...)."""
    edges = probs.cumsum(-1)
    draw = torch.rand(probs.shape[:-1], generator=stream, device=probs.device, dtype=probs.dtype)
    # scaled by the row's own sum, so that rounding never picks an index behind the last
    found = (edges < (draw * edges[..., -1])[..., None]).sum(-1)
    return found.clamp_max(probs.shape[-1] - 1)


def actions(probs: Tensor, rows: Tensor, stream: torch.Generator) -> Tensor:
    """Return an action at each of the rows (B, n) under policies (B, S, A)."""
    return pick(probs.gather(-2, rows[..., None].expand(*rows.shape, probs.shape[-1])), stream)


def states(weights: Tensor, n: int, stream: torch.Generator) -> Tensor:
    """Return n rows a member from weights (B, S); in double precision, for single has 2^24 draws only."""
    edges = weights.double().cumsum(-1)
    draw = torch.rand((len(weights), n), generator=stream, device=weights.device, dtype=edges.dtype)
    return torch.searchsorted(edges, draw * edges[:, -1:]).clamp_max(weights.shape[-1] - 1)
