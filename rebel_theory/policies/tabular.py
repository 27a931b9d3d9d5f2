"""Tabular softmax: one logit per row and action."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.arrays import FloatArray, expectation, log_softmax, read_only, safe_log, whole
from rebel_theory.feedback import Feedback
from rebel_theory.pairs import Pairs
from rebel_theory.policies.base import Policy, check_fit, per_row
from rebel_theory.policies.natural import FisherSolver, PseudoInverse
from rebel_theory.problems import Problem
from rebel_theory.problems.base import checking


@dataclass(frozen=True, eq=False, init=False)
class TabularPolicy(Policy):
    """The softmax policy pi(a|s) proportional to exp(logits[s, a]).

    Parameters
    ----------
    logits : shape (..., S, A)
        Finite, or ``-inf`` for an action that is ruled out; each row needs a finite entry.

    Examples
    --------
    >>> TabularPolicy([[0.0, np.log(3.0)]]).probs.round(2)
    array([[0.25, 0.75]])
    """

    parameter_axes: ClassVar[int] = 2

    logits: FloatArray  # (..., S, A)

    def __init__(self, logits: ArrayLike) -> None:
        with checking("TabularPolicy") as checks:
            array = checks.array("logits", logits, "numbers of shape (S, A)")
            if checks.require(array.ndim >= 2, f"logits has shape {array.shape}, expected (..., S, A)"):
                bad = np.isnan(array) | (array == np.inf)
                checks.entries(bad, "logits", ("s", "a"), array, "is {value}, expected a finite number or -inf")
                empty = (array == -np.inf).all(axis=-1)
                checks.entries(empty, "logits", ("s",), np.zeros(empty.shape), "has no finite entry: no action is left")
        object.__setattr__(self, "logits", array)

    @classmethod
    def uniform(cls, problem: Problem) -> Self:
        """Return the uniform policy of a problem, in its natural shape."""
        return cls(np.zeros(problem.policy_shape))

    @classmethod
    def from_probs(cls, probs: ArrayLike) -> Self:
        """Return the policy with the given probabilities (..., S, A); zeros become ruled-out actions."""
        return cls(safe_log(np.asarray(probs, dtype=np.float64)))

    @classmethod
    def _trusted(cls, logits: FloatArray) -> Self:
        """Return the policy of logits that an update produced: one pass that still catches NaN, normalised."""
        return cls._normalised(log_softmax(logits))

    @classmethod
    def _normalised(cls, log_probs: FloatArray) -> Self:
        log_probs = read_only(log_probs)
        if np.isnan(log_probs).any():
            raise FloatingPointError("an update produced NaN logits: the step size times the signal overflowed")
        self = cls.__new__(cls)
        object.__setattr__(self, "logits", log_probs)
        self.__dict__["log_probs"] = log_probs  # already normalised
        return self

    def compute_log_probs(self) -> FloatArray:
        """Return log-softmax(logits)."""
        return log_softmax(self.logits)

    @property
    def parameters(self) -> FloatArray:
        """The logits (..., S, A)."""
        return self.logits

    def with_parameters(self, parameters: FloatArray) -> Self:
        """Return the policy with other logits."""
        return type(self)(parameters)

    def in_rows(self, problem: Problem) -> Self:
        """Return the policy with logits (..., rows, A)."""
        check_fit("logits", self.logits.shape, problem)
        return self if len(problem.row_shape) == 1 else type(self)(problem.to_rows(self.logits))

    def in_shape(self, problem: Problem, lead: tuple[int, ...]) -> Self:
        """Return the policy with logits (*lead, *row_shape, A)."""
        return type(self)(problem.from_rows(np.broadcast_to(self.logits, (*lead, *self.logits.shape[-2:]))))

    def step(self, direction: FloatArray, step_size: FloatArray) -> Self:
        """Return the policy with logits + eta * direction, direction (..., S, A)."""
        return self._trusted(self.log_probs + per_row(step_size) * direction)

    def regress(self, pairs: Pairs, step_size: FloatArray) -> Self:
        """Return the exact minimiser: logits + eta z, z the min-norm potentials of the pair regression."""
        return self._normalised(pairs.tilted(self.log_probs, step_size))

    def natural_direction(self, feedback: Feedback, solver: FisherSolver) -> FloatArray:
        """Return F^+ E[g A], shape (..., S, A); F is block-diagonal, one block d(s) (diag pi - pi pi^T) a row.

        ``PseudoInverse()`` solves a block in O(A), as the diagonal plus rank one that it is;
        ``PseudoInverse(explicit=True)`` and the other solvers are given it written out.
        """
        if isinstance(solver, PseudoInverse):
            return (_explicit if solver.explicit else _eliminated)(self, feedback)
        direction = _block_solve(self.log_probs, feedback, solver)
        return np.where(feedback.visited[..., None], direction, 0.0)

    def pair_natural_direction(self, pairs: Pairs, solver: FisherSolver) -> FloatArray:
        """Return the direction (..., S, A) of the pair Fisher; its blocks are halved Laplacians of rows' pair graphs.

        Their system is the normal equation of REBEL's regression (E3): ``PseudoInverse()`` solves it by the same
        elimination, ``PseudoInverse(explicit=True)`` and the other solvers are given the score differences.
        """
        if isinstance(solver, PseudoInverse) and not solver.explicit:
            return pairs.potentials()
        return _pair_blocks(self.log_probs.shape, pairs, solver)

    def gradient(self, cells: FloatArray) -> FloatArray:
        """Return c - pi sum_a c, shape (..., S, A)."""
        centred: FloatArray = cells - self.probs * cells.sum(axis=-1, keepdims=True)
        return centred

    def moved(self, direction: FloatArray, step_size: FloatArray) -> Self:
        """Return the policy with logits + eta * direction."""
        return self.step(direction, step_size)

    def project(self, log_target: FloatArray, feedback: Feedback) -> Self:
        """Return the target itself at every visited row: the class contains it."""
        return self._trusted(np.where(feedback.visited[..., None], log_target, self.log_probs))


def _eliminated(policy: TabularPolicy, feedback: Feedback) -> FloatArray:
    """Return F^+ E[g A] (..., S, A) by elimination, under the policy or under a sample's frequencies."""
    from rebel_theory.kernels.fisher import solve_fisher_rows

    pi, signal = policy.probs if feedback.frequencies is None else feedback.frequencies, feedback.signal
    support = policy.log_probs > -np.inf if feedback.frequencies is None else pi > 0
    # one policy may meet a batch of signals
    shape = signal.shape if signal.shape == pi.shape else np.broadcast_shapes(pi.shape, signal.shape)
    rows, x = (-1, shape[-1]), whole(signal, shape)
    solve_fisher_rows(
        whole(pi, shape).reshape(rows),
        whole(support, shape).reshape(rows),
        whole(feedback.visited, shape[:-1]).reshape(-1),
        x.reshape(rows),
    )
    return x


def _explicit(policy: TabularPolicy, feedback: Feedback) -> FloatArray:
    """Return F^+ E[g A] (..., S, A) with every block written out and solved by LAPACK, O(A^3) a row.

    Row a of F x = E[g A] is pi_a times g_a . x = A_a, g_a = e_a - pi the score; dividing by pi_a keeps the
    solution set and removes the scale. F has the ones vector as its kernel, so the equation of the likeliest
    action is replaced by x = 0 there, and the mean over the support is taken off afterwards: the minimum norm.
    A pseudo-inverse by singular values would instead drop every action with probability below 1e-16.
    """
    pi = policy.probs if feedback.frequencies is None else feedback.frequencies
    support = policy.log_probs > -np.inf if feedback.frequencies is None else pi > 0
    support = support & feedback.visited[..., None]
    pi, signal, support = np.broadcast_arrays(pi, feedback.signal, support)
    eye = np.eye(pi.shape[-1])
    system = eye - np.where(support[..., :, None], pi[..., None, :], 0.0)  # rows g_a; e_a off the support
    ground = pi.argmax(axis=-1)[..., None, None]  # (..., S, 1, 1)
    np.put_along_axis(system, ground, eye[ground[..., 0, 0]][..., None, :], axis=-2)
    right = np.where(support, signal - expectation(pi, signal)[..., None], 0.0)
    np.put_along_axis(right, ground[..., 0], 0.0, axis=-1)
    x = np.linalg.solve(system, right[..., None])[..., 0]
    mean = (x * support).sum(axis=-1, keepdims=True) / np.maximum(support.sum(axis=-1, keepdims=True), 1)
    return np.where(support, x - mean, 0.0)


def _block_solve(log_pi: FloatArray, feedback: Feedback, solver: FisherSolver) -> FloatArray:
    """Return the solver's answer for every row's Fisher block d(s) E[g g^T], from centred scores e_a - E[e_a].

    In a sample the mean score E[g] is not 0; taking it off keeps actions that were not sampled where they were.
    """
    frequencies = np.exp(log_pi) if feedback.frequencies is None else feedback.frequencies
    scores = np.eye(log_pi.shape[-1]) - frequencies[..., None, :]  # (..., S, A, A)
    baseline = (frequencies * feedback.signal).sum(axis=-1, keepdims=True)
    advantage = np.where(frequencies > 0, feedback.signal - baseline, 0.0)
    weights = feedback.weights[..., None] * frequencies
    direction = solver.solve(scores, weights, advantage)
    return np.where(log_pi > -np.inf, direction, 0.0)


def _pair_blocks(shape: tuple[int, ...], pairs: Pairs, solver: FisherSolver) -> FloatArray:
    """Return the solver's answer for every row's pair Fisher block, from score differences e_y - e_y'."""
    s, a = shape[-2:]
    differences, rewards, _ = pairs.rows(np.broadcast_to(np.eye(a), (s, a, a)))  # row after row, as many in each
    differences = differences.reshape(*differences.shape[:-2], s, -1, a)
    rewards = rewards.reshape(differences.shape[:-1])
    return solver.solve(differences, np.full(rewards.shape, 0.5), rewards)
