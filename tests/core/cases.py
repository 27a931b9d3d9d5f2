"""Random instances of the five problem kinds, and what a naive reader sees of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import reference as ref

import rebel_theory as rt

KINDS = ("bandit", "mdp", "horizon", "linear", "game")
AUDITED = {"bandit": "C1", "mdp": "C11", "horizon": "C11", "linear": "C11", "game": "P7"}
BASES = ("on-policy", "uniform", "fixed", "mixture")


def dirichlet(rng, *shape, concentration=1.0):
    """Rows of probabilities."""
    return rng.dirichlet(np.full(shape[-1], concentration), size=shape[:-1])


def discounted(rng, s, a, discount, n):
    """A batch of n discounted MDPs."""
    transition = dirichlet(rng, n, s, a, s, concentration=0.3)
    reward = rng.random((n, s, a))
    return rt.TabularMDP(transition, reward, discount=discount, initial_dist=dirichlet(rng, n, s))


@dataclass(frozen=True)
class Case:
    """A problem and the raw arrays that it was built from."""

    kind: str
    problem: Any
    raw: dict

    def signal(self, pi):
        """(weights (rows,), signal (rows, A)) at pi (rows, A), by the naive reference."""
        r = self.raw
        if self.kind == "bandit":
            return r["rho"], r["reward"]
        if self.kind == "game":
            return r["rho"], ref.game_signal(r["preference"], pi)
        if self.kind == "horizon":
            h, s, a = r["reward"].shape
            _, q, d = ref.horizon(r["transition"], r["reward"], pi.reshape(h, s, a), r["rho"])
            return d.ravel(), q.reshape(h * s, a)
        v = ref.values_by_solve(r["transition"], r["reward"], r["gamma"], pi)
        return (
            ref.occupancy(r["transition"], r["gamma"], pi, r["rho"]),
            ref.q_from(r["transition"], r["reward"], r["gamma"], v),
        )


def preference(rng, x, y):
    """Random preference matrices (X, Y, Y)."""
    upper = np.triu(rng.random((x, y, y)), 1)
    return upper + np.tril(1 - np.swapaxes(upper, -1, -2), -1) + 0.5 * np.eye(y)


def make(kind, rng, s=4, a=3, gamma=0.8):
    """Return a random case of a kind with s states (contexts) and a actions."""
    rho = dirichlet(rng, s)
    if kind == "bandit":
        reward = rng.random((s, a))
        return Case(kind, rt.ContextualBandit(reward, context_dist=rho), {"reward": reward, "rho": rho})
    if kind == "game":
        p = preference(rng, s, a)
        return Case(kind, rt.PreferenceGame(p, context_dist=rho), {"preference": p, "rho": rho})
    if kind == "horizon":
        h = 3
        p, r = dirichlet(rng, h, s, a, s), rng.random((h, s, a))
        problem = rt.FiniteHorizonMDP(p, r, horizon=h, initial_dist=rho)
        return Case(kind, problem, {"transition": p, "reward": r, "rho": rho})
    if kind == "linear":
        d = 3
        phi, m, theta = dirichlet(rng, s, a, d), dirichlet(rng, d, s), rng.random(d)
        problem = rt.LinearMDP(phi, m, theta, discount=gamma, initial_dist=rho)
        return Case(kind, problem, {"transition": phi @ m, "reward": phi @ theta, "gamma": gamma, "rho": rho})
    p, r = dirichlet(rng, s, a, s), rng.random((s, a))
    problem = rt.TabularMDP(p, r, discount=gamma, initial_dist=rho)
    return Case(kind, problem, {"transition": p, "reward": r, "gamma": gamma, "rho": rho})


def base(name, rng, case, pi):
    """Return (what Rebel takes, mu (rows, A)) for a kind of base at the current policy pi (rows, A)."""
    rows, a = pi.shape
    uniform, fixed = np.full((rows, a), 1 / a), dirichlet(rng, rows, a)
    given = fixed.reshape(case.problem.policy_shape)
    if name == "on-policy":
        return name, pi
    if name == "uniform":
        return name, uniform
    if name == "fixed":
        return given, fixed
    mix = rt.Mixture([("on-policy", 0.2), ("uniform", 0.3), (given, 0.5)])
    return mix, 0.2 * pi + 0.3 * uniform + 0.5 * fixed


def start(rng, case):
    """A random tabular policy in the problem's shape and its probabilities as rows."""
    pi = dirichlet(rng, case.problem.n_rows, case.problem.n_actions)
    return rt.TabularPolicy(np.log(pi).reshape(case.problem.policy_shape)), pi


def one_step(problem, algorithm, policy):
    """Probabilities as rows (rows, A) after one exact update."""
    final = rt.run(problem, algorithm, n_iterations=1, policy=policy).final_policy
    return final.probs.reshape(-1, problem.n_actions)
