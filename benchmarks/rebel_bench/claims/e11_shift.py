"""E11: a reward shifted per context changes no policy; a reward shifted per action does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_theory as rt
from rebel_bench.claim import Claim, Equality, Scale
from rebel_bench.figures import strip
from rebel_bench.instances import SHAPES, random_policy, random_problem

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TOLERANCE = 1e-9  # mirror descent in a log-linear class projects by an iterative solve, good to about 1e-11
N_UPDATES = 5


def _instances(rng: Generator, scale: Scale, per_action: bool) -> pd.DataFrame:
    rows = []
    n = scale.cases(quick=25, paper=250, full=6_000)
    for s, a in SHAPES:
        bandit = random_problem(rng, "bandit", s, a, n)
        assert isinstance(bandit, rt.ContextualBandit)
        shift = 10 * rng.standard_normal((n, s, a if per_action else 1))
        shifted = rt.ContextualBandit(bandit.reward + shift, context_dist=bandit.context_dist)
        tabular = random_policy(rng, bandit)
        linear = rt.LogLinearPolicy(rng.standard_normal((s, a, 3)), rng.standard_normal((1, n, 3)))
        eta = 10 ** rng.uniform(-2, 0, size=n)
        for name, algorithm in (
            ("REBEL", rt.Rebel(eta, base="uniform")),
            ("NPG", rt.NaturalPolicyGradient(eta)),
            ("MD", rt.MirrorDescent(eta)),
        ):
            for policy in (tabular, linear):
                ends = [
                    rt.run(problem, algorithm, n_iterations=N_UPDATES, policy=policy).final_policy.probs[0]
                    for problem in (bandit, shifted)
                ]
                error = rt.total_variation(*ends)
                kind = "tabular" if policy is tabular else "log-linear"
                rows.append(pd.DataFrame({"algorithm": name, "class": kind, "error": np.asarray(error)}))
    return pd.concat(rows, ignore_index=True)


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the distances after a shift per context."""
    return _instances(rng, scale, per_action=False)


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the distances after a shift per action."""
    return _instances(rng, scale, per_action=True)


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw one strip an algorithm."""
    strip(fig, cases, control_cases, by="algorithm", value="error", limit=TOLERANCE, label="total variation")


CLAIM = Claim(
    id="E11",
    title="only differences count",
    statement="Adding c(x) to the reward of every action of a context changes no iterate of REBEL, NPG or mirror "
    "descent.",
    latex=r"r(x,y) \mapsto r(x,y) + c(x)",
    source="arXiv:2404.16767, section 2 (relative rewards)",
    test=Equality(TOLERANCE),
    check=check,
    control=control,
    control_statement="the shift depends on the action",
    figure=draw,
)
