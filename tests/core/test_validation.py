"""Every refused input: the message names the place and the remedy, and several conditions come at once."""

import numpy as np
import pytest
from scipy.sparse import csr_array

import rebel_theory as rt

HALF = np.full((2, 2, 2), 0.5)
R = np.zeros((2, 2))
GAME = np.full((2, 2), 0.5)


def changed(array, place, value):
    """A copy with one entry replaced."""
    array = np.array(array, dtype=float)
    array[place] = value
    return array


MDP = {"transition": HALF, "reward": R, "discount": 0.9}
LINEAR = {
    "features": np.full((2, 2, 1), 1.0), "measures": np.full((1, 2), 0.5), "reward_weights": np.ones(1),
    "discount": 0.9,
}  # fmt: skip
HORIZON = {"transition": HALF, "reward": R, "horizon": 3}

CASES = [
    # bandits
    (rt.ContextualBandit, {"reward": [1.0, 2.0]}, ["reward has shape (2,)", "reward[None, :]"]),
    (rt.ContextualBandit, {"reward": [[1.0], [2.0]]}, ["reward has 1 action:", "at least 2"]),
    (rt.ContextualBandit, {"reward": np.zeros((0, 2))}, ["reward has no context"]),
    (rt.ContextualBandit, {"reward": [[1, 2], [3]]}, ["not a rectangular array", "(X, Y)"]),
    (rt.ContextualBandit, {"reward": [["a", "b"]]}, ["not a rectangular array of numbers"]),
    (rt.ContextualBandit, {"reward": changed(R, (1, 0), np.nan)}, ["reward[x=1, y=0] is nan", "finite", "replace it"]),
    (
        rt.ContextualBandit,
        {"reward": changed(R, (1, 0), 1.5), "noise": rt.BernoulliNoise()},
        ["reward[x=1, y=0] is 1.5", "mean in [0, 1] under BernoulliNoise", "rescale"],
    ),
    (rt.ContextualBandit, {"reward": R, "context_dist": [0.5, 0.6]}, ["context_dist sums to 1.1", "normalise"]),
    (rt.ContextualBandit, {"reward": R, "context_dist": [1.0]}, ["context_dist has shape (1,)", "(2,)"]),
    (rt.ContextualBandit, {"reward": R, "context_dist": [-0.5, 1.5]}, ["context_dist[x=0] is -0.5", "probability"]),
    (rt.ContextualBandit, {"reward": R, "contexts": [1.0, 2.0]}, ["contexts has shape (2,)", "(2, k)"]),
    (rt.ContextualBandit, {"reward": R, "contexts": np.zeros((3, 1))}, ["contexts has shape (3, 1)", "(2, k)"]),
    (rt.ContextualBandit, {"reward": R, "contexts": np.zeros((2, 0))}, ["contexts has shape (2, 0)", "(2, k)"]),
    (rt.ContextualBandit, {"reward": R, "contexts": changed(R, (1, 0), np.nan)}, ["contexts[x=1, i=0] is nan"]),
    (rt.PreferenceGame, {"preference": GAME, "contexts": np.zeros((2, 1))}, ["contexts has shape (2, 1)", "(1, k)"]),
    (
        rt.ContextualBandit,
        {"reward": changed(np.zeros((2, 3, 2)), (1, 2, 0), np.inf)},
        ["reward[batch=(1,), x=2, y=0] is inf"],
    ),
    (rt.GaussianNoise, {"sigma": -1.0}, ["sigma is -1.0", ">= 0"]),
    (rt.GaussianNoise, {"sigma": np.nan}, ["sigma is nan"]),
    # MDPs
    (rt.TabularMDP, MDP | {"reward": [0, 0]}, ["reward has shape (2,)", "(S, A)"]),
    (rt.TabularMDP, MDP | {"reward": np.zeros((3, 2))}, ["transition has shape (2, 2, 2)", "expected (3, 2, 3)"]),
    (
        rt.TabularMDP,
        MDP | {"transition": changed(HALF, (1, 0, 1), 1.5)},
        ["transition[s=1, a=0] sums to 2.0, expected 1 (within 1e-8): normalise the rows"],
    ),
    (
        rt.TabularMDP,
        MDP | {"transition": changed(changed(HALF, (1, 0, 1), -0.5), (1, 0, 0), 1.5)},
        ["transition[s=1, a=0, t=1] is -0.5", "remove the sign"],
    ),
    (rt.TabularMDP, MDP | {"transition": changed(HALF, (0, 1, 1), np.nan)}, ["transition[s=0, a=1, t=1] is nan"]),
    (rt.TabularMDP, MDP | {"discount": 1.5}, ["discount is 1.5", "expected a number in [0, 1)"]),
    (rt.TabularMDP, MDP | {"discount": "x"}, ["discount is x"]),
    (rt.TabularMDP, MDP | {"discount": -0.1}, ["discount is -0.1"]),
    (rt.TabularMDP, MDP | {"discount": 1.0}, ["discount is 1", "never terminate", "absorbing state"]),
    (rt.TabularMDP, MDP | {"initial_dist": [0.5, 0.25]}, ["initial_dist sums to 0.75", "normalise the distribution"]),
    (rt.TabularMDP, MDP | {"transition": csr_array(np.full((4, 3), 1 / 3))}, ["(S * A, S) = (4, 2)", "row s * A + a"]),
    (
        rt.TabularMDP,
        MDP | {"transition": csr_array(changed(np.full((4, 2), 0.5), (3, 1), 0.75))},
        ["transition[s=1, a=1] sums to 1.25"],
    ),
    (
        rt.TabularMDP,
        MDP | {"transition": csr_array(changed(np.full((4, 2), 0.5), (2, 0), -0.5))},
        ["transition[s=1, a=0, t=0] is -0.5", "remove the sign", "transition[s=1, a=0] sums to 0.0"],
    ),
    (
        rt.TabularMDP,
        MDP | {"transition": csr_array(changed(np.full((4, 2), 0.5), (1, 1), np.nan))},
        ["transition[s=0, a=1, t=1] is nan"],
    ),
    # finite horizons
    (rt.FiniteHorizonMDP, HORIZON | {"horizon": 0}, ["horizon is 0", "at least 1"]),
    (rt.FiniteHorizonMDP, HORIZON | {"horizon": 2.5}, ["horizon is 2.5"]),
    (rt.FiniteHorizonMDP, HORIZON | {"reward": [1.0]}, ["reward has shape (1,)", "(H, S, A)"]),
    (rt.FiniteHorizonMDP, HORIZON | {"reward": np.zeros((2, 2, 2))}, ["reward has 2 slices", "horizon 3"]),
    (rt.FiniteHorizonMDP, HORIZON | {"transition": np.tile(HALF, (2, 1, 1, 1))}, ["transition has 2 slices"]),
    (rt.FiniteHorizonMDP, HORIZON | {"transition": HALF[:1]}, ["transition has shape (1, 2, 2)"]),
    (
        rt.FiniteHorizonMDP,
        HORIZON | {"transition": changed(np.tile(HALF, (3, 1, 1, 1)), (2, 1, 0, 1), 0.0)},
        ["transition[h=2, s=1, a=0] sums to 0.5"],
    ),
    # linear MDPs
    (rt.LinearMDP, LINEAR | {"features": np.ones((2, 2))}, ["features has shape (2, 2)", "(S, A, d)"]),
    (rt.LinearMDP, LINEAR | {"measures": np.ones((2, 2))}, ["measures has shape (2, 2)", "(d, S) = (1, 2)"]),
    (rt.LinearMDP, LINEAR | {"reward_weights": np.ones(2)}, ["reward_weights has shape (2,)", "(d,) = (1,)"]),
    (rt.LinearMDP, LINEAR | {"discount": 1.0}, ["discount is 1", "below 1"]),
    (
        rt.LinearMDP,
        LINEAR | {"measures": np.full((1, 2), 0.75)},
        ["transition[s=0, a=0] = features . measures sums to"],
    ),
    (rt.LinearMDP, LINEAR | {"measures": [[1.5, -0.5]]}, ["transition[s=0, a=0, t=1] = features . measures is -0.5"]),
    (rt.LinearMDP, LINEAR | {"features": np.ones((2, 2, 0))}, ["dimension 0"]),
    (rt.LinearMDP, LINEAR | {"reward_weights": [np.nan]}, ["reward_weights[i=0] is nan"]),
    # games
    (rt.PreferenceGame, {"preference": [0.5, 0.5]}, ["preference has shape (2,)", "(Y, Y)"]),
    (rt.PreferenceGame, {"preference": np.zeros((2, 3))}, ["preference has shape (2, 3)", "square"]),
    (rt.PreferenceGame, {"preference": [[0.5]]}, ["preference has 1 action"]),
    (rt.PreferenceGame, {"preference": [[0.5, 2.0], [-1.0, 0.5]]}, ["preference[y=0, z=1] is 2.0", "from_win_matrix"]),
    (
        rt.PreferenceGame,
        {"preference": changed(GAME, (0, 1), 0.75)},
        ["preference[y=0, z=1] plus its mirror image is 1.25, expected 1"],
    ),
    (rt.PreferenceGame, {"preference": changed(GAME, (0, 0), 1.0)}, ["preference[y=0, z=0]", "0.5 on the diagonal"]),
    (
        rt.PreferenceGame,
        {"preference": changed(np.tile(GAME, (3, 1, 1)), (2, 0, 1), np.nan)},
        ["preference[x=2, y=0, z=1] is nan"],
    ),
    # policies
    (rt.TabularPolicy, {"logits": [0.0, 1.0]}, ["logits has shape (2,)", "(..., S, A)"]),
    (rt.TabularPolicy, {"logits": [[0.0, np.inf]]}, ["logits[s=0, a=1] is inf", "finite number or -inf"]),
    (rt.TabularPolicy, {"logits": [[0.0, 0.0], [-np.inf, -np.inf]]}, ["logits[s=1] has no finite entry"]),
    (rt.LogLinearPolicy, {"features": R, "theta": [0.0]}, ["features has shape (2, 2)"]),
    (rt.LogLinearPolicy, {"features": HALF, "theta": [0.0]}, ["theta has shape (1,)", "d = 2"]),
    (rt.LogLinearPolicy, {"features": HALF, "theta": [0.0, np.nan]}, ["theta[i=1] is nan"]),
    # algorithms
    (rt.Rebel, {"step_size": 0.0}, ["step_size is 0.0", "> 0"]),
    (rt.Rebel, {"step_size": [1.0, -2.0]}, ["step_size[1] is -2.0"]),
    (rt.MirrorDescent, {"step_size": np.inf}, ["step_size is inf"]),
    (rt.NaturalPolicyGradient, {"step_size": "fast"}, ["step_size is 'fast'"]),
    (rt.Rebel, {"step_size": 1.0, "base": "offline"}, ["'offline' is not a base", "on-policy, uniform", "Mixture"]),
    (rt.MirrorDescent, {"step_size": 1.0, "mirror_map": "l2"}, ["'l2' is not a mirror map", "kl, euclidean"]),
    (rt.TsallisMap, {"alpha": 1.0}, ["alpha is 1.0", "use the KL map"]),
    (rt.Mixture, {"parts": {"on-policy": 0.7, "uniform": 0.7}}, ["the weights sum to 1.4"]),
    (rt.Mixture, {"parts": {"on-policy": 1.5, "uniform": -0.5}}, ["weights[1] is -0.5"]),
    (rt.Damped, {"damping": 0.0}, ["damping is 0.0", "PseudoInverse"]),
]


@pytest.mark.parametrize(("what", "arguments", "expected"), CASES)
def test_messages_name_place_and_remedy(what, arguments, expected):
    with pytest.raises(ValueError) as error:
        what(**arguments)
    message = str(error.value)
    for part in expected:
        assert part in message
    if what is not rt.Damped:
        assert isinstance(error.value, rt.InvalidProblemError)
        assert error.value.problems
        assert what.__name__ in message or "base" in message or "mirror_map" in message


def test_several_conditions_at_once():
    with pytest.raises(rt.InvalidProblemError) as error:
        rt.TabularMDP(changed(HALF, (1, 0, 1), 1.5), changed(R, (0, 1), np.nan), discount=2.0, initial_dist=[0.5, 0.6])
    problems = error.value.problems
    assert len(problems) == 4
    assert "TabularMDP: 4 problems in the input" in str(error.value)
    for part in ("reward[s=0, a=1] is nan", "discount is 2.0", "transition[s=1, a=0] sums", "initial_dist sums to 1.1"):
        assert sum(part in p for p in problems) == 1


def test_long_lists_are_cut():
    with pytest.raises(rt.InvalidProblemError) as error:
        rt.ContextualBandit(np.full((4, 5), np.nan))
    assert len(error.value.problems) == 6
    assert "15 more entries" in error.value.problems[-1]


@pytest.mark.parametrize(
    ("probs", "expected"),
    [
        ([[0.5, 0.6], [1, 0]], "probs[s=0] sums to 1.1"),
        ([[0.5, 0.5]], "probs has shape (1, 2), expected (..., 2, 2)"),
        ([[1.5, -0.5], [1, 0]], "probs[s=0, a=1] is -0.5"),
        ([[np.nan, 1], [1, 0]], "probs[s=0, a=0] is nan"),
    ],
)
def test_policies_that_are_not(probs, expected):
    mdp = rt.TabularMDP(**MDP)
    with pytest.raises(rt.InvalidProblemError) as error:
        rt.evaluate(mdp, probs)
    assert expected in str(error.value)
    with pytest.raises(rt.InvalidProblemError):
        rt.run(mdp, rt.Rebel(1.0, base=np.array(probs)), n_iterations=1)


def test_policies_that_do_not_fit_and_counts():
    mdp = rt.TabularMDP(**MDP)
    with pytest.raises(rt.InvalidProblemError, match=r"logits has shape \(3, 2\), expected \(..., 2, 2\)"):
        rt.run(mdp, rt.Rebel(1.0), n_iterations=1, policy=rt.TabularPolicy(np.zeros((3, 2))))
    with pytest.raises(rt.InvalidProblemError, match="features has shape"):
        rt.run(mdp, rt.Rebel(1.0), n_iterations=1, policy=rt.LogLinearPolicy.zeros(np.zeros((3, 2, 1))))
    with pytest.raises(rt.InvalidProblemError) as error:
        rt.run(mdp, rt.Rebel(1.0), n_iterations=-1, n_seeds=0, seed=-1)
    assert len(error.value.problems) == 3
    with pytest.raises(rt.InvalidProblemError, match="do not broadcast"):
        rt.run(rt.ContextualBandit(np.zeros((3, 2, 2))), rt.Rebel([1.0, 2.0]), n_iterations=1)
    with pytest.raises(rt.InvalidProblemError, match="non-negative"):
        rt.concentrability([[-1.0, 2.0]], [[0.5, 0.5]])
    with pytest.raises(KeyError, match="this comparison has"):
        rt.compare(mdp, [rt.Rebel(1.0)], n_iterations=1)["NPG"]


@pytest.mark.parametrize("discounted", [False, True])
@pytest.mark.parametrize("encoding", ["dense", "csr"])
def test_termination_is_required_of_every_policy(discounted, encoding):
    """Action 1 of state 0 may stay for ever, although action 0 ends."""
    p = np.zeros((2, 2, 2))
    p[0, 0], p[0, 1], p[1, :, 1] = [0, 1], [1, 0], 1
    matrix = p if encoding == "dense" else csr_array(p.reshape(4, 2))
    if discounted:
        assert rt.TabularMDP(matrix, R, discount=0.5).discount == 0.5
        return
    with pytest.raises(rt.InvalidProblemError, match="takes action a=1 in state s=0 need never terminate"):
        rt.TabularMDP(matrix, changed(R, (0, 0), 1.0), discount=1.0)


def test_rewarded_loop_is_not_absorbing():
    p = np.zeros((1, 2, 1)) + 1
    with pytest.raises(rt.InvalidProblemError, match="never terminate"):
        rt.TabularMDP(p, [[1.0, 0.0]], discount=1.0)


@pytest.mark.parametrize("sparse", [False, True])
def test_arrays_are_read_only_copies(sparse):
    p, r, rho = HALF.copy(), R.copy(), np.array([0.5, 0.5])
    given = csr_array(p.reshape(4, 2)) if sparse else p
    mdp = rt.TabularMDP(given, r, discount=0.9, initial_dist=rho)
    r[0, 0], rho[0] = 7, 7
    if sparse:
        given.data[0] = 7
        held = mdp.transition.data
    else:
        p[0, 0, 0] = 7
        held = mdp.transition
    assert held.max() == 0.5
    assert mdp.reward.max() == 0
    assert mdp.initial_dist.max() == 0.5
    for array in (held, mdp.reward, mdp.initial_dist):
        with pytest.raises(ValueError, match="read-only"):
            array[(0,) * array.ndim] = 1
    with pytest.raises(AttributeError):
        mdp.discount = 0.5


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda a: rt.ContextualBandit(a), ["reward", "context_dist"]),
        (lambda a: rt.FiniteHorizonMDP(HALF, a, horizon=2), ["transition", "reward", "initial_dist"]),
        (lambda a: rt.FiniteHorizonMDP(np.stack([HALF] * 2), np.stack([a] * 2), horizon=2), ["transition", "reward"]),
        (lambda a: rt.PreferenceGame(a + 0.5), ["preference", "context_dist"]),
        (lambda a: rt.TabularPolicy(a), ["logits"]),
        (lambda a: rt.LogLinearPolicy(a[None], a[0]), ["features", "theta"]),
        (
            lambda a: rt.LinearMDP(a[:, :, None] + 1, [[0.5, 0.5]], [0.0], discount=0.5),
            ["features", "measures", "reward_weights", "initial_dist"],
        ),
    ],
)
def test_everything_is_frozen(make, names):
    source = np.zeros((2, 2))
    thing = make(source)
    before = [np.array(getattr(thing, n)) for n in names]
    source[:] = 9
    for name, old in zip(names, before, strict=True):
        array = getattr(thing, name)
        np.testing.assert_array_equal(array, old)
        assert not array.flags.writeable
        with pytest.raises((AttributeError, TypeError)):
            setattr(thing, name, old)


def test_policies_do_not_change_under_a_run():
    policy = rt.TabularPolicy([[0.0, 1.0]])
    rt.run(rt.ContextualBandit([[1.0, 0.0]]), rt.Rebel(1.0), n_iterations=3, policy=policy)
    np.testing.assert_array_equal(policy.logits, [[0.0, 1.0]])


def test_rows_within_the_tolerance_are_normalised():
    rounded = np.round(np.full((3, 2, 3), 1 / 3), 8 + 1)
    mdp = rt.TabularMDP(rounded, np.zeros((3, 2)), discount=0.9)
    np.testing.assert_allclose(mdp.transition.sum(axis=-1), 1, rtol=1e-15)
    game = rt.PreferenceGame([[0.5, 0.3333333], [0.6666666, 0.5]])
    np.testing.assert_array_equal(game.payoff, -np.swapaxes(game.payoff, -1, -2))
