"""What is said of a speed run: targets, the command, the table, the figure, the page."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rebel_bench.cli import main
from rebel_bench.errors import UserError
from rebel_bench.speed import command, discover, machine, measure, page, targets
from rebel_bench.speed.case import OURS, Case, Plan, Side, Suite
from rebel_bench.speed.drawing import draw, draw_png

SUITES = discover.suites()


def strict(text):
    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


ROW = measure.Row("games", "case", "thing", "", 0.0, OURS, "timed", seconds=2.0, ratio=1.0, fraction=0.5)


def aim(kind, bound, side=OURS):
    return targets.Target("work", "at {}", kind, bound, "games", "ca*", side)


@pytest.mark.parametrize(
    ("kind", "bound", "side", "met", "by"),
    [
        ("seconds", 2.0, OURS, True, 1.0),
        ("seconds", 1.0, OURS, False, 2.0),
        ("faster", 3.0, "N*", True, 4 / 3),  # the smaller of 4 and 8
        ("faster", 5.0, "N*", False, 5 / 4),
        ("cost", 0.2, "N*", False, 5 / 4),  # the larger of 1/4 and 1/8
        ("cost", 0.3, "*", True, 1.2),  # ours itself is not compared with
        ("share", 0.6, OURS, False, 1.2),
        ("share", 0.4, OURS, True, 1.25),
    ],
)
def test_targets_judge_the_worst_row(kind, bound, side, met, by):
    rows = [ROW, *(dataclasses.replace(ROW, side=f"N{k}", ratio=float(k)) for k in (8, 4))]
    [verdict] = targets.verdicts(rows, [aim(kind, bound, side)])
    assert (verdict.met, verdict.by) == (met, pytest.approx(by))
    assert verdict.outcome == ("met" if met else f"missed by a factor {by:.3g}")


def test_a_certified_error_has_to_be_there():
    certified = dataclasses.replace(ROW, certified=1e-12)
    assert targets.verdicts([certified], [aim("certified", np.inf)])[0].met is True
    assert targets.verdicts([certified], [aim("certified", 1e-13)])[0].met is False
    assert targets.verdicts([ROW], [aim("certified", np.inf)])[0].met is None


def test_a_share_above_the_limit_is_no_success():
    [verdict] = targets.verdicts([dataclasses.replace(ROW, fraction=1.4)], [aim("share", 0.6)])
    assert (verdict.met, verdict.outcome) == (None, "not measured: above the limit, the machine was busy")


def test_what_was_not_measured_is_not_met():
    gone = dataclasses.replace(ROW, side="Peer", status="missing", note="not installed", ratio=np.nan)
    other = dataclasses.replace(gone, side="Other", note="another reason")
    [verdict] = targets.verdicts([ROW, other, gone], [aim("faster", 3.0, "Peer*")])
    assert (verdict.met, verdict.outcome) == (None, "not measured: not installed")
    skipped = dataclasses.replace(ROW, status="skipped", note="needs memory", seconds=np.nan)
    assert targets.verdicts([skipped], [aim("seconds", 1.0)])[0].outcome == "not measured: needs memory"
    assert targets.verdicts([dataclasses.replace(ROW, suite="other")], [aim("seconds", 1.0)]) == ()
    curve = dataclasses.replace(ROW, axis="S")
    assert targets.verdicts([curve], [aim("seconds", 1.0)])[0].met is None


@pytest.mark.parametrize("scale", ["quick", "paper"])
def test_every_target_has_a_case(scale):
    names = {(name, p.name) for name, suite in SUITES.items() for p in suite.plans(scale) if p.axis is None}
    for target in targets.TARGETS:
        assert any(target.suite == s and targets.fnmatchcase(c, target.case) for s, c in names), target


def test_the_issues_table_of_targets_is_all_there():
    """By hand, once more: an edit of a bound has to be made twice."""
    bounds = sorted(target.bound for target in targets.TARGETS)
    assert bounds == sorted(
        [
            7e-9,
            1000,
            3,
            3,
            30e-9,
            25,
            1.7,
            3,
            5e-3,
            4,
            1e-10,
            2,
            3,
            8,
            1.3,
            np.inf,
            0.6,
            0.6,
            0.6,
            0.6,
            7,
            1.4,
            100,
            2,
            1.2,
        ]
    )


@pytest.fixture
def toys(monkeypatch):
    """Two suites without set-up: one has a curve and a missing peer, the other a NumPy version that disagrees."""

    def build(peers):
        peers.load("no_such_peer")
        return Case("thing", {OURS: Side(lambda: 1.0), "NumPy": Side(lambda: 1.0)}, 0.0)

    def wrong(peers):
        return Case("thing", {OURS: Side(lambda: 1.0), "NumPy": Side(lambda: 2.0)}, 0.0)

    fine = Suite(
        "fine", "", lambda scale: [Plan(f"case [{n}]", build, axis=a, size=n) for a, n in ((None, 0), ("S", 1))]
    )
    found = {"fine": fine, "wrong": Suite("wrong", "", lambda scale: [Plan("case", wrong)])}
    monkeypatch.setattr(discover, "suites", lambda: found)
    impossible = targets.Target("toys", "{} times NumPy", "faster", 1e9, "fine", "case*", "NumPy")
    absent = targets.Target("toys", "{} times a peer", "faster", 2.0, "fine", "case*", "no_such_peer")
    monkeypatch.setattr(command, "verdicts", lambda rows: targets.verdicts(rows, [impossible, absent]))


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
    assert list(found) == ["rows", "targets", "machine", "scale", "version", "files"]
    assert set(found["rows"][0]) == {field.name for field in dataclasses.fields(measure.Row)}
    assert [row["side"] for row in found["rows"]] == [OURS, "NumPy", "no_such_peer"] * 2
    assert [verdict["met"] for verdict in found["targets"]] == [False, None]  # missing one is no error
    assert found["targets"][0]["outcome"].startswith("missed by a factor")
    assert found["targets"][1]["outcome"].startswith("not measured: not installed: pip install")
    assert found["rows"][2]["seconds"] is None
    assert {"load", "load_after"} <= set(found["machine"])
    assert "[1/2] fine: case [0]" in err
    stored = sorted(path.name for path in (tmp_path / "speed").iterdir())
    assert stored == [f"fine.quick.{kind}" for kind in ("json", "parquet", "pdf", "png")]
    kept = strict((tmp_path / "speed" / "fine.quick.json").read_text())
    assert kept == {key: value for key, value in found.items() if key != "files"}
    assert len(pd.read_parquet(tmp_path / "speed" / "fine.quick.parquet")) == 6


def test_the_table_lists_what_is_missing(bench, toys):
    code, out, _ = bench("--suite", "fine", "--no-figures")
    assert code == 0
    assert "case [1]" in out  # brackets are not markup
    assert "no_such_peer: not installed: pip install 'rebel-theory[bench]'" in out
    assert "0 of 1 targets met, 1 not measured" in out
    assert "load" in out


def test_a_disagreement_fails_the_run(bench, toys):
    code, out, _ = bench("wrong")
    assert code == 1
    assert "differs" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fin"], "unknown suite 'fin': did you mean fine?"),
        (["--suite", "fin"], "unknown suite 'fin': did you mean fine?"),
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
    small = draw_png(frame, tmp_path / "small.png")
    assert small.stat().st_size < files[0][0].stat().st_size


def test_the_machine_has_no_name():
    about = machine.machine()
    assert set(about) == {
        "cpu", "cores", "caches", "memory_gib", "system", "python", "versions", "blas_threads", "load",
    }  # fmt: skip
    assert "/" not in about["caches"] + about["system"]
    assert {"numpy", "numba"} <= set(about["versions"])


def test_caches_are_those_for_data(tmp_path):
    for i, (level, kind, size) in enumerate(
        [("1", "Data", "48K"), ("1", "Instruction", "32K"), ("2", "Unified", "1M")]
    ):
        folder = tmp_path / f"index{i}"
        folder.mkdir()
        for name, value in zip(("level", "type", "size"), (level, kind, size), strict=True):
            (folder / name).write_text(f"{value}\n")
    assert machine._caches(tmp_path) == "L1d 48K, L2 1M"


@pytest.mark.parametrize(
    ("before", "after", "said"), [(0.1, 1.2, False), (1.5, 1.0, True), (0.1, 2.5, True), (np.nan, np.nan, False)]
)
def test_a_busy_machine_is_mentioned(before, after, said):
    assert bool(machine.busy({"load": before, "load_after": after, "cores": 2})) is said


def test_the_page_is_written_from_the_stored_run(bench, toys, tmp_path):
    bench("fine", "--no-figures")
    run = json.loads((tmp_path / "speed" / "fine.quick.json").read_text())
    text = "".join(f"before {name}\n<!-- measured: {name} -->\nold\n<!-- end -->\n" for name in page.SECTIONS)
    parts = page.sections(run)
    filled = page.fill(text, parts)
    assert set(parts) == set(page.SECTIONS)
    assert "old" not in filled
    assert filled.count("<!-- end -->") == len(page.SECTIONS)
    assert filled == page.fill(filled, parts)  # again, nothing changes
    assert "| case [0] | ours |" in filled
    assert "case [1]" not in filled  # a point of the figure
    assert [point["size"] for point in page.curves(run)] == [1.0, 1.0]


def test_a_page_without_the_section_and_a_foreign_file_are_refused():
    with pytest.raises(UserError, match="no section <!-- measured: targets -->"):
        page.fill("<!-- measured: targets --> \n<!-- end -->", {"targets": "x"})
    with pytest.raises(UserError, match="not a run stored by this version"):
        page.rows_of({"rows": [{"unknown": 1}]})


def test_docs_have_the_sections_in_place():
    text = (Path(__file__).parents[2] / "docs" / "speed.md").read_text(encoding="utf-8")
    for name in page.SECTIONS:
        assert page.fill(text, {name: "x"}).count("<!-- measured:") == len(page.SECTIONS)
