"""One BLAS thread while a run lasts: with more, sums are split and rounded in another order."""

from __future__ import annotations

import ctypes
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TypeAlias

Control: TypeAlias = tuple[Callable[[], int], Callable[[int], None]]

_MODULES = ("numpy.linalg._umath_linalg", "scipy.linalg._flapack")  # each wheel brings a BLAS of its own
_CALLS = (
    ("scipy_openblas_get_num_threads64_", "scipy_openblas_set_num_threads64_"),
    ("scipy_openblas_get_num_threads", "scipy_openblas_set_num_threads"),
    ("openblas_get_num_threads64_", "openblas_set_num_threads64_"),
    ("openblas_get_num_threads", "openblas_set_num_threads"),
    ("MKL_Get_Max_Threads", "MKL_Set_Num_Threads"),
)


@contextmanager
def one_blas_thread(*, with_scipy: bool) -> Iterator[None]:
    """Hold NumPy's and SciPy's BLAS at one thread inside the block.

    ``with_scipy`` loads SciPy's first, if the block is going to. OpenBLAS and MKL are known; any other library (Apple's
    Accelerate has no such call) is left alone.
    """
    if with_scipy:  # a library loaded inside the block would start with all its threads
        importlib.import_module("scipy.linalg")
    controls = [c for name in _MODULES if name in sys.modules and (c := _control(name)) is not None]
    before = [get() for get, _ in controls]
    for _, set_threads in controls:
        set_threads(1)
    try:
        yield
    finally:
        for (_, set_threads), n in zip(controls, before, strict=True):
            set_threads(n)


@cache
def _control(module: str) -> Control | None:
    """Return how to read and set the number of threads of the BLAS that a compiled module is linked to."""
    path = sys.modules[module].__file__
    if path is None:
        return None
    try:
        library = ctypes.CDLL(path)  # symbols of what it depends on are found as well
    except OSError:
        return None
    for get, set_threads in _CALLS:
        if hasattr(library, get) and hasattr(library, set_threads):
            return getattr(library, get), getattr(library, set_threads)
    return None
