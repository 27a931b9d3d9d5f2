"""The audit: identities hold, no line of a proof is ever violated, every line is tight somewhere.

Exact throughout: a failure is a bug, not chance.
"""

import numpy as np
import pytest
from core.cases import AUDITED, discounted

import rebel_envs as envs
import rebel_theory as rt
from rebel_bench.claims import p7_coverage
from rebel_bench.instances import random_policy, random_problem
from rebel_theory.theory.bounds import exact_mdp_bound
from rebel_theory.theory.identity import regression_error, update_function

N, T = 24, 15


def log_linear(rng, problem, d=2):
    features = rng.standard_normal((*problem.policy_shape, d))
    return rt.LogLinearPolicy(features, rng.standard_normal((1, *problem.batch_shape, d)))


def steps(rng, n=N):
    return 10 ** rng.uniform(-2, 1, size=n)


def every_audit(seed):
    """Yield audits over kinds, classes, bases, algorithms, samples."""
    rng = np.random.default_rng(seed)
    for kind, claim in AUDITED.items():
        for s, a in ((1, 2), (3, 4), (6, 3)):
            problem = random_problem(rng, kind, s, a, N)
            for base in ("on-policy", "uniform"):
                start = log_linear(rng, problem)
                yield rt.audit(claim, problem, rt.Rebel(steps(rng), base=base), n_iterations=T, policy=start)
            mixture = rt.Mixture({"on-policy": 0.3, "uniform": 0.7})
            yield rt.audit(claim, problem, rt.Rebel(steps(rng), base=mixture), n_iterations=T)
            yield rt.audit(claim, problem, rt.PolicyGradient(1.0), n_iterations=T, policy=random_policy(rng, problem))
            if kind in ("mdp", "linear"):
                restart = rt.Exact(states=np.full(s, 1 / s))
                yield rt.audit(claim, problem, rt.Rebel(steps(rng)), n_iterations=T, oracle=restart, policy=start)
            few, one = rt.Sampled(20), problem.instance(0)
            yield rt.audit(claim, one, rt.Rebel(0.5), n_iterations=T, oracle=few, seed=seed)
            yield rt.audit(claim, one, rt.Rebel(0.5), n_iterations=T, oracle=few, policy=log_linear(rng, one))
    for gamma, tau in ((0.3, 0.05), (0.9, 0.5), (0.99, 5.0)):
        mdp = discounted(rng, 4, 3, gamma, N)
        share = np.where(rng.random(N) < 0.3, 1.0, 10 ** rng.uniform(-2, 0, size=N))
        start = random_policy(rng, mdp, spread=2.0)
        yield rt.audit("C7", mdp, rt.EntropyNPG(share / tau, temperature=tau), n_iterations=T, policy=start)
    bandit = random_problem(rng, "bandit", 3, 4, N)
    yield rt.audit("C2", bandit, rt.Rebel(steps(rng)), n_iterations=T, policy=random_policy(rng, bandit))


@pytest.fixture(scope="module")
def audits():
    return list(every_audit(0))


def scale_of(found):
    return 1 + np.nanmax(np.abs(found.values.get("scale", found.bound[:1])))


def test_identities_hold_for_every_sequence_of_policies(audits):
    assert sum(found.bound.shape[1] for found in audits) > 1_000  # instances
    for found in audits:
        assert np.isfinite(found.bound[:, 0]).any()
        assert found.identity_error < 1e-8 * scale_of(found), (found.claim, found.algorithm)


def test_no_line_of_a_proof_is_violated(audits):
    for found in audits:
        wrong = found.violations
        # softmax policy gradient is not an exact step: that it promises nothing is what the next tests are about
        expected = {"promise"} if found.algorithm == rt.PolicyGradient.name else set()
        assert set(wrong["role"]) <= expected, (found.claim, found.algorithm, wrong)


def test_the_slack_of_the_lines_is_that_of_the_bound(audits):
    for found in audits:
        total = found.measured + sum(part.contribution for part in found.proof)
        ok = np.isfinite(found.bound)
        np.testing.assert_allclose(total[ok], found.bound[ok], rtol=1e-9, atol=1e-12)
        assert min(np.nanmin(part.contribution) for part in found.proof) > -1e-8 * scale_of(found)


@pytest.mark.parametrize("kind", AUDITED)
def test_the_bound_is_the_one_that_a_run_records(kind):
    rng = np.random.default_rng(5)
    problem = random_problem(rng, kind, 3, 4, N)
    start, algorithm = log_linear(rng, problem), rt.Rebel(steps(rng), base="uniform")
    found = rt.audit(AUDITED[kind], problem, algorithm, n_iterations=T, policy=start)
    trace = rt.run(problem, algorithm, n_iterations=T, policy=start, keep_policies=True)
    np.testing.assert_allclose(found.bound.T, trace.bound["total"][0], rtol=1e-9)
    np.testing.assert_allclose(found.measured.T, trace.average_gap[0, :, :-1], rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(found.values["eps_t"].T, trace.regression_error[0], rtol=1e-7, atol=1e-13)
    for part in ("progress", "curvature", "misfit"):
        np.testing.assert_allclose(found.values[f"bound on {part}"].T, trace.bound[part][0], rtol=1e-7, atol=1e-12)
    log_pi, log_next = (np.log(trace.probs[0, :, t]) for t in (4, 5))  # and the loss by its own decomposition
    signal = problem.to_rows(rt.evaluate(problem, trace.probs[0, :, 4]).q_values)
    weights = problem.to_rows(rt.evaluate(problem, trace.probs[0, :, 4]).occupancy, 0)
    log_pi, log_next = problem.to_rows(log_pi), problem.to_rows(log_next)
    f = update_function(log_pi, log_next, algorithm.eta)
    error = regression_error(f, signal, log_pi, np.full_like(log_pi, -np.log(4)), weights)
    np.testing.assert_allclose(found.values["eps_t"][4], error, rtol=1e-6)


def tightest(found, name, floor=1e-6):
    part = found[name]
    counts = part.right > floor * scale_of(found)
    return float((part.left[counts] / part.right[counts]).max(initial=0.0))


def attained():
    """Yield audits of instances at which lines of the proofs are equalities."""
    coin = rt.ContextualBandit([[1.0, 0.0]])
    yield rt.audit("C1", coin, rt.Rebel(0.01), n_iterations=3)  # two arms, small steps: Hoeffding
    yield rt.audit("C1", coin, rt.Rebel(20.0), n_iterations=60)  # all of the divergence is used
    shift = envs.shift_bandit(10_000.0, 1.0, start=1e-12)
    start = rt.LogLinearPolicy(shift.features, shift.first_theta)
    yield rt.audit("C1", shift.problem, rt.Rebel(1.0, base=shift.base), n_iterations=100, policy=start)
    still = rt.TabularMDP(np.ones((1, 2, 1)), [[1.0, 0.0]], discount=0.5)
    yield rt.audit("C11", still, rt.Rebel(0.01), n_iterations=3)
    yield rt.audit("C11", still, rt.Rebel(20.0), n_iterations=60)
    hidden = rt.TabularMDP(np.ones((1, 3, 1)), shift.problem.reward, discount=0.5)
    yield rt.audit("C11", hidden, rt.Rebel(1.0, base=shift.base), n_iterations=100, policy=start)
    game = rt.PreferenceGame([[0.5, 1.0], [0.0, 0.5]])
    yield rt.audit("P7", game, rt.Rebel(0.01), n_iterations=3)
    yield rt.audit("P7", game, rt.Rebel(20.0), n_iterations=60)
    yield rt.audit("P7", game, rt.Rebel(0.01, base="uniform"), n_iterations=3, policy=[[1e-9, 1 - 1e-9]])
    hidden_loss, first, base = p7_coverage.trap(np.array([1e3]))
    yield rt.audit("P7", hidden_loss, rt.Rebel(np.array([10.0]), base=base), n_iterations=50, policy=first)
    rng = np.random.default_rng(3)
    for s, gamma, tau in ((1, 0.5, 0.1), (1, 0.9, 10.0), (2, 0.9, 10.0), (2, 0.5, 1.0), (3, 0.1, 0.1), (2, 0.99, 0.1)):
        mdp = discounted(rng, s, 2, gamma, 60)
        share = np.where(rng.random(60) < 0.2, 1.0, 10 ** rng.uniform(-2, 0, size=60))
        for spread in (0.1, 5.0):
            algorithm = rt.EntropyNPG(share / tau, temperature=tau)
            yield rt.audit("C7", mdp, algorithm, n_iterations=30, policy=random_policy(rng, mdp, spread=spread))


def test_every_line_with_a_right_side_is_attained_somewhere():
    """So that a right side too large (a 2 for an 8 in Hoeffding's lemma) shows, as one too small does above."""
    best: dict[tuple[str, str], float] = {}
    for found in attained():
        for part in found.proof:
            if (part.right > 0).any() and part.name != "minimum of a sum":
                key = found.claim, part.name
                best[key] = max(best.get(key, 0.0), tightest(found, part.name))
        assert not len(found.violations[found.violations["role"] == "proof"])
    assert len(best) == 9 + 9 + 11 + 6
    loose = {key: value for key, value in best.items() if value < 0.95}
    assert not loose, loose


def test_the_shift_bandit_leaves_the_misfit_no_slack():
    """C8: as C grows, all of sqrt(C eps) is paid: the lines of the misfit lose their slack."""
    shares = []
    for c in (10.0, 1e2, 1e3, 1e4):
        shift = envs.shift_bandit(c, 1.0, start=1e-12)
        start = rt.LogLinearPolicy(shift.features, shift.first_theta)
        found = rt.audit("C1", shift.problem, rt.Rebel(1.0, base=shift.base), n_iterations=100, policy=start)
        lines = ("Jensen", "change of actions", "change of states", "pair loss")
        shares.append(sum(found[name].slack[-1, 0] for name in lines) / found["pair loss"].right[-1, 0])
    # with D = delta (1 + 1.2/C): misfit (1 - 1/C) D, and C eps = (1 - 1/C) D^2, the variance under mu
    exact = [1 - np.sqrt(1 - 1 / c) for c in (10.0, 1e2, 1e3, 1e4)]
    np.testing.assert_allclose(shares, exact, rtol=1e-3)


def test_where_the_slack_of_c2_sits_in_its_worst_case():
    """C3: of the bound ln n, W((n-1)/e) is measured; nearly all else is divergence that was never used."""
    from scipy.special import lambertw

    for n, used in ((2, 0.402), (10, 0.478), (1000, 0.640)):
        bandit = envs.worst_case_bandit(n, step_size=0.01, n_updates=400)
        found = rt.audit("C2", bandit, rt.MirrorDescent(0.01), n_iterations=400)
        measured = float(found.measured[-1, 0] / found.bound[-1, 0])
        assert measured == pytest.approx(lambertw((n - 1) / np.e).real / np.log(n), abs=1e-6)
        assert measured == pytest.approx(used, abs=1e-3)
        shares = {part.name: float(found.shares(part.name)[-1, 0]) for part in found.proof}
        assert measured + sum(shares.values()) == pytest.approx(1, abs=1e-9)
        assert shares["no misfit"] == pytest.approx(0, abs=1e-9)
        assert shares["length of steps"] < 0.01
        assert shares["last divergence"] + shares["last and average"] > 0.99 - measured


def test_the_promised_rates_are_those_of_c2_and_c5():
    updates = np.arange(1, 6)
    reward = np.array([[1.0, 0.0, 0.3], [0.0, 0.9, 0.2]])
    mdp = rt.TabularMDP(np.full((2, 3, 2), 0.5), reward, discount=0.9)
    found = rt.audit("C11", mdp, rt.Rebel(2.0), n_iterations=5)
    np.testing.assert_allclose(found["rate of exact steps"].right[:, 0], exact_mdp_bound(3, 2.0, updates, 0.9))
    found = rt.audit("C1", rt.ContextualBandit(reward), rt.Rebel(2.0), n_iterations=5)
    np.testing.assert_allclose(found["rate of exact steps"].right[:, 0], np.log(3) / (2.0 * updates))
