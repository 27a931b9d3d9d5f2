"""Optimistic multiplicative weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.algorithms._magnets import per_cell
from rebel_theory.algorithms.base import Algorithm, State, check_step_size
from rebel_theory.oracles import BoundOracle
from rebel_theory.policies import Policy


@dataclass(frozen=True, eq=False)
class Omwu(Algorithm):
    r"""Count the latest signal twice and take the one before off (Daskalakis and Panageas 2019, arXiv:1807.04252).

    .. math::
        \pi_{t+1} \propto \pi_t \exp(\eta (2 q_t - q_{t-1})), \qquad q_0 = q_1.

    Optimistic Hedge with the last signal as the prediction (Rakhlin and Sridharan 2013, arXiv:1311.1869); the first
    step is plain multiplicative weights. A row that a sample missed keeps the signal of its latest visit. The sources'
    step multiplies a payoff matrix; here it multiplies l = 2 P - 1.

    Parameters
    ----------
    step_size : float or array
        The functional eta.
    """

    name: ClassVar[str] = "OMWU"
    key: ClassVar[str] = "omwu"
    source: ClassVar[str] = "Daskalakis and Panageas 2019 (arXiv:1807.04252); Rakhlin and Sridharan 2013"
    update: ClassVar[str] = "pi_{t+1} prop. to pi_t exp(eta (2 q_t - q_{t-1}))"
    conditions: ClassVar[str] = "game: small eta, full support at the start, a unique von Neumann winner"
    rate: ClassVar[str] = "last iterate converges (P3); linearly for eta <= 1/8 (Wei et al. 2021, arXiv:2006.09517)"

    step_size: ArrayLike

    def __post_init__(self) -> None:
        check_step_size("Omwu", self.step_size)

    def init(self, policy: Policy) -> State:
        """Return the first policy; no signal is remembered."""
        return State(policy, None)

    def step(self, state: State, oracle: BoundOracle) -> State:
        """Return the projection of the optimistic step at every visited row."""
        feedback = oracle.feedback(state.policy)
        now, visited = feedback.signal, feedback.visited[..., None]
        before, known = (now, visited) if state.memory is None else state.memory
        if state.memory is not None and not known.all():
            before = np.where(known, before, now)
        target = state.policy.log_probs + per_cell(self.eta) * (2 * now - before)
        latest = now if visited.all() else np.where(visited, now, before)
        return State(state.policy.project(target, feedback), (latest, known | visited))
