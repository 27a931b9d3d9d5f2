"""How P4 is attacked."""

from __future__ import annotations

from functools import partial

import numpy as np

import rebel_theory as rt
from rebel_bench.adversary.attack import Attack, Box, Parameters, Sides, tightest
from rebel_bench.adversary.parameters import distributions, preferences
from rebel_bench.adversary.population import Population
from rebel_bench.claims.p4_magnetic import equilibrium
from rebel_theory.arrays import FloatArray
from rebel_theory.theory.bounds import magnetic_bound
from rebel_theory.theory.divergences import kl_divergence


def _decode(p: Parameters, alpha: float) -> Population:
    """Return games of three answers, the step a share of the longest allowed."""
    game = rt.PreferenceGame(preferences(p["preference"], 3))
    return Population(
        problem=game, step_size=10 ** p["share"] * _longest(game, alpha), n_iterations=N_ATTACKED,
        logits=p["logits"][:, None], algorithm="mmd",
        options={"temperature": alpha, "reference": distributions(p["reference"])[:, None]},
    )  # fmt: skip


def _longest(game: rt.PreferenceGame, alpha: float) -> FloatArray:
    """Return alpha/L^2, shape (m,), L the largest payoff, or 1/20 where it is smaller."""
    result: FloatArray = alpha / np.maximum(np.abs(game.payoff).max(axis=(-3, -2, -1)), 0.05) ** 2
    return result


def _sides(population: Population) -> Sides:
    """Return KL(pi*_alpha||pi_t) and the bound of the tightest t; longer steps than allowed are not judged.

    Before the bound is below half of the first divergence it says little, and counts only where it is false.
    """
    game, alpha = population.problem, float(population.options["temperature"])
    assert isinstance(game, rt.PreferenceGame)
    reference = population.options["reference"]
    star = np.stack([equilibrium(game, i, alpha, reference) for i in range(len(population))])
    probs = population.run(keep_policies=True).probs
    assert probs is not None
    kl = kl_divergence(star[:, None], probs[0])  # (m, T + 1)
    eta, t = population.step_size[:, None], np.arange(1, population.n_iterations + 1)
    bound = magnetic_bound(kl[:, :1], eta, alpha, t)
    # an equilibrium is solved to about 1e-9: a divergence at that level is rounding
    allowed = (eta <= (1 + 1e-12) * _longest(game, alpha)[:, None]) & (bound > 1e-6)
    return tightest(np.where(allowed, kl[:, 1:], 0.0), bound, bound <= kl[:, :1] / 2)


N_ATTACKED = 30
ATTACKS = tuple(
    Attack(
        label=f"alpha{alpha:g}",
        space=f"three answers, alpha = {alpha:g}; free preferences, reference, first policy down to e^-200 and step; "
        f"t <= {N_ATTACKED}, where the bound is at most half of the first divergence",
        parameters={
            "preference": Box(-0.5, 1.5, (3,)), "reference": Box(-4, 4, (3,)), "logits": Box(-100, 100, (3,)),
            "share": Box(-2, 0),
        },
        decode=partial(_decode, alpha=alpha),
        measure=_sides,
        budget=2_000,
    )
    for alpha in (0.2, 1.0)
)  # fmt: skip
