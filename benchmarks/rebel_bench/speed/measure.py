"""The stopwatch: both sides checked against each other, warmed up, then timed in turns, A B A B."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from rebel_bench.speed.case import OURS, Case, Plan, Side
from rebel_bench.speed.limits import limit_side
from rebel_bench.speed.peers import InstalledPeers
from rebel_bench.threads import numba_threads

LEAST_REPEATS = 5
LEAST_SECONDS = 5e-3  # of one timing: a thousand times what the clock costs
WIDE = 0.25  # of the median, between the quartiles: the machine was not quiet
_LONG = 0.1  # seconds: a call this long is timed singly, whatever a second look would say
_LIMIT = "limit of threads: "
Clock: TypeAlias = Callable[[], float]
Status: TypeAlias = Literal["timed", "missing", "differs", "skipped"]


@dataclass(frozen=True, slots=True)
class Row:
    """One side of one case: a row of the table, of the JSON list and of the stored frame.

    Times are seconds a unit: median and quartiles over the rounds. ``ratio`` is this side's time over ours, the
    median of the ratios within each round; ``wide`` if their quartiles are further apart than :data:`WIDE`.
    ``fraction`` is the limit's time, the least over the rounds, over the median of ours; ``certified`` is the error
    that ours certifies.
    """

    suite: str
    case: str
    unit: str
    axis: str
    size: float
    side: str
    status: Status
    note: str = ""
    repeats: int = 0
    calls: int = 0
    threads: int = 1
    seconds: float = math.nan
    seconds_low: float = math.nan
    seconds_high: float = math.nan
    ratio: float = math.nan
    ratio_low: float = math.nan
    ratio_high: float = math.nan
    difference: float = math.nan
    tolerance: float = math.nan
    wide: bool = False
    certified: float = math.nan
    limit: str = ""
    limit_seconds: float = math.nan
    fraction: float = math.nan


def measure(
    suite: str, plan: Plan, *, repeats: int = LEAST_REPEATS, clock: Clock = time.perf_counter
) -> tuple[Row, ...]:
    """Return one row a side of the plan's case, ours first, and one for every peer that is missing."""
    start: dict[str, Any] = {"suite": suite, "case": plan.name, "axis": plan.axis or "", "size": float(plan.size)}
    free = free_memory()
    if plan.memory > free:
        why = f"needs {plan.memory / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free"
        return (Row(**start, unit="", side=OURS, status="skipped", note=why),)
    peers = InstalledPeers()
    case = plan.build(peers)
    start["unit"] = case.unit
    apart = differences(case)
    different = {k: d for k, d in apart.items() if not d <= case.tolerance}  # NaN is different
    rows = [Row(**start, side=k, status="missing", note=why) for k, why in peers.missing.items()]
    for k, d in different.items():
        why = f"differs from ours by {d:.3g}, tolerance {case.tolerance:g}: not timed"
        rows.append(Row(**start, side=k, status="differs", note=why, difference=d, tolerance=case.tolerance))
    sides = {OURS: case.sides[OURS], **{k: s for k, s in case.sides.items() if k != OURS and k not in different}}
    if case.limit is not None:
        for threads in {1, sides[OURS].threads}:  # together is no limit if others hold the second core
            sides[f"{_LIMIT}{threads}"] = limit_side(case.limit, threads)
            sides[f"{_LIMIT}{threads}"].run()
    times, calls = timings(sides, repeats, clock)
    for k in reversed(sides):
        if not k.startswith(_LIMIT):
            rows.insert(0, _row(start, case, k, times, repeats, calls[k], apart.get(k, 0.0)))
    return tuple(rows)


def free_memory() -> float:
    """Return the bytes that may still be taken without swapping; infinite where the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return 1024.0 * int(line.split()[1])
    except OSError:
        pass
    return math.inf


def differences(case: Case) -> dict[str, float]:
    """Return how far each side's answer is from ours; running them is the warm-up that compiles."""
    answers = {}
    for name, side in case.sides.items():
        with numba_threads(side.threads):
            output = side.run()
        answers[name] = np.asarray(output if side.answer is None else side.answer(output), dtype=np.float64)
    ours = answers.pop(OURS)
    return {name: float(np.abs(a - ours).max()) if a.shape == ours.shape else math.inf for name, a in answers.items()}


def timings(sides: Mapping[str, Side], repeats: int, clock: Clock) -> tuple[dict[str, Any], dict[str, int]]:
    """Return seconds a unit (repeats,) of every side, one round after the other, and calls in one timing."""
    calls = {name: _calls(side, clock) for name, side in sides.items()}
    times = {name: np.empty(repeats) for name in sides}
    for i in range(repeats):
        for name, side in sides.items():
            if calls[name] > 1:  # a short one would pay for the caches that the side before it left
                with numba_threads(side.threads):
                    side.run()
            times[name][i] = _timed(side, calls[name], clock)
    return times, calls


def _calls(side: Side, clock: Clock) -> int:
    """Return how many calls make one timing long enough, from the quicker of two unless the first is long."""
    once = _timed(side, 1, clock) * side.work
    if once >= _LONG:
        return 1
    once = min(once, _timed(side, 1, clock) * side.work)
    return max(1, math.ceil(LEAST_SECONDS / once)) if once > 0 else 1


def _timed(side: Side, calls: int, clock: Clock) -> float:
    with numba_threads(side.threads), _no_collection():
        seconds = _stopped(side.run, calls, clock)
        if side.less is not None:  # noise must not make a cost negative
            seconds = max(seconds - _stopped(side.less, calls, clock), 0.01 * seconds)
    return seconds / (calls * side.work)


def _stopped(run: Callable[[], Any], calls: int, clock: Clock) -> float:
    begun = clock()
    for _ in range(calls):
        run()
    return clock() - begun


@contextmanager
def _no_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _row(
    start: dict[str, Any], case: Case, name: str, times: Mapping[str, Any], repeats: int, calls: int, apart: float
) -> Row:
    ratio_low, ratio, ratio_high = quartiles(times[name] / times[OURS])
    low, median, high = quartiles(times[name])
    spread, centre = (high - low, median) if name == OURS else (ratio_high - ratio_low, ratio)
    side = case.sides[name]
    fields: dict[str, Any] = {}
    if name == OURS:
        fields["note"] = case.note
        if case.certified is not None:
            fields["certified"] = float(case.certified)
        if case.limit is not None:
            limit = min(float(found.min()) for key, found in times.items() if key.startswith(_LIMIT))
            fields |= {"limit": case.limit.describe(), "limit_seconds": limit, "fraction": limit / median}
    return Row(
        **start, side=name, status="timed", repeats=repeats, calls=calls, threads=side.threads, seconds=median,
        seconds_low=low, seconds_high=high, ratio=ratio, ratio_low=ratio_low, ratio_high=ratio_high,
        difference=apart, tolerance=case.tolerance, wide=spread > WIDE * centre, **fields,
    )  # fmt: skip


def quartiles(values: Any) -> tuple[float, float, float]:
    """Return the lower quartile, the median and the upper quartile.

    >>> quartiles([5.0, 1.0, 3.0, 2.0, 100.0])
    (2.0, 3.0, 5.0)
    """
    low, median, high = np.quantile(np.asarray(values, dtype=np.float64), [0.25, 0.5, 0.75])
    return float(low), float(median), float(high)


def in_units(seconds: float) -> str:
    """Return a time with three digits and a unit.

    >>> in_units(7e-9), in_units(0.0123), in_units(98.7654321e-6)
    ('7 ns', '12.3 ms', '98.8 us')
    """
    if math.isnan(seconds):
        return "–"
    for size, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if seconds >= 0.9995 * size:
            return f"{seconds / size:.3g} {name}"
    return f"{seconds / 1e-9:.3g} ns"
