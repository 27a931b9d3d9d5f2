"""N2: a neural policy's full regression and its Gauss-Newton step part at second order in eta, as in E4."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_theory as rt
from rebel_bench.claim import Claim, Rate, Scale
from rebel_bench.claims import _neural as neural
from rebel_bench.style import line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rebel_theory.torch import TorchPolicy

S, A = 8, 5  # 40 logits for 12 parameters: the base matters, for the control's sake
HIDDEN = 2
MOVES = 0.05 / 2.0 ** np.arange(6)  # norm of the Gauss-Newton step in theta; eta in proportion
LARGEST_CONDITION = 30.0  # of the score differences, as in E4: a limit is reached where scores do not nearly coincide


def _instances(rng: Generator, scale: Scale, wrong_base: bool) -> pd.DataFrame:
    """Return the total variation after the two steps at every eta; with ``wrong_base`` one step has another base."""
    from rebel_theory.torch import GaussNewton, TorchPolicy

    neural.prepare()
    linear = GaussNewton(max_iterations=1_000, tolerance=1e-14)
    rows = []
    for i in range(scale.cases(quick=8, paper=60, full=600)):
        bandit = neural.problem(rng, "bandit", S, A)
        policy = _drawn(rng, bandit)
        base = "on-policy" if i % 2 and not wrong_base else "uniform"
        gauss = TorchPolicy(policy.net, policy.contexts, theta=policy.theta, solver=linear)
        exact = TorchPolicy(policy.net, policy.contexts, theta=policy.theta)  # minimises to convergence

        def step(start: TorchPolicy, mu: str, eta: np.ndarray) -> rt.Trace:
            return rt.run(bandit, rt.Rebel(eta, base=mu), n_iterations=1, policy=start, keep_policies=True)  # noqa: B023

        unit = step(gauss, base, np.array([1.0])).final_policy.theta[0, 0] - policy.theta  # type: ignore[attr-defined]
        etas = MOVES / float(np.linalg.norm(unit))
        one, other = step(exact, base, etas), step(gauss, "on-policy" if wrong_base else base, etas)
        assert one.probs is not None
        assert other.probs is not None
        apart = 0.5 * np.abs(one.probs[0, :, -1] - other.probs[0, :, -1]).sum(axis=-1).max(axis=-1)
        for move, eta, distance in zip(MOVES, etas, apart, strict=True):
            rows.append({"instance": i, "base": base, "move": move, "step_size": eta, "distance": distance})
    return pd.DataFrame(rows)


def _drawn(rng: Generator, bandit: rt.Problem) -> TorchPolicy:
    """Return a perceptron whose centred scores have a condition number below the limit, on new contexts each time."""
    from rebel_theory.torch import TorchPolicy, mlp

    while True:
        module = mlp(neural.N_INPUTS, A, hidden=(HIDDEN,), seed=int(rng.integers(2**31)))
        found = TorchPolicy(module.to(neural.prepare()), neural.contexts(rng, S)).in_rows(bandit)
        scores = found.jacobian() - found.jacobian().mean(axis=-2, keepdims=True)
        sigma = np.linalg.svd(scores.reshape(S * A, -1), compute_uv=False)
        positive = sigma[sigma > 1e-10 * sigma[0]]  # a shift of all logits is no direction of the policy
        if positive[0] / positive[-1] < LARGEST_CONDITION:
            return found


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the distances of the two steps."""
    return _instances(rng, scale, wrong_base=False)


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return them where the Gauss-Newton step is on-policy and the regression is not."""
    return _instances(rng, scale, wrong_base=True)


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw the distance against the size of the step: every instance, and the medians with the fitted slopes."""
    ax = fig.add_subplot()
    for i, (name, table) in enumerate((("perceptron", cases), ("control: another base", control_cases))):
        fit = RATE.fit(table)
        style = line(f"{name}:\nslope {fit.slope:.3f} [{fit.low:.3f}, {fit.high:.3f}]", (0, 3)[i]) | {"markevery": None}
        for _, part in table.groupby("instance"):
            ax.plot(part["move"], part["distance"], color=style["color"], linewidth=0.4, alpha=0.4)
        median = table.groupby("move")["distance"].median()
        ax.plot(median.index, median, **style)
    ax.set(xscale="log", yscale="log", ylabel="total variation to Gauss-Newton")
    ax.set_xlabel(r"norm of the Gauss-Newton step in $\theta$, proportional to $\eta$")
    ax.set_xticks(MOVES, [f"{move:.2g}" for move in MOVES])
    ax.minorticks_off()
    ax.set_ylim(bottom=ax.get_ylim()[0] / 60)
    ax.legend(loc="lower right", handlelength=3)


RATE = Rate(expected=2, margin=0.1, x="step_size", y="distance", by="instance")

CLAIM = Claim(
    id="N2",
    title="neural: order eta^2",
    statement="On a perceptron the full REBEL regression, minimised to convergence, and its one Gauss-Newton step part "
    "by order eta^2 in total variation as eta goes to 0, for any base.",
    latex=r"\mathrm{TV}(\pi_{\rm REBEL}, \pi_{\rm GN}) = O(\eta^2)",
    source="E4 of the theory notes, on a network differentiated automatically",
    test=RATE,
    check=check,
    control=control,
    control_statement="the Gauss-Newton step takes on-policy pairs while the regression's base differs",
    figure=draw,
    requires=("torch",),
)
