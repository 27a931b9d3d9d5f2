"""Memory of samples, used again once nothing looks at it: fresh pages cost more than drawing a small sample."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from rebel_theory.arrays import FloatArray

_KEPT = 4


class _Lease:
    """What an array on borrowed memory keeps alive; NumPy makes it the base of every view."""

    def __init__(self, memory: FloatArray) -> None:
        self.__array_interface__: dict[str, Any] = memory.__array_interface__


class Buffers:
    """Hands out arrays of zeros; memory comes back when the last view of an array is gone."""

    def __init__(self) -> None:
        self._free: list[FloatArray] = []

    def zeros(self, shape: tuple[int, ...]) -> FloatArray:
        """Return an array of zeros."""
        found = next((i for i, memory in enumerate(self._free) if memory.shape == shape), None)
        memory = np.empty(shape) if found is None else self._free.pop(found)
        memory.fill(0.0)
        lease = _Lease(memory)
        weakref.finalize(lease, self._give_back, memory).atexit = False
        return np.asarray(lease)

    def _give_back(self, memory: FloatArray) -> None:
        self._free = [*self._free[1 - _KEPT :], memory]
