"""The promises of an algorithm, one function each: they return what is wrong, or None."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import rebel_theory as rt
from rebel_theory.arrays import FloatArray

Make = Callable[[Any], rt.Algorithm]  # from a step size

_STEPS = 3
_ROUNDING = 1e-8
_SHIFT_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class Case:
    """A problem, how it is observed, and a first policy."""

    kind: str
    problem: rt.Problem
    oracle: rt.Oracle
    start: rt.Policy

    @property
    def is_exact(self) -> bool:
        """True when nothing is random."""
        return isinstance(self.oracle, rt.Exact)

    @property
    def label(self) -> str:
        """Problem, oracle and policy class in words."""
        policy = "tabular" if isinstance(self.start, rt.TabularPolicy) else "log-linear"
        return f"{self.kind}, {type(self.oracle).__name__.lower()}, {policy}"

    def run(self, algorithm: rt.Algorithm, n: int = _STEPS, **options: Any) -> rt.Trace:
        """Return the trace of ``n`` updates with every policy kept."""
        settings: dict[str, Any] = {"policy": self.start, "oracle": self.oracle, "n_seeds": 2, "seed": 7} | options
        return rt.run(self.problem, algorithm, n_iterations=n, keep_policies=True, **settings)


def _probs(trace: rt.Trace) -> FloatArray:
    assert trace.probs is not None
    return trace.probs


def distributions(case: Case, make: Make) -> str | None:
    """Every iterate is a policy: non-negative rows that sum to 1, in the problem's shape."""
    probs = _probs(case.run(make(0.5)))
    if probs.shape[-len(case.problem.policy_shape) :] != case.problem.policy_shape:
        return f"policies have shape {probs.shape}, expected (..., {case.problem.policy_shape})"
    if not np.isfinite(probs).all() or (probs < 0).any():
        return "a probability is negative or not a number"
    off = float(np.abs(probs.sum(axis=-1) - 1).max())
    return None if off <= 1e-12 else f"a row of probabilities sums to 1 up to {off:.1g} only (1e-12 allowed)"


def starts_where_told(case: Case, make: Make) -> str | None:
    """The first iterate is the policy that was given."""
    off = float(np.abs(_probs(case.run(make(0.5), 0)) - case.start.probs).max())
    return None if off <= 1e-12 else f"init moved the first policy by {off:.2g}"


def repeatable(case: Case, make: Make) -> str | None:
    """The same seed gives the same policies to the last bit: nothing is kept outside State."""
    algorithm = make(0.5)
    first, second = _probs(case.run(algorithm)), _probs(case.run(algorithm))
    return None if (first == second).all() else "two runs with one seed differ: keep what a step needs in State.memory"


def seeds_apart(case: Case, make: Make) -> str | None:
    """Seed 0 of a batch of seeds is the run of one seed: seeds do not see each other."""
    if case.is_exact:
        return None
    both, one = _probs(case.run(make(0.5))), _probs(case.run(make(0.5), n_seeds=1))
    off = float(np.abs(both[0] - one[0]).max())
    return None if off <= _ROUNDING else f"seed 0 differs by {off:.2g} when another seed runs next to it"


def step_sizes_apart(case: Case, make: Make) -> str | None:
    """A step size of shape (2,) is two runs side by side, on the same streams."""
    both = _probs(case.run(make([0.2, 0.5]), n_seeds=1))[0]
    for i, eta in enumerate((0.2, 0.5)):
        off = float(np.abs(both[i] - _probs(case.run(make(eta), n_seeds=1))[0]).max())
        if off > _ROUNDING:
            return f"step size {eta} in a batch of two differs by {off:.2g} from a run of its own"
    return None


def blind_to_shifts(case: Case, make: Make) -> str | None:
    """A constant added to all rewards of a context changes nothing (claim E11)."""
    if not (make(0.5).shift_invariant and case.is_exact and isinstance(case.problem, rt.ContextualBandit)):
        return None
    shift = np.linspace(-1.0, 2.0, case.problem.n_rows)[:, None]
    moved = replace(case.problem, reward=case.problem.reward + shift)
    plain, shifted = _probs(case.run(make(0.5))), _probs(Case("", moved, case.oracle, case.start).run(make(0.5)))
    off = float(np.abs(plain - shifted).max())
    return (
        None if off <= _SHIFT_TOLERANCE else f"adding a constant to a context's rewards moves the policy by {off:.2g}"
    )


def improves(case: Case, make: Make) -> str | None:
    """On a bandit with exact rewards, small steps from the first policy lower the gap."""
    if not (case.is_exact and isinstance(case.problem, rt.ContextualBandit)):
        return None
    gap = case.run(make(0.1), 20).gap
    return None if (gap[..., -1] < gap[..., 0]).all() else (
        f"after 20 steps of 0.1 the gap went from {gap[0, 0]:.4g} to {gap[0, -1]:.4g}"
    )  # fmt: skip


def survives_large_steps(case: Case, make: Make) -> str | None:
    """With eta = 1e6 the policies are still policies, or an error says what overflowed."""
    try:
        probs = _probs(case.run(make(1e6)))
    except (FloatingPointError, rt.InvalidProblemError):
        return None
    fine = np.isfinite(probs).all() and np.abs(probs.sum(axis=-1) - 1).max() <= 1e-9
    return None if fine else "with step_size = 1e6 the iterates are not policies: work with log-probabilities"


def counts_queries(case: Case, make: Make) -> str | None:
    """Sampled feedback is counted, exact feedback costs nothing."""
    queries = case.run(make(0.5)).queries
    if case.is_exact:
        return None if (queries == 0).all() else "exact feedback was counted as queries"
    if isinstance(case.oracle, rt.Offline):
        return None
    grows = (np.diff(queries, axis=-1) > 0).all()
    return None if grows else "an update cost no reward query: ask the oracle, not the problem"


CHECKS: dict[str, Callable[[Case, Make], str | None]] = {
    check.__name__.replace("_", " "): check
    for check in (
        distributions,
        starts_where_told,
        repeatable,
        seeds_apart,
        step_sizes_apart,
        blind_to_shifts,
        improves,
        survives_large_steps,
        counts_queries,
    )
}
