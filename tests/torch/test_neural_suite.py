"""``rebel-theory bench --suite neural``: equal queries, the clock in the steps only, memory that is seen."""

from __future__ import annotations

import builtins
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rebel_bench.cli import main
from rebel_bench.speed.neural import race, show, sizes, study
from rebel_theory.torch.sequences import Copy

FULL = sizes.size("quick")
TINY = replace(
    FULL, tasks=(Copy(length=1, n_symbols=2),), width=8, depth=1, n_pairs=8, n_iterations=3, n_seeds=2, n_evaluation=8
)


def test_the_command_stores_every_method_at_equal_queries(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizes, "size", lambda scale: TINY)
    assert main(["bench", "--suite", "neural", "--json", "--out", str(tmp_path), "--no-figures"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["method"] for row in found["rows"]] == list(sizes.METHODS)
    assert {row["queries"] for row in found["rows"]} == {48.0}
    assert len(found["tuning"]) == 4 * len(sizes.METHODS)
    assert found["about"]["parameters"] > 500
    assert all(row["step"] > 0 and row["peak_bytes"] > 0 for row in found["rows"])
    curves = pd.read_parquet(tmp_path / "speed" / "neural.quick.parquet")
    assert len(curves) == len(sizes.METHODS) * 2 * 4
    first = curves[curves["iteration"] == 0].groupby("seed")["reward"].nunique()
    assert (first == 1).all()  # all start from one policy
    for _, part in curves.groupby(["method", "seed"]):
        np.testing.assert_allclose(part["seconds"], part["step"].fillna(0).cumsum())
    assert not list((tmp_path / "speed").glob("*.races"))
    assert main(["bench", "neural", "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in (*sizes.METHODS, "peak memory", "parameters"))
    assert (tmp_path / "speed" / "neural.quick.png").stat().st_size > 10_000


def test_evaluation_is_off_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that an evaluation moves by an hour leaves the steps where they were."""
    now = [0.0]

    def clock() -> float:
        now[0] += 1.0
        return now[0]

    plain = race.Runner.reward

    def slow(self: Any) -> float:
        now[0] += 3600.0
        return plain(self)

    monkeypatch.setattr(race.time, "perf_counter", clock)
    monkeypatch.setattr(race.Runner, "reward", slow)
    found = race.race(TINY, TINY.tasks[0], {m: TINY.settings(m)[0] for m in sizes.METHODS}, 0, "cpu")
    assert set(found["step"].dropna()) == {1.0}


def test_an_interrupted_study_goes_on_and_a_finished_one_measures_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    races = race.Races(TINY, "cpu", "toy", tmp_path / "races")
    settings = {"RLOO": TINY.settings("RLOO")[0]}
    found = races.run(TINY.tasks[0], settings, 0)
    monkeypatch.setattr(race, "race", lambda *_: pytest.fail("measured again"))
    pd.testing.assert_frame_equal(races.run(TINY.tasks[0], settings, 0), found)  # its seconds, too
    for other in (replace(races, name="another"), replace(races, size=replace(TINY, n_pairs=9))):
        with pytest.raises(pytest.fail.Exception, match="again"):
            other.run(TINY.tasks[0], settings, 0)
    with pytest.raises(pytest.fail.Exception, match="again"):
        races.run(TINY.tasks[0], settings, 1)


def test_a_race_that_is_killed_goes_on_from_its_last_keeping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Same rewards and queries as in one go, no step done twice, and the time of before counts."""
    settings = {m: TINY.settings(m)[0] for m in ("REBEL", "PPO", "GRPO", "DPO")}
    whole = race.race(TINY, TINY.tasks[0], settings, 0, "cpu")
    monkeypatch.setattr(race, "KEPT_EVERY", 0.0)
    races = race.Races(TINY, "cpu", "toy", tmp_path / "races")
    plain, done = race.Runner.step, [0]

    def step(self: Any) -> float:
        done[0] += 1
        if done[0] == 2 * len(settings) + 2:  # in the third iteration
            raise KeyboardInterrupt
        return plain(self)

    monkeypatch.setattr(race.Runner, "step", step)
    with pytest.raises(KeyboardInterrupt):
        races.run(TINY.tasks[0], settings, 0)
    found = races.run(TINY.tasks[0], settings, 0)
    assert done[0] == 3 * len(settings) + 2
    same = ["method", "iteration", "queries", "reward", "refused", "task", "seed"]
    pd.testing.assert_frame_equal(found[same], whole[same])
    for _, part in found.groupby("method"):
        np.testing.assert_allclose(part["seconds"], part["step"].fillna(0).cumsum())
    assert [file.suffix for file in (tmp_path / "races").iterdir()] == [".parquet"]  # nothing is left of the keeping


def test_a_step_that_is_not_finite_is_refused_and_counted() -> None:
    setting = sizes.Setting(float("1e300"))
    found = race.race(TINY, TINY.tasks[0], {"RLOO": setting, "PPO": TINY.settings("PPO")[0]}, 0, "cpu")
    last = found[found["iteration"] == 3].set_index("method")
    assert last.loc["RLOO", "refused"] > 0
    assert last.loc["PPO", "refused"] == 0
    assert last["queries"].tolist() == [48.0, 48.0]
    assert np.isfinite(found["reward"]).all()


def test_rows_are_summarised_by_hand() -> None:
    rows = []
    for method, step, reward in (("REBEL", 2.0, 0.1), ("PPO", 1.0, 0.05)):
        for seed in (0, 1):
            rows += [
                {"method": method, "task": "Copy", "seed": seed, "iteration": t, "queries": 10.0 * t,
                 "seconds": step * t, "step": step if t else np.nan, "reward": reward * t + 0.01 * seed, "refused": 0}
                for t in range(11)
            ]  # fmt: skip
    rebel, ppo = study.summarised(pd.DataFrame(rows))
    assert (rebel["step"], rebel["ratio"], ppo["ratio"], ppo["queries"]) == (2.0, 1.0, 0.5, 100.0)
    assert (rebel["reward"], rebel["reward_low"], rebel["reward_high"]) == pytest.approx((1.005, 1.0, 1.01))
    assert rebel["seconds"] == 10.0
    assert (rebel["reward_in_time"], ppo["reward_in_time"]) == pytest.approx((0.505, 0.505))


def test_memory_sees_what_a_step_holds() -> None:
    """A policy of one layer more keeps and needs more."""
    setting = TINY.settings("PPO")[0]
    small = race.peak_memory(TINY, TINY.tasks[0], "PPO", setting, "cpu")
    large = race.peak_memory(replace(TINY, width=32), TINY.tasks[0], "PPO", setting, "cpu")
    parameters = len(TINY.policy(TINY.tasks[0], 0, setting, "cpu").theta)
    assert small > 3 * 4 * parameters  # weights and two moments at least
    assert large > 3 * small


def test_every_method_has_four_settings_and_the_large_size_25_million_parameters() -> None:
    for scale in ("quick", "paper"):
        size = sizes.size(scale)
        assert {len(set(size.settings(m))) for m in sizes.METHODS} == {4}
    assert 12 * size.depth * size.width**2 > 25_000_000  # the matrices of its blocks
    edges = [race.at_edge(size, "PPO", s) for s in size.settings("PPO")]
    assert edges == [True, False, False, True]
    assert race.at_edge(size, "REBEL", size.settings("REBEL")[0])


def test_what_is_wrong_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for words, match in (
        (["neural", "games"], "name it alone"),
        (["games", "--device", "cuda"], "suites neural, neural-cost and torch-seeds"),
        (["neural", "--device", "toaster"], "--device toaster"),
    ):  # fmt: skip
        assert main(["bench", *words, "--out", str(tmp_path)]) == 2
        assert match in capsys.readouterr().err
    plain = builtins.__import__

    def none(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "torch":
            raise ImportError(name)
        return plain(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", none)
    assert main(["bench", "neural", "--out", str(tmp_path)]) == 2
    assert "pip install 'rebel-theory[torch]'" in capsys.readouterr().err


def test_the_page_shows_the_stored_run() -> None:
    docs = Path(__file__).parents[2] / "docs"
    run = json.loads((docs / "images" / "neural.json").read_text(encoding="utf-8"))
    shown = show.markdown(pd.DataFrame(run["rows"]), run["about"])
    assert shown in (docs / "torch-neural.md").read_text(encoding="utf-8")
    curves = pd.read_csv(docs / "images" / "neural.csv")
    assert curves.groupby("method")["queries"].max().nunique() == 1
    for row in run["rows"]:  # the table is that of the curves, to the digits of the file
        part = curves[(curves["task"] == row["task"]) & (curves["method"] == row["method"])]
        late = part[part["iteration"] > 0.9 * part["iteration"].max()]
        assert late["reward"].mean() == pytest.approx(row["reward"], rel=1e-3)
        assert part["step"].median() == pytest.approx(row["step"], rel=1e-3)
