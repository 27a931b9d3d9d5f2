"""Linear MDPs in one pass an iteration: the general steps on small ones, bounds and memory on large ones."""

import tracemalloc
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
import reference as ref
from core.cases import dirichlet
from large.test_chains import COMPILED

import rebel_envs as envs
import rebel_theory as rt
from rebel_theory import streaming
from rebel_theory.kernels.features import exponentials, linear_pass

ALGORITHMS = [
    rt.Rebel(0.5),
    rt.Rebel(0.5, base="uniform"),
    rt.NaturalPolicyGradient(0.5),
    rt.MirrorDescent(0.5),
]


def signed(rng, s=23, a=5, d=3):
    """A linear MDP whose features and measures have both signs."""
    turn = np.linalg.qr(rng.standard_normal((d, d)))[0]
    return rt.LinearMDP(
        dirichlet(rng, s, a, d) @ turn, turn.T @ dirichlet(rng, d, s), rng.standard_normal(d), discount=0.9,
        initial_dist=dirichlet(rng, s),
    )  # fmt: skip


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda a: f"{a.name} {getattr(a, 'base', '')}")
@pytest.mark.parametrize("seed", range(3))
def test_the_path_is_that_of_the_general_steps(algorithm, seed):
    """The same iterates as regressions, Fisher systems and projections on 23 x 5 design rows."""
    mdp = signed(np.random.default_rng(seed))
    path = rt.stream(mdp, algorithm, n_iterations=4)
    trace = rt.run(mdp, algorithm, n_iterations=4, policy=rt.LogLinearPolicy.zeros(mdp.features), keep_policies=True)
    policies = rt.LogLinearPolicy(mdp.features, path.theta)
    np.testing.assert_allclose(policies.probs, trace.probs[0], atol=1e-9)
    np.testing.assert_allclose(path.gap, trace.gap[0], atol=1e-11)
    found = rt.evaluate(mdp, policies)
    np.testing.assert_allclose(path.objective, found.objective, atol=1e-12)
    np.testing.assert_allclose(mdp.features @ path.weights[2], found.q_values[2], atol=1e-11)


def test_a_first_policy_and_tabular_steps():
    """From theta, against tabular mirror descent written out."""
    rng = np.random.default_rng(0)
    mdp, theta = signed(rng), rng.standard_normal(3)
    path = rt.stream(mdp, rt.Rebel(2.0), n_iterations=2, theta=theta)
    logits = mdp.features @ theta
    for t in range(3):
        pi = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        np.testing.assert_allclose(rt.LogLinearPolicy(mdp.features, path.theta[t]).probs, pi, atol=1e-12)
        logits = logits + 2.0 * rt.evaluate(mdp, pi).q_values


def test_error_bound_against_exact_rationals():
    """Four states, the very floats that were given; theta = 0, where the policy is 1/2 to the last digit."""
    for seed in range(5):
        mdp = signed(np.random.default_rng(seed), s=4, a=2)
        f = np.vectorize(Fraction)
        p = f(mdp.features) @ f(mdp.measures)
        r = f(mdp.features) @ f(mdp.reward_weights)
        exact = ref.exact_values(p, r, mdp.discount, np.full((4, 2), 0.5))
        path = rt.stream(mdp, rt.Rebel(1.0), n_iterations=0)
        values = (mdp.features @ path.weights[0]).mean(1)
        error = max(abs(Fraction(float(v)) - e) for v, e in zip(values, exact, strict=True))
        assert error <= path.error_bound < 1e-10
        assert abs(path.objective[0] - float(f(mdp.initial_dist) @ exact)) <= path.error_bound


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_widths_blocks_and_threads(dtype):
    """Single precision is the problem with those floats; no digit depends on the threads, no block is lost."""
    rng = np.random.default_rng(0)
    s = 1000 if COMPILED else 300  # neither is a multiple of the block of 128
    phi, m = dirichlet(rng, s, 3, 5).astype(dtype), dirichlet(rng, 5, s).astype(dtype)
    mdp = rt.LinearMDP(phi, m, rng.random(5), discount=0.9)
    assert mdp.features.dtype == mdp.measures.dtype == dtype
    one, two = (rt.stream(mdp, rt.Rebel(1.0), n_iterations=3, n_threads=n) for n in (1, 2))
    for name in ("theta", "weights", "objective", "gap"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    for t in range(4):
        logits = phi.astype(np.float64) @ one.theta[t]
        pi = np.exp(logits - logits.max(-1, keepdims=True))
        pi /= pi.sum(-1, keepdims=True)
        mean = np.einsum("sa,sad->sd", pi, phi.astype(np.float64))
        w = np.linalg.solve(np.eye(5) - 0.9 * m.astype(np.float64) @ mean, mdp.reward_weights)
        np.testing.assert_allclose(one.weights[t], w, rtol=1e-12)
        np.testing.assert_allclose(one.objective[t], (mean @ w).mean(), rtol=1e-12)
    if dtype == np.float32:
        np.testing.assert_allclose(rt.evaluate(mdp, pi).objective, one.objective[-1], rtol=1e-9)  # the general path


def test_gap_and_its_error():
    for seed in range(5):
        mdp = signed(np.random.default_rng(seed), s=40)
        path = rt.stream(mdp, rt.Rebel(5.0), n_iterations=60)
        assert path.gap_error < 1e-7  # logits of thousands
        assert path.gap[-1] < 1e-2 < path.gap[0]
        assert (np.diff(path.gap) <= 2 * path.error_bound).all()
        best = rt.solve(mdp)
        assert abs(path.objective[0] + path.gap[0] - best.objective) <= path.gap_error + best.error_bound


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bounded", [True, False, "greedy"])
@pytest.mark.parametrize(("s", "a", "d"), [(1, 1, 1), (5, 3, 7), (37, 2, 8), (20, 9, 17), (150, 8, 16), (33, 16, 33)])
def test_a_pass_over_part_of_the_states(s, a, d, bounded, dtype):
    """Sums written out, for rows that are and are not whole vectors; what the buffers held does not matter."""
    rng = np.random.default_rng(0)
    phi, m = rng.standard_normal((s * a, d)).astype(dtype), rng.standard_normal((d, s)).astype(dtype)
    rho, theta, greedy = rng.random(s), 3 * rng.standard_normal(d), bounded == "greedy"
    kernel, start = np.full((d, d), np.nan), np.full(d, np.nan)
    low, high = s // 10, s - s // 20
    linear_pass(phi, m, rho, theta, greedy, bool(bounded), low, high, 16 if s < 100 else 128, kernel, start)
    rows = phi.astype(np.float64).reshape(s, a, d)
    logits = rows @ theta
    pi = np.eye(a)[logits.argmax(-1)] if greedy else np.exp(logits - logits.max(-1, keepdims=True))
    mean = np.einsum("sa,sad->sd", pi / pi.sum(-1, keepdims=True), rows)[low:high]
    np.testing.assert_allclose(kernel, m[:, low:high].astype(np.float64) @ mean, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(start, rho[low:high] @ mean, rtol=1e-11, atol=1e-12)


def test_the_first_of_equal_maxima_is_chosen():
    phi = np.array([[1.0, 0.0], [2.0, 1.0], [2.0, 5.0], [0.0, 0.0]])
    kernel, start = np.empty((2, 2)), np.empty(2)
    linear_pass(phi, np.ones((2, 1)), np.ones(1), np.array([1.0, 0.0]), True, True, 0, 1, 128, kernel, start)
    np.testing.assert_array_equal(start, [2.0, 1.0])


@pytest.mark.parametrize("scale", [1.0, 300.0, 1e6])
def test_error_bound_of_large_logits(scale):
    """Against 60 digits; beyond logits of 600 the maximum is subtracted. The bound grows with theta and stays true."""
    rng = np.random.default_rng(1)
    mdp = rt.LinearMDP(dirichlet(rng, 3, 3, 2), dirichlet(rng, 2, 3), rng.standard_normal(2), discount=0.9)
    theta = scale + rng.standard_normal(2)  # features add up to 1: logits of size scale that differ by about 1
    path = rt.stream(mdp, rt.Rebel(1.0), n_iterations=0, theta=theta)
    exact = np.vectorize(Decimal, otypes=[object])
    with localcontext(prec=60):
        phi, m, reward = exact(mdp.features), exact(mdp.measures), exact(mdp.reward_weights)
        logits = phi @ exact(theta)
        pi = np.vectorize(Decimal.exp, otypes=[object])(logits - logits.max(-1)[:, None])
        mean = (pi[..., None] * phi).sum(1) / pi.sum(1)[:, None]
        (k, c), (p, q) = exact(np.eye(2)) - Decimal(mdp.discount) * (m @ mean)
        w = np.array([q * reward[0] - c * reward[1], k * reward[1] - p * reward[0]]) / (k * q - c * p)
        error = max(abs(mean @ exact(path.weights[0]) - mean @ w))
        assert error <= path.error_bound < 1e-10 * max(1.0, scale)
        assert abs(exact(mdp.initial_dist) @ (mean @ w) - Decimal(path.objective[0])) <= path.error_bound


def test_exponentials():
    x = np.concatenate([-np.logspace(-18, np.log10(699), 2000), np.logspace(-18, np.log10(699), 2000)])
    x = np.concatenate([x, [0.0, -1e-300, -800.0, -1e300]])
    y = x.copy()
    exponentials(y, np.empty(x.size, np.int64))
    np.testing.assert_allclose(y[:-2], np.exp(x[:-2]), rtol=6e-16, atol=0)
    np.testing.assert_allclose(y[-2:], np.exp(-700.0))


def test_memory_maps_are_not_copied(tmp_path):
    s = 200_000 if COMPILED else 2_000
    rng = np.random.default_rng(0)
    phi = rng.random((s, 8, 4), dtype=np.float32)
    phi /= phi.sum(-1, keepdims=True)
    stored = np.memmap(tmp_path / "phi", np.float32, "w+", shape=phi.shape)
    stored[:] = phi
    stored.flush()
    opened = np.memmap(tmp_path / "phi", np.float32, "r", shape=phi.shape)
    m = rng.random((4, s))
    m /= m.sum(1, keepdims=True)
    small = rt.LinearMDP(dirichlet(rng, 3, 2, 4), dirichlet(rng, 4, 3), np.ones(4), discount=0.5)
    rt.stream(small, rt.Rebel(1.0), n_iterations=1)  # loads what there is to load
    tracemalloc.start()
    mdp = rt.LinearMDP(opened, m, rng.random(4), discount=0.95)
    path = rt.stream(mdp, rt.Rebel(1.0), n_iterations=2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.shares_memory(mdp.features, opened)
    assert not mdp.features.flags.writeable
    if COMPILED:
        assert peak < 3 * m.nbytes + 4_000_000 < phi.size * 8 / 1.5
    copied = rt.LinearMDP(phi, m, mdp.reward_weights, discount=0.95)
    assert not np.shares_memory(copied.features, phi)
    np.testing.assert_array_equal(rt.stream(copied, rt.Rebel(1.0), n_iterations=2).theta, path.theta)


@pytest.mark.parametrize("fault", ["nan", "sum", "negative"])
def test_faults_in_large_features_are_named(fault):
    rng = np.random.default_rng(0)
    s = 70_000 if COMPILED else 100
    phi = dirichlet(rng, s, 4, 4)
    m = rng.random((4, s))
    m /= m.sum(1, keepdims=True)
    phi[70, 1, 2] = {"nan": np.nan, "sum": 5.0, "negative": -0.1}[fault]
    if fault == "negative":
        phi[70, 1, 3] += 1 - phi[70, 1].sum()
    pattern = {"nan": r"features\[s=70, a=1, i=2\] is nan", "sum": r"transition\[s=70, a=1\]", "negative": None}[fault]
    if pattern is None:  # what counts is the product with the measures, which is fine here
        weights = np.array([0.5, 0.5, 0.0, 0.0])
        assert rt.LinearMDP(phi, m, weights, discount=0.5).n_states == s if (phi[70, 1] @ m >= 0).all() else True
        return
    with pytest.raises(rt.InvalidProblemError, match=pattern):
        rt.LinearMDP(phi, m, rng.random(4), discount=0.5)


def test_what_cannot_be_streamed_is_refused():
    mdp = envs.simplex_linear_mdp(6, 2, 3)
    for algorithm in (
        rt.MirrorDescent(1.0, mirror_map="euclidean"),
        rt.NaturalPolicyGradient(1.0, solver=rt.Damped(0.1)),
    ):
        with pytest.raises(rt.InvalidProblemError, match="another exact step"):
            rt.stream(mdp, algorithm, n_iterations=1)
    with pytest.raises(rt.InvalidProblemError, match="step_size has shape"):
        rt.stream(mdp, rt.Rebel([1.0, 2.0]), n_iterations=1)
    with pytest.raises(rt.InvalidProblemError, match="theta is"):
        rt.stream(mdp, rt.Rebel(1.0), n_iterations=1, theta=[1.0])
    with pytest.raises(rt.InvalidProblemError, match="n_iterations is -1"):
        rt.stream(mdp, rt.Rebel(1.0), n_iterations=-1)


@pytest.mark.skipif(not COMPILED, reason="a size for compiled kernels")
def test_memory_does_not_grow_with_actions_or_threads():
    mdp = envs.simplex_linear_mdp(50_000, 8, 6)
    rt.stream(mdp, rt.Rebel(1.0), n_iterations=0)
    tracemalloc.start()
    rt.stream(mdp, rt.Rebel(1.0), n_iterations=2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50_000 * 8 * 8  # less than one table S x A
    assert streaming._SEGMENTS == 64  # part of the digits
