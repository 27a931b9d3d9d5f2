"""N2: a neural policy's full regression and its Gauss-Newton step part at second order in eta, as in E4."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_theory as rt
from rebel_bench.claim import Claim, Rate, Scale, TwoStage
from rebel_bench.claims import _neural as neural
from rebel_bench.figures import orders
from rebel_theory.arrays import FloatArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rebel_theory.torch import TorchPolicy

S, A = 8, 5  # 40 logits for 12 parameters: the base matters, for the control's sake
HIDDEN = 2
MOVES = 0.05 / 2.0 ** np.arange(6)  # norm of the Gauss-Newton step in theta; eta in proportion
LARGEST_CONDITION = 30.0  # of the score differences, as in E4: a limit is reached where scores do not nearly coincide


def _drawer(rng: Generator, wrong_base: bool) -> Callable[[int], pd.DataFrame]:
    """Return a function of n that measures n further instances."""
    numbers = count()
    return lambda n: pd.concat([_instance(rng, next(numbers), wrong_base) for _ in range(n)], ignore_index=True)


def _instance(rng: Generator, i: int, wrong_base: bool) -> pd.DataFrame:
    """Return the total variation after the two steps at every eta; with ``wrong_base`` one step has another base."""
    from rebel_theory.torch import GaussNewton, TorchPolicy, mlp

    device = neural.prepare()
    bandit = neural.problem(rng, "bandit", S, A)

    def candidate() -> TorchPolicy:
        module = mlp(neural.N_INPUTS, A, hidden=(HIDDEN,), seed=int(rng.integers(2**31)))
        return TorchPolicy(module.to(device), neural.contexts(rng, S))

    exact = neural.well_posed(candidate, LARGEST_CONDITION)  # its regressions are minimised to convergence
    how = GaussNewton(max_iterations=1_000, tolerance=1e-14)
    gauss = TorchPolicy(exact.net, exact.contexts, theta=exact.theta, solver=how)
    base = "on-policy" if i % 2 and not wrong_base else "uniform"
    stepped = "on-policy" if wrong_base else base

    def step(start: TorchPolicy, mu: str, eta: FloatArray) -> rt.Trace:
        return rt.run(bandit, rt.Rebel(eta, base=mu), n_iterations=1, policy=start, keep_policies=True)

    unit = step(gauss, stepped, np.array([1.0])).final_policy.parameters[0, 0] - exact.theta
    etas = np.asarray(MOVES / float(np.linalg.norm(unit)), dtype=np.float64)
    one, other = step(exact, base, etas), step(gauss, stepped, etas)
    assert one.probs is not None
    assert other.probs is not None
    apart = 0.5 * np.abs(one.probs[0, :, -1] - other.probs[0, :, -1]).sum(axis=-1).max(axis=-1)
    return pd.DataFrame({"instance": i, "base": base, "move": MOVES, "step_size": etas, "distance": apart})


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the distances of the two steps, of as many instances as the rule wants."""
    return RATE.collect(_drawer(rng, wrong_base=False), at_least=scale.cases(quick=0, paper=200, full=2_000))


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return them where the Gauss-Newton step is on-policy and the regression is not."""
    return _drawer(rng, wrong_base=True)(scale.cases(quick=RULE.n_first, paper=200, full=2_000))


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw the distance against the size of the step: every instance, and the medians with the fitted slopes."""
    orders(fig, RATE, {"perceptron": cases, "control: another base": control_cases})


# as in E4: the margin is for the third order, which the longest steps still show
RULE = TwoStage(n_first=18, half_width=0.025, false_alarm=1e-4, cap=72)
RATE = Rate(expected=2, margin=0.05, x="step_size", y="distance", by="instance", rule=RULE)

CLAIM = Claim(
    id="N2",
    title="neural: order eta^2",
    statement="On a perceptron the full REBEL regression, minimised to convergence, and its one Gauss-Newton step part "
    "by order eta^2 in total variation as eta goes to 0, for any base.",
    latex=r"\mathrm{TV}(\pi_{\mathrm{REBEL}}, \pi_{\mathrm{GN}}) = O(\eta^2)",
    source="E4 of the theory notes, on a network differentiated automatically",
    test=RATE,
    false_alarm=RULE.false_alarm,
    check=check,
    control=control,
    control_statement="the Gauss-Newton step takes on-policy pairs while the regression's base differs",
    figure=draw,
    requires=("torch",),
)
