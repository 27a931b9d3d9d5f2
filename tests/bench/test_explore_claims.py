"""What the explored claims (C10, S3, S5, P7) measure, against plain readings of their definitions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import rebel_envs as envs
import rebel_theory as rt
from rebel_bench.claims import c10_offline_share as c10
from rebel_bench.claims import p7_coverage
from rebel_bench.claims import s3_queries_to_gap as s3
from rebel_bench.claims import s5_equal_queries as s5

RNG = np.random.default_rng


def test_c10_harmonic_mean_bounds_the_concentrability_of_a_mixture():
    rng = RNG(0)
    for share in (0.0, 0.3, 1.0):
        best, offline, policy = (rng.dirichlet(np.ones(4), size=3) for _ in range(3))
        exact = rt.concentrability(best, share * offline + (1 - share) * policy)
        bound = c10.harmonic(rt.concentrability(best, offline), rt.concentrability(best, policy), share)
        assert exact <= bound * (1 + 1e-12)
        if share in (0.0, 1.0):
            assert_allclose(exact, bound, rtol=1e-12)
    # one context, one best action: equal, and no data at all for it is no bound at all
    assert_allclose(c10.harmonic(np.array(10.0), np.array(2.0), 0.4), 1 / (0.4 * 0.1 + 0.6 * 0.5))
    assert c10.harmonic(np.array(np.inf), np.array(np.inf), 0.5) == np.inf


def test_c10_shift_bandit_is_that_of_the_environments():
    reward, features, offline = c10.trap(np.array([50.0]), 1.2 / 50)
    known = envs.shift_bandit(50.0, 1.0)
    assert_allclose(reward[0], known.problem.reward[0])
    assert_allclose(features, known.features[0, :, 0])
    assert_allclose(offline[0], known.base[0])


@pytest.mark.parametrize("family", ["trap", "hill"])
def test_c10_drift_has_the_sign_of_the_regression(family):
    make, odds, *_ = c10.FAMILIES[family]
    for c in (2.5, 8.0, 60.0):
        reward, features, offline = make(np.array([c]))
        for share in (0.02, 0.5, 0.95):
            base = rt.Mixture([(offline[0][None], share), ("on-policy", 1 - share)])
            thetas = np.linspace(np.log(odds), 5, 200)
            start = rt.LogLinearPolicy(features[None, :, None], thetas[None, :, None])
            bandits = rt.ContextualBandit(np.tile(reward, (200, 1, 1)))
            run = rt.run(bandits, rt.Rebel(1.0, base=base), n_iterations=1, policy=start)
            turns = (run.final_policy.theta[0, :, 0] < thetas).any()
            assert turns == (c10.drift(family, c, share) < 0), (c, share)


def test_c10_measures_floor_and_bound_of_a_plain_run():
    c, share = np.array([40.0]), 0.25
    reward, features, offline = c10.trap(c, 1.2 / c)
    bandit, start = rt.ContextualBandit(reward[:, None]), rt.LogLinearPolicy(features[None, :, None], [np.log(1e-12)])
    row = c10._measure("trap", bandit, start, 5.0, offline[:, None], c, share, counted=True).iloc[0]
    assert row["floor"] == pytest.approx(1.0, abs=1e-6)  # it stays at b
    assert row["value"] == pytest.approx(1.0, abs=1e-6)
    # eps = lam Var of the target under the data, C = C_off/lam: the share cancels
    assert row["misfit"] == pytest.approx((1 + 1.2 / 40) * np.sqrt(1 - 1 / 40), rel=1e-3)
    forgotten = c10._measure("trap", bandit, start, 5.0, offline[:, None], c, share, counted=False).iloc[0]
    assert forgotten["misfit"] == pytest.approx(np.sqrt(share) * row["misfit"], rel=1e-3)


def test_c10_finding_reads_the_table():
    rows = [
        ("random", c, share, i, 0.1 + 0.01 * i + (0.05 + 0.001 * i) * share * (1 if c < 5 else -1))
        for c in c10.RANDOM_SHIFTS for share in c10.SHARES for i in range(5)
    ]  # fmt: skip
    rows += [("trap", c, share, 0, 1.0 if share > 0.1 else 0.6) for c in (2.0, 100.0) for share in (0.1, 0.4, 0.9)]
    rows += [("hill", c, share, 0, 0.0 if c < 9 else 1.0) for c in (2.0, 8.0, 100.0) for share in (0.1, 0.9)]
    cases = pd.DataFrame(rows, columns=["family", "concentrability", "share", "instance", "floor"])
    text = c10.finding(cases, cases)
    assert "5 random" in text
    assert "floor is 0.120" in text
    assert "C = 1: +0.052" in text
    assert "C = 1000: -0.052" in text
    assert "alone worse at 2 of 5 C and better at 3" in text
    assert "a share of 0.4 at C = 100" in text
    assert "up to C = 8." in text


def test_p7_finding_says_no_more_than_the_cases():
    cases = pd.DataFrame({"base": ["trap", "uniform"], "value": [0.9, 0.2], "bound": [1.0, 1.0]})
    control = pd.DataFrame({"base": ["trap", "trap", "uniform"], "value": [3.0, 0.5, 0.4], "bound": [1.0, 1.0, 1.0]})
    text = p7_coverage.finding(cases, control)
    assert "is insufficient: " in text
    assert "is 3 in the traps (above 1 in 1 of 2)" in text
    assert "0.4 in random games (above 1 in 0 of 1)" in text
    assert "it is 0.9 and 0.2" in text
    assert "not shown to be insufficient" in p7_coverage.finding(cases, cases)


def test_s3_finite_class_takes_the_least_loss():
    rng = RNG(3)
    f = rng.standard_normal((5, 2, 3))
    bandit, start = rt.ContextualBandit(f[2]), rt.TabularPolicy(np.zeros((1, 2, 3)))
    trace = rt.run(bandit, s3.FiniteRebel(0.7, "uniform", f), n_iterations=1, policy=start, oracle=rt.Counted(10**6))
    expected = np.exp(0.7 * f[2])
    assert_allclose(trace.final_policy.probs[0], expected / expected.sum(axis=-1, keepdims=True), rtol=1e-9)


@pytest.mark.parametrize("finite", [False, True])
def test_s3_loss_of_the_regression_is_within_its_bound(finite):
    """The mean population loss is at most 2 sigma^2 D/N, what the theorem's N is made from."""
    instance, n = s3._instance(RNG(5), finite, True), 2_000
    start = None if finite else rt.LogLinearPolicy(instance.features, np.zeros(s3.D))
    algorithm = s3.FiniteRebel(1.0, "uniform", 0.05 * instance.candidates) if finite else rt.Rebel(1.0, "uniform")
    bandit = rt.ContextualBandit(0.05 * instance.reward, noise=rt.GaussianNoise(s3.NOISE))
    run = rt.run(bandit, algorithm, n_iterations=1, policy=start, oracle=rt.Counted(n), n_seeds=400)
    error = run.regression_error[:, 0].mean()
    assert 0 < error < 1.2 * 2 * s3.NOISE**2 * instance.dimension / n


def test_s3_terms_of_the_theorem_are_thirds_of_alpha():
    instance = s3._instance(RNG(6), False, True)
    eta, n_pairs, n_updates = s3._theorem(instance, 0.01)
    assert np.log(3) / (eta * n_updates) == pytest.approx(0.01 / 3, rel=1e-3)
    assert eta / 2 == pytest.approx(0.01 / 3)
    assert np.sqrt(3 * 2 * s3.D / n_pairs) == pytest.approx(0.01 / 3, rel=1e-3)
    bound = 2.0 * n_pairs * n_updates
    assert bound == pytest.approx(162 * 3 * s3.D * np.log(3) / 0.01**4, rel=2e-3)


@pytest.mark.parametrize("finite", [False, True])
def test_s3_counts_the_queries_of_a_plain_run(finite):
    instance = s3._instance(RNG(7), finite, True)
    alpha, eta, n = 0.1, 0.5, 300
    found = instance.queries(alpha, eta, n, 1e9, seed=11)
    start = None if finite else rt.LogLinearPolicy(instance.features, np.zeros(s3.D))
    scale = s3.RANGE * alpha
    algorithm = s3.FiniteRebel(eta, "uniform", scale * instance.candidates) if finite else rt.Rebel(eta, "uniform")
    bandit = rt.ContextualBandit(scale * instance.reward, noise=rt.GaussianNoise(s3.NOISE))
    run = rt.run(
        bandit, algorithm, n_iterations=200, policy=start, oracle=rt.Counted(n), n_seeds=s3.N_SEEDS, seed=11
    )  # fmt: skip
    first = int((run.gap.mean(axis=0) <= alpha).argmax())
    assert first > 0
    assert found == 2 * n * first
    assert instance.queries(alpha, eta, n, 5 * n, seed=11) == min(found, 6 * n)  # the budget ends it


@pytest.mark.parametrize("finite", [False, True])
def test_s3_chance_bounds_how_often_the_misfit_exceeds_its_third(finite):
    """By simulation of W and w, drawn here; and all rows at the largest scale are within the claim's rate."""
    rng, n, runs = RNG(9), 20, 200_000
    if finite:
        w = np.sqrt(8 / 7 * (np.log(16) + rng.exponential(size=(runs, n)))) / np.sqrt(1 + np.log(32))
    else:
        w = np.sqrt((rng.standard_normal((runs, n, 3)) ** 2).sum(axis=-1) / 3)
    rate = (w.mean(axis=1) > 1).mean()
    assert 0 < rate < s3.chance(finite, n) < 10 * rate
    assert s3.chance(finite, 2 * n) == pytest.approx(s3.chance(finite, n) ** 2)
    fits = [s3.N_SEEDS * s3._theorem(s3._instance(RNG(1), finite, True), a)[2] for a in s3.ALPHAS[:4]]
    assert 200 * 2 * sum(s3.chance(finite, n) for n in fits) + s3.TEST.false_alarm < s3.FALSE_ALARM


def test_s3_rows_are_facts_of_the_theorem_s_tuning_and_estimates_of_exponents():
    instance = s3._instance(RNG(6), False, True)
    own, best = (s3._row(instance, 0.2, tuning, RNG(0)) for tuning in s3.TUNINGS)
    assert own["estimate"] == own["value"] / own["bound"] < own["at_most"] == 1
    assert best["at_most"] == np.inf
    assert 0 < own["chance"] < 1e-8
    rows = pd.DataFrame([own, best])
    assert s3.TEST.judge(rows).verdict == "holds"
    broken = s3.TEST.judge(rows.assign(estimate=1.01))
    assert broken.verdict == "refuted"
    assert broken.p_value == own["chance"]  # of the fact that fails: Holm's procedure needs no 0


def test_s5_rows_are_estimates_and_a_wrong_law_has_a_small_p_value():
    ratio = RNG(2).chisquare(4, 2_000) / 4
    row = {"role": "variance"} | s5._estimate(ratio, at_least=1.0)
    assert row["estimate"] == pytest.approx(ratio.mean())
    assert row["standard_error"] == pytest.approx(ratio.std(ddof=1) / np.sqrt(2_000))
    assert s5.TEST.judge(pd.DataFrame([row])).verdict == "holds"
    for factor in (0.5, 2.0):  # the control's
        judged = s5.TEST.judge(pd.DataFrame([row | s5._estimate(factor * ratio, at_least=1.0)]))
        assert judged.verdict == "refuted"
        assert judged.p_value < 1e-10
    gap = s5._estimate(np.array([0.2, 0.3, 0.25]), at_least=-np.inf)
    assert (gap["at_most"], gap["dof"]) == (1.0, 2)


def test_s3_slopes_of_a_power_law():
    rows = [
        {"class": "finite", "role": "best", "instance": i, "alpha": a, "value": (i + 1) * a ** -(2 + 0.1 * i)}
        for a in s3.ALPHAS for i in range(3)
    ]  # fmt: skip
    assert_allclose(s3.slopes(pd.DataFrame(rows), "finite", "best"), [2.0, 2.1, 2.2], rtol=1e-9)


def test_s5_moments_are_those_of_the_kernel_drawn_one_by_one():
    """z_0, z_1, z_2 of h = (g - g')(r - r')/2 by simulation in NumPy alone, two contexts."""
    rng = RNG(8)
    rho, reward = np.array([0.3, 0.7]), rng.random((2, 3))
    pi = rng.dirichlet(np.ones(3), size=2)
    bandit = rt.ContextualBandit(reward, context_dist=rho, noise=rt.GaussianNoise(s5.NOISE))
    found, mean = s5.moments(bandit, pi)
    n = 200_000
    single = pair = contexts = 0.0
    means = []
    for x in range(2):
        answers = rng.choice(3, size=(2, n), p=pi[x])
        rewards = reward[x][answers] + s5.NOISE * rng.standard_normal((2, n))
        score = np.eye(3)[answers] - pi[x]  # (2, n, 3)
        h = (score[0] - score[1]) * (rewards[0] - rewards[1])[:, None] / 2
        known = (score[0] * (rewards[0] - pi[x] @ reward[x])[:, None]) / 2  # E[h | first] up to a constant
        pair += rho[x] * h.var(axis=0).sum()
        single += rho[x] * known.var(axis=0).sum()
        means.append(h.mean(axis=0))
    for x in range(2):
        contexts += rho[x] * (1 - rho[x]) * (means[x] ** 2).sum()
    assert_allclose((found.contexts, found.single, found.pair), (contexts, single, pair), rtol=0.02)
    assert_allclose(mean, rho[:, None] * np.array(means), atol=5e-3)


def test_s5_variance_of_groups_has_the_ends_that_are_known():
    parts = s5.Moments(contexts=0.1, single=0.2, pair=0.5)
    assert parts.variance(2) == pytest.approx(2 * 0.1 + 2 * 0.5)  # one pair a context
    assert parts.variance(1) == pytest.approx(0.1 + 4 * 0.2)
    assert parts.variance(4) == pytest.approx(4 * 0.1 + 2 / 3 * (4 * 0.2 + 0.5))
    assert s5.Moments(0.0, 0.2, 0.5).variance(10**9) == pytest.approx(4 * 0.2)  # nothing but the first-order part


def test_s5_finding_ranks_by_mean_and_names_those_within_reach():
    base = {"role": "gap", "problem": "noisy bandit", "n_seeds": 16, "variance": 1e-6, "instance": 0}
    gaps = {"REBEL": 0.02, "NPG": 0.0101, "RLOO(2)": 0.03, "RLOO(8)": 0.01, "REINFORCE": 0.04}
    rows = [base | {"method": m, "gap": g} for m, g in gaps.items()]
    rows += [row | {"problem": "Garnet", "gap": row["gap"] * 10} for row in rows]
    cases = pd.DataFrame(rows)
    law = pd.DataFrame(
        {"role": "variance", "n_contexts": 1, "n_actions": 3, "k": s5.GROUPS, "measured": [1, 3, 1.5, 2]}
    )
    text = s5.finding(pd.concat([cases, law]), law)
    assert list(s5.scores(cases, "noisy bandit")) == ["RLOO(8)", "NPG", "REBEL", "RLOO(2)", "REINFORCE"]
    assert "lowest RLOO(8), intervals of NPG reach it, REBEL at 2.00 times it" in text
    assert "intervals of no other reach it" in text  # Garnet
    assert "cost 3.00 to 3.00 times single answers" in text
    assert "2.00 to 2.00 times the better of k = 4 and 8" in text
