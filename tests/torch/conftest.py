"""Neural policies, where torch is installed; one thread, so that digits do not depend on the machine's cores."""

import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
