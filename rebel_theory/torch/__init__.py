"""Neural policies on PyTorch for the same algorithms, oracles and claims; the one part that needs torch.

>>> import rebel_theory.torch  # doctest: +SKIP

Importing it without PyTorch raises an ImportError that names the command which installs it.
"""

try:
    from torch import nn as _nn  # not `import torch`, which finds any folder of that name
except ImportError as error:
    raise ImportError(
        "rebel_theory.torch needs PyTorch, which is not installed: run `pip install 'rebel-theory[torch]'`, "
        "or `pip install torch` with the index of your accelerator (pytorch.org/get-started)"
    ) from error

from rebel_theory.torch.modules import log_linear, mlp, tabular, transformer
from rebel_theory.torch.policy import TorchPolicy
from rebel_theory.torch.solvers import FirstOrder, GaussNewton, LevenbergMarquardt, Minimise

__all__ = [
    "FirstOrder",
    "GaussNewton",
    "LevenbergMarquardt",
    "Minimise",
    "TorchPolicy",
    "log_linear",
    "mlp",
    "tabular",
    "transformer",
]

del _nn
