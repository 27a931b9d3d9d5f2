"""Policies over whole completions: sampling, log-probabilities, tasks with verifiable rewards, the loop of a run."""

from rebel_theory.torch.sequences.policy import SequencePolicy
from rebel_theory.torch.sequences.tasks import Arithmetic, Copy, Grammar, Sort, TargetStyle
from rebel_theory.torch.sequences.tokens import Batch, Completions
from rebel_theory.torch.sequences.transformer import CausalTransformer

__all__ = [
    "Arithmetic",
    "Batch",
    "CausalTransformer",
    "Completions",
    "Copy",
    "Grammar",
    "SequencePolicy",
    "Sort",
    "TargetStyle",
]
