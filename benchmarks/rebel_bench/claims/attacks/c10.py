"""How C10 is attacked."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

import rebel_theory as rt
from rebel_bench.adversary.attack import Attack, Box, Parameters, Sides, tightest
from rebel_bench.adversary.parameters import distributions
from rebel_bench.adversary.population import Population
from rebel_bench.claims.c10_offline_share import curves, trap

N_ATTACKED = 5
RAREST = 4.0  # decades below the most frequent answer of the data


def _decode(p: Parameters) -> Population:
    """Return log-linear bandits of three actions; a feature matters up to its origin and unit."""
    features = np.stack([np.zeros_like(p["third"]), np.ones_like(p["third"]), p["third"]], axis=-1)
    return Population(
        problem=rt.ContextualBandit(p["reward"][:, None] ** 3), step_size=10 ** p["eta"], n_iterations=N_ATTACKED,
        features=features[:, None, :, None], theta=p["theta"], base=distributions(np.log(10) * p["data"])[:, None],
        share=expit(p["share"]),
    )  # fmt: skip


def _sides(population: Population) -> Sides:
    """Return the average gap and the bound, with the harmonic mean for C, of the tightest T."""
    bandit, offline, share = population.problem, population.base, population.share
    assert isinstance(bandit, rt.ContextualBandit)
    assert isinstance(offline, np.ndarray)
    trace = population.run(keep_policies=True)
    average, total, _misfit = curves(bandit, trace, offline, 1.0 if share is None else float(share[0]))
    return tightest(average, total)


def _traps() -> Parameters:
    """Return the claim's shift bandits in these parameters: the best answer, then b, whose feature is 0, then c."""
    c = np.array([10.0, 100.0, 1_000.0])
    reward, _, data = trap(c, 1.2 / c)
    order, n = [1, 0, 2], len(c)
    return {
        "reward": np.cbrt(reward[:, order]), "data": np.log10(np.maximum(data[:, order], 10**-RAREST)),
        "third": np.ones(n), "share": np.full(n, 5.0), "theta": np.full((n, 1), np.log(1e-12)), "eta": np.full(n, 2.0),
    }  # fmt: skip


ATTACKS = (
    Attack(
        space="three actions; free rewards, offline data (down to 1e-4), share of it (logit -6 to 6 in whole steps), "
        f"one feature, 0, 1 and a multiple of 1/2 up to 2 either way, first policy and step; T <= {N_ATTACKED}",
        parameters={
            "reward": Box(-1, 1, (3,)), "data": Box(-RAREST, 0, (3,)), "third": Box(-2, 2, step=0.5),
            "share": Box(-6, 6, step=1), "theta": Box(-30, 30, (1,)), "eta": Box(-2, 6),
        },
        decode=_decode,
        measure=_sides,
        known=_traps,
        budget=6_000,
    ),
)  # fmt: skip
