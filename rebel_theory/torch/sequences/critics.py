"""Baselines of single answers: what a prompt's answer is expected to earn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rebel_theory.arrays import FloatArray


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
