"""The pair loss on tensors against its enumeration; each solver against dense algebra or a closed form."""

import itertools

import numpy as np
import pytest
import reference as ref
import torch
from core import cases

import rebel_theory as rt
from rebel_theory.pairs import FactorisedPairs, PairGraph
from rebel_theory.torch import FirstOrder, GaussNewton, LevenbergMarquardt, Minimise, TorchPolicy, mlp
from rebel_theory.torch.forms import FactorisedForm, GraphForm, form_of, pair_loss
from rebel_theory.torch.solvers import conjugate_gradient
from rebel_theory.torch.stacked import Stacked

B, S, A = 2, 3, 4
DOUBLE = {"rtol": 0, "atol": 1e-12}


def tensor(array):
    """Return a tensor of its own."""
    return torch.tensor(np.array(array))


@pytest.fixture
def population():
    """Return d, pi, mu, q of two members, as arrays."""
    rng = np.random.default_rng(1)
    return (
        cases.dirichlet(rng, B, S), cases.dirichlet(rng, B, S, A), cases.dirichlet(rng, B, S, A),
        5 + rng.standard_normal((B, S, A)),
    )  # fmt: skip


@pytest.fixture
def sample():
    """Return symmetric weights (with a diagonal, which counts for nothing) and skew mean relative rewards."""
    rng = np.random.default_rng(2)
    weights = rng.integers(0, 4, (B, S, A, A)) / 50.0
    targets = rng.standard_normal((B, S, A, A))
    return weights + np.swapaxes(weights, -1, -2), targets - np.swapaxes(targets, -1, -2)


def quadratic(edges, z):
    """Return W z and <z, m> and c for a list of (x, y, y', w, r), by the definition of the loss."""
    image, cross, constant = np.zeros_like(z), 0.0, 0.0
    for x, y, other, w, r in edges:
        gap = z[x, y] - z[x, other]
        image[x, y] += w * gap
        image[x, other] -= w * gap
        cross += w * gap * r
        constant += w * r**2
    return image, cross, constant


def edges_of_population(d, pi, mu, q):
    """Return every pair with its probability and relative reward."""
    places = itertools.product(range(S), range(A), range(A))
    return [(x, y, o, d[x] * pi[x, y] * mu[x, o], q[x, y] - q[x, o]) for x, y, o in places]


def edges_of_sample(weights, targets):
    """Return every compared pair once."""
    places = itertools.product(range(S), itertools.combinations(range(A), 2))
    return [(x, y, o, weights[x, y, o], targets[x, y, o]) for x, (y, o) in places]


def check(form, edges):
    """Compare product, moment, constant and loss of every member with the sums over pairs."""
    rng = np.random.default_rng(3)
    z, eta = rng.standard_normal((B, S, A)), np.array([0.3, 1.7])
    image, loss = form.product(tensor(z)), pair_loss(form, tensor(z), tensor(eta))
    for b in range(B):
        by_hand, cross, constant = quadratic(edges(b), z[b])
        np.testing.assert_allclose(image[b], by_hand, **DOUBLE)
        np.testing.assert_allclose((tensor(z[b]) * form.moment[b]).sum(), cross, **DOUBLE)
        np.testing.assert_allclose(form.constant[b], constant, **DOUBLE)
        naive = sum(w * (z[b, x, y] - z[b, x, o] - eta[b] * r) ** 2 for x, y, o, w, r in edges(b))
        np.testing.assert_allclose(loss[b], naive, **DOUBLE)


def test_the_population_is_its_enumeration(population):
    d, pi, mu, q = population
    check(FactorisedForm.of(*map(tensor, population)), lambda b: edges_of_population(d[b], pi[b], mu[b], q[b]))
    visited = np.ones((B, S), dtype=bool)
    pairs = FactorisedPairs(d, np.log(pi), np.log(mu), q, visited)
    check(
        form_of(pairs, (B,), torch.zeros(1, dtype=torch.float64)),
        lambda b: edges_of_population(d[b], pi[b], mu[b], q[b]),
    )
    one = pair_loss(FactorisedForm.of(*map(tensor, population)), tensor(q), torch.ones(B, dtype=torch.float64))
    np.testing.assert_allclose(one, [ref.pair_loss(d[b], pi[b], mu[b], q[b], q[b]) for b in range(B)], **DOUBLE)


def test_rows_that_are_not_visited_weigh_nothing(population):
    d, pi, mu, q = population
    visited = np.ones((B, S), dtype=bool)
    visited[:, 1] = False
    form = form_of(FactorisedPairs(d, np.log(pi), np.log(mu), q, visited), (B,), torch.zeros(1, dtype=torch.float64))
    assert not form.product(tensor(q))[:, 1].any()
    assert form.product(tensor(q))[:, 0].any()


def test_a_sample_is_its_enumeration(sample):
    check(GraphForm.of(*map(tensor, sample)), lambda b: edges_of_sample(sample[0][b], sample[1][b]))
    pairs = PairGraph(*sample)
    check(
        form_of(pairs, (B,), torch.zeros(1, dtype=torch.float64)), lambda b: edges_of_sample(sample[0][b], sample[1][b])
    )


def test_one_population_serves_a_batch(population):
    d, pi, mu, q = (array[0] for array in population)
    pairs = FactorisedPairs(d, np.log(pi), np.log(mu), q, np.ones(S, dtype=bool))
    form = form_of(pairs, (B,), torch.zeros(1, dtype=torch.float64))
    check(form, lambda b: edges_of_population(d, pi, mu, q))


# ------------------------------------------------------------------------------------- conjugate gradients


def test_conjugate_gradients_give_the_shortest_solution_member_by_member():
    """Of singular systems, of a zero right-hand side, and without a look at the device."""
    rng = np.random.default_rng(4)
    roots = rng.standard_normal((3, 6, 4))
    f = tensor(roots @ np.swapaxes(roots, -1, -2))
    b = torch.einsum("bij,bj->bi", f, tensor(rng.standard_normal((3, 6))))
    b[2] = 0
    expected = (torch.linalg.pinv(f, rtol=1e-12, hermitian=True) @ b[..., None])[..., 0]
    for stop_early in (True, False):
        x = conjugate_gradient(lambda v: (f @ v[..., None])[..., 0], b, 40, 1e-13, stop_early=stop_early)
        np.testing.assert_allclose(x, expected, rtol=0, atol=1e-10)
    damped = conjugate_gradient(lambda v: (f @ v[..., None])[..., 0], b, 40, 1e-13, 0.5)
    solved = torch.linalg.solve(f + 0.5 * torch.eye(6, dtype=f.dtype), b)
    np.testing.assert_allclose(damped, solved, rtol=0, atol=1e-10)


def test_a_right_hand_side_outside_the_range_does_not_run_away():
    """Rounding of relative size 1e-9 in a direction that the matrix does not see: the rest is solved all the same."""
    f = torch.diag(torch.tensor([3.0, 2.0, 1.0, 0.0], dtype=torch.float64))
    b = torch.tensor([[3.0, 2.0, 1.0, 1e-9]], dtype=torch.float64)
    x = conjugate_gradient(lambda v: v @ f, b, 200, 1e-12)
    np.testing.assert_allclose(x[:, :3], np.ones((1, 3)), rtol=0, atol=1e-8)
    assert abs(float(x[0, 3])) < 1e-6


# ------------------------------------------------------------------------------------------------ solvers


@pytest.fixture
def regression(population):
    """Return a network, its contexts, parameters (B, p), a population and step sizes."""
    net = Stacked(mlp(2, A, hidden=(4,)))
    rng = np.random.default_rng(5)
    theta = net.first + 0.2 * tensor(rng.standard_normal((B, net.n_parameters)))
    form = FactorisedForm.of(*map(tensor, population))
    return net, tensor(rng.standard_normal((S, 2))), theta, form, tensor([0.3, 0.8])


def test_gauss_newton_is_the_dense_minimum_norm_solution(regression, population):
    net, x, theta, form, eta = regression
    moved = GaussNewton().solve(net, x, theta, form, eta)
    fixed = GaussNewton(max_iterations=30, stop_early=False).solve(net, x, theta, form, eta)
    np.testing.assert_allclose(fixed, moved, rtol=0, atol=1e-10)
    jacobian = net.jacobian(theta, x).detach().numpy()
    for b in range(B):
        d, pi, mu, q = (array[b] for array in population)
        direction = ref.rebel_direction(d, pi, mu, q, jacobian[b], rcond=1e-10)
        np.testing.assert_allclose((moved[b] - theta[b]).numpy(), float(eta[b]) * direction, rtol=0, atol=1e-9)


def test_damping_shortens_the_step(regression):
    net, x, theta, form, eta = regression
    lengths = [(GaussNewton(damping=c).solve(net, x, theta, form, eta) - theta).norm() for c in (0.0, 1e-3, 1e-1)]
    assert lengths == sorted(lengths, reverse=True)
    with pytest.raises(ValueError, match="damping >= 0"):
        GaussNewton(damping=-1.0)


def test_levenberg_marquardt_reaches_the_loss_of_the_dense_minimiser():
    """On a network with fewer parameters than cells, whose least loss is not 0."""
    rng = np.random.default_rng(6)
    problem = rt.ContextualBandit(rng.random((6, 3)))
    contexts = rng.standard_normal((6, 1))
    losses = {}
    for solver in (Minimise(), LevenbergMarquardt()):
        policy = TorchPolicy(mlp(1, 3, hidden=(1,), seed=1), contexts, solver=solver)
        trace = rt.run(problem, rt.Rebel(0.3), n_iterations=1, policy=policy)
        losses[type(solver)] = float(trace.regression_error[0, 0])
    assert losses[Minimise] > 1e-4
    np.testing.assert_allclose(losses[LevenbergMarquardt], losses[Minimise], rtol=1e-9)


@pytest.mark.parametrize(("hidden", "eta", "seed"), [(2, 0.3, 0), (2, 0.3, 1), (4, 0.3, 0)])
def test_the_dense_minimiser_gets_as_low_as_levenberg_marquardt(hidden, eta, seed):
    """Nearly singular Jacobians: Gauss-Newton with halved steps ended at 2.5 times this loss and more."""
    rng = np.random.default_rng(seed)
    problem, contexts = rt.ContextualBandit(rng.random((8, 4))), rng.standard_normal((8, 2))
    losses = []
    for solver in (Minimise(), LevenbergMarquardt()):
        policy = TorchPolicy(mlp(2, 4, hidden=(hidden,), seed=seed), contexts, solver=solver)
        losses.append(rt.run(problem, rt.Rebel(eta), n_iterations=1, policy=policy).regression_error[0, 0])
    assert losses[0] <= 1.01 * losses[1]


def test_one_step_of_plain_descent_is_a_policy_gradient_step():
    """E5: the gradient of the pair loss at theta_t is -2 eta J^T m, and J^T m twice E[g A] on policy."""
    rng = np.random.default_rng(7)
    problem = cases.make("bandit", rng, S, A).problem
    contexts = rng.standard_normal((S, 2))
    eta, lr = 0.4, 0.05
    first = FirstOrder(steps=1, lr=lr, optimiser=torch.optim.SGD)
    one = rt.run(problem, rt.Rebel(eta), n_iterations=1, policy=TorchPolicy(mlp(2, A), contexts, solver=first))
    other = rt.run(problem, rt.Rloo(4 * eta * lr), n_iterations=1, policy=TorchPolicy(mlp(2, A), contexts))
    np.testing.assert_allclose(one.final_policy.theta, other.final_policy.theta, rtol=0, atol=1e-14)


def test_many_small_steps_approach_the_regression(regression):
    net, x, theta, form, eta = regression

    def loss(moved):
        return pair_loss(form, net.logits(moved, x) - net.logits(theta, x), eta).detach()

    best = loss(LevenbergMarquardt().solve(net, x, theta, form, eta))
    near = loss(FirstOrder(steps=400, lr=0.02).solve(net, x, theta, form, eta))
    zero = pair_loss(form, torch.zeros(B, S, A, dtype=torch.float64), eta)
    assert (near - best < 1e-3 * zero).all()


def test_minibatches_are_unbiased(regression):
    """The mean over all parts of a size of one step is the step on all contexts: every part is drawn as often."""
    net, x, theta, form, eta = regression
    steps, seen = {}, set()
    for seed in range(40):
        part = tuple(sorted(torch.randperm(S, generator=torch.Generator().manual_seed(seed))[:2].tolist()))
        if part in seen:
            continue
        seen.add(part)
        how = FirstOrder(steps=1, lr=0.1, optimiser=torch.optim.SGD, contexts_per_step=2, seed=seed)
        steps[part] = how.solve(net, x, theta, form, eta) - theta
    assert len(steps) == 3
    whole = FirstOrder(steps=1, lr=0.1, optimiser=torch.optim.SGD).solve(net, x, theta, form, eta) - theta
    np.testing.assert_allclose(torch.stack(list(steps.values())).mean(0), whole, rtol=0, atol=1e-14)


def test_single_precision_agrees_to_its_own_digits(regression):
    net, x, theta, form, eta = regression
    half = FactorisedForm(*(getattr(form, name).float() for name in ("weights", "pi", "mu", "moment", "constant")))
    small = net.to(torch.device("cpu"), torch.float32)
    moved = GaussNewton().solve(small, x.float(), theta.float(), half, eta.float())
    expected = GaussNewton().solve(net, x, theta, form, eta)
    assert moved.dtype == torch.float32
    logits = small.logits(moved, x.float()).detach()
    np.testing.assert_allclose(logits, net.logits(expected, x).detach(), rtol=0, atol=1e-2)
