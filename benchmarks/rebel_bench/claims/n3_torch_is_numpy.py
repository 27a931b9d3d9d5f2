"""N3: tabular and log-linear policies as torch modules walk the same path as the library's own, on every problem."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_theory as rt
from rebel_bench.claim import Claim, Equality, Scale
from rebel_bench.claims import _neural as neural
from rebel_bench.figures import strip
from rebel_bench.instances import KINDS, random_problem
from rebel_theory.policies import ConjugateGradient, Damped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rebel_theory.torch import TorchPolicy

S, A, D = 4, 3, 3
# A rounding may fill an alias table otherwise, and the same uniforms then draw other rows of the same law: sampled
# runs are compared over the one update that starts from equal policies.
N_UPDATES = {"Exact": 4, "Sampled": 1}
TIMES, TIGHT = 40, 1e-13  # iterations and tolerance of the solvers that form no Jacobian
RECORDED = ("gap", "average_gap", "regression_error")
ALGORITHMS = {"REBEL": rt.Rebel, "NPG": rt.NaturalPolicyGradient, "MD": rt.MirrorDescent}


def _instances(rng: Generator, scale: Scale, precision: str, algorithms: tuple[str, ...]) -> pd.DataFrame:
    """Return the largest difference between NumPy's and torch's runs, exact, sampled and on a device, per run."""
    import torch

    dtype = getattr(torch, precision)
    rows = []
    for kind in KINDS:
        for _ in range(scale.cases(quick=1, paper=8, full=80)):
            problem = next(iter(random_problem(rng, kind, S, A, 1).instances()))
            classes = _classes(rng, problem, dtype)
            eta = float(10 ** rng.uniform(-1, 0.5))
            for name, (ours, theirs) in classes.items():
                for label in algorithms:
                    found = [*_compared(problem, label, eta, ours, theirs)]
                    if name == "log-linear" and kind != "horizon":  # which has no tensors
                        found += _on_device(problem, label, eta, ours, theirs)
                    shared = {"case": kind, "class": name, "algorithm": label, "step_size": eta}
                    rows += [{**shared, "run": run, "error": error} for run, error in found]
    return pd.DataFrame(rows)


def _classes(rng: Generator, problem: rt.Problem, dtype: Any) -> dict[str, tuple[rt.Policy, TorchPolicy]]:
    """Return tables and log-linear policies, the library's and torch's; with a horizon also one for all steps."""
    import torch

    from rebel_theory.torch import TorchPolicy, log_linear, tabular

    device = neural.prepare()
    shape = problem.policy_shape
    n_rows = int(np.prod(shape[:-1]))
    features = rng.standard_normal((*shape, D))
    module = log_linear(features.reshape(n_rows, A, D), dtype=dtype)
    logits, table = rng.standard_normal(shape), tabular(n_rows, A, dtype=dtype)
    with torch.no_grad():
        next(table.parameters()).copy_(torch.as_tensor(logits.reshape(n_rows, A).T))
    classes: dict[str, tuple[rt.Policy, TorchPolicy]] = {
        "tabular": (rt.TabularPolicy(logits), TorchPolicy(table.to(device))),
        "log-linear": (rt.LogLinearPolicy.zeros(features), TorchPolicy(module.to(device))),
    }
    if len(shape) == 3:
        module = log_linear(features[0], dtype=dtype)
        shared = rt.LogLinearPolicy.zeros(features[0]), TorchPolicy(module.to(device), np.eye(S))
        classes["log-linear, all steps"] = shared
    return classes


def _compared(
    problem: rt.Problem, label: str, eta: float, ours: rt.Policy, theirs: TorchPolicy
) -> Iterator[tuple[str, float]]:
    """Yield how torch solved its regressions, and the largest total variation from NumPy's run.

    The regressions of these classes are linear: every solver has the same answer.
    """
    algorithm = ALGORITHMS[label](eta)
    ways = [("dense", algorithm, theirs)]
    if label == "REBEL" and isinstance(ours, rt.LogLinearPolicy):
        ways += [("products", algorithm, _matrix_free(theirs))]
    if label == "NPG" and isinstance(ours, rt.LogLinearPolicy):
        ways += [("products", rt.NaturalPolicyGradient(eta, ConjugateGradient(TIMES, TIGHT)), theirs)]
    for oracle in (rt.Exact(), rt.Sampled(200)):
        seen = type(oracle).__name__
        how: dict[str, Any] = {"n_iterations": N_UPDATES[seen], "oracle": oracle, "keep_policies": True}
        one = rt.run(problem, algorithm, policy=ours, **how)
        for way, same, policy in ways:
            yield f"{seen}, {way}", neural.largest_tv(one, rt.run(problem, same, policy=policy, **how))


def _on_device(
    problem: rt.Problem, label: str, eta: float, ours: rt.Policy, theirs: TorchPolicy
) -> Iterator[tuple[str, float]]:
    """Yield the same of exact runs on the problem's tensors: of the last policies' rows, of gaps and errors."""
    from rebel_theory.torch.device import on_device

    there = on_device(problem, neural.prepare(), dtype=theirs.net.first.dtype)
    same = [("device", ALGORITHMS[label](eta))]
    if label == "NPG":
        same += [("device, damped", rt.NaturalPolicyGradient(eta, Damped(0.1)))]
    policy = _matrix_free(theirs).in_rows(problem)
    for where, algorithm in same:
        one = rt.run(problem, algorithm, policy=ours, n_iterations=N_UPDATES["Exact"])
        other = there.run(algorithm, policy=policy, n_iterations=N_UPDATES["Exact"])
        apart = [0.5 * np.abs(one.final_policy.probs - other.final_policy.probs).sum(axis=-1)]
        apart += [np.abs(getattr(one, name) - getattr(other, name)) for name in RECORDED]
        yield where, max(float(found.max()) for found in apart)


def _matrix_free(policy: TorchPolicy) -> TorchPolicy:
    """Return the policy with a solver that forms no Jacobian.

    Levenberg-Marquardt, which compares losses, cannot have ten digits.
    """
    from rebel_theory.torch import GaussNewton

    return type(policy)(policy.net, policy.contexts, solver=GaussNewton(TIMES, TIGHT), theta=policy.theta)


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the distances in double precision."""
    return _instances(rng, scale, "float64", tuple(ALGORITHMS))


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return them with modules in single precision; of NPG, whose step needs no stopping rule."""
    return _instances(rng, scale, "float32", ("NPG",)).assign(case="single\nprecision")


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw every distance, by kind of problem."""
    strip(fig, cases, control_cases, by="case", value="error", limit=1e-10, label="largest difference")


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
