"""The audit: identities hold, no line of a proof is ever violated, every line is tight somewhere, and wrong steps are
named. Exact throughout: a failure is a bug, not chance."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

import rebel_envs as envs
import rebel_theory as rt
from rebel_bench.claims import p7_coverage
from rebel_bench.instances import random_policy, random_preferences, random_problem, simplex
from rebel_theory.algorithms import Algorithm, State
from rebel_theory.algorithms.registry import find_algorithms
from rebel_theory.arrays import log_softmax
from rebel_theory.solvers.soft import soft_values
from rebel_theory.theory.bounds import exact_mdp_bound
from rebel_theory.theory.identity import regression_error, update_function

KINDS = {"bandit": "C1", "mdp": "C11", "horizon": "C11", "linear": "C11", "game": "P7"}
N, T = 24, 15


def log_linear(rng, problem, d=2):
    features = rng.standard_normal((*problem.policy_shape, d))
    return rt.LogLinearPolicy(features, rng.standard_normal((1, *problem.batch_shape, d)))


def steps(rng, n=N):
    return 10 ** rng.uniform(-2, 1, size=n)


def discounted(rng, s, a, discount, n=N):
    transition = rng.dirichlet(np.full(s, 0.3), size=(n, s, a))
    return rt.TabularMDP(transition, rng.random((n, s, a)), discount=discount, initial_dist=simplex(rng, n, s))


def every_audit(seed):
    """Yield audits over kinds, classes, bases, algorithms, samples."""
    rng = np.random.default_rng(seed)
    for kind, claim in KINDS.items():
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
        mdp = discounted(rng, 4, 3, gamma)
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


@pytest.mark.parametrize("kind", KINDS)
def test_the_bound_is_the_one_that_a_run_records(kind):
    rng = np.random.default_rng(5)
    problem = random_problem(rng, kind, 3, 4, N)
    start, algorithm = log_linear(rng, problem), rt.Rebel(steps(rng), base="uniform")
    found = rt.audit(KINDS[kind], problem, algorithm, n_iterations=T, policy=start)
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
        mdp = discounted(rng, s, 2, gamma, n=60)
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


@dataclass(frozen=True, eq=False)
class Descent(Algorithm):
    """Exact mirror descent, but for what a subclass does to the signal: pi exp(eta signal)."""

    name: ClassVar[str] = "descent"
    source: ClassVar[str] = "a test"
    step_size: float

    def signal(self, q, t):
        return q

    def init(self, policy):
        return State(policy, 0)

    def step(self, state, oracle):
        q = self.signal(oracle.feedback(state.policy).signal, state.memory)
        return State(state.policy.step(q, np.asarray(self.eta)), state.memory + 1)


class Flipped(Descent):
    """The sign of action 2 is flipped, from the fourth update on."""

    def signal(self, q, t):
        return np.where(np.arange(q.shape[-1]) == 2, -q, q) if t >= 3 else q


class Doubled(Descent):
    """Twice the step size that it states."""

    def signal(self, q, t):
        return 2 * q


class Backwards(Descent):
    def signal(self, q, t):
        return -q


def named(found):
    return list(dict.fromkeys(found.violations["name"]))


@pytest.fixture
def problems():
    rng = np.random.default_rng(11)
    return {kind: random_problem(rng, kind, 3, 4, 1).instance(0) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_an_exact_step_keeps_every_promise(kind, problems):
    for algorithm in (Descent(1.0), rt.Rebel(1.0, base="uniform"), rt.NaturalPolicyGradient(1.0)):
        found = rt.audit(KINDS[kind], problems[kind], algorithm, n_iterations=40)
        assert not len(found.violations)
        assert not found.notes
        assert (found.values["eps_t"] < 1e-20).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_sign_is_named_with_its_update_and_its_action(kind, problems):
    found = rt.audit(KINDS[kind], problems[kind], Flipped(1.0), n_iterations=40)
    assert named(found)[0] == "exact step"
    assert found.violations["iteration"].min() == 3
    assert found.notes[0].startswith("update 3 is not the exact step")
    assert "only action 2 is wrong" in found.notes[1]
    assert set(found.violations["role"]) == {"promise"}  # the proof is not in doubt


def test_without_misfit_the_bound_is_violated_and_the_audit_of_c2_names_the_line(problems):
    """C1 charges a wrong step to its misfit; C2 has no such term, and fails at the line that needs an exact step."""
    exact = rt.audit("C2", problems["bandit"], Descent(1.0), n_iterations=40)
    assert not len(exact.violations)
    found = rt.audit("C2", problems["bandit"], Backwards(1.0), n_iterations=40)
    assert named(found) == ["exact step", "improvement", "no misfit", "last and average", "C2"]
    assert found["C2"].violated[-1, 0]
    assert found.identity_error < 1e-10  # an equality, for wrong steps too
    assert found.notes[-1].endswith("it is -1 times the stated step size")


def test_a_step_of_another_size_is_named_with_its_size(problems):
    found = rt.audit("C1", problems["bandit"], Doubled(0.5), n_iterations=10)
    assert named(found) == ["exact step"]
    assert found.notes[-1] == "apart from its size the step is exact: it is 2 times the stated step size"


def test_policy_gradient_promises_nothing(problems):
    found = rt.audit("C11", problems["mdp"], rt.PolicyGradient(0.1), n_iterations=10)
    assert named(found)[0] == "exact step"
    assert found["C11"].violated.sum() == 0


@dataclass(frozen=True, eq=False)
class Regularised(Algorithm):
    """Entropy-regularised NPG with its step off by a factor, or with Q in place of Q_tau."""

    name: ClassVar[str] = "regularised"
    source: ClassVar[str] = "a test"
    step_size: float
    temperature: float = 0.1
    factor: float = 1.0
    hard: bool = False

    def step(self, state, oracle):
        policy, tau = state.policy, self.temperature
        q = soft_values(oracle.problem, policy.log_probs, tau)[1]
        q = oracle.feedback(policy).signal if self.hard else q
        kept = (1 - self.eta * tau) * policy.log_probs
        return State(rt.TabularPolicy(log_softmax(kept + self.factor * self.eta * q)))


def cycle_mdp():
    rng = np.random.default_rng(2)
    return discounted(rng, 5, 3, 0.9, n=1).instance(0)


def test_a_regularised_step_off_by_two_is_named_by_its_power_and_factor():
    start = np.random.default_rng(0).dirichlet(np.ones(3), size=5)
    right = rt.audit("C7", cycle_mdp(), Regularised(4.0), n_iterations=400, policy=start)
    assert not len(right.violations)
    wrong = rt.audit("C7", cycle_mdp(), Regularised(4.0, factor=2.0), n_iterations=400, policy=start)
    assert named(wrong)[0] == "exact step"
    assert {"triangle", "C7"} <= set(named(wrong))  # it converges, to another optimum
    assert "next state" not in named(wrong)  # what holds for any policy still holds
    assert wrong.notes[0].startswith("update 0 is not the stated step")
    assert wrong.notes[-1].startswith("it is pi^0.6 exp(8 Q_tau)")
    assert "another optimum" in wrong.notes[-1]
    hard = rt.audit("C7", cycle_mdp(), Regularised(4.0, hard=True), n_iterations=400, policy=start)
    assert named(hard)[0] == "exact step"
    assert "C7" in named(hard)


def test_a_regularised_step_of_another_size_is_said_to_be_that():
    start = np.random.default_rng(0).dirichlet(np.ones(3), size=5)

    class Half(Regularised):
        def step(self, state, oracle):
            return Regularised(self.step_size / 2).step(state, oracle)

    found = rt.audit("C7", cycle_mdp(), Half(4.0), n_iterations=60, policy=start)
    assert named(found)[0] == "exact step"
    assert "this is the step of eta = 2" in found.notes[-1]


def test_states_that_cannot_be_reached_are_left_out_of_c7():
    """An algorithm leaves them where they were, and the sup norm over all states would be violated: taxi, t = 4."""
    for name, tau in (("taxi", 1.0), ("cliffwalking", 0.1)):
        found = rt.audit("C7", envs.make(name), rt.EntropyNPG(1.0, temperature=tau), n_iterations=8)
        assert not len(found.violations)


def test_a_step_beyond_the_largest_of_c7_is_a_violated_condition():
    found = rt.audit("C7", cycle_mdp(), rt.EntropyNPG(20.0, temperature=0.1), n_iterations=5)
    assert named(found) == ["step size"]  # the algorithm itself takes 1/tau
    np.testing.assert_allclose(found["step size"].left, 0.2)  # eta_npg tau = (1 - 0.9) 20 0.1
    np.testing.assert_allclose(found["step size"].right, 0.1)


def test_an_action_that_loses_all_probability_is_a_violated_condition():
    bandit = rt.ContextualBandit([[1.0, 0.4, 0.0]])
    found = rt.audit("C1", bandit, rt.MirrorDescent(0.5, mirror_map="euclidean"), n_iterations=6)
    assert named(found)[0] == "support"
    lost = found["support"]
    first = int(np.argmax(lost.violated[:, 0]))
    assert np.isfinite(found.bound[:first]).all()
    assert not np.isfinite(found.bound[first:]).any()
    assert any("loses all probability" in note or "exact step" in note for note in found.notes)
    assert len(found.summary()) == len(found.parts)


def test_probabilities_that_underflow_do_not_hurt():
    start = rt.TabularPolicy(np.array([[0.0, 1_500.0, 1_400.0]]))
    bandit = rt.ContextualBandit([[1.0, 0.0, 0.5]])
    for algorithm in (rt.Rebel(1.0), rt.Rebel(30.0), rt.Rebel(1.0, base="uniform")):
        found = rt.audit("C1", bandit, algorithm, n_iterations=80, policy=start)
        assert not len(found.violations[found.violations["role"] != "promise"])
        assert found.identity_error < 1e-8
    game = rt.PreferenceGame(random_preferences(np.random.default_rng(0), 1, 3)[0])
    assert rt.audit("P7", game, rt.Rebel(1.0), n_iterations=80, policy=start).identity_error < 1e-8


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


@pytest.mark.parametrize(
    ("claim", "kind", "keywords", "message"),
    [
        ("C9", "bandit", {}, "C9 has no audit: expected one of C1, C2, C7, C11, P7"),
        ("C1", "mdp", {}, "C1 is about a bandit, not a TabularMDP: use C7 for"),
        ("P7", "bandit", {}, "use C1 for a bandit"),
        ("C7", "mdp", {}, "C7 needs a temperature > 0"),
        ("C7", "mdp", {"temperature": 0.1, "oracle": rt.Sampled(5)}, "use Exact"),
        ("C1", "bandit", {"n_iterations": 0}, "nothing to audit"),
    ],
)
def test_what_cannot_be_audited_is_refused(claim, kind, keywords, message, problems):
    problem = problems[kind]
    if kind == "mdp":
        problem = rt.TabularMDP(problem.transition, problem.reward, discount=0.5)
    with pytest.raises(rt.InvalidProblemError, match=message):
        rt.audit(claim, problem, rt.Rebel(1.0), **{"n_iterations": 3, **keywords})


def test_a_batch_is_sampled_one_by_one_and_c7_starts_inside():
    batch = random_problem(np.random.default_rng(0), "bandit", 2, 3, 4)
    with pytest.raises(rt.InvalidProblemError, match="with exact feedback only"):
        rt.audit("C1", batch, rt.Rebel(1.0), n_iterations=3, oracle=rt.Sampled(5))
    with pytest.raises(rt.InvalidProblemError, match="every action has a positive probability"):
        rt.audit("C7", cycle_mdp(), rt.EntropyNPG(1.0), n_iterations=3, policy=np.eye(3)[[0, 1, 2, 0, 1]])


def test_the_tables_are_tidy(problems):
    found = rt.audit("C1", problems["bandit"], rt.Rebel(1.0), n_iterations=7)
    terms, lines, summary = found.terms, found.inequalities, found.summary()
    assert list(terms.columns) == ["iteration", "term", "value"]
    assert not terms.duplicated(["iteration", "term"]).any()
    assert {"measured", "bound", "progress", "curvature", "misfit", "gap", "eps_t"} <= set(terms["term"])
    assert len(lines) == 7 * len(found.parts)
    np.testing.assert_allclose(lines["slack"], lines["right"] - lines["left"], atol=1e-15)
    assert summary["share_of_slack"].sum() == pytest.approx(1)
    gap, bound = found.measured[-1, 0], found.bound[-1, 0]
    assert summary["share_of_bound"].sum() == pytest.approx(1 - gap / bound)
    with pytest.raises(KeyError, match="C1 has support"):
        found["Hoefding"]
    batch = random_problem(np.random.default_rng(0), "bandit", 2, 3, 4)
    both = rt.audit("C1", batch, rt.Rebel(1.0), n_iterations=3).terms
    assert list(both.columns) == ["iteration", "instance", "term", "value"]


def test_every_algorithm_can_be_audited_and_the_exact_ones_are_told_apart(problems):
    """No algorithm at all violates the proofs of C1, C11 and P7; those that are mirror descent keep its promises."""
    always = {"md", "npg", "q-npg", "rebel"}
    exact = {"C1": always | {"omwu", "egpo"}, "P7": always | {"spo"}, "C11": always}
    kinds = {"C1": "bandit", "C11": "mdp", "P7": "game"}
    for claim, kind in kinds.items():
        problem, found = problems[kind], set()
        start = rt.TabularPolicy(np.random.default_rng(4).standard_normal(problem.policy_shape))
        for key, make in find_algorithms().items():
            algorithm = make(0.5)
            if algorithm.refuses(problem, rt.Exact()) is None:
                audit = rt.audit(claim, problem, algorithm, n_iterations=5, policy=start)
                assert set(audit.violations["role"]) <= {"promise"}, (claim, key)
                assert audit.identity_error < 1e-10
                found |= {key} if "exact step" not in named(audit) else set()
        assert found - {"trpo"} == exact[claim], claim  # TRPO is, where its trust region allows the whole step


def test_the_promised_rates_are_those_of_c2_and_c5():
    updates = np.arange(1, 6)
    reward = np.array([[1.0, 0.0, 0.3], [0.0, 0.9, 0.2]])
    mdp = rt.TabularMDP(np.full((2, 3, 2), 0.5), reward, discount=0.9)
    found = rt.audit("C11", mdp, rt.Rebel(2.0), n_iterations=5)
    np.testing.assert_allclose(found["rate of exact steps"].right[:, 0], exact_mdp_bound(3, 2.0, updates, 0.9))
    found = rt.audit("C1", rt.ContextualBandit(reward), rt.Rebel(2.0), n_iterations=5)
    np.testing.assert_allclose(found["rate of exact steps"].right[:, 0], np.log(3) / (2.0 * updates))
