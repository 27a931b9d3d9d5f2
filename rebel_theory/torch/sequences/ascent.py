"""How a policy moves along a gradient: plainly, or by Adam with moments that travel with the policy."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TypeAlias

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class PlainAscent:
    """theta + step * gradient, as the methods are defined."""

    def step(self, gradient: Tensor) -> tuple[Tensor, PlainAscent]:
        """Return the direction (p,) and what to use next time."""
        return gradient, self


@dataclass(frozen=True, slots=True, eq=False)
class AdamAscent:
    """Adam (Kingma and Ba 2015, arXiv:1412.6980): immutable, so that a policy that holds it can be kept and resumed."""

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    _steps: int = field(default=0, repr=False)
    _first: Tensor | None = field(default=None, repr=False)
    _second: Tensor | None = field(default=None, repr=False)

    def step(self, gradient: Tensor) -> tuple[Tensor, AdamAscent]:
        """Return the direction (p,) and the method with its new moments."""
        zero = torch.zeros_like(gradient) if self._first is None or self._second is None else None
        m = torch.lerp(gradient, zero if self._first is None else self._first, self.betas[0])  # type: ignore[arg-type]
        v = torch.lerp(gradient**2, zero if self._second is None else self._second, self.betas[1])  # type: ignore[arg-type]
        n = self._steps + 1
        scale = (v / (1 - self.betas[1] ** n)).sqrt_().add_(self.eps)  # in place: a vector of all parameters is large
        direction = (m / (1 - self.betas[0] ** n)).div_(scale)
        return direction, replace(self, _steps=n, _first=m, _second=v)


Ascent: TypeAlias = PlainAscent | AdamAscent
