"""Finite-horizon MDPs, stationary or with arrays per step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.arrays import BoolArray, FloatArray
from rebel_theory.problems.bandit import check_sizes
from rebel_theory.problems.base import Problem, checking, initial_distribution, normalised


@dataclass(frozen=True, eq=False, init=False)
class FiniteHorizonMDP(Problem):
    """An MDP of ``horizon`` steps; policies have one slice per step, shape (H, S, A).

    Parameters
    ----------
    transition : shape (S, A, S), or (..., H, S, A, S) with one slice per step
        P_h(t | s, a). The last step's transition is never used.
    reward : shape (S, A), or (..., H, S, A)
        Expected reward of each step.
    horizon : int >= 1
        Number of steps H.
    initial_dist : shape (S,) or (..., S), optional
        Distribution of the first state, uniform by default.

    Notes
    -----
    State weights are the probabilities of (h, s) divided by H, so that they sum to 1 over all steps.
    """

    transition: FloatArray  # (..., H, S, A, S)
    reward: FloatArray  # (..., H, S, A)
    horizon: int
    initial_dist: FloatArray  # (..., S)
    _own_axes: ClassVar[dict[str, int]] = {"transition": 4, "reward": 3, "initial_dist": 1}

    def __init__(
        self,
        transition: ArrayLike,
        reward: ArrayLike,
        *,
        horizon: int,
        initial_dist: ArrayLike | None = None,
    ) -> None:
        with checking("FiniteHorizonMDP") as checks:
            steps = int(horizon) if isinstance(horizon, (int, float, np.number)) and np.isfinite(horizon) else 0
            if not checks.require(
                steps == horizon and steps >= 1, f"horizon is {horizon!r}, expected an integer of at least 1"
            ):
                checks.finish()
            r = checks.array("reward", reward, "rewards of shape (S, A) or (H, S, A)")
            p = checks.array("transition", transition, "probabilities of shape (S, A, S) or (H, S, A, S)")
            if not checks.require(r.ndim >= 2, f"reward has shape {r.shape}, expected (S, A) or (H, S, A)"):
                checks.finish()
            n_states, n_actions = r.shape[-2:]
            check_sizes(checks, "reward", n_states, n_actions, "state")
            checks.finite("reward", r, ("h", "s", "a") if r.ndim >= 3 else ("s", "a"))
            expected = (n_states, n_actions, n_states)
            if checks.require(
                p.shape[-3:] == expected,
                f"transition has shape {p.shape}, expected {expected} (or one slice per step) to match the reward",
            ):
                checks.distribution("transition", p, ("h", "s", "a", "t") if p.ndim >= 4 else ("s", "a", "t"))
            for name, array, k in (("reward", r, 2), ("transition", p, 3)):
                if array.ndim > k:
                    checks.require(
                        array.shape[-k - 1] == steps,
                        f"{name} has {array.shape[-k - 1]} slices, expected one per step (horizon {steps}) or a "
                        f"stationary array of {k} axes",
                    )
            rho = initial_distribution(checks, initial_dist, n_states)
        p = normalised(p)
        object.__setattr__(self, "transition", p if p.ndim > 3 else np.broadcast_to(p, (steps, *p.shape)))
        object.__setattr__(self, "reward", r if r.ndim > 2 else np.broadcast_to(r, (steps, *r.shape)))
        object.__setattr__(self, "horizon", steps)
        object.__setattr__(self, "initial_dist", normalised(rho))

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape (H, S)."""
        return (self.horizon, self.n_states)

    @property
    def n_states(self) -> int:
        """Number of states S."""
        return int(self.reward.shape[-2])

    @property
    def n_actions(self) -> int:
        """Number of actions A."""
        return int(self.reward.shape[-1])

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Leading axes: a batch of instances."""
        return np.broadcast_shapes(self.transition.shape[:-4], self.reward.shape[:-3], self.initial_dist.shape[:-1])

    @cached_property
    def reachable(self) -> BoolArray:
        """Mask (..., H, S) of the (step, state) pairs that a policy with full support visits."""
        seen = [self.initial_dist > 0]
        for h in range(self.horizon - 1):
            edges = self.transition[..., h, :, :, :].max(axis=-2)  # (..., S, S)
            seen.append(np.matmul(seen[-1][..., None, :].astype(np.float64), edges)[..., 0, :] > 0)
        return np.stack(np.broadcast_arrays(*seen), axis=-2)

    def _natural_policy(self, array: FloatArray) -> FloatArray:
        """Repeat a stationary policy (S, A) over the steps."""
        if array.shape == (self.n_states, self.n_actions):
            return np.broadcast_to(array, self.policy_shape)
        return array
