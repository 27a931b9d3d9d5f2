"""What an algorithm sees of a sequence task: pairs, groups of answers, comparisons; every reward is counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from rebel_theory.advantages import Baseline, Critic, estimates
from rebel_theory.arrays import FloatArray
from rebel_theory.policies import Base, OnPolicy, as_base
from rebel_theory.problems import InvalidProblemError
from rebel_theory.torch.sequences.policy import SequencePolicy
from rebel_theory.torch.sequences.tokens import Batch, Completions

if TYPE_CHECKING:
    from rebel_theory.torch.sequences.tasks import SequenceTask


@dataclass(frozen=True, slots=True, eq=False)
class SequencePairs:
    """Two answers to each prompt, their relative reward, and their log-probabilities under pi_t.

    Attributes
    ----------
    relative, start_first, start_second : shape (n,)
    number : int
        Queries spent before them, which tells one batch of a run from another.
    """

    prompts: Batch
    first: Completions
    second: Completions
    relative: Tensor
    start_first: Tensor
    start_second: Tensor
    number: int = 0

    def __len__(self) -> int:
        return len(self.relative)


class SequenceComparisons(SequencePairs):
    """Pairs of a reference, judged: ``relative`` is 1 where the first won, -1 where it lost, 0 for a tie."""


@dataclass(frozen=True, slots=True, eq=False)
class Weighed:
    """Samples with coefficients: ``policy.gradient`` returns sum c_i grad log pi(y_i | x_i)."""

    prompts: Batch
    answers: Completions
    coefficients: Tensor  # (n,)


@dataclass(frozen=True, slots=True, eq=False)
class SequenceAdvantages:
    """k answers to each of n prompts; prompts take the place of rows, answers that of actions.

    Attributes
    ----------
    up, down, signal : shape (n, k)
        max(A_i, 0), max(-A_i, 0), and the rewards.
    """

    prompts: Batch  # n k, every prompt k times
    answers: Completions
    up: FloatArray
    down: FloatArray
    signal: FloatArray

    @property
    def weights(self) -> FloatArray:
        """Share of each prompt, shape (n,)."""
        return np.full(len(self.signal), 1 / len(self.signal))

    @property
    def frequencies(self) -> FloatArray:
        """Share of each answer, shape (n, k)."""
        return np.full(self.signal.shape, 1 / self.signal.shape[-1])

    @property
    def mean(self) -> FloatArray:
        """A_i, shape (n, k)."""
        return self.up - self.down

    @property
    def cells(self) -> Weighed:
        """The answers weighed by A_i / (n k)."""
        return self.at(self.mean / self.mean.size)

    def at(self, coefficients: FloatArray) -> Weighed:
        """Return the answers with coefficients (n, k)."""
        flat = torch.as_tensor(coefficients.reshape(-1), dtype=self.answers.log_probs.dtype)
        return Weighed(self.prompts, self.answers, flat.to(self.answers.tokens.device))

    def log_probs_of(self, policy: SequencePolicy) -> FloatArray:
        """Return ln pi of the answers, shape (n, k)."""
        found = policy.started(self.prompts, self.answers)
        result: FloatArray = found.double().cpu().numpy().reshape(self.signal.shape)
        return result


class SequenceOracle:
    """A task at work under ``Sampled(n_pairs)``: fresh prompts and answers at every call, one stream a seed."""

    def __init__(self, task: SequenceTask, n_pairs: int, seed: int, device: torch.device) -> None:
        self.problem, self.n_pairs, self.device = task, n_pairs, device
        # prompts from a stream of the CPU, the same on every device
        self.prompt_stream = torch.Generator().manual_seed(seed)
        self.answer_stream = torch.Generator(device).manual_seed(seed + 1)
        self.spent = 0
        self.latest: Any = None  # what the newest step saw

    @property
    def queries(self) -> FloatArray:
        """Rewards or comparisons asked for so far, shape (1,)."""
        return np.asarray([float(self.spent)])

    def prompts(self, n: int) -> Batch:
        """Return n fresh prompts on the device."""
        return self.problem.prompts(n, self.prompt_stream).to(self.device)

    def pairs(self, policy: SequencePolicy, base: Base) -> SequencePairs:
        """Return n_pairs pairs y ~ pi, y' ~ mu with their relative rewards; two queries each."""
        prompts, first, second = self._drawn(policy, base)
        relative = self.problem.relative(policy, prompts, first, second, self.answer_stream)
        found = self.latest = SequencePairs(*self._shown(policy, base, prompts, first, second, relative))
        return found

    def comparisons(self, policy: SequencePolicy, law: Base | str) -> SequenceComparisons:
        """Return n_pairs pairs judged by the task; their starts are those under ``policy``. Two queries each.

        Both answers are drawn from ``policy`` if ``law`` is "first", else the second from another SequencePolicy.
        """
        base = OnPolicy() if law == "first" else as_base(law)
        prompts, first, second = self._drawn(policy, base)
        judged = self.problem.compare(prompts, first, second, self.answer_stream)
        found = self.latest = SequenceComparisons(*self._shown(policy, base, prompts, first, second, judged))
        return found

    def _drawn(self, policy: SequencePolicy, base: Base) -> tuple[Batch, Completions, Completions]:
        prompts = self.prompts(self.n_pairs)
        if isinstance(base, OnPolicy):
            both = policy.sample(prompts.repeated(2), self.answer_stream)
            return prompts, both.rows(slice(0, None, 2)), both.rows(slice(1, None, 2))
        law = getattr(base, "probs", None)
        if not isinstance(law, SequencePolicy):
            raise InvalidProblemError(
                "base", [f"{base} has no completions to draw: use 'on-policy' or a SequencePolicy"]
            )
        return prompts, policy.sample(prompts, self.answer_stream), law.sample(prompts, self.answer_stream)

    def _shown(
        self, policy: SequencePolicy, base: Base, prompts: Batch, first: Completions, second: Completions,
        relative: Tensor,
    ) -> tuple[Batch, Completions, Completions, Tensor, Tensor, Tensor, int]:  # fmt: skip
        """Return the fields of pairs, counted."""
        exact = policy.autocast is None  # else pi_t is read as its successors will be
        starts = [
            answers.log_probs if exact and own else policy.started(prompts, answers)
            for answers, own in ((first, True), (second, isinstance(base, OnPolicy)))
        ]
        self.spent += 2 * len(prompts)
        return prompts, first, second, relative.to(self.device), starts[0], starts[1], self.spent - 2 * len(prompts)

    def feedback(self, policy: SequencePolicy) -> Any:
        """Refuse: a space of completions has no table.

        Raises
        ------
        InvalidProblemError
            Always.
        """
        raise InvalidProblemError(
            "run",
            [
                "the algorithm asks for a table of feedback, and completions are too many for one: use Rebel, Ppo, "
                "Grpo, Rloo, Reinforce, Dpo, or NaturalPolicyGradient(fisher='pairs')"
            ],
        )

    def advantages(self, policy: SequencePolicy, baseline: Baseline) -> SequenceAdvantages:
        """Return answers in groups: 2 n_pairs in all, so that a step costs what n_pairs pairs cost."""
        k = baseline.group_size
        n = max(1, 2 * self.n_pairs // k)
        prompts = self.prompts(n)
        repeated = prompts.repeated(k)
        answers = policy.sample(repeated, self.answer_stream)
        rewards = self.problem.reward(repeated, answers).double().cpu().numpy().reshape(n, k)
        self.spent += n * k
        if isinstance(baseline, Critic):
            values = baseline.values(prompts) if callable(baseline.values) else baseline.values
            advantage = rewards - np.broadcast_to(np.asarray(values), (n,))[:, None]
        else:
            advantage = estimates(rewards, baseline)
        found = SequenceAdvantages(repeated, answers, np.maximum(advantage, 0), np.maximum(-advantage, 0), rewards)
        self.latest = found
        return found


__all__ = ["SequenceAdvantages", "SequenceOracle", "SequencePairs", "Weighed"]
