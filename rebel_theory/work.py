"""What a run does, checked: its members, how many are run at a time, and one piece of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.algorithms import Algorithm
from rebel_theory.blas import one_blas_thread
from rebel_theory.chunks import pieces, seeds_at_a_time
from rebel_theory.oracles import Exact, Oracle, seed_streams
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
        self._size = min(
            seeds_at_a_time(chunk_size, problem, a, oracle, start, _lead(problem, a, start, self.n_members), kept)
            for a in algorithms
        )

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
        bound = self._oracle.bind(problem, seed_streams(self._seed, n, first=low))
        lead = _lead(problem, algorithm, start, n)
        state = algorithm.init(start)
        recorder = Recorder(problem, algorithm, bound, lead, self._n_iterations, self._keep)
        recorder.iterate(state.policy)
        for _ in range(self._n_iterations):
            previous, state = state, algorithm.step(state, bound)
            recorder.update(previous.policy, state.policy)
            recorder.iterate(state.policy)
            ticks.updated(n, recorder)
        return recorder.trace(state.policy.in_shape(problem, (n, *lead[1:])), self._seed, n)


class Ticks:
    """Tells progress in whole updates, whatever the chunks: updates of members, divided by the members."""

    def __init__(self, progress: Progress | None, n_members: int) -> None:
        self._progress, self._n_members = progress, n_members
        self._done = 0

    def updated(self, n: int, recorder: Recorder) -> None:
        """Count one update of n members."""
        before = self._done // self._n_members
        self._done += n
        if self._progress is not None:
            for k in range(before, self._done // self._n_members):
                self._progress(k + 1, recorder.latest_gap)


def _first_policy(policy: Policy | ArrayLike | None, problem: Problem) -> Policy:
    if policy is None:
        return TabularPolicy.uniform(problem)
    if isinstance(policy, Policy):
        return policy
    return TabularPolicy.from_probs(problem.from_rows(problem.policy_rows(policy)))


def _check_algorithm(algorithm: Algorithm, problem: Problem, oracle: Oracle) -> None:
    if not isinstance(algorithm, Algorithm):
        raise TypeError(f"algorithm is a {type(algorithm).__name__}: pass an Algorithm, such as rt.Rebel(1.0)")
    if not isinstance(oracle, Exact) and algorithm.eta.ndim:  # (K,) would meet the axis of seeds
        what = f"{type(oracle).__name__} takes one step size a run, run them one by one"
        raise InvalidProblemError("run", [f"step_size has shape {algorithm.eta.shape}: {what}"])
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
