"""OMWU, extragradient, magnetic mirror descent and Nash-MD: naive readings, fixed points, their own theorems."""

import numpy as np
import pytest
from games import reference_games as naive
from numpy.testing import assert_allclose

import rebel_theory as rt
from rebel_theory.theory.bounds import extragradient_bound, magnetic_bound, nash_md_bound

RPS = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], dtype=float)


def game_of(payoff):
    return rt.PreferenceGame((np.asarray(payoff) + 1) / 2)


def iterates(payoff, algorithm, first, n):
    trace = rt.run(game_of(payoff), algorithm, n_iterations=n, policy=np.asarray(first)[None], keep_policies=True)
    return trace.probs[0, :, 0]


def instance(seed, n=4):
    rng = np.random.default_rng(seed)
    return naive.random_payoff(rng, n), rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(n))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("make", "reference"), [
    (lambda m: rt.Omwu(0.3), lambda m: naive.omwu(0.3)),
    (lambda m: rt.Egpo(0.3), lambda m: naive.egpo(0.6, 0.0, m)),
    (lambda m: rt.Egpo(0.3, temperature=0.5, reference=m[None]), lambda m: naive.egpo(0.6, 0.25, m)),
    (lambda m: rt.NashMD(0.3, temperature=0.5, reference=m[None]), lambda m: naive.nash_md(0.6, 0.25, m)),
    (lambda m: rt.NashMD(9.0, temperature=0.5, reference=m[None], schedule="theorem"),
     lambda m: naive.nash_md(lambda t: 2 / (0.25 * (t + 2)), 0.25, m)),
], ids=["omwu", "extragradient", "egpo", "nash-md", "nash-md theorem"])  # fmt: skip
def test_equals_the_paper_read_naively(make, reference, seed):
    payoff, first, m = instance(seed)
    expected = naive.play(reference(m), payoff, first, 6)
    assert_allclose(iterates(payoff, make(m), first, 6), expected, rtol=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_magnetic_mirror_descent_solves_its_proximal_problem(seed):
    payoff, first, m = instance(seed)
    found = iterates(payoff, rt.MagneticMirrorDescent(0.4, 0.3, m[None]), first, 1)[1]
    assert_allclose(found, naive.play(naive.mmd(0.4, 0.3, m), payoff, first, 1)[1], atol=1e-6)


def test_one_step_by_hand():
    """From uniform on l_01 = 1 the signal is (1/2, -1/2): log-odds move by eta; 3 eta once it is remembered."""
    payoff = [[0, 1], [-1, 0]]
    uniform = np.array([0.5, 0.5])

    def odds(algorithm, n):
        p = iterates(payoff, algorithm, uniform, n)[-1]
        return np.log(p[0] / p[1])

    assert_allclose(odds(rt.Omwu(0.3), 1), 0.3, rtol=1e-12)
    assert_allclose(odds(rt.Omwu(0.3), 2), 0.6, rtol=1e-12)  # l_01 - l_11 = l_00 - l_10 = 1 against any policy
    assert_allclose(odds(rt.Egpo(0.3), 1), 0.3, rtol=1e-12)
    assert_allclose(odds(rt.Egpo(0.3, 0.5), 2), 0.3 * 0.85 + 0.3, rtol=1e-12)
    assert_allclose(odds(rt.MagneticMirrorDescent(0.3, 0.5), 1), 0.3 / 1.15, rtol=1e-12)
    assert_allclose(odds(rt.NashMD(0.3, 0.5), 2), 0.3 * 0.85 + 0.3, rtol=1e-12)


def test_omwu_by_hand_on_rock_paper_scissors():
    """From (1/2, 1/4, 1/4): q = (0, 1/4, -1/4), so log-ratios move by eta/4; then by 2 q_1 - q_0."""
    eta, first = 0.5, np.array([0.5, 0.25, 0.25])
    found = iterates(RPS, rt.Omwu(eta), first, 2)
    one = naive.softmax(np.log(first) + eta * np.array([0, 0.25, -0.25]))
    assert_allclose(found[1], one, rtol=1e-12)
    assert_allclose(found[2], naive.softmax(np.log(one) + eta * (2 * RPS @ one - [0, 0.25, -0.25])), rtol=1e-12)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("tau", [1.0, 0.1])
def test_regularised_equilibria_are_fixed_points(seed, tau):
    payoff, _, m = instance(seed, 5)
    star = rt.regularised_equilibrium(game_of(payoff), tau, m).policy
    for algorithm in (rt.MagneticMirrorDescent(0.7, tau, m[None]), rt.Egpo(0.7, tau, m[None])):
        assert_allclose(iterates(payoff, algorithm, star, 3), np.tile(star, (4, 1)), atol=1e-13)


@pytest.mark.parametrize("seed", range(4))
def test_nash_md_stays_at_a_fixed_point_of_its_own(seed):
    """pi prop. to m exp(L p / tau), p the equilibrium at tau / (1 - eta tau): not the equilibrium at tau."""
    payoff, _, m = instance(seed, 5)
    eta, tau = 0.5, 0.4
    mix = rt.regularised_equilibrium(game_of(payoff), tau / (1 - eta * tau), m).policy
    own = naive.softmax(np.log(m) + payoff @ mix / tau)
    assert_allclose(iterates(payoff, rt.NashMD(eta, tau, m[None]), own, 3), np.tile(own, (4, 1)), atol=1e-13)
    star = rt.regularised_equilibrium(game_of(payoff), tau, m).policy
    assert np.abs(iterates(payoff, rt.NashMD(eta, tau, m[None]), star, 1)[1] - star).sum() > 1e-3


@pytest.mark.parametrize("weights", [(1, 1, 1), (1.0, 0.5, 0.25)])
def test_the_von_neumann_winner_is_a_fixed_point_of_the_plain_ones(weights):
    a, b, c = weights
    payoff = np.array([[0, -a, c], [a, 0, -b], [-c, b, 0]])
    winner = rt.von_neumann_winner(game_of(payoff)).policy
    for algorithm in (rt.Omwu(0.5), rt.Egpo(0.5)):
        assert_allclose(iterates(payoff, algorithm, winner, 5), np.tile(winner, (6, 1)), atol=1e-14)


def test_p3_optimism_converges_where_multiplicative_weights_cycle():
    """40 games of three actions with an interior winner: OMWU and extragradient go to it, Hedge moves away."""
    rng = np.random.default_rng(0)
    for _ in range(40):
        a, b, c = rng.uniform(0.4, 1, 3)
        payoff = np.array([[0, -a, c], [a, 0, -b], [-c, b, 0]])
        winner = np.array([b, c, a]) / (a + b + c)
        first = rng.dirichlet(np.ones(3)) * 0.9 + 0.1 / 3

        def distance(algorithm, n, payoff=payoff, first=first, winner=winner):
            return [naive.kl(winner, p) for p in iterates(payoff, algorithm, first, n)[:: max(n // 4, 1)]]

        start = naive.kl(winner, first)
        for algorithm in (rt.Omwu(1 / 8), rt.Egpo(1 / 8)):
            ends = distance(algorithm, 4_000)
            assert ends[-1] < 0.02 * start
            assert ends[1] > ends[2] > ends[-1]
        assert distance(rt.MirrorDescent(1 / 8), 400)[-1] > start


def kl_to(star, policies):
    return np.array([naive.kl(star, p) for p in policies])


def test_p4_magnetic_mirror_descent_contracts_at_its_rate():
    """KL_t <= KL_0 (1 + eta alpha)^-t on 80 instances, eta up to alpha / L^2; sharp within a factor 3 somewhere."""
    rng, worst, closest = np.random.default_rng(1), 0.0, 0.0
    for _ in range(80):
        n, alpha = int(rng.integers(2, 9)), 10 ** rng.uniform(-1.3, 0.5)
        payoff = naive.random_payoff(rng, n)
        first, m = rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(n))
        eta = alpha / np.abs(payoff).max() ** 2 * rng.choice([1.0, rng.uniform(0.1, 1)])
        star = rt.regularised_equilibrium(game_of(payoff), alpha, m).policy
        found = kl_to(star, iterates(payoff, rt.MagneticMirrorDescent(eta, alpha, m[None]), first, 20))
        bound = magnetic_bound(found[0], eta, alpha, np.arange(21))
        worst = max(worst, float((found - bound * (1 + 1e-9) - 1e-13).max()))
        closest = max(closest, float((found[1:4] / bound[1:4]).max()))
    assert worst <= 0
    assert closest > 1 / 3


def test_extragradient_contracts_at_its_rate():
    """KL_t <= KL_0 (1 - eta tau)^t on 80 instances with eta (1 + tau) <= 1; nearly an equality somewhere."""
    rng, worst, closest = np.random.default_rng(2), 0.0, 0.0
    for _ in range(80):
        n, tau = int(rng.integers(2, 9)), rng.choice([0.0, 10 ** rng.uniform(-2, 1)])
        payoff = naive.random_payoff(rng, n)
        first, m = rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(n))
        eta = rng.uniform(0.05, 1) / (1 + tau)
        if tau:
            star = rt.regularised_equilibrium(game_of(payoff), tau, m).policy
        else:
            star = rt.von_neumann_winner(game_of(payoff)).policy
        found = kl_to(star, iterates(payoff, rt.Egpo(eta, tau, m[None]), first, 20))
        bound = extragradient_bound(found[0], eta, tau, np.arange(21))
        worst = max(worst, float((found - bound * (1 + 1e-9) - 1e-13).max()))
        closest = max(closest, float((found[1:4] / bound[1:4]).max()))
    assert worst <= 0
    assert closest > 0.9


def test_p5_nash_md_obeys_its_theorem():
    """KL_T <= 8 / (tau_P^2 (T + 1)) on 60 instances, temperatures in units of P; the last iterate goes on falling."""
    rng = np.random.default_rng(3)
    for _ in range(60):
        n, tau_p = int(rng.integers(2, 9)), 10 ** rng.uniform(-1, 0.5)
        payoff = naive.random_payoff(rng, n)
        first, m = rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(n))
        tau = float(rt.payoff_temperature(tau_p))
        star = rt.regularised_equilibrium(game_of(payoff), tau, m).policy
        algorithm = rt.NashMD(1.0, tau, m[None], schedule="theorem")
        found = kl_to(star, iterates(payoff, algorithm, first, 60))
        assert (found[1:] <= nash_md_bound(tau_p, np.arange(1, 61))).all()
        assert found[60] < 0.2 * found[1:4].max() + 1e-12


def test_contexts_references_and_first_policies_reach_their_equilibria():
    rng = np.random.default_rng(4)
    payoff, m = naive.random_payoff(rng, 4, x=3), rng.dirichlet(np.ones(4), size=3)
    game = game_of(payoff)
    for reference, resolved in ((m, m), ("uniform", None), ("first", m)):
        star = rt.regularised_equilibrium(game, 0.5, resolved).policy
        for algorithm in (rt.MagneticMirrorDescent(0.5, 0.5, reference), rt.Egpo(0.5, 0.5, reference)):
            trace = rt.run(game, algorithm, n_iterations=300, policy=m)
            assert_allclose(trace.final_policy.probs[0], star, atol=1e-12)


@pytest.mark.parametrize("algorithm", [rt.Omwu(0.2), rt.Egpo(0.2, 0.5), rt.MagneticMirrorDescent(0.2, 0.5),
                                       rt.NashMD(0.2, 0.5)], ids=lambda a: a.key)  # fmt: skip
def test_sampled_steps_are_the_exact_ones_in_the_limit(algorithm):
    """10^12 comparisons a call: the steps agree to 1e-4 (20 standard errors of 5e-6 at the smallest probability)."""
    payoff, first, _ = instance(6)
    exact = iterates(payoff, algorithm, first, 3)
    many = rt.run(game_of(payoff), algorithm, n_iterations=3, policy=first[None], oracle=rt.Counted(10**12),
                  keep_policies=True, n_seeds=2)  # fmt: skip
    assert_allclose(many.probs[:, :, 0], np.broadcast_to(exact, (2, 4, 4)), atol=1e-4)
    calls = 2 if algorithm.key == "egpo" else 1
    assert (np.diff(many.queries) == calls * 2 * 10**12).all()


def test_log_linear_classes_project_the_step():
    """With full features the class is tabular; with one feature the projection keeps E_target[phi]."""
    payoff, first, m = instance(7)
    game = game_of(payoff)
    eye = np.eye(4)[None]
    for algorithm in (rt.Omwu(0.3), rt.Egpo(0.3, 0.4, m[None]), rt.MagneticMirrorDescent(0.3, 0.4, m[None]),
                      rt.NashMD(0.3, 0.4, m[None])):  # fmt: skip
        full = rt.run(game, algorithm, n_iterations=4, policy=rt.LogLinearPolicy(eye, np.log(first)),
                      keep_policies=True)  # fmt: skip
        assert_allclose(full.probs[0, :, 0], iterates(payoff, algorithm, first, 4), atol=1e-10)
        if algorithm.key == "egpo":  # its look-ahead is projected, too
            continue
        phi = np.array([0.0, 1.0, 2.0, 4.0])[None, :, None]
        start = rt.LogLinearPolicy(phi, [0.2])
        one = rt.run(game, algorithm, n_iterations=1, policy=start).final_policy.probs[0, 0]
        target = iterates(payoff, algorithm, start.probs[0], 1)[1]
        assert_allclose(one @ phi[0, :, 0], target @ phi[0, :, 0], rtol=1e-9)


def test_omwu_remembers_the_latest_visit_of_a_row():
    """A row that the second sample missed uses its first signal in the third; a row never seen has no momentum."""
    policy = rt.TabularPolicy(np.zeros((2, 2)))
    seen = [(True, True), (True, False), (True, True)]
    signals = [[[1.0, 0], [1.0, 0]], [[0.5, 0], [9.0, 9]], [[0.0, 0], [0.25, 0]]]

    class Scripted:
        t = 0

        def feedback(self, policy):
            visited, signal = np.array(seen[self.t]), np.array(signals[self.t])
            self.t += 1
            return rt.feedback.Feedback(np.array([0.5, 0.5]), signal, visited)

    oracle, algorithm = Scripted(), rt.Omwu(1.0)
    state = algorithm.init(policy)
    odds = []
    for _ in range(3):
        state = algorithm.step(state, oracle)
        odds.append(np.diff(-state.policy.log_probs, axis=-1)[:, 0])
    assert_allclose(np.diff(odds, axis=0, prepend=0)[:, 0], [1.0, 0.0, -0.5], atol=1e-12)
    assert_allclose(np.diff(odds, axis=0, prepend=0)[:, 1], [1.0, 0.0, -0.5], atol=1e-12)


def test_large_steps_and_tiny_probabilities():
    first = np.array([1 - 2e-300, 1e-300, 1e-300])
    for algorithm in (rt.Omwu(1e6), rt.Egpo(1e6), rt.MagneticMirrorDescent(1e6, 0.1), rt.NashMD(0.5, 0.1)):
        p = iterates(RPS, algorithm, first, 5)
        assert np.isfinite(p).all()
        assert_allclose(p.sum(axis=-1), 1, atol=1e-12)
    slow = iterates(RPS, rt.Egpo(0.5), first, 3)  # (0, 1, -1) against rock: e^{eta} a step, exactly
    assert_allclose(slow[:, 1] / 1e-300, np.exp(0.5 * np.arange(4)), rtol=1e-9)


@pytest.mark.parametrize(("make", "words"), [
    (lambda: rt.MagneticMirrorDescent(0.1, 0.0), "temperature is 0.0, expected a finite number > 0"),
    (lambda: rt.Egpo(0.1, -1.0), "temperature is -1.0, expected a finite number >= 0"),
    (lambda: rt.NashMD(0.1, np.nan), "temperature is nan"),
    (lambda: rt.NashMD(0.1, schedule="slow"), "schedule is 'slow'"),
    (lambda: rt.Omwu(-1.0), "step_size is -1.0"),
    (lambda: rt.Egpo(0.1, 1.0, reference="on-policy"), "which moves"),
    (lambda: iterates(RPS, rt.Egpo(3.0, 0.5), [0.5, 0.25, 0.25], 1), "step_size times temperature is 1.5"),
    (lambda: iterates(RPS, rt.NashMD(30.0), [0.5, 0.25, 0.25], 1), "use a step size of at most 10"),
    (lambda: iterates(RPS, rt.MagneticMirrorDescent(1.0, 1.0, [[1.0, 0, 0]]), [0.5, 0.25, 0.25], 1),
     r"probs\[s=0, a=1\] is 0.0, expected a probability > 0"),
])  # fmt: skip
def test_errors(make, words):
    with pytest.raises(rt.InvalidProblemError, match=words):
        make()
