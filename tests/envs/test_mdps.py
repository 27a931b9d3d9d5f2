from collections import deque

import numpy as np
import pytest

import rebel_envs as envs
from rebel_theory.problems import InvalidProblemError

SPARSE = pytest.mark.parametrize("sparse", [False, True])


@SPARSE
def test_chain_closed_form(exact, sparse):
    mdp = envs.chain(7, slip=0.0, discount=0.8, sparse=sparse)
    v = exact.optimal_values(exact.dense(mdp), mdp.reward, 0.8)
    np.testing.assert_allclose(v, 0.8 ** (6 - np.arange(7)) / 0.2, rtol=1e-12)


@SPARSE
def test_chain_slips_against_the_chosen_direction(exact, sparse):
    p = exact.dense(envs.chain(4, slip=0.25, sparse=sparse))
    np.testing.assert_array_equal(p[1], [[0.75, 0, 0.25, 0], [0.25, 0, 0.75, 0]])
    np.testing.assert_array_equal(p[0], [[0.75, 0.25, 0, 0], [0.25, 0.75, 0, 0]])
    np.testing.assert_array_equal(p[3], [[0, 0, 0.75, 0.25], [0, 0, 0.25, 0.75]])


@SPARSE
def test_river_swim(exact, sparse):
    mdp = envs.river_swim(6, discount=0.9, sparse=sparse)
    p = exact.dense(mdp)
    left = np.tile([1.0, 0.0], (6, 1))
    np.testing.assert_allclose(exact.values(p, mdp.reward, 0.9, left), 0.005 * 0.9 ** np.arange(6) / 0.1, rtol=1e-12)
    d = exact.stationary(p[:, 1])
    np.testing.assert_allclose(d[1:] / d[:-1], [12, 7, 7, 7, 0.875], rtol=1e-9)
    np.testing.assert_array_equal(mdp.initial_dist, np.eye(6)[0])
    assert mdp.reward.sum() == 1.005


@pytest.mark.parametrize(("n", "a", "seed"), [(1, 2, 0), (4, 3, 0), (5, 2, 7)])
@SPARSE
def test_combination_lock(exact, sparse, n, a, seed):
    mdp = envs.combination_lock(n, a, discount=0.8, seed=seed, sparse=sparse)
    p = exact.dense(mdp)
    v = exact.optimal_values(p, mdp.reward, 0.8)
    np.testing.assert_allclose(v, 0.8 ** (n - 1 - np.arange(n)) / (1 - 0.8**n), rtol=1e-12)
    rate = exact.stationary(p.mean(1)) @ mdp.reward.mean(1)  # openings per step, uniform policy
    assert 1 / rate == pytest.approx((a ** (n + 1) - a) / (a - 1), rel=1e-9)


def test_the_code_of_a_lock_depends_on_the_seed(exact):
    codes = {tuple(exact.dense(envs.combination_lock(6, 3, seed=s))[:-1].argmax(1).ravel()) for s in range(4)}
    assert len(codes) == 4


@pytest.mark.parametrize("seed", [None, 3])
@SPARSE
def test_deep_sea(exact, sparse, seed):
    n, c, g = 5, 0.1, 0.9
    mdp = envs.deep_sea(n, move_cost=c, discount=g, seed=seed, sparse=sparse)
    v = exact.optimal_values(exact.dense(mdp), mdp.reward, g)
    assert v[0] == pytest.approx(g ** (n - 1) - c / n * (1 - g**n) / (1 - g), rel=1e-12)
    assert envs.deep_sea(n, discount=1.0).absorbing.tolist() == [False] * 15 + [True]


@pytest.mark.parametrize("seed", [None, 3])
def test_deep_sea_with_a_horizon(seed):
    n, c = 6, 0.1
    mdp = envs.deep_sea_finite_horizon(n, move_cost=c, seed=seed)
    v, treasure = np.zeros(n), np.zeros(n)
    for h in reversed(range(n)):
        v = (mdp.reward[h] + mdp.transition[h] @ v).max(1)
        found = mdp.reward[h] > 0.5  # the pair that earns the treasure
        treasure = (found + mdp.transition[h] @ treasure * ~found).mean(1)
    assert mdp.initial_dist @ v == pytest.approx(1 - c, rel=1e-12)
    assert mdp.initial_dist @ treasure == 2.0**-n


def test_the_two_deep_seas_are_one():
    n = 4
    flat, finite = envs.deep_sea(n, seed=5), envs.deep_sea_finite_horizon(n, seed=5)
    rows, cols = np.tril_indices(n)
    np.testing.assert_array_equal(flat.reward[:-1], finite.reward[rows, cols])
    for s, (h, c) in enumerate(zip(rows, cols, strict=True)):
        for a in range(2):
            below = np.zeros(flat.n_states)
            if h < n - 1:
                below[(h + 1) * (h + 2) // 2 + np.arange(h + 2)] = finite.transition[h, c, a, : h + 2]
            else:
                below[-1] = 1
            np.testing.assert_array_equal(flat.transition[s, a], below)
    moves = envs.deep_sea_finite_horizon(3).transition[0].argmax(-1)  # (column, left or right)
    np.testing.assert_array_equal(moves, [[0, 1], [0, 2], [1, 2]])
    assert set(np.unique(finite.reward[:, :, 0] < 0)) == {True, False}


MAP = """
S..#.
.#..G
...#.
#.H..
"""


def shortest_ways(lines):
    """Steps to the goal from every free cell by breadth-first search; None where there is no way."""
    cells = {(i, j): c for i, line in enumerate(lines) for j, c in enumerate(line) if c != "#"}
    goal = next(k for k, c in cells.items() if c == "G")
    distance, queue = {goal: 0}, deque([goal])
    while queue:
        i, j = queue.popleft()
        for other in ((i, j - 1), (i + 1, j), (i, j + 1), (i - 1, j)):
            if other in cells and other not in distance and cells[other] != "H":
                distance[other] = distance[i, j] + 1
                queue.append(other)
    return [distance.get(k) for k in cells]


@pytest.mark.parametrize("layout", [MAP, MAP.split(), "S#G#.\n....."])
@SPARSE
def test_gridworld_shortest_ways(exact, sparse, layout):
    lines = layout.split() if isinstance(layout, str) else layout
    mdp = envs.gridworld(layout=layout, discount=0.7, sparse=sparse)
    ways = shortest_ways(lines)
    expected = [0.0 if not d else 0.7 ** (d - 1) for d in ways]
    np.testing.assert_allclose(exact.optimal_values(exact.dense(mdp), mdp.reward, 0.7), expected, atol=1e-14)


def test_gridworld_is_frozen_lake():
    lake = envs.from_gymnasium("FrozenLake-v1")
    ours = envs.gridworld(layout="SFFF\nFHFH\nFFFH\nHFFG", slip=2 / 3)
    np.testing.assert_allclose(ours.transition, lake.transition, atol=1e-12)
    np.testing.assert_allclose(ours.reward, lake.reward, atol=1e-12)
    np.testing.assert_array_equal(ours.initial_dist, lake.initial_dist)


@pytest.mark.parametrize("seed", range(5))
def test_random_grids_are_solvable_and_not_full(exact, seed):
    mdp = envs.gridworld(6, 7, obstacle_density=0.35, seed=seed)
    assert 12 <= mdp.n_states < 42
    assert mdp.initial_dist @ exact.optimal_values(mdp.transition, mdp.reward, 0.95) >= 0.95**41
    assert mdp.absorbing.sum() == 1


@pytest.mark.parametrize("branching", [1, 3, 8])
def test_garnet(exact, branching):
    mdp = envs.garnet(8, 3, branching, 0.9, seed=4)
    sparse = envs.garnet(n_states=8, n_actions=3, branching=branching, discount=0.9, seed=4, sparse=True)
    assert ((mdp.transition > 0).sum(-1) == branching).all()
    np.testing.assert_allclose(exact.dense(sparse), mdp.transition, rtol=1e-15)
    np.testing.assert_array_equal(sparse.reward, mdp.reward)
    assert not np.isclose(envs.garnet(8, 3, branching, seed=5).reward, mdp.reward).any()


def test_garnet_branches_are_uniform_sets():
    # 20,000 pairs, each of the 10 sets of 3 out of 5 states has probability 1/10 and each ordered position of the
    # cut points mean 1/3. 10 + 3 normal scores at 5 sigma: false alarm below 1e-5.
    mdp = envs.garnet(5, 4000, 3, seed=0)
    p = mdp.transition.reshape(-1, 5)
    sets, counts = np.unique(p > 0, axis=0, return_counts=True)
    n = len(p)
    assert n == 20_000
    assert len(sets) == 10
    assert np.abs((counts - n / 10) / np.sqrt(n * 0.09)).max() < 5
    # gaps of two uniform cuts are Dirichlet(1, 1, 1): variance 1/18 each, over the 3 n / 5 entries of a state
    for t in range(5):
        x = p[p[:, t] > 0, t]
        assert abs(x.mean() - 1 / 3) / np.sqrt(1 / 18 / len(x)) < 5


def test_random_mdps_in_a_batch():
    mdp = envs.random_mdp(4, 3, seed=2, n_instances=3, concentration=0.3)
    assert mdp.batch_shape == (3,)
    assert not np.isclose(mdp.reward[0], mdp.reward[1]).any()
    assert envs.random_mdp(4, 3, concentration=0.01).transition.max(-1).mean() > 0.95


def test_random_finite_horizon_steps():
    moving, still = (envs.random_finite_horizon(4, 3, 3, stationary=s) for s in (False, True))
    assert not np.isclose(moving.reward[0], moving.reward[1]).any()
    np.testing.assert_array_equal(still.transition[0], still.transition[2])


@pytest.mark.parametrize("build", [envs.simplex_linear_mdp, envs.low_rank_garnet])
def test_linear_mdps_have_simplex_factors_and_their_rank(build):
    mdp = build(12, 3, 4, seed=1)
    p = mdp.features.reshape(-1, 4) @ mdp.measures
    assert np.linalg.matrix_rank(p) == 4
    for factor in (mdp.features, mdp.measures, p):
        assert factor.min() >= 0
        np.testing.assert_allclose(factor.sum(-1), 1, rtol=1e-12)


def test_low_rank_garnet_is_sparse():
    mdp = envs.low_rank_garnet(30, 2, 5, branching=4)
    assert ((mdp.features > 0).sum(-1) == 2).all()
    assert ((mdp.measures > 0).sum(-1) == 4).all()


@pytest.mark.parametrize(("k", "gap", "gamma", "seed"), [(1, 0.1, 0.9, 0), (4, 0.02, 0.95, 1), (3, 0.1, 0.9, 2)])
def test_hard_linear_mdp_closed_form(exact, k, gap, gamma, seed):
    mdp = envs.hard_linear_mdp(k, separation=gap, discount=gamma, seed=seed)
    p, r = mdp.features @ mdp.measures, mdp.features @ mdp.reward_weights
    delta = 1 - gamma
    q = delta + gap
    below = (1 - gamma) * (1 - gamma + gamma * (q + delta))
    v = exact.optimal_values(p, r, gamma)
    np.testing.assert_allclose(v, [gamma * q / below, (1 - gamma + gamma * q) / below], rtol=1e-12)
    np.testing.assert_allclose(np.sort(p[0, :, 1])[[0, -1]], [delta - gap, delta + gap], atol=1e-15)
    assert len(np.unique(p[0, :, 1].round(12))) == k + 1


@pytest.mark.parametrize(
    ("build", "offender"),
    [
        (lambda: envs.chain(1), "n_states is 1, expected a whole number of at least 2"),
        (lambda: envs.chain(4, slip=1.2), "slip is 1.2, expected a number in [0, 1]"),
        (lambda: envs.chain(4, discount=1.0), "discount is 1"),
        (lambda: envs.river_swim(2), "n_states is 2"),
        (lambda: envs.combination_lock(3, 1), "n_actions is 1"),
        (lambda: envs.deep_sea(1), "size is 1"),
        (lambda: envs.deep_sea(4, move_cost=1.0), "move_cost is 1.0"),
        (lambda: envs.gridworld(layout="S.\nG"), "layout line 1 ('G') has 1 letters, line 0 has 2"),
        (lambda: envs.gridworld(layout="S?G"), "layout[0][1] is '?'"),
        (lambda: envs.gridworld(layout="S.."), "layout has no goal"),
        (lambda: envs.gridworld(layout="G#"), "no free cell to start from"),
        (lambda: envs.gridworld(1, 1), "a larger grid"),
        (lambda: envs.gridworld(9, 9, obstacle_density=0.99), "lower it"),
        (lambda: envs.garnet(4, 2, 5), "branching is 5, expected a whole number of at least 1 and at most 4"),
        (lambda: envs.random_mdp(concentration=-1.0), "concentration is -1.0"),
        (lambda: envs.random_mdp(n_instances=0), "n_instances is 0"),
        (lambda: envs.random_finite_horizon(horizon=0), "horizon is 0"),
        (lambda: envs.simplex_linear_mdp(n_features=0), "n_features is 0"),
        (lambda: envs.hard_linear_mdp(separation=0.2, discount=0.9), "separation is 0.2, expected in (0, 0.1]"),
    ],
)
def test_bad_hyperparameters_are_named(build, offender):
    with pytest.raises(InvalidProblemError) as error:
        build()
    assert offender in str(error.value)
