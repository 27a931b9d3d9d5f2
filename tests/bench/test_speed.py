"""The speed suites: discovered, honest (both sides agree), timed right by a fake clock, strict on the outside."""

from __future__ import annotations

import dataclasses
import inspect
import json

import numpy as np
import pandas as pd
import pytest

from rebel_bench.cli import main
from rebel_bench.cmd_bench import Bench
from rebel_bench.errors import UserError
from rebel_bench.speed import command, discover, measure
from rebel_bench.speed.case import OURS, Case, Limit, Plan, Side, Suite
from rebel_bench.speed.drawing import draw
from rebel_bench.speed.peers import InstalledPeers

SUITES = discover.suites()


class FakeClock:
    """Time passes only when a side says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def side(self, seconds, **kwargs):
        """A side whose k-th call takes ``seconds[k]``, the last one from then on."""
        left = list(seconds)

        def run():
            self.now += left.pop(0) if len(left) > 1 else left[0]
            return 1.0

        return Side(run, **kwargs)


def plan(case, **kwargs):
    return Plan("toy", lambda peers: case, **kwargs)


def strict(text):
    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_every_file_is_a_suite_and_the_help_names_them():
    files = {path.stem for path in discover.SUITES.glob("[!_]*.py")}
    assert set(SUITES) == files
    assert f"Suites: {', '.join(sorted(SUITES))}." in " ".join(inspect.getdoc(Bench).split())


def test_names_of_cases_are_unique_and_every_axis_has_a_curve():
    plans = {(name, p.name): p for name, suite in SUITES.items() for p in suite.plans("quick")}
    assert len(plans) == sum(len(suite.plans("quick")) for suite in SUITES.values())
    sizes = {axis: sorted(p.size for p in plans.values() if p.axis == axis) for axis in ("S", "A", "N", "d", "seeds")}
    assert all(len(points) >= 3 and min(points) > 0 for points in sizes.values())


def test_select_takes_commas_capitals_and_names_the_nearest():
    assert [s.name for s in discover.select(SUITES, ["Games,exact"])] == ["exact", "games"]
    assert len(discover.select(SUITES)) == len(SUITES)
    with pytest.raises(UserError, match=r"unknown suite 'samplin': did you mean sampling\?"):
        discover.select(SUITES, ["samplin"])


@pytest.mark.parametrize("name", ["counted", "regression"])
def test_both_sides_agree(name):
    for p in SUITES[name].plans("quick"):
        if p.axis is None or p.size <= 1000:
            case = p.build(InstalledPeers())
            apart = measure.differences(case)
            assert apart, f"{p.name} compares with nothing"
            assert all(d <= case.tolerance for d in apart.values()), (p.name, apart)


def test_the_ratio_is_the_median_of_the_ratios_within_rounds():
    clock = FakeClock()
    # warm-up (answers), two calls to calibrate, then five rounds; a slow machine in round 3 slows both
    ours = clock.side([9, 1, 1, 1, 1, 10, 1, 1], work=1.0)
    other = clock.side([9, 8, 8, 8, 4, 80, 8, 16], work=2.0)
    rows = measure.measure("toy", plan(Case("thing", {OURS: ours, "NumPy": other}, 0.0)), clock=clock)
    assert [row.side for row in rows] == [OURS, "NumPy"]
    mine, theirs = rows
    assert (mine.ratio, mine.seconds, mine.status) == (1.0, 1.0, "timed")
    assert (theirs.ratio_low, theirs.ratio, theirs.ratio_high) == (4.0, 4.0, 4.0)  # of 4, 2, 4, 4, 8
    assert theirs.seconds == 4.0  # of 4, 2, 40, 4, 8: half of a call, which does two units
    assert (theirs.repeats, theirs.calls) == (5, 1)


def test_short_calls_are_repeated_within_a_timing():
    clock = FakeClock()
    case = Case("thing", {OURS: clock.side([1.1e-5]), "NumPy": clock.side([4.4e-5], work=4.0)}, 0.0)
    mine, theirs = measure.measure("toy", plan(case), clock=clock)
    assert (mine.calls, theirs.calls) == (182, 46)
    assert mine.seconds == pytest.approx(1.1e-5)
    assert theirs.ratio == pytest.approx(1.0)


def test_rounds_are_interleaved():
    order = []
    sides = {name: Side(lambda name=name: order.append(name)) for name in "ab"}
    ticks = iter(np.arange(1000.0))
    times, calls = measure.timings(sides, 3, lambda: next(ticks))
    assert order[-6:] == ["a", "b"] * 3
    assert calls == {"a": 1, "b": 1}
    assert times["a"].tolist() == [1.0] * 3


@pytest.mark.parametrize(
    ("side", "case", "row", "met"),
    [
        ({"least_ratio": 3.0}, {}, 1, True),
        ({"least_ratio": 5.0}, {}, 1, False),
        ({"least_ratio": 0.5}, {}, 1, True),
        ({}, {"most_seconds": 1.0}, 0, True),
        ({}, {"most_seconds": 0.99}, 0, False),
        ({}, {}, 0, None),
    ],
)
def test_targets(side, case, row, met):
    clock = FakeClock()
    sides = {OURS: clock.side([1.0]), "NumPy": clock.side([4.0], **side)}
    assert measure.measure("toy", plan(Case("thing", sides, 0.0, **case)), clock=clock)[row].met is met


def test_the_share_of_the_limit(monkeypatch):
    clock = FakeClock()
    monkeypatch.setattr(measure, "limit_side", lambda limit: clock.side([2.0], work=10 / limit.per_unit))
    case = Case("thing", {OURS: clock.side([1.0])}, 0.0, Limit("draws", 4.0), least_fraction=0.6)
    [row] = measure.measure("toy", plan(case), clock=clock)
    assert row.limit_seconds == pytest.approx(0.8)  # 2 s are 10 draws, a unit needs 4
    assert row.fraction == pytest.approx(0.8)
    assert (row.limit, row.met) == ("4 draws", True)


@pytest.mark.parametrize("limit", [Limit("draws", 2.0), Limit("bytes", 8000.0, 8000.0), Limit("bytes", 1e12, 1e12)])
def test_the_limits_of_this_machine_run(limit):
    side = measure.limit_side(limit)
    side.run()
    assert side.work > 0


def test_a_side_that_disagrees_is_not_timed():
    sides = {
        OURS: Side(lambda: 1.0),
        "NumPy": Side(lambda: 1.5),
        "other": Side(lambda: [1.0, 1.0]),
        "nan": Side(lambda: np.nan),
    }
    rows = {row.side: row for row in measure.measure("toy", plan(Case("thing", sides, 0.1)))}
    assert {name: row.status for name, row in rows.items()} == {
        OURS: "timed", "NumPy": "differs", "other": "differs", "nan": "differs",
    }  # fmt: skip
    assert rows["NumPy"].note == "differs from ours by 0.5, tolerance 0.1: not timed"
    assert np.isnan(rows["NumPy"].seconds)


def test_too_large_a_case_is_skipped_before_its_set_up():
    def build(peers):
        raise AssertionError("built")

    [row] = measure.measure("toy", Plan("toy", build, memory=1e18))
    assert row.status == "skipped"
    assert "GB of memory" in row.note


def test_peers_that_are_missing_or_broken(tmp_path, monkeypatch):
    (tmp_path / "broken_peer.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(str(tmp_path))
    peers = InstalledPeers()
    assert peers.load("json") is json
    assert peers.load("no_such_peer") is None
    assert peers.load("broken_peer") is None
    assert peers.missing["no_such_peer"] == "not installed: pip install 'rebel-theory[bench]'"
    assert peers.missing["broken_peer"].startswith("does not load: ZeroDivisionError")


@pytest.fixture
def toys(monkeypatch):
    """Two suites without set-up: one has a curve and a missing peer, the other a NumPy version that disagrees."""

    def build(peers):
        peers.load("no_such_peer")
        return Case("thing", {OURS: Side(lambda: 1.0), "NumPy": Side(lambda: 1.0, least_ratio=1e9)}, 0.0)

    def wrong(peers):
        return Case("thing", {OURS: Side(lambda: 1.0), "NumPy": Side(lambda: 2.0)}, 0.0)

    fine = Suite("fine", "", lambda scale: [Plan(f"case [{n}]", build, axis="S", size=n) for n in (1, 10)])
    found = {"fine": fine, "wrong": Suite("wrong", "", lambda scale: [Plan("case", wrong)])}
    monkeypatch.setattr(discover, "suites", lambda: found)


@pytest.fixture
def bench(tmp_path, capsys):
    def run(*arguments):
        code = main(["bench", *arguments, "--out", str(tmp_path)])
        return code, *capsys.readouterr()

    return run


def test_json_is_one_strict_object(bench, toys, tmp_path):
    code, out, err = bench("fine", "--json")
    found = strict(out)
    assert code == 0
    assert list(found) == ["rows", "machine", "scale", "version", "files"]
    assert set(found["rows"][0]) == {field.name for field in dataclasses.fields(measure.Row)}
    assert [row["side"] for row in found["rows"]] == [OURS, "NumPy", "no_such_peer"] * 2
    assert found["rows"][1]["met"] is False  # a missed target is reported, and is no error
    assert found["rows"][2]["seconds"] is None
    assert set(found["machine"]) == {"cpu", "cores", "memory_gib", "load"}
    assert "[1/2] fine: case [1]" in err
    stored = sorted(path.name for path in (tmp_path / "speed").iterdir())
    assert stored == ["fine.quick.parquet", "fine.quick.pdf", "fine.quick.png"]
    assert len(pd.read_parquet(tmp_path / "speed" / "fine.quick.parquet")) == 6


def test_the_table_lists_what_is_missing(bench, toys):
    code, out, _ = bench("fine", "--no-figures")
    assert code == 0
    assert "case [10]" in out  # brackets are not markup
    assert "no_such_peer: not installed: pip install 'rebel-theory[bench]'" in out
    assert "0 of 2 targets met" in out


def test_a_disagreement_fails_the_run(bench, toys):
    code, out, _ = bench("wrong")
    assert code == 1
    assert "differs" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fin"], "unknown suite 'fin': did you mean fine?"),
        (["--repeats", "4"], "--repeats 4: expected at least 5"),
        (["--scale", "full"], "full"),
    ],
)
def test_what_the_user_can_mend_exits_2(bench, toys, tmp_path, arguments, message):
    code, out, err = bench(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_the_figure_has_a_panel_an_axis_and_is_the_same_bytes_twice(tmp_path):
    base = dataclasses.asdict(measure.Row("toy", "case", "thing", "S", 1.0, OURS, "timed"))
    rows = [
        {**base, "axis": axis, "size": size, "side": side, "seconds": size * k, "seconds_low": 0.9 * size * k,
         "seconds_high": 1.1 * size * k, "limit_seconds": 0.1 * size}
        for axis in ("S", "A", "N", "d", "seeds")
        for size in (1.0, 10.0, 100.0)
        for side, k in ((OURS, 1), ("NumPy", 9))
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    files = [draw(frame, tmp_path / name) for name in ("one", "two")]
    assert files[0][0].read_bytes() == files[1][0].read_bytes()
    assert files[0][1].read_bytes() == files[1][1].read_bytes()


def test_the_machine_has_no_name():
    assert set(measure.machine()) == {"cpu", "cores", "memory_gib", "load"}
    assert command.execute is not None
