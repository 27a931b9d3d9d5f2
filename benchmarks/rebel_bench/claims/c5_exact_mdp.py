"""C5: exact NPG in a discounted MDP, free of the number of states."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_envs as envs
import rebel_theory as rt
from rebel_bench import second_reading
from rebel_bench.claim import Claim, Inequality, Scale
from rebel_bench.figures import ratios
from rebel_bench.instances import random_problem
from rebel_bench.style import line
from rebel_theory.algorithms import Algorithm, State
from rebel_theory.arrays import FloatArray
from rebel_theory.oracles import BoundOracle
from rebel_theory.theory.bounds import exact_mdp_bound

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHAPES = ((1, 2), (2, 2), (3, 5), (10, 3), (20, 2), (40, 4))
N_UPDATES = 60


class Myopic(Algorithm):
    """Mirror descent on the immediate reward in place of Q: discounting ignored."""

    name = "myopic"

    def __init__(self, step_size: FloatArray) -> None:
        self.step_size = step_size

    def step(self, state: State, oracle: BoundOracle) -> State:
        """Return pi exp(eta r), normalised."""
        policy, mdp = state.policy, oracle.problem
        assert isinstance(policy, rt.TabularPolicy)
        assert isinstance(mdp, rt.TabularMDP)
        return State(policy.step(mdp.reward, self.eta))


def _named(scale: Scale) -> list[tuple[str, rt.TabularMDP]]:
    discount = 0.95
    mdps = [
        ("chain", envs.chain(10, discount=discount)),
        ("river swim", envs.river_swim(6, discount=discount)),
        ("combination lock", envs.combination_lock(6, discount=discount)),
        ("garnet", envs.garnet(n_states=50, n_actions=4, branching=5, discount=discount)),
    ]
    return mdps if scale == Scale.QUICK else [*mdps, ("gridworld", envs.gridworld(8, 8, discount=discount))]


def _unit_rewards(mdp: rt.TabularMDP) -> rt.TabularMDP:
    """Return the MDP with rewards moved to [0, 1], as the theorem asks; the optimal policies stay."""
    low, high = mdp.reward.min(), mdp.reward.max()
    reward = (mdp.reward - low) / (high - low)
    return rt.TabularMDP(mdp.transition, reward, discount=mdp.discount, initial_dist=mdp.initial_dist)


def _instances(rng: Generator, scale: Scale, algorithm: type) -> pd.DataFrame:
    rows = []
    n = scale.cases(quick=42, paper=420, full=12_000)
    for s, a in SHAPES:
        for discount in (0.5, 0.8, 0.95, 0.99):
            base = random_problem(rng, "mdp", s, a, n)
            assert isinstance(base, rt.TabularMDP)
            mdp = rt.TabularMDP(base.transition, base.reward, discount=discount, initial_dist=base.initial_dist)
            rows.append(measure(mdp, "random", 10 ** rng.uniform(-2, 2, size=n), algorithm))
    for name, mdp in _named(scale):
        eta = np.geomspace(1e-2, 1e2, 9)
        rows.append(measure(_unit_rewards(mdp), name, eta, algorithm))
    return pd.concat(rows, ignore_index=True)


def measure(
    mdp: rt.TabularMDP, name: str, eta: FloatArray, algorithm: type, n_updates: int = N_UPDATES
) -> pd.DataFrame:
    """Return, per instance, gap and bound at the tightest T."""
    trace = rt.run(mdp, algorithm(eta), n_iterations=n_updates)
    t = np.arange(1, n_updates + 1)
    bound = exact_mdp_bound(mdp.n_actions, eta[:, None], t, mdp.discount)
    gap = trace.gap[0, :, 1:]
    place = (gap / bound).argmax(axis=-1)
    pick = np.arange(len(eta)), place
    return pd.DataFrame(
        {"problem": name, "n_states": mdp.n_states, "n_actions": mdp.n_actions, "discount": mdp.discount,
         "step_size": eta, "n_updates": place + 1, "value": gap[pick], "bound": bound[pick]}
    )  # fmt: skip


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return, per instance, the T at which the bound is tightest."""
    return pd.concat([_instances(rng, scale, rt.NaturalPolicyGradient), _bound()], ignore_index=True)


def _bound() -> pd.DataFrame:
    """Return how far the bound is from the theorem's: no instance uses half of it."""
    found, written = [], []
    for gamma in (0.5, 0.9):
        for t in (1, 10):
            eta_npg, n_actions = 0.3, 4
            found.append(float(exact_mdp_bound(n_actions, eta_npg / (1 - gamma), t, gamma)))
            written.append(float(np.log(n_actions)) / (eta_npg * t) + 1 / ((1 - gamma) ** 2 * t))
    return second_reading.written_out(found, written)


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the same for a learner that ignores the future."""
    return _instances(rng, scale, Myopic)


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw the ratios, and the largest ratio against the number of states."""
    left, right = fig.subplots(1, 2)
    ratios(left, second_reading.theorem(cases), control_cases, label="gap / bound")
    for i, (name, table) in enumerate((("claim", cases), ("control", control_cases))):
        style = line(name, (0, 3)[i])
        style["markevery"] = None
        random = table[table["problem"] == "random"]
        worst = (random["value"] / random["bound"]).groupby(random["n_states"]).max()
        right.plot(worst.index, worst, **style)
    right.axhline(1.0, color="black", linewidth=0.8, linestyle=(0, (1, 1)))
    right.set(xscale="log", yscale="log", xlabel="states $S$", ylabel="largest gap / bound")
    right.set_yticks(ticks := [0.3, 1, 3], list(map(str, ticks)))
    right.minorticks_off()


CLAIM = Claim(
    id="C5",
    title="exact NPG in an MDP",
    statement="From the uniform policy, after T exact updates of a discounted MDP with rewards in [0, 1], "
    "V* - V^T <= ln A/(eta_npg T) + 1/((1-gamma)^2 T): no dependence on S.",
    latex=r"V^*(\rho) - V^{T}(\rho) \le \frac{\ln A}{\eta_{\mathrm{npg}} T} + \frac{1}{(1-\gamma)^2 T}",
    source="Agarwal et al. 2021 (JMLR 22), Theorem 16",
    test=Inequality(),
    check=check,
    control=control,
    control_statement="the signal is the immediate reward in place of Q",
    figure=draw,
    panels=(1, 2),
)
