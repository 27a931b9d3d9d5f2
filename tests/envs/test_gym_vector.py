"""The native vector environment: Gymnasium's own SyncVectorEnv is the reference, and the kernels read as Python."""

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import rebel_envs as envs
import rebel_envs.gym as rg
import rebel_theory as rt
from rebel_envs import kernels
from rebel_envs.gymnasium_envs.tables import table_of
from rebel_theory.problems import InvalidProblemError

IDS = [id for id in rg.register() if "ICU" not in id]
NOISES = [rt.BernoulliNoise(), rt.GaussianNoise(1.0)]
LAKE = envs.gridworld(layout="S.\nHG", slip=0.3)


def same(one, two, path="step"):
    """Exactly equal, in structure, type and value."""
    assert type(one) is type(two), path
    if isinstance(one, dict):
        assert one.keys() == two.keys(), path
        for key in one:
            same(one[key], two[key], f"{path}[{key}]")
    elif isinstance(one, tuple):
        for i, (a, b) in enumerate(zip(one, two, strict=True)):
            same(a, b, f"{path}[{i}]")
    else:
        assert one.dtype == two.dtype, path
        np.testing.assert_array_equal(one, two, err_msg=path)


def sync_of(id, n, mode, **kwargs):
    return gymnasium.make_vec(id, n, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode}, **kwargs)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize(
    ("id", "kwargs"),
    [*((id, {}) for id in IDS), *(("rebel/RandomBandit-v0", {"noise": noise}) for noise in NOISES)],
)
def test_one_copy_is_the_single_environment(id, kwargs, mode):
    """The same stream, observations, rewards, ends, limits and infos as SyncVectorEnv, for 150 steps."""
    native = gymnasium.make_vec(id, 1, autoreset_mode=mode, **kwargs)
    sync = sync_of(id, 1, mode, **kwargs)
    assert isinstance(native, rg.TabularVectorEnv)
    assert native.metadata == sync.metadata
    for space in ("observation_space", "action_space", "single_observation_space", "single_action_space"):
        assert getattr(native, space) == getattr(sync, space)
    same(native.reset(seed=7), sync.reset(seed=7))
    native.action_space.seed(1)
    for t in range(150):
        actions = native.action_space.sample()
        same(native.step(actions), sync.step(actions), f"step {t}")


# nothing is random here, so that many copies must agree as well
FIXED = {
    "rebel/CombinationLock-v0": {"n_states": 4, "max_episode_steps": 5},
    "rebel/Gridworld-v0": {"layout": "S..\n.HG", "slip": 0.0},
    "rebel/DeepSeaFiniteHorizon-v0": {"size": 3},
    "rebel/ShiftBandit-v0": {},
}


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize("id", FIXED)
def test_copies_that_end_at_different_times(id, mode):
    n = 5
    native, sync = gymnasium.make_vec(id, n, autoreset_mode=mode, **FIXED[id]), sync_of(id, n, mode, **FIXED[id])
    start = {"options": {"state": 0}}
    same(native.reset(seed=0, **start), sync.reset(seed=0, **start))
    rng, ends = np.random.default_rng(2), 0
    for t in range(60):
        actions = rng.integers(native.single_action_space.n, size=n)
        one, two = native.step(actions), sync.step(actions)
        ends += (one[2] | one[3]).sum()
        same(one, two, f"step {t}")
    assert ends > 3


def test_next_step_mode_ignores_one_action_and_earns_nothing():
    many = rg.TabularVectorEnv(LAKE, 2)
    many.reset(seed=0, options={"state": [1, 2]})  # 2 is a hole: the first step ends
    observations, rewards, ended, _, _ = many.step(np.array([0, 0]))
    assert ended.tolist() == [False, True]
    assert observations[1] == 2
    observations, rewards, ended, _, infos = many.step(np.array([0, 3]))
    assert observations[1] == 0  # the only first state
    assert rewards[1] == 0
    assert not ended[1]
    assert infos["discount"].tolist() == [0.95, 0.95]


def test_same_step_mode_returns_the_last_observation_aside():
    many = rg.TabularVectorEnv(LAKE, 3, autoreset_mode="SameStep")
    many.reset(seed=0, options={"state": [1, 2, 3]})
    observations, _, ended, _, infos = many.step(np.array([0, 0, 0]))
    assert ended[1:].all()
    assert (observations[1:] == 0).all()
    assert infos["final_obs"][1:].tolist() == [2, 3]
    np.testing.assert_array_equal(infos["_final_obs"], ended)
    np.testing.assert_array_equal(infos["final_info"]["discount"][1:], [0.95, 0.95])


def test_disabled_mode_waits_for_the_mask():
    many = rg.TabularVectorEnv(LAKE, 3, autoreset_mode=AutoresetMode.DISABLED)
    many.reset(seed=0, options={"state": [1, 2, 3]})
    before, _, terminated, truncated, _ = many.step(np.array([0, 0, 0]))
    with pytest.raises(gymnasium.error.ResetNeeded, match="the episode of copy 1 ended"):
        many.step(np.array([0, 0, 0]))
    mask = terminated | truncated
    observations, infos = many.reset(options={"reset_mask": mask})
    np.testing.assert_array_equal(observations, np.where(mask, 0, before))
    np.testing.assert_array_equal(infos["_discount"], mask)
    many.step(np.array([0, 0, 0]))


def test_limits_count_the_steps_of_each_copy():
    many = rg.TabularVectorEnv("chain", 2, max_episode_steps=3, autoreset_mode="SameStep")
    many.reset(seed=0)
    cuts = [many.step(np.array([1, 1]))[3].tolist() for _ in range(7)]
    assert cuts == [[False] * 2, [False] * 2, [True] * 2] * 2 + [[False] * 2]
    free = gymnasium.make_vec("rebel/Chain-v0", 2, max_episode_steps=-1)
    free.reset(seed=0)
    assert not any(free.step(np.array([1, 1]))[3].any() for _ in range(60))


def test_a_seed_is_a_stream():
    def record(seed, n=50):
        many = rg.TabularVectorEnv("gridworld", n)
        data = [many.reset(seed=seed)[0]]
        many.action_space.seed(1)
        return np.stack([*data, *(many.step(many.action_space.sample())[0] for _ in range(40))])

    np.testing.assert_array_equal(record(3), record(3))
    assert (record(3) != record(4)).any()
    many = rg.TabularVectorEnv("chain", 4)
    assert many.reset(seed=3)[0].tolist() == many.reset(seed=3)[0].tolist()
    kept = many.step(np.ones(4, dtype=int))[0]
    copy = kept.copy()
    many.step(np.zeros(4, dtype=int))
    np.testing.assert_array_equal(kept, copy)  # what was returned is the caller's


@pytest.mark.parametrize(
    "problem",
    [envs.random_mdp(4, 3, seed=1), envs.garnet(5, 3, 2, seed=1, sparse=True), envs.simplex_linear_mdp(5, 3, 3)],
)
def test_many_copies_follow_the_transition_table(problem):
    """20,000 copies from each state under mixed actions: at most 75 cells at 5 sigma, false alarm below 5e-5."""
    n, s = 20_000, problem.n_states
    if isinstance(problem, rt.LinearMDP):
        p, r = problem.features @ problem.measures, problem.features @ problem.reward_weights
    else:
        dense = problem.transition if isinstance(problem.transition, np.ndarray) else problem.transition.toarray()
        p, r = dense.reshape(s, -1, s), problem.reward
    many = rg.TabularVectorEnv(problem, n)
    states, actions = np.arange(n) % s, np.arange(n) // s % problem.n_actions
    many.reset(seed=0, options={"state": states})
    after, rewards, ended, _, _ = many.step(actions)
    np.testing.assert_allclose(rewards, r[states, actions], atol=1e-14)
    assert not ended.any()
    counts, totals = np.zeros_like(p), np.zeros(p.shape[:2])
    np.add.at(counts, (states, actions, after), 1)
    np.add.at(totals, (states, actions), 1)
    expected = totals[..., None] * p
    assert (counts[p < 1e-15] == 0).all()
    z = (counts - expected) / np.sqrt(np.maximum(expected * (1 - p), 1e-9))
    assert np.abs(z).max() < 5


def test_discounted_returns_have_the_value_of_the_policy_as_their_mean():
    mdp = envs.gridworld(layout="S..\n.H.\n..G", slip=0.3, discount=0.9)
    probs = np.random.default_rng(0).dirichlet(np.ones(4), size=mdp.n_states)
    n = 20_000
    many = rg.TabularVectorEnv(mdp, n, autoreset_mode="SameStep")
    rng, states = np.random.default_rng(1), many.reset(seed=2)[0]
    returns, weight, alive = np.zeros(n), np.ones(n), np.ones(n, dtype=bool)
    for _ in range(150):  # 0.9^150 = 1e-7 is below the standard error
        actions = (rng.random((n, 1)) > np.cumsum(probs[states], axis=1)[:, :-1]).sum(1)
        states, rewards, ended, _, _ = many.step(actions)
        returns += alive * weight * rewards
        alive &= ~ended
        weight *= 0.9
    z = (returns.mean() - rt.evaluate(mdp, probs).objective) / (returns.std() / np.sqrt(n))
    assert abs(z) < 5  # false alarm below 1e-6


def test_bandit_noise_is_independent_across_copies():
    bandit, n = rt.ContextualBandit([[0.3, 0.6]], noise=rt.BernoulliNoise()), 20_000
    many = rg.TabularVectorEnv(bandit, n, autoreset_mode="SameStep")
    many.reset(seed=0)
    _, rewards, ended, _, infos = many.step(np.arange(n) % 2)
    assert ended.all()
    assert set(rewards) == {0.0, 1.0}
    for arm, mean in enumerate((0.3, 0.6)):  # 2 means at 5 sigma: false alarm below 2e-6
        assert abs(rewards[arm::2].mean() - mean) < 5 * np.sqrt(mean * (1 - mean) / (n / 2))
    np.testing.assert_array_equal(infos["final_info"]["mean_reward"], np.where(np.arange(n) % 2, 0.6, 0.3))


def test_bad_use_is_named():
    many = rg.TabularVectorEnv("chain", 3)
    with pytest.raises(gymnasium.error.ResetNeeded, match="call reset"):
        many.step(np.zeros(3, dtype=int))
    with pytest.raises(gymnasium.error.ResetNeeded, match="first reset"):
        many.reset(options={"reset_mask": np.array([True, False, False])})
    many.reset(seed=0)
    for actions, offender in (
        ([0, 2, 0], r"actions\[1\] is 2, expected 0 to 1"),
        ([0, 0, -1], r"actions\[2\] is -1"),
        ([0, 0], r"shape \(2,\)"),
        ([0.0, 0.0, 1.0], "type float64"),
    ):
        with pytest.raises(gymnasium.error.InvalidAction, match=offender):
            many.step(np.array(actions))
    for options in ({"state": [0, 1]}, {"state": 10}, {"reset_mask": np.ones(3)}):
        with pytest.raises(ValueError, match="options"):
            many.reset(options=options)
    with pytest.raises(TypeError, match="one whole number"):
        many.reset(seed=[1, 2, 3])
    for kwargs in ({"num_envs": 0}, {"num_envs": 2, "max_episode_steps": 0}):
        with pytest.raises(InvalidProblemError, match="expected at least 1"):
            rg.TabularVectorEnv("chain", **kwargs)
    with pytest.raises(InvalidProblemError, match="PreferenceGame"):
        rg.TabularVectorEnv(envs.rock_paper_scissors(), 2)
    with pytest.raises(ValueError, match="not a valid AutoresetMode"):
        rg.TabularVectorEnv("chain", 2, autoreset_mode="Never")


def test_pictures_of_all_copies():
    many = rg.TabularVectorEnv(LAKE, 2, render_mode="ansi")
    single = rg.TabularEnv(LAKE, render_mode="ansi")
    many.reset(seed=0, options={"state": [0, 3]})
    assert many.render() == ("start\n@ .\nH G\n", "start\nS .\nH @\n")
    many.step(np.array([3, 3]))
    assert "end" in many.render()[1]
    many.step(np.array([3, 3]))
    assert many.render()[1] == "start\n@ .\nH G\n"  # the step that resets
    assert rg.TabularVectorEnv(LAKE, 2).render() is None
    one = rg.TabularVectorEnv(LAKE, 1, render_mode="ansi")
    for env in (single, one):
        env.reset(seed=1)
    single.step(3)
    one.step(np.array([3]))
    assert one.render()[0] == single.render()


def test_a_wrapper_of_gymnasium_works():
    many = gymnasium.wrappers.vector.RecordEpisodeStatistics(gymnasium.make_vec("rebel/RandomBandit-v0", 3))
    many.reset(seed=0)
    assert many.step(np.zeros(3, dtype=int))[4]["episode"]["l"].tolist() == [1, 1, 1]


def test_environments_of_one_problem_share_its_table():
    assert rg.TabularEnv(LAKE)._table is rg.TabularVectorEnv(LAKE, 2)._table
    assert SyncVectorEnv([lambda: rg.TabularEnv(LAKE)] * 3).num_envs == 3


@pytest.mark.kernels
@pytest.mark.parametrize(
    "problem",
    [LAKE, envs.random_finite_horizon(3, 2, 4), envs.low_rank_garnet(6, 2, 4, branching=2), envs.random_bandit(3, 2)],
)
def test_compiled_is_interpreted_exactly(problem):
    table, n = table_of(problem), 200
    rng = np.random.default_rng(0)
    first, second = rng.random(n), rng.random(2 * n)
    chosen, actions = rng.random(n) < 0.7, rng.integers(problem.n_actions, size=n)
    results = []
    for take in (lambda k: k, lambda k: getattr(k, "py_func", k)):
        rows, elapsed = np.zeros(n, dtype=np.int64), np.full(n, 2)
        rewards, terminated, truncated = np.empty(n), np.empty(n, dtype=bool), np.empty(n, dtype=bool)
        take(kernels.restart)(first, table, chosen, rows, elapsed)
        for _ in range(2):
            take(kernels.advance)(
                second, table, chosen, actions, 2, rows, elapsed, rewards, terminated, truncated
            )  # fmt: skip
            results.append([rows.copy(), elapsed.copy(), rewards.copy(), terminated.copy(), truncated.copy()])
            if table.horizon:
                break
    half = len(results) // 2
    for one, two in zip(results[:half], results[half:], strict=True):
        for a, b in zip(one, two, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.kernels
def test_pick_by_definition():
    """The first running sum above u; never a place of probability 0, and u = 0 and u just below 1 included."""
    for p in ([0.2, 0.5, 0.3], [0.0, 0.5, 0.0, 0.5, 0.0], [1.0], [0.0, 0.0, 1.0], [1e-300, 1.0], [3.0, 1.0]):
        pointers, sums = np.array([0, 2, 2 + len(p)]), np.empty(2 + len(p))
        kernels.running_sums(pointers, np.array([9.0, 9.0, *p]), sums)
        np.testing.assert_allclose(sums[2:], np.cumsum(p), rtol=1e-15)
        for u in (0.0, *np.random.default_rng(0).random(50), 1 - 2.0**-53):
            got = kernels.pick(u, sums, 2, len(sums))
            assert got - 2 == np.searchsorted(np.cumsum(p), u * np.sum(p), side="right")
            assert p[got - 2] > 0
