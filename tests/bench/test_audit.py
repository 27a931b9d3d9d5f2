"""`rebel-theory audit`: what it prints and writes, a wrong algorithm of the user's own, and every bad option."""

import json

import numpy as np
import pandas as pd
import pytest

import rebel_envs as envs
import rebel_theory as rt
from rebel_bench import instance_files
from rebel_bench.audit.setup import DEFAULTS
from rebel_bench.cli import main

MINE = '''
from dataclasses import dataclass

import numpy as np

import rebel_theory as rt
from rebel_theory.algorithms import State
from rebel_theory.arrays import log_softmax
from rebel_theory.solvers.soft import soft_values


@dataclass(frozen=True, eq=False)
class Exact(rt.Algorithm):
    """Mirror descent."""

    step_size: float

    def step(self, state, oracle):
        return State(state.policy.step(self.signal(oracle.feedback(state.policy).signal), np.asarray(self.eta)))

    def signal(self, q):
        return q


@dataclass(frozen=True, eq=False)
class Flipped(Exact):
    """The sign of one action is flipped."""

    def signal(self, q):
        return np.where(np.arange(q.shape[-1]) == 2, -q, q)


@dataclass(frozen=True, eq=False)
class Twice(rt.Algorithm):
    """Entropy-regularised NPG that forgot to halve its step."""

    step_size: float
    temperature: float = 0.1

    def step(self, state, oracle):
        policy, tau = state.policy, self.temperature
        q = soft_values(oracle.problem, policy.log_probs, tau)[1]
        return State(rt.TabularPolicy(log_softmax((1 - self.eta * tau) * policy.log_probs + 2 * self.eta * q)))
'''

PROBLEM = """
import numpy as np
import rebel_theory as rt


def bandit(n_actions=4, seed=0):
    return rt.ContextualBandit(np.random.default_rng(seed).random((3, n_actions)))


def with_start():
    return bandit(), rt.TabularPolicy(np.random.default_rng(1).standard_normal((3, 4)))


def batch():
    return rt.ContextualBandit(np.random.default_rng(0).random((5, 3, 4)))


def nothing():
    return 3


def broken():
    return 1 / 0
"""


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "mine.py").write_text(MINE, encoding="utf-8")
    (tmp_path / "problem.py").write_text(PROBLEM, encoding="utf-8")
    return tmp_path


def audit(capsys, *arguments):
    code = main(["audit", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def as_json(capsys, *arguments, exit_code=0):
    code, out, err = audit(capsys, *arguments, "--json", "--no-figures")
    assert code == exit_code, err
    return json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


@pytest.mark.parametrize("claim", DEFAULTS)
def test_every_claim_has_a_problem_of_its_own(capsys, claim):
    found = as_json(capsys, claim.lower(), "--iterations", "30")
    assert found["claim"] == claim
    assert found["identity_error"] < 1e-8
    assert not found["violated"]
    assert 0 < found["measured"] < found["bound"]
    shares = [row["share_of_bound"] for row in found["inequalities"] if row["share_of_bound"] is not None]
    assert sum(shares) == pytest.approx(1 - found["measured"] / found["bound"], rel=1e-9)


@pytest.mark.filterwarnings("error")
def test_the_table_the_figure_and_the_data(capsys, tmp_path):
    code, out, _ = audit(capsys, "C1", "--iterations", "60", "--out", tmp_path)
    assert code == 0
    for text in ("Hoeffding", "change of actions", "identities hold to", "no inequality is violated", "% of the bound"):
        assert text in out
    stem = tmp_path / "c1-random-bandit"
    assert (tmp_path / "c1-random-bandit.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "c1-random-bandit.pdf").read_bytes().startswith(b"%PDF")
    terms = pd.read_parquet(f"{stem}-terms.parquet")
    assert list(terms.columns) == ["iteration", "term", "value"]
    lines = pd.read_parquet(f"{stem}-inequalities.parquet")
    last = lines[lines["iteration"] == 59]
    measured, bound = (float(terms.query("iteration == 59 and term == @name")["value"].item()) for name in
                       ("measured", "bound"))  # fmt: skip
    assert measured + last["contribution"].sum() == pytest.approx(bound)
    assert not lines["violated"].any()


def test_the_numbers_are_those_of_the_library(capsys):
    found = as_json(capsys, "C11", "--problem", "frozenlake", "--iterations", "20", "--step-size", "3")
    lake = envs.make("frozenlake")
    direct = rt.audit("C11", lake, rt.Rebel(3.0, base="uniform"), n_iterations=20)
    assert found["measured"] == pytest.approx(float(direct.measured[-1, 0]))
    assert found["bound"] == pytest.approx(float(direct.bound[-1, 0]))


def test_the_default_of_c2_is_its_worst_case(capsys):
    found = as_json(capsys, "C2")
    assert found["measured"] / found["bound"] == pytest.approx(1.101 / np.log(10), abs=1e-3)  # C3: W(9/e)/ln 10


def test_a_flipped_sign_of_a_users_algorithm_is_named(capsys, mine):
    right = as_json(capsys, "C1", "--problem", f"{mine}/problem.py:bandit", "--algorithm", f"{mine}/mine.py:Exact")
    assert not right["violated"]
    arguments = ("C1", "--problem", f"{mine}/problem.py:bandit", "--algorithm", f"{mine}/mine.py:Flipped")
    wrong = as_json(capsys, *arguments, exit_code=1)
    assert wrong["violated"][0]["name"] == "exact step"
    assert wrong["violated"][0]["iteration"] == 0
    assert "only action 2 is wrong" in wrong["notes"][1]
    code, out, _ = audit(capsys, *arguments, "--out", mine / "out")
    assert code == 1
    assert "violated promise 'exact step'" in out
    assert (mine / "out" / "c1-problem-bandit.png").exists()


@pytest.mark.filterwarnings("error")
def test_a_regularised_step_of_twice_the_size_is_named_and_drawn(capsys, mine):
    code, out, _ = audit(
        capsys, "C7", "--problem", "river-swim", "--algorithm", f"{mine}/mine.py:Twice", "--out", mine / "out"
    )
    assert code == 1
    assert "violated promise 'exact step'" in out
    assert "violated proof 'triangle'" in out
    assert "2 times the stated one" in out
    assert "violated proof 'next state'" not in out  # true of any policy


def test_ppo_is_not_an_exact_step_and_the_theorem_still_holds(capsys):
    found = as_json(
        capsys, "C11", "--problem", "garnet", "--algorithm", "ppo(clip=0.1)", "--iterations", "10", exit_code=1
    )
    assert found["violated"][0]["name"] == "exact step"
    assert {row["role"] for row in found["violated"]} == {"promise"}


def test_samples_promise_nothing_and_the_seed_decides(capsys):
    arguments = ("P7", "--problem", "rock-paper-scissors", "--pairs", "50", "--iterations", "20")
    first = as_json(capsys, *arguments, "--seed", "3")
    assert first["identity_error"] < 1e-10
    assert "exact step" not in {row["name"] for row in first["inequalities"]}
    assert as_json(capsys, *arguments, "--seed", "3")["measured"] == first["measured"]
    assert as_json(capsys, *arguments, "--seed", "4")["measured"] != first["measured"]


def test_an_instance_file_is_replayed(capsys, tmp_path):
    rng = np.random.default_rng(0)
    instance = instance_files.Instance(
        problem=rt.ContextualBandit(rng.random((2, 3))), policy=rt.TabularPolicy(rng.standard_normal((2, 3))),
        step_size=0.7, n_iterations=12, algorithm="rebel", base="uniform",
    )  # fmt: skip
    file = instance_files.save(instance, tmp_path / "found.json")
    found = as_json(capsys, "C1", "--problem", file)
    assert (found["problem"], found["step_size"], found["iterations"]) == ("found", 0.7, 12)
    trace = instance.run()
    assert found["measured"] == pytest.approx(float(trace.average_gap[0, 11]))
    assert found["bound"] == pytest.approx(float(trace.bound["total"][0, 11]))


def test_a_function_may_bring_the_first_policy_and_take_options(capsys, mine):
    both = as_json(capsys, "C1", "--problem", f"{mine}/problem.py:with_start", "--iterations", "3")
    alone = as_json(capsys, "C1", "--problem", f"{mine}/problem.py:bandit", "--iterations", "3")
    other = as_json(capsys, "C1", "--problem", f"{mine}/problem.py:bandit", "--iterations", "3", "--set", "seed=1")
    assert len({both["measured"], alone["measured"], other["measured"]}) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["C9"], "C9 has no audit: expected one of C1, C2, C7, C11, P7"),
        (["C1", "--problem", "garnet"], "about a bandit, and garnet is a TabularMDP with discount 0.95: audit C7"),
        (["C7", "--problem", "icu-sepsis"], "C7 is about a tabular MDP with a discount below 1"),
        (["C7", "--algorithm", "rebel"], "C7 is about algorithms with a temperature > 0, and REBEL has None"),
        (["C7", "--algorithm", "egpo"], "temperature > 0, and EGPO has 0.0"),
        (["C7", "--pairs", "10"], "leave out --pairs"),
        (["C7", "--policy", "log-linear"], "leave out --pairs and --policy"),
        (["C1", "--problem", "garnett"], "garnet"),
        (["C1", "--algorithm", "rebl"], "--algorithm rebl: not one of"),
        (["C1", "--algorithm", "rebel,md"], "one algorithm at a time"),
        (["C1", "--algorithm", "ppo(clp=1)"], "clp=1 is not an option"),
        (["C1", "--iterations", "0"], "--iterations 0"),
        (["C1", "--step-size", "-1"], "--step-size -1"),
        (["C1", "--problem", "nowhere.py:f"], "there is no file"),
        (["C1", "--problem", "nowhere.json"], "cannot read the instance file"),
        (["C1", "--problem", "{}/problem.py"], "expected {}/problem.py:function with one of bandit, with_start"),
        (["C1", "--problem", "{}/problem.py:none"], "with one of bandit, with_start, batch, nothing, broken"),
        (["C1", "--problem", "{}/problem.py:batch"], "a batch of shape (5,)"),
        (["C1", "--problem", "{}/problem.py:nothing"], "it returned 3, expected a problem"),
        (["C1", "--problem", "{}/problem.py:broken"], "ZeroDivisionError: division by zero (line"),
        (["C1", "--problem", "{}/problem.py:bandit", "--set", "n=3"], "unexpected keyword argument 'n'"),
        (["C1", "--problem", "{}/problem.py:bandit", "--set", "seed"], "expected KEY=VALUE"),
    ],
)  # fmt: skip
def test_bad_options_are_named_with_the_remedy(capsys, mine, arguments, message):
    code, out, err = audit(capsys, *(a.replace("{}", str(mine)) for a in arguments), "--out", mine / "out")
    assert code == 2
    assert message.replace("{}", str(mine)) in err
    assert "Traceback" not in err
    assert not out
    assert not (mine / "out").exists()


def test_help_has_examples(capsys):
    code, out, _ = audit(capsys, "--help")
    assert code == 0
    assert "rebel-theory audit C7" in out
