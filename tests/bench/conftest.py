"""Toy claims in a folder of their own, so that these tests need no library."""

from __future__ import annotations

from pathlib import Path

import pytest

TOY = """
import numpy as np
import pandas as pd

from rebel_bench.claim import Claim, Inequality
from rebel_bench.style import line


def cases(rng, scale, factor):
    n = scale.cases(quick=10, paper=20, full=40)
    t = np.arange(1, n + 1)
    print("a claim that talks")
    return pd.DataFrame({{"t": t, "value": factor * (0.5 + 0.5 * rng.random(n)) / t, "bound": 1 / t}})


def figure(fig, cases, control):
    ax = fig.add_subplot()
    ax.plot(cases["t"], cases["value"], **line("REBEL"))
    ax.plot(control["t"], control["value"], **line("control", 1))
    ax.set(xlabel="iteration", ylabel="gap")


CLAIM = Claim(
    id="{id}",
    title="toy [s=1, a=0]",
    statement="a statement with [s=1, a=0] and [/red]",
    source="nowhere",
    test=Inequality(),
    check=lambda rng, scale: cases(rng, scale, {check}),
    control=lambda rng, scale: cases(rng, scale, {control}),
    control_statement="too large",
    figure={figure},
)
"""


def write_toy(folder: Path, id: str, *, check: str = "1.0", control: str = "3.0", figure: str = "figure") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{id.lower()}.py"
    file.write_text(TOY.format(id=id, check=check, control=control, figure=figure), encoding="utf-8")
    return file


@pytest.fixture
def toy():
    return write_toy


@pytest.fixture
def toys(tmp_path):
    """A folder with three claims that pass, in an order that sorting by name would get wrong."""
    folder = tmp_path / "toys"
    for id in ("C2", "C11", "E1"):
        write_toy(folder, id)
    return folder
