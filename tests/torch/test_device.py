"""Problems on a device against NumPy's runs; what they draw against the exact law; what they refuse."""

import numpy as np
import pytest
import reference as ref
import torch
from core import cases
from scipy import stats

import rebel_theory as rt
from rebel_theory.problems import InvalidProblemError
from rebel_theory.torch import FirstOrder, GaussNewton, TorchPolicy, mlp
from rebel_theory.torch.device import on_device
from rebel_theory.torch.device.sampling import pick, states

CHANCE = 1e-6  # of a false alarm, in every test that draws
S, A = 3, 3
KINDS = ("bandit", "mdp", "linear", "game")
ALGORITHMS = (
    rt.Rebel, lambda eta: rt.Rebel(eta, base="uniform"), rt.NaturalPolicyGradient, rt.MirrorDescent, rt.Rloo,
)  # fmt: skip


def instance(kind, **options):
    """Return a problem and a network's policy on it."""
    rng = np.random.default_rng([1, len(kind)])
    problem = cases.make(kind, rng, S, A).problem
    options.setdefault("solver", GaussNewton())
    return problem, TorchPolicy(mlp(2, A, hidden=(6,), seed=2), rng.standard_normal((S, 2)), **options)


@pytest.mark.parametrize("kind", KINDS)
def test_an_exact_run_is_numpys(kind):
    """Gap and regression error of every iterate, two step sizes in a batch; again without a look at the device."""
    problem, policy = instance(kind)
    _, fixed = instance(kind, solver=GaussNewton(max_iterations=14, stop_early=False))
    for make in ALGORITHMS:
        algorithm = make(np.array([0.3, 0.8]))
        expected = rt.run(problem, algorithm, n_iterations=2, policy=policy)
        for start in (policy, fixed):
            found = rt.run(on_device(problem), algorithm, n_iterations=2, policy=start)
            assert found.gap.shape == (1, 2, 3)
            np.testing.assert_allclose(found.gap, expected.gap, rtol=0, atol=1e-9)
            np.testing.assert_allclose(found.average_gap, expected.average_gap, rtol=0, atol=1e-9)
            np.testing.assert_allclose(found.regression_error, expected.regression_error, rtol=0, atol=1e-9)
            np.testing.assert_allclose(
                found.final_policy.probs, expected.final_policy.probs, rtol=0, atol=1e-9, err_msg=algorithm.name
            )
            assert not found.queries.any()


def test_damped_and_truncated_fisher_solves_are_numpys():
    problem, policy = instance("mdp")
    for solver in (rt.policies.Damped(0.01), rt.policies.ConjugateGradient(max_iterations=3)):
        algorithm = rt.NaturalPolicyGradient(0.5, solver=solver)
        one, other = (rt.run(p, algorithm, n_iterations=2, policy=policy) for p in (problem, on_device(problem)))
        np.testing.assert_allclose(other.gap, one.gap, rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_single_precision_agrees_to_its_own_digits(kind):
    problem, policy = instance(kind)
    for make in ALGORITHMS:
        one, other = (
            rt.run(on_device(problem, dtype=dtype), make(0.5), n_iterations=3, policy=policy)
            for dtype in (torch.float64, torch.float32)
        )
        assert other.gap.dtype == np.float64
        np.testing.assert_allclose(other.gap, one.gap, rtol=0, atol=1e-4)


# ------------------------------------------------------------------------------------------------- draws


def test_draws_follow_their_law():
    """Chi-square of two draws, at CHANCE each; what has probability 0 never comes."""
    probs = torch.tensor([0.1, 0.0, 0.6, 0.3], dtype=torch.float64)
    stream = torch.Generator().manual_seed(3)
    for found in (pick(probs.expand(4000, 4), stream), states(probs[None], 4000, stream)[0]):
        counts = np.bincount(found.numpy(), minlength=4)
        assert counts[1] == 0
        assert stats.chisquare(counts[[0, 2, 3]], 4000 * np.array([0.1, 0.6, 0.3])).pvalue > CHANCE


def test_single_precision_reaches_every_row():
    """Every other of 2^20 rows is half as wide as a step between single precision's draws: binomial, at CHANCE."""
    s, n, p = 2**20, 100_000, 1 / 64
    weights = torch.tensor([p, 1 - p]).repeat(s // 2) * 2 / s
    found = states(weights[None], n, torch.Generator().manual_seed(3))
    assert abs(float((found % 2 == 0).sum()) - n * p) < stats.norm.isf(CHANCE / 2) * np.sqrt(n * p * (1 - p))


NOISES = {"none": {}, "normal": {"noise": rt.GaussianNoise(0.3)}, "Bernoulli": {"noise": rt.BernoulliNoise()}}


def differences(problem, probs, n):
    """Return (S A A,) means of n observed relative rewards of every row and pair, their standard errors, squares."""
    device = on_device(problem)
    rows, first, second = (
        torch.tensor(g.ravel()) for g in np.meshgrid(np.arange(S), np.arange(A), np.arange(A), indexing="ij")
    )
    take = rows.repeat_interleave(n)[None], first.repeat_interleave(n)[None], second.repeat_interleave(n)[None]
    seen = device.observe(*take, torch.tensor(probs)[None], torch.Generator().manual_seed(4)).view(-1, n).numpy()
    return seen.mean(-1), seen.std(-1, ddof=1) / np.sqrt(n), (seen**2).mean(-1)


def within(mean, error, exact):
    """All of the means lie in their intervals, jointly at CHANCE; a mean without spread must be exact."""
    t = stats.norm.isf(CHANCE / 2 / mean.size)
    assert (np.abs(mean - exact) <= t * error + 1e-12).all()


@pytest.mark.parametrize("noise", NOISES)
def test_observed_rewards_of_a_bandit_are_unbiased(noise):
    case = cases.make("bandit", np.random.default_rng(5), S, A)
    problem = rt.ContextualBandit(case.raw["reward"], context_dist=case.raw["rho"], **NOISES[noise])
    r = case.raw["reward"]
    exact = (r[:, :, None] - r[:, None, :]).ravel()
    mean, error, squares = differences(problem, np.full((S, A), 1 / A), 4000)
    within(mean, error, exact)
    variances = {"none": 0 * r, "normal": 0.09 + 0 * r, "Bernoulli": r * (1 - r)}[noise]
    law = (variances[:, :, None] + variances[:, None, :]).ravel() + exact**2
    np.testing.assert_allclose(squares, law, atol=0.1)  # independent noise; five deviations away from a shared one


def test_outcomes_of_a_game_share_their_opponent_and_are_unbiased():
    """2 (o - o') for y and y' against one y'': its mean is the payoffs' difference, its square that of the law."""
    rng = np.random.default_rng(6)
    case = cases.make("game", rng, S, A)
    p, probs = case.raw["preference"], cases.dirichlet(rng, S, A)
    wins = np.einsum("sab,sb->sa", p, probs)
    exact = 2 * (wins[:, :, None] - wins[:, None, :])
    mean, error, squares = differences(case.problem, probs, 4000)
    within(mean, error, exact.ravel())
    both = np.einsum("sab,scb,sb->sac", p, p, probs)  # P(both win) under a shared rival: independent given y''
    law = 4 * (wins[:, :, None] + wins[:, None, :] - 2 * both).ravel()
    spread = np.sqrt(np.maximum(law * (4 - law), 1e-12) / 4000)  # the square is 0 or 4
    assert (np.abs(squares - law) <= stats.norm.isf(CHANCE / 2 / law.size) * spread).all()


def test_roll_outs_of_an_mdp_are_unbiased():
    """Where action a leads to state a, mostly, and states differ in reward: the discount decides the differences."""
    rng = np.random.default_rng(7)
    p = np.broadcast_to(0.8 * np.eye(S) + 0.2 / S, (S, A, S))
    r, rho, gamma = np.tile(np.arange(S)[:, None] / 2, (1, A)), np.full(S, 1 / S), 0.5
    problem, probs = rt.TabularMDP(p, r, discount=gamma, initial_dist=rho), cases.dirichlet(rng, S, A)
    q = ref.q_from(p, r, gamma, ref.values_by_solve(p, r, gamma, probs))
    assert np.ptp(q, axis=1).min() > 0.3
    mean, error, _ = differences(problem, probs, 1000)
    within(mean, error, (q[:, :, None] - q[:, None, :]).ravel())


@pytest.mark.parametrize("kind", KINDS)
def test_a_sampled_update_is_unbiased_and_counted(kind):
    """A plain descent step is linear in the pairs: its mean over seeds is the exact one; two queries a pair."""
    problem, policy = instance(kind, solver=FirstOrder(steps=1, lr=0.1, optimiser=torch.optim.SGD))
    n = 200
    device = on_device(problem)
    how = {"n_iterations": 1, "policy": policy}
    found = rt.run(device, rt.Rebel(1.0), oracle=rt.Sampled(30), n_seeds=n, **how)
    exact = rt.run(device, rt.Rebel(1.0), **how).final_policy.theta[0]
    np.testing.assert_array_equal(found.queries, np.tile([0.0, 60.0], (n, 1)))
    moves = found.final_policy.theta
    within(moves.mean(0), moves.std(0, ddof=1) / np.sqrt(n), exact)


def test_seeds_differ_and_repeat():
    problem, policy = instance("game")
    how = {"n_iterations": 2, "policy": policy, "oracle": rt.Sampled(50), "n_seeds": 4}
    one, same, other = (rt.run(on_device(problem), rt.Rebel(0.5), seed=seed, **how).gap for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert len(np.unique(np.round(np.concatenate([one[:, -1], other[:, -1]]), 12))) == 8


def test_npg_from_pairs_is_a_gauss_newton_step_of_rebel():
    """On the same draws; with damping, NPG's is half of the Gauss-Newton system's."""
    problem, policy = instance("mdp")
    _, damped = instance("mdp", solver=GaussNewton(damping=0.02))
    how = {"n_iterations": 1, "oracle": rt.Sampled(50), "n_seeds": 3}
    for start, solver in ((policy, rt.policies.PseudoInverse()), (damped, rt.policies.Damped(0.01))):
        npg = rt.NaturalPolicyGradient(0.5, fisher="pairs", solver=solver)
        one, other = (rt.run(on_device(problem), a, policy=start, **how).gap for a in (rt.Rebel(0.5), npg))
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-11)


# ----------------------------------------------------------------------------------------------- refusals


def test_problems_without_tensors_are_refused():
    rng = np.random.default_rng(8)
    with pytest.raises(InvalidProblemError, match="put them on the device one by one"):
        on_device(rt.ContextualBandit(rng.random((2, S, A))))
    with pytest.raises(InvalidProblemError, match="has no tensors"):
        on_device(cases.make("horizon", rng, S, A).problem)
    import scipy.sparse

    sparse = scipy.sparse.csr_array(np.tile(np.eye(S), (A, 1)).reshape(S * A, S))
    with pytest.raises(InvalidProblemError, match="transitions are sparse"):
        on_device(rt.TabularMDP(sparse, rng.random((S, A)), discount=0.5))


@pytest.mark.parametrize(
    ("algorithm", "options", "match"),
    [
        (rt.Ppo(0.1), {}, "Ppo is not there on a device: Rebel"),
        (rt.Rebel(0.1), {"oracle": rt.Counted(50)}, r"Counted is not there on a device: Exact\(\)"),
        (rt.MirrorDescent(0.1), {"oracle": rt.Sampled(50)}, "MirrorDescent is exact on a device"),
        (rt.NaturalPolicyGradient(0.1), {"oracle": rt.Sampled(50)}, "NaturalPolicyGradient is exact on a device"),
        (rt.MirrorDescent(0.1, mirror_map="euclidean"), {}, "mirror_map is 'euclidean'"),
        (rt.Rebel(0.1), {"n_seeds": 0}, "n_seeds is 0, expected an integer >= 1"),
        (rt.Rebel(0.1), {"policy": None}, "needs a TorchPolicy"),
        (rt.Rebel(0.1, base=rt.Mixture([("on-policy", 0.5), ("uniform", 0.5)])), {}, "on-policy, uniform or an array"),
    ],
)
def test_runs_that_cannot_be_are_refused_before_any_work(algorithm, options, match):
    problem, policy = instance("bandit")
    with pytest.raises(InvalidProblemError, match=match):
        rt.run(on_device(problem), algorithm, **{"n_iterations": 1, "policy": policy, **options})


def test_policies_that_do_not_fit_are_refused():
    problem = on_device(instance("bandit")[0])
    how = {"algorithm": rt.Rebel(np.array([0.1, 0.2])), "n_iterations": 1}
    with pytest.raises(InvalidProblemError, match=r"contexts has shape \(5, 2\), expected \(3, k\)"):
        rt.run(problem, policy=TorchPolicy(mlp(2, A), np.ones((5, 2))), **how)
    with pytest.raises(InvalidProblemError, match=r"logits \(3, 4\), expected \(3, 3\)"):
        rt.run(problem, policy=TorchPolicy(mlp(2, 4), np.ones((S, 2))), **how)
    policy = TorchPolicy(mlp(2, A), np.ones((S, 2)))
    with pytest.raises(InvalidProblemError, match=r"leading axes \(7,\), expected none or .* \(1, 2\)"):
        rt.run(problem, policy=policy.with_theta(np.tile(policy.theta, (7, 1))), **how)
    single = on_device(instance("bandit")[0], dtype=torch.float32)
    with pytest.raises(FloatingPointError, match="update 1 produced a policy without finite probabilities"):
        rt.run(single, rt.Rebel(1e300), n_iterations=3, policy=policy)
