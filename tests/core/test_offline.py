"""Offline data: the regression on a fixed data set, and every fault of the data with its row."""

import numpy as np
import pandas as pd
import pytest

import rebel_theory as rt
from rebel_theory.oracles import seed_streams
from rebel_theory.policies import as_base


def all_pairs(rows, actions):
    return (v.ravel() for v in np.indices((rows, actions, actions)))


def test_complete_noise_free_data_give_the_exact_step():
    rng = np.random.default_rng(0)
    bandit = rt.ContextualBandit(rng.random((3, 4)))
    x, y, z = all_pairs(3, 4)
    data = rt.OfflineData(y, z, x=x, difference=bandit.reward[x, y] - bandit.reward[x, z])
    exact = rt.run(bandit, rt.Rebel(0.7), n_iterations=5)
    for algorithm in (rt.Rebel(0.7), rt.NaturalPolicyGradient(0.7), rt.MirrorDescent(0.7)):
        trace = rt.run(bandit, algorithm, n_iterations=5, oracle=rt.Offline(data))
        np.testing.assert_allclose(trace.gap, exact.gap, atol=1e-12)
        np.testing.assert_array_equal(trace.queries, 2 * 48)


def test_actions_without_data_keep_their_place_and_rows_too():
    bandit = rt.ContextualBandit([[1.0, 0.0, 5.0], [1.0, 2.0, 3.0]])
    data = rt.OfflineData([0], [1], difference=[1.0])
    trace = rt.run(bandit, rt.Rebel(np.log(4.0)), n_iterations=1, oracle=rt.Offline(data))
    # logits move by +- ln 4 / 2: weights 2, 1/2, 1
    np.testing.assert_allclose(trace.final_policy.probs[0], [np.array([2, 0.5, 1]) / 3.5, np.full(3, 1 / 3)])


def test_propensities_undo_the_logging():
    """Two noisy pairs compared unequally often: with weights 1/propensity both cells count the same."""
    bandit = rt.ContextualBandit([[1.0, 0.0, 0.5]])
    y, z = [0, 0, 0, 1], [1, 1, 1, 2]
    plain = rt.OfflineData(y, z, difference=[1, 1, 1, 0])
    weighted = rt.OfflineData(y, z, difference=[1, 1, 1, 0], propensity=[0.75, 0.75, 0.75, 0.25])
    graphs = [
        rt.Offline(d).bind(bandit, seed_streams(0, 1)).pairs(rt.TabularPolicy.uniform(bandit), as_base("on-policy"))
        for d in (plain, weighted)
    ]
    assert graphs[0].weights[0, 0, 0, 1] == pytest.approx(3 * graphs[0].weights[0, 0, 1, 2])
    assert graphs[1].weights[0, 0, 0, 1] == pytest.approx(graphs[1].weights[0, 0, 1, 2])


def test_preferences_estimate_the_payoff_against_the_policy():
    """Exact frequencies of a game's preferences reproduce its exact self-play step."""
    p = np.array([[0.5, 0.75, 0.25], [0.25, 0.5, 1.0], [0.75, 0.0, 0.5]])
    game = rt.PreferenceGame(p)
    y, z, won = [], [], []
    for i, j in np.ndindex(3, 3):
        if i < j:
            y += [i] * 4
            z += [j] * 4
            won += [1] * round(4 * p[i, j]) + [0] * (4 - round(4 * p[i, j]))
    start = rt.TabularPolicy([[0.3, -0.2, 0.1]])
    oracle = rt.Offline({"y": y, "y_base": z, "preferred": won})
    offline = rt.run(game, rt.Rebel(0.4), n_iterations=20, policy=start, oracle=oracle)
    exact = rt.run(game, rt.Rebel(0.4), n_iterations=20, policy=start)
    np.testing.assert_allclose(offline.gap, exact.gap, atol=1e-12)
    np.testing.assert_array_equal(offline.queries, 12)


def test_fresh_pairs_are_added_and_counted():
    rng = np.random.default_rng(1)
    bandit = rt.ContextualBandit(rng.random((2, 3)), noise=rt.GaussianNoise(0.5))
    data = rt.OfflineData([0, 1], [1, 2], x=[0, 1], difference=[0.1, 0.2])
    alone = rt.run(bandit, rt.Rebel(1.0), n_iterations=3, oracle=rt.Offline(data), n_seeds=2)
    mixed = rt.run(bandit, rt.Rebel(1.0), n_iterations=3, oracle=rt.Offline(data, on_policy_pairs=5_000), n_seeds=2)
    np.testing.assert_array_equal(alone.gap[0], alone.gap[1])
    assert (mixed.gap[0, 1:] != mixed.gap[1, 1:]).all()
    np.testing.assert_array_equal(mixed.queries, [[4, 10_004, 20_004, 30_004]] * 2)
    assert (mixed.gap[:, -1] < alone.gap[:, -1]).all()


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_files_and_frames(tmp_path, suffix):
    table = pd.DataFrame({"x": [0, 1], "y": [0, 1], "y_base": [1, 0], "reward": [1.0, 0.5], "reward_base": [0.0, 0.25]})
    path = tmp_path / f"data.{suffix}"
    table.to_parquet(path) if suffix == "parquet" else table.to_csv(path, index=False)
    for source in (table, path, str(path), table.to_dict("list")):
        data = rt.OfflineData.from_frame(source)
        np.testing.assert_array_equal(data.difference, [1.0, 0.25])
        np.testing.assert_array_equal(data.x, [0, 1])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"y": [0], "y_base": [1]}, "nothing was observed"),
        ({"y": [0], "difference": [1.0]}, "column 'y_base' is missing"),
        ({"y": [0], "y_base": [1], "difference": [1.0], "prefered": [1]}, "column 'prefered' is not known"),
        ({"y": [0], "y_base": [1], "difference": [1.0], "preferred": [1]}, "only one of them"),
        ({"y": [], "y_base": [], "difference": []}, "empty"),
        ({"y": [0, -1], "y_base": [1, 0], "difference": [1.0, 0.0]}, r"y\[row=1\] is -1.0, expected an index"),
        ({"y": [0, 0.5], "y_base": [1, 0], "difference": [1.0, 0.0]}, r"y\[row=1\] is 0.5"),
        ({"y": [0, 0], "y_base": [1, 1], "difference": [1.0, np.nan]}, r"observed\[row=1\] is nan"),
        ({"y": [0, 0], "y_base": [1, 1], "difference": [1.0]}, r"observed has shape \(1,\), expected \(2,\)"),
        ({"y": [0], "y_base": [1], "preferred": [0.7]}, r"preferred\[row=0\] is 0.7"),
        ({"y": [0], "y_base": [1], "difference": [1.0], "propensity": [0.0]}, r"propensity\[row=0\] is 0.0"),
    ],
)
def test_every_fault_is_named(columns, message):
    with pytest.raises(rt.InvalidProblemError, match=message):
        rt.Offline(columns)


def test_data_must_fit_the_problem(tmp_path):
    bandit = rt.ContextualBandit(np.eye(2))
    for bad, message in (
        (rt.OfflineData([0, 2], [1, 0], difference=[1, 1]), r"y\[row=1\] is 2.0, but the problem has 2"),
        (rt.OfflineData([0], [1], x=[5], difference=[1]), r"x\[row=0\] is 5.0"),
    ):
        with pytest.raises(rt.InvalidProblemError, match=message):
            rt.run(bandit, rt.Rebel(1.0), n_iterations=1, oracle=rt.Offline(bad))
    with pytest.raises(rt.InvalidProblemError, match="does not exist"):
        rt.Offline(tmp_path / "none.parquet")
    with pytest.raises(rt.InvalidProblemError, match="on_policy_pairs is -1"):
        rt.Offline(rt.OfflineData([0], [1], difference=[1]), on_policy_pairs=-1)
