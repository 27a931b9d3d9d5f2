"""How P5 is attacked."""

from __future__ import annotations

from functools import partial

import numpy as np

import rebel_theory as rt
from rebel_bench.adversary.attack import Attack, Box, Parameters, Sides, tightest
from rebel_bench.adversary.parameters import distributions, preferences
from rebel_bench.adversary.population import Population
from rebel_theory.theory.bounds import nash_md_bound
from rebel_theory.theory.divergences import kl_divergence


def _decode(p: Parameters, tau: float) -> Population:
    """Return games of three answers from their references."""
    reference = distributions(p["reference"])[:, None]
    return Population(
        problem=rt.PreferenceGame(preferences(p["preference"], 3)), step_size=np.full(len(reference), 1 / tau),
        n_iterations=64, logits=np.log(reference), algorithm="nash-md",
        options={"temperature": tau, "reference": reference, "schedule": "theorem"},
    )  # fmt: skip


def _sides(population: Population) -> Sides:
    """Return KL(pi*_tau||pi_T) and the bound of the tightest T."""
    game, tau, m = population.problem, float(population.options["temperature"]), population.options["reference"]
    assert isinstance(game, rt.PreferenceGame)
    games = [rt.PreferenceGame(p) for p in game.preference]
    star = np.stack([rt.regularised_equilibrium(g, tau, r).policy for g, r in zip(games, m, strict=True)])
    probs = population.run(keep_policies=True).probs
    assert probs is not None
    kl = kl_divergence(star[:, None], probs[0, :, 1:])
    bound = nash_md_bound(tau / 2, np.arange(1, population.n_iterations + 1))
    return tightest(kl, np.broadcast_to(bound, kl.shape))


ATTACKS = tuple(
    Attack(
        label=f"tau{tau:g}",
        space=f"three answers, tau = {tau:g}; free preferences and reference; T <= 64",
        parameters={"preference": Box(-0.5, 1.5, (3,)), "reference": Box(-8, 8, (3,))},
        decode=partial(_decode, tau=tau),
        measure=_sides,
        budget=1_500,
    )
    for tau in (0.1, 2.0)
)
