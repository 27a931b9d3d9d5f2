"""The command line: exit codes, strict JSON, plain errors, and nothing eaten or leaked."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pandas as pd
import pytest

import rebel_bench
from rebel_bench import pool
from rebel_bench.cli import COMMANDS, main
from rebel_bench.errors import ClaimError, UserError
from rebel_bench.tables import json_text

JSON_KEYS = ["id", "statement", "verdict", "control", "measured", "bound", "n_cases", "violations", "seconds"]
JSON_KEYS += ["false_alarm", "p_value", "finding", "reused"]


def strict(text):
    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture
def verify(tmp_path, capsys):
    def run(folder, *arguments):
        code = main(["verify", *arguments, "--claims", str(folder), "--out", str(tmp_path / "out"), "--no-figures"])
        return code, *capsys.readouterr()

    return run


def test_verify_passes_and_stores(verify, toys, tmp_path):
    code, out, err = verify(toys)
    assert code == 0
    assert "3 of 3 claims hold, and every control is refuted" in out
    assert "toy [s=1, a=0]" in out  # brackets are not markup
    assert "[1/6] E1 check holds" in err
    files = sorted(path.name.rpartition("-")[0] for path in (tmp_path / "out" / "units").iterdir())
    assert files == [f"{id}-{part}" for id in ("C11", "C2", "E1") for part in ("check", "control")]


def test_json_is_one_strict_object_on_stdout(verify, toys):
    code, out, err = verify(toys, "C2", "e1", "--json", "--seed", "5", "--scale", "paper")
    found = strict(out)
    assert code == 0
    assert list(found) == ["claims", "version", "seed", "scale", "left_out", "ledger"]
    assert (found["seed"], found["scale"]) == (5, "paper")
    assert [list(row) for row in found["claims"]] == [JSON_KEYS, JSON_KEYS]
    assert [row["id"] for row in found["claims"]] == ["E1", "C2"]
    assert found["claims"][0]["n_cases"] == 20
    assert "a claim that talks" in err


@pytest.mark.parametrize(
    ("check", "control", "verdicts", "message"),
    [
        ("3.0", "3.0", ("refuted", "refuted"), "the claim is refuted"),
        ("1.0", "1.0", ("holds", "holds"), "its control holds, where it must be refuted"),
        ("1.0", "np.nan", ("holds", "inconclusive"), "refuted by NaN alone"),
        ("np.nan", "3.0", ("refuted", "refuted"), "10 of 10 cases are NaN"),
    ],
)
def test_one_failure_fails_all(verify, toys, toy, check, control, verdicts, message):
    toy(toys, "C3", check=check, control=control)
    code, out, _ = verify(toys)
    assert code == 1
    assert message in out
    assert "1 of 4 claims failed: C3" in out
    code, out, _ = verify(toys, "C3", "--json")
    row = strict(out)["claims"][0]
    assert code == 1
    assert (row["verdict"], row["control"]) == verdicts
    assert (row["measured"] is None) == (check == "np.nan")


def test_a_claim_that_raises_is_a_bug_not_a_verdict(verify, toys, toy, tmp_path):
    toy(toys, "P1", control="1 / 0")
    code, out, err = verify(toys, "C2", "P1", "--json")
    assert (code, out) == (1, "")
    assert "P1 (control)" in err
    assert "ZeroDivisionError" in err
    # what was finished before is kept, what failed is not
    names = {path.name.rpartition("-")[0] for path in (tmp_path / "out" / "units").iterdir()}
    assert "C2-control" in names
    assert "P1-control" not in names


def test_a_finding_is_computed_from_the_cases_and_shown(verify, toys):
    file = toys / "c2.py"
    finding = 'finding=lambda cases, control: f"[{len(cases)} of\\n {control.value.max():.3f}]", false_alarm=1e-6'
    file.write_text(file.read_text().replace("figure=figure", finding))
    code, out, _ = verify(toys, "C2", "E1")
    outcome = rebel_bench.verify("C2", claims=toys)["C2"]
    expected = f"[10 of {outcome.control_cases['value'].max():.3f}]"
    assert code == 0
    assert f"C2 finds: {expected}\n" in out
    assert "E1 finds" not in out
    rows = strict(verify(toys, "C2", "E1", "--json")[1])["claims"]
    assert [row["finding"] for row in rows] == [None, expected]
    assert [row["false_alarm"] for row in rows] == [0, 1e-6]


def test_a_finding_that_raises_is_a_bug(verify, toys):
    file = toys / "c2.py"
    file.write_text(file.read_text().replace("figure=figure", "finding=lambda cases, control: 1 / 0"))
    code, out, err = verify(toys, "C2")
    assert (code, out) == (1, "")
    assert "C2 (finding)" in err
    assert "ZeroDivisionError" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["C99"], "unknown claim 'C99': the nearest are"),
        (["--cluster", "head:1234"], "--cluster is not yet in this version"),
        (["--workers", "0"], "--workers 0: expected at least 1"),
        (["--seed", "-1"], "--seed -1: expected 0 or more"),
        (["--scale", "huge"], "huge"),
    ],
)
def test_what_the_user_can_mend_exits_2(verify, toys, tmp_path, arguments, message):
    code, out, err = verify(toys, *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


def test_unknown_ids_make_no_folder(verify, toys, tmp_path):
    assert verify(toys, "C99")[0] == 2
    assert not (tmp_path / "out").exists()


def test_an_unwritable_folder_is_found_before_any_work(toys, toy, tmp_path, capsys):
    toy(toys, "A1", check="1 / 0")  # would exit 1 if it ran
    (tmp_path / "file").write_text("")
    code = main(["verify", "--claims", str(toys), "--out", str(tmp_path / "file" / "out")])
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert "cannot write to the folder" in err
    assert "--out" in err


def raising(error):
    def command(self):
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (
            UserError("transition[s=1, a=0] sums to 2.0 [/red]"),
            2,
            "error: transition[s=1, a=0] sums to 2.0 [/red]\n",
        ),
        (ClaimError("C1 (check)", "Traceback [a=1]"), 1, "Traceback [a=1]"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (BrokenPipeError(), 141, ""),
    ],
)
def test_exit_codes(monkeypatch, capsys, error, code, message):
    monkeypatch.setattr(COMMANDS["claims"], "__call__", raising(error))
    stdout = sys.stdout
    try:
        assert main(["claims"]) == code
    finally:
        if sys.stdout is not stdout:
            sys.stdout.close()
            sys.stdout = stdout
    assert message in capsys.readouterr().err


def test_invalid_input_to_the_library_is_the_users_to_mend(monkeypatch, capsys):
    from rebel_theory.problems.base import InvalidProblemError

    error = InvalidProblemError("MDP", ["transition[s=1, a=0] sums to 2.0"])
    monkeypatch.setattr(COMMANDS["claims"], "__call__", raising(error))
    assert main(["claims"]) == 2
    assert "transition[s=1, a=0] sums to 2.0" in capsys.readouterr().err


def test_other_exceptions_are_not_hidden(monkeypatch):
    monkeypatch.setattr(COMMANDS["claims"], "__call__", raising(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        main(["claims"])


def test_claims_lists(toys, capsys):
    assert main(["claims", "--claims", str(toys)]) == 0
    table = capsys.readouterr().out
    assert "a statement with [s=1, a=0] and [/red]" in table
    assert main(["claims", "--json", "--claims", str(toys)]) == 0
    listed = strict(capsys.readouterr().out)
    assert [row["id"] for row in listed] == ["E1", "C2", "C11"]
    assert listed[0]["test"] == "Inequality"
    assert listed[0]["false_alarm"] == 0


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_explains_itself_with_examples(name, capsys):
    assert main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.count(f"rebel-theory {name}") >= 2
    assert "Examples:" in shown


def test_help_lists_the_commands_and_version(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"rebel-theory {name}" in shown or f"• {name}" in shown for name in COMMANDS)
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("rebel-theory 0")
    assert main([]) == 2
    assert main(["verfy"]) == 2


def run_python(*arguments):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from rebel_bench.cli import main; main(['verify', '--help']); "
        "heavy = 'numpy', 'pandas', 'scipy', 'matplotlib', 'pyarrow', 'rebel_theory'; "
        "print([m for m in heavy if m in sys.modules])"
    )
    assert run_python("-c", code).stdout.endswith("[]\n")


def test_the_module_runs_with_workers_and_agrees_with_one(toys, tmp_path):
    """A process of its own with two workers finds, to the last bit, what this process finds."""
    out = tmp_path / "two"
    command = ["verify", "--claims", str(toys), "--out", str(out), "--workers", "2", "--json", "--no-figures"]
    ran = run_python("-m", "rebel_bench", *command)
    assert ran.returncode == 0, ran.stderr
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in strict(ran.stdout)["claims"]]
    here = rebel_bench.verify(claims=toys, out=tmp_path / "one")
    here_rows = strict(json_text(here.rows()))
    assert rows == [{k: v for k, v in row.items() if k != "seconds"} for row in here_rows]
    files = [{path.name: path.read_bytes() for path in (tmp_path / n / "units").iterdir()} for n in ("one", "two")]
    assert len(files[0]) == 6
    assert files[0] == files[1]


def test_workers_use_one_thread(toys, toy, monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    toy(toys, "A1", check="float(__import__('os').environ['OPENBLAS_NUM_THREADS'])")  # 1 holds, 7 does not
    assert rebel_bench.verify("A1", claims=toys, workers=2).passed
    assert not rebel_bench.verify("A1", claims=toys, workers=1).passed  # this process is not meddled with


def test_one_worker_uses_one_blas_thread_while_it_measures(toys, toy, monkeypatch):
    from rebel_theory import blas

    control = blas._control("numpy.linalg._umath_linalg")
    if control is None:
        pytest.skip("a BLAS whose threads cannot be set")
    threads, set_threads = control
    before = threads()
    set_threads(2)
    try:
        toy(toys, "A1", check="__import__('rebel_theory.blas').blas._control('numpy.linalg._umath_linalg')[0]()")
        assert rebel_bench.verify("A1", claims=toys).passed  # 1 holds, 2 does not
        assert threads() == 2
    finally:
        set_threads(before)


def test_workers_report_a_claim_that_raises_and_restore_the_environment(toys, toy, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    toy(toys, "A1", check="1 / 0")
    with pytest.raises(ClaimError, match=r"(?s)A1 \(check\).*ZeroDivisionError"):
        rebel_bench.verify("A1", claims=toys, workers=2)
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "NUMBA_NUM_THREADS" not in os.environ


def test_a_second_identity_is_refused():
    source = rebel_bench.__file__
    code = (
        "import importlib.util as u; "
        f"s = u.spec_from_file_location('benchmarks.rebel_bench', {source!r}); "
        "s.loader.exec_module(u.module_from_spec(s))"
    )
    ran = run_python("-c", code)
    assert ran.returncode == 1
    assert "write `import rebel_bench`" in ran.stderr


def test_the_python_interface(toys):
    result = rebel_bench.verify("c2, e1", claims=toys, seed=2)
    assert [outcome.claim.id for outcome in result] == ["E1", "C2"]
    assert result["c2"].passed
    assert result.passed
    assert len(result) == 2
    assert list(result.to_frame().columns) == JSON_KEYS
    assert "<table" in result._repr_html_()
    with pytest.raises(KeyError, match="C9"):
        result["C9"]
    with pytest.raises(UserError, match="expected one of quick, paper, full"):
        rebel_bench.verify(claims=toys, scale="huge")


def test_results_do_not_depend_on_which_other_claims_run(toys):
    alone, together = rebel_bench.verify("C2", claims=toys), rebel_bench.verify(claims=toys)
    pd.testing.assert_frame_equal(alone["C2"].cases, together["C2"].cases, check_exact=True)


def test_a_dead_worker_is_reported(toys, toy):
    toy(toys, "A1", check="__import__('os')._exit(3)")
    with pytest.raises(ClaimError, match="Try fewer --workers"):
        rebel_bench.verify("A1", claims=toys, workers=2)


def test_one_worker_stays_in_this_process(toys, monkeypatch):
    monkeypatch.setattr(pool, "_spawned", raising(AssertionError("spawned")))
    assert rebel_bench.verify("C2", claims=toys).passed
