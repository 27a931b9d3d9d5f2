"""C7: entropy-regularised NPG contracts towards the soft optimum at a known rate."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_theory as rt
from rebel_bench import second_reading
from rebel_bench.claim import Claim, Inequality, Scale
from rebel_bench.figures import ratios
from rebel_bench.instances import random_policy, random_problem
from rebel_bench.style import line
from rebel_theory.algorithms import Algorithm, State
from rebel_theory.arrays import FloatArray, safe_log
from rebel_theory.oracles import BoundOracle
from rebel_theory.solvers.soft import soft_solve, soft_values
from rebel_theory.theory.bounds import entropy_npg_bound, functional_step_size

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Maker: TypeAlias = Callable[[FloatArray, float], Algorithm]

SHAPES = ((1, 2), (2, 2), (3, 5), (10, 3), (15, 2))  # (S, A)
DISCOUNTS = (0.1, 0.5, 0.9, 0.99)  # at 0 both sides are 0
N_UPDATES = 80
LEAST = 1e-6  # share of the first bound, below which rounding could decide


class HardValues(Algorithm):
    """The same step with Q in place of Q_tau: the entropy of the future forgotten."""

    name = "hard values"

    def __init__(self, step_size: FloatArray, temperature: float) -> None:
        self.step_size, self.temperature = step_size, temperature

    def step(self, state: State, oracle: BoundOracle) -> State:
        """Return pi^(1 - eta tau) exp(eta Q), normalised."""
        policy = state.policy
        assert isinstance(policy, rt.TabularPolicy)
        return State(policy.step(oracle.feedback(policy).signal - self.temperature * policy.log_probs, self.eta))


def _instances(rng: Generator, scale: Scale, make: Maker) -> pd.DataFrame:
    rows = []
    n = scale.cases(quick=10, paper=100, full=3_000)
    for discount in DISCOUNTS:
        for s, a in SHAPES:
            base = random_problem(rng, "mdp", s, a, n)
            assert isinstance(base, rt.TabularMDP)
            mdp = rt.TabularMDP(base.transition, base.reward, discount=discount, initial_dist=base.initial_dist)
            temperature = float(10 ** rng.uniform(-2, 1))
            share = np.where(rng.random(n) < 0.2, 1.0, 10 ** rng.uniform(-2, 0, size=n))  # of the largest step
            policy = random_policy(rng, mdp, spread=2.0)
            rows.append(measure(mdp, policy, temperature, share, make))
    return pd.concat(rows, ignore_index=True)


def _errors(
    mdp: rt.TabularMDP,
    policy: rt.TabularPolicy | None,
    temperature: float,
    npg_step: FloatArray,
    make: Maker,
    n_updates: int = N_UPDATES,
) -> tuple[FloatArray, FloatArray]:
    """Return ||Q*_tau - Q_tau^t||, shape (n, T + 1), less what rounding may add, and ||ln pi* - ln pi^0||, (n,)."""
    best = soft_solve(mdp, temperature)
    algorithm = make(functional_step_size(npg_step, mdp.discount), temperature)
    trace = rt.run(mdp, algorithm, n_iterations=n_updates, policy=policy, keep_policies=True)
    assert trace.probs is not None
    log_probs = safe_log(trace.probs[0])  # (n, T + 1, S, A)
    q = [soft_values(mdp, log_probs[..., t, :, :], temperature)[1] for t in range(n_updates + 1)]
    error = np.stack([np.abs(best.q_values - x).max(axis=(-2, -1)) for x in q], axis=-1)
    distance = np.abs(best.log_policy - log_probs[..., 0, :, :]).max(axis=(-2, -1))
    rounding = min(2 * best.error_bound, 1e-9 * (1 + float(np.abs(best.q_values).max())))  # no excuse for a bad solve
    return np.maximum(error - rounding, 0.0), distance


def measure(
    mdp: rt.TabularMDP,
    policy: rt.TabularPolicy,
    temperature: float,
    share: FloatArray,
    make: Maker,
    n_updates: int = N_UPDATES,
) -> pd.DataFrame:
    """Return, per instance, the update after which error / bound is largest."""
    npg_step = share * (1 - mdp.discount) / temperature
    error, distance = _errors(mdp, policy, temperature, npg_step, make, n_updates)
    t = np.arange(n_updates)
    bound = entropy_npg_bound(error[:, :1], distance[:, None], npg_step[:, None], temperature, t, mdp.discount)
    ratio = np.divide(error[:, 1:], bound, out=np.zeros_like(bound), where=error[:, 1:] > 0)
    ratio = np.where(bound > LEAST * bound[:, :1], ratio, 0.0)
    place = ratio.argmax(axis=-1)
    pick = np.arange(len(share)), place
    return pd.DataFrame(
        {"n_states": mdp.n_states, "n_actions": mdp.n_actions, "discount": mdp.discount, "temperature": temperature,
         "share": share, "n_updates": place + 1, "value": error[:, 1:][pick], "bound": bound[pick]}
    )  # fmt: skip


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return, per instance, error and bound where the bound is tightest."""
    return pd.concat([_instances(rng, scale, rt.EntropyNPG), _bound()], ignore_index=True)


def _bound() -> pd.DataFrame:
    """Return how far the bound is from the theorem's: only short steps attain it nearly, where t counts little."""
    eta, tau, q, log, found, written = 0.2, 0.4, 3.0, 2.0, [], []
    for gamma in (0.5, 0.9):
        for t in (0, 1, 5):
            found.append(float(entropy_npg_bound(q, log, eta, tau, t, gamma)))
            constant = q + 2 * tau * (1 - eta * tau / (1 - gamma)) * log
            written.append(constant * gamma * (1 - eta * tau) ** t)
    return second_reading.written_out(found, written)


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the same for a step on Q in place of Q_tau."""
    return _instances(rng, scale, HardValues)


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw the ratios, and the error over time at three steps with the bounds."""
    left, right = fig.subplots(1, 2)
    ratios(left, second_reading.theorem(cases), control_cases, label="error / bound")
    rng, temperature, discount = np.random.default_rng(0), 0.1, 0.9
    p, r = rng.dirichlet(np.ones(10), size=(10, 4)), rng.random((10, 4))
    mdp = rt.TabularMDP(np.stack(3 * [p]), np.stack(3 * [r]), discount=discount)
    share = np.array([0.05, 0.3, 1.0])
    step = share * (1 - discount) / temperature
    error, distance = _errors(mdp, None, temperature, step, rt.EntropyNPG)
    t = np.arange(N_UPDATES + 1)
    bound = entropy_npg_bound(error[:, :1], distance[:, None], step[:, None], temperature, t[:-1], discount)
    for i in range(3):
        style = line(rf"$\eta\tau/(1-\gamma)$ = {share[i]:g}", i)
        right.plot(t, np.maximum(error[i], 1e-13), **style)
        right.plot(t[1:], bound[i], color=style["color"], linewidth=0.8, linestyle=(0, (1, 1)))
    right.set(yscale="log", xlabel="updates $t$", ylabel=r"$\|Q^*_\tau - Q^t_\tau\|_\infty$", ylim=(1e-13, 1e14))
    right.legend(loc="upper right", title="thin dotted: bounds")


CLAIM = Claim(
    id="C7",
    title="entropy-regularised NPG",
    statement="Exact entropy-regularised NPG with eta_npg <= (1-gamma)/tau: ||Q*_tau - Q_tau^{t+1}|| <= "
    "C_1 gamma (1 - eta_npg tau)^t, C_1 = ||Q*_tau - Q_tau^0|| + 2 tau (1 - eta_npg tau/(1-gamma)) ||ln pi* - "
    "ln pi^0||, sup norms over the states that can be reached (the others keep their first policy).",
    latex=r"\|Q^*_\tau - Q^{t+1}_\tau\|_\infty \le C_1\,\gamma\,(1-\eta\tau)^t",
    source="Cen et al. 2021 (arXiv:2007.06558), Theorem 1",
    test=Inequality(),
    check=check,
    control=control,
    control_statement="the update takes Q in place of Q_tau",
    figure=draw,
    panels=(1, 2),
)
