"""Bandits, discounted MDPs and preference games as tensors, evaluated exactly for a batch of policies."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict

import numpy as np
import torch
from torch import Tensor

from rebel_theory.problems import (
    BernoulliNoise,
    ContextualBandit,
    GaussianNoise,
    InvalidProblemError,
    LinearMDP,
    Noise,
    NoNoise,
    PreferenceGame,
    Problem,
    TabularMDP,
)
from rebel_theory.problems.base import SelfRunning
from rebel_theory.solvers.optimal import solve

if TYPE_CHECKING:
    from rebel_theory.trace import Trace


@dataclass(frozen=True, slots=True, eq=False)
class Evaluated:
    """Exact evaluation of a batch: state weights (B, S), signal (B, S, A), gap (B,)."""

    weights: Tensor
    signal: Tensor
    gap: Tensor


class DeviceProblem(SelfRunning):
    """A problem of S rows and A actions on a device; ``rt.run`` takes it with a :class:`TorchPolicy`."""

    contexts: Tensor | None = None  # (S, k), the inputs of a policy that brings none
    linear_gap: ClassVar[bool] = True  # the average's gap is the gaps' average; in a game it is smaller
    _table: ClassVar[str] = "reward"

    @property
    def table(self) -> Tensor:
        """The tensor (S, ..., A) that says where the problem is, in which precision, and how large."""
        found: Tensor = getattr(self, self._table)
        return found

    @property
    def n_rows(self) -> int:
        """Contexts or states S."""
        return int(self.table.shape[0])

    @property
    def n_actions(self) -> int:
        """Actions A."""
        return int(self.table.shape[-1])

    @abstractmethod
    def evaluate(self, probs: Tensor) -> Evaluated:
        """Return the exact evaluation of policies (B, S, A)."""

    @abstractmethod
    def observe(self, rows: Tensor, first: Tensor, second: Tensor, probs: Tensor, stream: torch.Generator) -> Tensor:
        """Return relative rewards as observed at rows x and actions y, y' (B, n) each, unbiased."""

    def run(self, algorithm: Any, **options: Any) -> Trace:
        """Return the trace of a run, by :func:`rebel_theory.torch.device.loop.run`."""
        from rebel_theory.torch.device.loop import run

        return run(self, algorithm, **options)


@dataclass(frozen=True, eq=False)
class DeviceBandit(DeviceProblem):
    """Mean rewards (S, A), context distribution (S,), and normal noise of deviation sigma or Bernoulli rewards.

    ``contexts`` (S, k), if there are any, are the inputs of a policy that brings none.
    """

    reward: Tensor
    context_dist: Tensor
    sigma: float = 0.0
    bernoulli: bool = False
    contexts: Tensor | None = None

    def evaluate(self, probs: Tensor) -> Evaluated:
        """Return rho, r and the gap to the best action in every context."""
        short = self.reward.max(-1, keepdim=True).values - self.reward
        gap = (self.context_dist[:, None] * probs * short).sum((-2, -1))
        return Evaluated(self.context_dist.expand(probs.shape[:-1]), self.reward.expand(probs.shape), gap)

    def observe(self, rows: Tensor, first: Tensor, second: Tensor, probs: Tensor, stream: torch.Generator) -> Tensor:
        """Return r(x, y) - r(x, y'), each reward with its own noise."""
        return self._reward(rows, first, stream) - self._reward(rows, second, stream)

    def _reward(self, rows: Tensor, actions: Tensor, stream: torch.Generator) -> Tensor:
        mean = self.reward[rows, actions]
        if self.bernoulli:
            return (torch.rand(mean.shape, generator=stream, device=mean.device, dtype=mean.dtype) < mean).to(
                mean.dtype
            )
        if self.sigma == 0:
            return mean
        return mean + self.sigma * torch.randn(mean.shape, generator=stream, device=mean.device, dtype=mean.dtype)


@dataclass(frozen=True, eq=False)
class DeviceGame(DeviceProblem):
    """Preferences P(y beats y' | x) (S, A, A); the gap is the duality gap in payoffs l = 2 P - 1.

    ``contexts`` (S, k), if there are any, are the inputs of a policy that brings none.
    """

    preference: Tensor
    context_dist: Tensor
    contexts: Tensor | None = None
    linear_gap: ClassVar[bool] = False
    _table: ClassVar[str] = "preference"

    def evaluate(self, probs: Tensor) -> Evaluated:
        """Return rho, E_{y'' ~ pi} l(x, y, y''), and 2 max_{pi'} l(pi', pi)."""
        payoff = 2 * torch.einsum("sab,...sb->...sa", self.preference, probs) - 1
        gap = 2 * (self.context_dist * payoff.max(-1).values).sum(-1)
        return Evaluated(self.context_dist.expand(probs.shape[:-1]), payoff, gap)

    def observe(self, rows: Tensor, first: Tensor, second: Tensor, probs: Tensor, stream: torch.Generator) -> Tensor:
        """Return 2 (o - o') for binary outcomes of y and y' against one y'' ~ pi."""
        from rebel_theory.torch.device.sampling import actions

        rival = actions(probs, rows, stream)

        def outcome(answer: Tensor) -> Tensor:
            chance = self.preference[rows, answer, rival]
            draw = torch.rand(chance.shape, generator=stream, device=chance.device, dtype=chance.dtype)
            return (draw < chance).to(chance.dtype)

        return 2 * (outcome(first) - outcome(second))


@dataclass(frozen=True, eq=False)
class DeviceMDP(DeviceProblem):
    """A discounted MDP: transitions (S, A, S), rewards (S, A), first states (S,), optimal value of the first states."""

    transition: Tensor
    reward: Tensor
    initial_dist: Tensor
    discount: float
    optimum: float

    def evaluate(self, probs: Tensor) -> Evaluated:
        """Return d_pi, Q^pi and V* - V^pi by batched dense solves; a check of them would make the host wait."""
        n = self.n_rows
        moves = torch.einsum("bsa,sat->bst", probs, self.transition)
        system = torch.eye(n, dtype=probs.dtype, device=probs.device) - self.discount * moves
        values = torch.linalg.solve_ex(system, (probs * self.reward).sum(-1))[0]
        start = (1 - self.discount) * self.initial_dist
        visits = torch.linalg.solve_ex(system.mT, start.expand(len(probs), n))[0]
        signal = self.reward + self.discount * torch.einsum("sat,bt->bsa", self.transition, values)
        return Evaluated(visits.clamp_min(0), signal, self.optimum - values @ self.initial_dist)

    def observe(self, rows: Tensor, first: Tensor, second: Tensor, probs: Tensor, stream: torch.Generator) -> Tensor:
        """Return the difference of two roll-outs with geometric stopping, unbiased for Q(s, y) - Q(s, y')."""
        return self._roll_out(rows, first, probs, stream) - self._roll_out(rows, second, probs, stream)

    def _roll_out(self, rows: Tensor, chosen: Tensor, probs: Tensor, stream: torch.Generator) -> Tensor:
        from rebel_theory.torch.device.sampling import actions, pick

        total = self.reward[rows, chosen]
        alive = torch.ones_like(total, dtype=torch.bool)
        steps = 0
        while True:
            draw = torch.rand(total.shape, generator=stream, device=total.device, dtype=total.dtype)
            alive = alive & (draw < self.discount)
            steps += 1
            if steps % 16 == 0 and not bool(alive.any()):  # looked at now and then: every look waits for the device
                return total
            rows = pick(self.transition[rows, chosen], stream)
            chosen = actions(probs, rows, stream)
            total = total + torch.where(alive, self.reward[rows, chosen], torch.zeros_like(total))


class NoiseLaw(TypedDict):
    """How a :class:`DeviceBandit` says its noise."""

    sigma: float
    bernoulli: bool


def law_of(noise: Noise, what: str) -> NoiseLaw:
    """Return the noise of a bandit as a device knows it."""
    if type(noise) not in (NoNoise, GaussianNoise, BernoulliNoise):
        raise InvalidProblemError(
            what, [f"{type(noise).__name__} is not there on a device: NoNoise, GaussianNoise or BernoulliNoise"]
        )
    return {"sigma": getattr(noise, "sigma", 0.0), "bernoulli": isinstance(noise, BernoulliNoise)}


def on_device(
    problem: Problem, device: torch.device | str = "cpu", *, dtype: torch.dtype = torch.float64
) -> DeviceProblem:
    """Return a problem of the library as tensors on a device.

    Raises
    ------
    InvalidProblemError
        For batches of instances, sparse MDPs, discount 1, noise of your own, and kinds that have no tensors here.
    """
    what = type(problem).__name__
    if problem.batch_shape:
        raise InvalidProblemError(
            what, [f"a batch of instances {problem.batch_shape}: put them on the device one by one"]
        )

    def tensor(array: Any) -> Tensor:
        return torch.as_tensor(np.array(array, dtype=np.float64), dtype=dtype, device=device)

    contexts = None if problem.contexts is None else tensor(problem.contexts)
    if isinstance(problem, ContextualBandit):
        noise = law_of(problem.noise, what)
        return DeviceBandit(tensor(problem.reward), tensor(problem.context_dist), **noise, contexts=contexts)
    if isinstance(problem, PreferenceGame):
        table = np.asarray(problem.preference)
        whole = table[None] if table.ndim == 2 else table
        return DeviceGame(tensor(whole), tensor(np.asarray(problem.context_dist).reshape(len(whole))), contexts)
    if isinstance(problem, LinearMDP):
        transition = np.einsum("sad,dt->sat", problem.features, problem.measures, optimize=True)
        reward = problem.features @ problem.reward_weights
        best = float(solve(problem).objective)
        return DeviceMDP(tensor(transition), tensor(reward), tensor(problem.initial_dist), problem.discount, best)
    if isinstance(problem, TabularMDP):
        if problem.is_sparse:
            raise InvalidProblemError(what, ["its transitions are sparse: give dense ones (S, A, S)"])
        if problem.discount >= 1:
            raise InvalidProblemError(what, ["its discount is 1: batched evaluation here needs a discount below 1"])
        best = float(solve(problem).objective)
        return DeviceMDP(
            tensor(problem.transition), tensor(problem.reward), tensor(problem.initial_dist), problem.discount, best
        )
    raise InvalidProblemError(what, ["has no tensors: bandits, dense tabular and linear MDPs and preference games do"])
