"""The machine that was measured on, described without naming it."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rebel_bench.speed.peers import DISTRIBUTIONS

_OURS = ("rebel-theory", "numpy", "scipy", "numba")
_BLAS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
BUSY = 0.5  # of others' load, a core: with more the report warns


def machine() -> dict[str, Any]:
    """Return what the figures depend on: processor, cores, caches, memory, versions, threads of BLAS, load."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0,
        "caches": _caches(),
        "memory_gib": _memory(),
        "system": f"{platform.system()} {platform.machine()}".strip(),
        "python": platform.python_version(),
        "versions": _versions((*_OURS, *DISTRIBUTIONS)),
        "blas_threads": "1" if any(os.environ.get(name) == "1" for name in _BLAS) else "not set",
        "load": load(),
    }


def load() -> float:
    """Return the load average of the last minute, NaN where the system has none."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else math.nan


def busy(about: Mapping[str, Any]) -> str:
    """Return a warning if others were at work, before the start or meanwhile; empty on a quiet machine."""
    before, after, cores = about["load"], about.get("load_after", math.nan), about["cores"]
    if before > BUSY * cores or after > 1 + BUSY * cores:  # one of it is ours
        return (
            f"the machine was busy: load {before:g} before the start, {after:g} at the end, on {cores} cores. "
            "Times are too long; ratios suffer less. Measure again when it is quiet"
        )
    return ""


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor()


def _memory() -> float:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, OSError, ValueError):
        return math.nan


def _caches(root: Path = Path("/sys/devices/system/cpu/cpu0/cache")) -> str:
    """Return the first core's data caches, such as ``L1d 48K, L2 1024K, L3 32768K``; empty where unknown."""
    found = []
    try:
        for index in sorted(root.glob("index*")):
            level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
            if kind != "Instruction":
                found.append(f"L{level}{'d' * (kind == 'Data')} {size}")
    except OSError:
        pass
    return ", ".join(found)


def _versions(names: Iterable[str]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
