"""The record of a run, read a second time from the policies alone: what a loose bound would let pass.

C1, C11 and P7 are inequalities whose two sides come from one record; a wrong term may still be large enough. Here
every figure that they rest on (gap and its average, eps_t, and the three terms of the bound) is worked out again from
the definitions: pairs one by one, a dense solve of one instance, a maximum over all actions. Nothing is shared with
the library but the problem's tables and the policies that were visited. The regret identity is held to the same gaps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_theory as rt
from rebel_bench.instances import random_problem
from rebel_theory.arrays import FloatArray
from rebel_theory.theory.identity import regret_identity

ROLE = "second reading"  # in the column "problem" of a claim's cases
TOLERANCE = 1e-8  # relative; rounding is magnified by 1/eta, which is 10 at most
SHAPES = ((1, 5), (3, 4))  # (S, A): more cells than two features can fit, so that there is a misfit
N_INSTANCES, N_UPDATES, N_FEATURES = 3, 6, 2


@dataclass(frozen=True)
class _Tables:
    """One instance: a comparator, its state weights and their mass; ``at`` gives (d, q, gap) of a policy."""

    kind: str
    first: FloatArray  # reward (S, A), or P(y beats y') (S, A, A)
    start: FloatArray  # (S,)
    transition: FloatArray | None
    discount: float

    def at(self, pi: FloatArray) -> tuple[FloatArray, FloatArray, float]:
        """Return state weights (S,), signal (S, A), and J(pi), or the duality gap of a game."""
        if self.kind == "game":
            payoff = 2 * self.first - 1
            q = np.array([pay @ p for pay, p in zip(payoff, pi, strict=True)])  # l(., pi)
            back = np.array([p @ pay for pay, p in zip(payoff, pi, strict=True)])  # l(pi, .)
            return self.start, q, float(self.start @ (q.max(axis=-1) - back.min(axis=-1)))
        if self.transition is None:
            return self.start, self.first, float(self.start @ (pi * self.first).sum(axis=-1))
        p = np.array([row @ moves for row, moves in zip(pi, self.transition, strict=True)])
        system = np.eye(len(p)) - self.discount * p
        values = np.linalg.solve(system, (pi * self.first).sum(axis=-1))
        visits: FloatArray = np.asarray(np.linalg.solve(system.T, (1 - self.discount) * self.start), dtype=np.float64)
        return visits, self.first + self.discount * self.transition @ values, float(self.start @ values)

    def best(self) -> FloatArray:
        """Return an optimal policy (S, A), by improving the uniform one until nothing changes."""
        n_actions = self.first.shape[-1]
        pi: FloatArray = np.full(self.first.shape, 1 / n_actions)
        while True:
            better = np.eye(n_actions)[self.at(pi)[1].argmax(axis=-1)]
            if np.array_equal(better, pi):
                return pi
            pi = better


def read(problem: rt.Problem, policies: FloatArray, base: str, eta: float) -> dict[str, FloatArray]:
    """Return gaps and average gaps (T + 1,), errors and terms of the bound (T,) of one instance's policies."""
    tables = _tables(problem)
    n_actions, t = policies.shape[-1], np.arange(1, len(policies))
    found = [tables.at(pi) for pi in policies]
    gap = np.array([value for _, _, value in found])
    if tables.kind == "game":
        mass, average = 2.0, np.array([tables.at(policies[: k + 1].mean(axis=0))[2] for k in range(len(policies))])
        start = float(tables.start @ -np.log(policies[0].min(axis=-1)))
        weights = tables.start
    else:
        star = tables.best()
        weights, _, optimum = tables.at(star)
        mass, gap = 1 / (1 - tables.discount), optimum - gap
        average = np.array([gap[: k + 1].mean() for k in range(len(gap))])
        start = float(weights @ (star * -np.log(policies[0])).sum(axis=-1))  # pi* is one-hot
    errors, misfits, largest = [], [], []
    for pi, after, (d, q, _) in zip(policies, policies[1:], found, strict=False):
        mu = pi if base == "on-policy" else np.full(pi.shape, 1 / n_actions)
        f = np.log(after / pi) / eta
        residual = (f[:, :, None] - f[:, None, :]) - (q[:, :, None] - q[:, None, :])
        error = float((d[:, None, None] * pi[:, :, None] * mu[:, None, :] * residual**2).sum())
        covered = 1.0 if tables.kind == "game" else star  # of a game, every policy
        shift = float((weights[:, None] * covered / (d[:, None] * mu)).max())
        errors.append(error)
        misfits.append(np.sqrt(shift * error))
        largest.append(float(np.abs(f - (pi * f).sum(axis=-1, keepdims=True)).max()))
    terms = {
        "progress": mass * start / (eta * t),
        "curvature": mass * eta * np.array([max(largest[:k]) for k in t]) ** 2 / 2,
        "misfit": mass * np.array([np.mean(misfits[:k]) for k in t]),
    }
    return {"gap": gap, "average_gap": average, "regression_error": np.array(errors), **terms,
            "total": terms["progress"] + terms["curvature"] + terms["misfit"]}  # fmt: skip


def _tables(problem: rt.Problem) -> _Tables:
    if isinstance(problem, rt.PreferenceGame):
        return _Tables("game", problem.preference, problem.context_dist, None, 0.0)
    if isinstance(problem, rt.TabularMDP):
        return _Tables("mdp", problem.reward, problem.initial_dist, np.asarray(problem.transition), problem.discount)
    assert isinstance(problem, rt.ContextualBandit)
    return _Tables("bandit", problem.reward, problem.context_dist, None, 0.0)


def cases(rng: Generator, kind: str) -> pd.DataFrame:
    """Return, per quantity, the largest relative difference between the record of a few runs and this reading."""
    tables = []
    for base in ("on-policy", "uniform"):
        for s, a in SHAPES:
            problem = random_problem(rng, kind, s, a, N_INSTANCES)
            eta = 10 ** rng.uniform(-1, 0.3, size=N_INSTANCES)
            features, theta = rng.standard_normal((s, a, N_FEATURES)), rng.standard_normal((1, N_INSTANCES, N_FEATURES))
            tables.append(_compared(problem, rt.LogLinearPolicy(features, theta), base, eta))
            # one instance takes other ways through the library than a batch does
            alone = rt.LogLinearPolicy(features, theta[:, 0])
            tables.append(_compared(problem.instance(0), alone, base, eta[0]))
    return pd.concat(tables, ignore_index=True)


def _compared(problem: rt.Problem, start: rt.LogLinearPolicy, base: str, eta: FloatArray | float) -> pd.DataFrame:
    trace = rt.run(problem, rt.Rebel(eta, base=base), n_iterations=N_UPDATES, policy=start, keep_policies=True)
    assert trace.probs is not None
    recorded = {"gap": trace.gap, "average_gap": trace.average_gap, "regression_error": trace.regression_error,
                **trace.bound}  # fmt: skip
    policies = trace.probs.reshape(-1, *trace.probs.shape[-3:])  # (instances, T + 1, S, A)
    rows = []
    for i, (instance, step_size) in enumerate(zip(problem.instances(), np.atleast_1d(eta), strict=True)):
        shared = {"problem": ROLE, "base": base, "n_states": policies.shape[-2], "n_actions": policies.shape[-1],
                  "step_size": step_size, "n_updates": N_UPDATES, "bound": TOLERANCE}  # fmt: skip
        again = read(instance, policies[i], base, float(step_size))
        found = {name: recorded[name].reshape(len(policies), -1)[i] for name in again}
        if isinstance(instance, rt.PreferenceGame):
            again["duality_gap"], found["duality_gap"] = again["gap"], rt.duality_gap(instance, policies[i])
        else:
            again["identity"], found["identity"] = again["gap"][:-1], _identity(instance, policies[i], float(step_size))
        rows += [
            shared | {"quantity": name, "value": float(np.abs(found[name] - x).max() / np.abs(x).max())}
            for name, x in again.items()
        ]  # fmt: skip
    return pd.DataFrame(rows)


def _identity(problem: rt.Problem, policies: FloatArray, eta: float) -> FloatArray:
    """Return mass (progress + curvature + misfit) of every update (T,), which is the gap by the regret identity."""
    tables = _tables(problem)
    star, log_pi = tables.best(), np.log(policies)
    weights, _, _ = tables.at(star)
    found = []
    for t, pi in enumerate(policies[:-1]):
        terms = regret_identity(log_pi[t], log_pi[t + 1], tables.at(pi)[1], star, weights, eta)
        found.append(float(terms.progress + terms.curvature + terms.misfit) / (1 - tables.discount))
    return np.array(found)


def written_out(found: list[float], written: list[float]) -> pd.DataFrame:
    """Return how far a bound is from its theorem's, written out in the claim: one that is loose would hide a slip."""
    apart = np.abs(np.array(found) / np.array(written) - 1)
    return pd.DataFrame({"problem": ROLE, "quantity": "bound", "value": apart, "bound": 1e-12})


def theorem(table: pd.DataFrame) -> pd.DataFrame:
    """Return the cases of the theorem itself, for figures."""
    return table[table["problem"] != ROLE] if "problem" in table else table
