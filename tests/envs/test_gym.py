"""Problems as Gymnasium environments: the contract, laws against the tables, and agents that know only the API."""

import doctest
import importlib
import importlib.util
import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import rebel_envs as envs
import rebel_envs.gym as rg
import rebel_theory as rt
from rebel_theory.problems import InvalidProblemError

IDS = [id for id in rg.register() if "ICU" not in id]
SIGNED = rt.LinearMDP(  # signed factors of a proper transition: P(t=0) = 0.25, 0.75
    [[[1.0, -0.25], [1.0, 0.25]], [[1.0, -0.25], [1.0, 0.25]]], [[0.5, 0.5], [1.0, -1.0]], [0.5, 2.0], discount=0.9
)
MIXED = envs.simplex_linear_mdp(5, 2, 3, seed=3)  # the same law from measures of other masses
SCALED = rt.LinearMDP(
    MIXED.features * [4.0, 1.0, 0.25], MIXED.measures / np.array([[4.0], [1.0], [0.25]]), [1.0, 0.0, 0.5], discount=0.9
)
STATIONARY = rt.FiniteHorizonMDP(envs.random_mdp(4, 3).transition, envs.random_mdp(4, 3).reward, horizon=3)


@pytest.mark.parametrize("id", IDS)
def test_check_env_is_clean(id):
    env = gymnasium.make(id).unwrapped
    assert env.problem.n_rows == env.observation_space.n
    assert env.problem.n_actions == env.action_space.n
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env, skip_render_check="Taxi" in id)  # 501 cells are slow to draw


def test_check_env_of_the_largest():
    if importlib.util.find_spec("icu_sepsis") is None:
        pytest.skip("icu-sepsis is not installed")
    env = gymnasium.make("rebel/ICUSepsis-v0").unwrapped
    check_env(env, skip_render_check=True, skip_close_check=True)
    assert gymnasium.spec("rebel/ICUSepsis-v0").max_episode_steps is None


def test_ids_are_the_names_but_the_games():
    small = [n for n in envs.names() if n != "icu-sepsis"]
    games = {n for n in small if isinstance(envs.make(n), rt.PreferenceGame)}
    assert {rg.gymnasium_id(n) for n in small if n not in games} == set(IDS)
    assert "rock-paper-scissors" in games
    assert {"rebel/Chain-v0", "rebel/FrozenLake-v0", "rebel/RandomMDP-v0", "rebel/DeepSeaFiniteHorizon-v0"} <= {*IDS}


def test_limits_leave_one_percent():
    assert gymnasium.spec("rebel/Chain-v0").max_episode_steps == 44
    assert 0.9**44 <= 0.01 < 0.9**43
    assert rg.default_limit(0.0) == 1
    assert gymnasium.spec("rebel/RandomBandit-v0").max_episode_steps is None
    assert gymnasium.spec("rebel/RandomFiniteHorizon-v0").max_episode_steps is None


def test_keywords_reach_the_constructor_and_the_spec_makes_it_again():
    env = gymnasium.make("rebel/Chain-v0", n_states=20, slip=0.0, max_episode_steps=3)
    again = gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    for one in (env, again):
        assert one.observation_space.n == 20
        one.reset(seed=0)
        assert [one.step(1)[3] for _ in range(3)] == [False, False, True]
    with pytest.raises(InvalidProblemError, match="did you mean n_states"):
        gymnasium.make("rebel/Chain-v0", n_state=20)


@pytest.mark.parametrize("code", ["import rebel_envs; rebel_envs.make('chain')", "import rebel_envs.gymnasium_envs"])
def test_only_the_module_gym_registers(code):
    code += "\nimport sys; print('numba' in sys.modules, 'gymnasium' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["False", "False"]


def test_an_id_can_name_its_module():
    code = "import gymnasium; print(gymnasium.make('rebel_envs.gym:rebel/Chain-v0').spec.id)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "rebel/Chain-v0"


@pytest.mark.parametrize("name", ["gym", "kernels", "_layouts", *(f"gymnasium_envs.{m}" for m in
                                  ("single", "vector", "tables", "pictures"))])  # fmt: skip
def test_doctests(name):
    module = importlib.import_module(f"rebel_envs.{name}")
    failed, tried = doctest.testmod(module, extraglobs={"np": np})
    assert failed == 0
    assert tried > 0 or name.endswith("pictures")


def exact_tables(problem):
    """Transition (rows, A, S), reward (rows, A), and rows to which (row, next state) leads, read off the problem."""
    if isinstance(problem, rt.FiniteHorizonMDP):
        h, s = problem.row_shape
        p = problem.transition.reshape(h * s, -1, s)
        return p, problem.reward.reshape(h * s, -1)
    if isinstance(problem, rt.LinearMDP):
        return problem.features @ problem.measures, problem.features @ problem.reward_weights
    p = problem.transition
    return (p if isinstance(p, np.ndarray) else p.toarray().reshape(*problem.reward.shape, -1)), problem.reward


PROBLEMS = {
    "dense": envs.random_mdp(4, 3, seed=1),
    "sparse": envs.garnet(6, 3, 2, seed=1, sparse=True),
    "absorbing": envs.gridworld(layout="S.\nHG", slip=0.4),
    "linear": envs.simplex_linear_mdp(5, 2, 3),
    "low-rank": envs.low_rank_garnet(6, 2, 4, branching=2),
    "signed": SIGNED,
    "scaled": SCALED,
    "horizon": envs.random_finite_horizon(3, 2, 3, seed=2),
    "stationary": STATIONARY,
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_steps_follow_the_transition_table(name):
    """Every (row, action), 600 steps each: counts of next states at 5 sigma, rewards exactly.

    At most 100 cells a problem, 9 problems: false alarm below 900 * 6e-7 = 6e-4 over all seeds; this one is fixed.
    """
    problem = PROBLEMS[name]
    p, r = exact_tables(problem)
    env, n, n_states = rg.TabularEnv(problem), 600, p.shape[-1]
    env.reset(seed=5)
    horizon = getattr(problem, "horizon", 0)
    ends = getattr(problem, "absorbing", np.zeros(n_states, dtype=bool))
    for row in range(problem.n_rows):
        for a in range(problem.n_actions):
            counts = np.zeros(n_states)
            for _ in range(n):
                env._row, env._running = row, True  # options cannot start in the middle of a horizon
                observation, reward, terminated, truncated, info = env.step(a)
                assert reward == pytest.approx(r[row, a], abs=1e-14)
                assert not truncated
                assert info["discount"] == getattr(problem, "discount", 1.0)
                if horizon and row // n_states + 1 == horizon:
                    assert terminated
                    assert observation == row
                    break
                step, state = divmod(observation, n_states)
                assert step == (row // n_states + 1 if horizon else 0)
                assert terminated == ends[state]
                if horizon:
                    assert (info["step"], info["state"]) == (step, state)
                counts[state] += 1
            else:
                law = p[row, a]
                assert (counts[law < 1e-15] == 0).all()
                z = (counts - n * law) / np.sqrt(np.maximum(n * law * (1 - law), 1e-9))
                assert np.abs(z).max() < 5, (row, a)


SKEWED = rt.ContextualBandit(np.zeros((3, 2)), context_dist=[0.2, 0.7, 0.1])


@pytest.mark.parametrize("problem", [envs.random_mdp(4, 3, seed=1), SKEWED])
def test_first_observations_follow_the_initial_law(problem):
    env = rg.BanditEnv(problem) if isinstance(problem, rt.ContextualBandit) else rg.TabularEnv(problem)
    law = problem.context_dist if isinstance(problem, rt.ContextualBandit) else problem.initial_dist
    n = 4000
    counts = np.bincount([env.reset(seed=0 if i == 0 else None)[0] for i in range(n)], minlength=len(law))
    assert np.abs((counts - n * law) / np.sqrt(n * law * (1 - law))).max() < 5  # 5 cells: false alarm below 3e-6


@pytest.mark.parametrize("noise", [rt.NoNoise(), rt.BernoulliNoise(), rt.GaussianNoise(0.5)])
def test_bandits_are_episodes_of_one_step_with_the_noise(noise):
    bandit = rt.ContextualBandit([[0.1, 0.7], [0.9, 0.4]], noise=noise)
    env, n = rg.BanditEnv(bandit), 4000
    rewards = np.empty(n)
    for i in range(n):
        env.reset(seed=3 if i == 0 else None, options={"state": 1})
        observation, rewards[i], terminated, truncated, info = env.step(1)
        assert (observation, terminated, truncated) == (1, True, False)
        assert info == {"discount": 1.0, "mean_reward": 0.4}
    sigma = {rt.NoNoise: 0.0, rt.BernoulliNoise: np.sqrt(0.24), rt.GaussianNoise: 0.5}[type(noise)]
    # 5 sigma of a mean and of a variance (kurtosis at most 3): false alarm below 2e-6
    assert abs(rewards.mean() - 0.4) <= 5 * sigma / np.sqrt(n) + 1e-12
    assert abs(rewards.var() - sigma**2) <= 5 * sigma**2 * np.sqrt(3 / n) + 1e-12


def rollout(env, seed, n=60):
    rng, seen = np.random.default_rng(9), [env.reset(seed=seed)]
    for _ in range(n):
        seen.append(env.step(int(rng.integers(env.action_space.n))))
        if seen[-1][2]:
            seen.append(env.reset())
    return seen


@pytest.mark.parametrize("build", [lambda: rg.TabularEnv("gridworld"), lambda: rg.TabularEnv("random-finite-horizon"),
                                   lambda: rg.BanditEnv("random-bandit", noise=rt.GaussianNoise(1.0))])  # fmt: skip
def test_a_seed_is_a_stream(build):
    one, two, other = rollout(build(), 4), rollout(build(), 4), rollout(build(), 5)
    assert one == two
    assert one != other
    env = build()
    assert rollout(env, 4) == rollout(env, 4)  # also in the middle of a life


def test_an_episode_with_an_absorbing_state_ends_there():
    env = rg.TabularEnv(envs.gridworld(layout="S.G"))
    assert env.reset(seed=0)[0] == 0
    assert env.step(2)[:4] == (1, 0.0, False, False)
    assert env.step(2)[:4] == (2, 1.0, True, False)
    with pytest.raises(gymnasium.error.ResetNeeded, match="again after an episode ended"):
        env.step(2)
    env.reset(options={"state": 2})  # an end as a first state: one step, no reward
    assert env.step(0)[:4] == (2, 0.0, True, False)


def test_bad_use_is_named():
    env = rg.TabularEnv("chain")
    with pytest.raises(gymnasium.error.ResetNeeded, match="call reset"):
        env.step(0)
    env.reset(seed=0)
    for action in (2, -1, 0.5, None, "left", np.array([0, 1])):
        with pytest.raises(gymnasium.error.InvalidAction, match="expected a whole number from 0 to 1"):
            env.step(action)
    for state in (10, -1, 0.5):
        with pytest.raises(ValueError, match="expected whole numbers from 0 to 9"):
            env.reset(options={"state": state})
    assert isinstance(env.step(np.int64(1))[0], int)
    assert isinstance(env.step(np.array(1))[1], float)
    with pytest.raises(gymnasium.error.UnsupportedMode, match="expected one of ansi, rgb_array"):
        rg.TabularEnv("chain", render_mode="human")


@pytest.mark.parametrize(
    ("build", "offender"),
    [
        (lambda: rg.TabularEnv(envs.random_mdp(3, 2, n_instances=4)), "batch of shape (4,)"),
        (lambda: rg.TabularEnv(envs.rock_paper_scissors()), "the problem is a PreferenceGame"),
        (lambda: rg.TabularEnv(envs.random_bandit(2, 3)), "the problem is a ContextualBandit"),
        (lambda: rg.BanditEnv(envs.chain(3)), "the problem is a TabularMDP, expected a ContextualBandit"),
        (lambda: rg.TabularEnv(envs.chain(3), n_states=4), "keywords n_states belong to a constructor"),
        (lambda: rg.TabularEnv("chian"), "did you mean chain"),
    ],
)
def test_what_is_no_environment(build, offender):
    with pytest.raises(InvalidProblemError) as error:
        build()
    assert offender in str(error.value)


def test_signed_factors_that_are_too_large_say_so(monkeypatch):
    monkeypatch.setattr("rebel_envs.gymnasium_envs.tables._LARGEST", 7)
    fresh = rt.LinearMDP(SIGNED.features, SIGNED.measures, SIGNED.reward_weights, discount=0.9)
    with pytest.raises(InvalidProblemError, match=r"2\^2 x 2 entries, more than 7: use non-negative factors"):
        rg.TabularEnv(fresh)


def q_learning(env, gamma, n_steps):
    """Watkins' rule with visit-count step sizes and uniform exploration; Gymnasium's API and nothing else."""
    q = np.zeros((env.observation_space.n, env.action_space.n))
    visits = np.zeros_like(q)
    env.action_space.seed(0)
    state, _ = env.reset(seed=0)
    for _ in range(n_steps):
        action = env.action_space.sample()
        after, reward, terminated, truncated, _ = env.step(action)
        visits[state, action] += 1
        target = reward + gamma * (not terminated) * q[after].max()
        q[state, action] += (target - q[state, action]) / visits[state, action] ** 0.6
        state = env.reset()[0] if terminated or truncated else after
    return q


@pytest.mark.parametrize(
    ("id", "kwargs", "n_steps"),
    [("rebel/Chain-v0", {"n_states": 4, "slip": 0.1, "discount": 0.8}, 20_000),
     ("rebel/Gridworld-v0", {"layout": "S..\n.H.\n..G", "discount": 0.8}, 20_000)],
)  # fmt: skip
def test_q_learning_finds_the_optimal_policy(id, kwargs, n_steps):
    env = gymnasium.make(id, **kwargs)
    mdp = env.unwrapped.problem
    q, best = q_learning(env, mdp.discount, n_steps), rt.solve(mdp)
    alive = ~mdp.absorbing
    greedy = best.q_values[np.arange(mdp.n_states), q.argmax(1)]
    np.testing.assert_allclose(greedy[alive], best.values[alive], atol=1e-9)  # optimal actions, ties included
    np.testing.assert_allclose(q[alive], best.q_values[alive], atol=0.25)


def test_stable_baselines_trains_unchanged():
    pytest.importorskip("stable_baselines3")
    import torch
    from stable_baselines3 import PPO

    torch.set_num_threads(1)
    env = gymnasium.make("rebel/Gridworld-v0", height=3, width=3, obstacle_density=0.0, slip=0.0)
    mdp = env.unwrapped.problem
    model = PPO("MlpPolicy", env, n_steps=256, batch_size=64, learning_rate=3e-3, gamma=mdp.discount, seed=0)
    observations = model.policy.obs_to_tensor(np.arange(mdp.n_states))[0]

    def objective():
        probs = model.policy.get_distribution(observations).distribution.probs.detach().numpy().astype(float)
        return rt.evaluate(mdp, probs / probs.sum(1, keepdims=True)).objective

    first = objective()
    model.learn(2048)
    best = rt.solve(mdp).objective
    assert first < 0.7 * best
    assert objective() > 0.9 * best
