"""An audit names what is wrong: a step, a size, a condition, a question. Exact throughout: no false alarms."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from core.cases import AUDITED, discounted

import rebel_envs as envs
import rebel_theory as rt
from rebel_bench.instances import random_preferences, random_problem
from rebel_theory.algorithms import Algorithm, State
from rebel_theory.algorithms.registry import find_algorithms
from rebel_theory.arrays import log_softmax
from rebel_theory.solvers.soft import soft_values


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
    return {kind: random_problem(rng, kind, 3, 4, 1).instance(0) for kind in AUDITED}


@pytest.mark.parametrize("kind", AUDITED)
def test_an_exact_step_keeps_every_promise(kind, problems):
    for algorithm in (Descent(1.0), rt.Rebel(1.0, base="uniform"), rt.NaturalPolicyGradient(1.0)):
        found = rt.audit(AUDITED[kind], problems[kind], algorithm, n_iterations=40)
        assert not len(found.violations)
        assert not found.notes
        assert (found.values["eps_t"] < 1e-20).all()


@pytest.mark.parametrize("kind", AUDITED)
def test_a_flipped_sign_is_named_with_its_update_and_its_action(kind, problems):
    found = rt.audit(AUDITED[kind], problems[kind], Flipped(1.0), n_iterations=40)
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
    return discounted(rng, 5, 3, 0.9, 1).instance(0)


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
