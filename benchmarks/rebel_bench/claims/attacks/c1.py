"""How C1 is attacked."""

from __future__ import annotations

from functools import partial

import rebel_theory as rt
from rebel_bench.adversary.attack import Attack, Box, Parameters, Sides, tightest
from rebel_bench.adversary.parameters import distributions
from rebel_bench.adversary.population import Population
from rebel_bench.claims.c1_regret_bound import BASES


def _decode(p: Parameters, base: str) -> Population:
    """Return log-linear bandits of two contexts and three actions."""
    return Population(
        problem=rt.ContextualBandit(p["reward"], context_dist=distributions(p["context"])), step_size=10 ** p["eta"],
        n_iterations=5, features=p["features"], theta=p["theta"], base=base,
    )  # fmt: skip


def _sides(population: Population) -> Sides:
    """Return the average gap and the bound of the tightest T."""
    trace = population.run()
    return tightest(trace.average_gap[0, :, :-1], trace.bound["total"][0])


ATTACKS = tuple(
    Attack(
        label=base,
        space=f"two contexts of three actions; free rewards, context weights, one free feature; base {base}; T <= 5",
        parameters={
            "reward": Box(-1, 1, (2, 3)), "context": Box(-5, 5, (2,)), "features": Box(-1, 1, (2, 3, 1)),
            "theta": Box(-20, 20, (1,)), "eta": Box(-2, 3),
        },
        decode=partial(_decode, base=base),
        measure=_sides,
        budget=3_000,
    )
    for base in BASES
)  # fmt: skip
