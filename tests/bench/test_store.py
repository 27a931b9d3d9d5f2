"""Stored results: what goes in comes out, and nothing is ever half there."""

from __future__ import annotations

import math
import os

import pandas as pd
import pyarrow.parquet as pq
import pytest

from rebel_bench.atomic import require_writable, whole_file
from rebel_bench.claim import Judgement, Scale
from rebel_bench.errors import UserError
from rebel_bench.store import Key, Store, Stored

KEY = Key("C1", "check", Scale.QUICK, 3)


def stored(x=0.1, key=KEY, measured=0.25):
    cases = pd.DataFrame({"x": [x, math.nan], "name": ["a", None], "n": [1, 2]})
    judgement = Judgement("refuted", measured, math.inf, 2, 1, 1, "one is NaN", 0.25)
    return Stored(key, cases, judgement, "a statement", "0.1", 1.5)


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "results")
    store.prepare()
    return store


@pytest.mark.parametrize("measured", [0.1 + 0.2, math.inf, -math.inf])
def test_round_trip(store, measured):
    path = store.write(stored(measured=measured))
    assert path.name == "C1.quick.3.check.parquet"
    back = store.read(KEY)
    pd.testing.assert_frame_equal(back.cases, stored().cases)
    assert back.judgement == stored(measured=measured).judgement
    assert (back.key, back.statement, back.version, back.seconds) == (KEY, "a statement", "0.1", 1.5)


def test_nan_survives_the_metadata(store):
    store.write(stored(measured=math.nan))
    assert math.isnan(store.read(KEY).judgement.measured)


def test_a_run_killed_before_the_rename_leaves_the_old_file(store, monkeypatch):
    store.write(stored(x=0.1))
    before = sorted(store.folder.iterdir())

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            store.write(stored(x=9.0))
    assert store.read(KEY).cases["x"][0] == 0.1
    assert sorted(store.folder.iterdir()) == before


def test_a_run_killed_while_writing_leaves_the_old_file(store, monkeypatch):
    store.write(stored(x=0.1))

    def half(table, path):
        path.write_bytes(b"PAR1 half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pq, "write_table", half)
        with pytest.raises(KeyboardInterrupt):
            store.write(stored(x=9.0))
    assert store.read(KEY).cases["x"][0] == 0.1


def test_the_bytes_are_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(os, "fsync", lambda _: calls.append("fsync"))
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("replace"), replace(a, b)))
    with whole_file(tmp_path / "file") as temporary:
        assert temporary.parent == tmp_path  # a rename across file systems is not atomic
        temporary.write_text("whole")
        assert not (tmp_path / "file").exists()
    assert calls == ["fsync", "replace"]
    assert (tmp_path / "file").read_text() == "whole"


def test_a_full_disk_is_said_in_plain_words(tmp_path):
    with pytest.raises(UserError, match="No space left"), whole_file(tmp_path / "file"):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_list_keys_gives_results_only(store):
    other = Key("E10", "control", Scale.FULL, 12)
    store.write(stored())
    store.write(stored(key=other))
    for name in (".tmp-1-C2.quick.0.check.parquet", "C2.quick.0.parquet", "C2.huge.0.check.parquet", "x.csv"):
        (store.folder / name).write_bytes(b"")
    assert store.list_keys() == [KEY, other]


def test_missing_and_foreign_files(store):
    with pytest.raises(UserError, match="run `rebel-theory verify` first"):
        store.read(KEY)
    path = store.folder / KEY.file_name
    path.write_bytes(b"not parquet")
    with pytest.raises(UserError, match="not a result of rebel-theory"):
        store.read(KEY)
    pd.DataFrame({"x": [1]}).to_parquet(path)
    with pytest.raises(UserError, match="not a result of rebel-theory"):
        store.read(KEY)


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
