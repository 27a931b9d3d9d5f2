"""Prompts and completions as padded tokens, and what of them counts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Prompts of different lengths, padded on the left so that all end at one place.

    Attributes
    ----------
    tokens : shape (n, L), integers
    mask : shape (n, L), True where a token counts
    answers : shape (n, K) or None
        What a task needs to judge a completion; the policy never sees it.
    """

    tokens: Tensor
    mask: Tensor
    answers: Tensor | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def repeated(self, k: int) -> Batch:
        """Return every prompt k times, side by side."""
        answers = None if self.answers is None else self.answers.repeat_interleave(k, 0)
        return Batch(self.tokens.repeat_interleave(k, 0), self.mask.repeat_interleave(k, 0), answers)

    def to(self, device: torch.device) -> Batch:
        """Return the prompts on a device."""
        answers = None if self.answers is None else self.answers.to(device)
        return Batch(self.tokens.to(device), self.mask.to(device), answers)

    def rows(self, index: Tensor | slice) -> Batch:
        """Return some of the prompts."""
        return Batch(self.tokens[index], self.mask[index], None if self.answers is None else self.answers[index])


@dataclass(frozen=True, slots=True, eq=False)
class Completions:
    """Whole answers: tokens up to the end-of-sequence token, padded on the right behind it.

    Attributes
    ----------
    tokens : shape (n, T), integers
    mask : shape (n, T)
        True up to and with the end-of-sequence token; an answer that never ended is cut at T.
    log_probs : shape (n,)
        Of the whole answers under the policy that drew them.
    """

    tokens: Tensor
    mask: Tensor
    log_probs: Tensor

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def lengths(self) -> Tensor:
        """Tokens that count, shape (n,)."""
        return self.mask.sum(-1)

    def rows(self, index: Tensor | slice) -> Completions:
        """Return some of the answers."""
        return Completions(self.tokens[index], self.mask[index], self.log_probs[index])


def up_to_end(tokens: Tensor, eos: int) -> Tensor:
    """Return the mask (n, T) of the tokens up to and with the first ``eos``."""
    ended = (tokens == eos).cumsum(-1)
    return (ended - (tokens == eos).long()) == 0


def left_padded(rows: list[list[int]], pad: int, device: torch.device | str = "cpu") -> Batch:
    """Return a batch from lists of tokens."""
    width = max(map(len, rows))
    tokens = torch.full((len(rows), width), pad, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.bool)
    for i, row in enumerate(rows):
        tokens[i, width - len(row) :] = torch.tensor(row, dtype=torch.long)
        mask[i, width - len(row) :] = True
    return Batch(tokens.to(device), mask.to(device))
