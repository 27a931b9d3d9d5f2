"""Hugging Face causal language models as sequence policies, and tasks over text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from rebel_theory.problems import InvalidProblemError
from rebel_theory.torch.sequences.policy import SequencePolicy
from rebel_theory.torch.sequences.tasks import SequenceTask
from rebel_theory.torch.sequences.tokens import Batch, Completions, left_padded


class CausalLM(nn.Module):
    """A model of ``transformers`` with the interface of a sequence policy's module.

    Positions count the tokens under the mask, so left padding changes nothing; the cache is the model's own.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, mask: Tensor, cache: Any = None) -> tuple[Tensor, Any]:
        """Return next-token logits (n, L, V) and the cache, which is kept only where nothing is differentiated."""
        places = (mask.long().cumsum(-1) - 1).clamp_min(0)[:, -tokens.shape[1] :]
        found = self.model(
            input_ids=tokens, attention_mask=mask.long(), position_ids=places, past_key_values=cache,
            use_cache=not torch.is_grad_enabled(),
        )  # fmt: skip
        return found.logits, found.past_key_values


def policy_of(model: nn.Module, tokenizer: Any, max_new_tokens: int, **options: Any) -> SequencePolicy:
    """Return the sequence policy of a model and its tokenizer; ``options`` go to :class:`SequencePolicy`.

    Raises
    ------
    InvalidProblemError
        For a tokenizer without an end-of-sequence token.
    """
    eos = tokenizer.eos_token_id
    if eos is None:
        raise InvalidProblemError("tokenizer", ["has no end-of-sequence token: set tokenizer.eos_token"])
    pad = eos if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    return SequencePolicy(CausalLM(model), eos=eos, pad=pad, max_new_tokens=max_new_tokens, **options)


@dataclass(frozen=True, eq=False)
class TextTask(SequenceTask):
    """Prompts in words, and a reward of prompts and answers.

    Parameters
    ----------
    texts : prompts, drawn uniformly with replacement
    score : callable
        ``score(prompts, answers)`` takes lists of strings and returns as many rewards, 1 at best.
    tokenizer : of the model
    max_new_tokens : int
    """

    texts: Sequence[str]
    score: Callable[[list[str], list[str]], Sequence[float]]
    tokenizer: Any
    max_new_tokens: int
    _tokens: list[list[int]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.texts:
            raise InvalidProblemError("TextTask", ["texts is empty: give at least one prompt"])
        found = [self.tokenizer(text, add_special_tokens=False)["input_ids"] for text in self.texts]
        empty = [i for i, row in enumerate(found) if not row]
        if empty:
            raise InvalidProblemError("TextTask", [f"texts[{i}] has no tokens: write something" for i in empty[:5]])
        object.__setattr__(self, "_tokens", found)

    @property
    def n_symbols(self) -> int:  # type: ignore[override]
        """Tokens of the tokenizer."""
        return len(self.tokenizer)

    @property
    def prompt_length(self) -> int:  # type: ignore[override]
        """Tokens of the longest prompt."""
        return max(map(len, self._tokens))

    def prompts(self, n: int, generator: torch.Generator) -> Batch:
        """Return n prompts; ``answers`` holds their numbers."""
        chosen = torch.randint(len(self._tokens), (n,), generator=generator)
        eos, pad = self.tokenizer.eos_token_id, self.tokenizer.pad_token_id
        batch = left_padded([self._tokens[i] for i in chosen.tolist()], eos if pad is None else pad)
        return Batch(batch.tokens, batch.mask, chosen[:, None])

    def reward(self, prompts: Batch, answers: Completions) -> Tensor:
        """Return the scores of the answers as text."""
        assert prompts.answers is not None
        asked = [self.texts[i] for i in prompts.answers[:, 0].tolist()]
        rows = [row[kept].tolist() for row, kept in zip(answers.tokens, answers.mask, strict=True)]
        said = [self.tokenizer.decode(row, skip_special_tokens=True) for row in rows]
        found = list(self.score(asked, said))
        if len(found) != len(said):
            raise InvalidProblemError("TextTask", [f"score returned {len(found)} rewards for {len(said)} answers"])
        return torch.tensor(found, dtype=answers.log_probs.dtype, device=answers.tokens.device)


__all__ = ["CausalLM", "TextTask", "policy_of"]
