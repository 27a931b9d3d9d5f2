"""Ready modules: tabular and log-linear for parity, a perceptron, a small transformer over actions."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from rebel_theory.torch.blocks import Block, written_out


def tabular(n_states: int, n_actions: int, *, dtype: torch.dtype = torch.float64) -> nn.Module:
    """Return one logit a state and action, all 0; contexts are one-hot states, as ``TorchPolicy`` makes them."""
    layer = nn.Linear(n_states, n_actions, bias=False, dtype=dtype)
    nn.init.zeros_(layer.weight)
    return layer


class _LogLinear(nn.Module):
    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.register_buffer("features", features)
        self.theta = nn.Parameter(torch.zeros(features.shape[-1], dtype=features.dtype))

    def forward(self, contexts: Tensor) -> Tensor:
        chosen = torch.tensordot(contexts, self.get_buffer("features"), dims=1)  # one-hot rows pick their own
        out: Tensor = chosen @ self.theta
        return out


def log_linear(features: ArrayLike, *, dtype: torch.dtype = torch.float64) -> nn.Module:
    """Return logits theta . phi(s, a) for features (S, A, d), theta = 0; contexts are one-hot states."""
    return _LogLinear(torch.as_tensor(np.asarray(features), dtype=dtype))


def mlp(
    n_inputs: int, n_actions: int, *, hidden: tuple[int, ...] = (32, 32), dtype: torch.dtype = torch.float64,
    seed: int = 0,
) -> nn.Module:  # fmt: skip
    """Return a tanh perceptron from contexts (S, n_inputs) to logits (S, n_actions), weights of variance 1/fan-in."""
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    sizes = (n_inputs, *hidden, n_actions)
    for fan_in, fan_out in itertools.pairwise(sizes):
        layer = nn.Linear(fan_in, fan_out, dtype=dtype)
        nn.init.normal_(layer.weight, std=fan_in**-0.5, generator=generator)
        nn.init.zeros_(layer.bias)
        layers += [layer, nn.Tanh()]
    return nn.Sequential(*layers[:-1])


class _ContextTransformer(nn.Module):
    """Context features as tokens: each input number is a token, mixed by attention, read out by a linear head."""

    def __init__(self, n_inputs: int, n_actions: int, width: int, heads: int, depth: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.empty(n_inputs, width, dtype=dtype))
        self.place = nn.Parameter(torch.empty(n_inputs, width, dtype=dtype))
        self.blocks = nn.ModuleList(Block(width, heads, dtype, widening=2, attention=written_out) for _ in range(depth))
        self.head = nn.Linear(width, n_actions, dtype=dtype)

    def forward(self, contexts: Tensor) -> Tensor:
        x = contexts[..., None] * self.scale + self.place  # (S, n_inputs, width)
        for block in self.blocks:
            x, _ = block(x)
        out: Tensor = self.head(x.mean(-2))
        return out


def transformer(
    n_inputs: int, n_actions: int, *, width: int = 16, heads: int = 2, depth: int = 1,
    dtype: torch.dtype = torch.float64, seed: int = 0,
) -> nn.Module:  # fmt: skip
    """Return a small transformer from contexts (S, n_inputs) to logits (S, n_actions)."""
    module = _ContextTransformer(n_inputs, n_actions, width, heads, depth, dtype)
    generator = torch.Generator().manual_seed(seed)
    for name, p in module.named_parameters():
        if p.ndim > 1:
            nn.init.normal_(p, std=p.shape[-1] ** -0.5, generator=generator)
        elif "bias" in name:
            nn.init.zeros_(p)
    return module
