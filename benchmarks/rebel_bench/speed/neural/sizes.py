"""What is compared at which size: tasks, a transformer, and four settings of every method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import rebel_theory as rt
from rebel_bench.speed.case import SpeedScale

if TYPE_CHECKING:
    from rebel_theory.torch.sequences import SequencePolicy, SequenceTask

GROUP = 4  # answers to a prompt, of RLOO and GRPO
EPOCHS = 4  # gradient steps a batch, of PPO and GRPO


@dataclass(frozen=True)
class Setting:
    """A functional step size of REBEL and DPO, with the step of Adam; of the others the step of Adam alone."""

    lr: float
    eta: float | None = None

    def __str__(self) -> str:
        return f"lr {self.lr:g}" if self.eta is None else f"eta {self.eta:g}, lr {self.lr:g}"


@dataclass(frozen=True)
class Size:
    """A size of the comparison; ``rates`` are the four steps of Adam that are tried.

    REBEL and DPO try the middle two with both ``etas``, so that every method has four settings. All pass 2 n_pairs
    completions through the module ``EPOCHS`` times an iteration (RLOO and REINFORCE once), as many at a time as a
    minibatch of REBEL has.
    """

    tasks: tuple[SequenceTask, ...]
    width: int
    depth: int
    heads: int
    n_pairs: int
    n_iterations: int
    n_seeds: int
    n_evaluation: int
    rates: tuple[float, float, float, float]
    etas: tuple[float, float] = (2.0, 8.0)
    steps: int = 16  # of Adam a regression, of REBEL and DPO, each on a minibatch: EPOCHS passes in all
    value_body: str = "bag"

    def settings(self, method: str) -> tuple[Setting, ...]:
        """Return the four settings of a method."""
        if METHODS[method].functional:
            return tuple(Setting(lr, eta) for eta in self.etas for lr in self.rates[1:3])
        return tuple(Setting(lr) for lr in self.rates)

    def policy(self, task: SequenceTask, seed: int, setting: Setting, device: str) -> SequencePolicy:
        """Return the first policy: the same for all methods and settings of a seed."""
        from rebel_theory.torch import FirstOrder
        from rebel_theory.torch.sequences import AdamAscent, ValueCritic

        body: Any = self.value_body
        part = max(1, EPOCHS * self.n_pairs // self.steps)
        return task.policy(
            width=self.width, depth=self.depth, heads=self.heads, seed=seed, device=device,
            solver=FirstOrder(self.steps, setting.lr, contexts_per_step=part, seed=seed), ascent=AdamAscent(),
            critic=ValueCritic(body, seed=seed, lr=1e-2 if body == "bag" else setting.lr), micro_batch=2 * part,
        )  # fmt: skip


@dataclass(frozen=True)
class Method:
    """An algorithm from a setting; ``functional`` if its step size is eta."""

    make: Callable[[Setting], Any]
    functional: bool = False


METHODS: dict[str, Method] = {
    "REBEL": Method(lambda s: rt.Rebel(s.eta or 1.0), functional=True),
    "PPO": Method(lambda s: rt.Ppo(s.lr, n_epochs=EPOCHS)),
    "RLOO": Method(lambda s: rt.Rloo(s.lr, group_size=GROUP)),
    "GRPO": Method(lambda s: rt.Grpo(s.lr, group_size=GROUP, n_epochs=EPOCHS)),
    "REINFORCE": Method(lambda s: rt.Reinforce(s.lr)),
    "DPO": Method(lambda s: rt.Dpo(s.eta or 1.0), functional=True),
}


def size(scale: SpeedScale) -> Size:
    """Return the tiny size of a processor, or that of a transformer of 25 million parameters."""
    from rebel_theory.torch.sequences import sequence_task, transformer_shape

    if scale == "quick":
        return Size(
            tuple(sequence_task(kind) for kind in ("copy", "target-style")), **transformer_shape(), n_pairs=32,
            n_iterations=30, n_seeds=3, n_evaluation=128, rates=(1e-3, 3e-3, 1e-2, 3e-2),
        )  # fmt: skip
    return Size(
        tuple(sequence_task(kind, "large") for kind in ("copy", "arithmetic", "target-style")),
        **transformer_shape("large"),
        n_pairs=256, n_iterations=100, n_seeds=3, n_evaluation=512, rates=(1e-5, 3e-5, 1e-4, 3e-4),
        value_body="policy",
    )  # fmt: skip
