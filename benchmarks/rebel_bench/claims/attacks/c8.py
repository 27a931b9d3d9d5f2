"""How C8 is attacked."""

from __future__ import annotations

import rebel_theory as rt
from rebel_bench.adversary.attack import Attack, Box, Parameters, Sides
from rebel_bench.adversary.population import Population


def _decode(p: Parameters) -> Population:
    """Return log-linear bandits of three actions with one feature, nothing tied, and a base of at least 1e-4."""
    mu = 10 ** p["mu"]
    return Population(
        problem=rt.ContextualBandit(p["reward"][:, None] ** 3), step_size=10 ** p["eta"], n_iterations=N_ATTACKED,
        features=p["features"][:, None], theta=p["theta"], base=(mu / mu.sum(axis=-1, keepdims=True))[:, None],
    )  # fmt: skip


def _sides(population: Population) -> Sides:
    """Return the average gap of the T iterates and C1's whole bound: misfit, progress and curvature."""
    trace = population.run()
    return trace.average_gap[0, :, -2], trace.bound["total"][0, :, -1]


N_ATTACKED = 5
ATTACKS = (
    Attack(
        space="three actions; free rewards, base mu >= 1e-4/3, one free feature an action, first policy and step "
        f"(up to 1e6); average gap / C1's bound after T = {N_ATTACKED}",
        parameters={
            "reward": Box(-1, 1, (3,)), "mu": Box(-4, 0, (3,)), "features": Box(-1, 1, (3, 1)),
            "theta": Box(-20, 20, (1,)), "eta": Box(0, 6),
        },
        decode=_decode,
        measure=_sides,
        target=0.95,
        budget=4_500,
    ),
)  # fmt: skip
