"""Policies with shared parameters: what logits and their Jacobian are enough for."""

from __future__ import annotations

from abc import abstractmethod
from typing import TypeVar

import numpy as np

from rebel_theory.arrays import BoolArray, FloatArray, expectation, frozen, log_softmax
from rebel_theory.feedback import Feedback
from rebel_theory.least_squares import min_norm, ridge
from rebel_theory.pairs import Pairs
from rebel_theory.policies.base import Policy, check_fit, per_row
from rebel_theory.policies.natural import FisherSolver
from rebel_theory.problems import Problem

P = TypeVar("P", bound="ParametricPolicy")

_NEWTON_STEPS = 200
_HALVINGS = 60
_DAMPINGS = 30
_DAMPING = 1e-4  # the first one, in units of the largest squared singular value
_UNSEEN = 1e-13  # of the loss: its rounding
_TIE = 4e-16
_PATIENCE = 3  # scoring steps without a halved gradient before rounding level is believed
_ROUNDING = 1e-13
_STATIONARY = 1e-14  # gradient norm (probabilities and features of order 1) at which a projection has converged


class ParametricPolicy(Policy):
    """A softmax over logits f_theta(s, a); subclasses give logits, their Jacobian, and copies with other theta."""

    theta: FloatArray  # (..., p)

    @abstractmethod
    def logits(self) -> FloatArray:
        """Return f_theta, shape (..., S, A)."""

    @abstractmethod
    def jacobian(self) -> FloatArray:
        """Return d f / d theta, shape (..., S, A, p)."""

    @abstractmethod
    def with_theta(self: P, theta: FloatArray) -> P:
        """Return the same class at other parameters (..., p)."""

    @property
    @abstractmethod
    def inputs(self) -> FloatArray:
        """What the logits are a function of besides theta, shape (S, A, k)."""

    @abstractmethod
    def with_inputs(self: P, inputs: FloatArray) -> P:
        """Return the same class on other inputs (S, A, k)."""

    @property
    def parameters(self) -> FloatArray:
        """The parameters theta (..., p)."""
        return self.theta

    def with_parameters(self: P, parameters: FloatArray) -> P:
        """Return the same class at other parameters (..., p)."""
        return self.with_theta(parameters)

    def in_rows(self: P, problem: Problem) -> P:
        """Return the policy on inputs (rows, A, k); inputs (S, A, k) of a finite horizon serve every step."""
        x, shape = self.inputs, problem.policy_shape
        if x.shape[:-1] == shape[1:]:
            x = np.broadcast_to(x, (shape[0], *x.shape))
        check_fit("features", x.shape, problem, trailing=1)
        return self if x.ndim == 3 else self.with_inputs(frozen(problem.to_rows(x, trailing=2)))

    def in_shape(self: P, problem: Problem, lead: tuple[int, ...]) -> P:
        """Return the policy on inputs (*row_shape, A, k) with theta (*lead, p)."""
        inputs = problem.from_rows(self.inputs, trailing=2)
        theta = np.broadcast_to(self.theta, (*lead, self.theta.shape[-1]))
        return self.with_inputs(inputs).with_theta(theta)

    def compute_log_probs(self) -> FloatArray:
        """Return log-softmax(f_theta)."""
        return log_softmax(self.logits())

    def gauss_newton_step(self: P, pairs: Pairs, step_size: FloatArray) -> P:
        """Return theta + eta argmin E[((g_y - g_{y'}) . w - (r_y - r_{y'}))^2]: one Gauss-Newton step of REBEL."""
        jacobian = self.jacobian()
        direction = min_norm(*pairs.rows(jacobian))
        return self.with_theta(self.theta + per_row(step_size, 1) * direction)

    def minimise(self: P, pairs: Pairs, step_size: FloatArray, start: FloatArray) -> P:
        """Return a local minimiser of the full REBEL loss by damped Gauss-Newton steps from ``start`` (..., p).

        A step is taken undamped where the loss falls by at least half of what the linearised one promises, else with
        the least of growing dampings (Levenberg-Marquardt) that lowers it: where the Jacobian is nearly singular the
        undamped step is long, and shortened it still points away. Nothing is assumed of the class; for a log-linear
        one the answer must be the single step of :meth:`gauss_newton_step`, wherever it starts (claim E3).
        """
        reference = self.log_probs
        policy = self.with_theta(start)
        loss = policy._pair_loss(pairs, reference, step_size)
        damping = np.full(loss.shape, _DAMPING)
        done: BoolArray = np.zeros(loss.shape, dtype=np.bool_)  # member by member: what is done no longer moves
        for _ in range(_NEWTON_STEPS):
            design, target, scale = pairs.rows(policy.jacobian())
            moved, *_ = pairs.rows((policy.log_probs - reference)[..., None])
            residual = per_row(step_size, 1) * target - moved[..., 0]
            direction = min_norm(design, residual, scale)
            left = residual - np.matmul(design, direction[..., None])[..., 0]
            promised = loss - (left**2).sum(axis=-1)
            value = policy.with_theta(policy.theta + direction)._pair_loss(pairs, reference, step_size)
            # rare actions may be all that is left, which the loss does not show: the last step is taken unseen
            last = ~done & (promised <= _UNSEEN * loss) & (value <= (1 + _UNSEEN) * loss)
            taken = last | ~(done | (loss - value < 0.5 * promised) | (value >= loss))
            step, worse = np.where(taken[..., None], direction, 0.0), ~(done | taken)
            if worse.any():
                damped = ridge(design, residual)
                for _ in range(_DAMPINGS):
                    trial = damped(damping)
                    value = policy.with_theta(policy.theta + trial)._pair_loss(pairs, reference, step_size)
                    better = worse & (value < loss)
                    step = np.where(better[..., None], trial, step)
                    damping = np.maximum(damping * np.where(better, 0.2, np.where(worse, 5.0, 1.0)), 1e-14)
                    worse = worse & ~better
                    if not worse.any():
                        break
            policy = policy.with_theta(policy.theta + step)
            loss = policy._pair_loss(pairs, reference, step_size)
            done = done | last | (np.abs(step).max(axis=-1) <= _STATIONARY * (1 + np.abs(policy.theta).max(axis=-1)))
            if done.all():
                break
        return policy

    def _pair_loss(self, pairs: Pairs, reference: FloatArray, step_size: FloatArray) -> FloatArray:
        design, target, _ = pairs.rows((self.log_probs - reference)[..., None])
        loss: FloatArray = ((design[..., 0] - per_row(step_size, 1) * target) ** 2).sum(axis=-1)
        return loss

    def natural_direction(self, feedback: Feedback, solver: FisherSolver) -> FloatArray:
        """Return F^+ E[g A], shape (..., p), with scores g = J - E_pi J under the feedback's state weights."""
        pi, jacobian = self.probs, self.jacobian()
        frequencies = pi if feedback.frequencies is None else feedback.frequencies
        # centred under the frequencies: in a sample the mean score is not 0, and an uncentred fit would chase it
        scores = jacobian - np.matmul(frequencies[..., None, :], jacobian)  # (..., S, A, p)
        baseline = expectation(frequencies, feedback.signal)[..., None]
        advantage = np.where(frequencies > 0, feedback.signal - baseline, 0.0)
        lead = np.broadcast_shapes(scores.shape[:-3], advantage.shape[:-2], feedback.weights.shape[:-1])
        weights = np.broadcast_to(feedback.weights[..., None] * frequencies, (*lead, *pi.shape[-2:]))
        return solver.solve(
            np.broadcast_to(scores, (*lead, *scores.shape[-3:])).reshape(*lead, -1, scores.shape[-1]),
            weights.reshape(*lead, -1),
            np.broadcast_to(advantage, (*lead, *advantage.shape[-2:])).reshape(*lead, -1),
            np.broadcast_to(np.sqrt((jacobian**2).sum(axis=-1)), weights.shape).reshape(*lead, -1),
        )

    def pair_natural_direction(self, pairs: Pairs, solver: FisherSolver) -> FloatArray:
        """Return the direction (..., p) of the pair Fisher; g_y - g_y' = J_y - J_y', for the mean score cancels."""
        jacobian = self.jacobian()
        differences, rewards, scale = pairs.rows(jacobian)
        half = np.full(differences.shape[:-1], 0.5)
        return solver.solve(differences, half, rewards, scale)

    def gradient(self, cells: FloatArray) -> FloatArray:
        """Return the gradient of sum c log pi: the Jacobian against c - pi sum_a c, shape (..., p)."""
        centred = cells - self.probs * cells.sum(axis=-1, keepdims=True)
        jacobian = self.jacobian()
        lead = np.broadcast_shapes(centred.shape[:-2], jacobian.shape[:-3])
        flat = np.broadcast_to(jacobian, (*lead, *jacobian.shape[-3:])).reshape(*lead, -1, jacobian.shape[-1])
        row = np.broadcast_to(centred, (*lead, *centred.shape[-2:])).reshape(*lead, 1, -1)
        result: FloatArray = np.matmul(row, flat)[..., 0, :]
        return result

    def moved(self: P, direction: FloatArray, step_size: FloatArray) -> P:
        """Return theta + eta * direction."""
        return self.with_theta(self.theta + per_row(step_size, 1) * direction)

    def project(self: P, log_target: FloatArray, feedback: Feedback) -> P:
        """Return the minimiser of E_{x~d} KL(target || pi_theta) by Fisher scoring with step halving.

        The target need not be normalised. Convex for a log-linear class, where scoring is Newton's method; a local
        minimum otherwise.
        """
        target, weights = np.exp(log_softmax(log_target)), feedback.weights
        lead = np.broadcast_shapes(self.theta.shape[:-1], target.shape[:-2], weights.shape[:-1])
        policy = self.with_theta(np.broadcast_to(self.theta, (*lead, self.theta.shape[-1])))
        loss = _cross_entropy(policy, target, weights)
        smallest, stalled = np.full(lead, np.inf), np.zeros(lead, dtype=np.int64)
        done: BoolArray = np.zeros(lead, dtype=np.bool_)  # member by member: what is done no longer moves
        for _ in range(_NEWTON_STEPS):
            gradient, fisher = _projection_system(policy, target, weights)
            largest = np.abs(gradient).max(axis=-1)
            stalled = np.where(largest < 0.5 * smallest, 0, stalled + 1)
            smallest = np.minimum(smallest, largest)
            done = done | (largest <= _STATIONARY) | ((stalled >= _PATIENCE) & (largest <= _ROUNDING))
            if done.all():
                break
            direction = np.matmul(np.linalg.pinv(fisher, rcond=1e-13, hermitian=True), gradient[..., None])[..., 0]
            policy, loss, done = _halve(policy, direction, loss, target, weights, done)
        return policy


def _projection_system(
    policy: ParametricPolicy, target: FloatArray, weights: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return E_{d, target - pi}[g] (..., p), the descent gradient of the cross-entropy, and E[g g^T] (..., p, p)."""
    pi, jacobian = policy.probs, policy.jacobian()
    scores = jacobian - np.matmul(pi[..., None, :], jacobian)
    flat = scores.reshape(*scores.shape[:-3], -1, scores.shape[-1])  # (..., S A, p)
    transposed = np.swapaxes(flat, -1, -2)
    gradient = np.matmul(transposed, _flat(weights[..., None] * (target - pi))[..., None])[..., 0]
    fisher = np.matmul(transposed, _flat(weights[..., None] * pi)[..., None] * flat)
    return gradient, fisher


def _flat(array: FloatArray) -> FloatArray:
    return array.reshape(*array.shape[:-2], -1)


def _cross_entropy(policy: ParametricPolicy, target: FloatArray, weights: FloatArray) -> FloatArray:
    loss: FloatArray = -(weights * (target * policy.log_probs).sum(axis=-1)).sum(axis=-1)
    return loss


def _halve(
    policy: P, direction: FloatArray, loss: FloatArray, target: FloatArray, weights: FloatArray, done: BoolArray
) -> tuple[P, FloatArray, BoolArray]:
    """Return the policy after the longest step 2^-k that lowers the loss, and which members are done.

    Done are those that were before, which stay where they are, and those whose loss no representable step lowers.
    """
    size = np.where(done, 0.0, np.ones(loss.shape))
    for _ in range(_HALVINGS):
        trial = policy.with_theta(policy.theta + size[..., None] * direction)
        value = _cross_entropy(trial, target, weights)
        # near the minimum the loss is flat to its last digits while the gradient is not: a tie is progress
        worse = ~(value <= loss + _TIE * np.abs(loss)) & ~done
        if not worse.any():
            return trial, value, done
        size = np.where(worse, 0.5 * size, size)
    size = np.where(worse, 0.0, size)
    trial = policy.with_theta(policy.theta + size[..., None] * direction)
    return trial, _cross_entropy(trial, target, weights), size == 0
