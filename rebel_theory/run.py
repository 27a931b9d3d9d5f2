"""One loop for every algorithm, problem and oracle; several algorithms side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.algorithms import Algorithm
from rebel_theory.arrays import BoolArray, FloatArray, total_variation_rows
from rebel_theory.chunks import Joined, JoinedTrace
from rebel_theory.oracles import Exact, Oracle
from rebel_theory.policies import Policy
from rebel_theory.problems import Problem
from rebel_theory.problems.base import SelfRunning
from rebel_theory.solvers.feedback import reachable_rows
from rebel_theory.trace import Trace
from rebel_theory.work import Progress, Ticks, Work

if TYPE_CHECKING:
    import pandas as pd


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
        A step size of shape (K,) runs K step sizes as a batch axis after the seeds. It broadcasts against the batch
        axes of a problem that is a batch of instances: (K, 1) and (M,) give K x M runs a seed.
    n_iterations : int >= 0
        Number of updates T.
    policy : Policy, or probabilities (..., S, A), optional
        The first policy, uniform tabular softmax by default. Its class is the class that is learned; an array
        starts a tabular softmax there. Leading axes, if any, are (n_seeds, batch...), of length 1 where it does not
        vary.
    oracle : Exact(), Sampled(n_pairs), Counted(n_pairs) or Offline(dataset)
    n_seeds : int
        Independent repetitions, a leading axis of every array of the trace.
    seed : int
        Seed i has a stream of its own that depends on ``seed`` and i only: all step sizes and instances of a batch,
        and all algorithms of a comparison, start from the same streams (common random numbers), each as if it were
        run alone.
    keep_policies : bool
        Keep every iterate in ``trace.probs``.
    chunk_size : int >= 1, optional
        Seeds at a time, which bounds the memory and changes nothing else: results are the same to the last bit. By
        default as many as keep the arrays of one chunk below about 256 MiB. Of a batch that samples, instances are run
        one after the other, and step sizes together, or in parts where one seed of all is above that.
    progress : callable, optional
        Called with the number of updates done and the mean gap of the newest policies. In several chunks, updates
        are counted as a share of the seeds and of the batch: it is called with 1, ..., T once each all the same.

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
    if isinstance(problem, SelfRunning):
        found: Trace = problem.run(
            algorithm, n_iterations=n_iterations, policy=policy, oracle=oracle, n_seeds=n_seeds, seed=seed,
            progress=progress,
        )  # fmt: skip
        return found
    work = Work(problem, n_iterations, policy, oracle, n_seeds, seed, keep_policies, chunk_size, (algorithm,))
    ticks = Ticks(progress)
    joined = JoinedTrace(work.n_members)
    with work.reproducible():
        for low, high in work.pieces():
            joined.add(slice(low, high), work.run(algorithm, low, high, ticks))
    return joined.trace(n_seeds)


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
    work = Work(problem, n_iterations, policy, oracle, n_seeds, seed, True, chunk_size, algorithms)
    ticks = Ticks(progress)
    named = _unique([a.name for a in algorithms] if names is None else [names[i] for i in range(len(algorithms))])
    support = reachable_rows(problem)
    joined, distances = [JoinedTrace(work.n_members) for _ in algorithms], Joined(work.n_members)
    pairs = [(i, j) for i in range(len(named)) for j in range(i + 1, len(named))]
    for low, high in work.pieces():
        with work.reproducible():
            traces = [work.run(a, low, high, ticks) for a in algorithms]
        for i, j in pairs:
            distances.add((i, j), slice(low, high), _distance(traces[i], traces[j], problem, support))
        for whole, trace in zip(joined, traces, strict=True):
            whole.add(slice(low, high), trace if keep_policies else replace(trace, probs=None))
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
    n_axes = max(a.gap.ndim, b.gap.ndim)
    rows = total_variation_rows(*(problem.to_rows(_iterates(t, n_axes)) for t in (a, b)))
    result: FloatArray = np.where(support[..., None, :] if support.ndim > 1 else support, rows, 0.0).max(axis=-1)
    return result


def _iterates(trace: Trace, n_axes: int) -> FloatArray:
    """Return every iterate with ``n_axes`` leading axes; batch axes that are missing go behind the seeds."""
    probs, own = trace.probs, trace.gap.ndim
    assert probs is not None
    return probs.reshape(len(probs), *(1,) * (n_axes - own), *probs.shape[1:])
