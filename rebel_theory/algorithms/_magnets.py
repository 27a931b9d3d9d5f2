"""What regularised methods share: a temperature, a reference policy m, and geometric mixtures with it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from rebel_theory.algorithms.base import Algorithm, State, check_options
from rebel_theory.arrays import FloatArray
from rebel_theory.policies import BaseLike, OnPolicy, Policy, as_base
from rebel_theory.problems import Problem
from rebel_theory.problems.base import InvalidProblemError, checking


@dataclass(frozen=True, slots=True, eq=False)
class Magnet:
    """The reference policy as log m (..., S, A), how many updates were made, and what else a method remembers."""

    first: FloatArray
    log_m: FloatArray | None = None  # filled by the first step, which knows the problem
    n_updates: int = 0
    rest: Any = None

    @classmethod
    def at(cls, policy: Policy) -> Magnet:
        """Return the memory of a run that starts at a policy."""
        return cls(policy.log_probs)

    def bound(self, reference: BaseLike, problem: Problem) -> Magnet:
        """Return the memory with log m known: the first policy's, or a given reference's, of full support."""
        if self.log_m is not None:
            return self
        if _is_first(reference):
            return replace(self, log_m=self.first)
        base = as_base(reference)
        log_m = base.log_base(None, problem)  # type: ignore[arg-type]  # a fixed base does not look at the policy
        with checking("reference") as checks:
            bad, remedy = log_m == -np.inf, "is {value}, expected a probability > 0: mix it with the uniform policy"
            checks.entries(bad, "probs", ("s", "a"), np.exp(log_m), remedy)
        return replace(self, log_m=log_m)

    def after(self, rest: Any = None) -> Magnet:
        """Return the memory after one update more."""
        return replace(self, n_updates=self.n_updates + 1, rest=rest)

    @property
    def log_probs(self) -> FloatArray:
        """Log m (..., S, A)."""
        assert self.log_m is not None
        return self.log_m


def _is_first(reference: BaseLike) -> bool:
    return isinstance(reference, str) and reference == "first"


class Regularised(Algorithm):
    """An algorithm with a temperature and a reference policy, which it remembers in a :class:`Magnet`."""

    may_be_plain: ClassVar[bool] = False  # whether the temperature may be 0
    temperature: float
    reference: BaseLike

    def __post_init__(self) -> None:
        if self.may_be_plain:
            check_options(self, not_negative=["temperature"])
        else:
            check_options(self, positive=["temperature"])
        if not _is_first(self.reference) and isinstance(as_base(self.reference), OnPolicy):
            remedy = 'use "first", "uniform", a policy or an array (S, A)'
            raise InvalidProblemError(type(self).__name__, [f'reference is "on-policy", which moves: {remedy}'])

    def init(self, policy: Policy) -> State:
        """Return the first policy, which may be the reference."""
        return State(policy, Magnet.at(policy))


def too_long(step_size: FloatArray, temperature: float) -> str | None:
    """Return why pi^(1 - eta tau) is no mixture, or None."""
    largest = float(np.max(step_size)) * temperature
    if largest <= 1:
        return None
    return (
        f"step_size times temperature is {largest:.6g}, expected at most 1, for pi^(1 - eta tau) m^(eta tau) to be a "
        f"mixture: use a step size of at most {1 / temperature:.6g}"
    )


def mixture(log_pi: FloatArray, log_m: FloatArray, share: FloatArray) -> FloatArray:
    """Return (1 - share) log pi + share log m (..., S, A); actions that the policy ruled out stay out."""
    with np.errstate(invalid="ignore"):  # 0 * -inf
        mixed: FloatArray = log_pi + share * (log_m - log_pi)
    if np.isnan(mixed.max()):  # the maximum passes NaN on
        mixed = np.where(log_pi > -np.inf, mixed, -np.inf)
    return mixed


def per_cell(eta: FloatArray) -> FloatArray:
    """Return eta (...) with two axes appended, to multiply (..., S, A)."""
    return eta.reshape(*eta.shape, 1, 1)
