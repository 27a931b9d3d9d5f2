"""What a policy can do: give probabilities, solve its regression, take a natural step, project a target."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import ClassVar, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.arrays import FloatArray, read_only
from rebel_theory.feedback import Feedback
from rebel_theory.pairs import Pairs
from rebel_theory.policies.natural import FisherSolver
from rebel_theory.problems import InvalidProblemError, Problem

P = TypeVar("P", bound="Policy")


class Policy(ABC):
    """A differentiable policy class; leading axes of its parameters are a batch."""

    parameter_axes: ClassVar[int] = 1  # trailing axes of the parameters: (p,), or (S, A) for a table

    @abstractmethod
    def compute_log_probs(self) -> FloatArray:
        """Return log-probabilities (..., S, A); ``-inf`` for actions ruled out."""

    @cached_property
    def log_probs(self) -> FloatArray:
        """Log-probabilities (..., S, A), computed once and read-only; ``-inf`` for actions ruled out."""
        return read_only(self.compute_log_probs())

    @cached_property
    def probs(self) -> FloatArray:
        """Probabilities (..., S, A), computed once and read-only; rows sum to 1."""
        return read_only(np.exp(self.log_probs))

    @cached_property
    def full_support(self) -> bool:
        """True if no action is ruled out (a probability may still underflow to 0)."""
        return bool((self.log_probs > -np.inf).all())

    @property
    @abstractmethod
    def parameters(self) -> FloatArray:
        """What is learned; leading axes are the batch."""

    @abstractmethod
    def with_parameters(self: P, parameters: FloatArray) -> P:
        """Return the same class at other parameters."""

    @abstractmethod
    def in_rows(self: P, problem: Problem) -> P:
        """Return the policy with its state axes flattened to rows; raise InvalidProblemError if it does not fit."""

    @abstractmethod
    def in_shape(self: P, problem: Problem, lead: tuple[int, ...]) -> P:
        """Return a policy in rows form with the problem's natural state axes and all leading axes ``lead``."""

    @abstractmethod
    def regress(self: P, pairs: Pairs, step_size: FloatArray) -> P:
        """Return the policy whose log-ratio differences, divided by eta, fit the relative rewards best."""

    @abstractmethod
    def natural_direction(self, feedback: Feedback, solver: FisherSolver) -> FloatArray:
        """Return F^+ E[g A] under the feedback's weights and frequencies, in the parameters' shape."""

    @abstractmethod
    def pair_natural_direction(self, pairs: Pairs, solver: FisherSolver) -> FloatArray:
        """Return F^+ E[(g_y - g_y')(r_y - r_y')]/2 with the pair Fisher E[(g_y - g_y')(g_y - g_y')^T]/2."""

    def natural_step(self: P, feedback: Feedback, step_size: FloatArray, solver: FisherSolver) -> P:
        """Return theta + eta F^+ E[g A]."""
        return self.moved(self.natural_direction(feedback, solver), step_size)

    def pair_natural_step(self: P, pairs: Pairs, step_size: FloatArray, solver: FisherSolver) -> P:
        """Return the same step with the pair Fisher."""
        return self.moved(self.pair_natural_direction(pairs, solver), step_size)

    @abstractmethod
    def gradient(self, cells: FloatArray) -> FloatArray:
        """Return sum_{s,a} c(s, a) grad_theta log pi(a|s) for coefficients c (..., S, A), in the parameters' shape."""

    @abstractmethod
    def moved(self: P, direction: FloatArray, step_size: FloatArray) -> P:
        """Return the policy at theta + eta * direction, direction in the parameters' shape."""

    @abstractmethod
    def project(self: P, log_target: FloatArray, feedback: Feedback) -> P:
        """Return the member of the class closest to the target in E_{x~d} KL(target || pi_theta)."""


def per_row(step_size: ArrayLike, trailing: int = 2) -> FloatArray:
    """Return a step size (...) with ``trailing`` axes of length 1 appended, to multiply (..., S, A)."""
    eta = np.asarray(step_size, dtype=np.float64)
    return eta.reshape(*eta.shape, *(1,) * trailing)


def check_fit(name: str, found: tuple[int, ...], problem: Problem, trailing: int = 0) -> None:
    """Raise InvalidProblemError unless a shape (..., *policy_shape, *trailing axes) fits the problem."""
    expected = problem.policy_shape
    end = len(found) - trailing
    if found[max(0, end - len(expected)) : end] != expected:
        wanted = ", ".join(map(str, expected)) + (", ..." if trailing else "")
        raise InvalidProblemError("policy", [f"{name} has shape {found}, expected (..., {wanted}) for this problem"])
