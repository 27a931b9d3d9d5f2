"""Policy-gradient methods against their definitions, answer by answer, and against numerical gradients."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from scipy.stats import norm

import rebel_theory as rt
from rebel_theory.advantages import Critic, Groups, GroupScore, LeaveOneOut
from rebel_theory.oracles import seed_streams

RNG = np.random.default_rng(3)
S, A, N, K = 3, 4, 6, 5
LOGITS = RNG.standard_normal((S, A))
ROWS = RNG.integers(S, size=(1, N))
ACTIONS = RNG.integers(A, size=(1, N, K))
REWARDS = RNG.standard_normal((1, N, K))
GROUPS = Groups(ROWS, ACTIONS, REWARDS)
VALUES = RNG.standard_normal((1, S))


def answers():
    """Every answer as (row, action, reward, the other rewards of its group)."""
    for i in range(N):
        for j in range(K):
            yield ROWS[0, i], ACTIONS[0, i, j], REWARDS[0, i, j], np.delete(REWARDS[0, i], j)


def naive_advantage(kind, x, r, others):
    if kind == "leave-one-out":
        return r - others.mean()
    if kind == "score":
        whole = np.append(others, r)
        return (r - whole.mean()) / np.sqrt(((whole - whole.mean()) ** 2).mean())
    return r - VALUES[0, x]


BASELINES = {"leave-one-out": LeaveOneOut(K), "score": GroupScore(K), "critic": Critic(VALUES)}


def score(logits, x, y):
    g = np.zeros((S, A))
    g[x] = -softmax(logits[x])
    g[x, y] += 1
    return g


def log_linear(theta, features):
    return rt.LogLinearPolicy(features, theta)


@pytest.mark.parametrize("kind", BASELINES)
def test_the_gradient_estimate_is_the_mean_over_answers(kind):
    seen = GROUPS.advantages(BASELINES[kind], S, A)
    expected = sum(naive_advantage(kind, x, r, others) * score(LOGITS, x, y) for x, y, r, others in answers()) / (N * K)
    np.testing.assert_allclose(rt.TabularPolicy(LOGITS).gradient(seen.cells)[0], expected, atol=1e-14)


@pytest.mark.parametrize("kind", BASELINES)
def test_parts_by_sign_carry_any_function_of_the_ratio(kind):
    """The clipped surrogate from cells is the mean over answers of min(rho A, clip(rho) A)."""
    seen = GROUPS.advantages(BASELINES[kind], S, A)
    new = LOGITS + 0.6 * RNG.standard_normal((S, A))
    rho = np.exp(log_softmax(new, axis=-1) - log_softmax(LOGITS, axis=-1))
    terms = []
    for x, y, r, others in answers():
        a = naive_advantage(kind, x, r, others)
        terms.append(min(rho[x, y] * a, np.clip(rho[x, y], 0.8, 1.2) * a))
    cells = seen.weights[..., None] * seen.frequencies
    by_cells = cells * (np.minimum(rho, 1.2) * seen.up - np.maximum(rho, 0.8) * seen.down)
    assert by_cells.sum() == pytest.approx(np.mean(terms), abs=1e-13)


def surrogate(kind, clip, old, new, reference=None, kl_weight=0.0):
    """The loss of the papers, one answer at a time."""
    lo, ln = log_softmax(old, axis=-1), log_softmax(new, axis=-1)
    total = 0.0
    for x, y, r, others in answers():
        a = naive_advantage(kind, x, r, others)
        rho = np.exp(ln[x, y] - lo[x, y])
        total += min(rho * a, np.clip(rho, 1 - clip, 1 + clip) * a)
        if kl_weight:
            far = log_softmax(reference, axis=-1)[x, y] - ln[x, y]
            total -= kl_weight * (np.exp(far) - far - 1)
    return total / (N * K)


def numerical(function, point, h=1e-6):
    out = np.zeros_like(point)
    for i in np.ndindex(point.shape):
        e = np.zeros_like(point)
        e[i] = h
        out[i] = (function(point + e) - function(point - e)) / (2 * h)
    return out


class Scripted:
    """An oracle that shows the fixed groups."""

    def advantages(self, policy, baseline):
        if isinstance(baseline, Critic):
            baseline = Critic(VALUES)
        return GROUPS.advantages(baseline, S, A)


@pytest.mark.parametrize(
    ("algorithm", "kind", "clip", "kl_weight"),
    [
        (rt.Ppo(0.8, clip=0.2, n_epochs=3), "critic", 0.2, 0.0),
        (rt.Grpo(0.8, group_size=K, clip=0.1, n_epochs=3), "score", 0.1, 0.0),
        (rt.Grpo(0.8, group_size=K, clip=0.3, n_epochs=2, kl_weight=0.5), "score", 0.3, 0.5),
    ],
)
def test_epochs_climb_the_clipped_surrogate(algorithm, kind, clip, kl_weight):
    start = rt.TabularPolicy(LOGITS)
    got = algorithm.step(algorithm.init(start), Scripted()).policy.log_probs[0]
    theta = LOGITS.copy()
    for _ in range(algorithm.n_epochs):
        theta = theta + 0.8 * numerical(lambda z: surrogate(kind, clip, LOGITS, z, LOGITS, kl_weight), theta)
    np.testing.assert_allclose(got, log_softmax(theta, axis=-1), atol=1e-7)


def test_the_penalised_surrogate_and_its_adaptive_weight():
    algorithm = rt.PpoKl(0.7, target_kl=0.02, penalty=0.5, n_epochs=2)
    state = algorithm.step(algorithm.init(rt.TabularPolicy(LOGITS)), Scripted())
    weights = GROUPS.advantages(Critic(VALUES), S, A).weights[0]
    old = log_softmax(LOGITS, axis=-1)

    def objective(z):
        new = log_softmax(z, axis=-1)
        gain = [np.exp(new[x, y] - old[x, y]) * naive_advantage("critic", x, r, o) for x, y, r, o in answers()]
        return np.mean(gain) - 0.5 * (weights * (np.exp(old) * (old - new)).sum(-1)).sum()

    theta = LOGITS.copy()
    for _ in range(2):
        theta = theta + 0.7 * numerical(objective, theta)
    np.testing.assert_allclose(state.policy.log_probs[0], log_softmax(theta, axis=-1), atol=1e-7)
    new = log_softmax(theta, axis=-1)
    d = (weights * (np.exp(old) * (old - new)).sum(-1)).sum()
    expected = 0.25 if d < 0.02 / 1.5 else 1.0 if d > 0.03 else 0.5
    assert state.memory[1] == expected


def test_rloo_and_reinforce_take_the_mean_step():
    start = rt.TabularPolicy(LOGITS)
    for algorithm, kind in ((rt.Rloo(0.5, group_size=K), "leave-one-out"), (rt.Reinforce(0.5), "critic")):
        got = algorithm.step(algorithm.init(start), Scripted()).policy.log_probs[0]
        g = sum(naive_advantage(kind, x, r, o) * score(LOGITS, x, y) for x, y, r, o in answers()) / (N * K)
        np.testing.assert_allclose(got, log_softmax(LOGITS + 0.5 * g, axis=-1), atol=1e-14)


def test_the_critic_is_a_running_mean_that_forgets():
    algorithm = rt.Reinforce(0.1, forgetting=0.4)
    state = algorithm.init(rt.TabularPolicy(LOGITS))
    means = np.array([REWARDS[0][ROWS[0] == x].mean() for x in range(S)])  # every row is met
    state = algorithm.step(state, Scripted())
    np.testing.assert_allclose(state.memory.values[0], means)
    state = algorithm.step(state, Scripted())
    np.testing.assert_allclose(state.memory.values[0], means)
    critic = state.memory.updated(GROUPS.advantages(Critic(VALUES), S, A), 0.4)
    assert critic.batches.min() == 3
    moved = Groups(ROWS, ACTIONS, REWARDS + 1).advantages(Critic(VALUES), S, A)
    np.testing.assert_allclose(critic.updated(moved, 0.4).values[0], means + 0.4)
    np.testing.assert_allclose(critic.updated(moved, 0.0).values[0], means + 0.25)


@pytest.mark.parametrize("name", ["Rloo", "Reinforce", "PolicyGradient"])
def test_exact_feedback_gives_the_policy_gradient(name):
    reward, rho = RNG.random((S, A)), RNG.dirichlet(np.ones(S))
    bandit = rt.ContextualBandit(reward, context_dist=rho)
    trace = rt.run(bandit, getattr(rt, name)(0.3), n_iterations=1, policy=rt.TabularPolicy(LOGITS))

    def objective(z):
        return (rho * (softmax(z, axis=-1) * reward).sum(-1)).sum()

    expected = log_softmax(LOGITS + 0.3 * numerical(objective, LOGITS), axis=-1)
    np.testing.assert_allclose(trace.final_policy.log_probs[0], expected, atol=1e-8)


def test_a_log_linear_gradient_is_the_numerical_one():
    features = RNG.standard_normal((S, A, 3))
    cells = RNG.standard_normal((S, A))
    theta = RNG.standard_normal(3)
    got = log_linear(theta, features).gradient(cells)
    np.testing.assert_allclose(
        got, numerical(lambda z: (cells * log_linear(z, features).log_probs).sum(), theta), atol=1e-8
    )


@pytest.mark.parametrize("problem", ["bandit", "game"])
@pytest.mark.parametrize("kind", ["leave-one-out", "critic"])
def test_sampled_estimates_are_unbiased(problem, kind):
    """2,000 seeds of 40 answers; the largest of A z-scores is above 4.5 in 3 of 100,000 runs a cell."""
    rho = np.array([0.2, 0.3, 0.5])
    if problem == "bandit":
        made = rt.ContextualBandit(RNG.random((S, A)), context_dist=rho, noise=rt.BernoulliNoise())
    else:
        p = np.triu(RNG.random((S, A, A)), 1)
        p = p + np.tril(1 - np.swapaxes(p, -1, -2), -1) + 0.5 * np.eye(A)
        made = rt.PreferenceGame(p, context_dist=rho)
    policy = rt.TabularPolicy(LOGITS)
    baseline = LeaveOneOut(4) if kind == "leave-one-out" else Critic(np.array([[0.3, 0.1, -0.2]]))
    oracle = rt.Sampled(20).bind(made, seed_streams(0, 2_000))
    estimates = policy.gradient(oracle.advantages(policy, baseline).cells)
    exact = policy.gradient(rt.Exact().bind(made, seed_streams(0, 1)).advantages(policy, baseline).cells)
    z = (estimates.mean(0) - exact) / (estimates.std(0) / np.sqrt(2_000))
    assert norm.sf(4.5) * 2 * S * A < 1e-4
    assert np.abs(z).max() < 4.5
    assert (oracle.queries == 40).all()


def test_group_scores_of_equal_rewards_are_zero():
    same = Groups(ROWS, ACTIONS, np.full((1, N, K), 0.1)).advantages(GroupScore(K), S, A)
    assert (same.up == 0).all()
    assert (same.down == 0).all()


def test_trpo_meets_its_constraint_with_the_longest_halved_step():
    mdp_reward, rho = RNG.random((S, A)), RNG.dirichlet(np.ones(S))
    bandit = rt.ContextualBandit(mdp_reward, context_dist=rho)
    for delta in (1e-6, 0.01, 0.5):
        trace = rt.run(
            bandit, rt.Trpo(1e6, max_kl=delta), n_iterations=5, policy=rt.TabularPolicy(LOGITS), keep_policies=True
        )
        p = trace.probs[0]
        kl = [(rho * (a * np.log(a / b)).sum(-1)).sum() for a, b in pairwise(p)]
        assert max(kl) <= delta * (1 + 1e-9)
        assert min(kl) >= delta / 8  # one halving of the step quarters the divergence, and the model is close to it
        assert (np.diff(trace.gap[0]) < 0).all()
    # the direction is the natural gradient: pi exp(eta A) for some eta
    ratio = np.log(p[1] / p[0])
    ratio -= ratio.mean(-1, keepdims=True)
    centred = mdp_reward - mdp_reward.mean(-1, keepdims=True)
    np.testing.assert_allclose(ratio / centred, (ratio / centred)[0, 0], rtol=1e-9)


def test_trpo_takes_no_more_than_the_step_size():
    bandit = rt.ContextualBandit(RNG.random((S, A)))
    capped = rt.run(bandit, rt.Trpo(1e-3, max_kl=0.5), n_iterations=1).final_policy.log_probs
    natural = rt.run(bandit, rt.NaturalPolicyGradient(1e-3), n_iterations=1).final_policy.log_probs
    np.testing.assert_allclose(capped, natural, atol=1e-13)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: rt.Ppo(1.0, clip=0.0), "clip is 0.0"),
        (lambda: rt.Ppo(1.0, n_epochs=0), "n_epochs is 0"),
        (lambda: rt.PpoKl(1.0, target_kl=-1.0), "target_kl is -1.0"),
        (lambda: rt.Grpo(1.0, group_size=1), "group_size is 1"),
        (lambda: rt.Grpo(1.0, kl_weight=-1.0), "kl_weight is -1.0"),
        (lambda: rt.Rloo(0.0), r"step_size is 0.0"),
        (lambda: rt.Rloo(1.0, group_size=2.5), "group_size is 2.5"),
        (lambda: rt.Reinforce(1.0, forgetting=2.0), "forgetting is 2.0"),
        (lambda: rt.Trpo(1.0, max_kl=0.0), "max_kl is 0.0"),
        (lambda: rt.Ppo(1.0, clip="wide"), "clip is 'wide', expected a finite number > 0"),
        (lambda: rt.Ppo(1.0, clip=np.inf), "clip is inf"),
        (lambda: rt.Ppo(1.0, clip=[0.1, 0.2]), r"clip is \[0.1, 0.2\]"),
        (lambda: rt.Ppo(1.0, n_epochs=2.5), "n_epochs is 2.5, expected an integer of at least 1"),
        (lambda: rt.PpoKl(1.0, penalty=np.nan), "penalty is nan"),
        (lambda: rt.Reinforce(1.0, forgetting=-0.1), r"forgetting is -0.1, expected a number in \[0, 1\]"),
        (lambda: rt.Grpo(1.0, kl_weight=np.inf), "kl_weight is inf, expected a finite number >= 0"),
        (lambda: rt.Grpo(0.0, clip=0.0), "step_size is 0.0"),
        (lambda: rt.Ppo(1.0, clip=0.0, n_epochs=0, forgetting=2.0), r"(?s)n_epochs.*clip.*forgetting"),
        (lambda: rt.MagneticMirrorDescent(1.0, 0.0), "temperature is 0.0, expected a finite number > 0"),
        (lambda: rt.NashMD(1.0, 0.0), "temperature is 0.0"),
        (lambda: rt.Egpo(1.0, -0.1), "temperature is -0.1, expected a finite number >= 0"),
        (lambda: rt.Inpo(1.0, 0.1, "on-policy"), 'reference is "on-policy", which moves'),
    ],
)
def test_bad_options_are_named(make, words):
    with pytest.raises(rt.InvalidProblemError, match=words):
        make()


def test_the_ends_of_what_is_allowed():
    rt.Ppo(1.0, n_epochs=1, forgetting=0.0)
    rt.Reinforce(1.0, forgetting=1)
    rt.Grpo(1.0, kl_weight=0, n_epochs=3.0)
    assert rt.Egpo(1.0, np.float64(0.0)).temperature == rt.Inpo(1.0, 0).temperature == 0


def test_oracles_without_single_answers_are_refused():
    bandit = rt.ContextualBandit(RNG.random((S, A)))
    with pytest.raises(rt.InvalidProblemError, match="Counted draws counts, not answers"):
        rt.run(bandit, rt.Rloo(1.0), n_iterations=1, oracle=rt.Counted(10))
