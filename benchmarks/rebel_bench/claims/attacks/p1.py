"""How P1 is attacked."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

import rebel_theory as rt
from rebel_bench.adversary.attack import Attack, Box, Parameters, Sides
from rebel_bench.adversary.parameters import preferences
from rebel_bench.adversary.population import Population
from rebel_bench.claims.p1_self_play import final_gap
from rebel_bench.instance_files import Instance
from rebel_theory.theory.bounds import self_play_bound, self_play_step_size


def _decode(p: Parameters, n_actions: int, n_iterates: int) -> Population:
    """Return games of free preferences; T iterates are T - 1 updates."""
    game = rt.PreferenceGame(preferences(p["preference"], n_actions))
    eta = np.full(len(p["preference"]), self_play_step_size(n_actions, n_iterates))
    return Population(problem=game, step_size=eta, n_iterations=n_iterates - 1)


def _sides(population: Population) -> Sides:
    """Return the duality gap of the average from uniform, and the bound; another step size is not judged."""
    game, t = population.problem, population.n_iterations + 1
    assert isinstance(game, rt.PreferenceGame)
    allowed = np.isclose(population.step_size, self_play_step_size(game.n_actions, t), rtol=1e-12)
    gap = final_gap(game, t, last=False)
    return np.where(allowed, gap, 0.0), np.full(len(population), self_play_bound(game.n_actions, t))


def _adjust(instance: Instance) -> Instance:
    """Return the instance with the step size of its T."""
    return replace(instance, step_size=self_play_step_size(instance.problem.n_actions, instance.n_iterations + 1))


ATTACKS = tuple(
    Attack(
        label=f"n{n}-T{t}", space=f"{n} answers, free preferences; T = {t}",
        parameters={"preference": Box(-0.5, 1.5, (n * (n - 1) // 2,))},
        decode=partial(_decode, n_actions=n, n_iterates=t), measure=_sides, adjust=_adjust, budget=3_000,
    )
    for n, t in ((3, 8), (5, 8))
)  # fmt: skip
