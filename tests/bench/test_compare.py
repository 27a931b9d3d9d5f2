"""`rebel-theory compare`: equal queries, honest tuning, and a specification whose faults are all named."""

import json

import numpy as np
import pandas as pd
import pytest

import rebel_theory as rt
from rebel_bench.cli import main
from rebel_bench.comparison.spec import ComparisonSpec, read
from rebel_bench.comparison.study import measure, plan, t_interval

SPEC = """
title = "tiny"
queries = 400
pairs = 10
seeds = 4
tuning_seeds = 2
step_sizes = [0.1, 1.0, 10.0]
[algorithms]
REBEL = "rebel"
RLOO = "rloo(group_size=2)"
[problems]
bandit = { env = "random-bandit", options = { n_contexts = 2, n_actions = 3, seed = 0, noise_sigma = 0.1 } }
[problems.garnet]
env = "garnet"
queries = 800
options = { n_states = 4, n_actions = 2, branching = 2, discount = 0.5, seed = 0 }
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(SPEC)
    return path


def test_the_table_the_figure_and_the_data(file, tmp_path, capsys):
    assert main(["compare", str(file), "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "400 queries" in out
    assert "800 queries" in out
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"tiny.png", "tiny.pdf", "tiny-results.parquet", "tiny-curves.parquet", "tiny-tuning.parquet"}
    results = pd.read_parquet(tmp_path / "out" / "tiny-results.parquet")
    assert (results["gap"] < results["first_gap"]).all()


def test_no_run_is_read_beyond_its_budget_and_tuning_has_seeds_of_its_own(monkeypatch, file):
    from rebel_bench.comparison import study

    calls = []
    real = rt.run

    def spy(problem, algorithm, **options):
        trace = real(problem, algorithm, **options)
        calls.append((options["seed"], options["n_seeds"], float(algorithm.step_size), trace))
        return trace

    monkeypatch.setattr(study.rt, "run", spy)
    made = plan(read(str(file)))
    found = measure(made)
    assert {(seed, n) for seed, n, *_ in calls} == {(0, 2), (1, 4)}
    assert made.n_cells == 2 * 2 * 4
    assert len(calls) >= made.n_cells  # a run that ends within its budget is made again
    last = calls[-1][3]  # RLOO on the Garnet
    row = found.results.iloc[-1]
    at = [(last.queries[i] <= 800).sum() - 1 for i in range(4)]
    assert row["gap"] == pytest.approx(np.mean([last.gap[i, t] for i, t in enumerate(at)]))
    assert (last.queries[:, -1] >= 800).all()  # the run went far enough
    tuned = found.tuning[(found.tuning["problem"] == "garnet") & (found.tuning["algorithm"] == "RLOO")]
    assert row["step_size"] == tuned.loc[tuned["gap"].idxmin(), "step_size"]


def test_the_interval_covers_as_often_as_it_says():
    """2,000 normal samples of 5: coverage of a 95% interval lies in 0.95 +- 0.02 in all but 4 of 100,000 runs."""
    draws = np.random.default_rng(0).standard_normal((2_000, 5))
    covered = [low <= 0 <= high for _, low, high in map(t_interval, draws)]
    assert abs(np.mean(covered) - 0.95) < 0.02


def test_every_fault_at_once(tmp_path, capsys):
    bad = tmp_path / "bad.toml"
    bad.write_text(
        SPEC.replace("seeds = 4", "seeds = 1").replace("[0.1, 1.0, 10.0]", "[0.1, -1.0]").replace("title", "titel")
    )
    assert main(["compare", str(bad)]) == 2
    err = capsys.readouterr().err
    for words in ("seeds", "step_sizes.1", "titel", "title: Field required", "4 faults"):
        assert words in err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('"rebel"', '"rebl"'), "Did you mean rebel"),
        (('"rebel"', '"psdp"'), "REBEL cannot run on bandit"),
        (('"random-bandit"', '"random-bandits"'), "problems.bandit"),
        (("n_actions = 3", "n_arms = 3"), "problems.bandit"),
        (("queries = 400", "queries = 5"), "expected at least one update"),
        (("[algorithms]", "[algorithms"), "is not TOML"),
    ],
)
def test_a_fault_is_named(file, change, words, capsys):
    file.write_text(SPEC.replace(*change))
    assert main(["compare", str(file)]) == 2
    assert words in capsys.readouterr().err


def test_a_missing_file_names_the_ones_that_ship(capsys):
    assert main(["compare", "nothing"]) == 2
    assert "equal-queries" in capsys.readouterr().err


def test_the_study_that_ships_is_valid_and_its_options_can_be_changed(tmp_path, capsys):
    spec = read("equal-queries")
    assert list(spec.algorithms) == ["REBEL", "RLOO", "PPO", "GRPO", "NPG", "REINFORCE"]
    assert len(plan(spec).problems) == 5
    small = ComparisonSpec.model_validate(spec.model_dump() | {"seed": 3})
    assert small.budget("Garnet") == spec.problems["Garnet"].queries


def test_json(file, capsys):
    assert main(["compare", str(file), "--json", "--no-figures", "--seeds", "2"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["spec"]["seeds"] == 2
    assert {row["algorithm"] for row in found["results"]} == {"REBEL", "RLOO"}
