"""Instance files: what is written reads back to the last bit, and whatever is wrong is said at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rebel_envs as envs
import rebel_theory as rt
from rebel_bench.cli import main
from rebel_bench.errors import UserError
from rebel_bench.instance_files import Instance, as_object, load, save
from rebel_bench.instances import KINDS, random_problem


def instance(kind: str, stream: int = 0, /, **changes: Any) -> Instance:
    rng = np.random.default_rng(stream)
    problem = random_problem(rng, kind, 3, 4, 1).instance(0)
    policy = rt.TabularPolicy(rng.standard_normal(problem.policy_shape))
    return Instance(**{"problem": problem, "policy": policy, "step_size": 0.1 + 0.2, "n_iterations": 5} | changes)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_a_file_replays_the_run_to_the_last_bit(kind, seed, tmp_path):
    saved = instance(kind, seed, claim="C2", ratio=0.1 + 0.7, seed=seed, note="found")
    read = load(save(saved, tmp_path / "a" / "x.json"))
    assert as_object(read) == as_object(saved)
    assert (read.claim, read.ratio, read.seed, read.note) == ("C2", 0.1 + 0.7, seed, "found")
    np.testing.assert_array_equal(read.run().gap, saved.run().gap)


def test_log_linear_policies_bases_options_and_ruled_out_actions_survive(tmp_path):
    rng = np.random.default_rng(1)
    phi, mu = rng.standard_normal((3, 4, 2)), rng.dirichlet(np.ones(4), size=3)
    log_linear = instance("bandit", policy=rt.LogLinearPolicy(phi, [0.1, -2.0]), base=mu)
    read = load(save(log_linear, tmp_path / "x.json"))
    np.testing.assert_array_equal(read.run().regression_error, log_linear.run().regression_error)
    np.testing.assert_array_equal(read.base, mu)

    magnet = instance("game", algorithm="mmd", options={"temperature": 0.3, "reference": mu})
    read = load(save(magnet, tmp_path / "y.json"))
    np.testing.assert_array_equal(read.run().gap, magnet.run().gap)

    logits = np.zeros((3, 4))
    logits[1, 2] = -np.inf
    read = load(save(instance("bandit", policy=rt.TabularPolicy(logits), ratio=np.inf), tmp_path / "z.json"))
    assert read.policy.probs[1, 2] == 0
    assert read.ratio == np.inf


def test_a_game_without_contexts_stays_one(tmp_path):
    game = rt.PreferenceGame([[0.5, 0.3], [0.7, 0.5]])
    read = load(save(instance("game", problem=game, policy=rt.TabularPolicy.uniform(game)), tmp_path / "x.json"))
    assert not read.problem.contextual
    np.testing.assert_array_equal(read.problem.preference, game.preference)


def test_rows_that_a_user_typed_are_normalised(tmp_path):
    path = save(instance("bandit"), tmp_path / "x.json")
    data = json.loads(path.read_text())
    data["problem"]["context_dist"] = [0.333333333, 0.333333333, 0.333333334 - 1e-9]
    path.write_text(json.dumps(data))
    assert load(path).problem.context_dist.sum() == pytest.approx(1, abs=1e-15)


def broken(tmp_path: Path, kind: str, change: Any) -> str:
    path = save(instance(kind), tmp_path / "x.json")
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(UserError) as caught:
        load(path)
    return str(caught.value)


def test_all_faults_are_named_at_once(tmp_path):
    def change(data: dict[str, Any]) -> None:
        data["n_iterations"] = 0
        data["algorithm"] |= {"name": "rebl", "step_size": -1.0}
        data["policy"]["logits"][1][2] = None
        data["problem"]["context_dist"] = [0.5, 0.6, 0.0]
        data["colour"] = "blue"

    message = broken(tmp_path, "bandit", change)
    for words in ("5 faults", "n_iterations", "step_size", "entry [1, 2] is None", "sums to 1.1", "colour"):
        assert words in message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["algorithm"].update(name="rebl"), "Did you mean rebel?"),
        (lambda d: d["algorithm"].update(name="me.py:Mine"), "is a Python file"),
        (lambda d: d["algorithm"].update(options={"clip": 1}), "clip"),
        (lambda d: d["algorithm"].update(options={"step_size": 1.0}), "stands next to them"),
        (lambda d: d["algorithm"].update(base="offpolicy"), "'offpolicy' is not on-policy"),
        (lambda d: d["algorithm"].update(base=[[0.5, 0.5]]), "algorithm.base"),
        (lambda d: d["policy"].update(logits=[[0.0, 1.0]]), "expected (3, 4)"),
        (lambda d: d["policy"].update(logits=[[0.0, 1.0], [0.0]]), "ragged"),
        (lambda d: d["policy"].update(logits=[]), "empty"),
        (lambda d: d["problem"].update(kind="maze"), "maze"),
        (lambda d: d["problem"].update(reward=[[True, 1, 2, 3]] * 3), "entry [0, 0] is True"),
        (lambda d: d.update(version=2), "version"),
        (lambda d: d.pop("policy"), "policy"),
    ],
)
def test_a_fault_is_named_with_its_place(change, words, tmp_path):
    message = broken(tmp_path, "bandit", change)
    assert words in message
    assert "1 fault\n" in message


@pytest.mark.parametrize(
    ("text", "words"),
    [(None, "No such file"), ("{", "line 1, column 2"), ("[1]", "1 fault"), ("\xff", "UTF-8")],
)
def test_what_is_no_instance_file_is_a_user_error(text, words, tmp_path):
    path = tmp_path / "x.json"
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=words):
        load(path)


def test_what_the_format_does_not_know_is_refused(tmp_path):
    batch = random_problem(np.random.default_rng(0), "bandit", 3, 4, 2)
    with pytest.raises(TypeError, match="one instance"):
        save(instance("bandit", problem=batch), tmp_path / "x.json")
    assert not list(tmp_path.iterdir())


def run_json(capsys, *arguments: str) -> dict[str, Any]:
    assert main(["run", *arguments, "--json", "--no-figures"]) == 0
    return json.loads(capsys.readouterr().out)


def test_run_replays_a_file_and_options_override_it(capsys, tmp_path):
    one = instance("bandit", base="uniform")
    path = str(save(one, tmp_path / "x.json"))
    (found,) = run_json(capsys, path)["algorithms"]
    assert found["gap"] == one.run().gap[0].tolist()
    other = run_json(
        capsys, path, "--iterations", "2", "--algorithms", "rebel,md", "--step-size", "1", "--start", "uniform"
    )
    assert [a["algorithm"] for a in other["algorithms"]] == ["REBEL", "MD"]
    assert other["step_size"] == 1.0
    assert len(other["algorithms"][0]["gap"]) == 3
    assert other["algorithms"][0]["gap"][0] != found["gap"][0]
    assert main(["run", path, "--set", "a=1"]) == 2
    assert "--set" in capsys.readouterr().err


def test_contexts_survive_and_files_without_them_are_as_before(tmp_path):
    for make in (envs.neural_bandit, envs.contextual_cycle):
        problem = make(4, 3)
        read = load(save(instance("bandit", problem=problem, policy=rt.TabularPolicy.uniform(problem)), tmp_path / "x"))
        np.testing.assert_array_equal(read.problem.contexts, problem.contexts)
    assert "contexts" not in as_object(instance("bandit"))["problem"]
    plain = as_object(instance("bandit"))
    plain["problem"]["contexts"] = [[1.0], [2.0]]
    (tmp_path / "y").write_text(json.dumps(plain))
    with pytest.raises(UserError, match=r"contexts has shape \(2, 1\), expected \(3, k\)"):
        load(tmp_path / "y")
    plain["problem"]["contexts"] = [[1.0], ["a"], [2.0]]
    (tmp_path / "y").write_text(json.dumps(plain))
    with pytest.raises(UserError, match=r"1 fault\n.*contexts: entry \[1, 0\] is 'a'"):
        load(tmp_path / "y")
