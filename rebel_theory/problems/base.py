"""What all problems have in common: a policy's shape, batches, and errors that name every offender."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, ClassVar, Self, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rebel_theory.arrays import FloatArray

ROW_SUM_TOLERANCE = 1e-8  # rows printed with eight decimals pass; a forgotten transition does not
_SHOWN = 5  # offenders listed per condition; the rest are counted


class InvalidProblemError(ValueError):
    """Raised when input cannot be a problem or a policy; ``problems`` holds one sentence per condition."""

    def __init__(self, what: str, problems: list[str]) -> None:
        self.what = what
        self.problems = tuple(problems)
        head = f"{what}: {len(problems)} problem{'s' if len(problems) > 1 else ''} in the input"
        super().__init__("\n".join([head, *(f"  - {p}" for p in problems)]))


class SelfRunning(ABC):
    """A problem without a table of rows and actions, such as a task over sequences: it brings the loop of its runs."""

    @abstractmethod
    def run(self, algorithm: Any, **options: Any) -> Any:
        """Return the trace of an algorithm; the options are those of :func:`rebel_theory.run` that were given."""


class Checks:
    """Collect every violated condition, then raise them together."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._messages: list[str] = []

    @property
    def failed(self) -> bool:
        """True once a condition was violated."""
        return bool(self._messages)

    def add(self, message: str) -> None:
        """Record one violated condition."""
        self._messages.append(message)

    def require(self, condition: bool, message: str) -> bool:
        """Record ``message`` unless ``condition``; return ``condition``."""
        if not condition:
            self.add(message)
        return condition

    def array(self, name: str, value: Any, hint: str) -> FloatArray:
        """Return ``value`` as a read-only float64 copy; a ragged or non-numeric input is recorded."""
        try:
            array = np.array(value, dtype=np.float64, order="C", copy=True)
        except (TypeError, ValueError):
            self.add(f"{name} is not a rectangular array of numbers: pass {hint}")
            self.finish()
            raise  # pragma: no cover - finish() raises
        array.setflags(write=False)
        return array

    def entries(self, bad: NDArray[np.bool_], name: str, axes: tuple[str, ...], values: Any, message: str) -> None:
        """Record every True place of ``bad`` as ``name[axes] = value message``."""
        places = np.argwhere(bad)
        for place in places[:_SHOWN]:
            self.add(f"{name}{label(axes, place)} {message.format(value=_number(np.asarray(values)[tuple(place)]))}")
        if len(places) > _SHOWN:
            self.add(f"{name}: {len(places) - _SHOWN} more entries like these")

    def finite(self, name: str, array: FloatArray, axes: tuple[str, ...]) -> None:
        """Require finite entries."""
        bad = ~np.isfinite(array)
        self.entries(bad, name, axes, array, "is {value}, expected a finite number: replace it")

    def distribution(self, name: str, array: FloatArray, axes: tuple[str, ...]) -> None:
        """Require rows (last axis) that are probability distributions."""
        self.finite(name, array, axes)
        with np.errstate(invalid="ignore"):
            self.entries(array < 0, name, axes, array, "is {value}, expected a probability in [0, 1]: remove the sign")
        if np.isfinite(array).all():
            sums = array.sum(axis=-1)
            self.entries(
                np.abs(sums - 1) > ROW_SUM_TOLERANCE,
                name,
                axes[:-1],
                sums,
                "sums to {value}, expected 1 (within 1e-8): normalise the "
                + ("rows" if len(axes) > 1 else "distribution"),
            )

    def finish(self) -> None:
        """Raise :class:`InvalidProblemError` if anything was recorded."""
        if self._messages:
            raise InvalidProblemError(self._what, self._messages)


@contextmanager
def checking(what: str) -> Iterator[Checks]:
    """Yield a collector and raise all its messages at the end of the block."""
    checks = Checks(what)
    yield checks
    checks.finish()


def label(axes: tuple[str, ...], place: Any) -> str:
    """Return ``[s=1, a=0]``; leading places without a name are batch axes."""
    place = [int(i) for i in place]
    batch = place[: max(0, len(place) - len(axes))]
    names = [f"batch={tuple(batch)}"] if batch else []
    names += [f"{a}={i}" for a, i in zip(axes[max(0, len(axes) - len(place)) :], place[len(batch) :], strict=True)]
    return f"[{', '.join(names)}]" if names else ""


def _number(value: Any) -> str:
    return f"{float(value):.10g}" if float(value) != int_or_nan(value) else f"{float(value):.1f}"


def int_or_nan(value: Any) -> float:
    """Return ``round(value)`` for finite values, NaN otherwise."""
    return float(round(float(value))) if np.isfinite(value) else float("nan")


def initial_distribution(
    checks: Checks, value: ArrayLike | None, n_states: int, *, name: str = "initial_dist", axis: str = "s"
) -> FloatArray:
    """Return a validated distribution (..., S), uniform when ``value`` is None."""
    if value is None:
        array: FloatArray = np.full(n_states, 1.0 / max(n_states, 1))
        array.setflags(write=False)
        return array
    array = checks.array(name, value, f"{n_states} probabilities")
    if checks.require(
        array.ndim >= 1 and array.shape[-1] == n_states,
        f"{name} has shape {array.shape}, expected ({n_states},): one probability per {axis}",
    ):
        checks.distribution(name, array, (axis,))
    return array


def context_vectors(checks: Checks, value: ArrayLike | None, n_contexts: int) -> FloatArray | None:
    """Return validated context vectors (X, k), or None."""
    if value is None:
        return None
    array = checks.array("contexts", value, "one vector per context, shape (X, k)")
    if checks.require(
        array.ndim == 2 and len(array) == n_contexts and array.size > 0,
        f"contexts has shape {array.shape}, expected ({n_contexts}, k): one vector per context",
    ):
        checks.finite("contexts", array, ("x", "i"))
    return array


def normalised(array: FloatArray) -> FloatArray:
    """Return rows that sum to 1 to the last digit, read-only (input rows sum to 1 within the tolerance)."""
    result: FloatArray = array / array.sum(axis=-1, keepdims=True)
    result.setflags(write=False)
    return result


class Problem(ABC):
    """A frozen, validated problem.

    Algorithms see *rows*: one row per context, state, or (step, state) pair. ``row_shape`` is the natural
    shape, ``(X,)``, ``(S,)`` or ``(H, S)``; inside the library the rows are flattened to one axis.
    """

    contexts: FloatArray | None = None  # (X, k), what is known of each context; shared by a batch of instances
    _own_axes: ClassVar[dict[str, int]] = {}  # of every array that may carry a batch: how many axes are an instance's

    @property
    @abstractmethod
    def row_shape(self) -> tuple[int, ...]:
        """Natural shape of the state axes."""

    @property
    @abstractmethod
    def n_actions(self) -> int:
        """Number of actions."""

    @property
    @abstractmethod
    def batch_shape(self) -> tuple[int, ...]:
        """Leading axes of the problem's own arrays; () for a single instance."""

    def instance(self, *place: int) -> Self:
        """Return the instance at a place of the batch: views of the validated arrays, nothing is checked again.

        Parameters
        ----------
        *place : int
            One index per axis of ``batch_shape``; negative ones count from the end.

        Raises
        ------
        InvalidProblemError
            If the batch has no such place.

        Examples
        --------
        >>> import rebel_theory as rt
        >>> rt.ContextualBandit([[[1.0, 0.0]], [[0.0, 2.0]]]).instance(1).reward
        array([[0., 2.]])
        """
        batch = self.batch_shape
        if len(place) != len(batch) or not all(-n <= i < n for i, n in zip(place, batch, strict=True)):
            what = f"instance {place} is not in a batch of shape {batch}: pass one index per axis, below its length"
            raise InvalidProblemError(type(self).__name__, [what])
        if not batch:
            return self
        found = object.__new__(type(self))  # without what is cached
        for name in (f.name for f in fields(cast("Any", self))):
            value = getattr(self, name)
            if name in self._own_axes and isinstance(value, np.ndarray):  # a sparse transition has no batch
                value = np.broadcast_to(value, (*batch, *value.shape[value.ndim - self._own_axes[name] :]))[place]
            object.__setattr__(found, name, value)
        return found

    def instances(self) -> Iterator[Self]:
        """Yield every instance of the batch in C order, the problem itself if it is single."""
        for place in np.ndindex(*self.batch_shape):
            yield self.instance(*place)

    @property
    def n_rows(self) -> int:
        """Number of rows of a policy."""
        return int(np.prod(self.row_shape))

    @property
    def policy_shape(self) -> tuple[int, ...]:
        """Shape (S, A), (X, Y) or (H, S, A) of a policy's probabilities."""
        return (*self.row_shape, self.n_actions)

    def to_rows(self, array: NDArray[Any], trailing: int = 1) -> NDArray[Any]:
        """Return ``array`` (..., *row_shape, *trailing axes) with its state axes flattened to one."""
        k = len(self.row_shape)
        if k == 1:
            return array
        lead = array.shape[: array.ndim - k - trailing]
        return array.reshape(*lead, self.n_rows, *array.shape[array.ndim - trailing :])

    def from_rows(self, array: NDArray[Any], trailing: int = 1) -> NDArray[Any]:
        """Return ``array`` (..., rows, *trailing axes) with its natural state axes."""
        if len(self.row_shape) == 1:
            return array
        cut = array.ndim - trailing
        return array.reshape(*array.shape[: cut - 1], *self.row_shape, *array.shape[cut:])

    def policy_rows(self, probs: ArrayLike) -> FloatArray:
        """Return validated policy probabilities as rows (..., rows, A).

        Accepts the natural shape with any leading axes; raises :class:`InvalidProblemError` naming rows that
        are not distributions.
        """
        with checking("policy") as checks:
            array = checks.array("probs", probs, f"an array of shape {self.policy_shape}")
            array = self._natural_policy(array)
            k = len(self.policy_shape)
            if not checks.require(
                array.shape[-k:] == self.policy_shape,
                f"probs has shape {array.shape}, expected (..., {', '.join(map(str, self.policy_shape))})",
            ):
                checks.finish()
            axes = ("h", "s", "a") if k == 3 else ("s", "a")
            checks.distribution("probs", array, axes)
        return self.to_rows(array)

    def _natural_policy(self, array: FloatArray) -> FloatArray:
        """Return ``array`` completed to the natural policy shape where a shorter form is unambiguous."""
        return array
