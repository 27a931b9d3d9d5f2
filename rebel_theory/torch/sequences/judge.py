"""A judge over completions whose majority preferences cycle: no reward has the equilibrium as its optimum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rebel_theory.arrays import FloatArray
from rebel_theory.problems import InvalidProblemError
from rebel_theory.torch.sequences.policy import SequencePolicy
from rebel_theory.torch.sequences.tasks import EOS, FIRST, SEP, SequenceTask, checked
from rebel_theory.torch.sequences.tokens import Batch, Completions

_STYLES = 3


@dataclass(frozen=True)
class CyclicJudge(SequenceTask):
    """Three raters who rank three styles 0 > 1 > 2, 1 > 2 > 0 and 2 > 0 > 1; a comparison asks one of them.

    Symbols fall into the styles by their remainder. A completion has the style of most of its symbols (the lowest
    among equals), and none if it never ended or is empty: such a one loses to every other. With no weight above 1/2,
    the majority prefers 0 to 1, 1 to 2 and 2 to 0. The equilibrium mixes the styles, by (1 - 2 w_2, 1 - 2 w_0,
    1 - 2 w_1) up to a factor; every policy that a reward prefers plays one of them and loses to the next.

    A run is self-play: the relative reward of a pair is l(y, y'') - l(y', y''), y'' ~ pi_t one more completion for
    both, two queries. ``trace.gap`` is the duality gap 2 max_i l(i, pi) over the styles i, exact in the payoffs and
    estimated in pi's law of styles; ``trace.average_gap`` that of the average policy.

    Parameters
    ----------
    length : int
        Symbols of a completion, at most.
    n_symbols : int
        At least 3.
    weights : of the raters, each in (0, 1/2), sum 1
    fixed_reward : bool
        The control: relative rewards are differences of ``reward``.
    """

    length: int = 4
    n_symbols: int = 6
    weights: tuple[float, float, float] = (0.4, 0.35, 0.25)
    fixed_reward: bool = False

    def __post_init__(self) -> None:
        checked("CyclicJudge", length=(self.length, 1), n_symbols=(self.n_symbols, _STYLES))
        w = np.asarray(self.weights, dtype=np.float64)
        if w.shape != (3,) or not ((w > 0) & (w < 0.5)).all() or abs(w.sum() - 1) > 1e-9:
            raise InvalidProblemError(
                "CyclicJudge", [f"weights is {self.weights}, expected three numbers in (0, 1/2) with sum 1"]
            )

    @property
    def optimum(self) -> float:  # type: ignore[override]
        """The value of the game: 0."""
        return 0.0

    @property
    def max_new_tokens(self) -> int:  # type: ignore[override]
        """The longest text and its end."""
        return self.length + 1

    @property
    def prompt_length(self) -> int:  # type: ignore[override]
        """A symbol of no meaning, and a separator."""
        return 2

    @property
    def payoff(self) -> FloatArray:
        """l(i, j) of the styles and of "none", shape (4, 4), skew-symmetric."""
        w = self.weights
        found = np.zeros((_STYLES + 1, _STYLES + 1))
        for i, rater in enumerate((1, 2, 0)):  # who prefers the next style to style i
            found[i, (i + 1) % _STYLES] = 1 - 2 * w[rater]
        found[:_STYLES, _STYLES] = 1.0
        return found - found.T

    @property
    def equilibrium(self) -> FloatArray:
        """The mixture of styles that no other beats, shape (3,)."""
        x = np.array([self.payoff[1, 2], self.payoff[2, 0], self.payoff[0, 1]])
        found: FloatArray = x / x.sum()
        return found

    def prompts(self, n: int, generator: torch.Generator) -> Batch:
        """Return one symbol each."""
        symbols = torch.randint(self.n_symbols, (n,), generator=generator)
        tokens = torch.stack([FIRST + symbols, torch.full((n,), SEP)], -1)
        return Batch(tokens, torch.ones_like(tokens, dtype=torch.bool))

    def styles(self, answers: Completions) -> Tensor:
        """Return the style of each completion, 3 for none, shape (n,)."""
        symbol = answers.mask & (answers.tokens >= FIRST)
        kind = (answers.tokens - FIRST) % _STYLES
        counts = torch.stack([(symbol & (kind == k)).sum(-1) for k in range(_STYLES)], -1)
        ended = ((answers.tokens == EOS) & answers.mask).any(-1)
        return torch.where(ended & (counts.sum(-1) > 0), counts.argmax(-1), _STYLES)

    def judged(self, first: Completions, second: Completions) -> Tensor:
        """Return the expected judgement l(y, y') in [-1, 1], shape (n,)."""
        table = torch.as_tensor(self.payoff, dtype=first.log_probs.dtype, device=first.tokens.device)
        return table[self.styles(first), self.styles(second)]

    def reward(self, prompts: Batch, answers: Completions) -> Tensor:
        """Return the chance to be preferred to a completion of uniform style, 0 for none: a reward model's view."""
        found = (self.payoff[:, :_STYLES].mean(-1) + 1) / 2
        return torch.as_tensor(found, dtype=answers.log_probs.dtype, device=answers.tokens.device)[self.styles(answers)]

    def relative(
        self, policy: SequencePolicy, prompts: Batch, first: Completions, second: Completions, stream: torch.Generator
    ) -> Tensor:
        """Return l(y, y'') - l(y', y'') with one y'' ~ pi for both."""
        if self.fixed_reward:
            return self.reward(prompts, first) - self.reward(prompts, second)
        shared = policy.sample(prompts, stream)
        return self.judged(first, shared) - self.judged(second, shared)

    def compare(self, prompts: Batch, first: Completions, second: Completions, stream: torch.Generator) -> Tensor:
        """Return 1 or -1, one rater's preference; 0 between equals."""
        expected = self.judged(first, second)
        chance = torch.rand(len(expected), generator=stream, device=expected.device, dtype=expected.dtype)
        drawn = torch.where(2 * chance < 1 + expected, 1.0, -1.0).to(expected.dtype)
        return torch.where(self.styles(first) == self.styles(second), torch.zeros_like(drawn), drawn)

    def outcomes(self, prompts: Batch, answers: Completions) -> Tensor:
        """Return what each style earns against each completion, l(i, y), shape (n, 4)."""
        table = torch.as_tensor(self.payoff, dtype=torch.float64, device=answers.tokens.device)
        return table[:, self.styles(answers)].T

    def gap(self, outcomes: FloatArray) -> FloatArray:
        """Return the duality gap of mean outcomes (..., 4): both players gain at most the larger entry."""
        found: FloatArray = 2 * np.maximum(outcomes.max(axis=-1), 0.0)
        return found
