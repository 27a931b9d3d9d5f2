"""``rebel-theory game``: known facts to four digits, honest verdicts on noise, strict JSON, plain errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rebel_bench.cli import main

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
RPS = "rock,paper,scissors\n0,20,70\n80,0,40\n30,60,0\n"  # winner b : a : c = 1 : 2 : 3, see measured_cycle


def strict(text):
    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


def flat(text):
    """Undo the wrapping of lines."""
    return " ".join(text.split())


@pytest.fixture
def game(tmp_path, capsys):
    """Run the command on the text of a file, or on a path, in an empty folder."""

    def run(source, *arguments, iterations=50):
        path = source
        if isinstance(source, str):
            path = tmp_path / "wins.csv"
            path.write_text(source, encoding="utf-8")
        extra = [] if "--iterations" in arguments else ["--iterations", str(iterations)]
        code = main(["game", str(path), "--out", str(tmp_path / "out"), *extra, *arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def facts(game):
    def run(source, *arguments, **options):
        code, out, err = game(source, "--json", "--no-figures", *arguments, **options)
        assert code == 0, err
        return strict(out)

    return run


def table(counts):
    counts = np.asarray(counts)
    names = [f"p{i}" for i in range(len(counts))]
    return pd.DataFrame(counts, columns=names).to_csv(index=False)


# -- facts of measured games ---------------------------------------------------------------------------------


def measured(name):
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{name} is not part of the project")
    return path


def win_gaps(found):
    return {key: round(value["gap_win_probability"], 4) for key, value in found["duality_gaps"].items()}


def test_soccer(facts):
    found = facts(measured("soccer10_P.csv"), iterations=2000)
    assert (found["n"], found["kind"], found["condorcet_winner"]) == (10, "probabilities", None)
    assert found["smith_set"] == [f"agent_{i}" for i in (1, 3, 4, 7, 8, 9)]
    assert (found["three_cycles"], found["triples"]) == (6, 120)
    winner = found["von_neumann_winner"]
    played = {name: round(winner["policy"][name], 4) for name in winner["support"]}
    assert played == {"agent_1": 0.5218, "agent_8": 0.3308, "agent_9": 0.1474}
    assert (winner["unique"], winner["well_determined"]) == (True, True)
    assert winner["gap"] < 1e-12
    assert found["bradley_terry"]["best"] == found["bradley_terry"]["ranking"][0] == "agent_8"
    gaps = win_gaps(found)
    assert (gaps["uniform"], gaps["bradley_terry_arm"], gaps["von_neumann"]) == (0.2273, 0.1172, 0.0)
    assert round(found["duality_gaps"]["uniform"]["gap"], 3) == 0.455  # payoffs: twice as much
    assert round(found["duality_gaps"]["uniform"]["opponent_win_rate"], 4) == 0.6137
    play = found["self_play"]
    assert play["bound"] == pytest.approx(2 * np.sqrt(2 * np.log(10) / 2000))
    assert play["average_gap"] < play["bound"]
    assert play["within_bound"]


def test_rock_paper_scissors_programs(facts):
    found = facts(measured("rrps43_P.csv"))
    assert (found["n"], len(found["smith_set"]), found["three_cycles"], found["triples"]) == (43, 43, 956, 12341)
    gaps = win_gaps(found)
    assert (gaps["uniform"], gaps["bradley_terry_arm"]) == (0.2882, 0.0023)
    winner = found["von_neumann_winner"]
    assert winner["gap"] < 1e-12
    assert winner["well_determined"] is False
    assert round(winner["near_winners"]["widest"], 2) == 0.13


def test_soccer_in_words(game):
    code, out, _ = game(measured("soccer10_P.csv"), "--no-figures")
    said = flat(out)
    assert code == 0
    for sentence in (
        "There is no Condorcet winner",
        "has 6: agent_1, agent_3, agent_4, agent_7, agent_8, agent_9.",
        "6 of 120 triples are cycles (5.0%)",
        "No p-value: the file holds probabilities",
        "It is the only winner",
        "It is well determined",
        "A gap of 0.2273 (uniform) means: some opponent wins 61.4% against it.",
        "from the uniform policy, the start of the bound",
    ):
        assert sentence in said
    assert "0.5218" in said
    assert ("0.2273" in said, "0.4547" in said) == (True, True)  # both units


# -- by hand -------------------------------------------------------------------------------------------------


def test_a_cycle_by_hand(facts):
    """Payoffs a = 0.4, b = 0.2, c = 0.6: the winner is (b, a, c) / 1.2; against uniform paper gains (0.6 - 0.2) / 3."""
    found = facts(RPS)
    assert found["kind"] == "counts"
    assert (found["counts"]["games"], found["counts"]["fewest_per_pair"]) == (300, 100)
    policy = found["von_neumann_winner"]["policy"]
    assert policy == pytest.approx({"rock": 1 / 6, "paper": 2 / 6, "scissors": 3 / 6})
    uniform = found["duality_gaps"]["uniform"]
    assert uniform["gap"] == pytest.approx(2 * 0.4 / 3)
    assert uniform["gap_win_probability"] == pytest.approx(0.4 / 3)
    assert uniform["strongest_opponent"] == "paper"
    # pure paper loses 0.2 to scissors, rock 0.6 to paper, scissors 0.4 to rock
    assert found["duality_gaps"]["best_pure"]["gap"] == pytest.approx(0.4)
    assert found["duality_gaps"]["best_pure"]["plays"] == "always paper"
    softmax = np.exp([found["bradley_terry"]["strengths"][name] for name in ("rock", "paper", "scissors")])
    payoff = np.array([[0, -0.6, 0.4], [0.6, 0, -0.2], [-0.4, 0.2, 0]])
    expected = 2 * (payoff @ (softmax / softmax.sum())).max()
    assert found["duality_gaps"]["bradley_terry_softmax"]["gap"] == pytest.approx(expected)


@pytest.mark.parametrize("eta", [None, 0.3])
def test_self_play_is_hedge(facts, eta):
    """The curves against plain multiplicative weights; the average is of the T policies that were played."""
    t, payoff = 40, np.array([[0, -0.6, 0.4], [0.6, 0, -0.2], [-0.4, 0.2, 0]])
    chosen = np.sqrt(2 * np.log(3) / t) if eta is None else eta
    found = facts(RPS, *([] if eta is None else ["--step-size", str(eta)]), iterations=t)["self_play"]
    policy, played = np.full(3, 1 / 3), []
    for _ in range(t):
        played.append(policy)
        policy = policy * np.exp(chosen * payoff @ policy)
        policy /= policy.sum()
    assert found["step_size"] == pytest.approx(chosen)
    assert found["last_gap"] == pytest.approx(2 * (payoff @ policy).max())
    assert found["average_gap"] == pytest.approx(2 * (payoff @ np.mean(played, axis=0)).max())
    assert found["bound"] == pytest.approx(2 * (np.log(3) / (chosen * t) + chosen / 2))
    if eta is None:
        assert found["bound"] == pytest.approx(2 * np.sqrt(2 * np.log(3) / t))


@pytest.mark.parametrize("eta", ["1e-9", "1e9"])
def test_extreme_steps_stay_finite(facts, eta):
    found = facts(RPS, "--step-size", eta)["self_play"]
    assert all(np.isfinite(found[key]) for key in ("last_gap", "average_gap", "bound"))
    assert found["within_bound"]


def test_where_uniform_wins_the_start_is_moved(facts, game):
    text = "a,b,c\n.5,0,1\n1,.5,0\n0,1,.5\n"
    found = facts(text)
    assert found["duality_gaps"]["uniform"]["strongest_opponent"] is None
    assert found["self_play"]["start"] == "first name doubled"
    assert found["self_play"]["last_gap"] > 0.1
    eta = found["self_play"]["step_size"]
    assert found["self_play"]["bound"] == pytest.approx(2 * (np.log(4) / (eta * 50) + eta / 2))
    said = flat(game(text, "--no-figures")[1])
    assert "self-play would stand still" in said
    assert "(P1)" not in said


def test_condorcet_ties_and_many_winners(facts, game):
    found = facts("a,b,c\n.5,.9,.8\n.1,.5,.5\n.2,.5,.5\n")
    assert (found["condorcet_winner"], found["smith_set"], found["tied_pairs"]) == ("a", ["a"], 1)
    assert found["three_cycles"] == 0
    tied = "a,b\n.5,.5\n.5,.5\n"
    assert facts(tied)["von_neumann_winner"]["unique"] is False
    said = flat(game(tied, "--no-figures")[1])
    assert "It is not the only winner" in said
    assert "It is badly determined" in said


# -- noise ---------------------------------------------------------------------------------------------------


def test_real_cycles_exceed_noise(facts, game):
    found = facts(RPS)["bradley_terry"]
    assert found["p_value"] == pytest.approx(1 / 1000)
    assert found["cycles_exceed_noise"]
    assert "The cycles exceed sampling noise" in flat(game(RPS, "--no-figures")[1])


def transitive_world(seed, n=8, games=20):
    """Win counts between equals."""
    rng, wins, upper = np.random.default_rng(seed), np.zeros((n, n), dtype=int), np.triu_indices(n, 1)
    wins[upper] = rng.binomial(games, 0.5, size=upper[0].size)
    wins.T[upper] = games - wins[upper]
    return table(wins)


def test_cycles_of_a_transitive_world_are_within_noise(facts):
    """Every world has cycles; the test rejects one in 20 by design: 5 of 12 or more has probability 2e-4."""
    found = [facts(transitive_world(seed), "--bootstrap", "199", iterations=1) for seed in range(12)]
    assert all(one["three_cycles"] > 0 for one in found)
    assert sum(one["bradley_terry"]["cycles_exceed_noise"] for one in found) < 5
    assert "within sampling noise" in found[1]["bradley_terry"]["conclusion"]


def test_the_seed_and_the_replicates_are_the_users(facts):
    # a cycle at the edge of noise, so that p moves with the stream
    edge = table([[0, 8, 12], [12, 0, 8], [8, 12, 0]])
    found = [facts(edge, "--seed", seed)["bradley_terry"]["p_value"] for seed in ("0", "0", "1", "2", "3")]
    assert found[0] == found[1]
    assert len(set(found)) > 1
    assert facts(edge, "--bootstrap", "99")["bradley_terry"]["replicates"] == 99


@pytest.mark.parametrize(
    ("text", "arguments", "reason"),
    [
        ("a,b\n0,1.5\n2.5,0\n", [], "some counts are halves"),
        (RPS, ["--bootstrap", "0"], "switched off by --bootstrap 0"),
        ("a,b,c\n0,3,0\n2,0,0\n0,0,0\n", ["--prior", "1"], "never compared"),
        ("a,b\n.5,.7\n.3,.5\n", [], "the file holds probabilities"),
    ],
)
def test_no_p_value_has_a_reason(facts, text, arguments, reason):
    found = facts(text, *arguments)["bradley_terry"]
    assert found["p_value"] is None
    assert reason in found["conclusion"]


def test_an_infinite_strength_is_explained_and_the_ridge_labelled(facts, game):
    undefeated = "hero,b,c\n0,9,9\n0,0,5\n0,4,0\n"
    found = facts(undefeated)["bradley_terry"]
    assert (found["method"], found["ridge"]) == ("ridge", 0.1)
    assert "hero" in found["no_maximum_likelihood"]
    said = flat(game(undefeated, "--no-figures")[1])
    assert "Maximum likelihood has no answer: hero (index 0) never lost" in said
    assert "Fitted with ridge 0.1 instead" in said
    assert "strength (ridge 0.1, log-odds)" in said


def test_a_prior_enters_the_probabilities(facts):
    found = facts("a,b\n0,0\n0,0\n", "--prior", "2")
    assert found["counts"]["prior"] == 2
    assert facts("a,b\n0,3\n1,0\n", "--prior", "1")["duality_gaps"]["uniform"]["gap"] == pytest.approx(2 / 6)


# -- errors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "arguments", "messages"),
    [
        ("a,b\n0.5,0.7\n0.3,\n", [], ["[b, b] (line 3)", "fill it"]),
        ("a,a\n0,1\n2,0\n", [], ["'a' appears 2 times", "rename"]),
        ("a,b,c\n0,1,0\n1,0,2\n0,2,0\n", [], ["a and c have never met", "--prior 1"]),
        ("a,b\n0.5,0.7\n0.4,0.5\n", [], ["expected 1"]),
        ("a,b\n0.5,0.7\n0.3,0.5\n", ["--prior", "1"], ["remove it"]),
        ("", [], ["is empty"]),
        (RPS, ["--iterations", "0"], ["--iterations 0: expected at least 1"]),
        (RPS, ["--step-size", "0"], ["--step-size 0: expected a positive number"]),
        (RPS, ["--step-size", "nan"], ["--step-size nan: expected a positive number"]),
        (RPS, ["--step-size", "1e308"], ["--step-size 1e+308: expected", "1e-09 to 1e+09", "leave it out"]),
        (RPS, ["--seed", "-1", "--bootstrap", "-2"], ["--seed -1: expected", "--bootstrap -2: expected"]),
        (RPS, ["--prior", "inf"], ["--prior inf: expected a finite number"]),
        (Path("no-such-file.csv"), [], ["'no-such-file.csv' does not exist", "check the path"]),
        (Path(), [], ["is a directory"]),
    ],
)
def test_what_the_user_can_mend_exits_2_and_leaves_nothing(game, tmp_path, text, arguments, messages):
    code, out, err = game(text, *arguments)
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    for message in messages:
        assert message in err
    assert not list(tmp_path.glob("out/*"))


def test_an_unwritable_folder_is_found_before_any_work(game, tmp_path, monkeypatch):
    monkeypatch.setattr("rebel_bench.game.command.analyse", None)  # would raise TypeError if it were called
    (tmp_path / "file").write_text("")
    code, out, err = game(RPS, "--out", str(tmp_path / "file" / "below"))
    assert (code, out) == (2, "")
    assert "cannot write to the folder" in err
    assert "--out" in err


# -- figures and their data ----------------------------------------------------------------------------------


def test_figures_and_data_are_written_whole(game, tmp_path):
    code, out, _ = game(RPS, "--json")
    assert code == 0
    files = [Path(file) for file in strict(out)["files"]]
    folder = tmp_path / "out"
    assert sorted(folder.iterdir()) == sorted(files)  # nothing else, nothing temporary
    for name in ("matrix", "self-play", "simplex"):
        assert (folder / f"wins.{name}.png").read_bytes()[:4] == b"\x89PNG"
        assert (folder / f"wins.{name}.pdf").read_bytes()[:4] == b"%PDF"
    curves = pd.read_parquet(folder / "wins.self-play.parquet")
    assert curves["updates"].tolist() == list(range(51))
    assert (curves["average_gap"][1:] <= curves["bound"][1:]).all()
    matrix = pd.read_csv(folder / "wins.matrix.csv", index_col=0)
    assert matrix.index[0] == matrix.columns[0] == "paper"  # strongest first
    assert matrix.loc["paper", "rock"] == 0.8
    assert pd.read_csv(folder / "wins.gaps.csv").shape == (5, 3)
    path = pd.read_parquet(folder / "wins.simplex.parquet")
    assert np.allclose(path[["rock", "paper", "scissors"]].sum(axis=1), 1)
    assert path.iloc[0][["rock", "paper", "scissors"]].nunique() == 1


@pytest.mark.parametrize("n", [2, 70])
def test_any_size_and_any_name_can_be_drawn(game, n):
    rng = np.random.default_rng(0)
    names = ["[red]$x_1$", "a name that goes on for rather longer than any label", *(f"名{i}" for i in range(n - 2))]
    strength = rng.normal(size=(n, n))
    p = 1 / (1 + np.exp(strength - strength.T))
    code, out, err = game(pd.DataFrame(p, columns=names).to_csv(index=False), iterations=1)
    assert code == 0, err
    assert "[red]$x_1$" in out


def test_figures_are_off_on_request(game, tmp_path):
    assert game(RPS, "--no-figures")[0] == 0
    assert not (tmp_path / "out").exists()
