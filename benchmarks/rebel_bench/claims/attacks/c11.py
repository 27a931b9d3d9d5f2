"""How C11 is attacked."""

from __future__ import annotations

from functools import partial

import numpy as np

import rebel_theory as rt
from rebel_bench.adversary.attack import Attack, Box, Parameters, Sides
from rebel_bench.adversary.parameters import against_first, two_states
from rebel_bench.adversary.population import Population
from rebel_bench.claims.c11_mdp_regret_bound import measure, trap

N_ATTACKED = 60
SURE = 40.0  # log-odds
DISCOUNTS = {"on-policy": 0.9, "uniform": 0.99}  # by base
SIZES = {"on-policy": (2, 1), "uniform": (3, 2)}  # actions and features by base; the trap has so many


def _decode(p: Parameters, base: str) -> Population:
    """Return log-linear MDPs of two states; cubes of rewards are often small."""
    mdp = rt.TabularMDP(
        two_states(p["transition"]), p["reward"] ** 3, discount=DISCOUNTS[base], initial_dist=two_states(p["initial"])
    )
    features = against_first(p["features"])
    return Population(
        problem=mdp, step_size=10 ** p["eta"], n_iterations=N_ATTACKED, features=features, theta=p["theta"], base=base
    )


def _sides(population: Population) -> Sides:
    """Return the average gap and the bound of the tightest T."""
    mdp, start, base = population.problem, population.policy, population.base
    assert isinstance(mdp, rt.TabularMDP)
    assert isinstance(start, rt.LogLinearPolicy)
    assert isinstance(base, str)
    table = measure("attack", mdp, start, population.step_size, base, population.n_iterations, True, rt.Exact(), 0)
    return table["value"].to_numpy(), table["bound"].to_numpy()


def _traps() -> Parameters:
    """Return the claim's traps in these parameters."""
    mdp, first = trap(np.array([1e-4, 1e-3, 1e-2, 1e-1]), DISCOUNTS["uniform"])
    n = len(mdp.reward)
    features, theta = first.features[:, 1:], np.reshape(first.theta, (n, -1))
    return {
        "transition": SURE * (2 * mdp.transition[..., 0] - 1), "reward": np.cbrt(mdp.reward),
        "initial": np.full(n, SURE), "features": np.tile(features, (n, 1, 1, 1)), "theta": theta,
        "eta": np.full(n, 2.0),
    }  # fmt: skip


ATTACKS = tuple(
    Attack(
        label=base,
        space=f"two states, {('two', 'three')[a - 2]} actions, discount {discount:g}; free rewards, transitions and "
        f"starts, {('one feature', 'two features')[n - 1]} of 0 or 1 an action, first policy and step; base {base}; "
        f"T <= {N_ATTACKED}",
        parameters={
            "transition": Box(-SURE, SURE, (2, a)), "reward": Box(-1, 1, (2, a)), "initial": Box(-SURE, SURE),
            "features": Box(0, 1, (2, a - 1, n), step=1), "theta": Box(-30, 30, (n,)), "eta": Box(-3, 6),
        },
        decode=partial(_decode, base=base),
        measure=_sides,
        known=_traps if base == "uniform" else None,
        budget=6_000,
    )
    for (base, discount), (a, n) in zip(DISCOUNTS.items(), SIZES.values(), strict=True)
)  # fmt: skip
