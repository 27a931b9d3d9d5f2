"""Entropy-regularised values of discounted MDPs: of a policy, and optimal; with a stated error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rebel_theory.arrays import FloatArray, log_softmax
from rebel_theory.problems import InvalidProblemError, TabularMDP
from rebel_theory.solvers.evaluation import q_from_values

_ROUNDS = 500
_EPSILON = float(np.finfo(np.float64).eps)
_DENSE_STATES = 4000  # the transition of a policy is written out and solved by LAPACK


@dataclass(frozen=True, slots=True, eq=False)
class SoftSolution:
    """The optimum of r plus ``temperature`` times the entropy of the policy, discounted.

    Attributes
    ----------
    values : shape (..., S)
    q_values, log_policy : shape (..., S, A)
        pi* is proportional to exp(Q*/temperature).
    error_bound : float
        Certified bound on the sup-norm error of ``values`` and ``q_values``.
    """

    values: FloatArray
    q_values: FloatArray
    log_policy: FloatArray
    error_bound: float


def soft_values(problem: TabularMDP, log_probs: FloatArray, temperature: float) -> tuple[FloatArray, FloatArray]:
    """Return V_tau (..., S) and Q_tau (..., S, A) of a policy in the regularised MDP.

    V_tau = E[sum gamma^t (r_t - tau ln pi(a_t|s_t))] and Q_tau = r + gamma P V_tau (Cen et al. 2021, section 2.1).
    """
    probs = np.exp(log_probs)
    with np.errstate(invalid="ignore"):
        entropy = -np.where(probs > 0, probs * log_probs, 0.0).sum(axis=-1)
    dense = problem.transition.toarray() if problem.is_sparse else problem.transition
    s, a = problem.n_states, problem.n_actions
    if s > _DENSE_STATES:
        raise InvalidProblemError(
            "soft values", [f"the MDP has {s:,} states, expected at most {_DENSE_STATES:,}: the solve is dense"]
        )
    p = np.asarray(dense).reshape(*problem.batch_shape, s, a, s)
    chain = np.matmul(probs[..., None, :], p)[..., 0, :]  # (..., S, S)
    reward = (probs * problem.reward).sum(axis=-1) + temperature * entropy
    values = np.linalg.solve(np.eye(s) - problem.discount * chain, reward[..., None])[..., 0]
    return values, q_from_values(problem, values)


def soft_solve(problem: TabularMDP, temperature: float) -> SoftSolution:
    """Return the optimal regularised values by soft policy iteration, Newton's method on the soft Bellman equation.

    The residual of V = tau ln sum exp(Q/tau), a contraction with modulus gamma, bounds the error by
    (residual + its rounding) / (1 - gamma).

    Raises
    ------
    InvalidProblemError
        Unless 0 < temperature < inf and gamma < 1.
    """
    gamma = problem.discount
    faults = [] if 0 < temperature < np.inf else [f"temperature is {temperature}, expected a finite number > 0"]
    if gamma >= 1:
        faults.append("discount is 1, expected less: the soft Bellman operator must contract")
    if faults:
        raise InvalidProblemError("soft_solve", faults)
    log_policy = np.full((*problem.batch_shape, problem.n_states, problem.n_actions), -np.log(problem.n_actions))
    best: tuple[float, FloatArray, FloatArray, FloatArray] | None = None
    previous = np.full(log_policy.shape[:-1], -np.inf)
    for _ in range(_ROUNDS):
        values, q = soft_values(problem, log_policy, temperature)
        largest = q.max(axis=-1, keepdims=True)
        backed_up = largest[..., 0] + temperature * np.log(np.exp((q - largest) / temperature).sum(axis=-1))
        residual = float(np.abs(backed_up - values).max())
        log_policy = log_softmax(q / temperature)
        scale = max(float(np.abs(q).max()), float(np.abs(values).max()))
        residual += _EPSILON * (problem.n_states + problem.n_actions + 8) * scale  # its own rounding
        risen = float((values - previous).max()) > 8 * _EPSILON * scale / (1 - gamma)
        if best is not None and residual >= best[0] and not risen:
            break  # values rise with every policy, residuals need not fall: only both together mean the end
        if best is None or residual < best[0]:
            best = (residual, values, q, log_policy)
        previous = values
    assert best is not None
    residual, values, q, log_policy = best
    return SoftSolution(values, q, log_policy, residual / (1 - gamma))
