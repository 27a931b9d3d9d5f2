"""Least squares with rows of every weight, against rational arithmetic."""

from fractions import Fraction

import numpy as np
import pytest
from core.cases import dirichlet

import rebel_theory as rt
from rebel_theory.arrays import log_softmax
from rebel_theory.least_squares import min_norm
from rebel_theory.pairs import FactorisedPairs

pytestmark = pytest.mark.kernels

SMALL = [1e-2, 1e-4, 1e-6, 1e-8, 1e-12, 1e-16, 1e-20, 1e-40, 1e-100, 1e-300]


def exact(array):
    return np.vectorize(Fraction, otypes=[object])(np.asarray(array, dtype=np.float64))


def exact_solution(matrix, right):
    """The least-norm solution of matrix x = right by Gauss-Jordan elimination, without any rounding."""
    p = len(right)
    rows, pivots = np.column_stack([matrix, right]), []
    for column in range(p):
        k = len(pivots)
        found = [i for i in range(k, p) if rows[i, column] != 0]
        if found:
            rows[[k, found[0]]] = rows[[found[0], k]]
            rows[k] = rows[k] / rows[k, column]
            for i in range(p):
                if i != k:
                    rows[i] = rows[i] - rows[i, column] * rows[k]
            pivots.append(column)
    assert (rows[len(pivots) :, p] == 0).all()
    x = exact(np.zeros(p))
    x[pivots] = rows[: len(pivots), p]
    free = [column for column in range(p) if column not in pivots]
    if not free:
        return x
    kernel = exact(np.zeros((p, len(free))))
    kernel[free, range(len(free))] = Fraction(1)
    kernel[pivots] = -rows[: len(pivots)][:, free]
    return x - kernel @ exact_solution(kernel.T @ kernel, kernel.T @ x)


def pair_solution(d, pi, mu, q, phi):
    """The least-norm minimiser of E ((phi_y - phi_y') . x - (q_y - q_y'))^2 over all pairs, rounded at the end."""
    phi, q = exact(phi), exact(q)
    weights = exact(d)[:, None, None] * exact(pi)[:, :, None] * exact(mu)[:, None, :]
    rows = (phi[:, :, None] - phi[:, None, :]).reshape(-1, phi.shape[-1])
    target = (q[:, :, None] - q[:, None, :]).reshape(-1)
    weighted = weights.reshape(-1, 1) * rows
    return exact_solution(weighted.T @ rows, weighted.T @ target).astype(np.float64)


def mixed(rng, features):
    """The same features in other coordinates; small integers, so that ties stay ties."""
    p = features.shape[-1]
    lower, upper = np.tril(rng.integers(-1, 2, (p, p)), -1), np.triu(rng.integers(-1, 2, (p, p)), 1)
    return features @ (lower + np.eye(p)) @ (upper + np.eye(p))


def graded_case(seed, small, mixed_base, redundant):
    """Two contexts of likely actions that cannot see two of five directions; two that can, by actions of ``small``."""
    rng = np.random.default_rng(seed)
    phi = rng.integers(-4, 5, (4, 3, 5)).astype(float)
    phi[:2, :, 3:] = 0
    phi = mixed(rng, phi)
    if redundant:
        phi = np.concatenate([phi, phi[..., :2]], axis=-1)
    law = np.full((2, 4, 3), 1 / 3)
    law[:, 2:] = 1.0, small, small
    law[1, 2:] = 1.0, np.sqrt(small), small
    log_pi, log_mu = np.log(law / law.sum(axis=-1, keepdims=True))
    return dirichlet(rng, 4), log_pi, log_mu if mixed_base else log_pi, rng.random((4, 3)), phi


def pairs_of(d, log_pi, log_mu, q):
    return FactorisedPairs(d, log_pi, log_mu, q, np.ones(len(d), dtype=bool))


@pytest.mark.parametrize("small", SMALL)
@pytest.mark.parametrize("mixed_base", [False, True])
@pytest.mark.parametrize("redundant", [False, True])
def test_a_misfit_of_likely_actions_leaves_rare_ones_their_digits(small, mixed_base, redundant):
    """The likely actions have a misfit of order 1; least squares stable in norm would err by eps / small."""
    for seed in range(3):
        d, log_pi, log_mu, q, phi = graded_case(seed, small, mixed_base, redundant)
        expected = pair_solution(d, np.exp(log_pi), np.exp(log_mu), q, phi)
        policy = rt.LogLinearPolicy.zeros(phi).regress(pairs_of(d, log_pi, log_mu, q), np.asarray(1.0))
        np.testing.assert_allclose(policy.theta, expected, rtol=0, atol=2e-11 * np.abs(expected).max())


@pytest.mark.parametrize("spread", [10, 30, 100, 300, 690])
def test_probabilities_of_all_sizes_at_once(spread):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        s, a, p = rng.integers(1, 5), rng.integers(2, 5), rng.integers(1, 6)
        phi = mixed(rng, rng.integers(-4, 5, (s, a, p)).astype(float))
        log_pi, log_mu = log_softmax(rng.random((2, s, a)) * spread)
        d, q = dirichlet(rng, s), rng.random((s, a))
        expected = pair_solution(d, np.exp(log_pi), np.exp(log_mu), q, phi)
        policy = rt.LogLinearPolicy.zeros(phi).regress(pairs_of(d, log_pi, log_mu, q), np.asarray(1.0))
        np.testing.assert_allclose(policy.theta, expected, rtol=0, atol=1e-11 * np.abs(expected).max())


@pytest.mark.parametrize("small", SMALL)
def test_rebel_and_the_natural_gradient_take_the_same_steps_of_1e6(small):
    """Runs of the library, with features that tie."""
    rng = np.random.default_rng(5)
    phi = rng.integers(-3, 4, (3, 3, 4)).astype(float)
    phi[0, :, 3], phi[1:, :, 3] = 0, [0, 1, 1]  # the context of likely actions does not see this direction
    phi[..., 2] = phi[..., 0] - phi[..., 1]
    problem = rt.ContextualBandit(rng.random((3, 3)))
    etas = np.array([1e-3, 1.0, 1e6])
    theta = np.array([0.0, 0.0, 0.0, np.log(small)])
    policy = rt.LogLinearPolicy(phi, theta)
    pi = policy.probs
    expected = pair_solution(problem.context_dist, pi, pi, problem.reward, phi)
    for algorithm in (rt.Rebel, rt.NaturalPolicyGradient):
        new = rt.run(problem, algorithm(etas), n_iterations=1, policy=policy).final_policy
        step = etas[:, None] * expected
        np.testing.assert_allclose(new.theta[0], theta + step, rtol=0, atol=1e-12 * np.abs(step).max() + 1e-12)


def test_the_rank_does_not_depend_on_the_weights():
    """Tied columns stay tied whatever the rows weigh; a row that does not tie counts unless its weight is 0."""
    rng = np.random.default_rng(0)
    half = rng.standard_normal((9, 3))
    design = np.concatenate([half, half], axis=-1)
    solution = half.T @ rng.standard_normal(9)
    target = design @ np.tile(solution / 2, 2)
    for _ in range(20):
        weights = 10.0 ** rng.uniform(-150, 0, 9)
        found = min_norm(weights[:, None] * design, weights * target)
        np.testing.assert_allclose(found, np.tile(solution / 2, 2), rtol=1e-11)
    rows, right = np.array([[1.0, 1.0], [1.0, -1.0]]), np.array([2.0, 4.0])
    for weight in (1.0, 1e-20, 2.3e-162):  # the root of the least double
        scaled = np.array([1.0, weight])
        np.testing.assert_allclose(min_norm(scaled[:, None] * rows, scaled * right), [3.0, -1.0], rtol=1e-14)
    np.testing.assert_allclose(min_norm(np.array([[1.0, 1.0], [0.0, 0.0]]), np.array([2.0, 0.0])), [1.0, 1.0])


def test_rounding_of_a_heavy_row_is_no_data():
    """0.1 + 0.2 - 0.3 is not 0: beside rows of weight 1 it is forgotten, and a row of 1e-30 decides."""
    tie = 0.1 + 0.2 - 0.3
    design = np.array([[1.0, 0.0], [1.0, tie], [1e-30, 1e-30]])
    target = np.array([1.0, 2.0, 5e-30])
    np.testing.assert_allclose(min_norm(design, target, np.abs(design).max(axis=-1)), [1.5, 3.5], rtol=1e-14)
    lonely = np.array([[1.0, 0.0], [0.0, tie], [1e-30, 1e-30]])  # the second row's scale says what it was made from
    np.testing.assert_allclose(min_norm(lonely, target, np.array([1.0, 1.0, 1e-30])), [1.0, 4.0], rtol=1e-14)
    np.testing.assert_allclose(min_norm(lonely, target), [1.0, 2.0 / tie], rtol=1e-14)


def test_a_batch_is_its_members():
    rng = np.random.default_rng(1)
    design, target = rng.standard_normal((6, 12, 4)), rng.standard_normal((6, 12))
    weights = np.ones((6, 12))
    weights[::2, 4:] = 1e-25
    design[::2, :4, 2:] = 0
    design, target = weights[..., None] * design, weights * target
    found = min_norm(design, target, weights)
    for i in range(6):
        np.testing.assert_array_equal(found[i], min_norm(design[i], target[i], weights[i]))


def test_rows_of_like_weight_take_the_short_way(monkeypatch):
    """Singular values of 1e-10 alone are no reason: the compiled kernel is for rows of unlike weight."""
    from rebel_theory.kernels import least_squares as kernels

    def refuse(*_):
        raise AssertionError("not here")

    monkeypatch.setattr(kernels, "graded_solutions", refuse)
    rng = np.random.default_rng(2)
    design, target = rng.standard_normal((20, 3)), rng.standard_normal(20)
    min_norm(design * np.array([1.0, 1.0, 1e-10]), target)
    weights = np.append(np.ones(10), np.full(10, 1e-9))
    min_norm(weights[:, None] * design, weights * target)  # nothing is left to the light rows
    design[:10, 2] = 0
    with pytest.raises(AssertionError, match="not here"):
        min_norm(weights[:, None] * design, weights * target)
