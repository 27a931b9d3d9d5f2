"""Physical limits, measured next to what they limit."""

from __future__ import annotations

import numpy as np

from rebel_bench.speed.case import Limit, Side

LARGEST = 256e6  # bytes: several times a last-level cache, so this is main memory
_SMALLEST = 48e3
_N_DRAWS = 400_000
_BYTES = 24  # of the triad, an element
_LEAST_MOVED = 20e6  # bytes a call: a millisecond or more


def limit_side(limit: Limit, threads: int = 1) -> Side:
    """Return what takes as long as the limit allows; its work is in units of the limited case.

    Bandwidth is measured on three arrays that together have the footprint of the case, shared by the threads.
    """
    from rebel_bench.speed import kernels

    if limit.kind == "draws":
        seeds = np.random.default_rng(0).integers(0, 2**64, size=4, dtype=np.uint64)
        return Side(lambda: kernels.draws(seeds, _N_DRAWS), _N_DRAWS / limit.per_unit)
    n = int(min(max(limit.footprint or limit.per_unit, _SMALLEST), LARGEST)) // _BYTES
    rounds = max(1, round(_LEAST_MOVED / (_BYTES * n)))
    a, b, c = np.zeros(n), np.ones(n), np.ones(n)
    work = _BYTES * n * rounds / limit.per_unit
    if threads == 1:
        return Side(lambda: kernels.triad(a, b, c, rounds), work)
    return Side(lambda: kernels.triad_together(a, b, c, rounds, threads), work, threads=threads)
