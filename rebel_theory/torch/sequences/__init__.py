"""Policies over whole completions: sampling, log-probabilities, tasks with verifiable rewards, the loop of a run."""

from rebel_theory.torch.sequences.ascent import AdamAscent, PlainAscent
from rebel_theory.torch.sequences.critics import ValueCritic
from rebel_theory.torch.sequences.digits import Arithmetic, Copy, Sort
from rebel_theory.torch.sequences.judge import CyclicJudge
from rebel_theory.torch.sequences.policy import SequencePolicy
from rebel_theory.torch.sequences.sizes import TaskSize, sequence_task, task_kinds, transformer_shape
from rebel_theory.torch.sequences.tasks import Grammar, SequenceTask, TargetStyle
from rebel_theory.torch.sequences.tokens import Batch, Completions
from rebel_theory.torch.sequences.transformer import CausalTransformer

__all__ = [
    "AdamAscent",
    "Arithmetic",
    "Batch",
    "CausalTransformer",
    "Completions",
    "Copy",
    "CyclicJudge",
    "Grammar",
    "PlainAscent",
    "SequencePolicy",
    "SequenceTask",
    "Sort",
    "TargetStyle",
    "TaskSize",
    "ValueCritic",
    "sequence_task",
    "task_kinds",
    "transformer_shape",
]
