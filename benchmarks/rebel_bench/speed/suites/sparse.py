"""Sparse MDPs of 10^5 to 10^6 states: exact iterations, each evaluation from the one before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np

import rebel_envs as envs
import rebel_theory as rt
from rebel_bench.speed.case import OURS, Case, Limit, Peers, Plan, Side, SpeedScale, Suite
from rebel_bench.speed.suites._plain import csr_of, softmax_step
from rebel_theory.arrays import FloatArray
from rebel_theory.oracles import seed_streams

_ETA = 0.2
_GAMMA = 0.99
_ERROR = 1e-10  # of SciPy's sweeps, relative to the largest value
_ITERATIONS = 3  # two for a million states of four actions: seconds each


def _plans(scale: SpeedScale) -> Sequence[Plan]:
    cells, top = (100, 100_000) if scale == "quick" else (316, 1_000_000)
    problems: dict[str, tuple[Callable[[], rt.TabularMDP], Literal["spsolve", "sweeps"], int]] = {
        "Garnet 100,000 x 4 x 5": (partial(envs.garnet, 100_000, 4, 5, _GAMMA, seed=0, sparse=True), "sweeps", 100_000),
        f"gridworld {cells} x {cells}": (
            partial(envs.gridworld, cells, cells, slip=0.1, discount=_GAMMA, sparse=True), "spsolve", cells**2,
        ),
        f"RiverSwim {top:,}": (partial(envs.river_swim, top, discount=_GAMMA, sparse=True), "spsolve", top),
    }  # fmt: skip
    if scale == "paper":
        million = partial(envs.garnet, 1_000_000, 4, 5, _GAMMA, seed=0, sparse=True)
        problems["Garnet 1,000,000 x 4 x 5"] = (million, "sweeps", 1_000_000)
    return [
        Plan(
            f"NPG, {name}",
            partial(_case, make, against, 2 if name.startswith("Garnet 1,000") else _ITERATIONS),
            memory=2_000.0 * n,
        )
        for name, (make, against, n) in problems.items()
    ]


def _case(
    make: Callable[[], rt.TabularMDP], against: Literal["spsolve", "sweeps"], iterations: int, peers: Peers
) -> Case:
    mdp = make()
    algorithm = rt.NaturalPolicyGradient(_ETA)
    start = rt.TabularPolicy.uniform(mdp)

    def ours() -> rt.State:
        oracle = rt.Exact().bind(mdp, seed_streams(0, 1))
        state = algorithm.init(start)
        for _ in range(iterations):
            state = algorithm.step(state, oracle)
        return state

    name = "SciPy (spsolve)" if against == "spsolve" else "SciPy (sweeps to a span, warm)"
    sides = {
        OURS: Side(ours, iterations, lambda state: state.policy.probs),
        name: Side(partial(_plain, mdp, against, iterations), iterations, np.exp),
    }
    table = csr_of(mdp)
    moved = float(table.data.nbytes + table.indices.nbytes)
    return Case(
        "iteration", sides, 1e-7, Limit("bytes", moved, moved),
        certified=rt.evaluate(mdp, ours().policy.probs).error_bound,
        note=f"mean of the first {iterations}, occupancy included in ours; limit: one pass over the transition",
    )  # fmt: skip


def _plain(mdp: rt.TabularMDP, against: Literal["spsolve", "sweeps"], iterations: int) -> FloatArray:
    """Return log-probabilities after the iterations: values by SuperLU, or by sweeps from those before."""
    from scipy.sparse import csr_array, eye_array
    from scipy.sparse.linalg import spsolve

    p, r = csr_of(mdp), mdp.reward
    s, a = r.shape
    log_pi, v = np.full(r.shape, -np.log(a)), np.zeros(s)
    for _ in range(iterations):
        pi = np.exp(log_pi)
        choose = csr_array((pi.ravel(), np.arange(s * a), np.arange(0, s * a + 1, a)), shape=(s, s * a))
        chain, mean = csr_array(choose @ p), (pi * r).sum(axis=1)
        if against == "spsolve":
            v = spsolve((eye_array(s) - _GAMMA * chain).tocsc(), mean)
        else:
            v = _span_sweeps(chain, mean, v)
        log_pi = softmax_step(log_pi, _ETA * (r + _GAMMA * (p @ v).reshape(s, a)))
    return log_pi


def _span_sweeps(chain: Any, mean: FloatArray, v: FloatArray) -> FloatArray:
    """Return values by sweeps until the span of a change certifies them (Puterman 1994, section 6.6.3)."""
    for _ in range(100_000):
        new = mean + _GAMMA * (chain @ v)
        change = new - v
        low, high = change.min(), change.max()
        v = new
        if _GAMMA * (high - low) <= 2 * (1 - _GAMMA) * _ERROR * np.abs(v).max():
            break
    result: FloatArray = v + _GAMMA / (1 - _GAMMA) * 0.5 * (low + high)
    return result


SUITE = Suite("sparse", "Sparse MDPs", _plans)
