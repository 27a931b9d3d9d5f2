"""A batch is an axis: step sizes, instances, seeds and first policies give what single runs give."""

import numpy as np
import pytest
from core.cases import KINDS, dirichlet, make, preference

import rebel_theory as rt

ALGORITHMS = (
    lambda eta: rt.Rebel(eta),
    lambda eta: rt.Rebel(eta, base="uniform"),
    lambda eta: rt.NaturalPolicyGradient(eta),
    lambda eta: rt.MirrorDescent(eta),
)
FIELDS = ("gap", "average_gap", "regression_error", "kl", "queries", "probs")
TOL = {"rtol": 1e-11, "atol": 1e-13}


def same(batch, place, single):
    """Every array of a batch's trace at ``place`` is that of the single run."""
    for name in FIELDS:
        np.testing.assert_allclose(getattr(batch, name)[(slice(None), *place)], getattr(single, name), **TOL)
    for name, values in batch.bound.items():
        np.testing.assert_allclose(values[(slice(None), *place)], single.bound[name], rtol=1e-7, atol=1e-12)
    final = batch.final_policy.probs[(slice(None), *place)]
    np.testing.assert_allclose(final, single.final_policy.probs, **TOL)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("log_linear", [False, True])
def test_step_sizes(kind, algorithm, log_linear):
    rng = np.random.default_rng(0)
    case, policy = make(kind, rng), None
    if log_linear:
        features = rng.standard_normal((*case.problem.policy_shape, 2))
        policy = rt.LogLinearPolicy(features, rng.standard_normal(2))
    etas = np.array([0.1, 1.0, 3.0])
    options = {"n_iterations": 4, "policy": policy, "keep_policies": True}
    batch = rt.run(case.problem, algorithm(etas), n_seeds=2, **options)
    assert batch.gap.shape == (2, 3, 5)
    assert batch.probs.shape == (2, 3, 5, *case.problem.policy_shape)
    for k, eta in enumerate(etas):
        same(batch, (k,), rt.run(case.problem, algorithm(eta), n_seeds=2, **options))


def batch_of(kind, rng, n=3):
    """(a batch of n problems, the list of them)."""
    cases = [make(kind, rng) for _ in range(n)]
    raw = [c.raw for c in cases]
    stack = {k: np.stack([r[k] for r in raw]) for k in raw[0] if k != "gamma"}
    if kind == "bandit":
        problem = rt.ContextualBandit(stack["reward"], context_dist=stack["rho"])
    elif kind == "game":
        problem = rt.PreferenceGame(stack["preference"], context_dist=stack["rho"])
    elif kind == "horizon":
        problem = rt.FiniteHorizonMDP(stack["transition"], stack["reward"], horizon=3, initial_dist=stack["rho"])
    elif kind == "linear":
        p = [c.problem for c in cases]
        problem = rt.LinearMDP(
            np.stack([q.features for q in p]), np.stack([q.measures for q in p]),
            np.stack([q.reward_weights for q in p]), discount=0.8, initial_dist=stack["rho"],
        )  # fmt: skip
    else:
        problem = rt.TabularMDP(stack["transition"], stack["reward"], discount=0.8, initial_dist=stack["rho"])
    return problem, [c.problem for c in cases]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_instances(kind, algorithm):
    problem, singles = batch_of(kind, np.random.default_rng(1))
    assert problem.batch_shape == (3,)
    batch = rt.run(problem, algorithm(0.8), n_iterations=4, keep_policies=True)
    assert batch.gap.shape == (1, 3, 5)
    for k, single in enumerate(singles):
        same(batch, (k,), rt.run(single, algorithm(0.8), n_iterations=4, keep_policies=True))


@pytest.mark.parametrize("kind", KINDS)
def test_instances_times_step_sizes(kind):
    """Step sizes (2, 1) against a batch of three problems: a (2, 3) grid of runs."""
    problem, singles = batch_of(kind, np.random.default_rng(2))
    etas = np.array([[0.2], [2.0]])
    batch = rt.run(problem, rt.Rebel(etas), n_iterations=3, keep_policies=True)
    assert batch.gap.shape == (1, 2, 3, 4)
    for i, k in np.ndindex(2, 3):
        same(batch, (i, k), rt.run(singles[k], rt.Rebel(etas[i, 0]), n_iterations=3, keep_policies=True))


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_and_solution_of_a_batch(kind):
    rng = np.random.default_rng(3)
    problem, singles = batch_of(kind, rng)
    pi = dirichlet(rng, *problem.policy_shape)
    found = rt.evaluate(problem, pi)
    for k, single in enumerate(singles):
        one = rt.evaluate(single, pi)
        for name in ("values", "q_values", "occupancy", "objective", "mass"):
            np.testing.assert_allclose(getattr(found, name)[k], getattr(one, name), **TOL)
    many = dirichlet(rng, 5, *problem.policy_shape)
    several = rt.evaluate(singles[0], many)
    for k in range(5):
        np.testing.assert_allclose(several.values[k], rt.evaluate(singles[0], many[k]).values, **TOL)
        np.testing.assert_allclose(several.occupancy[k], rt.evaluate(singles[0], many[k]).occupancy, **TOL)
    if kind != "game":
        best = rt.solve(problem)
        for k, single in enumerate(singles):
            one = rt.solve(single)
            np.testing.assert_allclose(best.values[k], one.values, **TOL)
            np.testing.assert_array_equal(best.policy[k], one.policy)
            np.testing.assert_allclose(best.objective[k], one.objective, **TOL)


@pytest.mark.parametrize("method", ["dense", "sparse", "iterative"])
def test_every_method_takes_a_batch_of_dense_instances(method):
    rng = np.random.default_rng(4)
    problem, singles = batch_of("mdp", rng)
    pi = dirichlet(rng, 3, 4, 3)
    found = rt.evaluate(problem, pi, method=method)
    for k, single in enumerate(singles):
        np.testing.assert_allclose(found.values[k], rt.evaluate(single, pi[k]).values, atol=1e-11)
        np.testing.assert_allclose(found.occupancy[k], rt.evaluate(single, pi[k]).occupancy, atol=1e-11)


@pytest.mark.parametrize("oracle", [rt.Exact(), rt.Sampled(30)])
def test_first_policies_by_seed(oracle):
    rng = np.random.default_rng(5)
    case = make("mdp", rng)
    logits = rng.standard_normal((3, 4, 3))
    options = {"n_iterations": 3, "oracle": oracle, "keep_policies": True}
    batch = rt.run(case.problem, rt.Rebel(0.5), policy=rt.TabularPolicy(logits), n_seeds=3, **options)
    for i in range(3):
        single = rt.run(case.problem, rt.Rebel(0.5), policy=rt.TabularPolicy(logits[i]), n_seeds=3, **options)
        np.testing.assert_allclose(batch.gap[i], single.gap[i], **TOL)
        np.testing.assert_allclose(batch.probs[i], single.probs[i], **TOL)


def test_first_policies_times_step_sizes_need_their_axes():
    """Seeds and step sizes of equal number must not be paired by accident."""
    rng = np.random.default_rng(6)
    bandit, logits = rt.ContextualBandit(rng.random((2, 3))), rng.standard_normal((2, 2, 3))
    with pytest.raises(rt.InvalidProblemError, match=r"leading axes \(2,\), expected none or \(n_seeds, batch"):
        rt.run(bandit, rt.Rebel([0.1, 1.0]), n_iterations=1, policy=rt.TabularPolicy(logits), n_seeds=2)
    batch = rt.run(bandit, rt.Rebel([0.1, 1.0]), n_iterations=2, policy=rt.TabularPolicy(logits[:, None]), n_seeds=2)
    for i, k in np.ndindex(2, 2):
        single = rt.run(bandit, rt.Rebel([0.1, 1.0][k]), n_iterations=2, policy=rt.TabularPolicy(logits[i]))
        np.testing.assert_allclose(batch.gap[i, k], single.gap[0], **TOL)
    with pytest.raises(rt.InvalidProblemError, match="do not broadcast"):
        rt.run(bandit, rt.Rebel(1.0), n_iterations=1, policy=rt.TabularPolicy(logits), n_seeds=3)


def test_exact_seeds_are_copies():
    case = make("bandit", np.random.default_rng(7))
    trace = rt.run(case.problem, rt.Rebel(1.0), n_iterations=2, n_seeds=4, keep_policies=True)
    assert trace.gap.shape == (4, 3)
    assert trace.probs.shape == (4, 3, 4, 3)
    assert trace.final_policy.probs.shape == (4, 4, 3)
    assert (trace.gap == trace.gap[:1]).all()


def test_contextual_batches_of_games_keep_their_contexts():
    rng = np.random.default_rng(8)
    game = rt.PreferenceGame(preference(rng, 6, 3).reshape(2, 3, 3, 3))
    assert game.batch_shape == (2,)
    assert game.policy_shape == (3, 3)
