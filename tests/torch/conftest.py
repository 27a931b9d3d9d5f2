"""Neural policies where torch is installed; elsewhere these files are skipped and say which command installs it."""

import importlib

import pytest

try:
    importlib.import_module("rebel_theory.torch")
except ImportError as error:
    WHY = str(error)
else:
    WHY = ""
    import torch

    torch.set_num_threads(1)  # digits must not depend on the machine's cores; also the fastest for small networks


class Left(pytest.Module):
    """A file that cannot be run here."""

    def collect(self):
        pytest.skip(WHY, allow_module_level=True)


def pytest_pycollect_makemodule(module_path, parent):
    """Skip every file but the one about a missing torch."""
    if WHY and module_path.stem != "test_missing":
        return Left.from_parent(parent, path=module_path)
    return None
