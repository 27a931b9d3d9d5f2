"""What a run leaves behind, and the public face that outside code relies on."""

import inspect

import numpy as np
import pandas as pd
import pytest
import reference as ref
from core.cases import KINDS, make

import rebel_theory as rt

COLUMNS = ["algorithm", "seed", "iteration", "gap", "average_gap", "regression_error", "kl", "queries"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("oracle", [rt.Exact(), rt.Sampled(20)])
def test_shapes(kind, oracle):
    case = make(kind, np.random.default_rng(0))
    trace = rt.run(case.problem, rt.Rebel(0.5), n_iterations=4, oracle=oracle, n_seeds=3, keep_policies=True)
    for name in ("gap", "average_gap", "kl", "queries"):
        assert getattr(trace, name).shape == (3, 5)
    assert trace.regression_error.shape == (3, 4)
    assert trace.probs.shape == (3, 5, *case.problem.policy_shape)
    assert trace.final_policy.probs.shape == (3, *case.problem.policy_shape)
    assert set(trace.bound) == {"progress", "curvature", "misfit", "total"}
    assert all(b.shape == (3, 4) for b in trace.bound.values())
    np.testing.assert_allclose(trace.probs[:, -1], trace.final_policy.probs, atol=1e-15)
    np.testing.assert_allclose(trace.probs.sum(axis=-1), 1)
    assert (trace.n_seeds, trace.n_iterations, trace.seed) == (3, 4, 0)
    assert (trace.gap >= 0).all()
    assert (np.diff(trace.queries, axis=1) > 0).all() == isinstance(oracle, rt.Sampled)


def test_policies_are_kept_on_demand_only():
    trace = rt.run(rt.ContextualBandit(np.eye(2)), rt.Rebel(0.5), n_iterations=1)
    assert trace.probs is None


def test_frame():
    case = make("mdp", np.random.default_rng(1))
    trace = rt.run(case.problem, rt.Rebel(0.5), n_iterations=4, oracle=rt.Sampled(20), n_seeds=3)
    frame = trace.to_frame()
    assert list(frame.columns) == COLUMNS
    assert len(frame) == 3 * 5
    for i, t in ((0, 0), (2, 3), (1, 4)):
        row = frame[(frame.seed == i) & (frame.iteration == t)].iloc[0]
        assert (row.algorithm, row.gap, row.kl) == ("REBEL", trace.gap[i, t], trace.kl[i, t])
        assert row.queries == trace.queries[i, t]
        if t < 4:
            assert row.regression_error == trace.regression_error[i, t]
        else:
            assert np.isnan(row.regression_error)


def test_frame_of_a_batch():
    bandit = rt.ContextualBandit(np.random.default_rng(1).random((2, 3, 4)))
    trace = rt.run(bandit, rt.Rebel([[0.1], [1.0], [3.0]]), n_iterations=2, n_seeds=2)
    frame = trace.to_frame()
    assert list(frame.columns) == ["algorithm", "seed", "batch_0", "batch_1", *COLUMNS[2:]]
    row = frame.query("seed == 1 and batch_0 == 2 and batch_1 == 0 and iteration == 1").iloc[0]
    assert row.gap == trace.gap[1, 2, 0, 1]


def test_compare_total_variation_and_names():
    rng = np.random.default_rng(2)
    case = make("bandit", rng)
    policy = rt.LogLinearPolicy.zeros(rng.standard_normal((4, 3, 2)))
    names = [rt.Rebel(1.0), rt.Rebel(1.0, base="uniform"), rt.MirrorDescent(1.0), rt.Rebel(0.5)]
    found = rt.compare(case.problem, names, n_iterations=3, policy=policy, keep_policies=True, n_seeds=2)
    assert [t.algorithm for t in found.traces] == ["REBEL", "REBEL (2)", "MD", "REBEL (3)"]
    assert len(found.total_variation) == 6
    for (a, b), values in found.total_variation.items():
        expected = [ref.tv(found[a].probs[0, t], found[b].probs[0, t]) for t in range(4)]
        np.testing.assert_allclose(values, [expected, expected], atol=1e-15)
    assert found.total_variation["REBEL", "MD"][0, 0] == 0
    assert found.total_variation["REBEL", "MD"][0, 1] > 1e-3
    frame = found.to_frame()
    assert isinstance(frame, pd.DataFrame)
    assert set(frame.algorithm) == {"REBEL", "REBEL (2)", "MD", "REBEL (3)"}
    assert rt.compare(case.problem, names[:2], n_iterations=1)["REBEL"].probs is None


def test_compare_leaves_unreachable_rows_out():
    p = np.zeros((2, 2, 2))
    p[:, :, 0] = 1
    mdp = rt.TabularMDP(p, [[1, 0], [1, 0]], discount=0.5, initial_dist=[1, 0])
    a = rt.TabularPolicy([[0.0, 0.0], [5.0, 0.0]])
    one = rt.compare(mdp, [rt.Rebel(1.0), rt.MirrorDescent(1.0)], n_iterations=2, policy=a)
    assert max(v.max() for v in one.total_variation.values()) < 1e-14


def test_progress_is_called_after_every_update():
    seen = []

    def note(t, *gap):
        seen.append(t)
        assert all(g >= 0 for g in gap)

    rt.run(rt.ContextualBandit(np.eye(2)), rt.Rebel(1.0), n_iterations=3, progress=note)
    assert seen == [1, 2, 3]
    seen.clear()
    both = [rt.Rebel(1.0), rt.MirrorDescent(1.0)]
    rt.compare(rt.ContextualBandit(np.eye(2)), both, n_iterations=2, progress=note)
    assert seen == [1, 2, 3, 4]


def test_regression_error_of_algorithms_without_a_base():
    """NPG and MD have no base: their error is reported on-policy."""
    rng = np.random.default_rng(3)
    case = make("bandit", rng)
    policy = rt.LogLinearPolicy.zeros(rng.standard_normal((4, 3, 2)))
    pi = policy.probs
    trace = rt.run(case.problem, rt.NaturalPolicyGradient(0.5), n_iterations=1, policy=policy)
    f = np.log(trace.final_policy.probs[0] / pi) / 0.5
    expected = ref.pair_loss(case.raw["rho"], pi, pi, f, case.raw["reward"])
    np.testing.assert_allclose(trace.regression_error[0, 0], expected, rtol=1e-11)


SIGNATURES = {
    rt.ContextualBandit: (["reward"], ["context_dist", "noise"]),
    rt.TabularMDP: (["transition", "reward"], ["discount", "initial_dist"]),
    rt.FiniteHorizonMDP: (["transition", "reward"], ["horizon", "initial_dist"]),
    rt.LinearMDP: (["features", "measures", "reward_weights"], ["discount", "initial_dist"]),
    rt.PreferenceGame: (["preference"], ["context_dist"]),
    rt.TabularPolicy: (["logits"], []),
    rt.LogLinearPolicy: (["features", "theta"], []),
    rt.GaussianNoise: (["sigma"], []),
    rt.BernoulliNoise: ([], []),
    rt.NoNoise: ([], []),
    rt.Exact: ([], []),
    rt.Sampled: (["n_pairs"], []),
    rt.evaluate: (["problem"], []),
    rt.solve: ([], []),
    rt.run: (
        ["problem", "algorithm"],
        ["n_iterations", "policy", "oracle", "n_seeds", "seed", "keep_policies"],
    ),
    rt.compare: (["problem", "algorithms"], ["n_iterations", "policy", "oracle", "n_seeds", "seed"]),
    rt.Rebel: (["step_size"], ["base"]),
    rt.NaturalPolicyGradient: (["step_size"], []),
    rt.MirrorDescent: (["step_size"], ["mirror_map"]),
    rt.concentrability: (["target", "base", "support"], []),
    rt.duality_gap: (["game"], []),
    rt.von_neumann_winner: (["game"], []),
}


@pytest.mark.parametrize("what", SIGNATURES)
def test_public_signatures(what):
    """Keyword names and order of the design's public face; more parameters may follow, with defaults."""
    positional, keywords = SIGNATURES[what]
    parameters = inspect.signature(what).parameters
    assert list(parameters)[: len(positional)] == positional
    assert set(keywords) <= set(parameters)
    for name, parameter in parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY and name not in ("discount", "horizon", "n_iterations"):
            assert parameter.default is not parameter.empty
    assert what.__doc__


def test_public_face_by_example():
    mdp = rt.TabularMDP(np.full((3, 2, 3), 1 / 3), np.eye(3, 2), discount=0.9)
    trace = rt.run(
        mdp, rt.Rebel(step_size=1.0, base="uniform"), n_iterations=5, oracle=rt.Sampled(n_pairs=20), n_seeds=4, seed=0
    )
    assert trace.gap.shape == (4, 6)
    found = rt.evaluate(mdp, rt.TabularPolicy.uniform(mdp))
    assert (found.values.shape, found.q_values.shape, found.occupancy.shape) == ((3,), (3, 2), (3,))
    assert np.ndim(found.objective) == 0
    best = rt.solve(mdp)
    assert (best.values.shape, best.q_values.shape, best.policy.shape) == ((3,), (3, 2), (3, 2))
    assert isinstance(best.error_bound, float)
    for base in (rt.TabularPolicy.uniform(mdp), np.full((3, 2), 0.5), rt.Mixture({"on-policy": 0.5, "uniform": 0.5})):
        assert rt.run(mdp, rt.Rebel(1.0, base=base), n_iterations=1).gap.shape == (1, 2)
    assert set(rt.__all__) <= set(dir(rt))


def test_defaults_are_uniform():
    assert (rt.ContextualBandit(np.zeros((4, 2))).context_dist == 0.25).all()
    assert (rt.TabularPolicy.uniform(rt.ContextualBandit(np.zeros((4, 2)))).probs == 0.5).all()
    trace = rt.run(rt.ContextualBandit(np.eye(2)), rt.Rebel(1.0), n_iterations=0, keep_policies=True)
    assert (trace.probs == 0.5).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_states_the_largest_error_of_its_evaluations(kind):
    case = make(kind, np.random.default_rng(0))
    trace = rt.run(case.problem, rt.Rebel(0.5), n_iterations=4, keep_policies=True)
    errors = [rt.evaluate(case.problem, trace.probs[0, t]).error_bound for t in range(5)]
    assert trace.evaluation_error == pytest.approx(max(errors), rel=1e-3, abs=0)
    assert (trace.evaluation_error > 0) == (kind != "game")  # a policy against itself earns exactly 0


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_stated_error_is_of_the_worst_iterate_not_of_the_last(sign):
    bandit = rt.ContextualBandit([[sign, 0.0]])  # values grow towards 1, or shrink towards 0, and rounding with them
    trace = rt.run(bandit, rt.Rebel(1.0), n_iterations=10, keep_policies=True)
    errors = [rt.evaluate(bandit, pi).error_bound for pi in trace.probs[0]]
    assert np.argmax(errors) == (10 if sign > 0 else 0)
    assert trace.evaluation_error == pytest.approx(max(errors), rel=1e-6, abs=0)


@pytest.mark.parametrize(("name", "per_step"), [("Rebel", 1), ("Egpo", 2)])
def test_no_policy_is_evaluated_twice(name, per_step, monkeypatch):
    from rebel_theory.oracles import base

    calls, real = [], base.evaluate_rows
    monkeypatch.setattr(base, "evaluate_rows", lambda *a: calls.append(1) or real(*a))
    game = rt.PreferenceGame([[0.5, 0.8, 0.3], [0.2, 0.5, 0.9], [0.7, 0.1, 0.5]])
    rt.von_neumann_winner(game)
    rt.run(game, getattr(rt, name)(0.1), n_iterations=1)  # what is known of the problem is kept from here on
    calls.clear()
    rt.run(game, getattr(rt, name)(0.1), n_iterations=10, policy=[[0.2, 0.3, 0.5]])
    assert len(calls) == 1 + 10 * per_step
