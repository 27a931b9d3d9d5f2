"""S1 to S6, E4 and E7: the claims' own helpers, by hand, and what their tests can see."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import rebel_theory as rt
from rebel_bench.claim import Scale
from rebel_bench.claims import c4_fixed_instance as c4
from rebel_bench.claims import e4_second_order as e4
from rebel_bench.claims import e7_two_estimators as e7
from rebel_bench.claims import s1_log_linear_noise as s1
from rebel_bench.claims import s2_noise_averages_out as s2
from rebel_bench.claims import s4_unbiased_roll_outs as s4
from rebel_bench.claims import s6_binary_outcomes as s6


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("module", [c4, e4, e7, s1, s2, s4, s6])
def test_the_claim_states_the_rate_of_its_test(module):
    assert module.CLAIM.false_alarm == module.CLAIM.test.false_alarm > 0


def test_the_rules_aim_at_the_levels_of_the_tests():
    assert s1.RULE.false_alarm == s1.TEST.level(s1.N_INTERVALS)
    assert s6.RULE.false_alarm == s6.TEST.level(s6.N_INTERVALS)


def test_s6_has_the_half_widths_that_its_rule_aims_at():
    cases = s6.CLAIM.measure("check", Scale.QUICK, seed=3)
    assert len(cases) == s6.N_INTERVALS
    assert (s6.TEST.half_widths(cases) <= s6.RULE.half_width).all()
    assert (cases["n_seeds"] >= cases["n_wanted"]).all()
    assert s6.CLAIM.judge("check", cases).verdict == "holds"


# -------------------------------------------------------------------------------------------------- S2


def test_s2_kept_noise_costs_what_a_run_would_record():
    """The losses and gaps that S2's control works out by itself, against the library's record of a first update."""
    bandit, policy = s2._instance(rng(), 3, 3, 3)
    loss, gap = s2._kept(rng(1), bandit, policy, 100, n_seeds=4, n=1)
    how = {"policy": policy, "n_seeds": 4, "seed": int(rng(1).integers(2**31))}
    trace = rt.run(bandit, rt.Rebel(s2.STEP_SIZE, s2.BASE), n_iterations=1, oracle=rt.Counted(100), **how)
    np.testing.assert_allclose(loss, trace.regression_error[:, 0])
    np.testing.assert_allclose(gap, trace.gap.mean(axis=-1))


def planted(loss, gap):
    """Return a measurement of which the mean loss and gap are known: those of many pairs times these factors."""

    def measure(generator, bandit, policy, n_pairs, n_seeds, n):
        few = n_pairs == s2.FEW
        noise = 1 + 1e-3 * generator.standard_normal((2, n_seeds))
        law = 2 * 2 / s2.MANY  # of two parameters
        return (loss if few else 1) * law * noise[0], (gap if few else 1) * noise[1]

    return measure


@pytest.mark.parametrize(
    ("loss", "gap", "verdict"),
    [(100, 1.0, "holds"), (100, 1.08, "holds"), (100, 0.92, "holds"), (100, 1.1, "inconclusive"),
     (100, 1.2, "refuted"), (100, 0.8, "refuted"), (40, 1.0, "refuted"), (50, 1.0, "inconclusive")],
)  # fmt: skip
def test_s2_sees_the_statement_in_its_contrasts(loss, gap, verdict):
    cases = s2._contrasts(rng(2), planted(loss, gap), s2.RULE, 0, 1, 4, 2)
    assert s2.TEST.judge(cases).verdict == verdict
    np.testing.assert_allclose(cases["growth"], loss, rtol=0.02)
    np.testing.assert_allclose(cases["change"], gap - 1, atol=0.02)


# -------------------------------------------------------------------------------------------------- S4


def test_s4_products_see_a_bias_that_no_cell_shows():
    """A bias of half a standard error of the mean in every cell, either way: the product of halves is its square."""
    n, cells = 200, 20_000
    errors = rng(3).standard_normal((n, cells))
    unbiased, signs = s4._products(errors), np.where(np.arange(cells) % 2, 1, -1)
    biased = s4._products(errors + signs * np.sqrt(0.5 / (n / 2)))
    # deviation of a mean of 20 000 products: 0.0072 of unbiased ones, at most 0.011 of the others
    assert abs(unbiased.mean()) < 5 * 0.0073
    assert abs(biased.mean() - 0.5 * (1 + 0.75 / 98)) < 5 * 0.012
    half = n // 2 - 1
    np.testing.assert_allclose(unbiased.std(), half / (half - 2), rtol=0.05)


def test_s4_is_refuted_by_a_bias_of_a_third_of_the_mean_error(monkeypatch):
    """The size at which the cells alone are all but blind."""
    seen = s4._seen

    def biased(*args):
        errors = seen(*args)
        return errors + 0.3 * np.abs(errors).mean(axis=0) * np.where(np.arange(errors.shape[1]) % 2, 1, -1)

    monkeypatch.setattr(s4, "_seen", biased)
    cases = s4.check(rng(4), Scale.QUICK)
    found = s4.TEST.judge(cases)
    assert found.verdict == "refuted"
    assert found.p_value < 1e-50 < 1e-10 < s4.TEST.judge(cases[cases["role"] == "cell"]).p_value


def test_s4_leaves_out_what_does_not_vary():
    """One state, discount 0: a roll-out is one reward, and no cell has an error; but for a wrong Q all others do."""
    mdp = rt.TabularMDP(np.ones((1, 3, 1)), np.array([[0.0, 0.5, 1.0]]), discount=0.0)
    policy = rt.TabularPolicy(np.zeros((1, 1, 3)))
    assert s4._seen(mdp, rt.Sampled(50), policy, 0, 5).shape == (5, 0)
    wrong = s4._seen(mdp, rt.Sampled(500), policy, 0, 5, np.array([[[0.1, 0.5, 1.0]]]))
    assert wrong.shape == (5, 4)
    assert (wrong.mean(axis=0) * [1, 1, -1, -1] < 0).all()  # (0, 1), (0, 2), then (1, 0), (2, 0)


def test_s4_shares_have_the_law_of_the_pairs():
    mdp = rt.TabularMDP(np.ones((1, 3, 1)), np.array([[0.0, 0.5, 1.0]]), discount=0.5)
    shares = s4._shares(mdp, rt.Sampled(4_000), rt.TabularPolicy(np.zeros((1, 1, 3))), 0, 50)
    assert shares.shape == (50, 9)  # each 1/9
    # 200 000 pairs: deviation sqrt(1/9 8/9/200 000) = 7e-4; nine cells at 6 deviations: false alarm below 1e-7
    assert np.abs(shares.mean(axis=0)).max() < 6 * 7.1e-4


def test_s4_q_of_two_rewards_by_hand():
    """Always reward 1: two of them are 1 + gamma."""
    mdp = rt.TabularMDP(np.full((2, 2, 2), 0.5), np.ones((2, 2)), discount=0.9)
    np.testing.assert_allclose(s4._q_of_two(mdp, rt.TabularPolicy(np.zeros((1, 2, 2)))), 1.9)


# -------------------------------------------------------------------------------------------------- S6


def test_s6_predicts_by_hand_for_three_answers():
    """Rock-paper-scissors, uniform: q = 0, E l l' is -1/3 and E l^2 2/3, so that M is 2 2/3 against 2 H.

    With weights 1/9 a pair (a, b), a != b: binary outcomes vary by 2 + 2/3, known margins by 4/3 + 2/3 = 2.
    """
    payoff = np.array([[0.0, 1.0, -1.0], [-1.0, 0.0, 1.0], [1.0, -1.0, 0.0]])
    game = rt.PreferenceGame((1 + payoff[None]) / 2)
    binary, known = s6._predicted(game, np.full((1, 3), 1 / 3))
    # tr H^+ H is the rank, 2
    np.testing.assert_allclose([binary, known], [2 * 8 / 3, 2 * 2])


def test_s6_laplacian_by_hand():
    weight = np.array([[9.0, 1.0], [2.0, 9.0]])  # a pair of one answer says nothing
    np.testing.assert_array_equal(s6._laplacian(weight), [[3.0, -3.0], [-3.0, 3.0]])


def test_s6_known_margins_show_the_margin():
    """Two answers: both margins against either opponent differ by l(0, 1), without noise."""
    game = rt.PreferenceGame(np.array([[[0.5, 0.8], [0.2, 0.5]]]))
    pairs = s6._known_margins(rng(5), game, np.array([[0.3, 0.7]]), 1_000, n_seeds=3)
    assert (pairs.counts.sum(axis=(1, 2, 3)) == 1_000).all()
    np.testing.assert_allclose(pairs.sums[:, 0, 0, 1] / pairs.counts[:, 0, 0, 1], 0.6)
    assert (
        s6._losses(pairs, game, np.array([[0.3, 0.7]])) < 1e-16
    ).all()  # a variance by the difference of two moments


# ------------------------------------------------------------------------------------------------- E4, E7


@pytest.mark.parametrize(("module", "argument"), [(e4, True), (e7, "uniform")])
def test_instances_are_numbered_on_and_cover_the_shapes(module, argument):
    draw = module._drawer(rng(), argument)
    first, second = draw(3), draw(2)
    names = pd.concat([first, second])["instance"].unique()
    assert len(names) == 5
    assert [int(name.split(", ")[1]) for name in names] == [0, 1, 2, 3, 4]
    assert len({name.split(",")[0] for name in names}) == len(module.SHAPES) == 3
