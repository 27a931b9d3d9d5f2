"""How C5 is attacked."""

from __future__ import annotations

import rebel_theory as rt
from rebel_bench.adversary.attack import Attack, Box, Parameters, Sides
from rebel_bench.adversary.parameters import two_states
from rebel_bench.adversary.population import Population
from rebel_bench.claims.c5_exact_mdp import N_UPDATES, measure


def _decode(p: Parameters) -> Population:
    """Return MDPs of two states and three actions, with rewards in [0, 1]."""
    mdp = rt.TabularMDP(two_states(p["transition"]), p["reward"], discount=0.9, initial_dist=two_states(p["initial"]))
    return Population(problem=mdp, step_size=10 ** p["eta"], n_iterations=N_UPDATES, algorithm="npg")


def _sides(population: Population) -> Sides:
    """Return the gap and the bound of the tightest T; the theorem starts from uniform."""
    assert isinstance(population.problem, rt.TabularMDP)
    eta, t = population.step_size, population.n_iterations
    table = measure(population.problem, "attack", eta, rt.NaturalPolicyGradient, t)
    return table["value"].to_numpy(), table["bound"].to_numpy()


ATTACKS = (
    Attack(
        space="two states, three actions, discount 0.9; free rewards in [0, 1], transitions, starts; T <= 60",
        parameters={
            "transition": Box(-12, 12, (2, 3)), "reward": Box(0, 1, (2, 3)), "initial": Box(-8, 8),
            "eta": Box(-2, 2),
        },
        decode=_decode,
        measure=_sides,
    ),
)  # fmt: skip
