"""A small causal transformer with a key-value cache, the ready module of a sequence policy."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor, nn

from rebel_theory.torch.blocks import Block, Pair, fused

Cache: TypeAlias = "list[Pair]"


class CausalTransformer(nn.Module):
    """Next-token logits of a prefix: pre-norm blocks, learned positions, tied to nothing.

    ``forward(tokens, mask, cache)`` returns logits (n, L, V) and the cache with the new keys and values. ``mask``
    (n, P + L) says which of all tokens so far count; positions count those only, so left padding changes nothing.
    """

    def __init__(
        self, vocabulary: int, *, width: int = 64, depth: int = 2, heads: int = 4, max_length: int = 64,
        dtype: torch.dtype = torch.float32, seed: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of heads {heads}")
        self.max_length = max_length
        self.embed = nn.Embedding(vocabulary, width, dtype=dtype)
        self.place = nn.Embedding(max_length, width, dtype=dtype)
        self.blocks = nn.ModuleList(Block(width, heads, dtype, widening=4, attention=fused) for _ in range(depth))
        self.norm = nn.LayerNorm(width, dtype=dtype)
        self.head = nn.Linear(width, vocabulary, bias=False, dtype=dtype)
        generator = torch.Generator().manual_seed(seed)
        for name, p in self.named_parameters():
            if p.ndim > 1:
                std = 0.02 if name in ("embed.weight", "head.weight") else p.shape[-1] ** -0.5
                nn.init.normal_(p, std=std, generator=generator)
            elif name.endswith("bias"):  # or torch's global stream would fill them
                nn.init.zeros_(p)

    def forward(self, tokens: Tensor, mask: Tensor, cache: Cache | None = None) -> tuple[Tensor, Cache]:
        """Return (logits (n, L, V), cache)."""
        length = tokens.shape[1]
        if mask.shape[1] > self.max_length:
            raise ValueError(f"{mask.shape[1]} tokens, but max_length is {self.max_length}: build a longer module")
        places = (mask.long().cumsum(-1) - 1).clamp_min(0)[:, -length:]
        x = self.embed(tokens) + self.place(places)
        total, start = mask.shape[1], mask.shape[1] - length
        causal = torch.ones(length, total, dtype=torch.bool, device=tokens.device).tril(start)
        # a padded query may see itself, or its softmax would be empty
        own = torch.eye(total, dtype=torch.bool, device=tokens.device)[start:]
        seen = (causal & mask[:, None, :]) | own  # (n, L, P + L)
        new: Cache = []
        for i, block in enumerate(self.blocks):
            x, pair = block(x, seen[:, None], None if cache is None else cache[i])
            new.append(pair)
        return self.head(self.norm(x)), new
