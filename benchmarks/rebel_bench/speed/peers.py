"""Peers: other people's libraries, used where they are installed."""

from __future__ import annotations

import importlib
import os
import warnings
from dataclasses import dataclass, field
from typing import Any, final

INSTALL = "not installed: pip install 'rebel-theory[bench]'"
NAMES = {
    "gymnasium": "Gymnasium",
    "jax": "JAX",
    "mdpsolver": "mdpsolver",
    "mdptoolbox.mdp": "pymdptoolbox",
    "nashpy": "nashpy",
    "open_spiel.python.egt.dynamics": "OpenSpiel",
    "quantecon": "QuantEcon",
}
DISTRIBUTIONS = ("gymnasium", "jax", "mdpsolver", "pymdptoolbox", "nashpy", "open-spiel", "quantecon")
# read when the library loads: the processor, and one thread, as everybody has
_SETTINGS = {
    "jax": {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
        "NPROC": "1",
    }
}


@final
@dataclass(slots=True)
class InstalledPeers:
    """Peers of this environment; ``missing`` has a reason for every one that was asked for in vain."""

    missing: dict[str, str] = field(default_factory=dict)

    def load(self, module: str) -> Any:
        """Return the module, or None after noting why it cannot be had."""
        name = NAMES.get(module, module)
        for variable, value in _SETTINGS.get(module, {}).items():
            os.environ.setdefault(variable, value)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of old peers under a new Python
                return importlib.import_module(module)
        except ModuleNotFoundError:
            self.missing[name] = INSTALL
        except Exception as error:  # a peer that is broken here must not stop the rest
            self.missing[name] = f"does not load: {type(error).__name__}: {error}".splitlines()[0]
        return None
