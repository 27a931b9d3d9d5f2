"""Q-NPG, CPI, PSDP and REFUEL: by hand, against naive references, and their theorems; bad options of all baselines."""

import itertools

import numpy as np
import pytest
import reference as ref
from core.cases import KINDS, make, one_step, start

import rebel_theory as rt
from rebel_theory.feedback import Feedback
from rebel_theory.solvers.soft import soft_solve

LN3 = np.log(3.0)


class Scripted:
    """An oracle that shows one feedback, whatever the policy."""

    def __init__(self, problem, feedback):
        self.problem, self._feedback = problem, feedback

    def feedback(self, policy):
        return self._feedback


def scripted_step(algorithm, problem, policy, frequencies, signal):
    """Probabilities (S, A) after one step on a sample: equal row weights, these frequencies and mean signals."""
    frequencies = np.asarray(frequencies, float)
    met = frequencies.sum(axis=-1) > 0
    shown = Feedback(met / met.sum(), np.asarray(signal, float), met, frequencies)
    return algorithm.step(algorithm.init(policy), Scripted(problem, shown)).policy.probs


def log_linear(rng, shape, p=3):
    return rt.LogLinearPolicy(rng.standard_normal((*shape, p)), 0.5 * rng.standard_normal(p))


# --------------------------------------------------------------------------------------------------- Q-NPG


def test_q_npg_by_hand():
    """One feature that is 1 on the first arm: w = Q(0) = 2, not the difference Q(0) - Q(1) = 1 that NPG follows."""
    bandit = rt.ContextualBandit([[2.0, 1.0]])
    policy = rt.LogLinearPolicy([[[1.0], [0.0]]], [0.0])
    eta = LN3 / 2
    theta = rt.run(bandit, rt.QNpg(eta), n_iterations=1, policy=policy).final_policy.parameters
    np.testing.assert_allclose(theta, [[LN3]])
    natural = rt.run(bandit, rt.NaturalPolicyGradient(eta), n_iterations=1, policy=policy).final_policy.parameters
    np.testing.assert_allclose(natural, [[LN3 / 2]])


@pytest.mark.parametrize("kind", KINDS)
def test_q_npg_regresses_q_on_the_features(kind):
    rng = np.random.default_rng(1)
    case = make(kind, rng)
    policy = log_linear(rng, case.problem.policy_shape)
    pi = policy.probs.reshape(-1, case.problem.n_actions)
    d, q = case.signal(pi)
    phi = policy.features.reshape(*pi.shape, -1)
    design, target = [], []
    for s, a in np.ndindex(pi.shape):
        design.append(np.sqrt(d[s] * pi[s, a]) * phi[s, a])
        target.append(np.sqrt(d[s] * pi[s, a]) * q[s, a])
    w = np.linalg.lstsq(np.array(design), np.array(target), rcond=None)[0]
    got = rt.run(case.problem, rt.QNpg(0.7), n_iterations=1, policy=policy).final_policy.parameters
    np.testing.assert_allclose(got[0], policy.theta + 0.7 * w, rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_q_npg_is_npg_on_a_table(kind):
    case = make(kind, np.random.default_rng(2))
    found = rt.compare(case.problem, [rt.QNpg(2.0), rt.NaturalPolicyGradient(2.0)], n_iterations=6)
    assert found.total_variation["Q-NPG", "NPG"].max() < 1e-12


def test_q_npg_reads_an_action_that_a_sample_missed_as_zero():
    bandit = rt.ContextualBandit(np.zeros((2, 3)))
    frequencies, signal = [[0.5, 0.5, 0.0], [0, 0, 0]], [[1.0, -2.0, 9.0], [5.0, 5.0, 5.0]]
    got = scripted_step(rt.QNpg(1.0), bandit, rt.TabularPolicy(np.zeros((2, 3))), frequencies, signal)
    np.testing.assert_allclose(got, ref.softmax(np.array([[1.0, -2.0, 0.0], [0, 0, 0]])))


# ----------------------------------------------------------------------------------------------------- CPI


def test_cpi_by_hand():
    """Rewards 1, 0, 0 from uniform: A = 2/3, R = 1, alpha = 1/6, so pi(best) = 1/3 + (1/6) (2/3) = 4/9."""
    bandit = rt.ContextualBandit([[1.0, 0.0, 0.0]])

    def probs(algorithm):
        return one_step(bandit, algorithm, rt.TabularPolicy(np.zeros((1, 3))))

    np.testing.assert_allclose(probs(rt.ConservativePolicyIteration(1.0)), [[4 / 9, 5 / 18, 5 / 18]])
    np.testing.assert_allclose(probs(rt.ConservativePolicyIteration(0.1)), [[0.4, 0.3, 0.3]])
    np.testing.assert_allclose(probs(rt.ConservativePolicyIteration(0.5, cautious=False)), [[4 / 6, 1 / 6, 1 / 6]])
    np.testing.assert_array_equal(probs(rt.ConservativePolicyIteration(7.0, cautious=False)), [[1, 0, 0]])


def test_cpi_shares_ties():
    bandit = rt.ContextualBandit([[1.0, 0.0, 1.0]])
    got = one_step(bandit, rt.ConservativePolicyIteration(0.5, cautious=False), rt.TabularPolicy(np.zeros((1, 3))))
    np.testing.assert_allclose(got, [[5 / 12, 1 / 6, 5 / 12]])


def naive_cpi(case, pi):
    """(pi_{t+1}, A, R) with values normalised by 1 - gamma as in the source, R bounding the advantages."""
    d, q = case.signal(pi)
    rest = 1 / len(case.raw["reward"]) if case.kind == "horizon" else 1 - case.raw.get("gamma", 0.0)
    q = rest * q
    greedy = np.zeros_like(pi)
    for s in range(len(pi)):
        greedy[s, np.argmax(q[s])] = 1
    advantage = sum(d[s] * (q[s].max() - pi[s] @ q[s]) for s in range(len(pi)))
    largest = max(q[s].max() - q[s].min() for s in range(len(pi)))
    alpha = rest * advantage / (4 * largest)
    return (1 - alpha) * pi + alpha * greedy, advantage, largest, rest


@pytest.mark.parametrize("kind", KINDS)
def test_cpi_against_its_definition(kind):
    rng = np.random.default_rng(3)
    case = make(kind, rng, gamma=0.9)
    policy, pi = start(rng, case)
    got = one_step(case.problem, rt.ConservativePolicyIteration(1.0), policy)
    np.testing.assert_allclose(got, naive_cpi(case, pi)[0], atol=1e-12)


@pytest.mark.parametrize("kind", ["bandit", "mdp", "horizon", "linear"])
@pytest.mark.parametrize("gamma", [0.5, 0.99])
def test_cpi_improves_by_its_guarantee(kind, gamma):
    """J rises in every step, by A^2/(8R) at least (J normalised, as A and R are)."""
    rng = np.random.default_rng(4)
    for _ in range(5):
        case = make(kind, rng, gamma=gamma)
        policy, _ = start(rng, case)
        trace = rt.run(
            case.problem, rt.ConservativePolicyIteration(1.0), n_iterations=20, policy=policy, keep_policies=True
        )
        gains = -np.diff(trace.gap[0])
        for pi, gain in zip(trace.probs[0], gains, strict=False):
            _, advantage, largest, rest = naive_cpi(case, pi.reshape(-1, pi.shape[-1]))
            assert rest * gain >= advantage**2 / (8 * largest) - 1e-14


def test_cpi_is_refused_where_its_share_is_zero():
    absorbing = rt.TabularMDP([[[0, 1.0], [0, 1]], [[0, 1], [0, 1]]], [[1.0, 0.0], [0.0, 0.0]], discount=1.0)
    with pytest.raises(rt.InvalidProblemError, match="use cautious=False"):
        rt.run(absorbing, rt.ConservativePolicyIteration(1.0), n_iterations=1)
    trace = rt.run(absorbing, rt.ConservativePolicyIteration(1.0, cautious=False), n_iterations=1)
    assert trace.gap[0, -1] == 0


# ---------------------------------------------------------------------------------------------------- PSDP


def test_psdp_by_hand():
    """Two steps of a bandit with arms (0, 1), (1, 0): the last step is made greedy first; uniform elsewhere."""
    stay = np.eye(1)[None].repeat(2, axis=1)
    mdp = rt.FiniteHorizonMDP(stay, [[[0.0, 1.0]], [[1.0, 0.0]]], horizon=2)
    trace = rt.run(mdp, rt.Psdp(), n_iterations=3, keep_policies=True)
    np.testing.assert_array_equal(trace.probs[0, :, 0, 0], [[0.5, 0.5], [0.5, 0.5], [0, 1], [0, 1]])
    np.testing.assert_array_equal(trace.probs[0, :, 1, 0], [[0.5, 0.5], [1, 0], [1, 0], [1, 0]])
    np.testing.assert_allclose(trace.gap[0], [1, 0.5, 0, 0])


@pytest.mark.parametrize("seed", range(5))
def test_psdp_is_backward_induction(seed):
    """After k updates the last k steps are optimal, whatever comes before; after H updates all are."""
    rng = np.random.default_rng(seed)
    case = make("horizon", rng)
    p, r, rho = (case.raw[name] for name in ("transition", "reward", "rho"))
    policy, pi = start(rng, case)
    trace = rt.run(case.problem, rt.Psdp(), n_iterations=len(r), policy=policy, keep_policies=True)
    expected = pi.reshape(r.shape).copy()
    for k, h in enumerate(reversed(range(len(r)))):
        v = ref.horizon_optimum(p[h + 1 :], r[h + 1 :]) if h + 1 < len(r) else np.zeros(r.shape[1])
        for s in range(r.shape[1]):
            expected[h, s] = np.eye(r.shape[2])[np.argmax([r[h, s, a] + p[h, s, a] @ v for a in range(r.shape[2])])]
        np.testing.assert_allclose(trace.probs[0, k + 1], expected, atol=1e-15)
    assert trace.gap[0, -1] < 1e-14
    assert rho @ ref.horizon(p, r, expected, rho)[0][0] == pytest.approx(rho @ ref.horizon_optimum(p, r))


def test_psdp_leaves_what_the_first_policy_does_not_meet():
    """State 1 of step 2 is met under action 1 of step 1 only; a policy that never takes it learns nothing there."""
    p = np.zeros((2, 2, 2, 2))
    p[:, :, 0, 0], p[:, :, 1, 1] = 1, 1
    mdp = rt.FiniteHorizonMDP(p, [np.zeros((2, 2)), [[0, 0.1], [0, 1.0]]], horizon=2, initial_dist=[1.0, 0.0])
    never = rt.TabularPolicy([[[0.0, -np.inf], [0, 0]], [[0, 0], [0, 0]]])
    trace = rt.run(mdp, rt.Psdp(), n_iterations=2, policy=never, keep_policies=True)
    np.testing.assert_array_equal(trace.probs[0, -1, 1], [[0, 1], [0.5, 0.5]])
    np.testing.assert_allclose(trace.gap[0, -1], 0.9)
    restart = rt.Exact(states=np.full((2, 2), 0.25))  # a baseline distribution that meets every state
    covered = rt.run(mdp, rt.Psdp(), n_iterations=2, oracle=restart)
    assert covered.gap[0, -1] == 0


def test_psdp_chooses_among_the_actions_that_a_sample_saw_and_shares_ties():
    stay = np.eye(1)[None].repeat(3, axis=1)
    mdp = rt.FiniteHorizonMDP(stay, np.zeros((1, 3)), horizon=1)
    uniform = rt.TabularPolicy(np.zeros((1, 3)))
    np.testing.assert_array_equal(
        scripted_step(rt.Psdp(), mdp, uniform, [[0.5, 0.5, 0]], [[1.0, 2.0, 9.0]]), [[0, 1, 0]]
    )
    np.testing.assert_array_equal(
        scripted_step(rt.Psdp(), mdp, uniform, [[0.2, 0.4, 0.4]], [[1.0, 2.0, 2.0]]), [[0, 0.5, 0.5]]
    )


# -------------------------------------------------------------------------------------------------- REFUEL


def returns(case, pi):
    """R(h, s, a) by enumerating every way to go on: pi (H, S, A)."""
    p, r = case.raw["transition"], case.raw["reward"]
    horizon, n, m = r.shape
    out = np.zeros(r.shape)
    for h, s, a in np.ndindex(r.shape):
        rest = horizon - h - 1
        out[h, s, a] = r[h, s, a]
        for path in itertools.product(itertools.product(range(n), range(m)), repeat=rest):
            probability, total, here, action = 1.0, 0.0, s, a
            for k, (state, then) in enumerate(path):
                probability *= p[h + k, here, action, state] * pi[h + k + 1, state, then]
                total += r[h + k + 1, state, then]
                here, action = state, then
            out[h, s, a] += probability * total
    return out


def roll_in(case, pi):
    """Law of (h, s), h uniform, s after h steps of pi."""
    p, rho = case.raw["transition"], case.raw["rho"]
    horizon, n, m = pi.shape
    d = np.zeros((horizon, n))
    for h in range(horizon):
        for path in itertools.product(itertools.product(range(n), range(m)), repeat=h):
            for last in range(n):
                probability, states = 1.0, [s for s, _ in path] + [last]
                for k, (s, a) in enumerate(path):
                    probability *= pi[k, s, a] * p[k, s, a, states[k + 1]]
                d[h, last] += rho[states[0]] * probability / horizon
    return d


def test_refuel_by_hand():
    """Two turns, reward at the end only: 1 for the same action twice. From (3/4, 1/4) in turn 2, R = (3/4, 1/4)."""
    to = np.zeros((2, 2, 2, 2))
    to[:, :, 0, 0], to[:, :, 1, 1] = 1, 1
    mdp = rt.FiniteHorizonMDP(to, [np.zeros((2, 2)), np.eye(2)], horizon=2, initial_dist=[1.0, 0.0])
    policy = rt.TabularPolicy([[[0, 0], [0, 0]], [[LN3, 0], [LN3, 0]]])
    got = rt.run(mdp, rt.Refuel(2 * LN3), n_iterations=1, policy=policy).final_policy.probs[0]
    np.testing.assert_allclose(got[0, 0], [3 / 4, 1 / 4])  # differences 1/2: odds 3
    np.testing.assert_allclose(got[1], [[27 / 28, 1 / 28], [1 / 4, 3 / 4]])  # differences 1 and -1: odds 3 * 9, 3 / 9


@pytest.mark.parametrize("seed", range(3))
def test_refuel_is_the_regression_over_steps_states_and_pairs(seed):
    rng = np.random.default_rng(seed)
    case = make("horizon", rng, s=2, a=2)
    shape = case.raw["reward"].shape
    policy, pi = start(rng, case)
    d, q = roll_in(case, pi.reshape(shape)).ravel(), returns(case, pi.reshape(shape)).reshape(-1, shape[-1])
    expected = ref.rebel_tabular(d, pi, pi, q, 0.9)
    np.testing.assert_allclose(one_step(case.problem, rt.Refuel(0.9), policy), expected, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_refuel_fits_all_turns_jointly(seed):
    """Features that are the same at every step: one theta from all (h, s, y, y')."""
    rng = np.random.default_rng(seed)
    case = make("horizon", rng, s=4, a=3)  # more rows than features: their weights count
    shape = case.raw["reward"].shape
    shared = np.broadcast_to(rng.standard_normal((*shape[1:], 3)), (*shape, 3))
    policy = rt.LogLinearPolicy(shared, rng.standard_normal(3))
    pi = policy.probs
    d, q = roll_in(case, pi), returns(case, pi)
    rows = (-1, shape[-1])
    w = ref.rebel_direction(d.ravel(), pi.reshape(rows), pi.reshape(rows), q.reshape(rows), shared.reshape(*rows, 3))
    got = rt.run(case.problem, rt.Refuel(0.6), n_iterations=1, policy=policy).final_policy.parameters[0]
    np.testing.assert_allclose(got, policy.theta + 0.6 * w, rtol=1e-9)


def test_refuel_is_npg_where_differences_are_realisable():
    case = make("horizon", np.random.default_rng(5))
    found = rt.compare(case.problem, [rt.Refuel(3.0), rt.NaturalPolicyGradient(3.0)], n_iterations=20)
    assert found.total_variation["REFUEL", "NPG"].max() < 1e-12
    assert (np.diff(found["REFUEL"].gap[0]) < 0).all()  # soft policy iteration improves every step's policy


def test_sampled_refuel_rolls_in_resets_and_regresses_without_bias():
    """2,000 seeds of 60 pairs, tabular: mean logits against the exact ones.

    Min-norm least squares on pairs is unbiased here: with two actions z = mean difference / 2 where a row was
    compared. 6 z-scores; one of them above 5 in fewer than 1 run of 100,000.
    """
    case = make("horizon", np.random.default_rng(6), s=2, a=2)
    uniform = rt.TabularPolicy(np.zeros(case.problem.policy_shape))
    trace = rt.run(case.problem, rt.Refuel(0.5), n_iterations=1, policy=uniform, oracle=rt.Sampled(60), n_seeds=2_000)
    logits = trace.final_policy.log_probs
    difference = logits[..., 0] - logits[..., 1]
    compared = np.abs(difference) > 0
    exact = rt.run(case.problem, rt.Refuel(0.5), n_iterations=1, policy=uniform).final_policy.log_probs[0]
    expected = exact[..., 0] - exact[..., 1]
    n = compared.sum(axis=0)
    mean = difference.sum(axis=0) / n
    spread = np.sqrt((compared * (difference - mean) ** 2).sum(axis=0) / n)
    assert n.min() > 1_500
    assert (np.abs(mean - expected) < 5 * spread / np.sqrt(n) + 1e-12).all()  # the last step's returns have no noise


# -------------------------------------------------------------------------------------------- bad options


@pytest.mark.parametrize(
    ("make_it", "words"),
    [
        (lambda: rt.QNpg(0.0), "step_size is 0.0"),
        (lambda: rt.ConservativePolicyIteration(-1.0), "step_size is -1.0"),
        (lambda: rt.Psdp(np.nan), "step_size is nan"),
        (lambda: rt.Refuel([1.0, -2.0]), r"step_size\[1\] is -2.0"),
        (lambda: rt.EntropyNPG(1.0, temperature=0.0), "temperature is 0.0"),
        (lambda: rt.EntropyNPG(1.0, temperature=np.inf), "temperature is inf"),
        (lambda: rt.GrowingMirrorDescent(1.0, growth=1.0), "growth is 1.0.*use MirrorDescent"),
        (lambda: rt.GrowingMirrorDescent([1.0, 1.0], growth=[2.0, np.inf]), "growth is inf"),
        (lambda: rt.GrowingMirrorDescent(1.0, growth=[2.0, 3.0]), "growth has shape \\(2,\\), expected a number"),
        (lambda: rt.GrowingMirrorDescent(1.0, mirror_map="cubic"), "'cubic' is not a mirror map"),
        (lambda: soft_solve(make("mdp", np.random.default_rng(0)).problem, 0.0), "temperature is 0.0"),
    ],
)
def test_bad_options_are_named(make_it, words):
    with pytest.raises(rt.InvalidProblemError, match=words):
        make_it()


@pytest.mark.parametrize("kind", [rt.Psdp, rt.Refuel])
def test_problems_without_steps_are_refused(kind):
    with pytest.raises(rt.InvalidProblemError, match="of a finite horizon"):
        rt.run(rt.ContextualBandit(np.eye(2)), kind(1.0), n_iterations=1)
