"""Problems computed on a device are those of rebel_envs; modules as rewards; contexts that a policy takes from them."""

import inspect

import numpy as np
import pytest
import torch
from torch import nn

import rebel_envs as envs
import rebel_theory as rt
from rebel_theory.problems import InvalidProblemError, contextual
from rebel_theory.torch import GaussNewton, TorchPolicy, mlp, tabular
from rebel_theory.torch.device import (
    contextual_cycle,
    module_bandit,
    neural_bandit,
    on_device,
    random_feature_bandit,
)

PAIRS = {
    "neural": (envs.neural_bandit, neural_bandit, {"n_inputs": 3, "hidden": (8, 7), "scale": 2.5}),
    "features": (envs.random_feature_bandit, random_feature_bandit, {"n_inputs": 3, "length_scale": 0.7}),
    "cycle": (envs.contextual_cycle, contextual_cycle, {"n_inputs": 2, "strength": 0.45}),
}
NOISE = {"noise": rt.GaussianNoise(0.3)}


def close(one, other, tolerance):
    """Tables, distributions and contexts agree."""
    for a, b in ((one.table, other.table), (one.context_dist, other.context_dist), (one.contexts, other.contexts)):
        assert a.shape == b.shape
        np.testing.assert_allclose(a.double().numpy(), b.double().numpy(), rtol=0, atol=tolerance)


@pytest.mark.parametrize("kind", PAIRS)
def test_a_seed_is_the_same_problem_on_both_sides(kind, monkeypatch):
    make, on, options = PAIRS[kind]
    for seed in (0, 6):
        expected = on_device(make(700, 3, seed=seed, **options))
        close(on(700, 3, seed=seed, **options), expected, 1e-12)
        single = on(700, 3, seed=seed, dtype=torch.float32, **options)
        assert single.table.dtype == single.contexts.dtype == torch.float32
        close(single, expected, 1e-5)
        monkeypatch.setattr(contextual, "BLOCK", 999)
        close(on(700, 3, seed=seed, **options), expected, 1e-12)
        monkeypatch.undo()


@pytest.mark.parametrize("kind", PAIRS)
def test_both_sides_ask_for_the_same(kind):
    """Names, order and defaults; instances are the library's, a place and a precision the device's."""
    make, on, _ = PAIRS[kind]
    one, other = (dict(inspect.signature(f).parameters) for f in (make, on))
    assert one.pop("n_instances").default is None
    assert (other.pop("device").default, other.pop("dtype").default) == ("cpu", torch.float64)
    assert [(p.name, p.default, p.kind) for p in one.values()] == [(p.name, p.default, p.kind) for p in other.values()]


@pytest.mark.parametrize("kind", PAIRS)
def test_contexts_never_pass_through_the_host(kind, monkeypatch):
    """On the device without memory: 10^11 contexts would not fit anywhere else."""
    monkeypatch.setattr(contextual, "BLOCK", 10**14)
    _, on, options = PAIRS[kind]
    problem = on(10**11, 3, device="meta", **options)
    assert problem.table.device.type == problem.contexts.device.type == problem.context_dist.device.type == "meta"
    assert (problem.n_rows, problem.n_actions) == (10**11, 3)


def test_noise_is_kept():
    assert neural_bandit(4, 3, **NOISE).sigma == 0.3
    assert random_feature_bandit(4, 3, noise=rt.BernoulliNoise()).bernoulli

    class Own(rt.GaussianNoise):
        """Noise that a device cannot know."""

    for problem in (lambda n: neural_bandit(4, 3, noise=n), lambda n: on_device(envs.neural_bandit(4, 3, noise=n))):
        problem(rt.NoNoise())
        with pytest.raises(InvalidProblemError, match="Own is not there on a device: NoNoise"):
            problem(Own(0.1))


@pytest.mark.parametrize("make", [neural_bandit, random_feature_bandit, contextual_cycle])
def test_what_is_not_in_range_is_named(make):
    with pytest.raises(InvalidProblemError, match=f"{make.__name__}: 2 problems"):
        make(0, 3, n_inputs=0)


# ---------------------------------------------------------------------------------------- contexts of a policy


@pytest.mark.parametrize("kind", PAIRS)
def test_a_policy_takes_the_problems_contexts(kind):
    """In memory, on the device, and computed there: the run of a policy that was given them."""
    make, on, options = PAIRS[kind]
    problem, module = make(6, 3, **options), mlp(options["n_inputs"], 3, hidden=(6,), seed=2)
    how = {"algorithm": rt.Rebel(0.5), "n_iterations": 2}
    given = rt.run(problem, policy=TorchPolicy(module, problem.contexts, solver=GaussNewton()), **how)
    policy = TorchPolicy(module, solver=GaussNewton())
    assert given.gap[0, -1] < given.gap[0, 0]
    for found in (problem, on_device(problem), on(6, 3, **options)):
        np.testing.assert_allclose(rt.run(found, policy=policy, **how).gap, given.gap, rtol=0, atol=1e-9)
    others = np.random.default_rng(0).standard_normal((6, options["n_inputs"]))
    own = TorchPolicy(module, others, solver=GaussNewton())
    one, other = (rt.run(p, policy=own, **how).gap for p in (problem, on(6, 3, **options)))
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-9)
    assert not np.isclose(one[0, 0], given.gap[0, 0], atol=1e-6)


def test_a_module_of_one_hot_states_is_told_of_the_contexts():
    bandit = envs.neural_bandit(6, 3, n_inputs=4)
    how = {"algorithm": rt.Rebel(0.5), "n_iterations": 1}
    for problem in (bandit, on_device(bandit)):
        message = r"does not take contexts of shape \(6, 4\).*contexts=np.eye\(6\) gives one-hot states"
        with pytest.raises(InvalidProblemError, match=message):
            rt.run(problem, policy=TorchPolicy(tabular(6, 3)), **how)
        rt.run(problem, policy=TorchPolicy(tabular(6, 3), np.eye(6)), **how)


# ------------------------------------------------------------------------------------------- modules as rewards


def test_rewards_are_what_the_module_says():
    net = nn.Sequential(nn.Linear(3, 5), nn.Dropout(0.5), nn.Tanh(), nn.Linear(5, 4), nn.Sigmoid())
    x = torch.randn(100, 3, generator=torch.Generator().manual_seed(1))
    before = {name: p.clone() for name, p in net.state_dict().items()}
    bandit = module_bandit(net, x, noise=rt.BernoulliNoise(), block=7)
    assert net.training  # a copy was evaluated
    assert not bandit.reward.requires_grad
    assert all(torch.equal(before[name], p) for name, p in net.state_dict().items())
    with torch.no_grad():
        np.testing.assert_allclose(bandit.reward, net.eval()(x), rtol=1e-5)
    assert bandit.contexts.data_ptr() == x.data_ptr()  # what is on the device stays there
    assert bandit.bernoulli
    np.testing.assert_allclose(bandit.context_dist, np.full(100, 0.01), rtol=1e-6)
    twice = module_bandit(net, x.numpy(), context_dist=np.arange(100) / 4950)
    assert twice.reward.dtype == twice.context_dist.dtype == torch.float64
    np.testing.assert_allclose(twice.context_dist, np.arange(100) / 4950, rtol=1e-12)
    np.testing.assert_allclose(twice.reward, bandit.reward, rtol=1e-5)


def test_a_network_of_its_own_size_finds_the_modules_optimum():
    contexts = np.random.default_rng(3).standard_normal((12, 3))
    bandit = module_bandit(nn.Sequential(mlp(3, 4, hidden=(8,), seed=1), nn.Sigmoid()), contexts)
    policy = TorchPolicy(mlp(3, 4, hidden=(16,)), solver=GaussNewton())
    gap = rt.run(bandit, rt.Rebel(5.0), n_iterations=20, policy=policy).gap[0]
    assert gap[-1] < 0.2 * gap[0]


NET, X = nn.Linear(3, 4), np.ones((5, 3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: module_bandit(NET, np.ones(3)), r"contexts has shape \(3,\), expected \(S, k\)"),
        (lambda: module_bandit(NET, X, block=0), "block is 0"),
        (lambda: module_bandit(nn.Linear(3, 1), X), r"maps contexts \(5, 3\) to \(5, 1\), expected \(5, A\)"),
        (lambda: module_bandit(nn.Flatten(0), X), r"maps contexts \(5, 3\) to \(15,\)"),
        (lambda: module_bandit(nn.Linear(2, 4), X), "does not take contexts"),
        (lambda: module_bandit(NET, np.full((5, 3), np.nan)), "rewards that are not finite"),
        (
            lambda: module_bandit(nn.Threshold(9.0, 2.0), X, noise=rt.BernoulliNoise()),
            r"rewards lie in \[2, 2\], expected \[0, 1\] under BernoulliNoise",
        ),
        (lambda: module_bandit(NET, X, context_dist=[0.5, 0.5]), r"context_dist has shape \(2,\), expected \(5,\)"),
        (lambda: module_bandit(NET, X, context_dist=np.ones(5)), "context_dist sums to 5"),
        (lambda: module_bandit(NET, X, context_dist=[1.5, -0.5, 0, 0, 0]), "expected probabilities"),
    ],
)
def test_what_cannot_be_a_bandit_is_refused(make, message):
    with pytest.raises(InvalidProblemError, match=message):
        make()
