"""`rebel-theory compare`: budgets, tuning, what it reports, and a specification whose faults are all named."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import rebel_theory as rt
from rebel_bench.cli import main
from rebel_bench.comparison import cells, keep, study
from rebel_bench.comparison.cells import Cell
from rebel_bench.comparison.keep import Cells
from rebel_bench.comparison.offline import Logged
from rebel_bench.comparison.oracle_specs import parse_oracle
from rebel_bench.comparison.plan import load
from rebel_bench.comparison.spec import SPECS
from rebel_bench.errors import UserError

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
INEXACT = (
    SPEC.replace('REBEL = "rebel"\nRLOO = "rloo(group_size=2)"\n', "")
    .replace(
        "[algorithms]", 'kind = "inexact"\nn_steps = [1, 1000, 10, 10]\n[oracles]\nexact = "exact"\nsampled = "sampled"'
    )
    .replace("\nqueries = 400", "\nupdates = 5")
    .replace("queries = 800\n", "")
)
CELL = Cell(
    env="random-bandit", options='{"n_actions": 3, "n_contexts": 2, "seed": 0}', algorithm="rebel", oracle="sampled",
    pairs=10, step_size=1.0, budget=100, counts="queries", n_seeds=3, stream=1, points=4,
)  # fmt: skip


@pytest.fixture
def write(tmp_path):
    def written(text=SPEC):
        path = tmp_path / "tiny.toml"
        path.write_text(text)
        return str(path)

    return written


def measured(path):
    return study.measure(load(path), Cells(None)).tables


# ------------------------------------------------------------------------------------------------- the cells


def test_gaps_are_read_at_the_last_iterate_within_each_point_of_the_budget():
    found = cells.measure(CELL)
    problem = rt.ContextualBandit(cells.make_setting(CELL.env, CELL.options).problem.reward)
    eta = cells.make_setting(CELL.env, CELL.options).unit
    trace = rt.run(problem, rt.Rebel(eta), n_iterations=5, oracle=rt.Sampled(10), n_seeds=3, seed=1)
    for seed in range(3):
        rows = found[found["seed"] == seed]
        assert rows["spent"].tolist() == [0, 25, 50, 75, 100]
        # an update costs 20 queries: at 25 one is within, at 50 two, at 75 three
        assert rows["gap"].tolist() == trace.gap[seed, [0, 1, 2, 3, 5]].tolist()
    assert (found["updates"] == 5).all()


def test_the_unit_of_step_sizes_is_one_over_the_largest_spread():
    setting = cells.make_setting(CELL.env, CELL.options)
    assert setting.unit == pytest.approx(1 / np.ptp(setting.problem.reward, axis=-1).max())


def test_runs_reach_their_budget_though_roll_outs_shorten():
    env = {"env": "frozenlake", "options": "{}", "oracle": "sampled(pairs=5)", "budget": 3_000}
    cell = Cell(**{f: getattr(CELL, f) for f in CELL.__dataclass_fields__} | env)
    oracle = parse_oracle(cell.oracle, 1)
    setting = cells.make_setting(cell.env, cell.options)
    gap, spent = cells._run(cell, setting, oracle, rt.Rebel(1.0), 2)
    assert (spent[:, -1] >= 3_000).all()
    given = {"policy": setting.start, "oracle": oracle.oracle, "n_seeds": 2, "seed": cell.stream}
    trace = rt.run(setting.problem, rt.Rebel(1.0), n_iterations=spent.shape[1] - 1, **given)
    assert (spent == trace.queries).all()
    assert (gap == trace.gap).all()


def test_exact_feedback_is_charged_as_its_pairs_and_needs_one_seed():
    found = cells.measure(
        Cell(**{f: getattr(CELL, f) for f in CELL.__dataclass_fields__} | {"oracle": "exact(pairs=25)"})
    )
    assert (found["updates"] == 2).all()  # 100 / (2 * 25)
    assert set(found["seed"]) == {0}


def test_an_overflow_is_a_fault_of_its_cell():
    words = "inexact-rebel(n_steps=100000, inner_step_size=50.0)"
    found = cells.measure(Cell(**{f: getattr(CELL, f) for f in CELL.__dataclass_fields__} | {"algorithm": words}))
    assert found["gap"].isna().all()
    assert found["fault"].str.contains("overflowed").all()
    assert (found["first_gap"] > 0).all()


def test_a_killed_study_goes_on_and_gives_the_same(tmp_path, monkeypatch):
    other = Cell(**{f: getattr(CELL, f) for f in CELL.__dataclass_fields__} | {"step_size": 2.0})
    told = []
    run = Cells(tmp_path / "cells", tell=lambda cell, kept: told.append(kept))
    first = run([CELL])
    file = next((tmp_path / "cells").iterdir())
    before = file.read_bytes()
    both = run([CELL, other])
    assert told == [False, True, False]
    pd.testing.assert_frame_equal(first[0], both[0])
    file.unlink()
    run([CELL])
    assert file.read_bytes() == before
    file.write_bytes(b"half a file")  # damaged: measured again
    told.clear()
    pd.testing.assert_frame_equal(run([CELL])[0], first[0])
    assert told == [False]
    # other code, another file; and a run whose code was edited keeps nothing
    monkeypatch.setattr(keep, "code_of", lambda file: "changed")
    assert Cells(tmp_path / "cells").path(CELL) != run.path(CELL)
    file.unlink()
    run([CELL])
    assert not file.exists()


def test_a_users_own_algorithm_is_part_of_the_name_of_its_cells(tmp_path):
    file = tmp_path / "own.py"
    cell = Cell(**{f: getattr(CELL, f) for f in CELL.__dataclass_fields__} | {"algorithm": f"{file}:Mine"})
    names = []
    for text in ("a = 1", "a = 2"):
        file.write_text(text)
        names.append(Cells(tmp_path).path(cell))
    assert names[0] != names[1]


OWN = """
from dataclasses import dataclass
import rebel_theory as rt

@dataclass(frozen=True, eq=False)
class Mine(rt.Algorithm):
    step_size: float
    name = "mine"

    def step(self, state, oracle):
        raise RuntimeError("no idea")
"""


def test_a_step_that_raises_is_an_error_with_its_place(write, tmp_path, capsys):
    (tmp_path / "own.py").write_text(OWN)
    text = SPEC.replace('"rebel"', f'"{tmp_path}/own.py:Mine"')
    assert main(["compare", write(text), "--no-figures"]) == 2
    err = capsys.readouterr().err
    assert "on random-bandit with sampled, step size 0.1: RuntimeError: no idea (line 11 of own.py)" in err


def test_workers_give_the_same_tables():
    two = [CELL, Cell(**{f: getattr(CELL, f) for f in CELL.__dataclass_fields__} | {"step_size": 2.0})]
    for one, other in zip(Cells(None)(two), Cells(None, workers=2)(two), strict=True):
        pd.testing.assert_frame_equal(one, other)


# ------------------------------------------------------------------------------------------------- tuned


def test_tuning_has_seeds_of_its_own_and_the_best_step_size_is_taken(write):
    plan = load(write())
    asked = []

    def run(wanted):
        asked.extend(wanted)
        return Cells(None)(wanted)

    found = study.measure(plan, run).tables
    tuning = [cell for cell in asked if cell.stream == 0]
    final = [cell for cell in asked if cell.stream == 1]
    assert {cell.n_seeds for cell in tuning} == {2}
    assert {cell.n_seeds for cell in final} == {4}
    assert (len(tuning), len(final), study.n_cells(plan)) == (12, 4, 16)
    assert {(cell.env, cell.budget) for cell in asked} == {("random-bandit", 400), ("garnet", 800)}
    for _, row in found["results"].iterrows():
        rows = found["tuning"].query(f"problem == '{row['problem']}' and algorithm == '{row['algorithm']}'")
        assert row["step_size"] == rows.loc[rows["gap"].idxmin(), "step_size"]
        runs = found["runs"].query(f"problem == '{row['problem']}' and algorithm == '{row['algorithm']}'")
        assert row["gap"] == pytest.approx(runs["gap"].mean())
        curve = found["curves"].query(f"problem == '{row['problem']}' and algorithm == '{row['algorithm']}'")
        assert curve["gap"].iloc[-1] == pytest.approx(row["gap"])
        assert row["low"] < row["gap"] < row["high"] < row["first_gap"]


def test_oracles_multiply_the_algorithms_and_one_may_keep_to_some(write):
    text = SPEC.replace("[problems]", '[oracles]\ntrue = "exact"\nmany = "counted(pairs=40)"\n[problems]', 1)
    text = text.replace('"rloo(group_size=2)"', '{ algorithm = "rloo(group_size=2)", oracles = ["true"] }')
    found = measured(write(text))["results"]
    assert list(found["algorithm"][:3]) == ["REBEL, true", "REBEL, many", "RLOO, true"]
    exact = found[found["oracle"] == "true"]
    assert (exact["low"] == exact["high"]).all()
    assert found["updates"].tolist()[:3] == [20, 5, 20]


def test_the_tables_the_figures_and_the_data(write, tmp_path, capsys):
    assert main(["compare", write(), "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "400 queries" in out
    assert "mean rank" in out
    names = {path.name for path in (tmp_path / "out").iterdir()}
    tables = ("results", "curves", "runs", "tuning", "profiles", "ranking", "improvement")
    figures = {f"tiny-{figure}.{end}" for figure in ("curves", "ranking") for end in ("png", "pdf")}
    assert names == figures | {f"tiny-{table}.parquet" for table in tables} | {"cells"}
    assert main(["compare", write(), "--out", str(tmp_path / "out")]) == 0
    captured = capsys.readouterr()
    assert "16 of 16 cells were kept" in captured.err
    assert captured.out == out


# ----------------------------------------------------------------------------------- sensitivity, inexact solves


def test_sensitivity_runs_the_whole_grid_on_the_reported_seeds(write):
    found = measured(write(f'kind = "sensitivity"\n{SPEC}'))
    rows = found["sensitivity"]
    assert len(rows) == 2 * 2 * 3
    assert rows["step_size"].tolist()[:3] == [0.1, 1.0, 10.0]
    widths = found["widths"]
    best = rows.loc[rows.groupby(["problem", "algorithm"], sort=False)["gap"].idxmin()]
    assert widths["best_step_size"].tolist() == best["step_size"].tolist()
    assert ((widths["low"] <= widths["decades"]) & (widths["decades"] <= widths["high"])).all()


def test_the_width_counts_decades_that_close_nine_tenths_of_the_best():
    near = study._near(np.array([-1.0, 0.0, 1.0, 3.0]), first=1.0)
    gaps = np.array([[0.5, 0.0, 0.09, 0.11]])  # one seed: the first and the last are not near
    assert near(gaps) == pytest.approx(1.0 + 1.5)  # half a decade either side of 0; 0.5 below and 1 above of 1


def test_inexact_solves_go_from_rloo_to_rebel(write):
    found = measured(write(INEXACT))
    apart = found["apart"].set_index(["problem", "step_size", "n_steps"])
    assert (apart.xs(1, level="n_steps")["from_RLOO"] < 1e-12).all()
    assert (apart.xs(1, level="n_steps")["from_REBEL"] > 1e-3).all()
    assert (apart.xs(1000, level="n_steps")["from_REBEL"] < 1e-6).all()
    gaps = found["inexact"]
    exact = gaps[(gaps["oracle"] == "exact") & (gaps["step_size"] == 1.0) & (gaps["problem"] == "bandit")].set_index(
        "algorithm"
    )["gap"]
    assert exact["K = 1, exact"] == pytest.approx(exact["RLOO, exact"], abs=1e-12)
    assert exact["K = 1000, exact"] == pytest.approx(exact["REBEL, exact"], rel=1e-3)


@pytest.mark.parametrize(("kind", "figure"), [("sensitivity", "sensitivity"), ("inexact", "inexact")])
def test_the_other_kinds_are_drawn_and_told(kind, figure, write, tmp_path, capsys):
    text = INEXACT if kind == "inexact" else f'kind = "sensitivity"\n{SPEC}'
    assert main(["compare", write(text), "--out", str(tmp_path / "out"), "--seeds", "2"]) == 0
    assert {f"tiny-{figure}.png", f"tiny-{figure}.parquet"} <= {path.name for path in (tmp_path / "out").iterdir()}
    assert "over 2 seeds" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------------- faults


def test_every_fault_at_once(write, capsys):
    text = (
        SPEC.replace("seeds = 4", "seeds = 1")
        .replace("[0.1, 1.0, 10.0]", "[0.1, -1.0]")
        .replace("title", "titel")
        .replace('"rebel"', '"rebl"')
        .replace("n_states = 4", "n_state = 4")
        .replace('"rloo(group_size=2)"', '{ algorithm = "rloo", oracles = ["no"] }')
        .replace("[problems]", '[oracles]\nfew = "sampled(paris=3)"\nall = "counted(pairs=20)"\n[problems]', 1)
    )
    assert main(["compare", write(text + "[algorithms.PSDP]\nalgorithm = 'psdp'\n")]) == 2
    err = capsys.readouterr().err
    for words in (
        "titel: Extra", "title: Field required", "seeds: Input", "step_sizes.1: Input", "algorithms.REBEL: rebl",
        "Did you mean rebel", "problems.garnet: ", "n_states", "oracles.few: sampled(paris=3): paris is not an option",
        "algorithms.RLOO.oracles: no is not one of few, all", "PSDP, all cannot run on bandit", "9 faults",
    ):  # fmt: skip
        assert words in err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('"rebel"', '"rebl"'), "Did you mean rebel"),
        (('"rebel"', '"psdp"'), "REBEL cannot run on bandit"),
        (('"rebel"', '"rebel,npg"'), "algorithms.REBEL: rebel,npg: expected one algorithm, found 2"),
        (('"random-bandit"', '"random-bandits"'), "problems.bandit"),
        (("n_actions = 3", "n_arms = 3"), "problems.bandit"),
        (("queries = 400", "queries = 5"), "expected at least one update"),
        (("queries = 400", "queries = 400\nupdates = 3"), "exactly one of the two"),
        (("queries = 400", 'queries = 400\nkind = "tunde"'), "kind: Input should be 'tuned'"),
        (("queries = 400", "queries = 400\nn_steps = [1]"), "only a study with kind"),
        (("[algorithms]", '[oracles]\na = "counted"\n[algorithms]'), "RLOO cannot run on bandit: Counted draws counts"),
        (("[algorithms]", '[oracles]\na = "sampeld"\n[algorithms]'), "oracles.a: sampeld: not one of exact, sampled"),
        (("[algorithms]", '[oracles]\na = "exact(pairs=0)"\n[algorithms]'), "pairs is 0, expected an integer"),
        (("[algorithms]", '[oracles]\na = "sampled(horizon)"\n[algorithms]'), "horizon has no value"),
        (("[algorithms]", '[oracles]\na = "sampled(horizon=2)"\n[algorithms]'), "oracles.a cannot observe bandit"),
        (("[algorithms]", "[algorithms"), "is not TOML"),
        (("queries = 400", "queries = 400\nn_features = 3"), 'only a study with policy = "log-linear"'),
        (("queries = 400", 'queries = 400\npolicy = "linear"'), "policy: Input should be 'tabular' or 'log-linear'"),
        (("queries = 400", 'queries = 400\npolicy = "log-linear"\nn_features = 0'), "n_features: Input should be"),
        (("[algorithms]", '[oracles]\na = "offline"\n[algorithms]'), "oracles.a: offline data cost no further queries"),
        (
            ("[algorithms]", '[oracles]\na = "offline(base=best)"\n[algorithms]'),
            "base is best, expected uniform or first",
        ),
        (("[algorithms]", '[oracles]\na = "offline(seed=-1)"\n[algorithms]'), "seed is -1, expected an integer"),
        (("[algorithms]", '[oracles]\na = "offline(pairs=0)"\n[algorithms]'), "pairs is 0, expected an integer"),
        (("[algorithms]", '[oracles]\na = "offline(paris=9)"\n[algorithms]'), "paris is not an option of offline"),
        (
            (
                'REBEL = "rebel"',
                'REBEL = "ppo"\n[oracles]\na = "offline(pairs=9)"\n[algorithms.x]\nalgorithm = "rebel"',
            ),
            "cannot run on bandit",
        ),
    ],
)
def test_a_fault_is_named(write, change, words, capsys):
    assert main(["compare", write(SPEC.replace(*change))]) == 2
    assert words in capsys.readouterr().err


def test_a_budget_is_changed_in_its_own_terms(write, capsys):
    assert load(write(), {"queries": 200}).spec.budget("garnet") == 400
    assert main(["compare", write(), "--updates", "3"]) == 2
    assert "this study counts queries: use --queries" in capsys.readouterr().err


def test_a_missing_file_names_the_ones_that_ship(capsys):
    assert main(["compare", "nothing"]) == 2
    assert "equal-queries, inexact-solves" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(file.stem for file in SPECS.glob("*.toml")))
def test_the_studies_that_ship_are_valid_and_named_in_the_help(name, capsys):
    assert load(name).entries
    main(["compare", "--help"])
    assert f"compare {name}" in capsys.readouterr().out


def test_json(write, capsys):
    assert main(["compare", write(), "--json", "--no-figures", "--seeds", "2"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["spec"]["seeds"] == 2
    assert {row["algorithm"] for row in found["results"]} == {"REBEL", "RLOO"}
    assert {row["than"] for row in found["improvement"]} == {"RLOO"}


def test_a_grid_that_overflows_everywhere_is_an_error(write, monkeypatch):
    text = SPEC.replace('"rebel"', '"inexact-rebel(n_steps=100000, inner_step_size=50.0)"')
    with pytest.raises(UserError, match="REBEL on bandit overflows at every step size"):
        measured(write(text))


def test_the_specification_on_the_page_is_valid(write):
    page = (Path(__file__).parents[2] / "docs" / "comparisons.md").read_text(encoding="utf-8")
    text = page.split("```toml\n")[1].split("```")[0]
    plan = load(write("\n".join(row for row in text.splitlines() if not row.startswith("mine"))))
    assert [entry.name for entry in plan.entries] == ["REBEL, few", "REBEL, many", "REBEL, true", "PPO, few"]


def test_noise_is_put_on_a_bandit_that_keeps_its_contexts():
    plain, noisy = (
        cells.make_setting("neural-bandit", json.dumps({"n_contexts": 3} | noise)).problem
        for noise in ({}, {"noise_sigma": 0.1})
    )
    assert noisy.noise == rt.GaussianNoise(0.1)
    np.testing.assert_array_equal(noisy.contexts, plain.contexts)
    np.testing.assert_array_equal(noisy.reward, plain.reward)


# ---------------------------------------------------------------------------------- offline data, log-linear policies

NOISY = '{"n_actions": 3, "n_contexts": 2, "noise_sigma": 0.5, "seed": 0}'
OFFLINE = replace(CELL, options=NOISY, oracle="offline(pairs=50)", counts="updates", budget=4, step_size=0.3)


def test_offline_runs_are_runs_on_their_own_data():
    """Run i is `rt.run` on the data set named by (seed, stream, i); the first policy's gap is known."""
    setting = cells.make_setting(OFFLINE.env, OFFLINE.options)
    found = cells.measure(OFFLINE)
    last = found[found["spent"] == 4].set_index("seed")["gap"]
    for i in range(3):
        data = Logged(50).draw(setting.problem, setting.start, Logged(50).rng(OFFLINE.stream, i))
        trace = rt.run(setting.problem, rt.Rebel(0.3 * setting.unit), n_iterations=4, policy=setting.start, oracle=data)
        assert last[i] == trace.gap[0, -1]
    assert last.nunique() == 3
    pd.testing.assert_frame_equal(found, cells.measure(OFFLINE))
    for other in (replace(OFFLINE, oracle="offline(pairs=50, seed=1)"), replace(OFFLINE, stream=2)):
        assert (cells.measure(other).query("spent == 4")["gap"].to_numpy() != last.to_numpy()).all()


@pytest.mark.parametrize("env", ["random-bandit", "random-bradley-terry-game", "garnet"])
@pytest.mark.parametrize("base", ["uniform", "first"])
def test_the_data_follow_their_base_and_the_problem(env, base):
    """Frequencies of 20,000 pairs within 6 standard errors: false alarm below 1e-6 for at most 200 cells."""
    n, setting = 20_000, cells.make_setting(env, '{"seed": 0, "n_actions": 3}')
    problem = setting.problem
    data = Logged(n, base).draw(problem, setting.start, np.random.default_rng(7)).dataset
    assert len(data) == n
    law = setting.start if base == "first" else rt.TabularPolicy(np.zeros(problem.policy_shape))
    weights = rt.evaluate(problem, law).occupancy.ravel()
    expected = weights[:, None] * law.probs.reshape(len(weights), -1)
    for actions in (data.y, data.y_base):
        counts = np.zeros(expected.shape)
        np.add.at(counts, (data.x, actions), 1)
        assert (np.abs(counts - n * expected) <= 6 * np.sqrt(n * expected) + 1).all()
    if env == "random-bandit":
        r = problem.reward
        np.testing.assert_allclose(data.difference, r[data.x, data.y] - r[data.x, data.y_base], atol=1e-12)
    if env == "random-bradley-terry-game":
        win = problem.preference[data.x, data.y, data.y_base]
        assert abs((data.difference + 1) / 2 - win).sum() > 0
        assert abs(((data.difference + 1) / 2 - win)[data.y < data.y_base].sum()) < 6 * np.sqrt(n / 4)


def test_a_log_linear_study(write):
    """All policies are of the class, with as many features; a linear MDP brings its own."""
    options = '{"n_actions": 3, "n_contexts": 2, "seed": 0}'
    start = cells.make_setting("random-bandit", options, "log-linear", 3).start
    assert isinstance(start, rt.LogLinearPolicy)
    assert start.features.shape == (2, 3, 3)
    np.testing.assert_allclose(start.probs, 1 / 3)
    linear = cells.make_setting("simplex-linear-mdp", "{}", "log-linear", 3)
    np.testing.assert_array_equal(linear.start.features, linear.problem.features)
    game = cells.make_setting("random-bradley-terry-game", '{"n_actions": 3}', "log-linear", 3).start
    assert np.ptp(game.probs) > 0.01
    text = SPEC.replace("queries = 400", 'policy = "log-linear"\nn_features = 2\nupdates = 3')
    text = text.replace("queries = 800\n", "").replace('RLOO = "rloo(group_size=2)"', 'NPG = "npg"')
    text = text.replace("[problems]", '[oracles]\nlog = "offline(pairs=30)"\nexact = "exact"\n[problems]', 1)
    plan = load(write(text))
    assert plan.problems["bandit"].start.features.shape == (2, 3, 2)
    results = study.measure(plan, Cells(None)).tables["results"].set_index(["problem", "algorithm"])["gap"]
    assert results["bandit", "REBEL, exact"] == pytest.approx(results["bandit", "NPG, exact"], rel=1e-9)
    tabular = measured(write(text.replace('policy = "log-linear"\nn_features = 2\n', "")))["results"]
    assert (tabular["gap"].to_numpy() != results.to_numpy()).all()
