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
