"""The race: all methods in turns, iteration by iteration; the clock runs in their steps only."""

from __future__ import annotations

import gc
import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rebel_bench.atomic import whole_file
from rebel_bench.fingerprint import code_of
from rebel_bench.speed.neural.sizes import METHODS, Setting, Size
from rebel_bench.speed.stored import store_table

TUNING_SEED = 1_000_003  # apart from those of the race, which are 0, 1, ...
MEASURED = 3  # iterations of the look at memory
KEPT_EVERY = 60.0  # seconds: a race that is killed goes on from its last keeping
MEMORY = {"cuda": "peak of CUDA's allocator", "cpu": "peak of torch's CPU tensors (profiler)"}


class Runner:
    """One method on one task: a policy, an oracle, and a clock."""

    def __init__(self, size: Size, task: Any, method: str, setting: Setting, seed: int, device: str) -> None:
        from rebel_theory.torch.sequences.oracle import SequenceOracle

        self.size, self.task, self.seed = size, task, seed
        self.algorithm = METHODS[method].make(setting)
        policy = size.policy(task, seed, setting, device)
        self.oracle = SequenceOracle(task, size.n_pairs, seed, policy.device)
        self.state = self.algorithm.init(policy)
        self.refused = 0  # steps

    def step(self) -> float:
        """Return the seconds of one iteration, sampling and update."""
        self._wait()
        begun = time.perf_counter()
        try:
            self.state = self.algorithm.step(self.state, self.oracle)
        except FloatingPointError:  # parameters that are not finite: the policy stays where it was
            self.refused += 1
        self._wait()
        return time.perf_counter() - begun

    def reward(self) -> float:
        """Return the mean reward on the evaluation's prompts, off the clock."""
        from rebel_theory.torch.sequences.loop import evaluate

        return float(evaluate(self.task, self.state.policy, self.size.n_evaluation, self.seed)[0][0])

    def _wait(self) -> None:
        if self.state.policy.device.type == "cuda":
            import torch

            torch.cuda.synchronize(self.state.policy.device)

    def keep(self) -> tuple[Any, ...]:
        """Return all that the next step depends on."""
        streams = (self.oracle.prompt_stream.get_state(), self.oracle.answer_stream.get_state())
        return self.state, streams, self.oracle.spent, self.refused

    def restore(self, kept: tuple[Any, ...]) -> None:
        """Go on from what :meth:`keep` returned."""
        self.state, (prompts, answers), self.oracle.spent, self.refused = kept
        self.oracle.prompt_stream.set_state(prompts)
        self.oracle.answer_stream.set_state(answers)


def race(
    size: Size, task: Any, settings: Mapping[str, Setting], seed: int, device: str, kept: Path | None = None
) -> pd.DataFrame:
    """Return one row an iteration of every method: queries, seconds of this and of all iterations, mean reward.

    With ``kept``, a file of ours, the race is kept there now and then, and goes on from what it finds.
    """
    import torch

    runners = {m: Runner(size, task, m, s, seed, device) for m, s in settings.items()}
    rows: list[dict[str, Any]] = []
    if kept is not None and kept.is_file():
        rows, found = torch.load(kept, weights_only=False)
        for m, runner in runners.items():
            runner.restore(found[m])
    if device.startswith("cuda"):  # the first step of a process loads libraries and chooses kernels: off the clock
        for m, s in settings.items():
            Runner(size, task, m, s, seed, device).step()
    spent = dict.fromkeys(runners, 0.0) | {row["method"]: row["seconds"] for row in rows}
    written = time.monotonic()
    for t in range(len(rows) // len(runners), size.n_iterations + 1):
        for m, runner in runners.items():
            step = runner.step() if t else np.nan
            spent[m] += step if t else 0.0
            rows.append({"method": m, "iteration": t, "queries": float(runner.oracle.spent), "step": step,
                         "seconds": spent[m], "reward": runner.reward(), "refused": runner.refused})  # fmt: skip
        if kept is not None and time.monotonic() - written >= KEPT_EVERY:
            with whole_file(kept) as temporary:
                torch.save((rows, {m: runner.keep() for m, runner in runners.items()}), temporary)
            written = time.monotonic()
    return pd.DataFrame(rows).assign(task=type(task).__name__, seed=seed)


@dataclass(frozen=True)
class Races:
    """Races on one device, kept in a folder, so that a study that was interrupted goes on, within a race too.

    A race is found again by all that it depends on: size, task, settings, seed, device, version of torch, code.
    """

    size: Size
    device: str
    name: str
    folder: Path

    def run(self, task: Any, settings: Mapping[str, Setting], seed: int) -> pd.DataFrame:
        """Return the race, run or found."""
        file = self._file(task, settings, seed)
        if not file.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            unfinished = file.with_suffix(".race")
            found = race(self.size, task, settings, seed, self.device, unfinished)
            store_table(found, file)
            unfinished.unlink(missing_ok=True)
        return pd.read_parquet(file)

    def memory(self, task: Any, settings: Mapping[str, Setting]) -> dict[str, float]:
        """Return each method's peak memory, measured or found."""
        file = self._file(task, settings, "memory")
        if not file.is_file():
            found = {m: peak_memory(self.size, task, m, s, self.device) for m, s in settings.items()}
            self.folder.mkdir(parents=True, exist_ok=True)
            store_table(pd.Series(found, name="bytes").rename_axis("method").reset_index(), file)
        table = pd.read_parquet(file)
        return dict(zip(table["method"], table["bytes"], strict=True))

    def _file(self, task: Any, settings: Mapping[str, Setting], which: int | str) -> Path:
        what = (self.size, task, sorted(settings.items()), which, self.name, version("torch"), code_of(Path(__file__)))
        return self.folder / f"{hashlib.sha256(repr(what).encode()).hexdigest()[:16]}.parquet"

    def tuned(self, task: Any, tell: Callable[[str], None]) -> tuple[dict[str, Setting], pd.DataFrame]:
        """Return each method's best setting by the mean reward over the last third of a run, and all the scores."""
        rows = []
        for i in range(4):
            settings = {m: self.size.settings(m)[i] for m in METHODS}
            tell(f"{type(task).__name__}: tuning {i + 1} of 4")
            found = self.run(task, settings, TUNING_SEED)
            late = found[found["iteration"] > 2 * self.size.n_iterations / 3].groupby("method")["reward"].mean()
            for m, s in settings.items():
                rows.append({"task": type(task).__name__, "method": m, "setting": str(s), "choice": i,
                             "score": float(late[m])})  # fmt: skip
        scores = pd.DataFrame(rows)
        best = scores.loc[scores.groupby("method")["score"].idxmax()].set_index("method")["choice"]
        return {m: self.size.settings(m)[int(best[m])] for m in METHODS}, scores


def at_edge(size: Size, method: str, setting: Setting) -> bool:
    """Return whether a better setting may lie beyond those tried; with two etas and two steps it always may."""
    tried = sorted(s.lr for s in size.settings(method))
    return METHODS[method].functional or setting.lr in (tried[0], tried[-1])


def peak_memory(size: Size, task: Any, method: str, setting: Setting, device: str) -> float:
    """Return the peak bytes of torch's tensors in a few iterations of a method that runs alone."""
    import torch

    gc.collect()  # what hangs in cycles is nobody's
    if device.startswith("cuda"):
        others = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
    runner = Runner(size, task, method, setting, 0, device)
    if device.startswith("cuda"):
        for _ in range(MEASURED):
            runner.step()
        return float(torch.cuda.max_memory_allocated(device) - others)
    from torch.profiler import ProfilerActivity, profile

    runner.step()
    held = _held(runner.state)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        runner.step()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json"
        record.export_chrome_trace(str(file))
        events = json.loads(file.read_text())["traceEvents"]
    changes = [(e["ts"], e["args"]["Bytes"]) for e in events if e.get("name") == "[memory]"]
    grown = np.cumsum([change for _, change in sorted(changes, key=lambda pair: pair[0])])
    return held + float(max(grown.max(), 0))


def _held(state: Any) -> float:
    """Return the bytes of the tensors that a state keeps between iterations, each storage once."""
    import torch

    found: dict[int, int] = {}
    seen: set[int] = set()
    stack = [state]
    while stack:
        item = stack.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, torch.Tensor):
            found[item.untyped_storage().data_ptr()] = item.untyped_storage().nbytes()
        elif isinstance(item, torch.nn.Module):
            stack += [*item.parameters(), *item.buffers()]
        elif isinstance(item, dict):
            stack += item.values()
        elif isinstance(item, list | tuple):
            stack += item
        elif hasattr(item, "__dataclass_fields__"):
            stack += [getattr(item, name) for name in item.__dataclass_fields__]
        elif hasattr(item, "__dict__"):
            stack += vars(item).values()
    return float(sum(found.values()))
