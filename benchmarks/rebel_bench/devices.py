"""Where the networks of the claims N1 on, and of the suites on networks, are evaluated."""

from __future__ import annotations

import os

from rebel_bench.errors import UserError

DEVICE = "REBEL_DEVICE"  # environment variable: reaches worker processes, too


def device() -> str:
    """Return the device that ``verify --device`` chose, the CPU by default."""
    return os.environ.get(DEVICE, "cpu")


def require_device(name: str, what: str) -> None:
    """Raise UserError unless PyTorch is installed and a device of this name computes in double precision."""
    try:
        import torch

        torch.linspace(1, 2, 2, dtype=torch.float64, device=name).sum().item()  # waits: a kernel must have run
    except ImportError:
        raise UserError(f"{what} needs PyTorch: run `pip install 'rebel-theory[torch]'`") from None
    except (RuntimeError, AssertionError, TypeError) as error:
        why = str(error).splitlines()[0].split(". ")[0].rstrip(".")
        raise UserError(f"--device {name}: torch has no such device here ({why}); use --device cpu") from None
