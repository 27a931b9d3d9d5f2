"""``rebel-theory bench --suite torch-seeds``: what it stores, and the least cost of an operation by hand."""

import json

import pytest

from rebel_bench.cli import main
from rebel_bench.speed import torch_seeds


def test_the_study_is_stored_and_printed(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch_seeds, "ROUNDS", 2)
    monkeypatch.setattr(torch_seeds, "ITERATIONS", 1)
    monkeypatch.setattr(torch_seeds, "_PROFILED", 2)
    assert main(["bench", "--suite", "torch-seeds", "--json", "--device", "cpu", "--out", str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out)
    stored = json.loads((tmp_path / "speed" / "torch-seeds.quick.json").read_text(encoding="utf-8"))
    assert stored == {k: v for k, v in found.items() if k != "files"}
    assert found["together"][1] / found["alone"][1] == pytest.approx(found["ratio"][1], rel=0.9)  # which is over which
    assert (found["n_seeds"], found["parameters"], found["aim_is_for_this_device"]) == (256, 216, False)
    assert found["kernel"]["operation"].startswith("aten::")
    assert 0 < found["kernel"]["share_of_time"] <= 1
    assert found["kernel"]["fraction"] > 0


@pytest.mark.parametrize(
    ("name", "shapes", "flops", "moved"),
    [
        ("aten::bmm", [[2, 3, 4], [2, 4, 5]], 240, 8 * (24 + 40 + 30)),
        ("aten::addmm", [[5], [3, 4], [4, 5], [], []], 120, 8 * (5 + 12 + 20 + 15)),
        ("aten::mul", [[10, 3], [10, 1]], 30, 8 * (30 + 10 + 30)),
    ],
)
def test_costs_are_those_of_the_definition(name, shapes, flops, moved):
    assert torch_seeds.cost(name, shapes) == (flops, moved)
