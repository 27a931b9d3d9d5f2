import importlib.util
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import rebel_envs as envs
from rebel_theory.problems import InvalidProblemError, PreferenceGame
from rebel_theory.solvers.games import von_neumann_winner
from rebel_theory.theory.tournament import condorcet_winner, smith_set

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
P = np.array([[0.5, 0.2, 0.9], [0.8, 0.5, 0.4], [0.1, 0.6, 0.5]])
W = np.array([[0, 2, 9.5], [8, 0, 4], [0.5, 6, 0]])
NAMES = ["ann", "bo", "cy"]


@pytest.fixture
def write(tmp_path):
    def _write(text, name="wins.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return _write


def csv(matrix, *, names=NAMES, index=False, corner="", sep=","):
    lines = [sep.join(([corner] if index else []) + list(names))]
    for name, row in zip(names, matrix, strict=True):
        lines.append(sep.join(([name] if index else []) + [str(x) for x in row]))
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("sep", [",", ";", "\t"])
@pytest.mark.parametrize("index", [False, True])
@pytest.mark.parametrize("matrix", [P, W])
def test_csv(write, matrix, index, sep):
    game = envs.from_win_matrix(write(csv(matrix, index=index, sep=sep)))
    assert isinstance(game, PreferenceGame)
    assert game.names == ("ann", "bo", "cy")
    np.testing.assert_allclose(game.preference[0], P if matrix is P else (W + 0.5 * np.eye(3)) / (W + W.T + np.eye(3)))
    assert (game.counts is None) == (matrix is P)
    if matrix is W:
        np.testing.assert_array_equal(game.counts, W)


def test_csv_variants(write):
    expected = envs.from_win_matrix(P).preference
    for text in (
        csv(P, index=True, corner="name"),
        csv(P, index=True).lstrip(","),  # row names without a header of their own
        "\ufeff" + csv(P).replace("\n", "\r\n") + "\n\n",
        csv(P).replace(",", " , "),
        csv(P).replace("ann", '"ann"'),
        csv(P, names=["1", "2", "3"]),
        csv(P, names=["1", "2", "3"], index=True),
    ):
        game = envs.from_win_matrix(write(text))
        np.testing.assert_array_equal(game.preference, expected)
        assert game.names in (tuple(NAMES), ("1", "2", "3"))


def test_frames_parquet_and_arrays(tmp_path):
    plain, indexed = pd.DataFrame(W, columns=NAMES), pd.DataFrame(W, columns=NAMES, index=NAMES)
    column = plain.copy()
    column.insert(0, "player", NAMES)
    expected = envs.from_win_matrix(W).preference
    for i, frame in enumerate((plain, indexed, column, pd.DataFrame(W.astype(object), columns=NAMES))):
        assert envs.from_win_matrix(frame).names == tuple(NAMES)
        path = tmp_path / f"{i}.parquet"
        frame.to_parquet(path)
        game = envs.from_win_matrix(str(path))
        assert game.names == tuple(NAMES)
        np.testing.assert_array_equal(game.preference, expected)
    assert envs.from_win_matrix(W).names == ("0", "1", "2")


def test_prior_is_a_beta_posterior_mean():
    game = envs.from_win_matrix(np.array([[0, 3, 0], [1, 0, 2], [0, 2, 0]]), prior=0.5)
    np.testing.assert_allclose(game.preference[0], [[0.5, 3.5 / 5, 0.5], [1.5 / 5, 0.5, 0.5], [0.5, 0.5, 0.5]])
    np.testing.assert_array_equal(game.counts, [[0, 3, 0], [1, 0, 2], [0, 2, 0]])


def test_single_games_are_counts_and_self_play_is_ignored():
    once = np.array([[0, 1], [0, 0]])
    np.testing.assert_array_equal(envs.from_win_matrix(once).preference[0], [[0.5, 1], [0, 0.5]])
    assert envs.from_win_matrix(once).counts is not None
    twice = envs.from_win_matrix(np.array([[7, 3], [1, 4]]))
    np.testing.assert_array_equal(twice.preference[0], [[0.5, 0.75], [0.25, 0.5]])
    np.testing.assert_array_equal(twice.counts, [[0, 3], [1, 0]])
    certain = envs.from_win_matrix(np.array([[0.5, 1], [0, 0.5]]))
    assert certain.counts is None


def test_the_measured_cycle_has_its_closed_form():
    game = envs.make("measured-cycle")
    np.testing.assert_allclose(game.payoff[0] @ [0.2, 0.4, 0.6], 0, atol=1e-15)


def test_the_type_chart_has_its_known_facts():
    game = envs.make("type-chart")
    assert (game.n_actions, smith_set(game), condorcet_winner(game)) == (18, tuple(range(18)), None)
    p, at = game.preference[0], {name: i for i, name in enumerate(game.names)}
    assert p[at["grass"], at["water"]] == p[at["water"], at["fire"]] == p[at["fire"], at["grass"]] == 0.8
    assert p[at["ghost"], at["normal"]] == 0.5  # neither hurts the other
    assert p[at["fairy"], at["dragon"]] == 1
    assert von_neumann_winner(game).unique is False


def test_the_type_chart_is_poke_envs():
    """Their entry [defender]["damageTaken"][attacker]: 0 usual, 1 twice, 2 half, 3 none."""
    package = importlib.util.find_spec("poke_env")
    if package is None:
        pytest.skip("poke-env is not installed")
    folder = Path(package.submodule_search_locations[0])
    chart = json.loads((folder / "data/static/typechart/gen9typechart.json").read_text(encoding="utf-8"))
    factor = {0: 1.0, 1: 2.0, 2: 0.5, 3: 0.0}
    names = envs.type_chart().names
    damage = [[factor[chart[d]["damageTaken"][a.capitalize()]] for d in names] for a in names]
    expected = [
        [0.5 if damage[i][j] + damage[j][i] == 0 else damage[i][j] / (damage[i][j] + damage[j][i]) for j in range(18)]
        for i in range(18)
    ]
    assert set(names) == set(chart) - {"stellar"}
    np.testing.assert_allclose(envs.type_chart().preference[0], expected, atol=1e-15)


BAD = {
    "missing": ("a,b\n0.5,\n0.3,0.5\n", "[a, b] (line 2) is empty: fill it"),
    "missing value": ("a,b\n0.5,NaN\n0.3,0.5\n", "[a, b] (line 2) is 'NaN', a missing value: fill it"),
    "short row": ("a,b\n0.5,0.7\n0.3\n", "line 3 has 1 cells, the header has 2"),
    "long row": ("a,b\n0.5,0.7\n0.3,0.5,0.2\n", "line 3 has 3 cells, the header has 2"),
    "duplicate": ("a,b,a\n0,1,2\n3,0,4\n5,6,0\n", "name 'a' appears 2 times (columns 1, 3): rename all but one"),
    "unnamed": ("a,,c\n0,1,2\n3,0,4\n5,6,0\n", "column 2 has no name"),
    "word": ("a,b\n0.5,many\n0.3,0.5\n", "[a, b] (line 2) is 'many', expected a number: replace it"),
    "decimal comma": ("a;b\n0,5;0,7\n0,3;0,5\n", "is '0,5', expected a number"),
    "infinite": ("a,b\n0.5,inf\n0.3,0.5\n", "[a, b] (line 2) is inf, expected a finite number"),
    "few rows": ("a,b,c\n0,1,2\n3,0,4\n", "is not square: 2 rows for 3 names"),
    "many rows": ("a,b\n0,1\n3,0\n4,4\n", "is not square: 3 rows for 2 names"),
    "a name column, a row missing": ("n,a,b\na,0,1\n", "is not square: 1 rows for 2 names"),
    "a row missing": ("n,a,b,c\na,0,1,2\nb,1,0,2\nc,1,2\n", "line 4 has 3 cells"),
    "no header": ("0.5,0.7\n0.3,0.5\n", "a header of names is needed"),
    "other names": (",a,b\na,0,1\nc,2,0\n", "row 2 is named 'c' but column 2 is named 'b'"),
    "negative": ("a,b\n0,-3\n4,0\n", "[a, b] (line 2) is -3, expected no negative number: remove the sign"),
    "percent": ("a,b\n50,70.2\n29.8,50\n", "[a, b] (line 2) is 70.2: neither a probability (in [0, 1]) nor a win"),
    "mixed": ("a,b\n0,0.7\n3,0\n", "[a, b] (line 2) is 0.7, a probability, but [b, a] (line 3) is 3, a count"),
    "sum": ("a,b\n0.5,0.7\n0.4,0.5\n", "P + P^T is 1.1, expected 1"),
    "diagonal": ("a,b\n0,0.7\n0.3,0\n", "[a, a] (line 2) is 0, expected 0.5 on the diagonal"),
    "both certain": ("a,b\n0.5,1\n1,0.5\n", "P + P^T is 2, expected 1"),
    "unseen": ("a,b,c\n0,1,0\n3,0,4\n0,6,0\n", "a and c have never met"),
    "unseen remedy": ("a,b,c\n0,1,0\n3,0,4\n0,6,0\n", "--prior 1"),
    "one name": ("a\n0.5\n", "has 1 name in the header, expected at least two"),
    "empty": ("\n\n", "is empty: a header of names"),
    "only a header": ("a,b\n", "is not square: 0 rows for 2 names"),
    "binary": (b"\xff\xfe\x00a", "is not UTF-8 text"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_name_the_place_and_the_remedy(write, case):
    text, offender = BAD[case]
    with pytest.raises(InvalidProblemError) as error:
        envs.from_win_matrix(write(text))
    assert offender in str(error.value)
    assert "wins.csv" in str(error.value)


def test_a_prior_needs_counts_and_a_sign():
    with pytest.raises(InvalidProblemError, match="a prior adds to win counts, remove it"):
        envs.from_win_matrix(P, prior=1.0)
    for prior in (-1.0, np.nan, np.inf):
        with pytest.raises(InvalidProblemError, match="expected a finite number of pseudo-wins"):
            envs.from_win_matrix(W, prior=prior)


def test_all_offenders_are_counted():
    counts = np.zeros((6, 6))
    with pytest.raises(InvalidProblemError, match="10 more pairs that have never met"):
        envs.from_win_matrix(counts)


@pytest.mark.parametrize(
    ("source", "offender"),
    [
        (np.zeros((2, 3)), r"matrix has shape \(2, 3\), expected a square"),
        (np.array([[0.5]]), "has 1 names, expected at least two"),
        (np.array([[0.5, np.nan], [0.3, 0.5]]), r"matrix\[i=0, j=1\] is nan"),
        ([[0.5, "x"], [0.3, 0.5]], "not a rectangular array of numbers"),
        (pd.DataFrame(P, columns=["a", "b", "a"]), "'a' appears 2 times"),
        (pd.DataFrame(P, columns=["a", "b", "c"], index=["a", "c", "b"]), "row 2 is named 'c'"),
        (pd.DataFrame({"a": [0.5, None], "b": [0.3, 0.5]}), r"\[b, a\] is nan|\[b, a\] is 'nan', a missing value"),
        (pd.Series([1.0, 2.0]), "is a Series"),
    ],
)
def test_bad_arrays_and_frames(source, offender):
    with pytest.raises(InvalidProblemError, match=offender):
        envs.from_win_matrix(source)


def test_files_that_are_not_there(tmp_path, write):
    with pytest.raises(FileNotFoundError, match=r"does not exist: check the path"):
        envs.from_win_matrix(tmp_path / "nowhere.csv")
    with pytest.raises(InvalidProblemError, match="is a directory"):
        envs.from_win_matrix(tmp_path)
    with pytest.raises(InvalidProblemError, match="is not a readable Parquet file"):
        envs.from_win_matrix(write("a,b\n", "x.parquet"))


@pytest.mark.parametrize(("file", "size", "gap"), [("soccer10_P.csv", 10, 0.2273), ("rrps43_P.csv", 43, 0.2882)])
def test_measured_games(file, size, gap):
    path = DATA / file
    if not path.exists():
        pytest.skip("the measured games are not next to this checkout")
    game = envs.from_win_matrix(path)
    assert game.n_actions == len(game.names) == size
    assert game.counts is None
    np.testing.assert_allclose(game.preference[0], pd.read_csv(path).to_numpy(), atol=1e-8)
    uniform = 2 * (game.preference[0].mean(1).max() - 0.5)  # duality gap of uniform, in units of P
    assert uniform == pytest.approx(gap, abs=5e-5)
