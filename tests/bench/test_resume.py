"""Runs that are killed and go on: the same bytes, nothing measured twice, nothing stale or damaged taken for good."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

import rebel_bench
from rebel_bench.cli import main
from rebel_bench.keeper import Keeper
from rebel_bench.progress import Silent
from rebel_bench.scale import Scale
from rebel_bench.store import Spec
from rebel_bench.units import Unit

BLOCKS = """
import time

import numpy as np
import pandas as pd

from rebel_bench.claim import Claim, Inequality


def cases(rng, scale, bound):
    time.sleep({pause})
    names = np.array(["a", "b", None], dtype=object)
    odd = pd.Series([1.0, None, 2.0, 3.0, 4.0], dtype=object)  # comes back from the disk as another type
    return pd.DataFrame({{"value": rng.random(5), "bound": bound, "name": rng.choice(names, 5), "odd": odd}})


CLAIM = Claim(
    id="{id}",
    title="in pieces",
    statement="a statement",
    source="nowhere",
    test=Inequality(),
    check=lambda rng, scale: cases(rng, scale, 1.0),
    control=lambda rng, scale: cases(rng, scale, 1e-3),
    control_statement="too small a bound",
    blocks=lambda scale: {blocks},
)
"""


@pytest.fixture
def pieces(tmp_path):
    """Two claims, one in three blocks and one in one: eight units."""

    def write(pause=0.0, blocks=3):
        folder = tmp_path / "pieces"
        folder.mkdir(exist_ok=True)
        for id, n in (("C1", blocks), ("C2", 1)):
            (folder / f"{id.lower()}.py").write_text(BLOCKS.format(id=id, pause=pause, blocks=n))
        return folder

    return write


def units(out):
    """Return the bytes of every unit by its name."""
    return {path.name: path.read_bytes() for path in (out / "units").glob("C*.parquet")}


def start(folder, out, *arguments):
    command = [sys.executable, "-m", "rebel_bench", "verify", "--claims", folder, "--out", out, "--no-figures"]
    return subprocess.Popen(
        [*map(str, command), "--json", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(process, out, n):
    """Wait until there are ``n`` units."""
    end = time.monotonic() + 60
    while len(list((out / "units").glob("C*.parquet"))) < n:
        assert time.monotonic() < end, "no progress in a minute"
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.005)


def kill_after(process, out, n):
    """Kill the process and its workers once there are ``n`` units."""
    wait_for(process, out, n)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bytes(pieces, tmp_path, capsys):
    folder, out, whole = pieces(pause=0.25), tmp_path / "killed", tmp_path / "whole"
    for workers, n in (("1", 1), ("2", 4)):
        kill_after(start(folder, out, "--workers", workers), out, n)
        assert n <= len(units(out)) < 8
    before = units(out)
    arguments = ["verify", "--claims", str(folder), "--no-figures", "--json"]
    assert main([*arguments, "--out", str(out)]) == 0
    printed, told = capsys.readouterr()
    assert f"[1/{8 - len(before)}] " in told  # no unit twice
    rows = json.loads(printed)["claims"]
    assert [row["n_cases"] for row in rows] == [15, 5]
    assert all(row["seconds"] >= 0.25 * row["n_cases"] / 5 for row in rows)  # those of the killed runs included
    assert main([*arguments, "--out", str(whole)]) == 0
    assert len(units(whole)) == 8
    assert units(out) == units(whole)
    assert before.items() <= units(out).items()


def test_workers_end_with_a_parent_that_was_killed(pieces, tmp_path):
    process = start(pieces(pause=0.25), tmp_path / "out", "--workers", "2")
    wait_for(process, tmp_path / "out", 1)
    process.kill()  # the parent only
    try:
        process.communicate(timeout=60)  # reads to the end, so until no worker holds the pipe any more
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise


def test_what_is_there_is_kept_and_said(pieces, tmp_path, capsys):
    arguments = ["verify", "--claims", str(pieces()), "--out", str(tmp_path / "out"), "--no-figures"]
    assert main([*arguments, "C2", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert "2 of 8 units were kept" in out
    assert "[6/6] C1 control 3/3 refuted" in err
    assert main([*arguments, "--json"]) == 0
    second = json.loads(capsys.readouterr().out)
    assert [row["reused"] for row in first["claims"] + second["claims"]] == [False, True, True]
    assert first["claims"][0] | {"reused": True} == second["claims"][1]  # the seconds too: those of the measurement
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert "8 of 8 units were kept" in out
    assert main([*arguments, "--workers", "2"]) == 0  # none of which has anything to do
    assert "8 of 8 units were kept" in capsys.readouterr().out
    assert out.count(" kept │") == 2
    assert "check" not in err


def test_a_claim_of_which_a_block_is_missing_is_partly_kept(pieces, tmp_path, capsys):
    folder, out = pieces(), tmp_path / "out"
    whole = rebel_bench.verify(claims=folder, out=out)
    before = units(out)
    for name in sorted(before)[1:3]:
        (out / "units" / name).unlink()
    again = rebel_bench.verify(claims=folder, out=out)
    assert (again["C1"].n_kept, again["C1"].n_units, again["C1"].reused) == (4, 6, False)
    assert again["C2"].reused
    assert units(out) == before
    for id in ("C1", "C2"):
        pd.testing.assert_frame_equal(whole[id].cases, again[id].cases)
        assert whole[id].judgement.measured == again[id].judgement.measured


def test_fresh_measures_again(pieces, tmp_path):
    folder, out = pieces(), tmp_path / "out"
    rebel_bench.verify(claims=folder, out=out)
    before = units(out)
    times = {path: path.stat().st_ino for path in (out / "units").iterdir()}
    result = rebel_bench.verify(claims=folder, out=out, fresh=True)
    assert not any(outcome.n_kept for outcome in result)
    assert units(out) == before
    assert all(path.stat().st_ino != inode for path, inode in times.items())


def test_a_damaged_file_is_told_of_and_measured_again(pieces, tmp_path, capsys):
    folder, out = pieces(), tmp_path / "out"
    rebel_bench.verify(claims=folder, out=out)
    before = units(out)
    [name] = (name for name in before if name.startswith("C2-check"))
    (out / "units" / name).write_bytes(before[name][:-9])
    arguments = ["verify", "--claims", str(folder), "--out", str(out), "--no-figures"]
    assert main(arguments) == 0
    err = capsys.readouterr().err
    assert f"{name} is not a result of rebel-theory" in err
    assert "C2 (check) is measured again" in err
    assert "[1/1] C2 check holds" in err
    assert units(out) == before
    (out / "units" / name).write_bytes(b"")
    with pytest.warns(UserWarning, match=r"C2 \(check\) is measured again"):
        rebel_bench.verify(claims=folder, out=out)


def test_an_edited_claim_is_measured_again_and_the_old_units_stay(pieces, tmp_path):
    folder, out = pieces(), tmp_path / "out"
    rebel_bench.verify(claims=folder, out=out)
    before = units(out)
    file = folder / "c2.py"
    file.write_text(file.read_text().replace("a statement", "another statement") + "# a comment\n")
    assert rebel_bench.verify("C2", claims=folder, out=out)["C2"].reused
    file.write_text(file.read_text().replace("1e-3", "2e-3"))
    assert rebel_bench.verify("C2", claims=folder, out=out)["C2"].n_kept == 0
    assert before.items() <= units(out).items()
    assert len(units(out)) == 10
    [now] = rebel_bench.stored_outcomes("C2", source=out, claims=folder)
    assert (now.current, now.control_cases["bound"][0]) == (True, 2e-3)
    file.write_text(file.read_text().replace("2e-3", "3e-3"))
    [stale] = rebel_bench.stored_outcomes("C2", source=out, claims=folder)
    assert not stale.current
    assert stale.control_cases["bound"][0] == 2e-3  # the newest of what there is
    file.write_text(file.read_text().replace("3e-3", "1e-3"))
    [back] = rebel_bench.stored_outcomes("C2", source=out, claims=folder)
    assert (back.current, back.control_cases["bound"][0]) == (True, 1e-3)  # older, but of the code there is


def test_a_claim_that_is_edited_while_it_runs_is_not_kept(pieces, tmp_path):
    folder, out = pieces(), tmp_path / "out"
    file = folder / "c2.py"
    edit = "    with open(__file__, 'a') as file:\n        file.write('LATER = 1\\nLATER += 1\\n')\n"
    file.write_text(file.read_text().replace("    time.sleep(0.0)\n", edit))
    with pytest.warns(UserWarning, match=r"C2 \((check|control)\) is not kept: its code was edited"):
        assert rebel_bench.verify("C2", claims=folder, out=out).passed
    assert units(out) == {}


def test_a_process_that_runs_older_sources_stores_nothing(pieces, tmp_path, monkeypatch):
    folder, out = pieces(), tmp_path / "out"
    monkeypatch.setattr("rebel_bench.runner.IMPORTED_AT", 0.0)  # as if every source had been edited since
    with pytest.raises(rebel_bench.errors.UserError, match=r"\.py was edited after this process had started"):
        rebel_bench.verify(claims=folder, out=out)
    assert rebel_bench.verify(claims=folder).passed


def test_stored_outcomes_are_those_of_the_run(pieces, tmp_path):
    folder, out = pieces(), tmp_path / "out"
    for scale, seed in (("quick", 5), ("paper", 7), ("paper", 6)):
        last = rebel_bench.verify(claims=folder, out=out, scale=scale, seed=seed)
    found = rebel_bench.stored_outcomes(source=out, claims=folder)
    assert [(o.claim.id, o.scale, o.seed, o.current) for o in found] == [
        ("C1", Scale.PAPER, 6, True),
        ("C2", Scale.PAPER, 6, True),
    ]
    for ran, read in zip(last, found, strict=True):
        assert ran.row() | {"reused": True, "p_value": 0} == read.row() | {"p_value": 0}
        pd.testing.assert_frame_equal(ran.cases, read.cases)
    assert [o.seed for o in rebel_bench.stored_outcomes("c1", source=out, claims=folder, scale="quick")] == [5]
    assert rebel_bench.stored_outcomes(source=out, claims=folder, seed=8) == ()


def test_long_units_first(tmp_path):
    keeper = Keeper.at(tmp_path)
    specs = [Spec(id, "check", Scale.PAPER, 0, 0, 1, "code", "libraries") for id in ("C1", "C2", "C3", "C4")]
    keeper.timings.add(specs[0], 1.0)
    keeper.timings.add(Spec("C2", "check", Scale.QUICK, 9, 0, 1, "older", "libraries"), 3.0)
    keeper.timings.add(specs[2], 9.0)
    keeper.timings.add(specs[2], 2.0)
    order = keeper.longest_first([Unit(spec, tmp_path) for spec in specs])
    assert [unit.spec.claim for unit in order] == ["C4", "C2", "C3", "C1"]


def test_blocks_have_streams_of_their_own_and_one_block_has_the_old_one(pieces):
    cases = rebel_bench.verify("C1", claims=pieces())["C1"].cases
    assert list(cases["block"]) == [0] * 5 + [1] * 5 + [2] * 5
    assert cases["value"].nunique() == 15
    more = rebel_bench.verify("C1", claims=pieces(blocks=4))["C1"].cases
    pd.testing.assert_frame_equal(more.iloc[:15], cases)  # more blocks keep those there were
    one = rebel_bench.verify("C1", claims=pieces(blocks=1))["C1"].cases
    assert "block" not in one
    stream = rebel_bench.claim.stream("claim", "C1", "check", seed=0)
    assert list(one["value"]) == list(stream.random(5))


def test_silent_runs_still_warn():
    with pytest.warns(UserWarning, match="look"):
        Silent().warn("look")
