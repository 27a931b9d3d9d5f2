"""Algorithms on the command line: the list, options, files of the user's own, and the contract command."""

import json
from pathlib import Path

import pytest

import rebel_theory as rt
from rebel_bench.algorithm_specs import parse
from rebel_bench.cli import main
from rebel_bench.errors import UserError
from rebel_theory.algorithms.registry import find_algorithms

OWN = '''
from dataclasses import dataclass

import rebel_theory as rt


@dataclass(frozen=True, eq=False)
class Twice(rt.Algorithm):
    """Two mirror steps."""

    step_size: float
    name = "twice"

    def step(self, state, oracle):
        for _ in range(2):
            state = rt.MirrorDescent(self.step_size).step(state, oracle)
        return rt.State(state.policy)
'''


@pytest.fixture
def own(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(OWN)
    return file


def test_the_list_is_complete(capsys):
    assert main(["algorithms", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["key"] for row in rows] == list(find_algorithms())
    assert all(row["update"] and row["source"] and row["conditions"] and row["rate"] for row in rows)
    assert main(["algorithms"]) == 0
    assert "REINFORCE" in capsys.readouterr().out


def test_options_in_parentheses():
    ppo, rebel, npg = parse(["ppo(clip=0.1, n_epochs=2),rebel", "npg-pairs"])
    made = ppo.make(0.5)
    assert (made.clip, made.n_epochs, made.step_size) == (0.1, 2, 0.5)
    assert ppo.label == "PPO (clip=0.1, n_epochs=2)"
    assert rebel.make(2.0, "uniform").base == "uniform"
    assert npg.make(1.0).fisher == "pairs"
    assert parse(["rebel(step_size=3.0)"])[0].make(1.0).step_size == 3.0
    assert [s.label for s in parse(["rebel,REBEL , rebel"])] == ["REBEL"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "nothing"),
        ("rebl", "Did you mean rebel"),
        ("ppo(clip)", "clip is not an option of PPO"),
        ("ppo(klip=1)", "klip=1 is not an option of PPO: use step_size, clip"),
        ("ppo(clip=-1)", "clip is -1"),
        ("nowhere.py:A", "there is no file nowhere.py"),
    ],
)
def test_what_is_wrong_is_named(text, words):
    with pytest.raises(UserError, match=words.replace("(", r"\(")):
        [spec.make(1.0) for spec in parse([text])]


def test_an_algorithm_of_ones_own_runs_and_is_checked(own, capsys, tmp_path):
    arguments = ["frozenlake", "--algorithms", "md(step_size=2.0)", "--algorithm", f"{own}:Twice", "--step-size", "1.0"]
    assert main(["run", *arguments, "--iterations", "5", "--no-figures", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [a["algorithm"] for a in found["algorithms"]] == ["MD (step_size=2.0)", "twice"]
    assert found["algorithms"][1]["last"] < found["algorithms"][1]["first"]
    assert main(["check", str(own), "--json"]) == 0  # the only class of the file
    results = json.loads(capsys.readouterr().out)
    assert {r["outcome"] for r in results} <= {"passed", "skipped"}


def test_a_broken_one_fails_the_check_with_the_reason(own, capsys):
    own.write_text(OWN.replace("for _ in range(2):", "if True:").replace("self.step_size).step", "-1.0).step"))
    assert main(["check", str(own)]) == 1
    out = capsys.readouterr().out
    assert "failed" in out
    assert "step_size is -1.0" in " ".join(out.split())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("import rebel_theory", "import nothing_like_it"), "cannot be imported"),
        (("@dataclass(frozen=True, eq=False)", ""), "must be a dataclass"),
        (("class Twice(rt.Algorithm)", "class Twice"), "none: subclass rebel_theory.Algorithm"),
        (("step_size: float", "eta: float"), "with a field step_size"),
    ],
)
def test_a_file_that_is_no_algorithm(own, change, words, capsys):
    own.write_text(OWN.replace(*change))
    assert main(["check", str(own)]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("command", [["run", "frozenlake", "--no-figures"], ["audit", "C11", "--no-figures"]])
def test_what_a_step_of_ones_own_raises_is_told_with_its_line(own, command, capsys):
    own.write_text(OWN.replace("        for _", '        __import__("json").loads(3)\n        for _'))
    line = own.read_text().splitlines().index('        __import__("json").loads(3)') + 1
    assert main([*command, "--algorithm", f"{own}:Twice", "--iterations", "2"]) == 2
    told = capsys.readouterr().err
    assert "TypeError: " in told
    assert f"(line {line} of {own.name})" in told
    assert "Traceback" not in told


def test_what_our_own_code_raises_is_a_bug(own, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(rt.MirrorDescent, "step", fail)
    with pytest.raises(ZeroDivisionError, match="ours"):
        main(["run", "frozenlake", "--algorithms", "md", "--iterations", "2", "--no-figures"])


def test_a_refusal_is_an_error_before_any_work(capsys):
    assert main(["run", "frozenlake", "--algorithms", "psdp,rebel"]) == 2
    assert "PSDP cannot run on frozenlake: works through the steps of a finite horizon" in capsys.readouterr().err


def test_unknown_names_of_the_library_are_attribute_errors():
    with pytest.raises(AttributeError, match="NoSuchAlgorithm"):
        rt.NoSuchAlgorithm  # noqa: B018
    assert "Ppo" in dir(rt)


def test_the_page_of_algorithms_is_the_list(monkeypatch):
    docs = Path(__file__).parents[2] / "docs"
    monkeypatch.syspath_prepend(str(docs))
    import make_algorithms

    assert make_algorithms.listed() in (docs / "algorithms.md").read_text(encoding="utf-8"), (
        "an algorithm changed: run python docs/make_algorithms.py"
    )


def test_the_example_of_the_page_keeps_the_contract(tmp_path, capsys):
    page = (Path(__file__).parents[2] / "docs" / "algorithms.md").read_text(encoding="utf-8")
    file = tmp_path / "averaged.py"
    file.write_text(page.split("```python\n")[1].split("```")[0])
    assert main(["check", str(file)]) == 0, capsys.readouterr().out
