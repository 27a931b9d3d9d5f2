"""Identity preference optimisation: offline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from numpy.typing import ArrayLike

from rebel_theory.algorithms._comparing import OfflineComparing, law_of
from rebel_theory.algorithms.base import State, check_step_size
from rebel_theory.oracles import BoundOracle
from rebel_theory.policies import BaseLike, Policy, as_base


@dataclass(frozen=True, eq=False)
class Ipo(OfflineComparing):
    r"""Regress log-ratio differences on which answer was preferred (Azar et al. 2023, arXiv:2310.12036, section 5).

    .. math::
        \arg\min_\pi E_{y,y'\sim\mu}\Big[\Big(h(y) - h(y') - \tfrac{1}{2\beta}(2o-1)\Big)^2\Big],
        \qquad h = \ln(\pi/\pi_{ref}),

    o = 1 where y was preferred. A tabular class attains pi prop. to pi_ref exp(P(. beats mu) / beta). ``step_size`` is
    1 / beta (the source's tau is beta), which multiplies P: per unit of payoff l = 2 P - 1 it is half of that. It is
    one regression from pi_ref, the first policy, on answers of mu: every step solves it again from there, so an exact
    run, or one on a data set, stays where its first step went.

    Parameters
    ----------
    step_size : float or array
        1 / beta.
    base : "first", "uniform", a policy, or an array (S, A)
        mu; a data set is its own. "first" is the first policy.
    """

    name: ClassVar[str] = "IPO"
    key: ClassVar[str] = "ipo"
    source: ClassVar[str] = "Azar et al. 2023 (arXiv:2310.12036), section 5"
    update: ClassVar[str] = "regress h(y) - h(y') on (2 o - 1)/(2 beta), y, y' ~ mu, h = ln pi/pi_ref"
    conditions: ClassVar[str] = "preference game or a data set of preferences; answers of a fixed law mu"
    rate: ClassVar[str] = "one regression: pi prop. to pi_ref exp(P(. beats mu)/beta), exact tabular (E8)"

    step_size: ArrayLike
    base: BaseLike = "first"

    def __post_init__(self) -> None:
        check_step_size("Ipo", self.step_size)
        if not (isinstance(self.base, str) and self.base == "first"):
            as_base(self.base)

    def init(self, policy: Policy) -> State:
        """Return the first policy, which is also the reference."""
        return State(policy, policy)

    def step(self, state: State, oracle: BoundOracle) -> State:
        """Return the solution of the regression from the reference."""
        first: Policy = state.memory
        seen = oracle.comparisons(first, law_of(self.base, first, oracle.problem))
        return State(first.regress(seen.pairs(), self.eta / 2), first)
