"""How C7 is attacked."""

from __future__ import annotations

from functools import partial

import numpy as np

import rebel_theory as rt
from rebel_bench.adversary.attack import Attack, Box, Parameters, Sides
from rebel_bench.adversary.parameters import distributions
from rebel_bench.adversary.population import Population
from rebel_bench.claims.c7_entropy_npg import N_UPDATES, measure


def _decode(p: Parameters, temperature: float) -> Population:
    """Return MDPs of two states and two actions; the step is a share of the largest allowed."""
    mdp = rt.TabularMDP(distributions(p["transition"]), p["reward"], discount=0.9)
    return Population(
        problem=mdp, step_size=10 ** p["share"] / temperature, n_iterations=N_UPDATES, logits=p["logits"],
        algorithm="entropy-npg", options={"temperature": temperature},
    )  # fmt: skip


def _sides(population: Population) -> Sides:
    """Return the error of Q and the bound of the tightest number of updates."""
    mdp, policy = population.problem, population.policy
    assert isinstance(mdp, rt.TabularMDP)
    assert isinstance(policy, rt.TabularPolicy)
    tau = float(population.options["temperature"])
    table = measure(mdp, policy, tau, population.step_size * tau, rt.EntropyNPG, population.n_iterations)
    return np.where(population.step_size * tau <= 1, table["value"], 0.0), table["bound"].to_numpy()


ATTACKS = tuple(
    Attack(
        label=f"tau{temperature:g}",
        space=f"two states, two actions, discount 0.9, temperature {temperature:g}; free rewards in [0, 1], "
        "transitions, first policies and steps up to the largest; t <= 80",
        parameters={
            "transition": Box(-8, 8, (2, 2, 2)), "reward": Box(0, 1, (2, 2)), "logits": Box(-10, 10, (2, 2)),
            "share": Box(-2, 0),
        },
        decode=partial(_decode, temperature=temperature),
        measure=_sides,
        budget=3_000,
    )
    for temperature in (0.1, 1.0)
)  # fmt: skip
