"""A policy whose action is a whole completion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Self, final

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from rebel_theory.policies import ConjugateGradient, FisherSolver
from rebel_theory.problems import InvalidProblemError
from rebel_theory.torch.sequences.ascent import Ascent, PlainAscent
from rebel_theory.torch.sequences.critics import CriticChoice, RunningCritic, SequenceCritic, ValueCritic
from rebel_theory.torch.sequences.solvers import SequenceSolver, logistic, minimised, pair_direction
from rebel_theory.torch.sequences.tokens import Batch, Completions, up_to_end
from rebel_theory.torch.solvers import FirstOrder
from rebel_theory.torch.stacked import Stacked


@final
@dataclass(frozen=True, eq=False)
class SequencePolicy:
    """Completions drawn token by token from an autoregressive module; log-probabilities of whole completions.

    Parameters
    ----------
    module : nn.Module
        ``module(tokens (n, L), mask (n, P + L), cache)`` returns next-token logits (n, L, V) and a cache; see
        :class:`CausalTransformer`. Used in evaluation mode: a log-ratio must not depend on dropout.
    eos, pad : int
        The token that ends a completion, and the one behind it.
    max_new_tokens : int
        A completion that has not ended by then is cut, and its probability is that of the cut one.
    solver : FirstOrder(steps), GaussNewton() or LevenbergMarquardt()
        How the pair regression is solved; DPO needs the first, for its loss is no square.
    critic : "running" or ValueCritic()
        The baseline of PPO and REINFORCE: the mean of earlier rewards, or a value network on the prompt.
    ascent : PlainAscent() or AdamAscent()
        What PPO, GRPO, RLOO and REINFORCE make of a gradient. The first is their definition, the second what is used
        in practice on transformers; its step size is that of Adam.
    micro_batch : int, optional
        Completions a forward pass; gradients add up over them, so memory is bounded and nothing else changes.
    autocast : torch.dtype, optional
        Such as ``torch.bfloat16``: the forward passes of training, and of pi_t in its ratios, in mixed precision.
    """

    module: nn.Module | Stacked
    eos: int
    pad: int
    max_new_tokens: int
    solver: SequenceSolver = FirstOrder(steps=32, lr=1e-3)  # noqa: RUF009 - immutable
    critic: CriticChoice = "running"
    ascent: Ascent = PlainAscent()  # noqa: RUF009 - immutable
    micro_batch: int | None = None
    autocast: torch.dtype | None = None
    theta: Tensor = field(default=None)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        faults = []
        if not hasattr(self.solver, "solve_pairs"):
            faults.append(f"solver {self.solver} has no pairs of completions: use FirstOrder(steps) or GaussNewton()")
        if self.critic != "running" and not isinstance(self.critic, ValueCritic):
            faults.append(f"critic is {self.critic!r}, expected 'running' or ValueCritic()")
        if self.max_new_tokens < 1:
            faults.append(f"max_new_tokens is {self.max_new_tokens}, expected at least 1")
        if self.micro_batch is not None and self.micro_batch < 1:
            faults.append(f"micro_batch is {self.micro_batch}, expected at least 1")
        if faults:
            raise InvalidProblemError("SequencePolicy", faults)
        if not isinstance(self.module, Stacked):
            from copy import deepcopy

            object.__setattr__(self, "module", Stacked(deepcopy(self.module).eval()))
        if self.theta is None:
            object.__setattr__(self, "theta", self.net.first)

    @property
    def net(self) -> Stacked:
        """The module as a function of flat parameters."""
        assert isinstance(self.module, Stacked)
        return self.module

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.theta.device

    def with_theta(self, theta: Tensor) -> Self:
        """Return the policy at other parameters (p,)."""
        if not bool(torch.isfinite(theta).all()):
            raise FloatingPointError("an update produced non-finite parameters: reduce the step size")
        return replace(self, theta=theta.detach())

    def trained_module(self) -> nn.Module:
        """Return a copy of the module at the policy's parameters, to save or to use elsewhere."""
        from copy import deepcopy

        module = deepcopy(self.net.module)
        values = self.net.unflatten(self.theta)
        with torch.no_grad():
            for name, p in module.named_parameters():
                if name in values:
                    p.copy_(values[name])
        return module

    def _forward(self, theta: Tensor) -> Callable[..., tuple[Tensor, Any]]:
        weights = self.net.weights(theta)

        def call(tokens: Tensor, mask: Tensor, cache: Any = None) -> tuple[Tensor, Any]:
            out: tuple[Tensor, Any] = functional_call(self.net.module, weights, (tokens, mask, cache))
            return out

        return call

    @torch.no_grad()
    def logits(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return next-token logits (n, L, V) of prefixes (n, L)."""
        return self._forward(self.theta)(tokens, mask)[0]

    @torch.no_grad()
    def sample(self, prompts: Batch, generator: torch.Generator, greedy: bool = False) -> Completions:
        """Return one completion a prompt, drawn with a key-value cache; ``greedy`` takes the likeliest token."""
        forward = self._forward(self.theta)
        n, device = len(prompts), self.device
        tokens = torch.full((n, self.max_new_tokens), self.pad, dtype=torch.long, device=device)
        log_probs = torch.zeros(n, dtype=torch.float64 if self.theta.dtype == torch.float64 else torch.float32,
                                device=device)  # fmt: skip
        done = torch.zeros(n, dtype=torch.bool, device=device)
        latest, mask, cache = prompts.tokens, prompts.mask, None
        used = 0
        for t in range(self.max_new_tokens):
            logits, cache = forward(latest, mask, cache)
            row = logits[:, -1].to(log_probs.dtype).log_softmax(-1)
            token = row.argmax(-1) if greedy else torch.multinomial(row.exp(), 1, generator=generator)[:, 0]
            token = torch.where(done, self.pad, token)
            gain = row.gather(-1, token[:, None])[:, 0]
            log_probs = log_probs + torch.where(done, torch.zeros_like(gain), gain)
            tokens[:, t] = token
            mask = torch.cat([mask, ~done[:, None]], 1)
            done = done | (token == self.eos)
            latest, used = token[:, None], t + 1
            if t % 8 == 7 and bool(done.all()):  # looked at now and then: every look waits for the device
                break
        return Completions(tokens, up_to_end(tokens, self.eos) & _within(tokens, used), log_probs)

    def log_probs(self, prompts: Batch, answers: Completions, theta: Tensor | None = None) -> Tensor:
        """Return log pi(answer | prompt), shape (n,), in one pass; differentiable in ``theta``."""
        forward = self._forward(self.theta if theta is None else theta)
        width = int(prompts.tokens.shape[1])
        tokens = torch.cat([prompts.tokens, answers.tokens], 1)
        mask = torch.cat([prompts.mask, answers.mask], 1)
        with torch.autocast(self.device.type, dtype=self.autocast, enabled=self.autocast is not None):
            logits, _ = forward(tokens[:, :-1], mask[:, :-1])
        rows = logits[:, width - 1 :].to(self.theta.dtype).log_softmax(-1)
        each = rows.gather(-1, answers.tokens[..., None])[..., 0]
        return torch.where(answers.mask, each, torch.zeros_like(each)).sum(-1)

    @torch.no_grad()
    def started(self, prompts: Batch, answers: Completions) -> Tensor:
        """Return log pi(answer | prompt) as training will read it, shape (n,), without gradients."""
        parts = [self.log_probs(prompts.rows(part), answers.rows(part)) for part in self.micro_batches(len(answers))]
        return torch.cat(parts)

    def micro_batches(self, n: int) -> list[slice]:
        """Return the parts of n completions that go through the module at a time."""
        size = self.micro_batch or n
        return [slice(low, min(low + size, n)) for low in range(0, n, size)]

    # what algorithms call

    def regress(self, pairs: Any, step_size: Any) -> Self:
        """Return the solver's answer to the pair regression, from theta_t."""
        return self.with_theta(self.solver.solve_pairs(self, pairs, float(np.asarray(step_size))))

    def pair_natural_step(self, pairs: Any, step_size: Any, solver: FisherSolver) -> Self:
        """Return theta + eta F^+ E[(g_y - g_y')(r_y - r_y')]/2, F the pair Fisher, by conjugate gradients."""
        if not isinstance(solver, ConjugateGradient):
            raise TypeError("a sequence policy solves Fisher systems by products: pass solver=ConjugateGradient()")
        x = pair_direction(self, pairs, solver.max_iterations, solver.tolerance)
        return self.with_theta(self.theta + float(np.asarray(step_size)) * x)

    def fit_preferences(self, pairs: Any, step_size: Any, ridge: float) -> Self:
        """Return the policy after the solver's steps on DPO's loss, from theta, on pairs of the reference.

        ``pairs.relative`` is 1 where the first answer is preferred, -1 where the second is, and 0 for a tie.
        """
        if not isinstance(self.solver, FirstOrder):
            raise InvalidProblemError("Dpo", [f"{self.solver} solves least squares only: use solver=FirstOrder(steps)"])
        beta = 1 / float(np.asarray(step_size))
        return self.with_theta(minimised(self, pairs, logistic(beta, ridge), self.solver))

    def natural_step(self, feedback: Any, step_size: Any, solver: FisherSolver) -> Self:
        """Refuse: completions are too many to weigh all; the pair estimator is there."""
        raise TypeError("natural gradients over completions need pairs: use NaturalPolicyGradient(fisher='pairs')")

    def first_critic(self) -> SequenceCritic:
        """Return the critic that knows nothing."""
        return self.critic.built(self) if isinstance(self.critic, ValueCritic) else RunningCritic()

    def gradient(self, cells: Any) -> Tensor:
        """Return sum_i c_i grad log pi(y_i | x_i), shape (p,), for weighed samples."""
        theta = self.theta.detach().requires_grad_(True)
        total = torch.zeros_like(theta, requires_grad=False)
        for part in self.micro_batches(len(cells.answers)):
            value = (
                cells.coefficients[part] * self.log_probs(cells.prompts.rows(part), cells.answers.rows(part), theta)
            ).sum()
            total += torch.autograd.grad(value, theta)[0]
        return total

    def moved(self, direction: Tensor, step_size: Any) -> Self:
        """Return the policy at theta + eta * direction, the direction being what ``ascent`` makes of a gradient."""
        step, ascent = self.ascent.step(direction)
        return replace(self.with_theta(self.theta + float(np.asarray(step_size)) * step), ascent=ascent)


def _within(tokens: Tensor, used: int) -> Tensor:
    return (torch.arange(tokens.shape[1], device=tokens.device) < used).expand_as(tokens)
