"""The mutation test: its list does not rot, its page is that of the stored run, and bugs really are planted."""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from pathlib import Path

import pytest

from rebel_bench import registry
from rebel_bench.errors import UserError
from rebel_bench.mutations import bugs, command, page, runner
from rebel_bench.mutations.runner import Plan, run_bug
from rebel_bench.speed.page import fill

DOCS = Path(__file__).parents[2] / "docs"
BUGS = bugs.load()
STORED = json.loads((DOCS / "mutations.json").read_text(encoding="utf-8"))


def test_there_are_more_bugs_than_asked_for():
    assert len(BUGS) >= 36
    assert len({bug.file for bug in BUGS.values()}) >= 30


@pytest.mark.parametrize("bug", BUGS.values(), ids=list(BUGS))
def test_a_bug_still_fits_its_file(bug):
    planted = bug.planted()
    assert planted != bug.source().read_text(encoding="utf-8")
    ast.parse(planted)
    assert bug.why
    assert set(bug.aimed) <= set(registry.find_all())


def test_a_text_that_is_gone_or_not_unique_is_an_error_that_names_it():
    bug = BUGS["rebel-half-step"]
    with pytest.raises(UserError, match=r"rebel-half-step: its old text occurs 0 times in rebel_theory/algorithms"):
        replace(bug, old="no such text").planted()
    with pytest.raises(UserError, match=r"occurs \d+ times"):
        replace(bug, old="self").planted()
    with pytest.raises(UserError, match=r"there is no file"):
        replace(bug, file="rebel_theory/nothing.py").planted()


@pytest.mark.parametrize("bug", BUGS.values(), ids=list(BUGS))
def test_the_stored_run_is_of_this_bug_and_it_was_caught(bug):
    assert STORED["bugs"][bug.id]["fingerprint"] == bug.fingerprint, "run it again and write the page"
    assert bool(page.catches(STORED, bug.id)) != bool(bug.uncaught)


def test_the_page_is_that_of_the_stored_run():
    text = (DOCS / "mutations.md").read_text(encoding="utf-8")
    assert fill(text, page.sections(STORED, BUGS)) == text
    for id_ in BUGS:
        assert f"| `{id_}`<br>" in text


@pytest.mark.parametrize(
    ("bug", "claim", "found"),
    [("md-double-step", "E10", "refuted"), ("judge-blind", "C9", "control")],
)
def test_a_planted_bug_is_caught_and_not_run_twice(bug, claim, found, tmp_path):
    told = []
    plan = Plan((claim,))
    for _ in range(2):
        stored = run_bug(BUGS[bug], plan, tmp_path, runner.codes(), lambda name, result: told.append(name))
    assert runner.how(stored["results"][claim]) == found
    assert told == [bug]  # the second time all of it was there
    assert runner.read(tmp_path, bug) == stored


def passing(asked, without=()):
    """Return a stand-in for the process, in which claims pass but for the controls of ``without``."""

    def process(arguments, claims, limit):
        asked.append(list(claims))
        for claim in list(claims):
            control = "holds" if claim in without else "refuted"
            yield {"claim": claim, "seconds": 1.0, "verdict": "holds", "control": control}

    return process


def test_an_edited_claim_or_bug_is_run_again(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(runner, "_process", passing(asked))
    bug = BUGS["rebel-half-step"]
    for code in ("a", "a", "b"):
        run_bug(bug, Plan(("E10", "C2")), tmp_path, {"E10": code, "C2": "a"})
    assert asked == [["E10", "C2"], ["E10"]]
    run_bug(replace(bug, new="state.policy"), Plan(("C2",)), tmp_path, {"C2": "a"})
    assert asked[2:] == [["C2"]]


def test_aimed_claims_come_first_and_the_first_catch_may_be_the_last(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(runner, "_process", passing(asked, without=["C9"]))
    bug, codes = BUGS["plateau-factor"], dict.fromkeys(("C2", "C9", "E1"), "")
    stored = run_bug(bug, Plan(("C2", "E1", "C9"), until_caught=True), tmp_path, codes)
    assert asked == [["C9", "C2", "E1"]]
    assert list(stored["results"]) == ["C9"]


NETWORKS = [id_ for id_, found in registry.find_all().items() if "torch" in found.claim.requires]
TWO = {id_: BUGS[id_] for id_ in ("rebel-half-step", "torch-step-squared")}


def test_bugs_of_torch_meet_the_claims_on_networks_and_others_all(tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(runner, "_process", passing(asked))
    monkeypatch.setattr("rebel_bench.claim._installed", lambda name: True)
    monkeypatch.setattr(bugs, "load", lambda: TWO)
    assert command.Run(out=tmp_path)() == 1
    everything, ordinary, neural = map(set, asked)
    assert everything == ordinary == set(registry.find_all())
    assert neural == set(NETWORKS) == {"N1", "N2", "N3", "N4", "N5"}
    stored = page.collect(tmp_path, TWO)
    assert "2 bugs met every claim" in page.sections(stored, TWO)["summary"]
    assert command.Run(claims=("C2",), out=tmp_path)() == 1  # not a word that the other was not caught
    told = capsys.readouterr()
    assert "left out: 1 bugs of rebel_theory.torch (no claim on networks runs)" in told.err
    assert told.out.endswith("0 of 1 bugs caught; not caught: rebel-half-step\n")


def test_without_torch_a_line_says_what_is_left_out(tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(runner, "_process", passing(asked))
    monkeypatch.setattr("rebel_bench.claim._installed", lambda name: False)
    monkeypatch.setattr(bugs, "load", lambda: TWO)
    assert command.Run(out=tmp_path)() == 1
    assert not any(set(claims) & set(NETWORKS) for claims in asked)
    assert not (tmp_path / "torch-step-squared.json").exists()
    line = (
        "left out: N1, N2, N3, N4, N5 and 1 bugs of rebel_theory.torch "
        "(torch is not installed, run `pip install 'rebel-theory[torch]'`)"
    )
    assert line in capsys.readouterr().err.splitlines()
    with pytest.raises(UserError, match=r"bug torch-step-squared of rebel_theory\.torch cannot be met: torch is not"):
        command.Run(bugs=("torch-step-squared",), out=tmp_path)()
    with pytest.raises(UserError, match="N1: needs torch"):
        command.Run(claims=("N1",), out=tmp_path)()


def test_results_kept_before_stay_while_their_bug_is_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "_process", passing([], without=["C9"]))
    codes = dict.fromkeys(("C2", "C9"), "")
    run_bug(None, Plan(("C2", "C9")), tmp_path, codes)
    for bug in TWO.values():
        run_bug(bug, Plan(("C9",)), tmp_path, codes)
    first, second = TWO.values()
    before = {
        "scale": "quick", "seed": 0,
        "bugs": {first.id: {"fingerprint": first.fingerprint, "results": {"C2": "error", "C9": "", "E1": "refuted"}},
                 second.id: {"fingerprint": "another", "results": {"C2": "refuted"}}},
    }  # fmt: skip
    found = page.collect(tmp_path, TWO, before)["bugs"]
    assert found[first.id]["results"] == {"C2": "error", "C9": "control"}  # E1 is not among the claims that pass now
    assert found[second.id]["results"] == {"C9": "control"}
    assert page.collect(tmp_path, TWO, before | {"seed": 1})["bugs"][first.id]["results"] == {"C9": "control"}


def test_what_no_claim_catches_names_a_test_that_does():
    for bug in BUGS.values():
        named = [word for word in bug.uncaught.split() if word.startswith("tests/")]
        assert bool(bug.uncaught) == bool(named), bug.id
        assert all((DOCS.parent / name).is_file() for name in named)


def test_every_claim_is_aimed_at():
    aimed = [claim for bug in BUGS.values() for claim in bug.aimed]
    assert all(aimed.count(claim) >= 2 for claim in ("C10", "S3", "S5"))
    assert all(aimed.count(claim) >= 3 for claim in NETWORKS)


def test_a_claim_that_takes_too_long_is_an_error(tmp_path):
    stored = run_bug(None, Plan(("E10",), limit=0.01), tmp_path, {"E10": ""})
    assert stored["results"]["E10"]["error"] == "took longer than 0.01 s"


def test_an_exception_counts_and_is_marked(tmp_path):
    bug = replace(BUGS["rebel-half-step"], new="1 / 0")
    stored = run_bug(bug, Plan(("C2",)), tmp_path, {"C2": ""})
    assert runner.how(stored["results"]["C2"]) == "error"
    assert "ZeroDivisionError" in stored["results"]["C2"]["error"]


def test_unknown_bugs_name_the_nearest(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["mutations", "run", "rebel-halfstep"])
    assert command.main() == 2
    assert "rebel-half-step" in capsys.readouterr().err
