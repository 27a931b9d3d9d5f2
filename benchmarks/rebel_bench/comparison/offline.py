"""Data logged once and reused: a data set for every seed, drawn from the problem under a stated policy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

import rebel_theory as rt

BASES = ("uniform", "first")


@dataclass(frozen=True, slots=True)
class Logged:
    """n compared pairs of answers of one policy, at the states that it visits.

    Attributes
    ----------
    base
        Whose answers: ``uniform``, or the ``first`` policy of the runs.
    seed
        Which data sets; run i of a cell has its own, the same for every algorithm and step size.
    """

    n: int
    base: str = "uniform"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.base not in BASES:
            raise ValueError(f"base is {self.base}, expected {' or '.join(BASES)}")
        if not isinstance(self.seed, int) or isinstance(self.seed, bool) or self.seed < 0:
            raise ValueError(f"seed is {self.seed}, expected an integer of at least 0")

    def rng(self, stream: int, run: int) -> Generator:
        """Return the generator of a run's data; those of tuning and of reporting never meet."""
        return np.random.default_rng(np.random.SeedSequence([self.seed, stream, run]))

    def draw(self, problem: rt.Problem, first: rt.Policy, rng: Generator) -> rt.Offline:
        """Return an oracle of a fresh data set: relative rewards or returns, or preferences in a game."""
        policy = first if self.base == "first" else rt.TabularPolicy(np.zeros(problem.policy_shape))
        policy = policy.in_rows(problem)
        if isinstance(problem, rt.PreferenceGame):
            x = rng.choice(problem.n_rows, size=self.n, p=problem.context_dist)
            pairs = rng.random((self.n, 2, 1))
            y, other = (pairs > np.cumsum(policy.probs, axis=-1)[x][:, None, :-1]).sum(axis=-1).T
            preferred = rng.random(self.n) < problem.preference[x, y, other]
            return rt.Offline({"x": x, "y": y, "y_base": other, "preferred": preferred.astype(float)})
        found = rt.Sampled(self.n).bind(problem, [rng]).pairs(policy, rt.OnPolicy())
        counts, sums = found.counts[0], found.sums[0]  # type: ignore[attr-defined]
        cells = np.nonzero(counts)
        many = counts[cells].astype(np.int64)
        x, y, other = (np.repeat(index, many) for index in cells)
        return rt.Offline({"x": x, "y": y, "y_base": other, "difference": np.repeat(sums[cells] / many, many)})
