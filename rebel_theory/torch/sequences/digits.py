"""Tasks with one right answer, spelled in digits: copy, sort, add."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rebel_theory.torch.sequences.tasks import EOS, FIRST, PAD, SEP, SequenceTask, checked
from rebel_theory.torch.sequences.tokens import Batch, Completions, left_padded


def agreement(answers: Completions, wanted: Tensor) -> Tensor:
    """Return the share of places, of the longer of both, at which answers are the wanted ones (n, K), padded; (n,)."""
    width, blank = max(answers.tokens.shape[1], wanted.shape[1]), -1  # a padding token that was said is a wrong one
    found = nn.functional.pad(
        answers.tokens.masked_fill(~answers.mask, blank), (0, width - answers.tokens.shape[1]), value=blank
    )
    wanted = wanted.to(found.device)
    goal = nn.functional.pad(wanted.masked_fill(wanted == PAD, blank), (0, width - wanted.shape[1]), value=blank)
    counted = (found != blank) | (goal != blank)
    return ((found == goal) & counted).sum(-1) / counted.sum(-1).clamp_min(1)


def _posed(words: list[list[int]], wanted: list[list[int]]) -> Batch:
    batch = left_padded([[FIRST + d for d in word] + [SEP] for word in words], PAD)
    width = max(map(len, wanted)) + 1
    goal = torch.full((len(wanted), width), PAD, dtype=torch.long)
    for i, word in enumerate(wanted):
        goal[i, : len(word) + 1] = torch.tensor([FIRST + d for d in word] + [EOS])
    return Batch(batch.tokens, batch.mask, goal)


class _Spelled(SequenceTask):
    """A task with one right answer; the reward is the share of its places that are right."""

    def reward(self, prompts: Batch, answers: Completions) -> Tensor:
        """Return the share of right places."""
        assert prompts.answers is not None
        return agreement(answers, prompts.answers).to(answers.log_probs.dtype)


@dataclass(frozen=True)
class _WordTask(_Spelled):
    """A word of 1 to ``length`` digits, and what to make of it."""

    length: int = 4
    n_symbols: int = 5

    def __post_init__(self) -> None:
        checked(type(self).__name__, length=(self.length, 1), n_symbols=(self.n_symbols, 2))

    @property
    def max_new_tokens(self) -> int:  # type: ignore[override]
        """The longest right answer and its end."""
        return self.length + 1

    @property
    def prompt_length(self) -> int:  # type: ignore[override]
        """The longest word and a separator."""
        return self.length + 1

    def answer(self, word: list[int]) -> list[int]:
        """Return the right answer to a word of digits."""
        raise NotImplementedError

    def prompts(self, n: int, generator: torch.Generator) -> Batch:
        """Return words of random lengths."""
        lengths = torch.randint(1, self.length + 1, (n,), generator=generator).tolist()
        digits = torch.randint(self.n_symbols, (n, self.length), generator=generator).tolist()
        words = [row[:k] for row, k in zip(digits, lengths, strict=True)]
        return _posed(words, [self.answer(word) for word in words])


@dataclass(frozen=True)
class Copy(_WordTask):
    """Say the word again."""

    def answer(self, word: list[int]) -> list[int]:
        """Return the word."""
        return word


@dataclass(frozen=True)
class Sort(_WordTask):
    """Say the word's digits in rising order."""

    def answer(self, word: list[int]) -> list[int]:
        """Return the sorted word."""
        return sorted(word)


@dataclass(frozen=True)
class Arithmetic(_Spelled):
    """Add two numbers of up to ``length`` digits in base ``n_symbols - 1``; the last symbol is the plus sign."""

    length: int = 2
    n_symbols: int = 11

    def __post_init__(self) -> None:
        checked("Arithmetic", length=(self.length, 1), n_symbols=(self.n_symbols, 3))

    @property
    def max_new_tokens(self) -> int:  # type: ignore[override]
        """A carry and the end."""
        return self.length + 2

    @property
    def prompt_length(self) -> int:  # type: ignore[override]
        """Two numbers, the plus sign, a separator."""
        return 2 * self.length + 2

    def prompts(self, n: int, generator: torch.Generator) -> Batch:
        """Return sums of uniform numbers."""
        base = self.n_symbols - 1
        numbers = torch.randint(base**self.length, (n, 2), generator=generator).tolist()
        words = [[*_digits(a, base), base, *_digits(b, base)] for a, b in numbers]
        return _posed(words, [_digits(a + b, base) for a, b in numbers])


def _digits(value: int, base: int) -> list[int]:
    found = [value % base]
    while value := value // base:
        found.append(value % base)
    return found[::-1]
