"""`rebel-theory run`: the facts it prints, the files it writes, and every bad option by its message."""

import json

import numpy as np
import pandas as pd
import pytest

import rebel_envs as envs
import rebel_theory as rt
from rebel_bench.cli import main


def run(capsys, *arguments):
    code = main(["run", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def as_json(capsys, *arguments):
    code, out, _ = run(capsys, *arguments, "--json")
    assert code == 0
    return json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_frozenlake_the_three_coincide_and_the_optimum_is_the_solvers(capsys):
    found = as_json(capsys, "frozenlake", "--iterations", "60", "--no-figures")
    lake = envs.from_gymnasium("FrozenLake-v1")
    assert found["optimum"] == pytest.approx(float(rt.solve(lake).objective), abs=1e-12)
    assert found["error_bound"] < 1e-9
    assert 0 < found["evaluation_error"] < 1e-10
    assert [a["algorithm"] for a in found["algorithms"]] == ["REBEL", "NPG", "MD"]
    assert all(pair["largest"] <= 1e-9 for pair in found["total_variation"])
    trace = rt.run(lake, rt.MirrorDescent(found["step_size"]), n_iterations=60)
    np.testing.assert_allclose(found["algorithms"][0]["gap"], trace.gap[0], atol=1e-10)
    assert found["algorithms"][2]["last"] < found["algorithms"][2]["first"]


def test_a_log_linear_class_and_an_off_policy_base_part(capsys):
    found = as_json(capsys, "frozenlake", "--policy", "log-linear", "--base", "uniform", "--no-figures")
    assert all(pair["largest"] > 1e-3 for pair in found["total_variation"])


def test_the_default_step_moves_no_log_ratio_by_more_than_one(capsys):
    found = as_json(capsys, "cliffwalking", "--iterations", "1", "--no-figures")
    cliff = envs.make("cliffwalking")
    first = rt.evaluate(cliff, np.full(cliff.policy_shape, 0.25))
    spread = np.ptp(first.q_values, axis=1)[first.occupancy > 0].max()
    assert found["step_size"] == pytest.approx(1 / spread)


@pytest.mark.filterwarnings("error")
def test_files_of_a_three_action_game(capsys, tmp_path):
    code, out, _ = run(
        capsys, "rock-paper-scissors", "--iterations", "30", "--step-size", "0.1", "--out", str(tmp_path)
    )
    assert code == 0
    assert "duality gap" in out
    assert "coincide" in out
    assert "certified" not in out  # nothing to certify: a policy against itself earns 0
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"rock-paper-scissors-tabular.{e}" for e in ("parquet", "pdf", "png")]
    frame = pd.read_parquet(tmp_path / "rock-paper-scissors-tabular.parquet")
    assert set(frame["algorithm"]) == {"REBEL", "NPG", "MD"}
    assert len(frame) == 3 * 31
    assert frame["gap"].iloc[0] > 0.01  # started off the equilibrium


def test_sampled_seeds_mirror_maps_and_constructor_options(capsys):
    options = ["--pairs", "50", "--seeds", "3", "--iterations", "4", "--no-figures"]
    found = as_json(
        capsys, "garnet", "--set", "n_states=7", "discount=0.5", *options, "--algorithms", "md-tsallis,rebel"
    )
    assert found["policy_shape"][0] == 7
    assert [a["algorithm"] for a in found["algorithms"]] == ["MD (Tsallis)", "REBEL"]
    assert found["algorithms"][1]["queries"] > 2 * 50 * 4  # a roll-out sees at least one reward
    again = as_json(capsys, "garnet", "--set", "n_states=7", "discount=0.5", *options, "--algorithms", "rebel")
    assert again["algorithms"][0]["gap"] == found["algorithms"][1]["gap"]  # whatever else runs


def test_list(capsys):
    code, out, _ = run(capsys, "list")
    assert code == 0
    assert all(name in out for name in ("frozenlake", "garnet", "rock-paper-scissors"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["frozenlak"], "did you mean frozenlake"),
        (["frozenlake", "--algorithms", "rebel,ngp"], "Did you mean npg?"),
        (["frozenlake", "--algorithms", ","], "nothing is not one of"),
        (["frozenlake", "--iterations", "0"], "--iterations 0"),
        (["frozenlake", "--step-size", "-1"], "--step-size -1"),
        (["frozenlake", "--step-size", "nan"], "--step-size nan"),
        (["frozenlake", "--pairs", "0"], "--pairs 0"),
        (["frozenlake", "--seeds", "3"], "add --pairs"),
        (["garnet", "--set", "n_states"], "expected KEY=VALUE"),
        (["garnet", "--set", "colour=3"], "no parameter 'colour'"),
        (["garnet", "--set", "discount=1.5"], "discount is 1.5"),
        (["cliffwalking", "--set", "discount=1"], "need never terminate"),
        (["CartPole-v1"], "transition table"),
        (["chain", "--out", "/dev/null/x"], "cannot write to the folder"),
    ],
)
def test_bad_input_is_named_and_nothing_is_done(capsys, monkeypatch, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert message in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []
