"""One thread of Numba where the work is small: on a busy machine waking another costs more than it saves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def threads_for(work: float, parallel_from: float) -> Iterator[None]:
    """Let Numba's parallel loops inside the block have one thread if ``work`` is below ``parallel_from``."""
    import numba

    before = numba.get_num_threads()
    numba.set_num_threads(before if work >= parallel_from else 1)
    try:
        yield
    finally:
        numba.set_num_threads(before)
