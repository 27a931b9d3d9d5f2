"""Natural policy gradient: Fisher blocks by elimination and by LAPACK, plug-in and pair estimators."""

import numpy as np
import pytest
import reference as ref
from core.cases import KINDS, dirichlet, make, start
from scipy.stats import linregress

import rebel_theory as rt
from rebel_theory.feedback import Feedback
from rebel_theory.kernels.fisher import solve_fisher_rows
from rebel_theory.oracles import seed_streams
from rebel_theory.pairs import FactorisedPairs
from rebel_theory.policies import as_base

EXPLICIT = rt.PseudoInverse(explicit=True)
SOLVERS = [rt.PseudoInverse(), EXPLICIT, rt.Damped(0.05), rt.ConjugateGradient(200, 1e-14)]
ONE = np.array(1.0)


def feedback(signal, frequencies=None, visited=None):
    rows = signal.shape[:-1]
    return Feedback(
        np.full(rows, 1 / rows[-1]), signal, np.full(rows, True) if visited is None else visited, frequencies
    )


def moved(policy, seen, solver=EXPLICIT):
    """Logits' displacement of a natural step, mean 0 over the support (softmax forgets the constant)."""
    new, old = policy.natural_step(seen, ONE, solver).log_probs, policy.log_probs
    with np.errstate(invalid="ignore"):
        x = np.where(old > -np.inf, new - old, np.nan)
    return np.nan_to_num(x - np.nanmean(x, axis=-1, keepdims=True))


def fisher_step(pi, q):
    """The pseudo-inverse of one written-out block times its gradient."""
    return np.linalg.pinv(np.diag(pi) - np.outer(pi, pi), rcond=1e-12, hermitian=True) @ (pi * (q - pi @ q))


@pytest.mark.parametrize("n_actions", [2, 3, 64, 70])
def test_blocks_by_elimination_by_lapack_and_by_the_pseudo_inverse(n_actions):
    """The same natural gradient for actions ruled out, nearly so, and of any number."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        logits = rng.standard_normal((4, n_actions)) * [[1.0], [5.0], [30.0], [1.0]]
        logits[3, 1 : n_actions // 2] = -np.inf
        signal = rng.standard_normal((4, n_actions))
        policy, seen = rt.TabularPolicy(logits), feedback(signal)
        found = moved(policy, seen, rt.PseudoInverse())
        np.testing.assert_allclose(found, moved(policy, seen), atol=1e-12)
        for s in (0, 3):  # the pseudo-inverse drops the improbable actions of the others
            np.testing.assert_allclose(found[s], fisher_step(policy.probs[s], signal[s]), atol=1e-9)


@pytest.mark.parametrize("solver", [rt.PseudoInverse(), EXPLICIT])
def test_a_gradient_that_is_not_that_of_a_centred_signal(solver):
    """The systems are solved, not short-cut: min norm, mean 0, F x = g to rounding in every row."""
    rng = np.random.default_rng(0)
    pi, signal = dirichlet(rng, 6, 5), 1e3 + rng.standard_normal((6, 5))
    x = moved(rt.TabularPolicy.from_probs(pi), feedback(signal), solver)
    np.testing.assert_allclose(x.sum(axis=-1), 0, atol=1e-11)
    np.testing.assert_allclose(
        pi * (x - (pi * x).sum(-1, keepdims=True)), pi * (signal - (pi * signal).sum(-1, keepdims=True)), atol=1e-11
    )


@pytest.mark.parametrize("solver", [rt.PseudoInverse(), EXPLICIT])
def test_extreme_probabilities_keep_their_accuracy(solver):
    """Probabilities of 1e-300, and those below the smallest double: x is the centred signal on the support."""
    logits = np.array([[0.0, -690.0, -1.0, -np.inf], [-2000.0, 0.0, -5.0, -1e6]])
    signal = np.array([[1.0, 7.0, -3.0, 99.0], [4.0, 1.0, 2.0, -8.0]])
    x = moved(rt.TabularPolicy(logits), feedback(1e6 * signal), solver)
    expected = np.array([[1.0, 7.0, -3.0, 0.0] - np.array([5 / 3, 5 / 3, 5 / 3, 0]), signal[1] + 0.25]) * 1e6
    np.testing.assert_allclose(x, expected, rtol=1e-9)


@pytest.mark.parametrize("solver", [rt.PseudoInverse(), EXPLICIT])
def test_rows_without_visits_and_batches_of_signals(solver):
    rng = np.random.default_rng(1)
    policy, signal = rt.TabularPolicy(rng.standard_normal((3, 4))), rng.standard_normal((2, 3, 4))
    visited = np.array([[True, False, True], [True, True, False]])
    new = policy.natural_step(feedback(signal, visited=visited), np.array([1.0, 2.0]), solver)
    assert new.log_probs.shape == (2, 3, 4)
    for k, s in np.ndindex(2, 3):
        x = (k + 1) * fisher_step(policy.probs[s], signal[k, s]) if visited[k, s] else 0
        np.testing.assert_allclose(new.probs[k, s], ref.softmax((policy.log_probs[s] + x)[None])[0], atol=1e-12)


@pytest.mark.parametrize("solver", [rt.PseudoInverse(), EXPLICIT])
def test_a_sample_moves_only_what_it_holds(solver):
    """Plug-in frequencies: the empirical block's pseudo-inverse; actions that were not sampled stay."""
    rng = np.random.default_rng(2)
    counts = np.array([[3.0, 0, 5, 2], [0, 0, 4, 0], [0, 0, 0, 0]])
    seen = Feedback.from_sums(counts, counts * rng.standard_normal((3, 4)))
    policy = rt.TabularPolicy(np.zeros((3, 4)))
    new = policy.natural_step(seen, ONE, solver)
    x = fisher_step(seen.frequencies[0], seen.signal[0])
    np.testing.assert_allclose(x[1], 0, atol=1e-12)
    np.testing.assert_allclose(new.probs[0], ref.softmax(x[None])[0], atol=1e-12)
    np.testing.assert_allclose(new.probs[1:], 0.25)


@pytest.mark.kernels
def test_compiled_elimination_is_interpreted_exactly():
    rng = np.random.default_rng(3)
    pi = dirichlet(rng, 5, 4)
    pi[1, 2] = 0
    pi /= pi.sum(axis=1, keepdims=True)
    support, visited, signal = pi > 0, np.array([True, True, False, True, True]), rng.standard_normal((5, 4))
    one, two = signal.copy(), signal.copy()
    solve_fisher_rows(pi, support, visited, one)
    getattr(solve_fisher_rows, "py_func", solve_fisher_rows)(pi, support, visited, two)
    np.testing.assert_allclose(one, two, rtol=1e-13, atol=1e-14)  # fused multiply-add may differ in the last digit
    assert (one[2] == 0).all()
    assert one[1, 2] == 0
    np.testing.assert_allclose(one[0], fisher_step(pi[0], signal[0]), atol=1e-10)


# ----------------------------------------------------------------------------------------- the pair estimator


def policies(rng, shape):
    return {
        "tabular": rt.TabularPolicy(rng.standard_normal(shape)),
        "log-linear": rt.LogLinearPolicy(rng.standard_normal((*shape, 3)), rng.standard_normal(3)),
        "tanh": rt.TanhPolicy.random(rng.standard_normal((*shape, 2)), 2, rng),
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["tabular", "log-linear", "tanh"])
@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: type(s).__name__ + ("+" if s == EXPLICIT else ""))
def test_with_exact_expectations_the_estimators_are_equal(kind, name, solver):
    rng = np.random.default_rng(4)
    case = make(kind, rng)
    policy = policies(rng, case.problem.policy_shape)[name]
    one, two = (
        rt.run(case.problem, rt.NaturalPolicyGradient(0.7, solver, fisher), n_iterations=1, policy=policy)
        for fisher in ("plug-in", "pairs")
    )
    np.testing.assert_allclose(one.final_policy.probs, two.final_policy.probs, rtol=0, atol=1e-10)
    assert rt.total_variation(one.final_policy.probs, policy.probs).max() > 1e-3


def pair_fisher_step(pairs, jacobian):
    """F^+ g by enumeration of directed cells: F = sum w dg dg^T / 2, g = sum w dg dr / 2."""
    p = jacobian.shape[-1]
    fisher, gradient = np.zeros((p, p)), np.zeros(p)
    for s, i, j in np.ndindex(*pairs.counts.shape[1:]):
        if pairs.counts[0, s, i, j]:
            dg = jacobian[s, i] - jacobian[s, j]
            fisher += pairs.counts[0, s, i, j] * np.outer(dg, dg) / 2
            gradient += pairs.sums[0, s, i, j] * dg / 2
    return np.linalg.pinv(fisher, rcond=1e-12, hermitian=True) @ gradient


@pytest.mark.parametrize("oracle", [rt.Sampled(60), rt.Counted(10**6)], ids=["sampled", "counted"])
@pytest.mark.parametrize("name", ["tabular", "log-linear", "tanh"])
def test_pairs_step_is_one_gauss_newton_step_of_rebel_on_the_same_pairs(name, oracle):
    """By enumeration, by the policy's own Gauss-Newton, and, where E3 says so, by REBEL's full regression."""
    rng = np.random.default_rng(5)
    bandit = rt.ContextualBandit(rng.random((3, 4)), noise=rt.GaussianNoise(0.3))
    policy = policies(rng, (3, 4))[name]
    algorithm = rt.NaturalPolicyGradient(0.5, fisher="pairs")
    options = {"n_iterations": 1, "policy": policy, "oracle": oracle, "seed": 6}
    new = rt.run(bandit, algorithm, **options)
    pairs = oracle.bind(bandit, seed_streams(6, 1)).pairs(policy, as_base("on-policy"))
    jacobian = ref.tabular_jacobian(3, 4) if name == "tabular" else policy.jacobian()
    x = 0.5 * pair_fisher_step(pairs, jacobian)
    expected = (
        ref.softmax(policy.log_probs + x.reshape(3, 4))
        if name == "tabular"
        else policy.with_theta(policy.theta + x).probs
    )
    np.testing.assert_allclose(new.final_policy.probs[0], expected, atol=1e-9)
    if name != "tabular":
        newton = policy.gauss_newton_step(pairs, np.array(0.5))
        np.testing.assert_allclose(new.final_policy.theta, newton.theta, atol=1e-10)
    rebel = rt.run(bandit, rt.Rebel(0.5), **options)
    apart = rt.total_variation(new.final_policy.probs, rebel.final_policy.probs).max()
    assert apart > 1e-6 if name == "tanh" else apart < 1e-10  # E3, and its control
    np.testing.assert_array_equal(new.queries, rebel.queries)
    explicit = rt.run(bandit, rt.NaturalPolicyGradient(0.5, EXPLICIT, "pairs"), **options)
    np.testing.assert_allclose(explicit.final_policy.probs, new.final_policy.probs, atol=1e-9)


@pytest.mark.parametrize("oracle", [rt.Sampled(50), rt.Counted(50)], ids=["sampled", "counted"])
@pytest.mark.parametrize("kind", ["bandit", "game"])
def test_both_estimators_spend_what_rebel_spends(kind, oracle):
    case = make(kind, np.random.default_rng(7))
    algorithms = (rt.Rebel(0.5), rt.NaturalPolicyGradient(0.5), rt.NaturalPolicyGradient(0.5, fisher="pairs"))
    for algorithm in algorithms:
        trace = rt.run(case.problem, algorithm, n_iterations=3, oracle=oracle, n_seeds=2)
        np.testing.assert_array_equal(trace.queries, [[0, 100, 200, 300]] * 2)


def test_on_the_same_actions_the_estimators_part_like_one_over_root_n():
    """E7: the two steps from the same N pairs; log-log slope -1/2 within its 99.99% interval, which is below 0.1."""
    rng = np.random.default_rng(8)
    phi, reward, n_seeds = rng.standard_normal((3, 4, 2)), rng.random((3, 4)), 200
    bandit, policy = rt.ContextualBandit(reward), rt.LogLinearPolicy(phi, [0.4, -0.3])
    sizes, x, y = (10**3, 10**4, 10**5, 10**6, 10**7), [], []
    for n in sizes:
        pairs = rt.Counted(n).bind(bandit, seed_streams(n, n_seeds)).pairs(policy, as_base("on-policy"))
        counts = pairs.counts.sum(axis=-1) + pairs.counts.sum(axis=-2)  # both actions of every pair
        single = policy.natural_step(Feedback.from_sums(counts, counts * reward), ONE, rt.PseudoInverse())
        paired = policy.pair_natural_step(pairs, ONE, rt.PseudoInverse())
        apart = ((single.theta - paired.theta) ** 2).sum(axis=-1).reshape(10, -1)  # ten independent blocks
        x += [np.log(n)] * 10
        y += list(0.5 * np.log(apart.mean(axis=-1)))
    fit = linregress(x, y)
    assert 4 * fit.stderr < 0.1
    assert abs(fit.slope + 0.5) < 4 * fit.stderr


def test_offline_pairs_enter_at_their_weights():
    """Logged pairs with propensities: the weighted Gauss-Newton step, for a class that does not hold the target."""
    rng = np.random.default_rng(9)
    x, y, z = rng.integers(0, 3, 30), rng.integers(0, 4, 30), rng.integers(0, 4, 30)
    r, p = rng.standard_normal(30), rng.uniform(0.1, 1, 30)
    phi = rng.standard_normal((3, 4, 2))
    bandit, policy = rt.ContextualBandit(rng.random((3, 4))), rt.LogLinearPolicy(phi, [0.1, 0.2])
    data = rt.OfflineData(y, z, x=x, difference=r, propensity=p)
    algorithm = rt.NaturalPolicyGradient(0.5, fisher="pairs")
    trace = rt.run(bandit, algorithm, n_iterations=1, policy=policy, oracle=rt.Offline(data))
    root, differences = np.sqrt(1 / p), phi[x, y] - phi[x, z]
    direction = np.linalg.lstsq(root[:, None] * differences, root * r, rcond=None)[0]
    np.testing.assert_allclose(trace.final_policy.theta[0], [0.1, 0.2] + 0.5 * direction, rtol=1e-10)
    np.testing.assert_array_equal(trace.queries, [[60, 60]])


def test_damping_knows_the_state_weights_in_both_estimators():
    rng = np.random.default_rng(10)
    case = make("bandit", rng)
    policy, pi = start(rng, case)
    pairs = FactorisedPairs(case.raw["rho"], np.log(pi), np.log(pi), case.raw["reward"], np.full(4, True))
    new = policy.pair_natural_step(pairs, ONE, rt.Damped(0.1)).log_probs
    for s, rho in enumerate(case.raw["rho"]):
        fisher = rho * (np.diag(pi[s]) - np.outer(pi[s], pi[s]))
        gradient = rho * pi[s] * (case.raw["reward"][s] - pi[s] @ case.raw["reward"][s])
        x = np.linalg.solve(fisher + 0.1 * np.eye(3), gradient)
        np.testing.assert_allclose(ref.softmax(new[s][None]), ref.softmax((np.log(pi[s]) + x)[None]), atol=1e-12)


def test_an_unknown_estimator_is_refused():
    with pytest.raises(rt.InvalidProblemError, match="fisher is 'pair', expected 'plug-in' or 'pairs'"):
        rt.NaturalPolicyGradient(1.0, fisher="pair")
