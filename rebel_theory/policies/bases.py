"""Base distributions mu of REBEL's second answer: on-policy, uniform, fixed, mixtures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.arrays import FloatArray, safe_log
from rebel_theory.policies.base import Policy
from rebel_theory.problems import Problem
from rebel_theory.problems.base import InvalidProblemError


@runtime_checkable
class Base(Protocol):
    """A distribution over the second answer that may depend on the current policy."""

    def log_base(self, policy: Policy, problem: Problem) -> FloatArray:
        """Return log mu, shape (..., rows, A)."""


@dataclass(frozen=True, slots=True)
class OnPolicy:
    """mu = pi_t."""

    def log_base(self, policy: Policy, problem: Problem) -> FloatArray:
        """Return the policy's own log-probabilities."""
        return policy.log_probs


@dataclass(frozen=True, slots=True)
class Uniform:
    """mu uniform over the actions."""

    def log_base(self, policy: Policy, problem: Problem) -> FloatArray:
        """Return -log A everywhere."""
        return np.full((problem.n_rows, problem.n_actions), -np.log(problem.n_actions))


@dataclass(frozen=True, slots=True, eq=False)
class Fixed:
    """mu given once, as a policy object or an array of shape (S, A) ((H, S, A) for a finite horizon)."""

    probs: Any

    def log_base(self, policy: Policy, problem: Problem) -> FloatArray:
        """Return the logarithm of the fixed distribution, validated against the problem."""
        given = self.probs.probs if isinstance(self.probs, Policy) else self.probs
        return safe_log(problem.policy_rows(given))


@dataclass(frozen=True, eq=False, init=False)
class Mixture:
    """A mixture of bases with weights that sum to 1.

    Parameters
    ----------
    parts : mapping from base to weight, or pairs (base, weight)
        Bases as :class:`Rebel` takes them; pairs are for arrays, which cannot be keys.

    Examples
    --------
    >>> Mixture({"on-policy": 0.5, "uniform": 0.5}).weights
    (0.5, 0.5)
    """

    bases: tuple[Base, ...]
    weights: tuple[float, ...]

    def __init__(self, parts: Mapping[Any, float] | Iterable[tuple[Any, float]]) -> None:
        pairs = list(parts.items() if isinstance(parts, Mapping) else parts)
        weights = tuple(float(w) for _, w in pairs)
        problems = [f"weights[{i}] is {w}, expected a number >= 0" for i, w in enumerate(weights) if not w >= 0]
        if not abs(sum(weights) - 1) <= 1e-8:
            problems.append(f"the weights sum to {sum(weights):.10g}, expected 1 (within 1e-8): normalise them")
        if problems:
            raise InvalidProblemError("Mixture", problems)
        object.__setattr__(self, "bases", tuple(as_base(b) for b, _ in pairs))
        object.__setattr__(self, "weights", weights)

    def log_base(self, policy: Policy, problem: Problem) -> FloatArray:
        """Return the log of the weighted sum, formed in log space."""
        logs = [b.log_base(policy, problem) for b in self.bases]
        total = safe_log(np.asarray(self.weights[0])) + logs[0]
        for weight, log_mu in zip(self.weights[1:], logs[1:], strict=True):
            total = np.logaddexp(total, safe_log(np.asarray(weight)) + log_mu)
        return total


BaseLike: TypeAlias = "Base | Policy | ArrayLike"

_NAMES: dict[str, Base] = {"on-policy": OnPolicy(), "uniform": Uniform()}


def as_base(value: BaseLike) -> Base:
    """Return a base from a name, a policy, an array, or a base; raise ValueError naming the choices."""
    if isinstance(value, str):
        if value not in _NAMES:
            raise InvalidProblemError(
                "base",
                [f"{value!r} is not a base: use one of {', '.join(_NAMES)}, a policy, an array or a Mixture"],
            )
        return _NAMES[value]
    if isinstance(value, Base):
        return value
    return Fixed(value)
