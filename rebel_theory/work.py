"""What a run does, checked: its members, how many are run at a time, and one piece of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from fractions import Fraction
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.algorithms import Algorithm
from rebel_theory.arrays import IntArray
from rebel_theory.blas import one_blas_thread
from rebel_theory.chunks import JoinedTrace, at_a_time, pieces
from rebel_theory.oracles import BoundOracle, Exact, Oracle, seed_streams
from rebel_theory.policies import Policy, TabularPolicy
from rebel_theory.problems import InvalidProblemError, Problem, TabularMDP
from rebel_theory.record import Recorder
from rebel_theory.solvers.linear_systems import SMALL
from rebel_theory.trace import Trace

Progress = Callable[[int, float], None]


class Work:
    """One run or comparison, checked: where its members start, and how many are run at a time."""

    def __init__(
        self, problem: Problem, n_iterations: int, policy: Policy | ArrayLike | None, oracle: Oracle, n_seeds: int,
        seed: int, keep: bool, chunk_size: int | None, algorithms: Sequence[Algorithm],
    ) -> None:  # fmt: skip
        _check_counts(n_iterations=n_iterations, n_seeds=n_seeds, seed=seed)
        for algorithm in algorithms:
            _check_algorithm(algorithm, problem, oracle)
        self._problem, self._oracle, self._keep = problem, oracle, keep
        self._n_iterations, self._seed = int(n_iterations), int(seed)
        self._start = start = _first_policy(policy, problem).in_rows(problem)
        # exact runs from one policy are the same for every seed: done once
        self.n_members = 1 if isinstance(oracle, Exact) and start.log_probs.ndim == 2 else int(n_seeds)
        kept = (self._n_iterations + 1) * len(algorithms) if keep else 0
        # a sample is of one instance: those of a batch are run one after the other
        self._instances = [problem] if isinstance(oracle, Exact) else list(problem.instances())
        n_instances = len(self._instances)
        sizes = []
        for a in algorithms:
            n_places = int(np.prod(_lead(problem, a, start, self.n_members)[1:])) // n_instances
            sizes.append(at_a_time(chunk_size, problem, a, oracle, start, n_places, kept * n_instances))
        self._size, self._n_places = min(n for n, _ in sizes), min(n for _, n in sizes)

    def pieces(self) -> Iterator[tuple[int, int]]:
        """Yield (low, high) of the members that are run together."""
        return pieces(self.n_members, self._size)

    def reproducible(self) -> AbstractContextManager[None]:
        """Hold BLAS at one thread: more would round in another order."""
        problem = self._problem
        factorised = isinstance(problem, TabularMDP) and (problem.is_sparse or problem.n_states > SMALL)
        return one_blas_thread(with_scipy=factorised)

    def run(self, algorithm: Algorithm, low: int, high: int, ticks: Ticks) -> Trace:
        """Return the trace of members ``low`` to ``high``."""
        problem, n, start = self._problem, high - low, self._start
        if start.log_probs.ndim > 2 and len(start.log_probs) == self.n_members:
            start = start.with_parameters(start.parameters[low:high])
        lead, share = _lead(problem, algorithm, start, n), Fraction(n, self.n_members)
        if isinstance(self._oracle, Exact) or len(lead) == 1:
            bound = self._oracle.bind(problem, seed_streams(self._seed, n, first=low))
            return self._updates(bound, algorithm, start, (n, *lead[1:]), ticks, share)
        batch, joined = lead[1:], JoinedTrace(*lead)
        n_places, etas = int(np.prod(batch)), np.broadcast_to(algorithm.eta, batch).ravel()
        for instance, places in self._parts(batch):
            # every place is one more member, with the streams of its seed from their beginning
            copies = [seed_streams(self._seed, n, first=low) for _ in places]
            bound = self._oracle.bind(instance, [rng for of_seed in zip(*copies, strict=True) for rng in of_seed])
            part = self._updates(
                bound,
                replace(cast("Any", algorithm), step_size=np.tile(etas[places], n)),
                _members(start, lead, places),
                (n * len(places),),
                ticks,
                share * Fraction(len(places), n_places),
            )
            joined.add((slice(None), *np.unravel_index(places, batch)), part)
        return replace(joined.trace(n), step_size=algorithm.eta)

    def _parts(self, batch: tuple[int, ...]) -> Iterator[tuple[Problem, IntArray]]:
        """Yield (instance, places) that are sampled together, places as flat indices into the batch axes."""
        numbers = np.arange(len(self._instances)).reshape(self._problem.batch_shape)
        owner = np.broadcast_to(numbers, batch).ravel()
        for k, instance in enumerate(self._instances):
            places = np.flatnonzero(owner == k)
            for low, high in pieces(len(places), self._n_places):
                yield instance, places[low:high]

    def _updates(
        self, bound: BoundOracle, algorithm: Algorithm, start: Policy, lead: tuple[int, ...], ticks: Ticks,
        share: Fraction,
    ) -> Trace:  # fmt: skip
        """Return the trace of all updates from ``start``, ``share`` of the whole run's."""
        state = algorithm.init(start)
        recorder = Recorder(bound.problem, algorithm, bound, lead, self._n_iterations, self._keep)
        recorder.iterate(state.policy)
        for _ in range(self._n_iterations):
            previous, state = state, algorithm.step(state, bound)
            recorder.update(previous.policy, state.policy)
            recorder.iterate(state.policy)
            ticks.updated(share, recorder)
        return recorder.trace(state.policy.in_shape(bound.problem, lead), self._seed, lead[0])


class Ticks:
    """Tells progress in whole updates, whatever the chunks: shares of the members' updates, added up."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress, self._done = progress, Fraction(0)

    def updated(self, share: Fraction, recorder: Recorder) -> None:
        """Count one update of a share of the members."""
        if self._progress is None:
            return
        before = int(self._done)
        self._done += share
        for k in range(before, int(self._done)):
            self._progress(k + 1, recorder.latest_gap)


def _members(start: Policy, lead: tuple[int, ...], places: IntArray) -> Policy:
    """Return the first policy of all seeds at some places, one flat leading axis; one for all stays one."""
    own = start.log_probs.shape[:-2]
    if not own:
        return start
    rest = start.parameters.shape[len(own) :]
    whole = np.broadcast_to(start.parameters, (*lead, *rest)).reshape(lead[0], -1, *rest)
    return start.with_parameters(whole[:, places].reshape(-1, *rest))


def _first_policy(policy: Policy | ArrayLike | None, problem: Problem) -> Policy:
    if policy is None:
        return TabularPolicy.uniform(problem)
    if isinstance(policy, Policy):
        return policy
    return TabularPolicy.from_probs(problem.from_rows(problem.policy_rows(policy)))


def _check_algorithm(algorithm: Algorithm, problem: Problem, oracle: Oracle) -> None:
    if not isinstance(algorithm, Algorithm):
        raise TypeError(f"algorithm is a {type(algorithm).__name__}: pass an Algorithm, such as rt.Rebel(1.0)")
    refusal = algorithm.refuses(problem, oracle)
    if refusal is not None:
        raise InvalidProblemError(algorithm.name, [refusal])


def _check_counts(*, n_iterations: int, n_seeds: int, seed: int) -> None:
    problems = []
    if int(n_iterations) != n_iterations or n_iterations < 0:
        problems.append(f"n_iterations is {n_iterations}, expected an integer >= 0")
    if int(n_seeds) != n_seeds or n_seeds < 1:
        problems.append(f"n_seeds is {n_seeds}, expected an integer >= 1")
    if int(seed) != seed or seed < 0:
        problems.append(f"seed is {seed}, expected an integer >= 0")
    if problems:
        raise InvalidProblemError("run", problems)


def _lead(problem: Problem, algorithm: Algorithm, start: Policy, n_leading: int) -> tuple[int, ...]:
    """Return the leading axes (seeds, batch...) of every array of the run."""
    shapes = [algorithm.eta.shape, problem.batch_shape]
    own = start.log_probs.shape[:-2]
    try:
        batch = np.broadcast_shapes(*shapes)
        if own and len(own) != 1 + len(batch):  # a missing axis would pair seeds with step sizes, silently
            raise InvalidProblemError(
                "run",
                [
                    f"the first policy has leading axes {own}, expected none or (n_seeds, batch...) with "
                    f"{1 + len(batch)} axes: give it axes of length 1 where it does not vary"
                ],
            )
        return np.broadcast_shapes((n_leading, *batch), own)
    except InvalidProblemError:
        raise
    except ValueError:
        raise InvalidProblemError(
            "run",
            [
                f"batch axes do not broadcast: step_size {shapes[0]}, problem {shapes[1]}, first policy {own} "
                f"(whose leading axis is seeds, {n_leading} here)"
            ],
        ) from None
