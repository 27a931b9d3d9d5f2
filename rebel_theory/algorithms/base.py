"""What an algorithm is: hyper-parameters, an initial state, a step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.arrays import FloatArray
from rebel_theory.oracles import BoundOracle, Oracle
from rebel_theory.policies import Base, OnPolicy, Policy
from rebel_theory.problems import Problem
from rebel_theory.problems.base import InvalidProblemError


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """What the next step needs: the policy, and whatever else the algorithm remembers."""

    policy: Policy
    memory: Any = None


class Algorithm(ABC):
    """A policy-optimisation algorithm; a frozen dataclass with a functional step size ``step_size``."""

    name: ClassVar[str]  # in tables and figures
    key: ClassVar[str] = ""  # on the command line; an algorithm with a key is found and listed
    source: ClassVar[str]
    update: ClassVar[str] = ""  # the update in one line of plain mathematics
    conditions: ClassVar[str] = "any problem"  # what its guarantee asks for
    rate: ClassVar[str] = "none proven"  # the guarantee
    shift_invariant: ClassVar[bool] = True  # a constant added to a row's signal changes no step (claim E11)
    step_size: ArrayLike

    @property
    def eta(self) -> FloatArray:
        """The step size as an array (...), its axes a batch."""
        return np.asarray(self.step_size, dtype=np.float64)

    def eta_at(self, t: int) -> FloatArray:
        """Return the step size (...) of update t = 0, 1, ...; ``eta`` unless the algorithm changes it by a schedule.

        ``trace.regression_error`` is the loss of an update as a REBEL step of this size. ``trace.bound`` takes ``eta``
        for every update: its identity holds for any sequence of policies with any constant, so the bound is true for
        every algorithm, and tight only for those that move by about ``eta`` times the signal.
        """
        return self.eta

    @property
    def base_distribution(self) -> Base:
        """The distribution mu of the second answer, under which regression errors are reported."""
        return OnPolicy()

    def refuses(self, problem: Problem, oracle: Oracle) -> str | None:
        """Return why the algorithm cannot run on this problem with this oracle, or None if it can."""
        return None

    def init(self, policy: Policy) -> State:
        """Return the first state."""
        return State(policy)

    @abstractmethod
    def step(self, state: State, oracle: BoundOracle) -> State:
        """Return the next state from what the oracle shows."""


def check_options(
    algorithm: Algorithm, *, counts: Iterable[str] = (), positive: Iterable[str] = (),
    not_negative: Iterable[str] = (), shares: Iterable[str] = (),
) -> None:  # fmt: skip
    """Raise InvalidProblemError unless the step size and all of the options that are named are in range.

    ``counts`` are integers >= 1, ``positive`` and ``not_negative`` finite numbers, ``shares`` lie in [0, 1].
    """
    what = type(algorithm).__name__
    check_step_size(what, algorithm.step_size)
    rules: tuple[tuple[Iterable[str], Callable[[float], bool], str], ...] = (
        (counts, lambda x: x >= 1 and x.is_integer(), "an integer of at least 1"),
        (positive, lambda x: 0 < x < np.inf, "a finite number > 0"),
        (not_negative, lambda x: 0 <= x < np.inf, "a finite number >= 0"),
        (shares, lambda x: 0 <= x <= 1, "a number in [0, 1]"),
    )
    faults = []
    for names, allowed, expected in rules:
        for name in names:
            value = getattr(algorithm, name)
            number = np.ndim(value) == 0 and np.asarray(value).dtype.kind in "iuf"
            if not (number and allowed(float(value))):
                faults.append(f"{name} is {value!r}, expected {expected}")
    if faults:
        raise InvalidProblemError(what, faults)


def check_step_size(what: str, value: ArrayLike) -> None:
    """Raise InvalidProblemError unless every step size is a positive finite number."""
    try:
        eta = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise InvalidProblemError(what, [f"step_size is {value!r}, expected a number or an array of numbers"]) from None
    bad = ~(np.isfinite(eta) & (eta > 0))
    if bad.any():
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        where = f"[{', '.join(map(str, place))}]" if place else ""
        raise InvalidProblemError(what, [f"step_size{where} is {eta[place]}, expected a finite number > 0"])
