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


def offline(rng, problem):
    n = 40
    x, (y, y_base) = rng.integers(0, problem.n_rows, n), rng.integers(0, problem.n_actions, (2, n))
    return rt.Offline(rt.OfflineData(y, y_base, x=x, difference=rng.standard_normal(n)), on_policy_pairs=5)


def noisy(problem):
    """The bandit with noise: without it a regression hides what was sampled."""
    if not isinstance(problem, rt.ContextualBandit):
        return problem
    return rt.ContextualBandit(problem.reward, context_dist=problem.context_dist, noise=rt.GaussianNoise(0.3))


def same_bits(batch, place, single):
    """Every array of a batch's trace at ``place`` is that of the single run, to the last bit."""
    at = (slice(None), *place)
    for name in (*FIELDS, "gap"):
        np.testing.assert_array_equal(getattr(batch, name)[at], getattr(single, name), err_msg=name)
    assert batch.bound.keys() == single.bound.keys()
    for name, values in batch.bound.items():
        np.testing.assert_array_equal(values[at], single.bound[name], err_msg=name)
    np.testing.assert_array_equal(batch.final_policy.parameters[at], single.final_policy.parameters)
    np.testing.assert_array_equal(batch.final_policy.probs[at], single.final_policy.probs)


ORACLES = {"Sampled": lambda rng, p: rt.Sampled(30), "Counted": lambda rng, p: rt.Counted(30), "Offline": offline}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("name", ORACLES)
def test_sampled_instances_times_step_sizes(kind, algorithm, name):
    """Seeds (4), step sizes (2, 1), instances (3) and first policies (4, 2, 3): each is the run by itself."""
    rng = np.random.default_rng(9)
    problem, singles = batch_of(kind, rng)
    problem, singles = noisy(problem), [noisy(p) for p in singles]
    logits = rng.standard_normal((4, 2, 3, *problem.policy_shape))
    options = {"n_iterations": 2, "oracle": ORACLES[name](rng, problem), "n_seeds": 4, "keep_policies": True}
    etas = np.array([[0.2], [2.0]])
    batch = rt.run(problem, algorithm(etas), policy=rt.TabularPolicy(logits), **options)
    assert batch.gap.shape == (4, 2, 3, 3)
    assert batch.probs.shape == (4, 2, 3, 3, *problem.policy_shape)
    np.testing.assert_array_equal(batch.step_size, etas)
    worst = 0.0
    for i, k in np.ndindex(2, 3):
        first = rt.TabularPolicy(logits[:, i, k])
        single = rt.run(singles[k], algorithm(etas[i, 0]), policy=first, **options)
        same_bits(batch, (i, k), single)
        worst = max(worst, single.evaluation_error)
    assert batch.evaluation_error == worst
    assert set(batch.to_frame().columns) >= {"batch_0", "batch_1"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("log_linear", [False, True])
def test_sampled_step_sizes(kind, name, log_linear):
    rng = np.random.default_rng(10)
    problem, policy = noisy(make(kind, rng).problem), None
    if log_linear:
        policy = rt.LogLinearPolicy(rng.standard_normal((*problem.policy_shape, 2)), rng.standard_normal(2))
    options = {"n_iterations": 3, "oracle": ORACLES[name](rng, problem), "n_seeds": 3, "keep_policies": True}
    etas = [0.1, 1.0, 3.0]  # as many as seeds: they must not be paired
    batch = rt.run(problem, rt.Rebel(etas), policy=policy, **options)
    for k, eta in enumerate(etas):
        same_bits(batch, (k,), rt.run(problem, rt.Rebel(eta), policy=policy, **options))


def test_sampled_first_policies_by_place():
    """First policies broadcast over seeds, or over step sizes, and log-linear ones too."""
    rng = np.random.default_rng(11)
    problem, features = make("mdp", rng).problem, rng.standard_normal((4, 3, 2))
    options = {"n_iterations": 2, "oracle": rt.Sampled(30), "n_seeds": 3, "keep_policies": True}
    for lead in ((1, 2), (3, 1), (3, 2)):
        theta = rng.standard_normal((*lead, 2))
        batch = rt.run(problem, rt.Rebel([0.1, 1.0]), policy=rt.LogLinearPolicy(features, theta), **options)
        for k, eta in enumerate((0.1, 1.0)):
            own = np.broadcast_to(theta, (3, 2, 2))[:, k]
            single = rt.run(problem, rt.Rebel(eta), policy=rt.LogLinearPolicy(features, own), **options)
            same_bits(batch, (k,), single)
    many = rt.LogLinearPolicy(features, theta)
    with pytest.raises(rt.InvalidProblemError, match=r"leading axes \(3, 2\), expected none or \(n_seeds, batch"):
        rt.run(problem, rt.Rebel(1.0), policy=many, **options)
    with pytest.raises(rt.InvalidProblemError, match=r"do not broadcast: step_size \(3,\)"):
        rt.run(problem, rt.Rebel([0.1, 1.0, 2.0]), policy=many, **options)
    bandits = rt.ContextualBandit(rng.random((2, 4, 3)))
    with pytest.raises(rt.InvalidProblemError, match=r"do not broadcast: step_size \(3,\), problem \(2,\)"):
        rt.run(bandits, rt.Rebel([0.1, 1.0, 2.0]), **options)


@pytest.mark.parametrize("oracle", [rt.Exact(), rt.Sampled(20)])
def test_compare_step_sizes_with_one(oracle):
    """As many step sizes as seeds: a batch against a single step size must not pair them."""
    rng = np.random.default_rng(12)
    problem, first = make("mdp", rng).problem, rng.standard_normal((3, 4, 3))
    etas = [0.1, 1.0, 3.0]
    options = {"n_iterations": 2, "oracle": oracle, "n_seeds": 3}
    first = None if isinstance(oracle, rt.Sampled) else rt.TabularPolicy(first[0])
    found = rt.compare(problem, [rt.Rebel(etas), rt.MirrorDescent(1.0)], policy=first, **options)
    assert found["REBEL"].gap.shape == (3, 3, 3)
    assert found["MD"].gap.shape == (3, 3)
    distance = found.total_variation["REBEL", "MD"]
    for k, eta in enumerate(etas):
        one = rt.compare(problem, [rt.Rebel(eta), rt.MirrorDescent(1.0)], policy=first, **options)
        np.testing.assert_allclose(distance[:, k], one.total_variation["REBEL", "MD"], **TOL)


@pytest.mark.parametrize("kind", KINDS)
def test_instances_of_a_batch(kind):
    """An instance is the problem built by itself; its arrays are views, and nothing cached is carried over."""
    problem, singles = batch_of(kind, np.random.default_rng(13))
    for cached in ("reachable", "absorbing", "payoff"):
        getattr(problem, cached, None)
    for k, single in enumerate(singles):
        found = problem.instance(k)
        assert type(found) is type(single)
        assert found.batch_shape == ()
        assert problem.instance(k - 3).policy_shape == single.policy_shape
        for name, array in vars(problem).items():
            if name not in type(problem).__dataclass_fields__:
                assert name not in vars(found)
            elif isinstance(array, np.ndarray):
                np.testing.assert_array_equal(getattr(found, name), getattr(single, name), err_msg=name)
                assert np.shares_memory(getattr(found, name), array)
                assert not getattr(found, name).flags.writeable
            else:
                assert getattr(found, name) == getattr(single, name)
    assert [p.batch_shape for p in problem.instances()] == [(), (), ()]
    assert singles[0].instance() is singles[0]
    for place in ((3,), (-4,), (), (0, 0)):
        with pytest.raises(rt.InvalidProblemError, match=r"not in a batch of shape \(3,\)"):
            problem.instance(*place)


def test_instances_share_what_has_no_batch_axis():
    rng = np.random.default_rng(14)
    transition, rewards = dirichlet(rng, 4, 3, 4), rng.random((2, 1, 4, 3))
    batch = rt.TabularMDP(transition, rewards, discount=0.9, initial_dist=dirichlet(rng, 3, 4))
    assert batch.batch_shape == (2, 3)
    found = batch.instance(1, 2)
    np.testing.assert_array_equal(found.reward, rewards[1, 0])
    np.testing.assert_array_equal(found.initial_dist, batch.initial_dist[2])
    assert np.shares_memory(found.transition, batch.transition)


@pytest.mark.parametrize("oracle", [rt.Exact(), rt.Sampled(20)])
def test_networks_on_a_finite_horizon(oracle):
    """The final policy of several seeds keeps the steps and the seeds apart, also where their numbers agree."""
    rng = np.random.default_rng(15)
    problem = make("horizon", rng).problem  # three steps
    policy = rt.TanhPolicy(rng.standard_normal((*problem.policy_shape, 2)), rng.standard_normal((3, 6)))
    options = {"n_iterations": 1, "oracle": oracle, "keep_policies": True}
    trace = rt.run(problem, rt.NaturalPolicyGradient(0.1), policy=policy, n_seeds=3, **options)
    np.testing.assert_allclose(trace.final_policy.probs, trace.probs[:, -1], rtol=1e-13)
    assert trace.final_policy.jacobian().shape == (3, *problem.policy_shape, 6)
    w, v = trace.final_policy.theta[1, :4].reshape(2, 2), trace.final_policy.theta[1, 4:]
    logits = np.tanh(policy.points @ w.T) @ v
    np.testing.assert_allclose(trace.final_policy.logits()[1], logits, rtol=1e-13)
