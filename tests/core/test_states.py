"""Where rows are drawn from: d_pi, or a restart distribution nu, the same for every oracle."""

import numpy as np
import pytest
from core.cases import KINDS, dirichlet, make, start

import rebel_theory as rt
from rebel_theory.oracles import seed_streams
from rebel_theory.policies import as_base

Z = 5  # standard errors: a false alarm below 6e-7 a number


def restart(rng, problem):
    return dirichlet(rng, problem.n_rows).reshape(problem.row_shape)


@pytest.mark.parametrize("kind", KINDS)
def test_exact_quantities_are_under_nu(kind):
    """Weights nu; a log-linear step is weighted least squares over all pairs (x ~ nu, y ~ pi, y' ~ mu)."""
    rng = np.random.default_rng(0)
    case = make(kind, rng, s=3)
    problem, nu = case.problem, restart(rng, case.problem)
    policy, pi = start(rng, case)
    rows, a = pi.shape
    bound = rt.Exact(nu).bind(problem, seed_streams(0, 1))
    _, q = case.signal(pi)
    in_rows = policy.in_rows(problem)
    np.testing.assert_allclose(bound.sampling_weights(in_rows), nu.ravel(), rtol=1e-15)
    np.testing.assert_allclose(bound.feedback(in_rows).weights, nu.ravel(), rtol=1e-15)
    np.testing.assert_allclose(bound.feedback(in_rows).signal, q, rtol=1e-9, atol=1e-12)
    mu, phi = dirichlet(rng, rows, a), rng.standard_normal((rows, a, 2))
    design, target, _ = bound.pairs(in_rows, as_base(mu.reshape(problem.policy_shape))).rows(phi)
    found = np.linalg.lstsq(design, target, rcond=None)[0]
    x, right = [], []
    for s, i, j in np.ndindex(rows, a, a):
        w = np.sqrt(nu.ravel()[s] * pi[s, i] * mu[s, j])
        x.append(w * (phi[s, i] - phi[s, j]))
        right.append(w * (q[s, i] - q[s, j]))
    np.testing.assert_allclose(found, np.linalg.lstsq(np.array(x), np.array(right), rcond=None)[0], rtol=1e-7)


@pytest.mark.parametrize("oracle", [rt.Sampled], ids=["sampled"])
@pytest.mark.parametrize("kind", KINDS)
def test_samples_follow_nu(kind, oracle):
    """Weights and weighted targets against the exact pairs under nu: at most 54 numbers at |z| < 5, below 4e-5."""
    rng = np.random.default_rng(1)
    case, k = make(kind, rng, s=3), 300
    problem, nu = case.problem, restart(rng, case.problem)
    policy = start(rng, case)[0].in_rows(problem)
    base = as_base(dirichlet(rng, *problem.policy_shape))
    bound = oracle(400, states=nu).bind(problem, seed_streams(2, k))
    exact, graph = bound.exact_pairs(policy, base), bound.pairs(policy, base)
    joint = exact.weights[:, None, None] * np.exp(exact.log_pi)[:, :, None] * np.exp(exact.log_mu)[:, None, :]
    i, j = np.triu_indices(problem.n_actions, 1)
    weights = (joint + joint.transpose(0, 2, 1))[:, i, j]
    difference = (exact.signal[:, :, None] - exact.signal[:, None, :])[:, i, j]
    for sample, mean in (
        (graph.weights[:, :, i, j], weights),
        ((graph.weights * graph.targets)[:, :, i, j], weights * difference),
    ):
        error = sample.std(axis=0, ddof=1) / np.sqrt(k) + 1e-12
        assert (np.abs(sample.mean(axis=0) - mean) < Z * error).all()
    cells = bound.feedback(policy).weights
    assert (np.abs(cells.mean(axis=0) - nu.ravel()) < Z * cells.std(axis=0, ddof=1) / np.sqrt(k)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_recorded_error_and_misfit_are_under_nu(kind):
    """The error of a misspecified step by all pairs under nu; C_t from nu x mu to d* x pi* (every policy in a game)."""
    rng = np.random.default_rng(2)
    case = make(kind, rng, s=3)
    problem, nu = case.problem, restart(rng, case.problem)
    features = rng.standard_normal((*problem.policy_shape, 2))
    policy = rt.LogLinearPolicy(features, rng.standard_normal(2))
    options = {"n_iterations": 1, "policy": policy, "keep_policies": True}
    trace = rt.run(problem, rt.Rebel(0.7, base="uniform"), oracle=rt.Exact(nu), **options)
    pi, new = (problem.to_rows(p) for p in trace.probs[0])
    _, q = case.signal(pi)
    delta, a = np.log(new / pi) / 0.7 - q, problem.n_actions
    pairs = (delta[:, :, None] - delta[:, None, :]) ** 2 * pi[:, :, None] / a
    error = nu.ravel() @ pairs.sum(axis=(1, 2))
    assert trace.regression_error[0, 0] == pytest.approx(error, rel=1e-9)
    if kind == "game":
        shift, mass = (case.raw["rho"] / nu).max() * a, 2.0
    else:
        best = rt.solve(problem)
        star = rt.evaluate(problem, best.policy)
        joint = star.occupancy.reshape(-1)[:, None] * problem.to_rows(best.policy)
        shift, mass = (joint / (nu.reshape(-1, 1) / a)).max(), star.mass
    assert trace.bound["misfit"][0, 0] == pytest.approx(mass * np.sqrt(shift * error), rel=1e-9)
    assert trace.average_gap[0, 1] <= trace.bound["total"][0, 0] * (1 + 1e-12)


@pytest.mark.parametrize("oracle", [rt.Exact, lambda states: rt.Sampled(50, states=states)], ids=["exact", "sampled"])
def test_rows_outside_nu_stay_where_they_were_and_the_bound_says_so(oracle):
    bandit = rt.ContextualBandit([[1.0, 0.0], [0.0, 1.0]])
    trace = rt.run(bandit, rt.Rebel(1.0), n_iterations=2, oracle=oracle(states=[1.0, 0.0]))
    np.testing.assert_array_equal(trace.final_policy.probs[0, 1], [0.5, 0.5])
    assert trace.final_policy.probs[0, 0, 0] > 0.8
    assert np.isinf(trace.bound["misfit"]).all()


def test_nu_reaches_states_that_the_policy_never_meets():
    """A one-way chain started at its end: its first state has d_pi = 0 and learns under nu only."""
    p = np.zeros((2, 2, 2))
    p[:, :, 1] = 1
    mdp = rt.TabularMDP(p, [[1.0, 0.0], [0.0, 0.0]], discount=0.5, initial_dist=[0.0, 1.0])
    still = rt.run(mdp, rt.Rebel(1.0), n_iterations=1)
    moved = rt.run(mdp, rt.Rebel(1.0), n_iterations=1, oracle=rt.Exact([0.5, 0.5]))
    np.testing.assert_array_equal(still.final_policy.probs[0, 0], [0.5, 0.5])
    assert moved.final_policy.probs[0, 0, 0] == pytest.approx(np.e / (1 + np.e), rel=1e-12)


@pytest.mark.parametrize("make_oracle", [rt.Exact, lambda s: rt.Sampled(5, states=s)], ids=["exact", "sampled"])
@pytest.mark.parametrize(
    ("states", "message"),
    [
        ("uniform", "states is 'uniform': use \"occupancy\""),
        ([0.5, 0.6], "states sums to 1.1, expected 1"),
        ([1.5, -0.5], r"states\[s=1\] is -0.5, expected a probability"),
        ([[0.5, 0.2], [0.2, -0.1]], r"states\[h=1, s=1\] is -0.1"),
        ([np.nan, 1.0], r"states\[s=0\] is nan"),
        (1.0, r"states has shape \(\), expected \(S,\)"),
        (["a", "b"], "states is not a rectangular array of numbers"),
    ],
)
def test_bad_states_are_refused(make_oracle, states, message):
    with pytest.raises(rt.InvalidProblemError, match=message):
        make_oracle(states)


def test_states_must_fit_the_problem():
    bandit = rt.ContextualBandit(np.eye(3))
    for oracle in (rt.Exact([0.5, 0.5]), rt.Sampled(5, states=[0.5, 0.5])):
        with pytest.raises(rt.InvalidProblemError, match=r"states has shape \(2,\), expected \(3,\): one probability"):
            rt.run(bandit, rt.Rebel(1.0), n_iterations=1, oracle=oracle)
    horizon = rt.FiniteHorizonMDP(np.full((2, 2, 2), 0.5), np.eye(2), horizon=3)
    with pytest.raises(rt.InvalidProblemError, match=r"expected \(3, 2\): one probability per step and state"):
        rt.run(horizon, rt.Rebel(1.0), n_iterations=1, oracle=rt.Exact([0.5, 0.5]))
