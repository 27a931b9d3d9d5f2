"""Mirror descent: KL (Hedge, soft policy iteration), Euclidean and Tsallis maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from numpy.typing import ArrayLike

from rebel_theory.algorithms.base import Algorithm, State, check_step_size
from rebel_theory.algorithms.mirror_maps import MirrorMap, as_mirror_map
from rebel_theory.arrays import as_kind
from rebel_theory.oracles import BoundOracle


@dataclass(frozen=True, eq=False)
class MirrorDescent(Algorithm):
    r"""Move the policy in function space, then project on the class.

    .. math::
        \pi_{t+1}(\cdot|x) = \arg\max_p\; \eta \langle q_{\pi_t}(x,\cdot), p\rangle - D_\psi(p, \pi_t(\cdot|x))

    With the KL divergence, pi_{t+1} is proportional to pi_t exp(eta q): Hedge, multiplicative weights, soft policy
    iteration. A parametric class takes the minimiser of E_{x~d} KL(target || pi_theta) (forward projection).

    Parameters
    ----------
    step_size : float or array
        The functional eta.
    mirror_map : "kl", "euclidean", or a MirrorMap such as ``TsallisMap(0.5)``
        Sources: Nemirovski and Yudin 1983; Xiao 2022 (JMLR 23) for policy mirror descent.
    """

    name: ClassVar[str] = "MD"
    key: ClassVar[str] = "md"
    source: ClassVar[str] = "Nemirovski and Yudin 1983; Xiao 2022 (JMLR 23)"
    update: ClassVar[str] = "pi_{t+1} = argmax_p eta <q_t, p> - D_psi(p, pi_t), projected on the class"
    conditions: ClassVar[str] = "exact tabular for the rate"
    rate: ClassVar[str] = "bandit: gap <= KL/(eta T) (C2); game: average's duality gap <= 2 sqrt(2 ln n/T) (P1)"

    step_size: ArrayLike
    mirror_map: Literal["kl", "euclidean"] | MirrorMap = "kl"

    def __post_init__(self) -> None:
        check_step_size("MirrorDescent", self.step_size)
        as_mirror_map(self.mirror_map)

    def step(self, state: State, oracle: BoundOracle) -> State:
        """Return the projection of the mirror step at every visited row."""
        feedback = oracle.feedback(state.policy)
        eta = as_kind(self.eta.reshape(*self.eta.shape, 1, 1), feedback.signal)
        target = as_mirror_map(self.mirror_map).move(state.policy.log_probs, eta * feedback.signal)
        return State(state.policy.project(target, feedback))
