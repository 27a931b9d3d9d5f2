"""One loop for every algorithm, problem and oracle; several algorithms side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.algorithms import Algorithm
from rebel_theory.arrays import BoolArray, FloatArray, total_variation_rows
from rebel_theory.oracles import Exact, Oracle, Sampled, seed_streams
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
    progress : callable, optional
        Called after each update with the iteration number and the mean gap of the new policy.

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
    _check_counts(n_iterations=n_iterations, n_seeds=n_seeds, seed=seed)
    if not isinstance(algorithm, Algorithm):
        raise TypeError(f"algorithm is a {type(algorithm).__name__}: pass an Algorithm, such as rt.Rebel(1.0)")
    start = _first_policy(policy, problem).in_rows(problem)
    if isinstance(oracle, Sampled) and algorithm.eta.ndim:  # (K,) would meet the axis of seeds
        message = f"step_size has shape {algorithm.eta.shape}: Sampled takes one step size a run, run them one by one"
        raise InvalidProblemError("run", [message])
    bound = oracle.bind(problem, seed_streams(seed, n_seeds))
    n_leading = 1 if isinstance(oracle, Exact) and start.log_probs.ndim == 2 else n_seeds
    lead = _lead(problem, algorithm, start, n_leading)
    state = algorithm.init(start)
    recorder = Recorder(problem, algorithm, bound, lead, n_iterations, keep_policies)
    recorder.iterate(state.policy)
    for t in range(n_iterations):
        previous, state = state, algorithm.step(state, bound)
        recorder.update(previous.policy, state.policy)
        recorder.iterate(state.policy)
        if progress is not None:
            progress(t + 1, recorder.latest_gap)
    return recorder.trace(state.policy.in_shape(problem, (n_seeds, *lead[1:])), seed, n_seeds)


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
    traces: list[Trace] = []
    for i, algorithm in enumerate(algorithms):
        done = i * n_iterations
        trace = run(
            problem, algorithm, n_iterations=n_iterations, policy=policy, oracle=oracle, n_seeds=n_seeds, seed=seed,
            keep_policies=True, progress=None if progress is None else _offset(progress, done),
        )  # fmt: skip
        taken = {t.algorithm for t in traces}
        own = name = trace.algorithm if names is None else names[i]
        k = 2
        while name in taken:
            name, k = f"{own} ({k})", k + 1
        traces.append(replace(trace, algorithm=name))
    support = reachable_rows(problem)
    distances = {
        (a.algorithm, b.algorithm): _distance(a, b, problem, support)
        for i, a in enumerate(traces)
        for b in traces[i + 1 :]
    }
    kept = tuple(t if keep_policies else replace(t, probs=None) for t in traces)
    return Comparison(kept, distances)


def _offset(progress: Progress, done: int) -> Progress:
    return lambda t, gap: progress(done + t, gap)


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
