"""Policy mirror descent with geometrically growing steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.algorithms.base import Algorithm, State, check_step_size
from rebel_theory.algorithms.mirror_descent import MirrorDescent
from rebel_theory.algorithms.mirror_maps import MirrorMap, as_mirror_map
from rebel_theory.arrays import FloatArray
from rebel_theory.oracles import BoundOracle
from rebel_theory.policies import Policy
from rebel_theory.problems.base import InvalidProblemError

_LARGEST = 1e100  # the steps stop growing here; the policy is greedy long before


@dataclass(frozen=True, eq=False)
class GrowingMirrorDescent(Algorithm):
    r"""Mirror descent with eta_k = growth^k eta_0: linear convergence (Xiao 2022, JMLR 23).

    Parameters
    ----------
    step_size : float or array
        The first eta.
    growth : float > 1, or an array of the step size's shape
        Linear convergence asks for vartheta/(vartheta - 1) at least, vartheta = |d*/rho|_inf/(1-gamma):
        :func:`rebel_theory.theory.bounds.growth_factor` gives it; 1/gamma serves where rho is the stationary
        distribution of the optimal policy.
    mirror_map : "kl", "euclidean", or a MirrorMap such as ``TsallisMap(0.5)``
    """

    name: ClassVar[str] = "MD (growing)"
    key: ClassVar[str] = "md-growing"
    source: ClassVar[str] = "Xiao 2022 (JMLR 23)"
    update: ClassVar[str] = "mirror descent with eta_k = growth^k eta_0"
    conditions: ClassVar[str] = "exact, tabular, discounted; growth >= vartheta/(vartheta - 1)"
    rate: ClassVar[str] = "gap <= (1 - 1/vartheta)^k (gap_0 + D_0/((1-gamma) eta_0 (vartheta - 1))) (C6)"

    step_size: ArrayLike
    growth: ArrayLike = 2.0
    mirror_map: Literal["kl", "euclidean"] | MirrorMap = "kl"

    def __post_init__(self) -> None:
        check_step_size("GrowingMirrorDescent", self.step_size)
        as_mirror_map(self.mirror_map)
        growth = np.asarray(self.growth, dtype=np.float64)
        if growth.shape not in ((), self.eta.shape):  # its axes would meet the axis of seeds
            what = f"growth has shape {growth.shape}, expected a number, or the step size's shape {self.eta.shape}"
            raise InvalidProblemError("GrowingMirrorDescent", [what])
        bad = growth[~((growth > 1) & (growth < np.inf))]
        if bad.size:
            raise InvalidProblemError(
                "GrowingMirrorDescent",
                [f"growth is {bad[0]}, expected a finite number > 1: for constant steps use MirrorDescent"],
            )

    def eta_at(self, t: int) -> FloatArray:
        """Return growth^t eta_0, at most 1e100."""
        with np.errstate(over="ignore"):
            grown = self.eta * np.asarray(self.growth, dtype=np.float64) ** t
        return np.asarray(np.minimum(grown, np.maximum(_LARGEST, self.eta)))

    def init(self, policy: Policy) -> State:
        """Return the first policy, before update 0."""
        return State(policy, 0)

    def step(self, state: State, oracle: BoundOracle) -> State:
        """Return the mirror step with eta_k."""
        moved = MirrorDescent(self.eta_at(state.memory), mirror_map=self.mirror_map).step(State(state.policy), oracle)
        return State(moved.policy, state.memory + 1)
