"""The linear systems behind the evaluation of a linear MDP: d x d, in the weights of its features."""

from __future__ import annotations

import numpy as np

from rebel_theory.arrays import FloatArray
from rebel_theory.problems import LinearMDP
from rebel_theory.solvers.chains import Found
from rebel_theory.solvers.linear_systems import rounding_of


def evaluate_features(problem: LinearMDP, probs: FloatArray) -> Found:
    """Return the evaluation of policies (..., S, A), with visits that sum to 1."""
    gamma, m = problem.discount, problem.measures
    phi_pi = np.matmul(probs[..., None, :], problem.features)[..., 0, :]  # (..., S, d)
    kernel = np.matmul(m, phi_pi)  # (..., d, d)
    eye = np.eye(problem.n_features)
    theta = np.broadcast_to(problem.reward_weights, kernel.shape[:-1])
    w = np.linalg.solve(eye - gamma * kernel, theta[..., None])[..., 0]  # (..., d)
    q = np.matmul(problem.features, w[..., None, :, None])[..., 0]
    values = np.matmul(phi_pi, w[..., None])[..., 0]
    start = (1 - gamma) * np.matmul(np.swapaxes(phi_pi, -1, -2), problem.initial_dist[..., None])
    z = np.linalg.solve(np.swapaxes(eye - gamma * kernel, -1, -2), start)  # (..., d, 1)
    arrivals = np.matmul(np.swapaxes(m, -1, -2), z)[..., 0]  # (..., S)
    if (m < 0).any():  # signed measures cancel: what is left of a state that nothing leads to is rounding, not weight
        size = np.matmul(np.swapaxes(np.abs(m), -1, -2), np.abs(z))[..., 0]
        noise = 8 * problem.n_features * np.finfo(np.float64).eps / (1 - gamma) * size
        arrivals = np.where(arrivals <= noise, 0.0, arrivals)
    # residual of V = r_pi + gamma P_pi V, seen through the features: the error is at most 1/(1-gamma) times it
    expected = np.matmul(phi_pi, (theta + gamma * np.matmul(kernel, w[..., None])[..., 0])[..., None])[..., 0]
    # sizes of what cancels in these sums, for the rounding that the residual cannot see
    sizes = np.stack(np.broadcast_arrays(np.abs(w), np.abs(m).sum(axis=-1), np.abs(theta)), axis=-1)  # (..., d, 3)
    value, mass, reward = np.moveaxis(np.matmul(np.abs(phi_pi), sizes).max(axis=-2), -1, 0)
    hidden = rounding_of(problem.n_states + problem.n_actions + 2 * problem.n_features, reward, (1 + mass) * value)
    residual = float((np.abs(values - expected).max(axis=-1) + hidden).max())
    visits = (1 - gamma) * problem.initial_dist + gamma * arrivals
    return Found(values, q, visits, residual / (1.0 - gamma), "features")
