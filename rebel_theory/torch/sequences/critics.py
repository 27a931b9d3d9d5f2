"""Baselines of single answers: what a prompt's answer is expected to earn."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from rebel_theory.arrays import FloatArray
from rebel_theory.problems import InvalidProblemError

if TYPE_CHECKING:
    from rebel_theory.torch.sequences.policy import SequencePolicy
    from rebel_theory.torch.sequences.tokens import Batch


class SequenceCritic(Protocol):
    """What PPO and REINFORCE keep between batches."""

    @property
    def values(self) -> FloatArray | Callable[[Batch], FloatArray]:
        """Expected rewards: one number for all prompts, or a function of them."""

    def updated(self, seen: Any, forgetting: float) -> SequenceCritic:
        """Return the critic after one batch more."""


@dataclass(frozen=True, slots=True)
class RunningCritic:
    """The mean reward of earlier batches, one number for all prompts; later ones weigh at least ``forgetting``."""

    mean: float = 0.0
    batches: int = 0

    @property
    def values(self) -> FloatArray:
        """The expected reward of any prompt, shape (1,)."""
        return np.array([self.mean])

    def updated(self, seen: Any, forgetting: float) -> RunningCritic:
        """Return the critic after one batch more."""
        n = self.batches + 1
        rate = max(1 / n, forgetting)
        return RunningCritic(self.mean + rate * (float(seen.signal.mean()) - self.mean), n)


@dataclass(frozen=True, eq=False)
class ValueCritic:
    """A value network on the prompt, trained on the squared error of every batch by a few steps of Adam.

    Parameters
    ----------
    body : "bag" or "policy"
        The mean of the prompt's embeddings under a small MLP, blind to their order; or a copy of the first policy's
        module with a scalar readout of its last logits, which costs what PPO's value network usually does.
    width : int
        Of the bag's embedding and hidden layer.
    steps, lr
        Full-batch steps of Adam a batch, and their size; Adam's moments are kept. ``forgetting`` has no part in it.
    seed : int
        Of the first weights.
    micro_batch : int, optional
        Prompts a pass, that of the policy by default; it changes nothing but memory.
    """

    body: Literal["bag", "policy"] = "bag"
    width: int = 32
    steps: int = 8
    lr: float = 1e-2
    seed: int = 0
    micro_batch: int | None = None
    _net: nn.Module | None = field(default=None, repr=False)
    _memory: dict[str, Any] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        faults = []
        if self.body not in ("bag", "policy"):
            faults.append(f"body is {self.body!r}, expected 'bag' or 'policy'")
        if self.width < 1 or self.steps < 1:
            faults.append(f"width is {self.width} and steps is {self.steps}, expected at least 1 of each")
        if not 0 < self.lr < float("inf"):
            faults.append(f"lr is {self.lr}, expected a finite number > 0")
        if faults:
            raise InvalidProblemError("ValueCritic", faults)

    def built(self, policy: SequencePolicy) -> ValueCritic:
        """Return the critic with fresh weights, for the vocabulary, precision and device of a policy."""
        token = torch.full((1, 1), policy.pad, dtype=torch.long, device=policy.device)
        vocabulary = policy.logits(token, torch.ones_like(token, dtype=torch.bool)).shape[-1]
        draws = torch.Generator().manual_seed(self.seed)
        net = _Bag(vocabulary, self.width) if self.body == "bag" else _Readout(policy.trained_module(), vocabulary)
        net = net.to(device=policy.device, dtype=policy.theta.dtype).eval()
        for name, p in net.named_parameters():
            if not name.startswith("body"):
                fresh = torch.randn(p.shape, generator=draws, dtype=torch.float64) * p.shape[-1] ** -0.5 * (p.ndim > 1)
                p.data.copy_(fresh)
        return replace(self, micro_batch=self.micro_batch or policy.micro_batch, _net=net, _memory=None)

    def _parts(self, prompts: Batch) -> list[slice]:
        size = self.micro_batch or len(prompts)
        return [slice(low, low + size) for low in range(0, len(prompts), size)]

    def value(self, prompts: Batch) -> Tensor:
        """Return the expected reward of each prompt, shape (n,), differentiable."""
        if self._net is None:
            raise RuntimeError("this critic has no network yet: built(policy) gives it one")
        found: Tensor = self._net(prompts.tokens, prompts.mask)
        return found

    def values(self, prompts: Batch) -> FloatArray:
        """Return the expected reward of each prompt, shape (n,)."""
        with torch.no_grad():
            parts = [self.value(prompts.rows(part)) for part in self._parts(prompts)]
        found: FloatArray = torch.cat(parts).double().cpu().numpy()
        return found

    def updated(self, seen: Any, forgetting: float) -> ValueCritic:
        """Return the critic after one batch more; this one stays as it was."""
        critic = replace(self, _net=deepcopy(self._net))
        assert critic._net is not None
        method = torch.optim.Adam(critic._net.parameters(), lr=self.lr)
        if self._memory is not None:
            method.load_state_dict(deepcopy(self._memory))
        prompts = seen.prompts
        target = torch.as_tensor(seen.signal.reshape(-1), device=prompts.tokens.device)
        for _ in range(self.steps):
            method.zero_grad()
            for part in self._parts(prompts):
                value = critic.value(prompts.rows(part))
                torch.autograd.backward(((value - target[part].to(value.dtype)) ** 2).sum() / len(target))
            method.step()
        return replace(critic, _memory=method.state_dict())


class _Bag(nn.Module):
    """A value from the mean embedding of the tokens that count."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.layers = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1))

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        counted = mask[..., None].to(self.embed.weight.dtype)
        mean = (self.embed(tokens) * counted).sum(1) / counted.sum(1).clamp_min(1)
        found: Tensor = self.layers(mean)[:, 0]
        return found


class _Readout(nn.Module):
    """A value linear in the log-probabilities of the token behind the prompt."""

    def __init__(self, body: nn.Module, vocabulary: int) -> None:
        super().__init__()
        self.body, self.out = body, nn.Linear(vocabulary, 1)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        logits, _ = self.body(tokens, mask, None)
        found: Tensor = self.out(logits[:, -1])[:, 0]
        return found


CriticChoice: TypeAlias = "Literal['running'] | ValueCritic"
