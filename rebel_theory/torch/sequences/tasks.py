"""Tasks with verifiable rewards in [0, 1]: a grammar, a style; those on digits are in :mod:`.digits`."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from rebel_theory.arrays import FloatArray
from rebel_theory.problems import InvalidProblemError
from rebel_theory.problems.base import SelfRunning
from rebel_theory.torch.sequences.policy import SequencePolicy
from rebel_theory.torch.sequences.tokens import Batch, Completions, left_padded
from rebel_theory.torch.sequences.transformer import CausalTransformer

if TYPE_CHECKING:
    from rebel_theory.trace import Trace

PAD, EOS, SEP = 0, 1, 2
FIRST = 3  # token of the first symbol


class SequenceTask(SelfRunning):
    """Prompts, and a reward for a prompt and a whole completion; ``rt.run`` takes it as a problem.

    Subclasses give ``n_symbols``, ``max_new_tokens``, ``prompt_length``, ``prompts`` and ``reward``.
    Tokens 0, 1, 2 are padding, end and separator; symbols follow.
    """

    n_symbols: int
    max_new_tokens: int
    prompt_length: int
    optimum: float = 1.0

    @property
    def vocabulary(self) -> int:
        """Number of tokens."""
        return FIRST + self.n_symbols

    @abstractmethod
    def prompts(self, n: int, generator: torch.Generator) -> Batch:
        """Return n prompts, from a generator of the CPU."""

    @abstractmethod
    def reward(self, prompts: Batch, answers: Completions) -> Tensor:
        """Return rewards in [0, 1], shape (n,)."""

    def relative(
        self, policy: SequencePolicy, prompts: Batch, first: Completions, second: Completions, stream: torch.Generator
    ) -> Tensor:
        """Return the relative rewards r(x, y) - r(x, y'), shape (n,)."""
        return self.reward(prompts, first) - self.reward(prompts, second)

    def compare(self, prompts: Batch, first: Completions, second: Completions, stream: torch.Generator) -> Tensor:
        """Return which answer is preferred, 1 the first, -1 the second, 0 a tie, shape (n,): the larger reward wins."""
        return (self.reward(prompts, first) - self.reward(prompts, second)).sign()

    def outcomes(self, prompts: Batch, answers: Completions) -> Tensor:
        """Return what the record averages over completions, shape (n, m): the reward."""
        return self.reward(prompts, answers)[:, None].double()

    def gap(self, outcomes: FloatArray) -> FloatArray:
        """Return the gap (...) of a policy with these mean outcomes (..., m): the optimum less the mean reward."""
        found: FloatArray = np.asarray(self.optimum - outcomes[..., 0])
        return found

    def policy(
        self, *, width: int = 64, depth: int = 2, heads: int = 4, seed: int = 0, **options: Any
    ) -> SequencePolicy:
        """Return a small transformer; ``dtype`` and ``device`` are the module's, other options SequencePolicy's."""
        dtype, device = options.pop("dtype", torch.float32), options.pop("device", "cpu")
        module = CausalTransformer(
            self.vocabulary, width=width, depth=depth, heads=heads, dtype=dtype, seed=seed,
            max_length=self.prompt_length + self.max_new_tokens,
        )  # fmt: skip
        return SequencePolicy(module.to(device), eos=EOS, pad=PAD, max_new_tokens=self.max_new_tokens, **options)

    def run(self, algorithm: Any, **options: Any) -> Trace:
        """Return the trace of a run, by :func:`rebel_theory.torch.sequences.loop.train`."""
        from rebel_theory.torch.sequences.loop import train

        return train(self, algorithm, **options)


def checked(what: str, **least: tuple[int, int]) -> None:
    """Raise InvalidProblemError for every number below the least that is expected."""
    faults = [f"{name} is {value}, expected at least {low}" for name, (value, low) in least.items() if value < low]
    if faults:
        raise InvalidProblemError(what, faults)


@dataclass(frozen=True)
class Grammar(SequenceTask):
    """Write a balanced word of brackets of the length that the prompt shows; ``kinds`` kinds of brackets.

    The reward is the share of the wanted length that is a correct beginning, and 1 only for a balanced word that ends.
    """

    length: int = 8
    kinds: int = 2

    def __post_init__(self) -> None:
        checked("Grammar", length=(self.length, 2), kinds=(self.kinds, 1))

    @property
    def n_symbols(self) -> int:  # type: ignore[override]
        """Brackets, and a stroke to count with."""
        return 2 * self.kinds + 1

    @property
    def max_new_tokens(self) -> int:  # type: ignore[override]
        """The longest word and its end."""
        return self.length + 1

    @property
    def prompt_length(self) -> int:  # type: ignore[override]
        """A stroke for every pair, and a separator."""
        return self.length // 2 + 1

    def prompts(self, n: int, generator: torch.Generator) -> Batch:
        """Return as many strokes as pairs are wanted."""
        pairs = torch.randint(1, self.length // 2 + 1, (n,), generator=generator).tolist()
        stroke = FIRST + 2 * self.kinds
        batch = left_padded([[stroke] * k + [SEP] for k in pairs], PAD)
        return Batch(batch.tokens, batch.mask, torch.tensor(pairs)[:, None])

    def reward(self, prompts: Batch, answers: Completions) -> Tensor:
        """Return the share of a correct beginning, by a stack in each row."""
        assert prompts.answers is not None
        wanted, rows = (2 * prompts.answers[:, 0]).tolist(), answers.tokens.tolist()
        found = [self._score(row, k) for row, k in zip(rows, wanted, strict=True)]
        return torch.tensor(found, dtype=answers.log_probs.dtype, device=answers.tokens.device)

    def _score(self, row: list[int], wanted: int) -> float:
        stack: list[int] = []
        for i, token in enumerate(row):
            kind, closes = divmod(token - FIRST, 2)
            if token == EOS:
                return 1.0 if not stack and i == wanted else 0.9 * i / (wanted + 1)
            if i >= wanted or not 0 <= kind < self.kinds or (closes and (not stack or stack.pop() != kind)):
                return 0.9 * min(i, wanted) / (wanted + 1)
            if not closes:
                stack.append(kind)
                if len(stack) > wanted - i - 1:  # no room left to close it
                    return 0.9 * i / (wanted + 1)
        return 0.9 * wanted / (wanted + 1)


@dataclass(frozen=True)
class TargetStyle(SequenceTask):
    """Write ``length`` symbols of the kind that the prompt names: symbols fall into ``kinds`` kinds by remainder.

    The reward is the share of places, the end included, that are right; many answers earn 1.
    """

    length: int = 6
    n_symbols: int = 12
    kinds: int = 3

    def __post_init__(self) -> None:
        checked("TargetStyle", length=(self.length, 1), kinds=(self.kinds, 1), n_symbols=(self.n_symbols, self.kinds))

    @property
    def max_new_tokens(self) -> int:  # type: ignore[override]
        """The text and its end."""
        return self.length + 1

    @property
    def prompt_length(self) -> int:  # type: ignore[override]
        """A symbol of the wanted kind, and a separator."""
        return 2

    def prompts(self, n: int, generator: torch.Generator) -> Batch:
        """Return one symbol each."""
        symbols = torch.randint(self.n_symbols, (n,), generator=generator)
        tokens = torch.stack([FIRST + symbols, torch.full((n,), SEP)], -1)
        return Batch(tokens, torch.ones_like(tokens, dtype=torch.bool), (symbols % self.kinds)[:, None])

    def reward(self, prompts: Batch, answers: Completions) -> Tensor:
        """Return the share of right places."""
        assert prompts.answers is not None
        tokens = answers.tokens[:, : self.length + 1]
        right = (tokens[:, : self.length] >= FIRST) & (
            (tokens[:, : self.length] - FIRST) % self.kinds == prompts.answers
        )
        ends = tokens[:, self.length] == EOS
        return ((right & answers.mask[:, : self.length]).sum(-1) + ends).to(answers.log_probs.dtype) / (self.length + 1)
