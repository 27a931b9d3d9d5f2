"""The traps of C11 and P7 are what their docstrings say, and C8's control leaves the floor."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

import rebel_theory as rt
from rebel_bench.claims import c4_fixed_instance, c8_shift_floor, c11_mdp_regret_bound, p7_coverage


def test_c4_least_difference_is_the_smallest_lead_over_contexts():
    found = c4_fixed_instance._least_difference(np.array([[[0.1, 0.9, 0.4], [0.5, 0.2, 0.3]]]))
    assert_allclose(found, [0.2])


def test_c8_ratios_are_those_of_the_theory_notes():
    """0.941, 0.993, 0.9993: the run, and not only the formula."""
    for c, expected in ((10.0, 0.941), (100.0, 0.993), (1_000.0, 0.9993)):
        trace = c8_shift_floor._run(c, 0.1, 50, shifted=True)
        base = np.array([[1 / c, 0.0, 1 - 1 / c]])
        assert c8_shift_floor._ratios(trace, base)[-1] == pytest.approx(expected, abs=5e-4)
        assert trace.gap[0, -1] == pytest.approx(0.1, rel=1e-6)
    assert c8_shift_floor._run(100.0, 0.1, 50, shifted=False).gap[0, -1] < 0.06


def test_c11_trap_pays_behind_go_and_has_the_occupancy_asked_for():
    visits = np.array([1e-3, 1e-2])
    mdp, start = c11_mdp_regret_bound.trap(visits, 0.9)
    assert_allclose(rt.evaluate(mdp, start).occupancy[0, :, 1], visits, rtol=1e-6)
    assert_allclose(rt.solve(mdp).objective, 0.9 / 0.1)  # go at once, then 1 for ever
    trace = rt.run(mdp, rt.Rebel(50.0, base="uniform"), n_iterations=50, policy=start)
    assert_allclose(trace.gap[0, :, -1], 9.0, rtol=1e-6)


def test_p7_trap_covers_the_winner_and_has_a_gap_of_two():
    c = np.array([20.0, 1_000.0])
    game, start, base = p7_coverage.trap(c)
    assert_allclose(base.sum(axis=-1), 1.0)
    for i, single in enumerate(game.instances()):
        winner = rt.von_neumann_winner(single).policy
        assert_allclose(winner[0], np.array([1, 1, 1.2 / c[i]]) / (2 + 1.2 / c[i]), atol=1e-9)
        assert (winner / base[i]).max() < 1.3
    trace = rt.run(game, rt.Rebel(5.0, base=base), n_iterations=50, policy=start)
    assert_allclose(trace.average_gap[0, :, -1], 2.0, atol=1e-6)
    assert_allclose(trace.regression_error[0, :, -1], 1 / (2 * c), rtol=0.2)
