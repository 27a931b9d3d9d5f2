"""``rebel-theory bench --suite neural-cost``: seconds and memory of an iteration, by size, without learning."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rebel_bench.cli import main
from rebel_bench.speed.neural import cost, sizes
from rebel_theory.torch.sequences import Copy

TINY = tuple(
    replace(size, tasks=(Copy(length=1, n_symbols=2),), width=width, depth=1, heads=2, n_pairs=4)
    for size, width in zip(cost.networks("quick"), (8, 16), strict=False)
)


def test_the_command_stores_seconds_and_memory_of_every_method_and_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost, "networks", lambda scale: TINY)
    assert main(["bench", "neural-cost", "--json", "--out", str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["method"] for row in found["rows"]] == 2 * list(sizes.METHODS)
    assert {row["queries"] for row in found["rows"]} == {8.0}
    frame = pd.read_parquet(tmp_path / "speed" / "neural-cost.quick.parquet")
    assert (frame.groupby(["parameters", "method"]).size() == cost.ROUNDS).all()
    assert frame["parameters"].nunique() == 2
    assert sorted(file.suffix for file in (tmp_path / "speed").iterdir()) == [".json", ".parquet", ".pdf", ".png"]
    rows = {(row["parameters"], row["method"]): row for row in found["rows"]}
    for parameters in frame["parameters"].unique():
        assert rows[parameters, "PPO"]["peak_bytes"] > rows[parameters, "RLOO"]["peak_bytes"]  # a value network
    assert main(["bench", "neural-cost", "--out", str(tmp_path), "--no-figures"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in (*sizes.METHODS, *cost.COLUMNS, "copy of the policy"))


def test_an_interrupted_study_goes_on_at_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "networks", lambda scale: TINY)
    plain, calls = cost.costs, []

    def counted(size: Any, device: str) -> pd.DataFrame:
        calls.append(size.width)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return plain(size, device)

    monkeypatch.setattr(cost, "costs", counted)
    with pytest.raises(KeyboardInterrupt):
        cost.study("quick", "cpu", tmp_path, figures=False, as_json=True)
    cost.study("quick", "cpu", tmp_path, figures=False, as_json=True)
    assert calls == [8, 16, 16]
    assert not list(tmp_path.glob("*.part"))


def test_the_first_round_does_not_count_and_methods_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[str] = []

    class Fake:
        def __init__(self, size: Any, task: Any, method: str, *_: Any) -> None:
            self.method, self.oracle, self.refused = method, self, 0
            self.spent = 0

        def step(self) -> float:
            turns.append(self.method)
            self.spent += 8
            return 100.0 if len(turns) <= len(sizes.METHODS) else 2.0

    monkeypatch.setattr(cost, "Runner", Fake)
    monkeypatch.setattr(cost, "peak_memory", lambda *_: 1.0)
    found = cost.costs(TINY[0], "cpu")
    assert turns == (cost.ROUNDS + 1) * list(sizes.METHODS)
    assert set(found["seconds"]) == {2.0}
    assert set(found["queries"]) == {8}


def test_rows_are_summarised_by_hand() -> None:
    frame = pd.DataFrame(
        {"parameters": 10, "method": method, "round": i, "seconds": base * i, "queries": 8, "peak_bytes": 80.0 * base,
         "refused": 0}
        for i in (1, 2, 3) for method, base in (("REBEL", 1.0), ("PPO", 2.5))
    )  # fmt: skip
    rebel, ppo = cost.summarised(frame)
    assert (rebel["seconds"], rebel["seconds_low"], rebel["seconds_high"], rebel["of_weights"]) == (2.0, 1.0, 3.0, 2.0)
    assert (ppo["ratio"], ppo["ratio_low"], ppo["ratio_high"], ppo["of_weights"]) == (2.5, 2.5, 2.5, 5.0)


def test_the_largest_network_has_25_million_parameters() -> None:
    size = cost.networks("paper")[-1]
    assert 12 * size.depth * size.width**2 > 25_000_000  # the matrices of the blocks alone


def test_the_page_shows_the_stored_run() -> None:
    docs = Path(__file__).parents[2] / "docs"
    run = json.loads((docs / "images" / "neural-cost.json").read_text(encoding="utf-8"))
    assert cost.markdown(run["rows"], run["about"]) in (docs / "torch-neural.md").read_text(encoding="utf-8")
    stored = cost.summarised(pd.read_csv(docs / "images" / "neural-cost.csv"))
    for row, again in zip(run["rows"], stored, strict=True):
        assert again["seconds"] == pytest.approx(row["seconds"], rel=1e-3)
        assert again["peak_bytes"] == pytest.approx(row["peak_bytes"], rel=1e-3)
