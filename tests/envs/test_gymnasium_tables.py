import gymnasium
import numpy as np
import pytest

import rebel_envs as envs
from rebel_envs._layouts import layout_of
from rebel_envs.gymnasium_tables import tabular_ids, toy_text
from rebel_theory.problems import InvalidProblemError

SIZES = {"FrozenLake": 16, "FrozenLake8x8": 64, "Taxi": 501, "CliffWalking": 48, "CliffWalkingSlippery": 48}
IDS = tabular_ids()
GAMMA = 0.95


def table_values(env, policy, gamma):
    """V^pi read off env.unwrapped.P: a termination ends the return, whatever state it names, shape (S,)."""
    n = env.observation_space.n
    p, r = np.zeros((n, n)), np.zeros(n)
    for s in range(n):
        for a in range(env.action_space.n):
            for prob, target, reward, terminated in env.unwrapped.P[s][a]:
                r[s] += policy[s, a] * prob * reward
                p[s, target] += policy[s, a] * prob * (not terminated)
    return np.linalg.solve(np.eye(n) - gamma * p, r), p


def seen_states(env, p):
    """States in which an agent can be asked for an action, by enumeration from the first states."""
    seen = env.unwrapped.initial_state_distrib > 0
    for _ in range(len(seen)):
        seen = seen | (seen @ (p > 0) > 0)
    return seen


@pytest.mark.parametrize("id", IDS)
@pytest.mark.parametrize("sparse", [False, True])
def test_values_of_random_policies_match_the_table(exact, id, sparse):
    env = gymnasium.make(id)
    mdp = envs.from_gymnasium(id, discount=GAMMA, sparse=sparse)
    policy = np.random.default_rng(3).dirichlet(np.ones(mdp.n_actions), size=mdp.n_states)
    n = env.observation_space.n
    expected, p = table_values(env, policy, GAMMA)
    measured = exact.values(exact.dense(mdp), mdp.reward, GAMMA, policy)
    seen = seen_states(env, p)
    np.testing.assert_allclose(measured[:n][seen], expected[seen], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(mdp.initial_dist[:n], env.unwrapped.initial_state_distrib, atol=1e-15)
    assert mdp.n_states == SIZES[id.rsplit("-v", 1)[0]]
    assert mdp.absorbing.any()


def test_all_five_are_there():
    assert {id.rsplit("-v", 1)[0] for id in IDS} >= {"FrozenLake", "FrozenLake8x8", "Taxi", "CliffWalking"}


def test_known_optimal_values(exact):
    lake = envs.from_gymnasium("FrozenLake-v1", is_slippery=False)
    v = exact.optimal_values(lake.transition, lake.reward, 0.99)
    assert v[0] == pytest.approx(0.99**5)  # six moves to the goal
    cliff = envs.make("cliffwalking", discount=0.9)
    v = exact.optimal_values(cliff.transition, cliff.reward, 0.9)
    assert cliff.initial_dist @ v == pytest.approx(-(1 - 0.9**13) / 0.1)  # thirteen steps along the edge


def test_taxi_leaves_its_corners_alive_and_ends_in_the_appended_state():
    mdp = envs.make("taxi")
    assert mdp.absorbing.nonzero()[0].tolist() == [500]
    # passenger at the destination's corner, taxi there too: state 16 drops off (action 5) for 20 points
    assert mdp.transition[16, 5, 500] == 1
    assert mdp.reward[16, 5] == 20
    assert mdp.transition[20, 3, 0] == 1
    assert mdp.initial_dist[500] == 0


class Lifts(gymnasium.Env):
    """Three floors: 0 -> 1 or 2; entering 2 terminates; 2 is entered without terminating from 2 only."""

    observation_space = gymnasium.spaces.Discrete(3)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, first=(1.0, 0.0, 0.0), leak=False):
        if first is not None:
            self.initial_state_distrib = np.array(first)
        up = [(0.5, 2, 4.0, True), (0.5, 1, 2.0, False)]
        self.P = {
            0: {0: up, 1: [(1.0, 0, -1.0, False), (0.0, 2, 9.0, False)]},
            1: {0: [(1.0, 2, 1.0, True)], 1: [(1.0, 2, 0.0, not leak)]},
            2: {0: [(1.0, 1, 7.0, False)], 1: [(1.0, 2, 7.0, False)]},
        }


@pytest.fixture(autouse=True)
def _register():
    gymnasium.register("Lifts-v0", Lifts)
    yield
    del gymnasium.registry["Lifts-v0"]


def test_a_state_that_is_only_entered_by_terminating_becomes_absorbing():
    mdp = envs.from_gymnasium("Lifts-v0")
    assert mdp.n_states == 3
    np.testing.assert_array_equal(mdp.transition[2, :, 2], [1, 1])
    np.testing.assert_array_equal(mdp.reward, [[3, -1], [1, 0], [0, 0]])
    np.testing.assert_array_equal(mdp.transition[0, 0], [0, 0.5, 0.5])


@pytest.mark.parametrize("kwargs", [{"leak": True}, {"first": (0.5, 0.0, 0.5)}])
def test_a_state_that_can_be_visited_alive_stays_alive(kwargs):
    mdp = envs.from_gymnasium("Lifts-v0", **kwargs)
    assert mdp.n_states == 4
    np.testing.assert_array_equal(mdp.reward[2], [7, 7])
    np.testing.assert_array_equal(mdp.transition[0, 0], [0, 0.5, 0, 0.5])
    np.testing.assert_array_equal(mdp.absorbing, [False, False, False, True])


def test_a_missing_first_distribution_can_be_passed():
    with pytest.raises(InvalidProblemError, match="pass initial_dist"):
        envs.from_gymnasium("Lifts-v0", first=None)
    mdp = envs.from_gymnasium("Lifts-v0", first=None, initial_dist=[0.5, 0.5, 0])
    np.testing.assert_array_equal(mdp.initial_dist, [0.5, 0.5, 0])
    with pytest.raises(InvalidProblemError, match=r"initial_dist has shape \(2,\), expected \(3,\)"):
        envs.from_gymnasium("Lifts-v0", initial_dist=[0.5, 0.5])


@pytest.mark.parametrize(
    ("id", "offender"),
    [
        ("FrozenLak-v1", "did you mean FrozenLake-v1"),
        ("Taxi-v99", "Taxi-v"),
        ("nonsense", "Environments with a transition table: FrozenLake-v1"),
        ("Blackjack-v1", "expected two Discrete spaces"),
        ("CartPole-v1", "expected two Discrete spaces"),
        ("no_such_module:Env-v0", "cannot be made"),
    ],
)
def test_errors_say_why(id, offender):
    with pytest.raises(InvalidProblemError) as error:
        envs.from_gymnasium(id)
    assert offender in str(error.value)


def test_discount_one_is_refused_where_a_policy_never_ends():
    with pytest.raises(InvalidProblemError, match="need never terminate"):
        envs.from_gymnasium("FrozenLake-v1", discount=1.0, is_slippery=False)


@pytest.mark.parametrize(
    ("id", "board", "actions"),
    [
        ("FrozenLake-v1", ["S...", ".H.H", "...H", "H..G"], ("left", "down", "right", "up")),
        ("CliffWalking", ["." * 12] * 3 + ["S" + "H" * 10 + "G"], ("up", "right", "down", "left")),
    ],
)
def test_the_grids_of_the_family_are_drawn_as_grids(id, board, actions):
    mdp = envs.from_gymnasium(id) if id.endswith("v1") else toy_text(id)
    layout = layout_of(mdp)
    assert ["".join(row) for row in layout.board] == board
    assert tuple(layout.actions) == actions
    step = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}
    for a, name in enumerate(actions):  # from the middle of the top row: a move is where the picture says
        state = len(board[0]) // 2
        ends = np.flatnonzero(mdp.transition[state, a])
        aim = np.maximum(layout.cells[state] + step[name], 0)
        assert (layout.cells[ends] == aim).all(axis=1).any()


def test_other_tables_keep_the_general_layout():
    assert layout_of(toy_text("Taxi")).actions == ()
