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

N_ATTACKED = 1_000  # updates; a longer half-time counts as infinite, and meets a lower bound


def _decode(p: Parameters, role: str) -> Population:
    """Return bandits with one best arm, action 0, over two equal others; PG's step has a half-time of 10^p["time"]."""
    best, lead = 10 ** p["best"], p["lead"]
    share = distributions(p["others"]) * (1 - best[:, None])
    start = np.concatenate([best[:, None], share], axis=-1)[:, None]
    reward = np.zeros(start.shape)
    reward[:, 0, 0] = lead
    eta = gradient_half_time(best, 1, lead) / 10 ** p["time"] if role == "pg" else 10 ** p["time"]
    return Population(
        problem=rt.ContextualBandit(reward), step_size=eta, n_iterations=N_ATTACKED, logits=np.log(start),
        algorithm=role,
    )  # fmt: skip


def _sides(population: Population) -> Sides:
    """Return PG's lower bound and its half-time, or NPG's half-time and its upper bound."""
    bandit, eta, start = population.problem, population.step_size, population.policy.probs[0]
    assert isinstance(bandit, rt.ContextualBandit)
    lead = bandit.reward[:, 0, 0] - bandit.reward[:, 0, 1:].max(axis=-1)
    kind = rt.PolicyGradient if population.algorithm == "pg" else rt.NaturalPolicyGradient
    times = half_times(bandit, kind(eta), start, population.n_iterations)
    if population.algorithm == "pg":
        return gradient_half_time(start[:, 0, 0], eta, lead), times
    bound = natural_half_time(start[:, 0, 0], eta, lead)
    return np.where(bound < population.n_iterations, times, 0.0), bound  # what the run could not show is not judged


SPACE = "half-time of {}: one best arm, of probability 1e-8 to 1/2, over two equal others; free lead, step and start"
ATTACKS = tuple(
    Attack(
        label=role, space=f"{SPACE.format(role)}; at most {N_ATTACKED:,} updates",
        parameters={"best": Box(-8, -0.31), "lead": Box(0.01, 1), "time": Box(*time), "others": Box(-20, 20, (2,))},
        decode=partial(_decode, role=role), measure=_sides, budget=1_200,
    )
    for role, time in (("pg", (0.0, 3.0)), ("npg", (-1.0, 1.0)))
)  # fmt: skip
