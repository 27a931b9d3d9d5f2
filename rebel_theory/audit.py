"""Audit a proof on a run: every term and every inequality, exactly, at every iteration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rebel_theory.algorithms import Algorithm, State
from rebel_theory.arrays import FloatArray
from rebel_theory.oracles import BoundOracle, Exact, Oracle
from rebel_theory.policies import Base, Policy, TabularPolicy
from rebel_theory.problems import (
    ContextualBandit,
    FiniteHorizonMDP,
    Game,
    InvalidProblemError,
    LinearMDP,
    Problem,
    TabularMDP,
)
from rebel_theory.run import run
from rebel_theory.solvers.feedback import reference
from rebel_theory.theory.audit import Audit, Update
from rebel_theory.theory.audit_entropy import EntropyLedger
from rebel_theory.theory.audit_exact import ExactLedger
from rebel_theory.theory.audit_games import GameLedger
from rebel_theory.theory.audit_regret import RegretLedger
from rebel_theory.trace import Trace
from rebel_theory.work import Progress

Ledger: TypeAlias = RegretLedger | ExactLedger | GameLedger | EntropyLedger

CLAIMS: dict[str, tuple[tuple[type[Problem], ...], str]] = {
    "C1": ((ContextualBandit,), "a bandit"),
    "C2": ((ContextualBandit,), "a bandit"),
    "C7": ((TabularMDP,), "a tabular MDP with a discount below 1"),
    "C11": ((TabularMDP, LinearMDP, FiniteHorizonMDP), "an MDP"),
    "P7": ((Game,), "a preference game"),
}


def audit(
    claim_id: str,
    problem: Problem,
    algorithm: Algorithm,
    *,
    n_iterations: int,
    policy: Policy | ArrayLike | None = None,
    oracle: Oracle = Exact(),  # noqa: B008 - immutable
    seed: int = 0,
    temperature: float | None = None,
    progress: Progress | None = None,
) -> Audit:
    """Return every term of the proof of C1, C2, C7, C11 or P7 on one run, and both sides of each inequality in it.

    Everything is exact, whatever the oracle shows the algorithm. The proofs of C1, C11 and P7 hold for *any* sequence
    of policies, because eps_t and B are measured from the step that was taken: there the audit shows where the slack
    sits, and a wrong algorithm pays by its misfit. What it can violate are the conditions of the theorem and, where
    feedback is exact and the class tabular, the promises of an exact step: eps_t = 0, monotone improvement, the rate
    without curvature and misfit (C2, C5). The proofs of C2 and C7 need exact steps, so there their own lines fail.

    Parameters
    ----------
    claim_id : "C1" (bandits), "C2" (bandits, exact steps), "C7" (entropy-regularised NPG), "C11" (MDPs) or "P7" (games)
    problem, algorithm, n_iterations, policy, oracle, seed
        As in :func:`run`. A batch of instances or step sizes is audited at once if feedback is exact. Any
        :class:`Algorithm` will do, with the step size that it states.
    temperature : float, optional
        tau of C7; the algorithm's own by default.
    progress : callable, optional
        As in :func:`run`.

    Returns
    -------
    Audit

    Raises
    ------
    InvalidProblemError
        If the claim is not about such a problem, oracle or policy.

    Examples
    --------
    One exact update with eta = ln 3 on rewards (1, 0) from uniform: g = (1/2, -1/2), a gap of 1/2, no misfit.

    >>> import numpy as np, rebel_theory as rt
    >>> found = rt.audit("C1", rt.ContextualBandit([[1.0, 0.0]]), rt.Rebel(np.log(3.0)), n_iterations=1)
    >>> found.measured.round(6), found.bound.round(6)  # ln 2/ln 3 + ln 3/8
    (array([[0.5]]), array([[0.768256]]))
    >>> len(found.violations), found.identity_error < 1e-12
    (0, True)
    """
    claim = claim_id.upper()
    temperature = getattr(algorithm, "temperature", None) if temperature is None else temperature
    _check(claim, problem, algorithm, oracle, temperature)
    watched = _Watched(algorithm, _Opening(claim, problem, algorithm, oracle, temperature))
    trace = run(problem, watched, n_iterations=n_iterations, policy=policy, oracle=oracle, seed=seed, progress=progress)
    ledger = watched.opening.ledger
    if ledger is None:
        raise InvalidProblemError("audit", ["n_iterations is 0, expected at least 1: nothing to audit"])
    found = ledger.findings(*_record(trace)) if isinstance(ledger, RegretLedger | ExactLedger) else ledger.findings()
    return Audit(
        claim=claim,
        algorithm=algorithm.name,
        step_size=np.broadcast_to(algorithm.eta, ledger.batch).ravel(),
        measured=found.measured,
        bound=found.bound,
        values=found.terms,
        identities=found.identities,
        parts=found.inequalities,
        notes=found.notes,
    )


def _record(trace: Trace) -> tuple[FloatArray, FloatArray]:
    """Return the gaps and the divergences of the run, both (T + 1, K)."""
    gap, kl = (x.reshape(-1, x.shape[-1]).T for x in (trace.gap, trace.kl))
    return gap, kl


@dataclass(eq=False)
class _Opening:
    """Opens the ledger at the first update, when the class of the policy is known."""

    claim: str
    problem: Problem
    algorithm: Algorithm
    oracle: Oracle
    temperature: float | None
    ledger: Ledger | None = None

    def update(self, before: Policy, after: Policy, oracle: BoundOracle) -> None:
        """Account for one update."""
        batch = np.broadcast_shapes(self.algorithm.eta.shape, self.problem.batch_shape)
        self.ledger = self.ledger or self._open(before, batch)

        def single(array: NDArray[Any], trailing: int) -> NDArray[Any]:
            """Return ``array`` without the axis of the one seed."""
            return array[0] if array.ndim > trailing + len(batch) else array

        log_pi, log_next = single(before.log_probs, 2), single(after.log_probs, 2)
        if isinstance(self.ledger, EntropyLedger):
            self.ledger.update(log_pi, log_next)
            return
        exact = oracle.exact_feedback(before)
        log_mu = oracle.log_base(before, self.algorithm.base_distribution)
        self.ledger.update(
            Update(
                log_pi, log_next, single(exact.weights, 1), single(exact.visited, 1), single(exact.signal, 2),
                single(log_mu, 2),
            )
        )  # fmt: skip

    def _open(self, start: Policy, batch: tuple[int, ...]) -> Ledger:
        problem, eta = self.problem, self.algorithm.eta
        promised = isinstance(start, TabularPolicy) and isinstance(self.oracle, Exact)
        if self.claim == "C7":
            assert isinstance(problem, TabularMDP)
            if not isinstance(start, TabularPolicy) or not np.isfinite(start.log_probs).all():
                what = "C7 is about tabular policies in which every action has a positive probability: start from one"
                raise InvalidProblemError("audit", [what])
            assert self.temperature is not None
            return EntropyLedger(problem, eta, self.temperature, batch)
        if isinstance(problem, Game):
            return GameLedger(problem, eta, batch, promised)
        best = reference(problem)
        assert best.policy is not None
        if self.claim == "C2":
            return ExactLedger(best.policy, best.weights, eta, batch, problem.row_shape)
        return RegretLedger(
            self.claim, best.policy, best.weights, best.mass, eta, batch, promised, _exact_rate(problem),
            problem.row_shape,
        )  # fmt: skip


def _exact_rate(problem: Problem) -> FloatArray | None:
    """Return what the rate of exact steps adds to KL/(eta T), times T: C2 or C5; None where neither applies."""
    if isinstance(problem, ContextualBandit):
        return np.zeros(())
    if isinstance(problem, TabularMDP) and problem.discount < 1:
        reward = problem.reward
        span: FloatArray = (reward.max(axis=(-2, -1)) - reward.min(axis=(-2, -1))) / (1 - problem.discount) ** 2
        return span
    return None


@dataclass(frozen=True, eq=False)
class _Watched(Algorithm):
    """An algorithm whose every update is written into a ledger."""

    name = "watched"
    source = ""
    inner: Algorithm
    opening: _Opening = field(repr=False)

    @property
    def eta(self) -> FloatArray:
        return self.inner.eta

    @property
    def base_distribution(self) -> Base:
        return self.inner.base_distribution

    def refuses(self, problem: Problem, oracle: Oracle) -> str | None:
        return self.inner.refuses(problem, oracle)

    def init(self, policy: Policy) -> State:
        return self.inner.init(policy)

    def step(self, state: State, oracle: BoundOracle) -> State:
        found = self.inner.step(state, oracle)
        self.opening.update(state.policy, found.policy, oracle)
        return found


def _check(claim: str, problem: Problem, algorithm: Algorithm, oracle: Oracle, temperature: float | None) -> None:
    """Raise InvalidProblemError with everything that is wrong with the question."""
    if claim not in CLAIMS:
        raise InvalidProblemError("audit", [f"{claim} has no audit: expected one of {', '.join(CLAIMS)}"])
    kinds, what = CLAIMS[claim]
    faults = []
    if not isinstance(problem, kinds) or (claim == "C7" and getattr(problem, "discount", 0) >= 1):
        others = [f"{other} for {name}" for other, (own, name) in CLAIMS.items() if isinstance(problem, own)]
        hint = f": use {' or '.join(others)}" if others else ""
        faults.append(f"{claim} is about {what}, not a {type(problem).__name__}{hint}")
    batch = np.broadcast_shapes(algorithm.eta.shape, problem.batch_shape)
    if batch and not isinstance(oracle, Exact):
        faults.append(f"a batch of shape {batch} is audited with exact feedback only: audit its samples one by one")
    if claim == "C7":
        if not isinstance(oracle, Exact):
            faults.append("C7 is about exact soft values: use Exact()")
        if temperature is None or not 0 < temperature < np.inf:
            faults.append(f"C7 needs a temperature > 0, got {temperature}: pass temperature=")
    if faults:
        raise InvalidProblemError("audit", faults)
