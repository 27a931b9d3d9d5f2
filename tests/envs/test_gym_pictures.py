"""Pictures: shapes, that the agent is where it is, and that everything has one."""

import gymnasium
import numpy as np
import pytest

import rebel_envs as envs
import rebel_envs.gym as rg
import rebel_theory as rt
from rebel_envs._layouts import layout_of
from rebel_envs.gymnasium_envs.pictures import ORANGE

AGENT = np.array([int(ORANGE[i : i + 2], 16) for i in (1, 3, 5)])
MAP = "S..#\n.#.H\n...G"


def centre(frame):
    """Mean place (row, column) of the agent's colour."""
    return np.argwhere((np.abs(frame.astype(int) - AGENT) < 12).all(axis=-1)).mean(axis=0)


def test_the_agent_is_drawn_in_its_cell():
    env = rg.TabularEnv(envs.gridworld(layout=MAP), render_mode="rgb_array")
    layout, places = layout_of(env.problem), []
    for state in range(env.problem.n_states):
        env.reset(options={"state": state})
        frame = env.render()
        assert frame.dtype == np.uint8
        assert frame.shape == (3 * 84 + 44 + 12, 4 * 84 + 24, 3)
        places.append(centre(frame))
    np.testing.assert_allclose(places, np.array([44, 12]) + 84 * (layout.cells + 0.5), atol=2)


def test_a_step_leaves_a_trace_and_no_ghosts():
    env = rg.TabularEnv(envs.gridworld(layout=MAP), render_mode="rgb_array")
    env.reset(options={"state": 0})
    clean = env.render()
    env.step(2)
    moved = env.render()
    env.reset(options={"state": 0})
    np.testing.assert_array_equal(env.render(), clean)
    before = moved[44:128, 12:96].astype(int) - clean[44:128, 12:96]
    assert (before != 0).any()  # a ring and an arrow in the first cell


def test_text_of_the_grid():
    env = rg.TabularEnv(envs.gridworld(layout=MAP), render_mode="ansi")
    env.reset(seed=0)
    assert env.render() == "start\n@ . . #\n. # . H\n. . . G\n"
    env.step(2)
    assert env.render() == "step 1, right, reward 0\nS @ . #\n. # . H\n. . . G\n"
    env.reset(options={"state": 8})
    env.step(2)
    assert env.render() == "step 1, right, reward 1, end\nS . . #\n. # . H\n. . . @\n"


def test_text_of_chains():
    env = rg.TabularEnv("river-swim", render_mode="ansi")
    env.reset(seed=0)
    env.step(0)
    assert env.render() == "step 1, left, reward 0.005\n@ ~ ~ ~ ~ G\n"
    env = rg.TabularEnv("chain", n_states=23, render_mode="ansi")
    env.reset(options={"state": 21})
    assert env.render() == "start\n" + " ".join("." * 20) + "\n. @ G\n"
    env = rg.TabularEnv("deep-sea", size=3, discount=1.0, render_mode="ansi")
    env.reset(seed=0)
    for _ in range(3):
        env.step(1)
    assert env.render() == "step 3, right, reward 0.9967, end\nS\n~ ~\n~ ~ G\n  @\n"


def test_text_of_the_bandit():
    env = rg.BanditEnv(rt.ContextualBandit([[0.2, 0.8, -0.4]]), render_mode="ansi")
    env.reset(seed=0)
    env.step(1)
    lines = env.render().splitlines()
    assert lines[0] == "context 0 of 1   arm 1   reward 0.8"
    assert [line.count("#") for line in lines[1:]] == [15, 30, 0]
    assert [line[0] for line in lines[1:]] == [" ", ">", " "]


@pytest.mark.parametrize("n_arms", [2, 5, 60])
def test_pixels_of_the_bandit(n_arms):
    bandit = rt.ContextualBandit(np.linspace(-1, 1, n_arms)[None].repeat(3, axis=0), noise=rt.GaussianNoise(0.1))
    env = rg.BanditEnv(bandit, render_mode="rgb_array")
    env.reset(seed=0)
    first = env.render()
    assert first.shape == (340, min(max(56 * n_arms + 110, 380), 720), 3)
    assert not (first == AGENT).all(axis=-1).any()
    env.step(0)
    assert (env.render() == AGENT).all(axis=-1).any()  # the observed reward
    places = []
    for arm in (0, n_arms - 1):
        env.reset()
        env.step(arm)
        places.append(centre(env.render()[:280])[1])
    assert places[0] < places[1]


@pytest.mark.parametrize(
    "name",
    [
        "chain",
        "river-swim",
        "combination-lock",
        "deep-sea",
        "deep-sea-finite-horizon",
        "gridworld",
        "garnet",
        "frozenlake",
        "random-finite-horizon",
        "low-rank-garnet",
    ],
)
def test_every_row_has_a_cell_of_its_own(name):
    problem = envs.make(name)
    layout = layout_of(problem)
    assert layout.cells.shape == (problem.n_rows, 2)
    assert len(np.unique(layout.cells, axis=0)) == problem.n_rows
    assert (layout.cells.max(axis=0) < layout.board.shape).all()
    assert not (layout.board[tuple(layout.cells.T)] == "#").any()
    if name == "frozenlake":
        assert ((layout.board == "H").sum(), (layout.board == "G").sum()) == (4, 1)


def test_large_boards_stay_small_pictures():
    env = rg.TabularEnv("gridworld", height=200, width=300, sparse=True, obstacle_density=0.0, render_mode="rgb_array")
    env.reset(seed=0)
    frame = env.render()
    assert max(frame.shape) < 720
    assert np.isfinite(centre(frame)).all()


def test_rendering_without_a_mode_warns():
    env = rg.TabularEnv("chain")
    env.reset(seed=0)
    with pytest.warns(UserWarning, match="needs a render mode"):
        assert env.render() is None


def test_gymnasium_collects_frames():
    env = gymnasium.make("rebel/Chain-v0", render_mode="rgb_array_list")
    env.reset(seed=0)
    env.step(1)
    assert len(env.render()) == 2
