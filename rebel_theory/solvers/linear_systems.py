"""The linear systems behind policy evaluation by factorisation: stacks of dense LU, sparse LU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rebel_theory.arrays import FloatArray, batch_products
from rebel_theory.problems import TabularMDP

T = TypeVar("T", bound=np.generic)
Method: TypeAlias = Literal["auto", "dense", "sparse", "iterative"]

SMALL = 64  # up to here LAPACK called on the whole stack beats one factorisation used twice
_DENSE_STATES = 1_500  # a sparse problem this small is faster through dense LU (fill-in is no risk there)


@dataclass(frozen=True, slots=True, eq=False)
class Solved:
    """Values and discounted visits (..., S) with the certified sup-norm error of the values."""

    values: FloatArray
    visits: FloatArray
    error_bound: float


def spread(array: NDArray[T], shape: tuple[int, ...]) -> NDArray[T]:
    """Return ``np.broadcast_to(array, shape)``, at no cost where nothing is to be done."""
    return array if array.shape == shape else np.broadcast_to(array, shape)


def rounding(n_terms: int, reward: FloatArray, values: FloatArray) -> float:
    """Return :func:`rounding_of` the largest reward and value."""
    return float(rounding_of(n_terms, np.abs(reward).max(), np.abs(values).max()))


def rounding_of(n_terms: int, reward: ArrayLike, value: ArrayLike) -> FloatArray:
    """Return what rounding can hide in a computed residual r + gamma P V - V of sums with ``n_terms`` terms.

    A sum of n products carries a relative error of n eps / 2 of the terms' absolute sum (Higham 2002, section 3.1),
    here at most ``|r| + 2 |V|``; a residual of 0 does not certify an error of 0. ``reward`` and ``value`` bound both.
    """
    return np.asarray((n_terms + 4) * np.finfo(np.float64).eps * (np.asarray(reward) + 2 * np.asarray(value)))


def evaluate_dense(problem: TabularMDP, probs: FloatArray) -> Solved:
    """Return values and visits by LU factorisation of I - gamma P_pi, one for both systems."""
    matrix = np.eye(problem.n_states) - problem.discount * policy_transition(problem, probs)
    reward = (probs * problem.reward).sum(axis=-1)
    reward = spread(reward, matrix.shape[:-1])
    start = spread(_transient(problem, problem.initial_dist), matrix.shape[:-1])
    return _solve_stack(problem, matrix, reward, start)


def policy_transition(problem: TabularMDP, probs: FloatArray) -> FloatArray:
    """Return P_pi (..., S, S); rows of absorbing states are 0 when gamma = 1, which makes I - P_pi regular."""
    p = problem.transition
    lead = np.broadcast_shapes(probs.shape[:-2], problem.batch_shape)
    # of one instance, per state one (batch, A) x (A, S) product: a BLAS call, not an einsum
    p_pi = batch_products(probs, p) if p.ndim == 3 else np.matmul(probs[..., None, :], p)[..., 0, :]
    p_pi = spread(p_pi, (*lead, *p_pi.shape[-2:]))
    return np.where(problem.absorbing[..., None], 0.0, p_pi) if problem.discount == 1.0 else p_pi


def _transient(problem: TabularMDP, array: FloatArray) -> FloatArray:
    """Return ``array`` with absorbing states set to 0 when gamma = 1 (they are not visited, only reached)."""
    return np.where(problem.absorbing, 0.0, array) if problem.discount == 1.0 else array


def _solve_stack(problem: TabularMDP, matrix: FloatArray, reward: FloatArray, start: FloatArray) -> Solved:
    s = matrix.shape[-1]
    # the inverse of I - gamma P is non-negative, so its sup norm is its product with the ones vector
    rhs = np.ones((*reward.shape, 2))
    rhs[..., 0] = reward
    if s <= SMALL:
        both = np.linalg.solve(matrix, rhs)
        visits = np.linalg.solve(np.swapaxes(matrix, -1, -2), start[..., None])[..., 0]
    else:
        from scipy.linalg import lu_factor, lu_solve

        both = np.empty(rhs.shape)
        visits = np.empty(start.shape)
        for place in np.ndindex(matrix.shape[:-2]):
            factors = lu_factor(matrix[place], check_finite=False)
            both[place] = lu_solve(factors, rhs[place], check_finite=False)
            visits[place] = lu_solve(factors, start[place], trans=1, check_finite=False)
    values: FloatArray = np.asarray(both[..., 0], np.float64)
    steps = both[..., 1]
    residual = np.abs(reward - np.matmul(matrix, values[..., None])[..., 0]).max(axis=-1)
    residual = residual + rounding_of(s + problem.n_actions, np.abs(problem.reward).max(), np.abs(values).max(axis=-1))
    return Solved(values, np.asarray(visits, np.float64), float((residual * steps.max(axis=-1)).max()))


def evaluate_sparse(problem: TabularMDP, probs: FloatArray, method: Method) -> Solved:
    """Return values and visits by sparse systems, one policy (and instance) of the batch at a time."""
    from scipy.sparse import csr_array

    s, a = problem.n_states, problem.n_actions
    p = problem.transition
    lead = np.broadcast_shapes(probs.shape[:-2], problem.batch_shape)
    single = p if problem.is_sparse else csr_array(p.reshape(s * a, s)) if p.ndim == 3 else None
    several = None if single is not None else np.broadcast_to(p, (*lead, s, a, s))
    absorbing = np.broadcast_to(problem.absorbing, (*lead, s))
    values, visits, bound = np.empty((*lead, s)), np.empty((*lead, s)), 0.0
    rewards = np.broadcast_to((probs * problem.reward).sum(axis=-1), (*lead, s))
    starts = np.broadcast_to(_transient(problem, problem.initial_dist), (*lead, s))
    policies = np.broadcast_to(probs, (*lead, s, a))
    for place in np.ndindex(*lead):
        transition = single if several is None else csr_array(several[place].reshape(s * a, s))
        data = np.where(absorbing[place][:, None], 0.0, policies[place]) if problem.discount == 1 else policies[place]
        mixer = csr_array((data.ravel(), np.arange(s * a), np.arange(0, s * a + 1, a)), shape=(s, s * a))
        solved = _one_sparse(csr_array(mixer @ transition), rewards[place], starts[place], problem.discount, method, a)
        values[place], visits[place] = solved.values, solved.visits
        bound = max(bound, solved.error_bound)
    return Solved(values, visits, bound)


def _one_sparse(
    p_pi: Any, reward: FloatArray, start: FloatArray, gamma: float, method: Method, n_actions: int
) -> Solved:
    from scipy.sparse import csc_array, eye_array
    from scipy.sparse.linalg import splu

    s = p_pi.shape[0]
    n_terms = int(np.diff(p_pi.indptr).max()) + n_actions  # of the longest row, and of the sums over actions
    if method == "auto":
        method = "dense" if s <= _DENSE_STATES else "sparse"
    if method == "iterative":
        raise ValueError("method='iterative' needs a discount below 1: use method='sparse' or 'dense'")
    ones = np.ones(s)
    if method == "dense":
        matrix = np.eye(s) - gamma * p_pi.toarray()
        solve = _dense_solver(matrix)
    else:
        matrix = csc_array(eye_array(s) - gamma * p_pi)
        factors = splu(matrix)
        solve = lambda b, t: factors.solve(b, "T" if t else "N")  # noqa: E731
    values = solve(reward, False)
    residual = float(np.abs(reward - matrix @ values).max()) + rounding(n_terms, reward, values)
    return Solved(values, solve(start, True), residual * float(solve(ones, False).max()))


def _dense_solver(matrix: FloatArray) -> Any:
    from scipy.linalg import lu_factor, lu_solve

    factors = lu_factor(matrix, check_finite=False)
    return lambda b, transposed: lu_solve(factors, b, trans=int(transposed), check_finite=False)
