"""Policy evaluation: the adaptive choice against LAPACK, SuperLU and each method by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import rebel_envs as envs
import rebel_theory as rt
from rebel_bench.speed.case import OURS, Case, Limit, Peers, Plan, Side, SpeedScale, Suite
from rebel_bench.speed.suites._methods import alone
from rebel_bench.speed.suites._plain import csr_of, evaluate_dense, evaluate_sparse, evaluate_sweeps, random_policy

_ERROR = 1e-10  # of the sweeps, relative to the largest value
_DENSE_STATES = 1500  # LAPACK takes seconds above


def _plans(scale: SpeedScale) -> Sequence[Plan]:
    big = 5_000 if scale == "quick" else 20_000
    problems: dict[str, Callable[[], rt.TabularMDP]] = {
        "dense 300 x 5": partial(envs.random_mdp, 300, 5, discount=0.99, seed=0),
        "Garnet 1,000 x 10 x 20": partial(envs.garnet, 1000, 10, 20, 0.99, seed=0, sparse=True),
        f"Garnet {big:,} x 4 x 5": partial(envs.garnet, big, 4, 5, 0.99, seed=0, sparse=True),
        "chain, 2,000": partial(envs.chain, 2000, discount=0.99, sparse=True),
        "RiverSwim, 1,000": partial(envs.river_swim, 1000, discount=0.99, sparse=True),
        "gridworld 60 x 60": partial(envs.gridworld, 60, 60, slip=0.1, discount=0.99, sparse=True),
    }
    return [Plan(name, partial(_case, make, name.startswith("Garnet"))) for name, make in problems.items()]


def _case(make: Callable[[], rt.TabularMDP], mixing: bool, peers: Peers) -> Case:
    mdp = make()
    pi = random_policy(mdp.n_states, mdp.n_actions)
    found = rt.evaluate(mdp, pi)
    r, gamma, rho, table = mdp.reward, mdp.discount, mdp.initial_dist, csr_of(mdp)

    def values(found: Any) -> Any:
        return found.values

    def first(found: Any) -> Any:
        return found[0]

    sides = {OURS: Side(lambda: rt.evaluate(mdp, pi), 1.0, values)}
    sides |= {f"{name} alone": Side(run, 1.0, first) for name, run in alone(mdp, pi).items()}
    if mdp.n_states <= _DENSE_STATES:
        sides["LAPACK alone"] = Side(lambda: rt.evaluate(mdp, pi, method="dense"), 1.0, values)
        dense = table.toarray().reshape(*r.shape, mdp.n_states)
        sides["NumPy (LAPACK)"] = Side(lambda: evaluate_dense(dense, r, gamma, rho, pi), 1.0, first)
    if mixing:  # SuperLU fills a random graph in: minutes at 20,000 states
        sides["SciPy (sweeps)"] = Side(lambda: evaluate_sweeps(table, r, gamma, rho, pi, _ERROR), 1.0, first)
    elif mdp.is_sparse:
        sides["SuperLU alone"] = Side(lambda: rt.evaluate(mdp, pi, method="sparse"), 1.0, values)
        sides["SciPy (SuperLU)"] = Side(lambda: evaluate_sparse(table, r, gamma, rho, pi), 1.0, first)
    # one pass over the transition
    moved = float(mdp.transition.nbytes if not mdp.is_sparse else table.data.nbytes + table.indices.nbytes)
    return Case(
        "evaluation", sides, 1e-8 / (1 - gamma), Limit("bytes", moved, moved), certified=found.error_bound,
        note="V, Q and occupancy",
    )  # fmt: skip


SUITE = Suite("evaluation", "Policy evaluation", _plans)
