r"""The audit of P7: the duality gap of the average policy is twice the regret of self-play.

With q_t the payoffs against pi_t, the average policy loses to its best response b what b would have won on average
against pi_1, ..., pi_T, and E_{pi_t} q_t = 0 by skewness, so that

.. math::
    \mathrm{DG}(\bar\pi) = 2 \max_b E_b\,\bar q = 2\,\frac1T\sum_t\big(E_b q_t - E_{\pi_t} q_t\big),

an equality: the sum of the two players' regrets, equal by symmetry. Each is the regret identity with the comparator b,
which changes with T, so that every line here is an average over t <= T. The misfit costs the shift to b first, and the
shift to any policy, C = max 1/mu, after: their ratio is what coverage of all policies costs beyond that of b alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from rebel_theory.arrays import FloatArray, IntArray, expectation, safe_log
from rebel_theory.problems import Game
from rebel_theory.solvers.evaluation import evaluate_rows
from rebel_theory.theory.audit import Findings, Inequality, Link, Update, chain, running_mean
from rebel_theory.theory.audit_notes import exact_step_note
from rebel_theory.theory.audit_update import CURVATURE, EXACT, SUPPORT, History, exponential, log_sum, moved, root
from rebel_theory.theory.bounds import curvature_bound
from rebel_theory.theory.identity import regret_identity

_PROGRESS = (
    Link("last divergence", "progress", "(KL(b||pi_1) - KL(b||pi_{T+1}))/(eta T) <= KL(b||pi_1)/(eta T)", "KL >= 0"),
    Link("any comparator", "progress", "KL(b||pi_1) <= E ln(1/min pi_1)", "the farthest vertex of the simplex"),
)
_MISFIT = (
    Link("Jensen", "misfit", "E_b[A - g] <= sqrt(E_b (g - A)^2)", "Jensen's inequality"),
    Link("change of actions", "misfit", "E_b z^2 <= E (b/mu) E_mu z^2", "each action, b <= C_x mu"),
    Link("all policies", "misfit", "b/mu <= max_y 1/mu", "the best response is not known beforehand"),
    Link("largest context", "misfit", "E max_y(1/mu) E_mu z^2 <= C_mu E E_mu z^2", "an average is at most the largest"),
    Link("pair loss", "misfit", "C_mu E_mu z^2 <= C_mu eps_t", "eps_t = E_pi z^2 + E_mu z^2"),
)
_RATE = Link("rate of exact steps", "promise", "gap of the average <= 2 (E ln(1/min pi_1)/(eta T) + eta/2)", "|l| <= 1")
_THEOREM = Link("P7", "bound", "gap of the average <= 2 (progress + curvature + misfit)", "all of the lines above")


@dataclass(eq=False)
class GameLedger:
    """The account of P7; fed update by update, batches are leading axes.

    Parameters
    ----------
    problem : Game
    step_size : shape (...)
    batch : the shape (...)
    promised : bool
        Whether the run is one of exact steps (exact feedback, a tabular class).
    """

    problem: Game
    step_size: FloatArray
    batch: tuple[int, ...]
    promised: bool
    _seen: History = field(init=False)
    _rows: History = field(init=False)  # arrays (T, K, X) or (T, K, X, Y)
    _notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._seen = History(self.batch)
        self._rows = History(self.batch)

    @property
    def _weights(self) -> FloatArray:
        rho = self.problem.context_dist
        return np.broadcast_to(rho, (*self.batch, rho.shape[-1])).reshape(-1, rho.shape[-1])

    @np.errstate(invalid="ignore")
    def update(self, update: Update) -> None:
        """Account for one update."""
        step = moved(update, self.step_size)
        rho, eta = self.problem.context_dist, self.step_size
        pi = np.exp(update.log_pi)
        # the curvature knows no comparator; that of this iterate itself makes the other terms simple
        terms = regret_identity(update.log_pi, update.log_next, update.signal, pi, rho, eta)
        largest = np.where(rho > 0, step.largest, 0.0).max(axis=-1)
        log_worst = np.where(rho > 0, -update.log_mu.min(axis=-1), -np.inf)  # ln max_y 1/mu
        log_shift = log_worst.max(axis=-1)
        found = {
            "curvature": terms.curvature, "ranges": eta * expectation(rho, step.ranges**2) / 8,
            "states": eta * expectation(rho, step.largest**2) / 2, "largest": largest, "error": step.error,
            "all": root(log_sum(safe_log(rho) + log_worst + step.log_moment)),
            "contexts": root(log_shift + log_sum(safe_log(rho) + step.log_moment)),
            "paired": root(log_shift + step.log_error), "shift": exponential(log_shift), "lost": step.lost,
            "own payoff": expectation(rho, expectation(pi, update.signal)), "tolerance": step.tolerance,
        }  # fmt: skip
        rows = {
            "pi": pi, "log_pi": update.log_pi, "log_next": update.log_next, "q": update.signal, "z": step.deviation,
            "log_mu": update.log_mu,
        }  # fmt: skip
        self._seen.add(found)
        self._rows.add(rows, trailing=2)
        self._rows.add({"log_moment": step.log_moment}, trailing=1)
        if self.promised and not self._notes:
            self._notes += exact_step_note(self._seen.n_updates - 1, step, update, self.problem.row_shape)

    @np.errstate(invalid="ignore")
    def findings(self) -> Findings:
        """Return the whole account."""
        seen = self._seen.stacked()
        rows = self._rows.stacked()
        eta = np.broadcast_to(self.step_size, self.batch).ravel()
        t = np.arange(1, self._seen.n_updates + 1)[:, None]
        against = _Responses(rows, self._weights, eta)
        measured = self._gaps(running_mean(rows["pi"]))
        largest = curvature_bound(eta, np.maximum.accumulate(seen["largest"], axis=0))
        each = curvature_bound(eta, seen["largest"])
        farthest = expectation(self._weights, -rows["log_pi"][0].min(axis=-1)) / (eta * t)
        average = {k: running_mean(seen[k]) for k in ("curvature", "all", "contexts", "paired", "own payoff")}
        bounds = {"progress": 2 * farthest, "curvature": 2 * largest, "misfit": 2 * average["paired"]}
        bound = bounds["progress"] + bounds["curvature"] + bounds["misfit"]
        tolerance, zero = running_mean(seen["tolerance"]), np.zeros_like(bound)
        regret = against.payoff - average["own payoff"]
        lines = [
            *chain(_PROGRESS, [against.progress, against.first, farthest], tolerance, scale=2.0, averaged=True),
            *chain(CURVATURE[:3], [seen["curvature"], seen["ranges"], seen["states"], each], seen["tolerance"],
                   scale=2.0),
            *chain(CURVATURE[3:], [running_mean(each), largest], tolerance, scale=2.0, averaged=True),
            *chain(_MISFIT, [against.misfit, against.jensen, against.actions, average["all"], average["contexts"],
                             average["paired"]], tolerance, scale=2.0, averaged=True),
        ]  # fmt: skip
        promises = [Inequality(EXACT, "promise", np.sqrt(seen["error"]), zero, seen["tolerance"]),
                    Inequality(_RATE, "promise", measured, 2 * farthest + eta, tolerance)]  # fmt: skip
        return Findings(
            measured=measured,
            bound=bound,
            terms={
                "regret": regret, "progress": 2 * against.progress, "curvature": 2 * average["curvature"],
                "misfit": 2 * against.misfit, "B_t": seen["largest"], "eps_t": seen["error"], "C_mu": seen["shift"],
                **{f"bound on {k}": v for k, v in bounds.items()},
            },
            identities={
                "regret identity": 2 * np.abs(regret - against.progress - average["curvature"] - against.misfit),
                "two regrets": np.abs(measured - 2 * regret),
                "own payoff": np.abs(seen["own payoff"]),
            },
            inequalities=(
                Inequality(SUPPORT, "condition", seen["lost"], zero, zero),
                *(promises if self.promised else []),
                *lines,
                Inequality(_THEOREM, "theorem", measured, bound, tolerance),
            ),
            notes=tuple(self._notes),
        )  # fmt: skip

    def _gaps(self, average: FloatArray) -> FloatArray:
        """Return the duality gaps (T, K) of average policies (T, K, X, Y), evaluated one by one."""
        own = [evaluate_rows(self.problem, a.reshape(*self.batch, *a.shape[1:])).objective for a in average]
        return np.stack([np.broadcast_to(o, self.batch).ravel() for o in own])


class _Responses:
    """What the identity says against the best response to the average of the first T iterates, T = 1, 2, ...

    All attributes have shape (T, K): ``payoff`` E_b of the mean payoffs, ``progress``, ``first`` KL(b||pi_1)/(eta T),
    and the averages ``misfit``, ``jensen``, ``actions`` of the chain.
    """

    def __init__(self, rows: dict[str, FloatArray], rho: FloatArray, eta: FloatArray) -> None:
        mean_q = running_mean(rows["q"])
        best = mean_q.argmax(axis=-1)  # (T, K, X)
        self.payoff = expectation(rho, mean_q.max(axis=-1))
        counts = np.arange(1, len(best) + 1)[:, None] * eta
        first = np.broadcast_to(rows["log_pi"][0], rows["log_pi"].shape)
        self.first = expectation(rho, -_at(first, best)) / counts
        self.progress = expectation(rho, _at(rows["log_next"] - first, best)) / counts
        self.misfit, self.jensen, self.actions = (np.empty_like(self.payoff) for _ in range(3))
        log_rho = safe_log(rho)
        for n, response in enumerate(best, start=1):
            z = _at(rows["z"][:n], np.broadcast_to(response, (n, *response.shape)))  # (n, K, X)
            log_mu = _at(rows["log_mu"][:n], np.broadcast_to(response, (n, *response.shape)))
            self.misfit[n - 1] = expectation(rho, -z).mean(axis=0)
            self.jensen[n - 1] = np.sqrt(expectation(rho, z**2)).mean(axis=0)
            moved_to = log_rho + np.where(rho > 0, -log_mu, -np.inf) + rows["log_moment"][:n]
            self.actions[n - 1] = root(log_sum(moved_to)).mean(axis=0)


def _at(array: FloatArray, actions: IntArray) -> FloatArray:
    """Return ``array`` (..., X, Y) at one action a context, ``actions`` (..., X)."""
    result: FloatArray = np.take_along_axis(array, actions[..., None], axis=-1)[..., 0]
    return result
