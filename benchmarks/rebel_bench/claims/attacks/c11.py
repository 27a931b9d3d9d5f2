"""How C11 is attacked."""

from __future__ import annotations

from functools import partial

import rebel_theory as rt
from rebel_bench.adversary.attack import Attack, Box, Parameters, Sides
from rebel_bench.adversary.parameters import two_states
from rebel_bench.adversary.population import Population
from rebel_bench.claims.c11_mdp_regret_bound import BASES, measure


def _decode(p: Parameters, base: str) -> Population:
    """Return log-linear MDPs of two states and three actions, discount 0.9."""
    mdp = rt.TabularMDP(two_states(p["transition"]), p["reward"], discount=0.9, initial_dist=two_states(p["initial"]))
    return Population(
        problem=mdp, step_size=10 ** p["eta"], n_iterations=5, features=p["features"], theta=p["theta"], base=base
    )


def _sides(population: Population) -> Sides:
    """Return the average gap and the bound of the tightest T."""
    mdp, start, base = population.problem, population.policy, population.base
    assert isinstance(mdp, rt.TabularMDP)
    assert isinstance(start, rt.LogLinearPolicy)
    assert isinstance(base, str)
    table = measure("attack", mdp, start, population.step_size, base, population.n_iterations, True, rt.Exact(), 0)
    return table["value"].to_numpy(), table["bound"].to_numpy()


ATTACKS = tuple(
    Attack(
        label=base,
        space=f"two states, three actions, discount 0.9; free rewards, transitions, one feature; base {base}; T <= 5",
        parameters={
            "transition": Box(-12, 12, (2, 3)), "reward": Box(-1, 1, (2, 3)), "initial": Box(-8, 8),
            "features": Box(-1, 1, (2, 3, 1)), "theta": Box(-20, 20, (1,)), "eta": Box(-2, 6),
        },
        decode=partial(_decode, base=base),
        measure=_sides,
        budget=4_500,
    )
    for base in BASES
)  # fmt: skip
