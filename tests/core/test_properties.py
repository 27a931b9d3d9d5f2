"""Properties that hold for every input; hypothesis looks for one that breaks them."""

import numpy as np
import reference as ref
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import rebel_theory as rt
from rebel_theory.arrays import log_softmax
from rebel_theory.pairs import FactorisedPairs, PairGraph

QUICK = settings(max_examples=40, deadline=None, derandomize=True, database=None)
NUMBERS = st.floats(-5, 5, allow_nan=False).map(lambda x: round(x, 6))
ETAS = st.sampled_from([1e-3, 0.3, 1.0, 30.0])
ALGORITHMS = (rt.Rebel, rt.NaturalPolicyGradient, rt.MirrorDescent)


@st.composite
def tables(draw, low=-5, high=5):
    """(S, A) numbers with S from 1 and A from 2, and logits of the same shape."""
    shape = (draw(st.integers(1, 4)), draw(st.integers(2, 4)))
    values = st.floats(low, high, allow_nan=False).map(lambda x: round(x, 6))
    return draw(arrays(float, shape, elements=values)), draw(arrays(float, shape, elements=NUMBERS))


def update(reward, logits, algorithm):
    bandit = rt.ContextualBandit(reward)
    return rt.run(bandit, algorithm, n_iterations=1, policy=rt.TabularPolicy(logits)).final_policy.probs[0]


@QUICK
@given(tables(), ETAS, st.sampled_from(ALGORITHMS), NUMBERS)
def test_shifts_change_nothing(table, eta, algorithm, shift):
    reward, logits = table
    one = update(reward, logits, algorithm(eta))
    shifts = shift * np.arange(1, len(reward) + 1)[:, None]
    np.testing.assert_allclose(update(reward + shifts, logits + shifts, algorithm(eta)), one, atol=1e-11)


@QUICK
@given(tables(), ETAS, st.sampled_from(ALGORITHMS), st.randoms(use_true_random=False))
def test_actions_and_rows_may_be_renamed(table, eta, algorithm, random):
    reward, logits = table
    rows, actions = list(range(reward.shape[0])), list(range(reward.shape[1]))
    random.shuffle(rows)
    random.shuffle(actions)
    place = np.ix_(rows, actions)
    one = update(reward, logits, algorithm(eta))
    np.testing.assert_allclose(update(reward[place], logits[place], algorithm(eta)), one[place], atol=1e-11)


@QUICK
@given(tables(0, 1), ETAS)
def test_gap_is_non_negative_and_never_grows_in_a_bandit(table, eta):
    reward, logits = table
    trace = rt.run(rt.ContextualBandit(reward), rt.Rebel(eta), n_iterations=4, policy=rt.TabularPolicy(logits))
    assert (trace.gap >= 0).all()
    assert (np.diff(trace.gap) <= 1e-14).all()
    assert (np.diff(trace.average_gap) <= 1e-14).all()
    assert (trace.kl >= 0).all()


@QUICK
@given(tables(), ETAS)
def test_two_steps_of_a_bandit_are_one_of_twice_the_size(table, eta):
    reward, logits = table
    one = rt.run(rt.ContextualBandit(reward), rt.Rebel(eta), n_iterations=2, policy=rt.TabularPolicy(logits))
    np.testing.assert_allclose(one.final_policy.probs[0], update(reward, logits, rt.Rebel(2 * eta)), atol=1e-11)


@QUICK
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.3, 0.99]))
def test_occupancy_and_performance_difference(seed, gamma):
    """Occupancies sum to 1 and solve the flow equation; J' - J = E_{d'} A / (1 - gamma)."""
    rng = np.random.default_rng(seed)
    s, a = int(rng.integers(1, 6)), int(rng.integers(2, 4))
    p, r, rho = rng.dirichlet(np.full(s, 0.3), (s, a)), rng.standard_normal((s, a)), rng.dirichlet(np.ones(s))
    mdp = rt.TabularMDP(p, r, discount=gamma, initial_dist=rho)
    pi, new = rng.dirichlet(np.ones(a), (2, s))
    one, two = rt.evaluate(mdp, pi), rt.evaluate(mdp, new)
    for found, policy in ((one, pi), (two, new)):
        np.testing.assert_allclose(found.occupancy.sum(), 1, rtol=1e-12)
        assert (found.occupancy >= 0).all()
        flow = (1 - gamma) * rho + gamma * found.occupancy @ ref.policy_matrix(p, policy)
        np.testing.assert_allclose(found.occupancy, flow, atol=1e-11)
        np.testing.assert_allclose((policy * found.q_values).sum(1), found.values, atol=1e-9)
    lemma = two.occupancy @ (new * (one.q_values - one.values[:, None])).sum(1) / (1 - gamma)
    np.testing.assert_allclose(two.objective - one.objective, lemma, atol=1e-9)
    best = rt.solve(mdp)
    assert best.objective >= max(one.objective, two.objective) - 1e-10


@QUICK
@given(st.integers(0, 10**6))
def test_game_gap_is_non_negative_and_weighs_contexts(seed):
    rng = np.random.default_rng(seed)
    x, y = int(rng.integers(1, 4)), int(rng.integers(2, 5))
    upper = np.triu(rng.random((x, y, y)), 1)
    pref = upper + np.tril(1 - np.swapaxes(upper, 1, 2), -1) + 0.5 * np.eye(y)
    rho, pi = rng.dirichlet(np.ones(x)), rng.dirichlet(np.ones(y), x)
    game = rt.PreferenceGame(pref, context_dist=rho)
    assert rt.evaluate(game, pi).objective >= 0
    np.testing.assert_allclose(rt.evaluate(game, pi).objective, ref.duality_gap(pref, pi, rho), atol=1e-13)
    # pi against itself is a draw
    np.testing.assert_allclose((pi * rt.evaluate(game, pi).q_values).sum(1), 0, atol=1e-14)


@QUICK
@given(st.integers(0, 10**6))
def test_pair_graph_potentials_are_the_min_norm_solution(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 7))
    w = np.triu(rng.random((n, n)) * (rng.random((n, n)) < 0.5), 1)
    t = np.triu(rng.standard_normal((n, n)), 1)
    z = PairGraph((w + w.T)[None], (t - t.T)[None]).potentials()[0]
    np.testing.assert_allclose(z, ref.hodge(w + w.T, t - t.T), atol=1e-7)


@QUICK
@given(st.integers(0, 10**6))
def test_factorised_potentials_and_rows_agree_with_the_graph_of_the_same_pairs(seed):
    """Factorised pairs = a PairGraph with weights pi mu^T + mu pi^T and targets q_a - q_b."""
    rng = np.random.default_rng(seed)
    s, a = int(rng.integers(1, 4)), int(rng.integers(2, 5))
    pi, mu = rng.dirichlet(np.full(a, 0.5), (2, s))
    q, d = rng.standard_normal((s, a)), rng.dirichlet(np.ones(s))
    pairs = FactorisedPairs(d, np.log(pi), np.log(mu), q, np.ones(s, bool))
    both = d[:, None, None] * (pi[:, :, None] * mu[:, None, :] + mu[:, :, None] * pi[:, None, :])
    graph = PairGraph(both, q[:, :, None] - q[:, None, :])
    np.testing.assert_allclose(pairs.potentials(), graph.potentials(), atol=1e-9)
    np.testing.assert_allclose(pairs.potentials(), q - q.mean(axis=1, keepdims=True), atol=1e-9)
    phi = rng.standard_normal((s, a, 2))
    (x, y, _), (u, v, _) = pairs.rows(phi), graph.rows(phi)
    np.testing.assert_allclose(x.T @ x, u.T @ u, atol=1e-12)
    np.testing.assert_allclose(x.T @ y, u.T @ v, atol=1e-12)


@QUICK
@given(arrays(float, (3, 4), elements=st.floats(-1e6, 1e6)))
def test_log_softmax(logits):
    log_p = log_softmax(logits)
    np.testing.assert_allclose(np.exp(log_p).sum(axis=-1), 1, rtol=1e-13)
    np.testing.assert_allclose(log_p - log_p[:, :1], logits - logits[:, :1], rtol=1e-12, atol=1e-9)


@QUICK
@given(st.integers(0, 10**6))
def test_divergences(seed):
    rng = np.random.default_rng(seed)
    p, q, w = rng.dirichlet(np.ones(3), 2), rng.dirichlet(np.ones(3), 2), rng.dirichlet(np.ones(2))
    expected = sum(w[i] * ref.kl(p[i], q[i]) for i in range(2))
    np.testing.assert_allclose(rt.kl_divergence(p, q, weights=w), expected, rtol=1e-12)
    np.testing.assert_allclose(rt.total_variation(p, q), ref.tv(p, q))
    np.testing.assert_allclose(rt.concentrability(p, q), (p / q).max())
    assert rt.kl_divergence(p, q).max() >= 2 * ((0.5 * np.abs(p - q).sum(1)) ** 2).mean() - 1e-15  # Pinsker
