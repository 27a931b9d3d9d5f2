import doctest
import importlib
import pkgutil
import subprocess
import sys

import numpy as np
import pytest

import rebel_envs as envs
from rebel_envs.registry import examples
from rebel_theory.problems import InvalidProblemError, Problem


@pytest.mark.parametrize("name", envs.names())
def test_every_example_is_a_problem(name):
    if name == "icu-sepsis":
        pytest.importorskip("rebel_envs.icu").dynamics_file()
    try:
        problem = envs.make(name)
    except InvalidProblemError as error:
        if "not in this version of Gymnasium" in str(error):
            pytest.skip(str(error))
        raise
    assert isinstance(problem, Problem)
    uniform = np.full(problem.policy_shape, 1 / problem.n_actions)
    assert problem.policy_rows(uniform).shape == (problem.n_rows, problem.n_actions)
    line = envs.describe(name)
    assert len(line) > 10
    assert not line.startswith("Return")


@pytest.mark.parametrize("name", [n for n in envs.names() if "icu" not in n and "taxi" not in n])
def test_examples_are_deterministic(name):
    first, second = envs.make(name), envs.make(name)
    for field in ("reward", "transition", "preference", "features", "measures", "initial_dist", "context_dist"):
        a, b = getattr(first, field, None), getattr(second, field, None)
        np.testing.assert_array_equal(a, b)


def test_the_names_of_the_command_line():
    assert set(envs.names()) >= {
        "frozenlake", "frozenlake8x8", "taxi", "cliffwalking", "icu-sepsis", "chain", "river-swim", "gridworld",
        "combination-lock", "deep-sea", "garnet", "random-mdp", "simplex-linear-mdp", "rock-paper-scissors",
        "disc-game", "random-bandit",
    }  # fmt: skip
    assert list(envs.names()) == sorted(envs.names())


def test_keywords_reach_the_constructor():
    assert envs.make("chain", n_states=3).n_states == 3
    assert envs.make("frozenlake", map_name="8x8", discount=0.5).n_states == 64
    assert envs.make("FrozenLake-v1", discount=0.5).discount == 0.5
    assert "FrozenLake-v1" in envs.describe("FrozenLake-v1")
    assert "Taxi" in envs.describe("taxi")


@pytest.mark.parametrize(
    ("name", "kwargs", "offender"),
    [
        ("chian", {}, "did you mean chain"),
        ("River_Swim", {}, "did you mean river-swim"),
        ("zzz", {}, "rebel_envs.names() lists all"),
        ("chain", {"n_state": 4}, "has no parameter 'n_state': did you mean n_states"),
        ("Chain-v0", {}, "unknown to Gymnasium"),
    ],
)
def test_unknown_names_come_with_the_nearest(name, kwargs, offender):
    with pytest.raises(InvalidProblemError) as error:
        envs.make(name, **kwargs)
    assert offender in str(error.value)


def test_a_new_file_is_a_new_environment(tmp_path, monkeypatch):
    (tmp_path / "brand_new.py").write_text(
        'import rebel_envs\ndef fresh():\n    """Return a fresh one."""\n    return rebel_envs.chain(3)\n'
        'EXAMPLES = {"fresh": fresh}\n'
    )
    monkeypatch.setattr(envs, "__path__", [*envs.__path__, str(tmp_path)])
    examples.cache_clear()
    try:
        assert envs.make("fresh").n_states == 3
        assert envs.describe("fresh") == "a fresh one."
        (tmp_path / "copy_of_it.py").write_text('EXAMPLES = {"chain": None}\n')
        examples.cache_clear()
        with pytest.raises(ImportError, match=r"'chain' .* exists already"):
            examples()
    finally:
        examples.cache_clear()
        sys.modules.pop("rebel_envs.brand_new", None)
        sys.modules.pop("rebel_envs.copy_of_it", None)


def test_all_is_complete_and_sorted():
    assert envs.__all__ == sorted(envs.__all__)
    assert all(getattr(envs, name).__doc__ for name in envs.__all__)


MODULES = [m.name for m in pkgutil.iter_modules(envs.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_doctests(name):
    failed, tried = doctest.testmod(importlib.import_module(f"rebel_envs.{name}"), extraglobs={"np": np})
    assert failed == 0
    assert tried > 0 or name.startswith("_") or name == "icu"


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_import_is_light():
    heavy = "{'gymnasium', 'pandas', 'icu_sepsis', 'pyarrow', 'scipy'}"
    code = f"import sys, rebel_theory; a = set(sys.modules); import rebel_envs; print((set(sys.modules) - a) & {heavy})"
    result = run(code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "set()"


def test_the_second_identity_is_refused():
    root = next(iter(envs.__path__)).removesuffix("/rebel_envs").removesuffix("/envs")
    code = f"import sys; sys.path.insert(0, {root!r}); import envs.rebel_envs"
    result = run(code)
    if "No module named 'envs'" in result.stderr:
        pytest.skip("installed without the repository around it")
    assert "import rebel_envs as envs" in result.stderr
    assert "ImportError" in result.stderr
