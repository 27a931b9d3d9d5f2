"""How C9 is attacked."""

from __future__ import annotations

from functools import partial

import numpy as np

import rebel_theory as rt
from rebel_bench.adversary.attack import Attack, Box, Parameters, Sides
from rebel_bench.adversary.parameters import distributions
from rebel_bench.adversary.population import Population
from rebel_bench.claims.c9_slow_gradient import half_times
from rebel_theory.theory.bounds import gradient_half_time, natural_half_time


def _decode(p: Parameters, role: str) -> Population:
    """Return bandits with one best arm, action 0, over two equal others, rewards in [0, 1]."""
    best, lead = 10 ** p["best"], p["lead"]
    share = distributions(p["others"]) * (1 - best[:, None])
    start = np.concatenate([best[:, None], share], axis=-1)[:, None]
    reward = np.zeros(start.shape)
    reward[:, 0, 0] = lead
    return Population(
        problem=rt.ContextualBandit(reward), step_size=p["eta"], n_iterations=500, logits=np.log(start), algorithm=role
    )


def _sides(population: Population) -> Sides:
    """Return PG's lower bound and its half-time, or NPG's half-time and its upper bound."""
    bandit, eta, start = population.problem, population.step_size, population.policy.probs[0]
    assert isinstance(bandit, rt.ContextualBandit)
    lead = bandit.reward[:, 0, 0] - bandit.reward[:, 0, 1:].max(axis=-1)
    kind = rt.PolicyGradient if population.algorithm == "pg" else rt.NaturalPolicyGradient
    times = half_times(bandit, kind(eta), start, population.n_iterations)
    if population.algorithm == "pg":
        return gradient_half_time(start[:, 0, 0], eta, lead), times
    return times, natural_half_time(start[:, 0, 0], eta, lead)


ATTACKS = tuple(
    Attack(
        label=role, space=f"half-time of {role}: one best arm over two equal others; free lead, step and start",
        parameters={
            "best": Box(-2, -0.31), "lead": Box(0.5, 1), "eta": Box(0.4, 1), "others": Box(-5, 5, (2,)),
        },
        decode=partial(_decode, role=role), measure=_sides, budget=1_500,
    )
    for role in ("pg", "npg")
)  # fmt: skip
