r"""The audit of C7: entropy-regularised NPG contracts, by the proof of Cen et al. 2021 (arXiv:2007.06558), section 4.

With alpha = 1 - eta tau (eta the functional step; eta_npg tau = (1-gamma) eta tau), ln xi^{t+1} = alpha ln xi^t +
(1-alpha) Q^t/tau, ln xi^0 = ln pi^0 + V*/tau (so that pi^t is xi^t normalised), sup norms, and

.. math::
    a_t = \|Q^* - Q^t\|, \quad b_t = \|Q^* - \tau\ln\xi^t\|, \quad m_t = -\min (Q^t - \tau\ln\xi^t),

an exact step keeps: b_{t+1} <= alpha b_t + (1-alpha) a_t; m_{t+1} <= alpha m_t, because Q^{t+1} >= Q^t; and, whatever
the step, a_{t+1} <= gamma (b_{t+1} + m_{t+1}). So Phi_t = (1-alpha) a_t + alpha (b_t + m_t) shrinks by lambda =
1 - eta_npg tau each step, a_{t+1} <= gamma Phi_t, and Phi_0 <= C_1: the bound. Its slack adds up:
bound - a_{t+1} = gamma lambda^t (C_1 - Phi_0) + gamma sum_{k<t} lambda^{t-1-k} (lambda Phi_k - Phi_{k+1})
+ (gamma Phi_t - a_{t+1}).

States that cannot be reached from the first are left out: those that can are an MDP of their own, and algorithms leave
the others where they were. The policies fix ln xi^t up to a constant a state: that constant is carried by the exact
step's own normaliser, so a wrong step shows in ln xi, and in the lines that need an exact one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from rebel_theory.arrays import FloatArray, expectation
from rebel_theory.problems import TabularMDP
from rebel_theory.solvers.feedback import reachable_rows
from rebel_theory.solvers.soft import soft_solve, soft_values
from rebel_theory.theory.audit import ABSOLUTE, Findings, Inequality, Link, Role, difference
from rebel_theory.theory.audit_notes import regularised_step_note
from rebel_theory.theory.audit_update import History, log_sum
from rebel_theory.theory.bounds import entropy_npg_bound, npg_step_size

_STEP = Link("step size", "step", "eta_npg tau <= 1 - gamma", "or pi_t would enter with a negative power")
_EXACT = Link("exact step", "step", "tau max|ln pi_{t+1} - ln of the exact step| <= 0", "pi^alpha exp(eta Q_tau)")
_START = Link("start", "start", "Phi_0 <= C_1", "m_0 <= a_0 + b_0")
_TRIANGLE = Link("triangle", "target", "b_{t+1} <= alpha b_t + (1-alpha) a_t", "ln xi^{t+1} is a mixture")
_MINIMUM = Link("minimum of a sum", "improvement", "m_{t+1} <= alpha m_t + max(Q^t - Q^{t+1})", "min of a sum")
_IMPROVES = Link("improvement", "improvement", "max(Q^t - Q^{t+1}) <= 0", "an exact step improves every state")
_BELLMAN = (
    Link("next state", "Bellman", "a_{t+1} <= gamma max_s (V* - V^{t+1})", "an average is at most the largest"),
    Link("worst states", "Bellman", "max (L + N) <= max L + max N", "V* - V = L + N, L of normalisers"),
    Link("log-sum-exp", "Bellman", "max L <= b_{t+1}", "ln sum exp is 1-Lipschitz in the sup norm"),
    Link("worst action", "Bellman", "max N <= m_{t+1}", "N = -E_pi (Q - tau ln xi)"),
)
_POTENTIAL = Link("potential", "bound", "Phi_{t+1} <= (1 - eta_npg tau) Phi_t", "triangle, improvement and Bellman")
_THEOREM = Link("C7", "bound", "||Q* - Q^{t+1}|| <= C_1 gamma (1 - eta_npg tau)^t", "all of the lines above")


@dataclass(eq=False)
class EntropyLedger:
    """The account of C7; fed update by update, batches are leading axes.

    Parameters
    ----------
    problem : TabularMDP
    step_size : shape (...)
        Functional eta; 1/temperature is audited where it is more, and the condition is reported as violated.
    temperature : float
    batch : the shape (...)
    """

    problem: TabularMDP
    step_size: FloatArray
    temperature: float
    batch: tuple[int, ...]
    _iterates: History = field(init=False)
    _updates: History = field(init=False)
    _notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._iterates, self._updates = History(self.batch), History(self.batch)
        best = soft_solve(self.problem, self.temperature)
        self._best, self._q_star = best, best.q_values
        self._counted = reachable_rows(self.problem)
        self._scale = 1 + self._largest(np.abs(best.q_values))
        # rounding of Q_tau, of which the certified error of the optimum is one part
        self._tolerance = ABSOLUTE * self._scale + np.minimum(8 * best.error_bound, 10 * ABSOLUTE * self._scale)
        self._alpha = np.maximum(0.0, 1 - self.step_size * self.temperature)
        self._constant: FloatArray | None = None  # c_t: ln xi^t = ln pi^t + c_t
        self._q: FloatArray | None = None

    @np.errstate(invalid="ignore")
    def update(self, log_pi: FloatArray, log_next: FloatArray) -> None:
        """Account for one update; policies (..., S, A)."""
        tau, alpha = self.temperature, self._alpha[..., None, None]
        if self._q is None or self._constant is None:
            self._q = soft_values(self.problem, log_pi, tau)[1]
            self._constant = self._best.values / tau
            self._iterates.add(self._iterate(log_pi, self._q, self._best.values / tau))
        exact = np.where(alpha > 0, alpha * log_pi, 0.0) + (1 - alpha) * self._q / tau
        normaliser = log_sum(exact)
        exact = exact - normaliser[..., None]
        off = tau * np.abs(np.where(np.isneginf(exact) & np.isneginf(log_next), 0.0, log_next - exact))
        wrong = self._largest(off)
        self._constant = self._alpha[..., None] * self._constant + normaliser
        values, q = soft_values(self.problem, log_next, tau)
        if not self._notes and (wrong > self._tolerance).any():
            self._notes += self._note(self._updates.n_updates, log_pi, log_next, wrong)
        self._iterates.add(self._iterate(log_next, q, self._constant))
        self._updates.add(self._bellman(log_next, q, values, self._constant))
        self._updates.add({"wrong": wrong, "fall": self._largest(self._q - q)})
        self._q = q

    def _iterate(self, log_pi: FloatArray, q: FloatArray, constant: FloatArray) -> dict[str, FloatArray]:
        """Return a, b and m of one iterate."""
        target = self.temperature * (log_pi + constant[..., None])  # tau ln xi
        return {
            "a": self._largest(np.abs(self._q_star - q)),
            "b": self._largest(np.abs(self._q_star - target)),
            "m": self._largest(target - q),
        }

    def _bellman(
        self, log_pi: FloatArray, q: FloatArray, values: FloatArray, constant: FloatArray
    ) -> dict[str, FloatArray]:
        tau = self.temperature
        normalisers = self._best.values - tau * constant  # L(s); pi sums to 1
        inner = tau * (log_pi + constant[..., None]) - q
        rest = expectation(np.exp(log_pi), inner)  # N(s)
        return {
            "lost": self._largest_state(self._best.values - values),
            "normalisers": self._largest_state(normalisers),
            "rest": self._largest_state(rest),
            "evaluation": self._largest_state(np.abs(values - (tau * constant - rest))),
        }

    def _largest(self, cells: FloatArray) -> FloatArray:
        """Return the largest entry (...) of the rows that can be reached, of (..., S, A)."""
        return self._largest_state(cells.max(axis=-1))

    def _largest_state(self, rows: FloatArray) -> FloatArray:
        largest: FloatArray = np.where(self._counted, rows, -np.inf).max(axis=-1)
        return largest

    def _note(self, t: int, log_pi: FloatArray, log_next: FloatArray, wrong: FloatArray) -> list[str]:
        place = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
        assert self._q is not None
        before, after, q = (
            np.broadcast_to(x, (*wrong.shape, *x.shape[-2:]))[place] for x in (log_pi, log_next, self._q)
        )
        alpha, tau = float(np.broadcast_to(self._alpha, wrong.shape)[place]), self.temperature
        counted = np.broadcast_to(self._counted, (*wrong.shape, self._counted.shape[-1]))[place]
        return regularised_step_note(t, before, after, q, alpha, (1 - alpha) / tau, tau, np.flatnonzero(counted))

    @np.errstate(invalid="ignore")
    def findings(self) -> Findings:
        """Return the whole account."""
        gamma, tau = self.problem.discount, self.temperature
        alpha, tolerance, eta, scale = (
            np.broadcast_to(x, self.batch).ravel() for x in (self._alpha, self._tolerance, self.step_size, self._scale)
        )
        iterates, seen = self._iterates.stacked(), self._updates.stacked()
        a, b, m = iterates["a"], iterates["b"], iterates["m"]
        rest, fall = seen["rest"], seen["fall"]
        step = npg_step_size((1 - alpha) / tau, gamma)
        t = np.arange(len(fall))[:, None]
        bound = entropy_npg_bound(a[0], b[0] / tau, step, tau, t, gamma)
        start = bound[0] / gamma if gamma > 0 else a[0] + 2 * alpha * b[0]  # C_1
        potential = (1 - alpha) * a + alpha * (b + m)
        account = _Account(gamma, alpha, tolerance)
        old_and_q = alpha * b[:-1] + (1 - alpha) * a[:-1]
        differences = (seen["lost"], seen["normalisers"] + rest, b[1:] + rest, b[1:] + m[1:])
        bellman = [a[1:], *(gamma * x for x in differences)]
        zero, all_of = np.zeros_like(bound), np.ones_like(bound)
        inequalities = (
            Inequality(_STEP, "condition", eta * tau * (1 - gamma) * all_of, (1 - gamma) * all_of, ABSOLUTE * all_of),
            Inequality(_EXACT, "promise", seen["wrong"], zero, tolerance * all_of),
            account.start(_START, potential[0] * all_of, start * all_of),
            account.step(_TRIANGLE, "proof", b[1:], old_and_q),
            account.step(_MINIMUM, "proof", m[1:], alpha * m[:-1] + fall),
            account.step(_IMPROVES, "proof", fall, zero),
            *(account.bellman(link, x, y) for link, x, y in zip(_BELLMAN, bellman[:-1], bellman[1:], strict=True)),
            Inequality(_POTENTIAL, "proof", potential[1:], (1 - step * tau) * potential[:-1], 4 * tolerance * all_of),
            Inequality(_THEOREM, "theorem", a[1:], bound, tolerance * all_of),
        )
        optimum = np.abs(self._q_star - tau * self._best.log_policy - self._best.values[..., None])
        best = np.broadcast_to(self._largest(optimum), self.batch).ravel()
        return Findings(
            measured=a[1:],
            bound=bound,
            terms={"a: ||Q* - Q^t||": a[:-1], "b: ||Q* - tau ln xi^t||": b[:-1], "m: -min(Q^t - tau ln xi^t)": m[:-1],
                   "Phi": potential[:-1], "C_1": start * all_of, "scale": scale * all_of},
            identities={"soft values": seen["evaluation"], "soft optimum": best * all_of},
            inequalities=inequalities,
            notes=tuple(self._notes),
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Account:
    """Where the slack of a line goes in the slack of the bound."""

    discount: float
    alpha: FloatArray
    tolerance: FloatArray

    def start(self, link: Link, left: FloatArray, right: FloatArray) -> Inequality:
        """Return the line on Phi_0: gamma lambda^t of its slack is in the bound."""
        weights = self._rate ** np.arange(len(left))[:, None]
        return self._line(link, "proof", left, right, self.discount * weights * difference(right, left))

    def step(self, link: Link, role: Role, left: FloatArray, right: FloatArray) -> Inequality:
        """Return a line on b or m: gamma of its slack now, and lambda of it in every later Phi."""
        return self._line(link, role, left, right, self._carried(difference(right, left), self._rate, self.discount))

    def bellman(self, link: Link, left: FloatArray, right: FloatArray) -> Inequality:
        """Return a line on a: all of its slack now, and 1 - alpha of it in every later Phi."""
        return self._line(link, "proof", left, right, self._carried(difference(right, left), 1 - self.alpha, 1.0))

    @property
    def _rate(self) -> FloatArray:
        rate: FloatArray = self.alpha + (1 - self.alpha) * self.discount
        return rate

    def _carried(self, slack: FloatArray, later: FloatArray, now: float) -> FloatArray:
        carried, found = np.zeros_like(slack[0]), np.empty_like(slack)
        for t, own in enumerate(slack):
            found[t] = self.discount * carried + now * own
            carried = self._rate * carried + later * own
        return found

    def _line(
        self, link: Link, role: Role, left: FloatArray, right: FloatArray, contribution: FloatArray
    ) -> Inequality:
        return Inequality(link, role, left, right, 4 * self.tolerance * np.ones_like(left), contribution)
