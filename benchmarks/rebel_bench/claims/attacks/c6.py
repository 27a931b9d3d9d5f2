"""How C6 is attacked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

import rebel_theory as rt
from rebel_bench.adversary.attack import Attack, Box, Parameters, Sides
from rebel_bench.adversary.parameters import two_states
from rebel_bench.adversary.population import Population
from rebel_bench.claims.c6_growing_steps import measure, mismatch_of
from rebel_bench.instance_files import Instance
from rebel_theory.theory.bounds import growth_factor


def _decode(p: Parameters) -> Population:
    """Return MDPs of two states and three actions, with the least growth that the statement allows."""
    start = 0.5 * two_states(p["initial"]) + 0.25  # d*/rho stays below 4
    mdp = rt.TabularMDP(
        two_states(p["transition"]), 10 ** p["unit"][:, None, None] * p["reward"], discount=0.99, initial_dist=start
    )
    growth = growth_factor(mismatch_of(mdp))
    return Population(
        problem=mdp, step_size=10 ** p["eta"], n_iterations=30, algorithm="md-growing", options={"growth": growth}
    )


def _sides(population: Population) -> Sides:
    """Return the gap and the bound of the tightest number of updates; steps that grow too slowly are not judged."""
    mdp = population.problem
    assert isinstance(mdp, rt.TabularMDP)
    table = measure(mdp, "attack", population.step_size, population.n_iterations, False)
    growth = np.asarray(population.options["growth"])
    allowed = np.abs(growth / growth_factor(mismatch_of(mdp)) - 1) <= 1e-9
    return np.where(allowed, table["value"], 0.0), table["bound"].to_numpy()


def _adjust(instance: Instance) -> Instance:
    """Return the instance with the least growth that the statement allows."""
    assert isinstance(instance.problem, rt.TabularMDP)
    return replace(instance, options={"growth": float(growth_factor(mismatch_of(instance.problem)))})


ATTACKS = (
    Attack(
        space="two states, three actions, discount 0.99; free rewards in [0, 1], transitions, starts; k <= 30",
        parameters={
            "transition": Box(-12, 12, (2, 3)), "reward": Box(0, 1, (2, 3)), "unit": Box(-6, 0),
            "initial": Box(-8, 8), "eta": Box(-2, 6),
        },
        decode=_decode,
        measure=_sides,
        adjust=_adjust,
    ),
)  # fmt: skip
