"""Entropy NPG with its soft values, growing steps, and what a run records of steps that change."""

import numpy as np
import pytest
import reference as ref
from core.cases import KINDS, dirichlet, make, one_step, start
from scipy.sparse import csr_array

import rebel_envs as envs
import rebel_theory as rt
from rebel_theory.algorithms.registry import find_algorithms
from rebel_theory.solvers.soft import soft_solve, soft_values
from rebel_theory.theory import bounds

LN3 = np.log(3.0)


# --------------------------------------------------------------------------------------------- entropy NPG


def test_entropy_npg_by_hand():
    """Rewards (ln 9, 0), eta = tau = 1/2: pi prop. to pi^(3/4) exp(r/2), odds 3; then 3^(3/4) 3."""
    bandit = rt.ContextualBandit([[2 * LN3, 0.0]])
    trace = rt.run(bandit, rt.EntropyNPG(0.5, temperature=0.5), n_iterations=2, keep_policies=True)
    odds = trace.probs[0, :, 0, 0] / trace.probs[0, :, 0, 1]
    np.testing.assert_allclose(odds, [1, 3, 3**1.75])


def test_entropy_npg_of_a_bandit_in_closed_form():
    """From uniform, ln pi_t = (r/tau) (1 - (1 - eta tau)^t) + a constant."""
    r, eta, tau, t = np.random.default_rng(7).random((2, 4)), 0.6, 0.3, 9
    got = rt.run(rt.ContextualBandit(r), rt.EntropyNPG(eta, temperature=tau), n_iterations=t).final_policy.probs[0]
    np.testing.assert_allclose(got, ref.softmax(r / tau * (1 - (1 - eta * tau) ** t)), rtol=1e-12)


def naive_soft_values(p, r, gamma, tau, pi):
    """(V_tau, Q_tau) of a policy by iterating its Bellman equation."""
    v = np.zeros(len(r))
    for _ in range(2_000):
        q = np.array([[r[s, a] + gamma * p[s, a] @ v for a in range(r.shape[1])] for s in range(len(r))])
        v = np.array([sum(x * (y - tau * np.log(x)) for x, y in zip(*rows, strict=True)) for rows in zip(pi, q)])  # noqa: B905
    return v, q


def soft_value_iteration(p, r, gamma, tau):
    """(V*_tau, Q*_tau) by iterating V = tau ln sum exp(Q/tau), in extended precision."""
    p, r, v = p.astype(np.longdouble), r.astype(np.longdouble), np.zeros(len(r), np.longdouble)
    while True:
        q = r + gamma * np.einsum("sat,t->sa", p, v)
        top = q.max(axis=1)
        new = top + tau * np.log(np.exp((q - top[:, None]) / tau).sum(axis=1))
        if np.abs(new - v).max() <= 1e-16 * (1 - gamma) * np.abs(new).max():
            return new, q
        v = new


@pytest.mark.parametrize("seed", range(3))
def test_entropy_npg_against_its_definition(seed):
    rng = np.random.default_rng(seed)
    case = make("mdp", rng, gamma=0.9)
    policy, pi = start(rng, case)
    tau, npg = 0.3, 0.2  # the source's step, at most (1-gamma)/tau = 1/3
    v, q = naive_soft_values(case.raw["transition"], case.raw["reward"], 0.9, tau, pi)
    expected = pi ** (1 - npg * tau / 0.1) * np.exp(npg * q / 0.1)
    expected /= expected.sum(axis=1, keepdims=True)
    step = rt.functional_step_size(npg, 0.9)
    got = one_step(case.problem, rt.EntropyNPG(step, temperature=tau), policy)
    np.testing.assert_allclose(got, expected, atol=1e-10)
    found = soft_values(case.problem, policy.log_probs, tau)
    np.testing.assert_allclose(found[0], v, atol=1e-10)
    np.testing.assert_allclose(found[1], q, atol=1e-10)


def test_the_soft_optimum_is_a_fixed_point():
    case = make("mdp", np.random.default_rng(8), gamma=0.9)
    best = rt.TabularPolicy(soft_solve(case.problem, 0.2).log_policy)
    for eta in (0.1, 2.0, 5.0):
        got = one_step(case.problem, rt.EntropyNPG(eta, temperature=0.2), best)
        np.testing.assert_allclose(got, best.probs, atol=1e-13)
    elsewhere = one_step(case.problem, rt.EntropyNPG(0.1, temperature=0.4), best)
    assert ref.tv(elsewhere, best.probs) > 1e-3


def test_at_the_largest_step_it_is_soft_policy_iteration():
    rng = np.random.default_rng(9)
    case = make("mdp", rng, gamma=0.9)
    policy, _ = start(rng, case)
    q = soft_values(case.problem, policy.log_probs, 0.5)[1]
    for eta in (2.0, 100.0):  # beyond 1/tau the step is 1/tau
        got = one_step(case.problem, rt.EntropyNPG(eta, temperature=0.5), policy)
        np.testing.assert_allclose(got, ref.softmax(q / 0.5), atol=1e-13)


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_entropy_npg_contracts_at_its_rate(share):
    """C7: ||Q* - Q^{t+1}|| <= C_1 gamma (1 - eta_npg tau)^t."""
    rng, tau, gamma = np.random.default_rng(10), 0.3, 0.9
    for _ in range(5):
        case = make("mdp", rng, gamma=gamma)
        npg = share * (1 - gamma) / tau
        algorithm = rt.EntropyNPG(rt.functional_step_size(npg, gamma), temperature=tau)
        policy, _ = start(rng, case)
        best = soft_solve(case.problem, tau)
        trace = rt.run(case.problem, algorithm, n_iterations=40, policy=policy, keep_policies=True)
        logs = np.log(trace.probs[0])
        error = [np.abs(best.q_values - soft_values(case.problem, log, tau)[1]).max() for log in logs]
        start_distance = np.abs(best.log_policy - logs[0]).max()
        bound = bounds.entropy_npg_bound(error[0], start_distance, npg, tau, np.arange(40), gamma)
        assert (np.array(error[1:]) <= bound + 1e-11).all()
        assert error[-1] < error[0]


def test_where_entropy_npg_has_no_soft_values_it_is_refused():
    horizon = make("horizon", np.random.default_rng(0)).problem
    mdp = make("mdp", np.random.default_rng(0)).problem
    with pytest.raises(rt.InvalidProblemError, match="needs soft values"):
        rt.run(horizon, rt.EntropyNPG(1.0), n_iterations=1)
    with pytest.raises(rt.InvalidProblemError, match="evaluated exactly"):
        rt.run(mdp, rt.EntropyNPG(1.0), n_iterations=1, oracle=rt.Sampled(10))


# ---------------------------------------------------------------------------------------------- soft_solve


@pytest.mark.parametrize("tau", [1e-3, 0.1, 2.0])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.99])
def test_soft_solve_against_soft_value_iteration(tau, gamma):
    rng = np.random.default_rng(11)
    for _ in range(4):
        case = make("mdp", rng, s=5, a=3, gamma=gamma)
        v, q = soft_value_iteration(case.raw["transition"], case.raw["reward"], gamma, tau)
        got = soft_solve(case.problem, tau)
        error = max(float(np.abs(got.values - v).max()), float(np.abs(got.q_values - q).max()))
        assert error <= got.error_bound < 1e-9 * max(1.0, float(np.abs(v).max()))
        np.testing.assert_allclose(np.exp(got.log_policy), ref.softmax(np.asarray(q, float) / tau), atol=1e-8)


@pytest.mark.parametrize("tau", [1e-7, 1e-3, 1e-2])
def test_soft_solve_does_not_stop_while_residuals_rise(tau):
    """In river swim the reward is far from the start, and residuals grow before they vanish."""
    mdp = envs.river_swim(12, discount=0.99)
    got = soft_solve(mdp, tau)
    assert got.error_bound < 1e-9
    hard = rt.solve(mdp).values
    assert (got.values >= hard - 1e-9).all()
    assert (got.values <= hard + tau * np.log(2) / 0.01 + 1e-9).all()  # V* <= V*_tau <= V* + tau ln A/(1-gamma)


def test_soft_solve_of_a_batch_and_of_a_sparse_problem():
    rng = np.random.default_rng(12)
    p, r = dirichlet(rng, 3, 4, 2, 4), rng.random((3, 4, 2))
    batch = soft_solve(rt.TabularMDP(p, r, discount=0.9), 0.3)
    for i in range(3):
        alone = soft_solve(rt.TabularMDP(p[i], r[i], discount=0.9), 0.3)
        np.testing.assert_allclose(batch.values[i], alone.values, atol=1e-12)
        sparse = rt.TabularMDP(csr_array(p[i].reshape(-1, 4)), r[i], discount=0.9)
        np.testing.assert_allclose(soft_solve(sparse, 0.3).values, alone.values, atol=1e-12)


# --------------------------------------------------------------------------------------------- growing steps


def test_growing_steps_by_hand():
    """Rewards (ln 3, 0), eta = 1, 2, 4: the odds are 3, 3^3, 3^7."""
    bandit = rt.ContextualBandit([[LN3, 0.0]])
    trace = rt.run(bandit, rt.GrowingMirrorDescent(1.0, growth=2.0), n_iterations=3, keep_policies=True)
    np.testing.assert_allclose(trace.probs[0, :, 0, 0] / trace.probs[0, :, 0, 1], [1, 3, 27, 3**7])


@pytest.mark.parametrize("mirror_map", ["kl", "euclidean"])
def test_growing_steps_against_steps_of_mirror_descent(mirror_map):
    rng = np.random.default_rng(13)
    case = make("mdp", rng, gamma=0.9)
    policy, pi = start(rng, case)
    algorithm = rt.GrowingMirrorDescent(0.02, growth=1.5, mirror_map=mirror_map)
    got = rt.run(case.problem, algorithm, n_iterations=5, policy=policy).final_policy.probs[0]
    for k in range(5):
        q, eta = case.signal(pi)[1], 0.02 * 1.5**k
        pi = ref.hedge(pi, q, eta) if mirror_map == "kl" else np.array(
            [ref.project_simplex(x + eta * y) for x, y in zip(pi, q, strict=True)]
        )  # fmt: skip
    np.testing.assert_allclose(got, pi, atol=1e-12)


@pytest.mark.parametrize("mirror_map", ["kl", "euclidean"])
def test_growing_steps_converge_linearly(mirror_map):
    """C6 (Euclidean: D_0 is half the squared distance)."""
    rng, gamma, k = np.random.default_rng(14), 0.8, 60
    for _ in range(5):
        case = make("mdp", rng, gamma=gamma)
        best = rt.solve(case.problem)
        d = ref.occupancy(case.raw["transition"], gamma, best.policy, case.raw["rho"])
        v = float((d / case.raw["rho"]).max() / (1 - gamma))
        policy, pi = start(rng, case)
        if mirror_map == "kl":
            distance = [ref.kl(a, b) for a, b in zip(best.policy, pi, strict=True)]
        else:
            distance = ((best.policy - pi) ** 2).sum(axis=1) / 2
        growth = float(bounds.growth_factor(v))
        trace = rt.run(
            case.problem, rt.GrowingMirrorDescent(0.05, growth=growth, mirror_map=mirror_map), n_iterations=k,
            policy=policy,
        )  # fmt: skip
        bound = bounds.growing_steps_bound(trace.gap[0, 0], d @ distance, v, 0.05, np.arange(k + 1), gamma)
        assert (trace.gap[0] <= bound + 1e-13).all()


def test_the_steps_stop_growing_before_they_overflow():
    bandit = rt.ContextualBandit([[1.0, 0.5, 0.0]])
    algorithm = rt.GrowingMirrorDescent(1.0, growth=1e3)
    assert algorithm.eta_at(2_000) == 1e100
    assert rt.GrowingMirrorDescent(1e120).eta_at(5) == 1e120
    trace = rt.run(bandit, algorithm, n_iterations=200)
    assert trace.gap[0, -1] == 0
    assert np.isfinite(trace.regression_error).all()


# ---------------------------------------------------------------------------------------------- the record


def test_regression_errors_are_meant_with_the_step_that_was_taken():
    """An exact mirror step is a REBEL step of its own size: eps_t = 0; as a step of the first size it is not."""
    case = make("mdp", np.random.default_rng(15))
    trace = rt.run(case.problem, rt.GrowingMirrorDescent(0.3, growth=1.3), n_iterations=20)
    constant = rt.run(case.problem, rt.MirrorDescent(0.3), n_iterations=20)
    assert trace.regression_error.max() < 1e-20
    assert trace.bound["misfit"][0, 0] < 1e-10
    assert trace.bound["misfit"][0, -1] > 0.01  # the bound keeps the constant step: what grew is misfit
    np.testing.assert_allclose(trace.bound["progress"], constant.bound["progress"])
    two = rt.run(case.problem, rt.GrowingMirrorDescent([0.3, 0.6], growth=[1.3, 1.5]), n_iterations=20)
    np.testing.assert_allclose(two.bound["total"][:, 0], trace.bound["total"])
    np.testing.assert_allclose(two.gap[:, 0], trace.gap)
    assert two.regression_error.max() < 1e-20


@pytest.mark.parametrize("key", find_algorithms())
@pytest.mark.parametrize("kind", KINDS)
def test_the_recorded_bound_is_true_for_every_algorithm(key, kind):
    """The identity with a constant eta needs nothing of the update; also from starts near the corners."""
    for eta, spread, seed in ((0.1, 0.5, 0), (2.0, 4.0, 1)):
        rng = np.random.default_rng(seed)
        case = make(kind, rng)
        algorithm = find_algorithms()[key](step_size=eta)
        if algorithm.refuses(case.problem, rt.Exact()):
            pytest.skip(algorithm.refuses(case.problem, rt.Exact()))
        policy = rt.TabularPolicy(spread * rng.standard_normal(case.problem.policy_shape))
        trace = rt.run(case.problem, algorithm, n_iterations=12, policy=policy)
        assert (trace.average_gap[:, :-1] <= trace.bound["total"] + 1e-12).all()
