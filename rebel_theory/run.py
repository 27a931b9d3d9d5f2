"""One loop for every algorithm, problem and oracle; several algorithms side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.algorithms import Algorithm
from rebel_theory.arrays import BoolArray, FloatArray, total_variation_rows
from rebel_theory.chunks import Joined, JoinedTrace, pieces, seeds_at_a_time
from rebel_theory.oracles import Exact, Oracle, seed_streams
from rebel_theory.policies import Policy, TabularPolicy
from rebel_theory.problems import InvalidProblemError, Problem
from rebel_theory.record import Recorder
from rebel_theory.solvers.feedback import reachable_rows
from rebel_theory.trace import Trace

if TYPE_CHECKING:
    import pandas as pd

Progress = Callable[[int, float], None]


def run(
    problem: Problem,
    algorithm: Algorithm,
    *,
    n_iterations: int,
    policy: Policy | ArrayLike | None = None,
    oracle: Oracle = Exact(),  # noqa: B008 - immutable
    n_seeds: int = 1,
    seed: int = 0,
    keep_policies: bool = False,
    chunk_size: int | None = None,
    progress: Progress | None = None,
) -> Trace:
    """Return the trace of ``n_iterations`` updates.

    Parameters
    ----------
    problem : Problem
    algorithm : Algorithm
        A step size of shape (K,) runs K step sizes as a batch axis after the seeds.
    n_iterations : int >= 0
        Number of updates T.
    policy : Policy, or probabilities (..., S, A), optional
        The first policy, uniform tabular softmax by default. Its class is the class that is learned; an array
        starts a tabular softmax there.
    oracle : Exact() or Sampled(n_pairs)
    n_seeds : int
        Independent repetitions, a leading axis of every array of the trace.
    seed : int
        Seed i has a stream of its own that depends on ``seed`` and i only.
    keep_policies : bool
        Keep every iterate in ``trace.probs``.
    chunk_size : int >= 1, optional
        Seeds at a time, which bounds the memory and changes nothing else: results are the same to the last bit. By
        default as many as keep the arrays of one chunk below about 256 MiB.
    progress : callable, optional
        Called with the number of updates done and the mean gap of the newest policies. In several chunks, updates
        are counted as a share of the seeds: it is called with 1, ..., T once each all the same.

    Returns
    -------
    Trace

    Examples
    --------
    One update with eta = ln 3 on rewards (1, 0) from uniform gives pi = (3/4, 1/4), a gap of 1/4:

    >>> import numpy as np, rebel_theory as rt
    >>> bandit = rt.ContextualBandit([[1.0, 0.0]])
    >>> rt.run(bandit, rt.Rebel(np.log(3.0)), n_iterations=1).gap.round(6)
    array([[0.5 , 0.25]])
    """
    work = _Work(problem, n_iterations, policy, oracle, n_seeds, seed, keep_policies, chunk_size, (algorithm,))
    ticks = _Ticks(progress, work.n_members)
    joined = JoinedTrace(work.n_members)
    for low, high in work.pieces():
        joined.add(low, high, work.run(algorithm, low, high, ticks))
    return joined.trace(n_seeds)


class _Work:
    """One run or comparison, checked: where its members start, and how many are run at a time."""

    def __init__(
        self, problem: Problem, n_iterations: int, policy: Policy | ArrayLike | None, oracle: Oracle, n_seeds: int,
        seed: int, keep: bool, chunk_size: int | None, algorithms: Sequence[Algorithm],
    ) -> None:  # fmt: skip
        _check_counts(n_iterations=n_iterations, n_seeds=n_seeds, seed=seed)
        for algorithm in algorithms:
            _check_algorithm(algorithm, oracle)
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

    def run(self, algorithm: Algorithm, low: int, high: int, ticks: _Ticks) -> Trace:
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


class _Ticks:
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


@dataclass(frozen=True, eq=False)
class Comparison:
    """Traces of several algorithms from one start, and how far apart their iterates are.

    Attributes
    ----------
    traces : tuple of Trace, in the order given; names are made unique.
    total_variation : dict from a pair of names to an array (n_seeds, ..., T + 1)
        Largest total variation over the reachable rows, at every iterate.
    """

    traces: tuple[Trace, ...]
    total_variation: dict[tuple[str, str], FloatArray]

    def __iter__(self) -> Iterator[Trace]:
        return iter(self.traces)

    def __len__(self) -> int:
        return len(self.traces)

    def __getitem__(self, name: str | int) -> Trace:
        if isinstance(name, int):
            return self.traces[name]
        for trace in self.traces:
            if trace.algorithm == name:
                return trace
        raise KeyError(f"no algorithm {name!r}: this comparison has {', '.join(t.algorithm for t in self.traces)}")

    def to_frame(self) -> pd.DataFrame:
        """Return the tidy tables of all traces, one below the other."""
        import pandas as pd

        return pd.concat([t.to_frame() for t in self.traces], ignore_index=True)


def compare(
    problem: Problem,
    algorithms: Sequence[Algorithm],
    *,
    n_iterations: int,
    policy: Policy | ArrayLike | None = None,
    oracle: Oracle = Exact(),  # noqa: B008 - immutable
    n_seeds: int = 1,
    seed: int = 0,
    keep_policies: bool = False,
    chunk_size: int | None = None,
    progress: Progress | None = None,
    names: Sequence[str] | None = None,
) -> Comparison:
    """Return the traces of several algorithms on one problem, from one first policy and the same streams.

    Parameters are those of :func:`run`; ``progress`` counts updates over all algorithms, one after the other.
    ``names`` are the names in the comparison, each algorithm's own by default; a repeated one is numbered.

    Examples
    --------
    >>> import rebel_theory as rt
    >>> bandit = rt.ContextualBandit([[1.0, 0.0, 0.5]])
    >>> found = rt.compare(bandit, [rt.Rebel(1.0), rt.MirrorDescent(1.0)], n_iterations=5)
    >>> bool(found.total_variation["REBEL", "MD"].max() < 1e-12)
    True
    """
    algorithms = list(algorithms)
    work = _Work(problem, n_iterations, policy, oracle, n_seeds, seed, True, chunk_size, algorithms)
    ticks = _Ticks(progress, work.n_members)
    named = _unique([a.name for a in algorithms] if names is None else [names[i] for i in range(len(algorithms))])
    support = reachable_rows(problem)
    joined, distances = [JoinedTrace(work.n_members) for _ in algorithms], Joined(work.n_members)
    pairs = [(i, j) for i in range(len(named)) for j in range(i + 1, len(named))]
    for low, high in work.pieces():
        traces = [work.run(a, low, high, ticks) for a in algorithms]
        for i, j in pairs:
            distances.add((i, j), low, high, _distance(traces[i], traces[j], problem, support))
        for whole, trace in zip(joined, traces, strict=True):
            whole.add(low, high, trace if keep_policies else replace(trace, probs=None))
    return Comparison(
        tuple(replace(t.trace(n_seeds), algorithm=name) for t, name in zip(joined, named, strict=True)),
        {(named[i], named[j]): distances.whole((i, j), n_seeds) for i, j in pairs},
    )


def _unique(names: Sequence[str]) -> list[str]:
    """Return the names, a repeated one numbered."""
    found: list[str] = []
    for own in names:
        name, k = own, 2
        while name in found:
            name, k = f"{own} ({k})", k + 1
        found.append(name)
    return found


def _distance(a: Trace, b: Trace, problem: Problem, support: BoolArray) -> FloatArray:
    assert a.probs is not None
    assert b.probs is not None
    rows = total_variation_rows(problem.to_rows(a.probs), problem.to_rows(b.probs))
    result: FloatArray = np.where(support[..., None, :] if support.ndim > 1 else support, rows, 0.0).max(axis=-1)
    return result


def _first_policy(policy: Policy | ArrayLike | None, problem: Problem) -> Policy:
    if policy is None:
        return TabularPolicy.uniform(problem)
    if isinstance(policy, Policy):
        return policy
    return TabularPolicy.from_probs(problem.from_rows(problem.policy_rows(policy)))


def _check_algorithm(algorithm: Algorithm, oracle: Oracle) -> None:
    if not isinstance(algorithm, Algorithm):
        raise TypeError(f"algorithm is a {type(algorithm).__name__}: pass an Algorithm, such as rt.Rebel(1.0)")
    if not isinstance(oracle, Exact) and algorithm.eta.ndim:  # (K,) would meet the axis of seeds
        what = f"{type(oracle).__name__} takes one step size a run, run them one by one"
        raise InvalidProblemError("run", [f"step_size has shape {algorithm.eta.shape}: {what}"])


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
