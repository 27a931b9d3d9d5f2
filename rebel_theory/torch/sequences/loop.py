"""The loop of a run on a sequence task: the same algorithms, an estimated record, exact resumption."""

from __future__ import annotations

import pickle
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rebel_theory.algorithms import Algorithm, State
from rebel_theory.arrays import FloatArray
from rebel_theory.oracles import Oracle, Sampled
from rebel_theory.problems import InvalidProblemError
from rebel_theory.torch.sequences.oracle import SequenceOracle, SequencePairs
from rebel_theory.torch.sequences.policy import SequencePolicy
from rebel_theory.torch.sequences.solvers import pair_loss
from rebel_theory.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from rebel_theory.torch.sequences.tasks import SequenceTask

_EVALUATION_STREAM = 7_919  # added to a seed
KNOWN = ("rebel", "npg", "ppo", "grpo", "rloo", "reinforce", "dpo")  # with a version over completions


@dataclass(eq=False)
class _Progress:
    """One seed's run so far: all that the next update depends on, and the record."""

    state: State
    run: dict[str, Any]  # what was asked for
    outcomes: list[FloatArray]
    error: list[float]
    queries: list[float]
    worst: float = 0.0  # standard error of an outcome
    prompt_stream: Any = None
    answer_stream: Any = None


def train(
    task: SequenceTask,
    algorithm: Algorithm,
    *,
    n_iterations: int,
    policy: SequencePolicy,
    oracle: Oracle | None = None,
    n_seeds: int = 1,
    seed: int = 0,
    progress: Callable[[int, float], None] | None = None,
    n_evaluation: int = 256,
    checkpoint: str | Path | None = None,
    every: int = 10,
) -> Trace:
    """Return the trace of ``n_iterations`` updates on a sequence task, seeds one after the other.

    Parameters
    ----------
    task, algorithm, n_iterations, policy, n_seeds, seed, progress
        As in :func:`rebel_theory.run`.
    oracle : Sampled(n_pairs)
        Prompts a step; the default is 64.
    n_evaluation : int
        Prompts, fixed for a seed, on which every iterate's mean reward is estimated with one answer each; these
        rewards are not counted as queries.
    checkpoint : path, optional
        Written every ``every`` updates, whole or not at all; a run that finds it goes on from there and ends with
        the same digits (on a processor, in one version of torch). One of another kind of device is refused.

    Returns
    -------
    Trace
        ``gap`` is the optimum less the estimated mean reward (or what the task says), ``regression_error`` the loss
        of an update on its own pairs, ``kl`` NaN, ``bound`` empty, ``evaluation_error`` the largest standard error of
        a mean reward; ``final_policy`` is a tuple of policies if there are several seeds.
    """
    oracle = Sampled(64) if oracle is None else oracle
    if not isinstance(oracle, Sampled):
        raise InvalidProblemError("run", [f"a sequence task is sampled: pass Sampled(n_pairs), not {oracle}"])
    if not isinstance(policy, SequencePolicy):
        raise InvalidProblemError("run", ["a sequence task needs a SequencePolicy: task.policy() makes a small one"])
    _require_known(algorithm)
    files = [None if checkpoint is None else Path(f"{checkpoint}.{i}" if n_seeds > 1 else checkpoint)
             for i in range(n_seeds)]  # fmt: skip
    runs = [
        _one(task, algorithm, policy, oracle, seed + i, n_iterations, n_evaluation, file, every, progress)
        for i, file in enumerate(files)
    ]

    def rows(name: str) -> FloatArray:
        return np.array([getattr(run, name) for run in runs], dtype=np.float64).reshape(n_seeds, -1)

    outcomes = np.array([run.outcomes for run in runs])  # (n_seeds, T + 1, m)
    means = np.cumsum(outcomes, 1) / np.arange(1, outcomes.shape[1] + 1)[:, None]
    gap = task.gap(outcomes)
    finals = tuple(run.state.policy for run in runs)
    return Trace(
        algorithm=algorithm.name,
        gap=gap,
        average_gap=task.gap(means),
        regression_error=rows("error"),
        kl=np.full(gap.shape, np.nan),
        queries=rows("queries"),
        bound={},
        final_policy=finals[0] if n_seeds == 1 else finals,  # type: ignore[arg-type]
        probs=None,
        seed=seed,
        step_size=algorithm.eta,
        evaluation_error=max(run.worst for run in runs),
    )


def _one(
    task: SequenceTask, algorithm: Algorithm, policy: SequencePolicy, oracle: Sampled, seed: int, n_iterations: int,
    n_evaluation: int, file: Path | None, every: int, progress: Callable[[int, float], None] | None,
) -> _Progress:  # fmt: skip
    bound = SequenceOracle(task, oracle.n_pairs, seed, policy.device)
    run = {"task": _words(task), "algorithm": _words(algorithm), "solver": _words(policy.solver),
           "critic": _words(policy.critic), "seed": seed, "n_pairs": oracle.n_pairs, "n_evaluation": n_evaluation,
           "parameters": len(policy.theta), "device": policy.device.type}  # fmt: skip
    done = _restored(file, run, n_iterations)

    if done is None:
        first, error = evaluate(task, policy, n_evaluation, seed)
        done = _Progress(algorithm.init(policy), run, [first], [], [0.0], error)  # type: ignore[arg-type]
    else:
        bound.prompt_stream.set_state(done.prompt_stream)
        bound.answer_stream.set_state(done.answer_stream)
        bound.spent = int(done.queries[-1])
    for t in range(len(done.error), n_iterations):
        done.state = algorithm.step(done.state, bound)  # type: ignore[arg-type]
        now: SequencePolicy = done.state.policy  # type: ignore[assignment]
        seen = bound.latest
        eta = float(algorithm.eta_at(t))
        done.error.append(pair_loss(now, seen, eta) if type(seen) is SequencePairs else float("nan"))
        done.queries.append(float(bound.spent))
        found, error = evaluate(task, now, n_evaluation, seed)
        done.outcomes.append(found)
        done.worst = max(done.worst, error)
        if progress is not None:
            progress(t + 1, float(task.gap(found)))
        if file is not None and ((t + 1) % every == 0 or t + 1 == n_iterations):
            done.prompt_stream = bound.prompt_stream.get_state()
            done.answer_stream = bound.answer_stream.get_state()
            _write(done, file)
    return done


def evaluate(task: SequenceTask, policy: SequencePolicy, n: int, seed: int = 0) -> tuple[FloatArray, float]:
    """Return the mean outcomes (m,) on n fixed prompts with one answer each, and the largest standard error."""
    prompts = task.prompts(n, torch.Generator().manual_seed(seed + _EVALUATION_STREAM)).to(policy.device)
    stream = torch.Generator(policy.device).manual_seed(seed + _EVALUATION_STREAM)
    found = task.outcomes(prompts, policy.sample(prompts, stream)).double().cpu()
    return found.mean(0).numpy(), float(found.std(0).max() / n**0.5) if n > 1 else float("inf")


def _require_known(algorithm: Algorithm) -> None:
    """Raise for the library's algorithms that need a table of actions; one of the caller's own may be anything."""
    ours = type(algorithm).__module__.startswith("rebel_theory.algorithms")
    if ours and algorithm.key not in KNOWN:
        raise InvalidProblemError(
            "run", [f"{algorithm.name} needs a table of actions, completions have none: use one of {', '.join(KNOWN)}"]
        )


def _words(item: Any) -> str:
    """Return what an object says of itself, but for addresses, which are new in every process."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(item))


def _write(done: _Progress, file: Path) -> None:
    """Write a checkpoint whole: a temporary file, synced, renamed."""
    import os

    temporary = file.with_name(file.name + ".tmp")
    with temporary.open("wb") as handle:
        torch.save(done, handle)
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(file)


def _restored(file: Path | None, run: dict[str, Any], n_iterations: int) -> _Progress | None:
    if file is None or not file.is_file():
        return None
    try:  # every tensor to where it was, or Adam's counters and the streams' states would follow the parameters
        found = torch.load(file, weights_only=False)  # a file of our own: it holds the algorithm's memory, too
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        why = f"{file.name} cannot be read here ({str(error).splitlines()[0]})"
        raise InvalidProblemError("checkpoint", [f"{why}: name another file, or use its device"]) from None
    if not isinstance(found, _Progress):
        raise InvalidProblemError("checkpoint", [f"{file.name} is not a checkpoint of a run: name another file"])
    faults = [
        f"{file.name} has {key} {str(found.run.get(key))[:200]}, this run {str(value)[:200]}: name another file"
        for key, value in run.items()
        if found.run.get(key) != value
    ]
    if len(found.error) > n_iterations:
        faults.append(f"{file.name} has {len(found.error)} updates, more than n_iterations = {n_iterations}")
    if faults:
        raise InvalidProblemError("checkpoint", faults)
    return found
