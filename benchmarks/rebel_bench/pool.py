"""Units in this process or in spawned ones; the results do not depend on which."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from rebel_bench.errors import ClaimError, UserError
from rebel_bench.threads import one_thread
from rebel_bench.units import Failed, Measured, Unit, measure

T = TypeVar("T")
R = TypeVar("R")


def run_units(units: Sequence[Unit], workers: int) -> Iterator[Measured]:
    """Yield every unit's result as it is finished; raise :class:`ClaimError` at the first that failed."""
    return map(_checked, run_all(measure, units, workers))


def run_all(function: Callable[[T], R], items: Sequence[T], workers: int) -> Iterator[R]:
    """Yield the function's results as they are finished; the function and all that it takes and gives must pickle.

    Worker processes are spawned, not forked: a fork copies locks that Numba's and BLAS's threads may hold.
    """
    if workers < 1:
        raise UserError(f"--workers {workers}: expected at least 1")
    if workers == 1 or not items:
        yield from map(function, items)
        return
    with one_thread(spawning=True):
        yield from _spawned(function, items, min(workers, len(items)))


def _spawned(function: Callable[[T], R], items: Sequence[T], workers: int) -> Iterator[R]:
    context = multiprocessing.get_context("spawn")
    ours = set(multiprocessing.active_children())  # not ours, rather: they were there before
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_follow_parent)
    try:
        futures = [pool.submit(function, item) for item in items]
        for future in as_completed(futures):
            yield future.result()
        pool.shutdown()
    except BrokenProcessPool:
        raise ClaimError(
            "in a worker process",
            "The process ended without an answer: it ran out of memory or was killed. Try fewer --workers.",
        ) from None
    finally:
        # after an error or Ctrl-C nobody waits for the units still running; after success there are none
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - ours:
            child.terminate()


def _follow_parent() -> None:
    """Leave Ctrl-C to the parent, which ends the workers (one message instead of one traceback each); end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this worker when its parent has been killed: it would wait for work for ever, and keep its memory."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _checked(result: Measured | Failed) -> Measured:
    if isinstance(result, Failed):
        raise ClaimError(result.where, result.details)
    return result
