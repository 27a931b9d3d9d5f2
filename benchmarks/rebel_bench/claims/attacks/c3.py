"""How C3 is attacked."""

from __future__ import annotations

from functools import partial

import numpy as np

import rebel_theory as rt
from rebel_bench.adversary.attack import Attack, Box, Parameters, Sides
from rebel_bench.adversary.population import Population
from rebel_bench.claims.c3_worst_case import ACTIONS, STEP_SIZE
from rebel_theory.arrays import FloatArray
from rebel_theory.theory.bounds import worst_case_gap


def _free(p: Parameters) -> Population:
    """Return bandits with every reward free."""
    return _population(p["reward"])


def _levels(p: Parameters, n_actions: int) -> Population:
    """Return bandits whose rewards take a few free levels, each with a free share of the actions."""
    share = np.cumsum(p["share"] / p["share"].sum(axis=-1, keepdims=True), axis=-1)[:, :-1]  # (m, levels - 1)
    level = (np.arange(n_actions)[:, None] >= np.round(share * n_actions)[:, None]).sum(axis=-1)
    return _population(np.take_along_axis(p["reward"], level, axis=-1))


def _population(reward: FloatArray) -> Population:
    bandit = rt.ContextualBandit(reward[:, None])
    return Population(problem=bandit, step_size=np.full(len(reward), STEP_SIZE), n_iterations=16)


def _sides(population: Population) -> Sides:
    """Return the last gap and the formula."""
    gap = population.run().gap[0, :, -1]
    exact = worst_case_gap(population.problem.n_actions, population.step_size, population.n_iterations)
    return gap, exact


FEW = {
    n: Attack(
        label=f"n{n}", space=f"{n} actions, every reward free in [0, 1]; uniform start, eta = 1/2, T = 16",
        parameters={"reward": Box(0, 1, (n,))}, decode=_free, measure=_sides, target=0.99, budget=4_000,
    )
    for n in ACTIONS[:2]
}  # fmt: skip
MANY = Attack(
    label="n1000", space="1,000 actions, rewards on three free levels, free shares; uniform start, eta = 1/2, T = 16",
    parameters={"reward": Box(0, 1, (3,)), "share": Box(1e-6, 1, (3,))}, decode=partial(_levels, n_actions=1_000),
    measure=_sides, target=0.99, budget=3_000,
)  # fmt: skip
ATTACKS = (*FEW.values(), MANY)
