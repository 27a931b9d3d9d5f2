"""A module as a policy is the library's own class, to rounding, under every algorithm and on every kind of problem."""

import copy
import pickle

import numpy as np
import pytest
import torch
from core import cases
from torch import nn

import rebel_theory as rt
from rebel_theory.algorithms.registry import find_algorithms
from rebel_theory.policies import ConjugateGradient
from rebel_theory.problems import InvalidProblemError
from rebel_theory.torch import FirstOrder, GaussNewton, TorchPolicy, log_linear, mlp, tabular, transformer
from rebel_theory.torch.stacked import Stacked

S, A, D = 3, 3, 2


class Tanh(nn.Module):
    """The network of TanhPolicy; contexts are one-hot rows."""

    def __init__(self, points, theta, n_hidden):
        super().__init__()
        k = points.shape[-1]
        self.register_buffer("points", torch.tensor(points))
        self.w = nn.Parameter(torch.tensor(theta[: n_hidden * k].reshape(n_hidden, k)))
        self.v = nn.Parameter(torch.tensor(theta[n_hidden * k :]))

    def forward(self, contexts):
        """Return v . tanh(W x)."""
        return torch.tanh(torch.tensordot(contexts, self.points, dims=1) @ self.w.T) @ self.v


def outcome(problem, algorithm, policy, **options):
    """Return the rows of probabilities after a run, or what it raised: a refusal must be the same too."""
    try:
        final = rt.run(problem, algorithm, policy=policy, **options).final_policy
    except (InvalidProblemError, NotImplementedError, TypeError) as error:
        return f"{type(error).__name__}: {error}".replace(type(policy).__name__, "this class")
    return final.probs.reshape(-1, problem.n_actions)


def pair_of(name, problem, rng):
    """Return the library's policy and the same as a module."""
    rows, a = problem.n_rows, problem.n_actions
    if name == "tabular":
        return rt.TabularPolicy.uniform(problem), TorchPolicy(tabular(rows, a))
    features = rng.standard_normal((rows, a, D))
    if name == "log-linear":
        shaped = features.reshape(*problem.policy_shape, D)
        return rt.LogLinearPolicy.zeros(shaped), TorchPolicy(log_linear(features))
    theta = rt.TanhPolicy.random(features, 4, rng).theta
    ours = rt.TanhPolicy(features.reshape(*problem.policy_shape, D), theta)
    return ours, TorchPolicy(Tanh(features, np.array(theta), 4))


@pytest.mark.parametrize("kind", cases.KINDS)
@pytest.mark.parametrize("key", find_algorithms())
def test_every_algorithm_walks_the_same_path(key, kind):
    """Two exact updates on a log-linear class, by NumPy's formulas and through a module."""
    rng = np.random.default_rng([7, len(key), len(kind)])
    problem = cases.make(kind, rng, S, A).problem
    ours, theirs = pair_of("log-linear", problem, rng)
    algorithm = find_algorithms()[key](step_size=0.4)
    one, other = (outcome(problem, algorithm, policy, n_iterations=2) for policy in (ours, theirs))
    if isinstance(one, str):
        assert isinstance(other, str)
        assert one == other
    else:
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-10)


BASIC = {
    "REBEL": rt.Rebel(0.7), "REBEL, uniform base": rt.Rebel(0.7, base="uniform"),
    "NPG": rt.NaturalPolicyGradient(0.7), "MD": rt.MirrorDescent(0.7), "RLOO": rt.Rloo(0.7),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "kind"),
    [*(("tabular", kind) for kind in cases.KINDS), ("tanh", "bandit"), ("tanh", "mdp"), ("tanh", "game")],
)
def test_tabular_and_nonlinear_classes_walk_the_same_path(name, kind):
    """Over one update: the systems of the nonlinear class are singular, and later updates amplify rounding."""
    rng = np.random.default_rng([8, len(kind)])
    problem = cases.make(kind, rng, S, A).problem
    ours, theirs = pair_of(name, problem, rng)
    for label, algorithm in BASIC.items():
        one, other = (outcome(problem, algorithm, policy, n_iterations=1) for policy in (ours, theirs))
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-10, err_msg=label)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_conjugate_gradients_stop_where_numpys_do(k):
    """After k of four iterations: one more or fewer would be another step."""
    rng = np.random.default_rng(0)
    problem = rt.ContextualBandit(rng.random((5, 4)))
    features = rng.standard_normal((5, 4, 4))
    policies = rt.LogLinearPolicy.zeros(features), TorchPolicy(log_linear(features))
    steps = [
        [outcome(problem, rt.NaturalPolicyGradient(1.0, ConjugateGradient(n)), p, n_iterations=1) for p in policies]
        for n in (k, k + 1)
    ]
    np.testing.assert_allclose(steps[0][1], steps[0][0], rtol=0, atol=1e-12)
    assert np.abs(steps[1][0] - steps[0][0]).max() > 1e-3


@pytest.mark.parametrize("algorithm", [rt.Rebel(0.5), rt.NaturalPolicyGradient(0.5), rt.Rloo(0.5)])
def test_sampled_runs_draw_the_same_pairs(algorithm):
    """Seeds and step sizes as axes: (2 seeds, 3 step sizes), the same streams, the same answers."""
    rng = np.random.default_rng(9)
    problem = cases.make("bandit", rng, S, A).problem
    ours, theirs = pair_of("log-linear", problem, rng)
    many = type(algorithm)(np.array([0.1, 0.5, 1.0]))
    how = {"n_iterations": 1, "oracle": rt.Sampled(60), "n_seeds": 2, "seed": 3}
    one, other = (rt.run(problem, many, policy=policy, **how) for policy in (ours, theirs))
    assert other.gap.shape == (2, 3, 2)
    np.testing.assert_allclose(other.gap, one.gap, rtol=0, atol=1e-10)
    np.testing.assert_allclose(other.regression_error, one.regression_error, rtol=0, atol=1e-10)
    np.testing.assert_array_equal(other.queries, one.queries)


@pytest.mark.parametrize("solver", [GaussNewton(), FirstOrder(steps=3, lr=0.1)])
def test_members_of_a_batch_do_not_see_each_other(solver):
    rng = np.random.default_rng(10)
    problem = cases.make("mdp", rng, S, A).problem
    contexts = rng.standard_normal((S, 2))
    policy = TorchPolicy(mlp(2, A, hidden=(3,)), contexts, solver=solver)
    etas = np.array([0.2, 0.9])
    together = rt.run(problem, rt.Rebel(etas), n_iterations=2, policy=policy)
    for i, eta in enumerate(etas):
        alone = rt.run(problem, rt.Rebel(eta), n_iterations=2, policy=policy)
        np.testing.assert_allclose(together.gap[:, i], alone.gap, rtol=0, atol=1e-12)


@pytest.mark.parametrize("make", [mlp, transformer])
def test_many_copies_in_one_call_are_the_same_one_at_a_time(make):
    """Logits, Jacobian, and its products on both sides, against the dense Jacobian of every copy."""
    rng = np.random.default_rng(11)
    sizes = {"hidden": (3,)} if make is mlp else {"width": 4}
    net = Stacked(make(2, A, **sizes))
    x = torch.tensor(rng.standard_normal((S, 2)))
    theta = net.first + 0.3 * torch.tensor(rng.standard_normal((4, net.n_parameters)))
    logits, dense = net.logits(theta, x), net.jacobian(theta, x)
    v, c = (torch.tensor(rng.standard_normal(shape)) for shape in (theta.shape, logits.shape))
    push, pull = net.linear(theta, x)
    torch.testing.assert_close(push(v), torch.einsum("bsap,bp->bsa", dense, v), rtol=0, atol=1e-13)
    torch.testing.assert_close(pull(c), torch.einsum("bsap,bsa->bp", dense, c), rtol=0, atol=1e-13)
    for b in range(4):
        module = copy.deepcopy(net.module)
        nn.utils.vector_to_parameters(theta[b], module.parameters())
        torch.testing.assert_close(logits[b], module(x), rtol=0, atol=1e-13)
        for row, answer in ((0, 0), (2, 1)):
            module.zero_grad()
            module(x)[row, answer].backward()
            by_hand = torch.cat([p.grad.reshape(-1) for p in module.parameters()])
            torch.testing.assert_close(dense[b, row, answer], by_hand, rtol=0, atol=1e-13)


def test_frozen_parameters_stay_where_they_are():
    module = mlp(2, A, hidden=(3,))
    module[0].weight.requires_grad_(False)
    policy = TorchPolicy(module, np.ones((S, 2)))
    assert policy.theta.shape == (3 + 3 * A + A,)
    moved = policy.with_theta(policy.theta + 1).module
    torch.testing.assert_close(moved[0].weight, module[0].weight)
    torch.testing.assert_close(moved[0].bias, module[0].bias + 1)


def test_the_module_of_a_policy_gives_its_probabilities():
    rng = np.random.default_rng(12)
    contexts = rng.standard_normal((S, 2))
    policy = TorchPolicy(mlp(2, A), contexts)
    policy = policy.with_theta(policy.theta + rng.standard_normal(policy.theta.shape))
    probs = policy.module(torch.tensor(contexts)).softmax(-1).detach().numpy()
    np.testing.assert_allclose(policy.probs, probs, rtol=0, atol=1e-14)
    with pytest.raises(ValueError, match="pick one member"):
        _ = policy.with_theta(np.stack([policy.theta] * 2)).module


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda policy: pickle.loads(pickle.dumps(policy))])
def test_a_policy_put_away_goes_on_to_the_last_bit(copied):
    rng = np.random.default_rng(13)
    problem = cases.make("bandit", rng, S, A).problem
    contexts = rng.standard_normal((S, 2))
    start = TorchPolicy(mlp(2, A), contexts, solver=GaussNewton())
    half = rt.run(problem, rt.Rebel(0.5), n_iterations=2, policy=start).final_policy
    whole = rt.run(problem, rt.Rebel(0.5), n_iterations=4, policy=start).final_policy
    resumed = rt.run(problem, rt.Rebel(0.5), n_iterations=2, policy=copied(half)).final_policy
    np.testing.assert_array_equal(resumed.theta, whole.theta)


def test_a_jacobian_that_does_not_fit_is_refused():
    policy = TorchPolicy(mlp(1, 100, hidden=(999,)), np.ones((500, 1)))
    with pytest.raises(MemoryError, match=r"GaussNewton\(\)"):
        policy.jacobian()


def test_input_that_cannot_be_a_policy_is_refused_by_name():
    problem = rt.ContextualBandit(np.zeros((S, A)))
    rebel = {"algorithm": rt.Rebel(1.0), "n_iterations": 1}
    with pytest.raises(InvalidProblemError, match=r"logits \(3, 5\), expected \(3, 3\): change its head"):
        rt.run(problem, policy=TorchPolicy(mlp(2, 5), np.ones((S, 2))), **rebel)
    with pytest.raises(InvalidProblemError, match=r"contexts has shape \(4, 2\), expected \(3, k\)"):
        rt.run(problem, policy=TorchPolicy(mlp(2, A), np.ones((4, 2))), **rebel)
    with pytest.raises(InvalidProblemError, match=r"theta has shape \(2,\), expected \(..., p\) with p = 9"):
        TorchPolicy(tabular(S, A), theta=[0.0, 0.0])
    with pytest.raises(InvalidProblemError, match=r"theta\[i=4\] is nan"):
        TorchPolicy(tabular(S, A), theta=np.where(np.arange(9) == 4, np.nan, 0.0))
    with pytest.raises(InvalidProblemError, match=r"contexts\[s=1, i=0\] is inf"):
        TorchPolicy(mlp(1, A), [[0.0], [np.inf], [0.0]])
    with pytest.raises(FloatingPointError, match="reduce the step size"):
        TorchPolicy(tabular(S, A)).with_theta(np.full(9, np.nan))
    with pytest.raises(InvalidProblemError, match="no parameters that require gradients"):
        TorchPolicy(nn.Softmax(-1))
