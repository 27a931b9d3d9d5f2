"""The block that both ready transformers are made of: attention and a perceptron, normalised before each."""

from __future__ import annotations

from typing import Protocol, TypeAlias

import torch
from torch import Tensor, nn

Pair: TypeAlias = "tuple[Tensor, Tensor]"  # keys and values (n, heads, L, d) of the tokens so far


class Attention(Protocol):
    """How values are mixed."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None) -> Tensor:
        """Return (n, heads, L, d) from queries, keys and values; ``seen``: who may look at whom, all if None."""


class Block(nn.Module):
    """Attention, then a GELU perceptron ``widening`` times as wide, each added to what it read."""

    def __init__(self, width: int, heads: int, dtype: torch.dtype, *, widening: int, attention: Attention) -> None:
        super().__init__()
        self.heads, self.attention = heads, attention
        self.before, self.after = nn.LayerNorm(width, dtype=dtype), nn.LayerNorm(width, dtype=dtype)
        self.qkv = nn.Linear(width, 3 * width, dtype=dtype)
        self.out = nn.Linear(width, width, dtype=dtype)
        hidden = widening * width
        self.up, self.down = nn.Linear(width, hidden, dtype=dtype), nn.Linear(hidden, width, dtype=dtype)

    def forward(self, x: Tensor, seen: Tensor | None = None, past: Pair | None = None) -> tuple[Tensor, Pair]:
        """Return the tokens (n, L, width) after the block, and keys and values with those of ``past`` before them."""
        n, length, width = x.shape
        q, k, v = self.qkv(self.before(x)).view(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        mixed = self.attention(q, k, v, seen)
        x = x + self.out(mixed.transpose(1, 2).reshape(n, length, width))
        x = x + self.down(nn.functional.gelu(self.up(self.after(x))))
        return x, (k, v)


def fused(q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None) -> Tensor:
    """Return the attention of PyTorch's own kernel, the fastest."""
    return nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=seen)


def written_out(q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None) -> Tensor:
    """Return the same by two products: the fused kernel has no forward-mode derivative."""
    scores = torch.einsum("nhld,nhmd->nhlm", q, k) * q.shape[-1] ** -0.5
    if seen is not None:
        scores = scores.masked_fill(~seen, -torch.inf)
    return torch.einsum("nhlm,nhmd->nhld", scores.softmax(-1), v)
