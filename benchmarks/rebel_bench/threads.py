"""One thread per process, so that sums are rounded in the same order for any number of workers."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_BLAS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def one_thread(*, spawning: bool) -> Iterator[None]:
    """Ask the numerical libraries for one thread inside the block; restore the environment after it.

    The libraries read these variables when they load, so the block has to surround the import of NumPy in
    this process, or the start of the worker processes (``spawning``). Numba's variable is set for workers
    only: Numba refuses to compile when it changes after its threads have started.
    """
    names: tuple[str, ...] = (*_BLAS, "NUMBA_NUM_THREADS") if spawning else _BLAS
    if not spawning and "numpy" in sys.modules:
        names = ()  # too late for this process, and a lie to its children
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def numba_threads(n: int) -> Iterator[None]:
    """Give Numba ``n`` threads inside the block, or as many as there are.

    One is best for small kernels: where others work, threads that meet wait for a second longer than they run.
    """
    import numba

    available: int = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    before = numba.get_num_threads()
    numba.set_num_threads(min(n, available))
    try:
        yield
    finally:
        numba.set_num_threads(before)
