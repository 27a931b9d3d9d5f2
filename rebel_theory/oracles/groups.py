"""Answers one by one, in groups: k answers of the policy to each of n contexts, with what each was worth."""

from __future__ import annotations

from functools import singledispatch
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.random import Generator

from rebel_theory.advantages import Groups
from rebel_theory.arrays import FloatArray, IntArray
from rebel_theory.oracles.samplers import Sampler
from rebel_theory.problems import ContextualBandit, PreferenceGame, Problem


def draw_groups(
    observer: Observer, rngs: list[Generator], rho: FloatArray, pi: FloatArray, n: int, k: int
) -> tuple[Groups, FloatArray]:
    """Return n groups of k answers a seed, rows x ~ rho (n_seeds, S), y ~ pi (n_seeds, S, A), and the queries."""
    n_seeds = len(rngs)
    rows = np.empty((n_seeds, n), dtype=np.int64)
    actions = np.empty((n_seeds, n, k), dtype=np.int64)
    for i, rng in enumerate(rngs):
        rows[i] = _draw(rho[i], rng.random(n))
        actions[i] = _draw(pi[i][rows[i]], rng.random((k, n))).T
    rewards, queries = observer.observe(rngs, pi, rows, actions)
    return Groups(rows, actions, rewards), queries


def _draw(probs: FloatArray, u: Any) -> IntArray:
    """Return draws (..., n) from ``probs`` (m,) or (n, m) by inverse CDF at uniforms (..., n)."""
    sums = np.cumsum(probs, axis=-1)
    sums /= sums[..., -1:]
    if probs.ndim == 1:
        place: IntArray = np.searchsorted(sums, u, side="right")
        return place
    drawn: IntArray = (u[..., None] >= sums).sum(axis=-1)
    return drawn


@runtime_checkable
class Observer(Protocol):
    """Observes given answers one by one."""

    def observe(
        self, rngs: list[Generator], pi: FloatArray, rows: IntArray, actions: IntArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return rewards (n_seeds, n, k) and the queries a seed (n_seeds,)."""


def observer(problem: Problem, sampler: Sampler) -> Observer:
    """Return how single answers are observed: by the sampler itself, if it can."""
    return sampler if isinstance(sampler, Observer) else _observer(problem)


@singledispatch
def _observer(problem: Any) -> Observer:
    raise TypeError(f"Sampled cannot observe single answers of a {type(problem).__name__}: use Exact()")


@_observer.register(ContextualBandit)
class _Rewards:
    def __init__(self, problem: ContextualBandit) -> None:
        self._reward, self._noise = problem.reward, problem.noise

    def observe(
        self, rngs: list[Generator], pi: FloatArray, rows: IntArray, actions: IntArray
    ) -> tuple[FloatArray, FloatArray]:
        mean = self._reward[rows[..., None], actions]
        once = np.ones(actions.shape[1:], dtype=np.int64)
        rewards = np.stack([self._noise.sample_sum(rng, mean[i], once) for i, rng in enumerate(rngs)])
        return rewards, np.full(len(rngs), float(once.size))


@_observer.register(PreferenceGame)
class _Outcomes:
    """An answer's reward is 2 o - 1 against one opponent y'' ~ pi that its whole group meets."""

    def __init__(self, problem: PreferenceGame) -> None:
        self._preference = problem.preference

    def observe(
        self, rngs: list[Generator], pi: FloatArray, rows: IntArray, actions: IntArray
    ) -> tuple[FloatArray, FloatArray]:
        rewards = np.empty(actions.shape)
        for i, rng in enumerate(rngs):
            rival = _draw(pi[i][rows[i]], rng.random(rows.shape[1]))
            wins = rng.random(actions[i].shape) < self._preference[rows[i][:, None], actions[i], rival[:, None]]
            rewards[i] = np.where(wins, 1.0, -1.0)
        return rewards, np.full(len(rngs), float(actions[0].size))
