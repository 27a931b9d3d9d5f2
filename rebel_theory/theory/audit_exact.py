r"""The audit of C2: in a bandit, T exact steps of any size leave a gap of at most KL(pi*||pi_1)/(eta T).

By the three-point identity, for every sequence of policies and with f = (1/eta) ln(pi_{t+1}/pi_t),

.. math::
    \mathrm{gap}_{t+1} = \frac{KL(\pi^*\|\pi_t) - KL(\pi^*\|\pi_{t+1})}{\eta} - \frac{KL(\pi_{t+1}\|\pi_t)}{\eta}
    + E_{\pi^*}[r - f] - E_{\pi_{t+1}}[r - f].

The last two terms cancel if the step is exact. What is left of KL(pi*||pi_1)/(eta T) when the gap is taken away is the
divergence that was not used, the length of the steps, and what the last iterate is better than the average.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from rebel_theory.arrays import FloatArray, expectation, kl_rows
from rebel_theory.theory.audit import Findings, Inequality, Link, Update, difference, running_mean
from rebel_theory.theory.audit_notes import exact_step_note
from rebel_theory.theory.audit_update import EXACT, SUPPORT, History, moved
from rebel_theory.theory.bounds import exact_bandit_bound
from rebel_theory.theory.identity import update_function

_LAST = Link("last divergence", "progress", "-KL(pi*||pi_{T+1})/(eta T) <= 0", "KL >= 0")
_LENGTH = Link("length of steps", "progress", "-mean KL(pi_{t+1}||pi_t)/eta <= 0", "KL >= 0")
_MISFIT = Link("no misfit", "misfit", "mean (E_pi* - E_pi_{t+1})[r - f] <= 0", "f = r up to a constant, if exact")
_AVERAGE = Link("last and average", "improvement", "gap after T updates <= mean gap of the T iterates", "monotone")
_IMPROVES = Link("improvement", "improvement", "gap of pi_{t+1} <= gap of pi_t", "E_pi_{t+1} r - E_pi_t r >= 0")
_THEOREM = Link("C2", "bound", "gap after T updates <= KL(pi*||pi_1)/(eta T)", "all of the lines above")


@dataclass(eq=False)
class ExactLedger:
    """The account of C2; fed update by update, batches are leading axes.

    Parameters
    ----------
    comparator, weights : shapes (..., X, Y), (..., X)
        pi* and rho.
    step_size : shape (...)
    batch : the shape (...)
    """

    comparator: FloatArray
    weights: FloatArray
    step_size: FloatArray
    batch: tuple[int, ...]
    row_shape: tuple[int, ...]
    _seen: History = field(init=False)
    _notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._seen = History(self.batch)

    @np.errstate(invalid="ignore")
    def update(self, update: Update) -> None:
        """Account for one update."""
        step, rho, following = moved(update, self.step_size), self.weights, np.exp(update.log_next)
        rest = update.signal - update_function(update.log_pi, update.log_next, self.step_size)
        misfit = expectation(rho, expectation(self.comparator, rest) - expectation(following, rest))
        length = expectation(rho, kl_rows(update.log_next, update.log_pi)) / self.step_size
        found = {"misfit": misfit, "length": length, "error": step.error, "lost": step.lost,
                 "tolerance": step.tolerance}  # fmt: skip
        self._seen.add(found)
        if not self._notes:
            self._notes += exact_step_note(self._seen.n_updates - 1, step, update, self.row_shape)

    @np.errstate(invalid="ignore")
    def findings(self, gap: FloatArray, kl: FloatArray) -> Findings:
        """Return the whole account; ``gap`` and ``kl`` are the run's (T + 1, K)."""
        seen = self._seen.stacked()
        eta = np.broadcast_to(self.step_size, self.batch).ravel()
        t = np.arange(1, len(gap))[:, None]
        tolerance, zero = seen["tolerance"], np.zeros_like(seen["tolerance"])
        bound, measured, average = exact_bandit_bound(kl[0], eta, t), gap[1:], running_mean(gap[1:])
        unused, length, misfit = kl[1:] / (eta * t), running_mean(seen["length"]), running_mean(seen["misfit"])
        identity = gap[1:] - (kl[:-1] - kl[1:]) / eta + seen["length"] - seen["misfit"]

        def line(link: Link, left: FloatArray, right: FloatArray) -> Inequality:
            return Inequality(link, "proof", left, right, running_mean(tolerance), difference(right, left))

        return Findings(
            measured=measured,
            bound=bound,
            terms={
                "gap": gap[:-1], "KL(pi*||pi_t)": kl[:-1], "KL(pi_{t+1}||pi_t)/eta": seen["length"],
                "misfit": seen["misfit"], "eps_t": seen["error"], "average gap after updates": average,
            },
            identities={"three points": np.abs(identity)},
            inequalities=(
                Inequality(SUPPORT, "condition", seen["lost"], zero, zero),
                Inequality(EXACT, "promise", np.sqrt(seen["error"]), zero, tolerance),
                Inequality(_IMPROVES, "promise", gap[1:], gap[:-1], tolerance),
                line(_LAST, -unused, zero),
                line(_LENGTH, -length, zero),
                line(_MISFIT, misfit, zero),
                line(_AVERAGE, measured, average),
                Inequality(_THEOREM, "theorem", measured, bound, running_mean(tolerance)),
            ),
            notes=tuple(self._notes),
        )  # fmt: skip
