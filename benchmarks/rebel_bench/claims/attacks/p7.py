"""How P7 is attacked."""

from __future__ import annotations

import rebel_theory as rt
from rebel_bench.adversary.attack import Attack, Box, Parameters, Sides
from rebel_bench.adversary.parameters import distributions, preferences
from rebel_bench.adversary.population import Population
from rebel_bench.claims.p7_coverage import measure


def _decode(p: Parameters) -> Population:
    """Return log-linear games of three answers with one feature."""
    return Population(
        problem=rt.PreferenceGame(preferences(p["preference"], 3)), step_size=10 ** p["eta"], n_iterations=5,
        features=p["features"][:, None], theta=p["theta"], base=distributions(p["mu"])[:, None],
    )  # fmt: skip


def _sides(population: Population) -> Sides:
    """Return the average's duality gap and the bound of the tightest T."""
    game, start, eta = population.problem, population.policy, population.step_size
    assert isinstance(game, rt.PreferenceGame)
    assert isinstance(start, rt.LogLinearPolicy)
    table = measure("attack", game, start, eta, population.base, population.n_iterations, True, rt.Exact(), 0)
    return table["value"].to_numpy(), table["bound"].to_numpy()


ATTACKS = (
    Attack(
        space="three answers; free preferences, base mu, one free feature an answer, first policy and step; T <= 5",
        parameters={
            "preference": Box(-0.5, 1.5, (3,)), "mu": Box(-10, 0, (3,)), "features": Box(-1, 1, (3, 1)),
            "theta": Box(-20, 20, (1,)), "eta": Box(-1, 6),
        },
        decode=_decode,
        measure=_sides,
        budget=3_000,
    ),
)  # fmt: skip
