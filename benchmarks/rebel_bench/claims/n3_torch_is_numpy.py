"""N3: tabular and log-linear policies as torch modules walk the same path as the library's own, on every problem."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_theory as rt
from rebel_bench.claim import Claim, Equality, Scale
from rebel_bench.claims import _neural as neural
from rebel_bench.figures import strip
from rebel_bench.instances import KINDS, random_problem

if TYPE_CHECKING:
    from matplotlib.figure import Figure

S, A, D = 4, 3, 3
# A rounding may fill an alias table otherwise, and the same uniforms then draw other rows of the same law: sampled
# runs are compared over the one update that starts from equal policies.
N_UPDATES = {"Exact": 4, "Sampled": 1}
ALGORITHMS = {"REBEL": rt.Rebel, "NPG": rt.NaturalPolicyGradient, "MD": rt.MirrorDescent}


def _instances(rng: Generator, scale: Scale, precision: str, algorithms: tuple[str, ...]) -> pd.DataFrame:
    """Return the largest total variation between NumPy's and torch's runs, exact and sampled, per run."""
    import torch

    from rebel_theory.torch import TorchPolicy, log_linear, tabular

    device = neural.prepare()
    dtype = getattr(torch, precision)
    rows = []
    for kind in KINDS:
        for _ in range(scale.cases(quick=1, paper=8, full=80)):
            problem = next(iter(random_problem(rng, kind, S, A, 1).instances()))
            shape = problem.policy_shape
            n_rows = int(np.prod(shape[:-1]))
            features = rng.standard_normal((*shape, D))
            module = log_linear(features.reshape(n_rows, A, D), dtype=dtype)
            classes: dict[str, tuple[rt.Policy, TorchPolicy]] = {
                "tabular": (rt.TabularPolicy.uniform(problem), TorchPolicy(tabular(n_rows, A, dtype=dtype).to(device))),
                "log-linear": (rt.LogLinearPolicy.zeros(features), TorchPolicy(module.to(device))),
            }
            eta = float(10 ** rng.uniform(-1, 0.5))
            for name, (ours, theirs) in classes.items():
                for label in algorithms:
                    for oracle in (rt.Exact(), rt.Sampled(200)):
                        seen = type(oracle).__name__
                        how: dict[str, Any] = {"n_iterations": N_UPDATES[seen], "oracle": oracle, "keep_policies": True}
                        one = rt.run(problem, ALGORITHMS[label](eta), policy=ours, **how)
                        other = rt.run(problem, ALGORITHMS[label](eta), policy=theirs, **how)
                        rows.append(
                            {"case": kind, "class": name, "algorithm": label, "oracle": seen,
                             "step_size": eta, "error": neural.largest_tv(one, other)}
                        )  # fmt: skip
    return pd.DataFrame(rows)


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the distances in double precision."""
    return _instances(rng, scale, "float64", tuple(ALGORITHMS))


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return them with modules in single precision; of NPG, whose step needs no stopping rule."""
    return _instances(rng, scale, "float32", ("NPG",)).assign(case="single\nprecision")


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw every distance, by kind of problem."""
    strip(fig, cases, control_cases, by="case", value="error", limit=1e-10, label="largest total variation")


CLAIM = Claim(
    id="N3",
    title="torch = NumPy",
    statement="REBEL, NPG and mirror descent on a torch module that is a table, or linear in features, walk the path "
    "of the library's own classes, on every kind of problem, exact and sampled.",
    latex=r"\pi_t^{\mathrm{torch}} = \pi_t^{\mathrm{NumPy}}",
    source="the design: one algorithm, two backends",
    test=Equality(1e-10),
    check=check,
    control=control,
    control_statement="the modules in single precision",
    figure=draw,
    requires=("torch",),
)
