"""Stored results: what goes in comes out, and nothing is ever half there."""

from __future__ import annotations

import json
import math
import os
import re
import struct
import time
from dataclasses import fields, replace

import pandas as pd
import pyarrow.parquet as pq
import pytest

from rebel_bench.atomic import require_writable, whole_file
from rebel_bench.claim import Scale
from rebel_bench.errors import UserError
from rebel_bench.store import BrokenFileError, Spec, Store
from rebel_bench.timings import Timings

SPEC = Spec("C1", "check", Scale.QUICK, 3, 0, 2, "0123456789abcdef", "numpy 2")
CASES = pd.DataFrame({"x": [0.1, math.nan], "name": ["a", None], "n": [1, 2]})


def write(store, spec=SPEC, x=0.1):
    return store.write(spec, CASES.assign(x=[x, math.nan]), statement="a statement", version="0.1")


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "results")
    store.prepare()
    return store


def test_round_trip(store):
    path = write(store)
    assert path.parent.name == "units"
    assert re.fullmatch(r"C1-check-[0-9a-f]{16}\.parquet", path.name)
    back = store.read(SPEC)
    pd.testing.assert_frame_equal(back.cases, CASES)
    assert (back.spec, back.version) == (SPEC, "0.1")


def test_a_file_that_travels_alone_says_what_it_is(store):
    about = json.loads(pq.read_schema(write(store)).metadata[b"rebel-theory"])
    assert about == {
        "spec": {
            "claim": "C1",
            "part": "check",
            "scale": "quick",
            "seed": 3,
            "block": 0,
            "n_blocks": 2,
            "code": "0123456789abcdef",
            "libraries": "numpy 2",
        },
        "statement": "a statement",
        "version": "0.1",
    }


def test_everything_in_the_specification_is_in_the_name():
    changes = {"claim": "C2", "part": "control", "scale": Scale.FULL, "seed": 4, "block": 1, "n_blocks": 3}
    changes |= {"code": "f" * 16, "libraries": "numpy 3"}
    assert set(changes) == {field.name for field in fields(Spec)}
    names = {replace(SPEC, **{name: value}).name for name, value in changes.items()}
    assert len(names | {SPEC.name}) == 1 + len(changes)


def test_names_do_not_change_between_versions():
    # frozen: a change here means that nothing stored is found again
    assert SPEC.name == "C1-check-68c82b28c7de4486"


def test_a_run_killed_before_the_rename_leaves_the_old_file(store, monkeypatch):
    write(store)
    before = sorted(store.folder.iterdir())

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            write(store, x=9.0)
    assert store.read(SPEC).cases["x"][0] == 0.1
    assert sorted(store.folder.iterdir()) == before


def test_a_run_killed_while_writing_leaves_the_old_file(store, monkeypatch):
    write(store)

    def half(table, path, **_):
        path.write_bytes(b"PAR1 half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pq, "write_table", half)
        with pytest.raises(KeyboardInterrupt):
            write(store, x=9.0)
    assert store.read(SPEC).cases["x"][0] == 0.1


def test_the_bytes_are_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(os, "fsync", lambda _: calls.append("fsync"))
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("replace"), replace(a, b)))
    with whole_file(tmp_path / "file") as temporary:
        assert temporary.parent == tmp_path  # a rename across file systems is not atomic
        temporary.write_text("whole")
        assert not (tmp_path / "file").exists()
    assert calls == ["fsync", "replace", "fsync"]  # the bytes, the name, the folder
    assert (tmp_path / "file").read_text() == "whole"


def test_a_full_disk_is_said_in_plain_words(tmp_path):
    with pytest.raises(UserError, match="No space left"), whole_file(tmp_path / "file"):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_specs_gives_results_only(store):
    other = replace(SPEC, claim="C11", part="control", scale=Scale.FULL, seed=12)
    path = write(store)
    write(store, other)
    (store.folder / f".tmp-1-{path.name}").write_bytes(path.read_bytes())
    (store.folder / "C1-check-0000000000000000.parquet").write_bytes(path.read_bytes())  # not its name
    (store.folder / "C1-notes.parquet").write_bytes(b"")
    CASES.to_parquet(store.folder / "C1-mine.parquet")
    assert list(store.specs()) == [SPEC, other]
    assert list(store.specs("C1")) == [SPEC]


def flip(data):
    place = data.index(struct.pack("<d", 0.1))  # one bit of a number: only a checksum can tell
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize("damage", [lambda _: b"", lambda b: b[: len(b) // 2], flip, lambda _: b"junk"])
def test_a_damaged_file_is_not_read(store, damage):
    assert store.read(SPEC) is None
    path = write(store)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(BrokenFileError, match=f"{path.name} is not a result of rebel-theory"):
        store.read(SPEC)


def test_a_file_of_another_unit_is_not_read(store):
    write(store, replace(SPEC, seed=4)).rename(store.path(SPEC))
    with pytest.raises(BrokenFileError, match="another unit"):
        store.read(SPEC)


def test_leftovers_of_killed_runs_go_after_an_hour(store):
    old, new = (store.folder / f".tmp-{i}-C1-check-x.parquet" for i in (1, 2))
    old.write_bytes(b"half")
    new.write_bytes(b"half")
    os.utime(old, (time.time() - 4000,) * 2)
    store.prepare()
    assert [path.exists() for path in (old, new)] == [False, True]


def test_timings_survive_a_line_that_was_cut_off(tmp_path):
    timings = Timings(tmp_path)
    assert timings.read() == []
    timings.add(SPEC, 1.5)
    with timings.path.open("a") as file:
        file.write('{"unit": "C1-check-')  # killed here
    timings.add(replace(SPEC, seed=4), 2.5)
    assert [(t.unit, t.seconds) for t in timings.read()] == [(SPEC.name, 1.5), (replace(SPEC, seed=4).name, 2.5)]


def test_a_folder_below_a_file_cannot_be_written(tmp_path):
    # not chmod: root writes where it likes, and these tests may run as root
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write to the folder .*--out DIR"):
        Store(tmp_path / "file" / "results").prepare()


def test_trying_a_folder_leaves_nothing(tmp_path):
    require_writable(tmp_path / "new" / "er")
    assert list((tmp_path / "new" / "er").iterdir()) == []


def test_a_figures_path_that_is_a_file_is_found_before_work_starts(tmp_path):
    (tmp_path / "figures").write_text("")
    with pytest.raises(UserError, match="figures"):
        Store(tmp_path).prepare()
