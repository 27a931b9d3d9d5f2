"""E5: on-policy, the gradient of REBEL's pair loss at theta_t is RLOO with two answers, pair by pair."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.random import Generator
from numpy.typing import NDArray

import rebel_theory as rt
from rebel_bench.claim import Claim, Equality, Scale
from rebel_bench.figures import strip
from rebel_bench.instances import SHAPES
from rebel_theory.advantages import Baseline, Critic, Groups, LeaveOneOut
from rebel_theory.arrays import FloatArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TOLERANCE = 1e-10
PAIRS = 20  # an instance
_TINY = 1e-100  # of the complex step: the derivative is Im f(theta + i h)/h without any difference of numbers


def _policies(rng: Generator, s: int, a: int) -> dict[str, rt.LogLinearPolicy | rt.TanhPolicy]:
    every_cell = np.eye(s * a).reshape(s, a, s * a)
    points = rng.standard_normal((s, a, 3))
    return {
        "tabular": rt.LogLinearPolicy(every_cell, rng.standard_normal(s * a)),
        "log-linear": rt.LogLinearPolicy(points, rng.standard_normal(3)),
        "tanh": rt.TanhPolicy.random(points, 3, rng),
    }


def _logits(
    policy: rt.LogLinearPolicy | rt.TanhPolicy, x: int, theta: NDArray[np.complex128]
) -> NDArray[np.complex128]:
    """Return the logits (p, A) of context x at parameters (p, p), written out for complex numbers."""
    inputs = policy.inputs[x]  # (A, k)
    if isinstance(policy, rt.LogLinearPolicy):
        linear: NDArray[np.complex128] = theta @ inputs.T
        return linear
    k = inputs.shape[-1]
    h = theta.shape[-1] // (k + 1)
    w, v = theta[:, : h * k].reshape(-1, h, k), theta[:, h * k :]
    found: NDArray[np.complex128] = (np.tanh(np.einsum("phk,ak->pah", w, inputs)) * v[:, None, :]).sum(axis=-1)
    return found


def _loss_gradient(
    policy: rt.LogLinearPolicy | rt.TanhPolicy, x: int, y: tuple[int, int], r: tuple[float, float], eta: float
) -> FloatArray:
    """Return the gradient (p,) at theta_t of one pair's loss, by complex steps."""
    p = policy.theta.size
    logits = _logits(policy, x, policy.theta + 1j * _TINY * np.eye(p))
    log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    ratio = log_probs - policy.log_probs[x]  # (p, A)
    loss = ((ratio[:, y[0]] - ratio[:, y[1]]) / eta - (r[0] - r[1])) ** 2
    found: FloatArray = loss.imag / _TINY
    return found


def _instances(rng: Generator, scale: Scale, reinforce: bool) -> pd.DataFrame:
    """Return the relative distance of each pair's gradient from -(4/eta) times an estimator on its answers."""
    rows = []
    per_shape = scale.cases(quick=3, paper=25, full=250)
    for s, a in SHAPES:
        for _ in range(per_shape):
            reward, eta = rng.standard_normal((s, a)), 10 ** rng.uniform(-2, 1)
            for name, policy in _policies(rng, s, a).items():
                probs, error = policy.probs, []
                for _ in range(PAIRS):
                    x = int(rng.integers(s))
                    y, other = (int(i) for i in rng.choice(a, size=2, p=probs[x]))
                    # noisy rewards: the identity is one of samples, whatever they hold
                    r, r_other = reward[x, y] + rng.standard_normal(), reward[x, other] + rng.standard_normal()
                    gradient = _loss_gradient(policy, x, (y, other), (r, r_other), eta)
                    baseline: Baseline = Critic((probs * reward).sum(axis=-1)) if reinforce else LeaveOneOut(2)
                    answers, seen = ([y], [r]) if reinforce else ([y, other], [r, r_other])
                    group = Groups(np.array([[x]]), np.array([[answers]]), np.array([[seen]]))
                    estimate = policy.gradient(group.advantages(baseline, s, a).cells)[0]
                    size = 4 / eta * (1 + abs(r - r_other))  # of the two sides; an answer met by itself gives 0
                    error.append(float(np.abs(gradient + 4 / eta * estimate).max()) / size)
                rows.append({"class": name, "n_states": s, "n_actions": a, "step_size": eta, "error": max(error)})
    return pd.DataFrame(rows)


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the largest distance over the pairs of an instance, against RLOO with two answers."""
    return _instances(rng, scale, reinforce=False)


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the same against REINFORCE on the first answer, with the exact baseline."""
    return _instances(rng, scale, reinforce=True)


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw one strip a class."""
    strip(
        fig,
        cases,
        control_cases,
        by="class",
        value="error",
        limit=TOLERANCE,
        label=r"error$\,/\,[(4/\eta)(1+|r-r'|)]$",
    )


CLAIM = Claim(
    id="E5",
    title="the first gradient is RLOO",
    statement="On-policy, the gradient of REBEL's pair loss at theta_t is -(4/eta) times the leave-one-out estimator "
    "with two answers, sample by sample, in any class.",
    latex=r"\nabla_\theta\,\ell(\theta_t; x, y, y') = -\tfrac4\eta\,\tfrac12 (g_y - g_{y'})(r_y - r_{y'})",
    source="the theory notes; RLOO: arXiv:2402.14740, equation 7",
    test=Equality(TOLERANCE),
    check=check,
    control=control,
    control_statement="REINFORCE on one answer, with the exact baseline",
    figure=draw,
)
