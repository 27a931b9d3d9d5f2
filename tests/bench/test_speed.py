"""The speed suites: discovered, honest (both sides agree), timed right by a fake clock."""

from __future__ import annotations

import dataclasses
import inspect
import json

import numpy as np
import pytest

import rebel_envs as envs
import rebel_theory as rt
from rebel_bench.cmd_bench import Bench
from rebel_bench.errors import UserError
from rebel_bench.speed import discover, measure
from rebel_bench.speed.case import OURS, Case, Limit, Plan, Side
from rebel_bench.speed.peers import InstalledPeers
from rebel_bench.speed.suites._jax import simulator
from rebel_bench.speed.suites._methods import alone
from rebel_bench.speed.suites._plain import random_policy

SUITES = discover.suites()


class FakeClock:
    """Time passes only when a side says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def side(self, seconds, **kwargs):
        """A side whose k-th call takes ``seconds[k]``, the last one from then on."""
        left = list(seconds)

        def run():
            self.now += left.pop(0) if len(left) > 1 else left[0]
            return 1.0

        return Side(run, **kwargs)


def plan(case, **kwargs):
    return Plan("toy", lambda peers: case, **kwargs)


def test_every_file_is_a_suite_and_the_help_names_them():
    files = {path.stem.replace("_", "-") for path in discover.SUITES.glob("[!_]*.py")}
    assert set(SUITES) == files
    assert f"Suites: {', '.join(sorted(SUITES))}." in " ".join(inspect.getdoc(Bench).split())


def test_names_of_cases_are_unique_and_every_axis_has_a_curve():
    plans = {(name, p.name): p for name, suite in SUITES.items() for p in suite.plans("quick")}
    assert len(plans) == sum(len(suite.plans("quick")) for suite in SUITES.values())
    sizes = {axis: sorted(p.size for p in plans.values() if p.axis == axis) for axis in ("S", "A", "N", "d", "seeds")}
    assert all(len(points) >= 3 and min(points) > 0 for points in sizes.values())


def test_select_takes_commas_capitals_and_names_the_nearest():
    assert [s.name for s in discover.select(SUITES, ["Games,exact"])] == ["exact", "games"]
    assert len(discover.select(SUITES)) == len(SUITES)
    with pytest.raises(UserError, match=r"unknown suite 'samplin': did you mean sampling\?"):
        discover.select(SUITES, ["samplin"])


@pytest.mark.parametrize("name", ["counted", "regression"])
def test_both_sides_agree(name):
    for p in SUITES[name].plans("quick"):
        if p.axis is None or p.size <= 1000:
            case = p.build(InstalledPeers())
            apart = measure.differences(case)
            assert apart, f"{p.name} compares with nothing"
            assert all(d <= case.tolerance for d in apart.values()), (p.name, apart)


def test_the_ratio_is_the_median_of_the_ratios_within_rounds():
    clock = FakeClock()
    # warm-up (answers), one call to calibrate, then five rounds; a slow machine in round 3 slows both
    ours = clock.side([9, 1, 1, 1, 10, 1, 1], work=1.0)
    other = clock.side([9, 8, 8, 4, 80, 8, 16], work=2.0)
    rows = measure.measure("toy", plan(Case("thing", {OURS: ours, "NumPy": other}, 0.0)), clock=clock)
    assert [row.side for row in rows] == [OURS, "NumPy"]
    mine, theirs = rows
    assert (mine.ratio, mine.seconds, mine.status) == (1.0, 1.0, "timed")
    assert (theirs.ratio_low, theirs.ratio, theirs.ratio_high) == (4.0, 4.0, 4.0)  # of 4, 2, 4, 4, 8
    assert theirs.seconds == 4.0  # of 4, 2, 40, 4, 8: half of a call, which does two units
    assert (theirs.repeats, theirs.calls) == (5, 1)


def test_short_calls_are_repeated_within_a_timing():
    clock = FakeClock()
    case = Case("thing", {OURS: clock.side([1.1e-5]), "NumPy": clock.side([4.4e-5], work=4.0)}, 0.0)
    mine, theirs = measure.measure("toy", plan(case), clock=clock)
    assert (mine.calls, theirs.calls) == (455, 114)
    assert mine.seconds == pytest.approx(1.1e-5)
    assert theirs.ratio == pytest.approx(1.0)


def test_rounds_are_interleaved():
    order = []
    sides = {name: Side(lambda name=name: order.append(name)) for name in "ab"}
    ticks = iter(np.arange(1000.0))
    times, calls = measure.timings(sides, 3, lambda: next(ticks))
    assert order[-6:] == ["a", "b"] * 3
    assert calls == {"a": 1, "b": 1}
    assert times["a"].tolist() == [1.0] * 3


def test_fixed_costs_are_taken_off_within_the_round():
    clock = FakeClock()
    short = clock.side([1.0, 1.0, 1.0, 7.0, 1.0])
    side = clock.side([9.0, 5.0, 5.0, 5.0, 11.0, 5.0], work=2.0, less=short.run)
    [row] = measure.measure("toy", plan(Case("thing", {OURS: side}, 0.0)), clock=clock)
    assert (row.seconds_low, row.seconds, row.seconds_high) == (2.0, 2.0, 2.0)  # of 4 / 2 in every round


def test_wide_quartiles_are_marked():
    clock = FakeClock()
    quiet, noisy = clock.side([1.0]), clock.side([2, 2, 2, 2, 3, 3, 3])
    rows = measure.measure("toy", plan(Case("thing", {OURS: quiet, "NumPy": noisy}, 0.0)), clock=clock)
    assert [row.wide for row in rows] == [False, True]  # quartiles 2 and 3 about 3


def test_the_share_of_the_limit(monkeypatch):
    """The limit is the fastest that was seen: others on the machine cannot flatter the share."""
    clock = FakeClock()
    # work is 2.5 units: calibrating, then five rounds, one of them quiet
    slow = [9.0, 9.0, 9.0, 2.0, 9.0, 9.0]

    def side(limit, threads=1):
        return dataclasses.replace(clock.side(slow if threads == 1 else [30.0], work=10 / limit.per_unit))

    monkeypatch.setattr(measure, "limit_side", side)
    case = Case("thing", {OURS: clock.side([1.0], threads=2)}, 0.0, Limit("draws", 4.0), certified=1e-12)
    [row] = measure.measure("toy", plan(case), clock=clock)
    assert row.limit_seconds == pytest.approx(0.8)  # 2 s are 10 draws, a unit needs 4
    assert row.fraction == pytest.approx(0.8)
    assert (row.limit, row.certified) == ("4 draws", 1e-12)


@pytest.mark.parametrize("limit", [Limit("draws", 2.0), Limit("bytes", 8000.0, 8000.0), Limit("bytes", 1e12, 1e12)])
def test_the_limits_of_this_machine_run(limit):
    side = measure.limit_side(limit)
    side.run()
    assert side.work > 0


def test_a_side_that_disagrees_is_not_timed():
    sides = {
        OURS: Side(lambda: 1.0),
        "NumPy": Side(lambda: 1.5),
        "other": Side(lambda: [1.0, 1.0]),
        "nan": Side(lambda: np.nan),
    }
    rows = {row.side: row for row in measure.measure("toy", plan(Case("thing", sides, 0.1)))}
    assert {name: row.status for name, row in rows.items()} == {
        OURS: "timed", "NumPy": "differs", "other": "differs", "nan": "differs",
    }  # fmt: skip
    assert rows["NumPy"].note == "differs from ours by 0.5, tolerance 0.1: not timed"
    assert np.isnan(rows["NumPy"].seconds)


def test_too_large_a_case_is_skipped_before_its_set_up():
    def build(peers):
        raise AssertionError("built")

    [row] = measure.measure("toy", Plan("toy", build, memory=1e18))
    assert row.status == "skipped"
    assert "GB of memory" in row.note


def test_peers_that_are_missing_or_broken(tmp_path, monkeypatch):
    (tmp_path / "broken_peer.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(str(tmp_path))
    peers = InstalledPeers()
    assert peers.load("json") is json
    assert peers.load("no_such_peer") is None
    assert peers.load("broken_peer") is None
    assert peers.missing["no_such_peer"] == "not installed: pip install 'rebel-theory[bench]'"
    assert peers.missing["broken_peer"].startswith("does not load: ZeroDivisionError")


def test_each_method_alone_gives_the_values():
    made = {
        "chain": (lambda: envs.chain(40, discount=0.9, sparse=True), {"sweeps", "Gauss-Seidel", "bicgstab", "band"}),
        "dense": (lambda: envs.random_mdp(20, 3, discount=0.9, seed=0), {"sweeps"}),
    }
    for make, names in made.values():
        mdp = make()
        pi = random_policy(mdp.n_states, mdp.n_actions)
        found = rt.evaluate(mdp, pi, method="dense")
        methods = alone(mdp, pi)
        assert set(methods) == names
        for name, run in methods.items():
            values, q, occupancy, _, error = run()
            np.testing.assert_allclose(values, found.values, atol=1e-11, err_msg=name)
            np.testing.assert_allclose(q, found.q_values, atol=1e-11, err_msg=name)
            np.testing.assert_allclose(occupancy, found.occupancy, atol=1e-11, err_msg=name)
            assert error < 1e-10, name


def test_jax_walks_the_same_chain():
    """Mean reward within 5 standard errors of at most 1 / (2 sqrt(409600 / 40)): correlated over some 40 steps."""
    jax = pytest.importorskip("jax")
    mdp = envs.garnet(16, 4, 4, 0.9, seed=0, sparse=True)
    pi, rho = random_policy(16, 4), np.random.default_rng(1).dirichlet(np.ones(16))
    mdp = rt.TabularMDP(mdp.transition, mdp.reward, discount=0.9, initial_dist=rho)
    d = rt.evaluate(mdp, pi).occupancy
    mean = float(simulator(jax, mdp.transition, pi, mdp.reward, 0.9, d, rho)())
    assert mean == pytest.approx(np.einsum("s,sa,sa->", d, pi, mdp.reward), abs=0.025)
