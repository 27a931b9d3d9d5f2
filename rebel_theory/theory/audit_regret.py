r"""The audit of C1 and C11: regret = progress + curvature + misfit, each bounded step by step.

With g = f - E_pi f, f = (1/eta) ln(pi_{t+1}/pi_t), A the advantage, d* the state weights of pi* (rho in a bandit), d_t
those of the regression, and mass the total weight of d* (1; 1/(1-gamma)), for every sequence of policies:

.. math::
    \mathrm{gap}_t = \mathrm{mass}\,\big(\mathrm{progress}_t + \mathrm{curvature}_t + \mathrm{misfit}_t\big)

by the performance-difference lemma and the regret identity, and with z = g - A, C_x = max_y pi*/mu and
C = max_x d*/d_t C_x

.. math::
    \mathrm{misfit} = -E_{d^*\pi^*} z \le \sqrt{E_{d^*\pi^*} z^2} \le \sqrt{E_{d^*} C_x E_\mu z^2}
    \le \sqrt{C\,E_{d_t\mu} z^2} \le \sqrt{C\,\varepsilon_t}.

The last is off by E_{d_t, pi_t} z^2 exactly: a factor sqrt(2) on-policy. Logarithms throughout: a shift of 1e300
times a probability of 1e-300 is 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from rebel_theory.arrays import FloatArray, expectation, safe_log
from rebel_theory.theory.audit import Findings, Inequality, Link, Update, chain, running_mean
from rebel_theory.theory.audit_notes import exact_step_note
from rebel_theory.theory.audit_update import (
    CURVATURE,
    EXACT,
    SUPPORT,
    History,
    Moved,
    exponential,
    log_sum,
    moved,
    root,
)
from rebel_theory.theory.bounds import curvature_bound
from rebel_theory.theory.identity import regret_identity

_TELESCOPE = Link(
    "last divergence", "progress", "(KL(pi*||pi_1) - KL(pi*||pi_{T+1}))/(eta T) <= KL(pi*||pi_1)/(eta T)", "KL >= 0"
)
_MISFIT = (
    Link("Jensen", "misfit", "E_pi*[A - g] <= sqrt(E_pi* (g - A)^2)", "Jensen's inequality"),
    Link("change of actions", "misfit", "E_pi* z^2 <= E_d* max_y(pi*/mu) E_mu z^2", "each action, pi* <= C_x mu"),
    Link("change of states", "misfit", "E_d* C_x E_mu z^2 <= C_t E_d_t E_mu z^2", "each state, d* C_x <= C_t d_t"),
    Link("pair loss", "misfit", "C_t E_mu z^2 <= C_t eps_t", "eps_t = E_pi z^2 + E_mu z^2"),
)
_IMPROVES = Link("improvement", "promise", "gap of pi_{t+1} <= gap of pi_t", "an exact step improves every state")
_RATE = Link("rate of exact steps", "promise", "gap after T updates <= KL(pi*||pi_1)/(eta T)", "C2: any eta")
_RATE_MDP = Link(
    "rate of exact steps", "promise",
    "gap after T updates <= KL(pi*||pi_1)/((1-gamma) eta T) + range(r)/((1-gamma)^2 T)", "C5: any eta",
)  # fmt: skip


@dataclass(eq=False)
class RegretLedger:
    """The account of C1 and C11; fed update by update, batches are leading axes.

    Parameters
    ----------
    claim : "C1" or "C11"
    comparator, weights, mass : shapes (..., S, A), (..., S), (...)
        pi*, d* and the total weight of d* before normalisation.
    step_size : shape (...)
    promised : bool
        Whether the run is one of exact steps (exact feedback, a tabular class): then its promises are audited.
    reward_range : shape (...), or None
        Largest minus smallest reward over 1 - gamma, squared in time: what C5 adds; None outside discounted MDPs.
    """

    claim: str
    comparator: FloatArray
    weights: FloatArray
    mass: FloatArray
    step_size: FloatArray
    batch: tuple[int, ...]
    promised: bool
    exact_rate: FloatArray | None
    row_shape: tuple[int, ...]
    _seen: History = field(init=False)
    _notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._seen = History(self.batch)

    @np.errstate(invalid="ignore")
    def update(self, update: Update) -> None:
        """Account for one update."""
        step = moved(update, self.step_size)
        terms = regret_identity(
            update.log_pi, update.log_next, update.signal, self.comparator, self.weights, self.step_size
        )
        found = {
            "regret": terms.gap, "progress": terms.progress, "curvature": terms.curvature, "misfit": terms.misfit,
            "identity": terms.error, "error": step.error, "lost": step.lost, "tolerance": step.tolerance,
            **self._curvature(step, update), **self._misfit(step, update),
        }  # fmt: skip
        self._seen.add(found)
        if self.promised and not self._notes:
            self._notes += exact_step_note(self._seen.n_updates - 1, step, update, self.row_shape)

    def _curvature(self, step: Moved, update: Update) -> dict[str, FloatArray]:
        d, eta = self.weights, self.step_size
        counted = (d > 0) | update.visited
        largest = np.where(counted, step.largest, 0.0).max(axis=-1)
        return {
            "ranges": eta * expectation(d, step.ranges**2) / 8,
            "states": eta * expectation(d, step.largest**2) / 2,
            "largest": largest,
        }

    def _misfit(self, step: Moved, update: Update) -> dict[str, FloatArray]:
        """Return the chain of the misfit; -inf + inf, a base that misses what nobody plays, is settled at the end."""
        log_d = safe_log(self.weights)  # (..., S)
        log_star = safe_log(self.comparator)
        log_actions = np.where(np.isneginf(log_star), -np.inf, log_star - update.log_mu).max(axis=-1)  # ln C_x
        log_states = np.where(np.isneginf(log_d), -np.inf, log_d - safe_log(update.weights))  # ln d*/d_t
        log_shift = np.where(np.isneginf(log_d), -np.inf, log_states + log_actions).max(axis=-1)  # ln C_t
        square = expectation(self.weights, expectation(self.comparator, step.deviation**2))
        counted = np.where(np.isneginf(log_d), -np.inf, log_actions)
        seen = log_sum(safe_log(update.weights) + step.log_moment)
        return {
            "jensen": np.sqrt(square),
            "actions": root(log_sum(log_d + counted + step.log_moment)),
            "shifted": root(log_shift + seen),
            "paired": root(log_shift + step.log_error),
            "shift": exponential(log_shift),
            "shift_of_actions": exponential(counted.max(axis=-1)),
            "shift_of_states": exponential(log_states.max(axis=-1)),
        }

    @np.errstate(invalid="ignore")
    def findings(self, gap: FloatArray, kl: FloatArray) -> Findings:
        """Return the whole account; ``gap`` and ``kl`` are the run's (T + 1, K), KL(pi*||pi_t) under d*."""
        seen = self._seen.stacked()
        mass, eta = (np.broadcast_to(x, self.batch).ravel() for x in (self.mass, self.step_size))
        t = np.arange(1, self._seen.n_updates + 1)[:, None]
        tolerance, gap_tolerance = seen["tolerance"], mass * running_mean(seen["tolerance"])
        measured = running_mean(gap[:-1])
        largest = curvature_bound(eta, np.maximum.accumulate(seen["largest"], axis=0))
        each = curvature_bound(eta, seen["largest"])
        telescoped = (kl[:1] - kl[1:]) / (eta * t)
        progress = running_mean(seen["progress"])
        bounds = {"progress": mass * kl[0] / (eta * t), "curvature": mass * largest,
                  "misfit": mass * running_mean(seen["paired"])}  # fmt: skip
        bound = bounds["progress"] + bounds["curvature"] + bounds["misfit"]
        lines = [
            *chain([_TELESCOPE], [progress, bounds["progress"] / mass], tolerance, scale=mass, averaged=True),
            *chain(CURVATURE[:3], [seen["curvature"], seen["ranges"], seen["states"], each], tolerance, scale=mass),
            *chain(CURVATURE[3:], [running_mean(each), largest], tolerance, scale=mass, averaged=True),
            *chain(_MISFIT, [seen[k] for k in ("misfit", "jensen", "actions", "shifted", "paired")], tolerance,
                   scale=mass),
        ]  # fmt: skip
        theorem = Link(self.claim, "bound", "average gap <= progress + curvature + misfit", "all of the lines above")
        zero = np.zeros_like(tolerance)
        return Findings(
            measured=measured,
            bound=bound,
            terms={
                "gap": gap[:-1], "progress": mass * seen["progress"], "curvature": mass * seen["curvature"],
                "misfit": mass * seen["misfit"], "KL(pi*||pi_t)": kl[:-1], "B_t": seen["largest"],
                "eps_t": seen["error"], "C_t": seen["shift"], "C of actions": seen["shift_of_actions"],
                "C of states": seen["shift_of_states"], **{f"bound on {k}": v for k, v in bounds.items()},
            },
            identities={
                "regret identity": mass * seen["identity"],
                "performance difference": np.abs(gap[:-1] - mass * seen["regret"]),
                "telescoping": mass * np.abs(progress - telescoped),
            },
            inequalities=(
                Inequality(SUPPORT, "condition", seen["lost"], zero, zero),
                *self._promises(seen, gap, kl, mass, eta, gap_tolerance),
                *lines,
                Inequality(theorem, "theorem", measured, bound, gap_tolerance),
            ),
            notes=tuple(self._notes),
        )  # fmt: skip

    def _promises(
        self, seen: dict[str, FloatArray], gap: FloatArray, kl: FloatArray, mass: FloatArray, eta: FloatArray,
        tolerance: FloatArray,
    ) -> list[Inequality]:  # fmt: skip
        if not self.promised:
            return []
        t = np.arange(1, len(gap))[:, None]
        zero = np.zeros_like(tolerance)
        found = [
            Inequality(EXACT, "promise", np.sqrt(seen["error"]), zero, seen["tolerance"]),
            Inequality(_IMPROVES, "promise", gap[1:], gap[:-1], mass * seen["tolerance"]),
        ]
        if self.exact_rate is not None:
            extra = np.broadcast_to(self.exact_rate, self.batch).ravel()
            link = _RATE if self.claim == "C1" else _RATE_MDP
            found.append(Inequality(link, "promise", gap[1:], (mass * kl[0] / eta + extra) / t, tolerance))
        return found
