"""A module with its parameters stacked: many copies evaluated, differentiated and pushed forward in one call."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vjp, vmap

from rebel_theory.problems import InvalidProblemError


class Stacked:
    """The logits of a module as a function of flat parameters, for a batch of them.

    Parameters
    ----------
    module : nn.Module
        Maps contexts (S, ...) to logits (S, A); in evaluation mode, for a step must not depend on dropout.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        if not named:
            raise InvalidProblemError(
                type(module).__name__, ["it has no parameters that require gradients: nothing can be learned"]
            )
        self._names = [name for name, _ in named]
        self._shapes = [p.shape for _, p in named]
        self._sizes = [p.numel() for _, p in named]
        fixed = dict(module.named_buffers()) | {n: p for n, p in module.named_parameters() if not p.requires_grad}
        self._fixed = {name: value.detach() for name, value in fixed.items()}
        self.first = torch.cat([p.detach().reshape(-1) for _, p in named])  # (p,)

    @property
    def n_parameters(self) -> int:
        """Length of the flat vector."""
        return int(self.first.numel())

    def to(self, device: torch.device, dtype: torch.dtype) -> Stacked:
        """Return the same module on a device, in a precision."""
        if self.first.device == device and self.first.dtype == dtype:
            return self
        from copy import deepcopy

        return Stacked(deepcopy(self.module).to(device=device, dtype=dtype))

    def unflatten(self, flat: Tensor) -> dict[str, Tensor]:
        """Return the named tensors of a flat vector (p,)."""
        pieces = torch.split(flat, self._sizes)
        return {n: piece.view(s) for n, s, piece in zip(self._names, self._shapes, pieces, strict=True)}

    def weights(self, flat: Tensor) -> dict[str, Tensor]:
        """Return everything that ``functional_call`` needs at a flat vector (p,)."""
        return {**self._fixed, **self.unflatten(flat)}

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "logits"}  # a closure does not pickle

    def one(self, flat: Tensor, contexts: Tensor) -> Tensor:
        """Return the logits (S, A) at one flat vector (p,)."""
        out: Tensor = functional_call(self.module, self.weights(flat), (contexts,))
        return out

    @cached_property
    def logits(self) -> Callable[[Tensor, Tensor], Tensor]:
        """Logits (B, S, A) at parameters (B, p)."""
        batched: Callable[[Tensor, Tensor], Tensor] = vmap(self.one, in_dims=(0, None))
        return batched

    def log_probs(self, flat: Tensor, contexts: Tensor) -> Tensor:
        """Return log-probabilities (B, S, A) at parameters (B, p)."""
        return self.logits(flat, contexts).log_softmax(-1)

    def jacobian(self, flat: Tensor, contexts: Tensor) -> Tensor:
        """Return d logits / d theta (B, S, A, p)."""
        found: Tensor = vmap(jacrev(self.one), in_dims=(0, None))(flat, contexts)
        return found

    def linear(self, flat: Tensor, contexts: Tensor) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
        """Return v -> J v (B, S, A) and c -> J^T c (B, p), J the Jacobian of the logits; J is never formed.

        J v is the transpose of c -> J^T c, itself by reverse mode: on stacks of small networks that took less than
        half the time of forward mode, which also lacks rules for some operations.
        """

        def of(theta: Tensor) -> Tensor:
            return self.logits(theta, contexts)

        value, pull, *_ = vjp(of, flat)
        transposed: list[Callable[[Tensor], tuple[Tensor]]] = []

        def push(v: Tensor) -> Tensor:
            if not transposed:
                transposed.append(vjp(lambda c: pull(c)[0], torch.zeros_like(value))[1])
            return transposed[0](v)[0]

        return push, lambda c: pull(c)[0]
