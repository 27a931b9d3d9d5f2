"""``rebel-theory game --algorithms``: the comparison against runs of the library, its table, files and errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import rebel_theory as rt
from rebel_bench.cli import main
from rebel_envs.win_matrices import from_win_matrix

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
CYCLE = "rock,paper,scissors\n0.5,0.3,0.7\n0.7,0.5,0.4\n0.3,0.6,0.5\n"
EVEN = "rock,paper,scissors\n0.5,0,1\n1,0.5,0\n0,1,0.5\n"  # uniform wins
FOUR = "a,b,c,$d\n0.5,0.3,0.7,0.9\n0.7,0.5,0.4,0.8\n0.3,0.6,0.5,0.7\n0.1,0.2,0.3,0.5\n"  # d is never worth playing
OWN = """
from dataclasses import dataclass
from typing import Any
import rebel_theory as rt

@dataclass(frozen=True, eq=False)
class Still(rt.Algorithm):
    step_size: Any
    name = "still"

    def step(self, state, oracle):
        oracle.feedback(state.policy)
        return state
"""


@pytest.fixture
def game(tmp_path, capsys):
    def run(text, *arguments):
        path = tmp_path / "wins.csv"
        path.write_text(text, encoding="utf-8")
        code = main(["game", str(path), "--out", str(tmp_path / "out"), "--iterations", "60", *arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def compared(game):
    def run(text, *arguments):
        code, out, err = game(text, "--json", "--no-figures", *arguments)
        assert code == 0, err
        return json.loads(out)["comparison"]

    return run


def test_without_algorithms_nothing_is_compared(game):
    code, out, _ = game(CYCLE, "--json", "--no-figures")
    assert code == 0
    assert "comparison" not in json.loads(out)


def test_equals_runs_of_the_library(compared, tmp_path):
    found = compared(CYCLE, "--algorithms", "omwu,mmd(reference=uniform),egpo(temperature=0.3)", "--step-size", "0.2",
                     "--temperature", "0.05")  # fmt: skip
    matrix = from_win_matrix(tmp_path / "wins.csv")
    uniform = np.full(3, 1 / 3)
    expected = {
        "OMWU": (rt.Omwu(0.2), None),
        "MMD (Uniform)": (rt.MagneticMirrorDescent(0.2, 0.05), 0.05),
        "EGPO (temperature=0.3)": (rt.Egpo(0.2, 0.3), 0.3),  # its own temperature, not the common one
    }
    assert list(found["algorithms"]) == list(expected)
    for name, (algorithm, tau) in expected.items():
        shown = found["algorithms"][name]
        probs = rt.run(matrix, algorithm, n_iterations=60, keep_policies=True).probs[0, :, 0]
        assert shown["last_gap"] == pytest.approx(2 * (matrix.payoff[0] @ probs[-1]).max())
        assert shown["last_gap_win_probability"] == pytest.approx((matrix.payoff[0] @ probs[-1]).max())
        assert shown["average_gap"] == pytest.approx(2 * (matrix.payoff[0] @ probs.mean(axis=0)).max())
        assert list(shown["policy"].values()) == pytest.approx(probs[-1].tolist())
        assert shown["temperature"] == tau
        if tau is None:
            assert shown["regularised_gap"] is None
            continue
        star = rt.regularised_equilibrium(matrix, tau, uniform).policy
        assert shown["regularised_gap"] == pytest.approx(
            float(rt.regularised_duality_gap(matrix, probs[-1], tau, uniform))
        )
        assert shown["regularised_equilibrium_gap"] == pytest.approx(2 * (matrix.payoff[0] @ star).max())


def test_the_start_is_off_equilibrium_and_is_the_reference(compared):
    found = compared(EVEN, "--algorithms", "rebel,mmd", "--temperature", "10", "--iterations", "500")
    start = {"rock": 0.5, "paper": 0.25, "scissors": 0.25}
    assert found["first_policy"] == start
    mmd = found["algorithms"]["MMD"]  # at this temperature nobody leaves the reference by much
    assert list(mmd["policy"].values()) == pytest.approx(list(start.values()), abs=0.02)
    assert mmd["regularised_gap"] < 1e-12
    assert mmd["regularised_equilibrium_gap"] == pytest.approx(mmd["last_gap"], abs=1e-9)


def test_last_iterates_cycle_converge_and_rest_at_the_bias(compared):
    """Rock, paper, scissors off equilibrium: REBEL moves away, OMWU and EGPO converge, MMD and Nash-MD are biased."""
    found = compared(EVEN, "--algorithms", "rebel,omwu,egpo,mmd,nash-md", "--iterations", "3000")["algorithms"]
    first = 0.5
    assert found["REBEL"]["last_gap"] > first > 0.1 > found["REBEL"]["average_gap"]
    for name in ("OMWU", "EGPO"):
        assert found[name]["last_gap"] < 0.01 * first
    for name in ("MMD", "Nash-MD"):
        bias = found[name]["regularised_equilibrium_gap"]
        assert bias > 0.05
        assert found[name]["last_gap"] == pytest.approx(bias, rel=0.1)


def test_soccer(capsys):
    """The ten agents: OMWU and EGPO find the winner's three, REBEL cycles, MMD and Nash-MD rest at the bias."""
    path = DATA / "soccer10_P.csv"
    if not path.exists():
        pytest.skip(f"{path.name} is not part of the project")
    arguments = ["--algorithms", "rebel,omwu,egpo,mmd,nash-md", "--iterations", "8000", "--step-size", "0.5"]
    assert main(["game", str(path), "--json", "--no-figures", *arguments]) == 0
    found = json.loads(capsys.readouterr().out)["comparison"]["algorithms"]
    for name in ("OMWU", "EGPO"):
        assert found[name]["last_gap"] < 1e-6
        assert found[name]["plays"] == 3
    assert found["REBEL"]["last_gap"] > 0.1 > 0.01 > found["REBEL"]["average_gap"]
    for name in ("MMD", "Nash-MD"):
        assert found[name]["last_gap"] == pytest.approx(0.1253, rel=0.02)
        assert found[name]["regularised_equilibrium_gap"] == pytest.approx(0.1253, abs=1e-4)


def test_who_is_played(compared):
    found = compared(FOUR, "--algorithms", "omwu", "--step-size", "2", "--iterations", "200")["algorithms"]["OMWU"]
    assert found["plays"] == 3
    assert found["outside_the_winner"] == pytest.approx(found["policy"]["$d"])
    assert found["outside_the_winner"] < 1e-6


def test_sampled_seeds(compared, game):
    arguments = ("--algorithms", "rebel,omwu", "--pairs", "20", "--seeds", "3")
    found = compared(CYCLE, *arguments)
    assert (found["pairs"], found["seeds"]) == (20, 3)
    for algorithm in found["algorithms"].values():
        gaps = algorithm["last_gap_by_seed"]
        assert len(set(gaps)) == 3
        assert algorithm["last_gap"] == pytest.approx(np.mean(gaps))
    assert found == compared(CYCLE, *arguments)
    assert found != compared(CYCLE, *arguments, "--seed", "1")
    _, out, _ = game(CYCLE, *arguments, "--no-figures")
    assert "updates of 20 sampled pairs, means over 3 seeds" in " ".join(out.split())


def test_the_table_shows_both_units(game, tmp_path):
    own = tmp_path / "own.py"
    own.write_text(OWN, encoding="utf-8")
    code, out, err = game(CYCLE, "--algorithms", "mmd", "--algorithm", f"{own}:Still", "--no-figures")
    assert code == 0, err
    row = [cell.strip() for cell in next(line for line in out.splitlines() if "still" in line).split("│")]
    # uniform: paper beats it by (0.4 - 0.2)/3 payoff, a gap of twice that
    assert row[1:7] == ["still", "0.0667", "0.1333", "0.0667", "0.1333", "3"]
    assert "regularised" in out


@pytest.mark.parametrize("text", [CYCLE, FOUR], ids=["three", "four"])
def test_figure_and_data(game, tmp_path, text):
    code, out, err = game(text, "--algorithms", "rebel,mmd", "--pairs", "10", "--seeds", "2")
    assert code == 0, err
    folder = tmp_path / "out"
    for name in ("png", "pdf", "parquet"):
        assert (folder / f"wins.comparison.{name}").stat().st_size > 1000
        assert f"wins.comparison.{name}" in out
    curves = pd.read_parquet(folder / "wins.comparison.parquet")
    assert curves.groupby(["algorithm", "seed"]).size().to_dict() == {
        (a, s): 61 for a in ("MMD", "REBEL") for s in (0, 1)
    }
    policies = pd.read_csv(folder / "wins.comparison-policies.csv")
    assert list(policies.columns) == ["name", "winner", "REBEL", "MMD"]
    assert policies[["winner", "REBEL", "MMD"]].sum().to_numpy() == pytest.approx(1.0)


@pytest.mark.parametrize(("arguments", "message"), [
    (["--algorithms", "omw"], "Did you mean omwu?"),
    (["--algorithms", "omwu", "--temperature", "0.1"], "none of OMWU takes one"),
    (["--algorithms", "mmd", "--temperature", "-1"], "--temperature -1: expected a positive number"),
    (["--algorithms", "mmd", "--seeds", "2"], "add --pairs N to sample"),
    (["--algorithms", "mmd", "--pairs", "0"], "--pairs 0: expected at least 1"),
    (["--pairs", "5"], "--pairs: only for a comparison; add --algorithms"),
    (["--algorithms", "egpo(temperature=3)", "--step-size", "1"], "EGPO (temperature=3) cannot run here"),
    (["--algorithm", "nobody.py:No"], "there is no file nobody.py"),
])  # fmt: skip
def test_what_the_user_can_mend_exits_2(game, tmp_path, arguments, message):
    code, out, err = game(CYCLE, *arguments)
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())
    assert not (tmp_path / "out").exists()
