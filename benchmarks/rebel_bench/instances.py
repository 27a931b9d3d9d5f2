"""Random instances for claims, in batches of equal shape: every kind of problem, S from 1 and A from 2 up.

A batch is an axis: ``n`` instances of one shape are one problem with a leading axis, and one run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

import rebel_theory as rt
from rebel_theory.arrays import FloatArray

KINDS = ("bandit", "mdp", "horizon", "linear", "game")
SHAPES = ((1, 2), (1, 5), (2, 2), (3, 4), (5, 3), (8, 2), (4, 7), (12, 3))  # (S, A)
HORIZON = 3


@dataclass(frozen=True)
class Batch:
    """``n`` instances of one kind and shape."""

    kind: str
    n_states: int
    n_actions: int
    n: int
    problem: rt.Problem


def batches(rng: Generator, n_instances: int, kinds: tuple[str, ...] = KINDS) -> Iterator[Batch]:
    """Yield batches that cover every kind and shape, about ``n_instances`` instances in all, at least one each."""
    cells = [(kind, shape) for kind in kinds for shape in SHAPES]
    per_cell = max(1, -(-n_instances // len(cells)))
    for kind, (s, a) in cells:
        yield Batch(kind, s, a, per_cell, random_problem(rng, kind, s, a, per_cell))


def random_problem(rng: Generator, kind: str, s: int, a: int, n: int) -> rt.Problem:
    """Return ``n`` random instances as one problem with a leading axis; rewards lie in [0, 1]."""
    if kind == "bandit":
        return rt.ContextualBandit(rng.random((n, s, a)), context_dist=simplex(rng, n, s))
    if kind == "game":
        return rt.PreferenceGame(random_preferences(rng, n, s, a), context_dist=simplex(rng, n, s))
    if kind == "horizon":
        transition = simplex(rng, n, HORIZON, s, a, s)
        return rt.FiniteHorizonMDP(
            transition, rng.random((n, HORIZON, s, a)), horizon=HORIZON, initial_dist=simplex(rng, n, s)
        )
    discount = float(rng.choice([0.0, 0.5, 0.9, 0.99]))
    if kind == "mdp":
        transition = simplex(rng, n, s, a, s)
        return rt.TabularMDP(transition, rng.random((n, s, a)), discount=discount, initial_dist=simplex(rng, n, s))
    d = min(3, s * a)
    return rt.LinearMDP(
        simplex(rng, n, s, a, d),
        simplex(rng, n, d, s),
        rng.random((n, d)),
        discount=discount,
        initial_dist=simplex(rng, n, s),
    )


def simplex(rng: Generator, *shape: int) -> FloatArray:
    """Return random distributions along the last axis."""
    return rng.dirichlet(np.ones(shape[-1]), size=shape[:-1])


def random_preferences(rng: Generator, *shape: int) -> FloatArray:
    """Return preference matrices (..., Y, Y) with independent entries above the diagonal; shape ends in Y."""
    raw = rng.random((*shape, shape[-1]))
    upper = np.triu(raw, 1)
    lower = np.swapaxes(np.triu(1 - raw, 1), -1, -2)
    return upper + lower + 0.5 * np.eye(shape[-1])


def random_policy(rng: Generator, problem: rt.Problem, spread: float = 1.0) -> rt.TabularPolicy:
    """Return random logits, one policy an instance, with the leading seed axis of a run."""
    return rt.TabularPolicy(spread * rng.standard_normal((1, *problem.batch_shape, *problem.policy_shape)))
