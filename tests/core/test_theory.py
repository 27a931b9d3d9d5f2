"""The regret identity, and the theorems as inequalities on many random instances."""

import numpy as np
import pytest
import reference as ref
from core.cases import KINDS, dirichlet, make

import rebel_theory as rt
from rebel_theory.theory import bounds
from rebel_theory.theory.identity import regression_error, regret_identity, update_function


def test_identity_for_any_two_policies():
    """An equality for any policies, comparator, signal and weights; each term by its definition."""
    for seed in range(200):
        rng = np.random.default_rng(seed)
        s, a = int(rng.integers(1, 6)), int(rng.integers(2, 6))
        pi, new, star = (dirichlet(rng, s, a) for _ in range(3))
        if seed % 2:
            star = np.eye(a)[rng.integers(a, size=s)]
        q, d, eta = rng.standard_normal((s, a)), dirichlet(rng, s), float(rng.uniform(0.01, 5))
        terms = regret_identity(np.log(pi), np.log(new), q, star, d, eta)
        assert terms.error < 1e-8 * (1 + abs(terms.progress))
        f = np.log(new / pi) / eta
        g = f - (pi * f).sum(1, keepdims=True)
        progress = sum(d[i] * (ref.kl(star[i], pi[i]) - ref.kl(star[i], new[i])) for i in range(s)) / eta
        curvature = sum(d[i] * np.log((pi[i] * np.exp(eta * g[i])).sum()) for i in range(s)) / eta
        advantage = q - (pi * q).sum(1, keepdims=True)
        np.testing.assert_allclose(terms.gap, d @ ((star - pi) * q).sum(1), atol=1e-12)
        np.testing.assert_allclose(terms.progress, progress, rtol=1e-9, atol=1e-10)
        np.testing.assert_allclose(terms.curvature, curvature, rtol=1e-9, atol=1e-10)
        np.testing.assert_allclose(terms.misfit, d @ (star * (advantage - g)).sum(1), rtol=1e-9, atol=1e-10)
        np.testing.assert_allclose(terms.largest_update, np.abs(g).max(), rtol=1e-12)
        assert -1e-12 < terms.curvature <= bounds.curvature_bound(eta, terms.largest_update) * (1 + 1e-12)


def test_identity_under_d_star_is_the_gap_of_an_mdp():
    """(1 - gamma)(V* - V^pi_t)(rho) is the gap under d*, at every iterate of every algorithm."""
    for seed in range(25):
        rng = np.random.default_rng(seed)
        case = make("mdp", rng, gamma=0.9)
        best = rt.solve(case.problem)
        star = rt.evaluate(case.problem, best.policy)
        features = rng.standard_normal((4, 3, 2))
        policy = rt.LogLinearPolicy.zeros(features) if seed % 2 else rt.TabularPolicy.uniform(case.problem)
        for algorithm in (rt.Rebel(0.5, base="uniform"), rt.NaturalPolicyGradient(0.5), rt.MirrorDescent(0.5)):
            trace = rt.run(case.problem, algorithm, n_iterations=4, policy=policy, keep_policies=True)
            for t in range(4):
                pi, new = trace.probs[0, t], trace.probs[0, t + 1]
                q = rt.evaluate(case.problem, pi).q_values
                terms = regret_identity(np.log(pi), np.log(new), q, best.policy, star.occupancy, 0.5)
                assert terms.error < 1e-8
                np.testing.assert_allclose(terms.gap, 0.1 * trace.gap[0, t], atol=1e-10)


def test_misfit_is_bounded_by_the_regression_error():
    for seed in range(200):
        rng = np.random.default_rng(seed)
        s, a = int(rng.integers(1, 5)), int(rng.integers(2, 5))
        pi, new, star, mu = (dirichlet(rng, s, a) for _ in range(4))
        q, d = rng.standard_normal((s, a)), dirichlet(rng, s)
        terms = regret_identity(np.log(pi), np.log(new), q, star, d, 1.0)
        f = update_function(np.log(pi), np.log(new), 1.0)
        support = d > 0
        eps = regression_error(f, q, np.log(pi), np.log(mu), d)
        np.testing.assert_allclose(eps, ref.pair_loss(d, pi, mu, f, q), rtol=1e-12)
        assert abs(terms.misfit) <= bounds.misfit_bound(rt.concentrability(star, mu, support), eps)
        own = regression_error(f, q, np.log(pi), np.log(pi), d)
        bound = bounds.misfit_bound(rt.concentrability(star, pi, support), own, on_policy=True)
        assert abs(terms.misfit) <= bound
    uneven = regression_error(
        np.zeros((1, 2)), np.array([[1.0, 0]]), *np.log([[[0.5, 0.5]], [[0.25, 0.75]]]), np.ones(1)
    )
    np.testing.assert_allclose(uneven, 0.5)  # half of the pairs differ, by 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("base", ["on-policy", "uniform"])
def test_recorded_bound_holds_and_is_the_sum_of_its_terms(kind, base):
    """C1, C11, P7: the average gap never exceeds progress + curvature + misfit, tabular or misspecified."""
    for seed in range(12):
        rng = np.random.default_rng(seed)
        case = make(kind, rng)
        policy = None
        if seed % 2:
            policy = rt.LogLinearPolicy.zeros(rng.standard_normal((*case.problem.policy_shape, 2)))
        eta = np.array([0.02, 0.2, 2.0])
        trace = rt.run(case.problem, rt.Rebel(eta, base=base), n_iterations=25, policy=policy)
        b = trace.bound
        np.testing.assert_allclose(b["total"], b["progress"] + b["curvature"] + b["misfit"])
        # average over the first t iterates against the bound after t updates
        slack = b["total"] - trace.average_gap[..., :-1]
        assert slack.min() > -1e-10


def test_bound_terms_by_definition():
    """Every term of the recorded bound of a misspecified bandit run, written out."""
    rng = np.random.default_rng(2)
    case = make("bandit", rng)
    rho, r, eta = case.raw["rho"], case.raw["reward"], 0.7
    policy = rt.LogLinearPolicy.zeros(rng.standard_normal((4, 3, 2)))
    trace = rt.run(case.problem, rt.Rebel(eta, base="uniform"), n_iterations=5, policy=policy, keep_policies=True)
    star, largest, misfit = np.eye(3)[r.argmax(1)], 0.0, 0.0
    kl = sum(rho[s] * ref.kl(star[s], np.full(3, 1 / 3)) for s in range(4))
    for t in range(5):
        pi, new = trace.probs[0, t], trace.probs[0, t + 1]
        f = np.log(new / pi) / eta
        largest = max(largest, np.abs(f - (pi * f).sum(1, keepdims=True)).max())
        misfit += np.sqrt(3 * ref.pair_loss(rho, pi, np.full((4, 3), 1 / 3), f, r))
        np.testing.assert_allclose(trace.bound["progress"][0, t], kl / (eta * (t + 1)))
        np.testing.assert_allclose(trace.bound["curvature"][0, t], eta * largest**2 / 2)
        np.testing.assert_allclose(trace.bound["misfit"][0, t], misfit / (t + 1))


def test_mdp_bound_terms_by_definition():
    """C11: 1/(1-gamma) times the terms, KL under d*, C from d x mu to d* x pi*."""
    rng = np.random.default_rng(3)
    case = make("mdp", rng, gamma=0.6)
    r = case.raw
    policy = rt.LogLinearPolicy.zeros(rng.standard_normal((4, 3, 2)))
    trace = rt.run(case.problem, rt.Rebel(0.3, base="uniform"), n_iterations=2, policy=policy, keep_policies=True)
    v = ref.value_iteration(r["transition"], r["reward"], 0.6)
    star = np.eye(3)[ref.q_from(r["transition"], r["reward"], 0.6, v).argmax(1)]
    d_star = ref.occupancy(r["transition"], 0.6, star, r["rho"])
    np.testing.assert_allclose(trace.kl[0, 0], np.log(3), rtol=1e-12)
    np.testing.assert_allclose(trace.bound["progress"][0], 2.5 * np.log(3) / (0.3 * np.arange(1, 3)))
    misfit = 0.0
    for t in range(2):
        pi, new = trace.probs[0, t : t + 2]
        d, q = case.signal(pi)
        c = (d_star[:, None] * star / (d[:, None] / 3)).max()
        misfit += 2.5 * np.sqrt(c * ref.pair_loss(d, pi, np.full((4, 3), 1 / 3), np.log(new / pi) / 0.3, q))
        np.testing.assert_allclose(trace.bound["misfit"][0, t], misfit / (t + 1), rtol=1e-9)


def test_c2_exact_bandit_and_monotone():
    for seed in range(300):
        rng = np.random.default_rng(seed)
        s, a = int(rng.integers(1, 5)), int(rng.integers(2, 8))
        eta = float(10 ** rng.uniform(-2, 3))
        r, rho = rng.random((s, a)), dirichlet(rng, s)
        trace = rt.run(rt.ContextualBandit(r, context_dist=rho), rt.MirrorDescent(eta), n_iterations=12)
        gap = trace.gap[0]
        assert (gap[1:] <= bounds.exact_bandit_bound(np.log(a), eta, np.arange(1, 13)) * (1 + 1e-12)).all()
        assert (np.diff(gap) <= 1e-15).all()


def test_c5_exact_mdp_bound():
    for seed in range(120):
        rng = np.random.default_rng(seed)
        s, a = int(rng.integers(1, 8)), int(rng.integers(2, 6))
        gamma = float(rng.choice([0.0, 0.5, 0.9, 0.99]))
        p, r = dirichlet(rng, s, a, s, concentration=0.2), (rng.random((s, a)) < 0.3).astype(float)
        mdp = rt.TabularMDP(p, r, discount=gamma, initial_dist=dirichlet(rng, s))
        eta = 10 ** rng.uniform(-2, 2, size=3)
        gap = rt.run(mdp, rt.NaturalPolicyGradient(eta), n_iterations=10).gap[0, :, 1:]
        assert (gap <= bounds.exact_mdp_bound(a, eta[:, None], np.arange(1, 11), gamma) * (1 + 1e-12)).all()


def test_p1_self_play():
    for seed in range(40):
        rng = np.random.default_rng(seed)
        n, t = int(rng.integers(2, 8)), 60
        case = make("game", rng, s=1, a=n)
        eta = bounds.self_play_step_size(n, t)
        trace = rt.run(case.problem, rt.Rebel(eta), n_iterations=t - 1)
        assert trace.average_gap[0, -1] <= bounds.self_play_bound(n, t)


def test_c6_growing_steps_with_its_control():
    """Steps growing by v/(v-1), state by state of the recursion: run one update at a time."""
    violated = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        case = make("mdp", rng, gamma=0.5)
        mdp, rho = case.problem, case.raw["rho"]
        best = rt.solve(mdp)
        d = rt.evaluate(mdp, best.policy).occupancy
        v = float((d / rho).max() / 0.5)
        eta0, policy = 0.05, rt.TabularPolicy.uniform(mdp)
        gap0, kl = float(best.objective - rt.evaluate(mdp, policy).objective), np.log(3)
        eta = eta0
        for k in range(1, 9):
            policy = rt.TabularPolicy(rt.run(mdp, rt.Rebel(eta), n_iterations=1, policy=policy).final_policy.logits[0])
            gap = float(best.objective - rt.evaluate(mdp, policy).objective)
            assert gap <= bounds.growing_steps_bound(gap0, kl, v, eta0, k, 0.5) * (1 + 1e-9)
            violated += gap > (1 - 1 / v) ** k * gap0
            eta *= v / (v - 1)
    assert violated  # without the D_0 term it is not a bound
