"""Optimal values: rt.solve against policy iteration and modified policy iteration of the peers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from typing import Any

import numpy as np

import rebel_envs as envs
import rebel_theory as rt
from rebel_bench.speed.case import OURS, Case, Limit, Peers, Plan, Side, SpeedScale, Suite
from rebel_bench.speed.suites._plain import csr_of, policy_iteration

_ERROR = 1e-8


def _plans(scale: SpeedScale) -> Sequence[Plan]:
    return [
        Plan("Garnet 500 x 10 x 20", partial(_case, partial(envs.garnet, 500, 10, 20, 0.99, sparse=True))),
        Plan("RiverSwim 500", partial(_case, partial(envs.river_swim, 500, discount=0.99, sparse=True))),
    ]


def _case(make: Callable[[], rt.TabularMDP], peers: Peers) -> Case:
    mdp = make()
    bound = rt.solve(mdp, tolerance=_ERROR).error_bound
    r, gamma, table = mdp.reward, mdp.discount, csr_of(mdp)
    s, a = r.shape
    p = table.toarray().reshape(s, a, s)
    sides = {
        OURS: Side(lambda: rt.solve(mdp, tolerance=_ERROR), 1.0, lambda found: found.values),
        "ours without a tolerance": Side(lambda: rt.solve(mdp), 1.0, lambda found: found.values),
        "NumPy (policy iteration)": Side(lambda: policy_iteration(p, r, gamma)),
    }
    qe = peers.load("quantecon")
    if qe is not None:
        sides |= _quantecon(qe, r, table, gamma)
    toolbox = peers.load("mdptoolbox.mdp")
    if toolbox is not None:
        by_action = p.swapaxes(0, 1).copy()
        sides["pymdptoolbox (policy iteration)"] = Side(partial(_toolbox, toolbox.PolicyIteration(by_action, r, gamma)))
    solver = peers.load("mdpsolver")
    if solver is not None:
        sides["mdpsolver (modified p. i.)"] = _mdpsolver(solver, r, table, gamma)
    moved = float(table.data.nbytes + table.indices.nbytes)  # one pass over the transition
    return Case(
        "solution", sides, 2 * _ERROR, Limit("bytes", moved, moved), certified=bound,
        note="gamma 0.99, to 1e-8; every solver's own input is made before",
    )  # fmt: skip


def _quantecon(qe: Any, r: Any, table: Any, gamma: float) -> dict[str, Side]:
    """Return its two best methods, on state-action pairs with a sparse transition."""
    from scipy.sparse import csr_matrix

    s, a = r.shape
    ddp = qe.markov.DiscreteDP(
        r.ravel(), csr_matrix(table), gamma, np.repeat(np.arange(s), a), np.tile(np.arange(a), s)
    )  # fmt: skip
    error = 2 * _ERROR  # its epsilon bounds twice the error of v
    methods = {
        "policy iteration": lambda: ddp.solve(method="policy_iteration"),
        "modified p. i.": lambda: ddp.solve(method="modified_policy_iteration", epsilon=error),
    }
    return {f"QuantEcon ({name})": Side(run, 1.0, lambda found: found.v) for name, run in methods.items()}


def _toolbox(made: Any) -> Any:
    """Its solvers keep their state and check their input when made: a shallow copy starts afresh without that."""
    model = copy(made)
    model.run()
    return model.V


def _mdpsolver(solver: Any, r: Any, table: Any, gamma: float) -> Side:
    s, a = r.shape
    model = solver.model()
    bounds = table.indptr.tolist()
    places, entries = table.indices.tolist(), table.data.tolist()
    spans = [[slice(bounds[i * a + j], bounds[i * a + j + 1]) for j in range(a)] for i in range(s)]
    model.mdp(
        discount=gamma, rewards=r.tolist(), tranMatProbs=[[entries[k] for k in row] for row in spans],
        tranMatColumns=[[places[k] for k in row] for row in spans],
    )  # fmt: skip
    tolerance = _ERROR / 10  # at 1e-8 itself its values may be further off

    values, policy = [0.0] * s, [0] * s  # or it would start at what the call before found

    def run() -> None:
        model.solve(algorithm="mpi", tolerance=tolerance, parallel=False, initValueVector=values, initPolicy=policy)

    return Side(run, 1.0, lambda _: model.getValueVector())


SUITE = Suite("optimal", "Optimal values", _plans)
