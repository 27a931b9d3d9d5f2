"""What every audit of a regret bound needs of one update: deviations from the exact step, curvature, coverage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from rebel_theory.arrays import FloatArray, expectation, safe_log
from rebel_theory.theory.audit import Link, Update, rounding
from rebel_theory.theory.identity import update_function

CURVATURE = (
    Link("Hoeffding", "curvature", "(1/eta) E ln E_pi exp(eta g) <= eta E (range of g)^2 / 8", "Hoeffding's lemma"),
    Link("range", "curvature", "eta E (range of g)^2 / 8 <= eta E max|g|^2 / 2", "E_pi g = 0, so range <= 2 max|g|"),
    Link("largest state", "curvature", "eta E max|g|^2 / 2 <= eta B_t^2 / 2", "an average is at most the largest"),
    Link("largest iteration", "curvature", "mean eta B_t^2 / 2 <= eta B^2 / 2", "B is the largest B_t so far"),
)
EXACT = Link("exact step", "misfit", "sqrt(eps_t) <= 0", "pi_{t+1} is pi_t exp(eta q) normalised")
SUPPORT = Link(
    "support", "progress", "actions that lose all probability <= 0", "or KL and f = ln pi_{t+1}/pi_t are infinite"
)


@dataclass(frozen=True, eq=False)
class History:
    """Named numbers of every update so far, of a batch of instances of shape ``batch``."""

    batch: tuple[int, ...]
    _found: dict[str, list[FloatArray]] = field(default_factory=dict)

    def add(self, found: Mapping[str, FloatArray], trailing: int = 0) -> None:
        """Append one number of each name an instance, or an array of ``trailing`` axes."""
        for name, value in found.items():
            own = value.shape[value.ndim - trailing :]
            self._found.setdefault(name, []).append(np.broadcast_to(value, (*self.batch, *own)).reshape(-1, *own))

    @property
    def n_updates(self) -> int:
        """How many updates were added."""
        return len(next(iter(self._found.values()), ()))

    def stacked(self) -> dict[str, FloatArray]:
        """Return the numbers by name, shape (T, K, trailing axes), K instances."""
        return {name: np.stack(values) for name, values in self._found.items()}


@dataclass(frozen=True, eq=False)
class Moved:
    """One update seen as a step of size eta: f = (1/eta) ln(pi_{t+1}/pi_t).

    Attributes
    ----------
    g, advantage, deviation : shape (..., S, A)
        f and the signal centred under pi_t, and g - A, which is 0 for an exact step.
    ranges, largest : shape (..., S)
        Of g over the support of pi_t: its range, and max |g|.
    log_moment : shape (..., S)
        ln E_mu (g - A)^2.
    log_error : shape (...)
        ln eps_t, eps_t = E_{d, pi} (g - A)^2 + E_{d, mu} (g - A)^2, the population REBEL loss: E_pi (g - A) = 0, so
        that Var_mu + (difference of means)^2 is the second moment under mu.
    lost : shape (...)
        How many actions of visited rows lose all probability.
    tolerance : shape (...)
        Rounding of f, and 1e-10 of the signal's span.
    """

    g: FloatArray
    advantage: FloatArray
    deviation: FloatArray
    ranges: FloatArray
    largest: FloatArray
    log_moment: FloatArray
    log_error: FloatArray
    lost: FloatArray
    tolerance: FloatArray

    @property
    def error(self) -> FloatArray:
        """eps_t, shape (...)."""
        return exponential(self.log_error)


@np.errstate(invalid="ignore")
def moved(update: Update, step_size: FloatArray) -> Moved:
    """Return an update as a step of size eta (...)."""
    log_pi, eta = update.log_pi, step_size
    pi, support = np.exp(log_pi), log_pi > -np.inf
    f = update_function(log_pi, update.log_next, eta)
    g = f - expectation(pi, f)[..., None]
    advantage = update.signal - expectation(pi, update.signal)[..., None]
    deviation = g - advantage
    highest, lowest = (np.where(support, g, -np.inf).max(axis=-1), np.where(support, g, np.inf).min(axis=-1))
    log_square = 2 * safe_log(np.abs(deviation))
    log_moment = log_sum(update.log_mu + log_square)
    log_d = safe_log(update.weights)
    log_error = np.logaddexp(log_sum(log_d + log_sum(log_pi + log_square)), log_sum(log_d + log_moment))
    q = np.where(update.visited[..., None], update.signal, update.signal[..., :1, :1])
    lost = support & np.isneginf(update.log_next) & update.visited[..., None]
    return Moved(
        g=g, advantage=advantage, deviation=deviation, ranges=highest - lowest,
        largest=np.maximum(np.abs(highest), np.abs(lowest)), log_moment=log_moment, log_error=log_error,
        lost=lost.sum(axis=(-2, -1)).astype(np.float64),
        tolerance=rounding(log_pi, eta, np.ptp(q, axis=-1).max(axis=-1)),
    )  # fmt: skip


def log_sum(values: FloatArray) -> FloatArray:
    """Return ln sum exp along the last axis; what does not exist (-inf + inf) counts as 0."""
    values = np.where(np.isnan(values), -np.inf, values)
    largest = values.max(axis=-1, keepdims=True)
    shift = np.where(np.isfinite(largest), largest, 0.0)
    with np.errstate(over="ignore"):
        result: FloatArray = safe_log(np.exp(values - shift).sum(axis=-1)) + shift[..., 0]
    return result


def exponential(log_value: FloatArray) -> FloatArray:
    """Return exp of a logarithm; infinite beyond 1e308, and where there is no number: 0 times an infinite shift."""
    with np.errstate(over="ignore"):
        result: FloatArray = np.exp(np.where(np.isnan(log_value), np.inf, log_value))
    return result


def root(log_value: FloatArray) -> FloatArray:
    """Return the square root of :func:`exponential`, which may exist where that does not."""
    return exponential(0.5 * log_value)
