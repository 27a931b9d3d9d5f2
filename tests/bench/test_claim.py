"""Claims, their streams, and the folder they are found in."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rebel_bench import registry
from rebel_bench.claim import Claim, Equality, Rate, Scale, stream
from rebel_bench.errors import ClaimError, UserError


def claim(**changes):
    fields = {
        "id": "C1",
        "title": "t",
        "statement": "s",
        "source": "s",
        "test": Equality(0.1),
        "check": lambda rng, scale: pd.DataFrame({"error": rng.random(3)}),
        "control": lambda rng, scale: pd.DataFrame({"error": rng.random(3)}),
        "control_statement": "c",
    }
    return Claim(**(fields | changes))


@pytest.mark.parametrize("id", ["c1", "C", "1", "C1/..", "C1.2", ""])
def test_an_id_is_also_a_file_name(id):
    with pytest.raises(ValueError, match="claim id"):
        claim(id=id)


def test_an_empty_statement_is_refused():
    with pytest.raises(ValueError, match="statement is empty"):
        claim(statement=" ")


@pytest.mark.parametrize("rate", [-1e-9, 0.06, float("nan")])
def test_a_false_alarm_rate_is_small(rate):
    with pytest.raises(ValueError, match="C1: false_alarm is"):
        claim(false_alarm=rate)
    assert claim(false_alarm=0.05).false_alarm == 0.05


def test_blocks_are_counted_and_numbered():
    with pytest.raises(ValueError, match=r"C1: blocks\(paper\) is 0, expected at least 1"):
        claim(blocks=lambda scale: 0).measure("check", Scale.PAPER, 0)
    named = claim(blocks=lambda scale: 2)
    with pytest.raises(ValueError, match="C1: the column 'block' is written by the runner"):
        named.join([pd.DataFrame({"block": [1]})] * 2)
    assert "block" in named.join([pd.DataFrame({"block": [1]})])  # one block is left alone


def test_every_part_of_every_claim_has_its_own_stream():
    parts = [
        claim(id=id).measure(part, Scale.QUICK, seed)["error"].to_numpy()
        for id in ("C1", "C11")
        for part in ("check", "control")
        for seed in (0, 1)
    ]
    assert len({row.tobytes() for row in parts}) == 8
    again = claim().measure("check", Scale.QUICK, 0)["error"].to_numpy()
    np.testing.assert_array_equal(parts[0], again)


def test_streams_separate_names_that_join_alike():
    draws = {stream(*names, seed=0).random() for names in [("C1", "1"), ("C11", ""), ("C1", 1), ("C1,", "1")]}
    assert len(draws) == 4


def test_streams_do_not_change_between_versions():
    # frozen: a change here changes every stored result
    assert stream("claim", "C1", "check", seed=0).integers(10**9) == 552932896


def test_a_check_must_return_a_table():
    with pytest.raises(TypeError, match="C1: check returned list, expected a pandas DataFrame"):
        claim(check=lambda rng, scale: [1]).measure("check", Scale.QUICK, 0)


def test_a_control_refuted_by_nan_alone_shows_nothing():
    nan = pd.DataFrame({"error": [0.0, np.nan]})
    assert claim().judge("check", nan).verdict == "refuted"
    assert claim().judge("control", nan).verdict == "inconclusive"
    assert claim().judge("control", pd.DataFrame({"error": [5.0, np.nan]})).verdict == "refuted"


def test_a_control_of_a_rate_may_be_refuted():
    cases = pd.DataFrame({"seed": [0, 0, 1, 1], "x": [1, 10, 1, 10], "y": [1.0, 1.0, 2.0, 2.0]})
    assert claim(test=Rate(-1, 0.1)).judge("control", cases).verdict == "refuted"


def test_claims_are_found_in_natural_order(tmp_path, toy):
    for id in ("S1", "C11", "X1", "C2", "E10", "P1", "E9"):
        toy(tmp_path, id)
    (tmp_path / "_helper.py").write_text("raise RuntimeError")
    (tmp_path / "notes.txt").write_text("no claim")
    assert list(registry.find_all(tmp_path)) == ["E9", "E10", "C2", "C11", "S1", "P1", "X1"]


def test_ids_are_forgiving_and_the_order_is_kept(toys):
    found = registry.find_all(toys)
    assert [f.claim.id for f in registry.select(found, ["c11,e1", "E1"])] == ["E1", "C11"]
    assert [f.claim.id for f in registry.select(found)] == ["E1", "C2", "C11"]


def test_unknown_ids_are_all_named_with_the_nearest(toys):
    with pytest.raises(UserError, match=r"(?s)'C1'.*nearest are .*C11.*'Z9'"):
        registry.select(registry.find_all(toys), ["C1", "C2", "Z9"])


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("x = 1", UserError, "has no `CLAIM"),
        ("CLAIM = 3", UserError, "has no `CLAIM"),
        ("1 / 0", ClaimError, "(?s)bad.py.*ZeroDivisionError"),
        ("def", ClaimError, "(?s)bad.py.*SyntaxError"),
    ],
)
def test_files_that_are_no_claims(tmp_path, text, error, message):
    (tmp_path / "bad.py").write_text(text)
    with pytest.raises(error, match=message):
        registry.find_all(tmp_path)


def test_one_id_in_two_files(tmp_path, toy):
    toy(tmp_path, "C1").rename(tmp_path / "other.py")
    toy(tmp_path, "C1")
    with pytest.raises(UserError, match=r"C1 is defined twice, in c1\.py and in other\.py"):
        registry.find_all(tmp_path)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="no folder of claims"):
        registry.find_all(tmp_path / "nowhere")


def test_the_claims_that_ship_load():
    assert all(isinstance(c, Claim) for c in registry.find_claims())
