"""What the game claims measure, against plain readings of their definitions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import rebel_envs as envs
import rebel_theory as rt
from rebel_bench.claim import Scale
from rebel_bench.claims import p3_optimism, p5_nash_md, p6_reward_models
from rebel_bench.style import figure
from rebel_theory.theory.bradley_terry import bradley_terry


def test_p3_potential_is_that_of_plain_hedge_on_the_same_signals():
    """z_t prop. to pi_0 exp(eta (q_1 + ... + q_{t-1})), summed up here instead of read off the iterates."""
    eta, game = p3_optimism.STEP_SIZE, envs.random_game(4, seed=2, n_instances=2)
    first = np.array([0.1, 0.2, 0.3, 0.4])
    trace = rt.run(game, rt.Omwu(eta), n_iterations=30, policy=np.tile(first, (1, 2, 1, 1)), keep_policies=True)
    found, moved = p3_optimism.potentials(game, trace.probs[0, :, :, 0])
    assert found.shape == (2, 30)
    assert moved.shape == (2, 29)
    for i in range(2):
        payoff, iterates = game.payoff[i, 0], trace.probs[0, i, :, 0]
        winner = rt.von_neumann_winner(rt.PreferenceGame(game.preference[i])).policy.reshape(-1)
        for t in (1, 2, 17, 29):
            z, later = (first * np.exp(eta * sum((payoff @ p for p in iterates[1:k]), np.zeros(4))) for k in (t, t + 1))
            z, later, pi = z / z.sum(), later / later.sum(), iterates[t]
            far = (later * np.log(later / pi)).sum() + (pi * np.log(pi / z)).sum()
            assert moved[i, t - 1] == pytest.approx(far, abs=1e-12)
            played = winner > 0
            far = (winner[played] * np.log(winner[played] / z[played])).sum()
            near = (z * np.log(z / iterates[t - 1])).sum()
            assert found[i, t - 1] == pytest.approx(far + near / 16, abs=1e-12)


def test_p5_control_is_hedge_with_the_theorems_steps():
    game, tau = rt.PreferenceGame([[0.5, 0.9], [0.1, 0.5]]), 0.5  # the signal's difference is 0.8 everywhere
    p = rt.run(game, p5_nash_md.Unmixed(1 / tau), n_iterations=3, keep_policies=True).probs[0, :, 0]
    steps = [2 / (tau * (t + 2)) for t in range(3)]
    assert_allclose(np.log(p[:, 0] / p[:, 1]), 0.8 * np.cumsum([0, *steps]), rtol=1e-12)


def test_p6_measures_the_rlhf_optimum_of_the_bradley_terry_fit():
    game = envs.type_chart()
    cases = p6_reward_models._measure("types", game, 64)
    strengths = bradley_terry(game.preference[0]).strengths
    for beta, gap in zip(cases["beta"], cases["dpo"], strict=True):
        p = np.exp((strengths - strengths.max()) / beta)
        p /= p.sum()
        assert gap == pytest.approx(2 * (game.payoff[0] @ p).max(), abs=2e-3)  # DPO's ridge of 1e-6, over beta
    trace = rt.run(game, rt.Rebel(np.sqrt(2 * np.log(18) / 64)), n_iterations=64)
    assert_allclose(cases["rebel"], trace.average_gap[0, -1], rtol=1e-9)
    assert_allclose(cases["value"], cases["dpo"] / cases["rebel"], rtol=1e-12)
    assert (cases["standard_error"] == 0).all()  # one game: a fact
    assert_allclose(cases["estimate"], cases["dpo"] - 2 * cases["rebel"], rtol=1e-12)


def test_p6_judges_the_mean_over_games_by_its_interval():
    games = p6_reward_models._games(np.random.default_rng(1), 4, envs.random_rater_mixture, cyclic=True)
    cases = p6_reward_models._measure("raters", games, 64)
    alone = [p6_reward_models._measure("one", rt.PreferenceGame(p), 64)["estimate"] for p in games.preference]
    assert_allclose(cases["estimate"], np.mean(alone, axis=0), rtol=1e-9)
    assert_allclose(cases["standard_error"], np.std(alone, axis=0, ddof=1) / 2, rtol=1e-9)
    assert (cases["dof"] == 3).all()
    test, many = p6_reward_models.TEST, cases.assign(dof=199.0)
    for mean, verdict in ((10, "holds"), (1, "inconclusive"), (-10, "refuted")):  # in standard errors
        judged = test.judge(many.assign(estimate=mean * cases["standard_error"]))
        assert judged.verdict == verdict
        assert (judged.p_value < 1e-10) == (verdict == "refuted")


@pytest.mark.parametrize("apart", [2.0, 2.6])
def test_p3_two_per_cent_are_left_from_logits_two_apart_and_more_from_further(apart):
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)[:, None] + 2 * np.pi / 3 * np.arange(3)
    logits = np.cos(angle)
    logits *= apart / np.ptp(logits, axis=-1, keepdims=True)
    first = rt.TabularPolicy(logits[:, None])
    gap = rt.run(envs.rock_paper_scissors(), rt.Omwu(1 / 8), n_iterations=2_000, policy=first, n_seeds=24).gap
    left, most = p3_optimism.gap_left(gap)
    assert (left <= most).all() == (apart <= p3_optimism.APART)


def test_p3_starts_are_as_near_as_stated():
    logits = p3_optimism._near(np.random.default_rng(0), 500).logits
    apart = np.ptp(logits, axis=-1)
    assert 1.9 < apart.max() <= p3_optimism.APART
    assert apart.min() < 0.1


def test_p6_games_have_no_condorcet_winner():
    games = p6_reward_models._games(np.random.default_rng(0), 5, envs.random_rater_mixture, cyclic=True)
    assert games.preference.shape == (5, 1, 8, 8)
    ahead = (games.preference[:, 0] > 0.5).sum(axis=-1)
    assert (ahead.max(axis=-1) < 7).all()


@pytest.fixture(scope="module")
def p3_cases():
    """P3's cases, with 40 updates in the place of 1,000 for what is drawn."""
    with pytest.MonkeyPatch.context() as patch:
        curves = p3_optimism.curves
        patch.setattr(p3_optimism, "curves", lambda games, n_updates: curves(games, 40))
        return p3_optimism.CLAIM.measure("check", Scale.QUICK, 0)


def test_p3_is_judged_by_what_is_tested_alone(p3_cases):
    claim = p3_optimism.CLAIM
    drawn = p3_cases["drawn"]
    assert drawn.sum() == 2 * 5 * 40
    judgement = claim.judge("check", p3_cases)
    assert (judgement.verdict, judgement.n_cases) == ("holds", 80)
    over = p3_cases.assign(bound=p3_cases["bound"].where(drawn, 0.0))
    assert claim.judge("check", over).verdict == "refuted"
    assert claim.judge("check", p3_cases.assign(drawn=True)).verdict == "inconclusive"


def test_p3_draws_its_cases_and_runs_nothing(p3_cases, monkeypatch):
    game = envs.rock_paper_scissors()
    first = rt.TabularPolicy.from_probs([[0.5, 0.25, 0.25]])
    trace = rt.run(game, rt.Omwu(0.1), n_iterations=40, policy=first)
    mmd = rt.duality_gap(game, rt.regularised_equilibrium(game, 0.1, np.array([0.5, 0.25, 0.25])).policy)
    monkeypatch.setattr(rt, "run", None)
    with figure("neurips", (2, 2)) as fig:
        p3_optimism.draw(fig, p3_cases.sample(frac=1, random_state=0).sort_index(), pd.DataFrame())
        curves = {line.get_label(): line for line in fig.axes[0].get_lines()}
        averages = {line.get_label(): line for line in fig.axes[1].get_lines()}
        assert [ax.get_title().split(":")[0] for ax in fig.axes] == [
            *["rock-paper-scissors"] * 2, *["ten answers, three played"] * 2
        ]  # fmt: skip
        assert {"MWU", "OMWU", "EGPO", "MMD", "Nash-MD"} <= set(curves)
        assert np.array_equal(curves["OMWU"].get_xdata(), np.arange(1, 41))
        assert_allclose(curves["OMWU"].get_ydata(), trace.gap[0, 1:], rtol=1e-9)
        assert_allclose(averages["OMWU"].get_ydata(), trace.average_gap[0, 1:], rtol=1e-9)
        level = [line.get_ydata()[0] for line in fig.axes[0].get_lines() if line.get_label().startswith("_")]
        assert_allclose(level, [mmd, mmd], rtol=1e-6)  # of MMD and of Nash-MD: their reference is the start
