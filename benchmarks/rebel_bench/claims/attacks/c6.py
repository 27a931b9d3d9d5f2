"""How C6 is attacked."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

import rebel_theory as rt
from rebel_bench.adversary.attack import Attack, Box, Parameters, Sides, tightest
from rebel_bench.adversary.parameters import two_states
from rebel_bench.adversary.population import Population
from rebel_bench.claims.c6_growing_steps import curves, mismatch_of
from rebel_bench.instance_files import Instance
from rebel_theory.theory.bounds import growth_factor


def _decode(p: Parameters, discount: float) -> Population:
    """Return MDPs of two states and three actions, with the least growth that the statement allows."""
    start = 0.5 * two_states(p["initial"]) + 0.25  # d*/rho stays below 4
    mdp = rt.TabularMDP(two_states(p["transition"]), p["reward"], discount=discount, initial_dist=start)
    growth = growth_factor(mismatch_of(mdp))
    return Population(
        problem=mdp, step_size=10 ** p["eta"], n_iterations=N_ATTACKED, logits=p["logits"], algorithm="md-growing",
        options={"growth": growth},
    )  # fmt: skip


def _sides(population: Population) -> Sides:
    """Return the gap and the bound of the tightest number of updates; steps that grow too slowly are not judged.

    Before the bound is below half of the first gap it says little, and counts only where it is false.
    """
    mdp, first = population.problem, population.policy
    assert isinstance(mdp, rt.TabularMDP)
    assert isinstance(first, rt.TabularPolicy)
    gap, bound = curves(mdp, population.step_size, population.n_iterations, discount=mdp.discount, first=first)
    growth = np.asarray(population.options["growth"])
    allowed = np.abs(growth / growth_factor(mismatch_of(mdp)) - 1) <= 1e-9
    gap = np.where(allowed[:, None], gap, 0.0)
    return tightest(gap[:, 1:], bound[:, 1:], bound[:, 1:] <= gap[:, :1] / 2)


def _adjust(instance: Instance) -> Instance:
    """Return the instance with the least growth that the statement allows."""
    assert isinstance(instance.problem, rt.TabularMDP)
    return replace(instance, options={"growth": float(growth_factor(mismatch_of(instance.problem)))})


N_ATTACKED = 40
ATTACKS = tuple(
    Attack(
        label=f"gamma{discount:g}",
        space=f"two states, three actions, discount {discount:g}; free rewards in [0, 1], transitions, starts, first "
        f"policies down to e^-200 and steps; k <= {N_ATTACKED}, where the bound is at most half of the first gap",
        parameters={
            "transition": Box(-12, 12, (2, 3)), "reward": Box(0, 1, (2, 3)), "logits": Box(-100, 100, (2, 3)),
            "initial": Box(-8, 8), "eta": Box(-3, 6),
        },
        decode=partial(_decode, discount=discount),
        measure=_sides,
        adjust=_adjust,
    )
    for discount in (0.5, 0.9)
)  # fmt: skip
