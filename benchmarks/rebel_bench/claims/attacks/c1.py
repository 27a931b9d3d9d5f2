"""How C1 is attacked."""

from __future__ import annotations

from functools import partial

import numpy as np

import rebel_theory as rt
from rebel_bench.adversary.attack import Attack, Box, Parameters, Sides, tightest
from rebel_bench.adversary.population import Population
from rebel_bench.claims.c1_regret_bound import BASES

N_ATTACKED = 200  # the bound without misfit is nearly attained by many short steps


def _decode(p: Parameters, base: str) -> Population:
    """Return log-linear bandits of three actions; a feature matters up to its origin and unit."""
    features = np.stack([np.zeros_like(p["third"]), np.ones_like(p["third"]), p["third"]], axis=-1)
    return Population(
        problem=rt.ContextualBandit(p["reward"][:, None]), step_size=10 ** p["eta"], n_iterations=N_ATTACKED,
        features=features[:, None, :, None], theta=p["theta"], base=base,
    )  # fmt: skip


def _sides(population: Population) -> Sides:
    """Return the average gap and the bound of the tightest T."""
    trace = population.run()
    return tightest(trace.average_gap[0, :, :-1], trace.bound["total"][0])


ATTACKS = tuple(
    Attack(
        label=base,
        space="three actions; free rewards, one feature, 0, 1 and a multiple of 1/2 up to 2 either way, first "
        f"policy and step (1e-3 to 1e3); base {base}; T <= {N_ATTACKED}",
        parameters={
            "reward": Box(-1, 1, (3,)), "third": Box(-2, 2, step=0.5), "theta": Box(-30, 30, (1,)), "eta": Box(-3, 3),
        },
        decode=partial(_decode, base=base),
        measure=_sides,
        budget=4_500,
    )
    for base in BASES
)  # fmt: skip
