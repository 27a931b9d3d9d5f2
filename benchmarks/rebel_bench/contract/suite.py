"""Every check on every problem and oracle that an algorithm accepts; what it refuses is skipped with its reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

import rebel_theory as rt
from rebel_bench.algorithm_specs import Spec
from rebel_bench.contract.checks import CHECKS, Case
from rebel_bench.instances import KINDS, random_problem
from rebel_bench.user_files import in_words

_N_PAIRS = 64
_SHAPES = {"bandit": (3, 4), "mdp": (4, 3), "horizon": (3, 2), "linear": (4, 3), "game": (2, 4)}


@dataclass(frozen=True)
class Result:
    """One check on one case."""

    algorithm: str
    case: str
    check: str
    outcome: Literal["passed", "failed", "skipped"]
    reason: str


def cases() -> Iterator[Case]:
    """Yield small random problems of every kind under every oracle, tabular and log-linear."""
    for kind in KINDS:
        rng = np.random.default_rng([11, KINDS.index(kind)])
        s, a = _SHAPES[kind]
        problem = _one(random_problem(rng, kind, s, a, 1))
        tabular = rt.TabularPolicy(0.5 * rng.standard_normal(problem.policy_shape))
        features = rng.standard_normal((*problem.policy_shape, 3))
        log_linear = rt.LogLinearPolicy(features, 0.3 * rng.standard_normal(3))
        n = 40
        data = {
            "x": rng.integers(problem.n_rows, size=n),
            "y": rng.integers(a, size=n),
            "y_base": rng.integers(a, size=n),
            ("preferred" if kind == "game" else "difference"): rng.integers(2, size=n).astype(float),
        }
        for oracle in (rt.Exact(), rt.Sampled(_N_PAIRS), rt.Counted(_N_PAIRS), rt.Offline(data)):
            yield Case(kind, problem, oracle, tabular)
        yield Case(kind, problem, rt.Exact(), log_linear)
        yield Case(kind, problem, rt.Sampled(_N_PAIRS), log_linear)


def _one(problem: rt.Problem) -> rt.Problem:
    """Return the only instance of a batch of one."""
    if isinstance(problem, rt.ContextualBandit):
        return rt.ContextualBandit(problem.reward[0], context_dist=problem.context_dist[0])
    if isinstance(problem, rt.PreferenceGame):
        return rt.PreferenceGame(problem.preference[0], context_dist=problem.context_dist[0])
    if isinstance(problem, rt.FiniteHorizonMDP):
        return rt.FiniteHorizonMDP(
            problem.transition[0], problem.reward[0], horizon=problem.horizon, initial_dist=problem.initial_dist[0]
        )
    if isinstance(problem, rt.LinearMDP):
        return rt.LinearMDP(
            problem.features[0], problem.measures[0], problem.reward_weights[0],
            discount=problem.discount, initial_dist=problem.initial_dist[0],
        )  # fmt: skip
    assert isinstance(problem, rt.TabularMDP)
    return rt.TabularMDP(
        problem.transition[0], problem.reward[0], discount=problem.discount, initial_dist=problem.initial_dist[0]
    )


def check(spec: Spec) -> Iterator[Result]:
    """Yield the results of every check of one algorithm, case by case."""
    for case in cases():
        refusal = spec.make(0.5).refuses(case.problem, case.oracle)
        if refusal is not None:
            yield Result(spec.label, case.label, "", "skipped", refusal)
            continue
        for name, function in CHECKS.items():
            try:
                wrong = function(case, spec.make)
            except Exception as error:  # whatever a user's step raises is a failed check, not our crash
                wrong = in_words(error)
            yield Result(spec.label, case.label, name, "passed" if wrong is None else "failed", wrong or "")
