"""How C2 is attacked."""

from __future__ import annotations

import numpy as np

import rebel_theory as rt
from rebel_bench.adversary.attack import Attack, Box, Parameters, Sides, tightest
from rebel_bench.adversary.population import Population
from rebel_theory.theory.bounds import exact_bandit_bound


def _decode(p: Parameters) -> Population:
    """Return bandits of three actions with their first policies."""
    bandit = rt.ContextualBandit(p["reward"][:, None])
    return Population(problem=bandit, step_size=10 ** p["eta"], n_iterations=20, logits=p["logits"][:, None])


def _sides(population: Population) -> Sides:
    """Return the gap and KL/(eta T) of the tightest T."""
    trace = population.run()
    t = np.arange(1, population.n_iterations + 1)
    bound = exact_bandit_bound(trace.kl[0, :, :1], population.step_size[:, None], t)
    return tightest(trace.gap[0, :, 1:], bound)


ATTACKS = (
    Attack(
        space="one context, three actions; free rewards and first policies down to e^-200; T <= 20",
        parameters={"reward": Box(0, 1, (3,)), "logits": Box(-100, 100, (3,)), "eta": Box(-2, 3)},
        decode=_decode,
        measure=_sides,
    ),
)
