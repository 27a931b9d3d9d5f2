"""N1: on neural policies, too, a Gauss-Newton step of REBEL is a natural policy gradient step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_theory as rt
from rebel_bench.claim import Claim, Equality, Scale
from rebel_bench.claims import _neural as neural
from rebel_bench.figures import strip

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = ("bandit", "mdp", "game")
S, A, HIDDEN = 12, 4, 2  # a perceptron that holds not every table: one that did would not care for the base
N_UPDATES = 3
LARGEST_CONDITION = 300.0  # of the scores, as in E2; the steps are 0.01 to 0.3 long in theta


def _instances(rng: Generator, scale: Scale, base: str) -> pd.DataFrame:
    """Return the largest total variation between REBEL's Gauss-Newton steps with a base and NPG, per run."""
    from rebel_theory.torch import GaussNewton

    neural.prepare()
    exact = GaussNewton(max_iterations=2_000, tolerance=1e-14)
    rows = []
    for module in neural.MODULES:
        for kind in KINDS:
            for _ in range(scale.cases(quick=1, paper=20, full=200)):
                problem = neural.problem(rng, kind, S, A)
                policy = neural.well_posed(
                    lambda: neural.policy(rng, module, neural.contexts(rng, S), A, HIDDEN, solver=exact),  # noqa: B023
                    LARGEST_CONDITION,
                )
                first = rt.run(problem, rt.NaturalPolicyGradient(1.0), n_iterations=1, policy=policy).final_policy
                length = float(np.linalg.norm(first.parameters[0] - policy.theta))
                eta = float(10 ** rng.uniform(-2, -0.5)) / length
                how: dict[str, Any] = {"n_iterations": N_UPDATES, "policy": policy, "keep_policies": True}
                # REBEL through the quadratic form of its pairs and products with the Jacobian; NPG through scores that
                # are written out, and a singular value decomposition
                one = rt.run(problem, rt.Rebel(eta, base=base), **how)
                other = rt.run(problem, rt.NaturalPolicyGradient(eta), **how)
                rows.append(
                    {"case": f"{module}, {kind}" if base == "on-policy" else "another base", "module": module,
                     "kind": kind, "step_size": eta, "error": neural.largest_tv(one, other)}
                )  # fmt: skip
    return pd.DataFrame(rows)


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the distances with y' from the policy itself."""
    return _instances(rng, scale, "on-policy")


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return them with y' uniform, where the Fisher matrix under pi_t is the wrong one."""
    return _instances(rng, scale, "uniform")


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw every distance, by module and problem."""
    short = {"perceptron": "MLP", "transformer": "transf."}
    cases = cases.assign(case=cases["module"].map(short) + "\n" + cases["kind"])
    strip(fig, cases, control_cases.assign(case="other\nbase"), by="case", value="error", limit=1e-9,
          label="largest total variation")  # fmt: skip


CLAIM = Claim(
    id="N1",
    title="neural Gauss-Newton = NPG",
    statement="On a perceptron and a small transformer, in double precision, one Gauss-Newton step of REBEL with "
    "y' ~ pi_t, by conjugate gradients on Jacobian products, is the natural policy gradient step.",
    latex=r"\theta_t + \eta\,(J^\top W J)^{+} J^\top m = \theta_t + \eta\,F^{+}\nabla",
    source="arXiv:2404.16767, section 4.1; E2 of the theory notes",
    test=Equality(1e-9),
    check=check,
    control=control,
    control_statement="y' uniform, while the Fisher matrix stays under pi_t",
    figure=draw,
    requires=("torch",),
)
