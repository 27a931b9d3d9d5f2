"""Where the networks of the claims N1 on are evaluated."""

from __future__ import annotations

import os

DEVICE = "REBEL_DEVICE"  # environment variable: reaches worker processes, too


def device() -> str:
    """Return the device that ``verify --device`` chose, the CPU by default."""
    return os.environ.get(DEVICE, "cpu")
