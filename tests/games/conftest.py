from pathlib import Path

import numpy as np
import pytest

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def _load(name):
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{name} is not here")
    return np.loadtxt(path, delimiter=",", skiprows=1)


@pytest.fixture
def soccer():
    return _load("soccer10_P.csv")


@pytest.fixture
def rrps():
    return _load("rrps43_P.csv")
