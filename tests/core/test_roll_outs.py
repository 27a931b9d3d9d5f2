"""Roll-outs: exact laws with stated false-alarm rates."""

import numpy as np
import pytest
from core.cases import dirichlet, make, start
from scipy.stats import chi2

import rebel_theory as rt
from rebel_theory.oracles import seed_streams
from rebel_theory.oracles.roll_outs import roll_out_sampler
from rebel_theory.policies import as_base

Z = 5  # standard errors: a false alarm below 6e-7 a number


def z_score(sample, mean):
    error = sample.std(axis=0, ddof=1) / np.sqrt(len(sample)) + 1e-12  # constant samples must equal their mean
    return (sample.mean(axis=0) - mean) / error


def draw(problem, pi, n, n_seeds=1, *, rho=None, mu=None, horizon=None, roll_in=False, seed=0):
    """Counts and sums of cells (n_seeds, S, A) of single actions, or of pairs with y' ~ mu, and queries (n_seeds,)."""
    rngs = seed_streams(seed, n_seeds)
    states = np.stack([rng.integers(0, 2**64, size=4, dtype=np.uint64) for rng in rngs])
    rows, m = pi.shape
    rho = np.full(rows, 1 / rows) if rho is None else np.asarray(rho, dtype=float)
    full = [np.array(np.broadcast_to(v, (n_seeds, *v.shape))) for v in (rho, pi, pi if mu is None else mu)]
    counts = np.zeros((n_seeds, rows, m, 1 if mu is None else m))
    sums = np.zeros_like(counts)
    seen = roll_out_sampler(problem, horizon, roll_in).draw(states, rngs, *full, n, counts, sums)
    return (counts, sums, seen) if mu is not None else (counts[..., 0], sums[..., 0], seen)


def chi_square(counts, law):
    """Goodness of fit of counts to a law, over the cells that it can reach; a false alarm of 1e-6."""
    counts, law = np.ravel(counts), np.ravel(law)
    assert counts[law == 0].sum() == 0
    counts, expected = counts[law > 0], counts.sum() * law[law > 0]
    return ((counts - expected) ** 2 / expected).sum() < chi2.isf(1e-6, len(expected) - 1)


def episodic():
    """State 0 ends in state 1; V(0) = 1.5 / 0.375 = 4 under the uniform policy."""
    p = np.zeros((2, 2, 2))
    p[0] = [[0.75, 0.25], [0.5, 0.5]]
    p[1, :, 1] = 1
    return rt.TabularMDP(p, [[1, 2], [0, 0]], discount=1.0, initial_dist=[1, 0])


def ring(n, discount):
    """From state s to s + 1 modulo n, reward 1: a return is the number of rewards, or their discounted sum."""
    p = np.roll(np.eye(n), 1, axis=1)[:, None].repeat(2, axis=1)
    return rt.TabularMDP(p, np.ones((n, 2)), discount=discount)


def uniform(n):
    return np.full((n, 2), 0.5)


@pytest.mark.parametrize(("discount", "n"), [(0.0, 40), (0.9, 40), (0.9999, 4), (0.99999, 1)])
def test_lengths_are_geometric(discount, n):
    """Rewards of 1: returns have mean 1/(1 - gamma) and variance gamma/(1 - gamma)^2; |z| < 5, twice."""
    _, sums, seen = draw(ring(5, discount), uniform(5), n, 400)
    total = sums.sum(axis=(1, 2))
    np.testing.assert_array_equal(total, seen)
    mean = n / (1 - discount)
    assert abs(z_score(total, mean)) < Z
    assert abs(z_score((total - mean) ** 2, n * discount / (1 - discount) ** 2)) < Z


def test_every_length_has_its_probability():
    """P(L = k) = gamma^(k - 1) (1 - gamma) for k up to 30; chi-square at a false-alarm rate of 1e-6."""
    _, sums, _ = draw(ring(1, 0.8), uniform(1), 1, 40_000)
    lengths = np.minimum(sums.sum(axis=(1, 2)), 31).astype(int)
    k = np.arange(1, 31)
    assert chi_square(np.bincount(lengths)[1:], np.append(0.8 ** (k - 1) * 0.2, 0.8**30))


@pytest.mark.parametrize("kind", ["mdp", "linear"])
def test_returns_have_the_exact_variance(kind):
    """E G^2 = r^2 + 2 gamma r E Q' + gamma E G'^2 for geometric stopping: 12 cells, |z| < 5, below 1e-5."""
    rng = np.random.default_rng(5)
    case = make(kind, rng)
    _, pi = start(rng, case)
    _, q = case.signal(pi)
    p, r, gamma = case.raw["transition"], case.raw["reward"], case.raw["gamma"]
    step = np.einsum("sat,tb->satb", p, pi).reshape(12, 12)
    r, q = r.ravel(), q.ravel()
    square = np.linalg.solve(np.eye(12) - gamma * step, r**2 + 2 * gamma * r * (step @ q))
    counts, sums, _ = draw(case.problem, pi, 1, 60_000)
    for cell in range(12):
        sample = sums.reshape(-1, 12)[counts.reshape(-1, 12)[:, cell] == 1, cell]
        assert abs(z_score(sample, q[cell])) < Z
        assert abs(z_score(sample**2, square[cell])) < Z


def test_roll_outs_without_discount_end_at_absorbing_states():
    mdp, pi, v = episodic(), np.full((2, 2), 0.5), 4.0
    for action, q in ((0, 1 + 0.75 * v), (1, 2 + 0.5 * v)):
        _, sums, seen = draw(mdp, pi, 100, 400, rho=[1, 0], mu=np.eye(2)[[action, action]], seed=action)
        assert abs(z_score(sums.sum(axis=(1, 2, 3)), 100 * (v - q))) < Z  # y ~ pi has mean V(0)
        assert (seen > 200).all()
    graph = rt.Sampled(500).bind(mdp, seed_streams(0, 1)).pairs(rt.TabularPolicy.from_probs(pi), as_base("uniform"))
    assert graph.weights[0, 1].sum() == 0  # the end is never sampled


def test_queries_are_the_rewards_that_count():
    """After the end nothing is observed: the episodic MDP ends with probability 3/8 a step, 8/3 rewards a roll-out."""
    _, _, seen = draw(episodic(), np.full((2, 2), 0.5), 50, 400, rho=[1, 0])
    assert abs(z_score(seen, 50 * 8 / 3)) < Z
    _, _, seen = draw(ring(3, 0.9), uniform(3), 50, 2, horizon=7)
    np.testing.assert_array_equal(seen, 350)
    _, _, seen = draw(ring(3, 0.9), uniform(3), 50, 2, mu=uniform(3), horizon=7, roll_in=True)
    np.testing.assert_array_equal(seen, 700)  # a roll-in observes no reward


@pytest.mark.parametrize("kind", ["mdp", "linear", "horizon"])
def test_a_horizon_gives_the_exact_truncated_values(kind):
    """The mean of every cell is Q of two steps, 12 or 36 cells at |z| < 5, below 3e-5; Q itself is refused."""
    rng = np.random.default_rng(6)
    case = make(kind, rng)
    _, pi = start(rng, case)
    _, q = case.signal(pi)
    p, r = case.raw["transition"], case.raw["reward"]
    gamma = case.raw.get("gamma", 1.0)
    if kind == "horizon":
        value = (pi.reshape(r.shape) * r).sum(axis=-1)
        cut = r.copy()
        cut[:-1] += np.einsum("hsat,ht->hsa", p[:-1], value[1:])
    else:
        cut = r + gamma * p @ (pi * r).sum(axis=-1)
    counts, sums, seen = draw(case.problem, pi, 300, 400, horizon=2)
    expected = counts * cut.reshape(q.shape)
    assert np.abs(z_score((sums - expected).reshape(400, -1), 0.0)).max() < Z
    assert np.abs(z_score((sums - counts * q).reshape(400, -1), 0.0)).max() > 2 * Z
    bound = rt.Sampled(1, horizon=2).bias_bound(case.problem)
    assert 0 < np.abs(cut.reshape(q.shape) - q).max() <= bound
    assert kind == "horizon" or (seen == 600).all()


def test_the_bias_bound_is_attained_and_0_without_a_cut():
    chain = ring(1, 0.9)  # Q = 10
    _, sums, _ = draw(chain, uniform(1), 1, horizon=5)
    assert 10 - sums.sum() == pytest.approx(rt.Sampled(1, horizon=5).bias_bound(chain), rel=1e-12)
    steps = rt.FiniteHorizonMDP(np.ones((1, 2, 1)), [[-2.0, -2.0]], horizon=5)
    _, sums, _ = draw(steps, uniform(5), 1, 50, rho=np.eye(5)[0], horizon=3)
    assert (sums.sum(axis=(1, 2)) + 10 == rt.Sampled(1, horizon=3).bias_bound(steps)).all()
    assert rt.Sampled(1, horizon=5).bias_bound(steps) == rt.Sampled(1, horizon=9).bias_bound(steps) == 0
    assert rt.Sampled(1).bias_bound(chain) == 0
    assert rt.Sampled(1, horizon=5).bias_bound(ring(2, 0.0)) == 0
    assert rt.Sampled(1, horizon=5).bias_bound(episodic()) == np.inf
    assert rt.Sampled(1).bias_bound(rt.ContextualBandit([[1.0, 0.0]])) == 0


@pytest.mark.parametrize("kind", ["mdp", "linear", "horizon", "absorbing", "discount 0"])
def test_roll_in_has_the_law_of_the_occupancy(kind):
    """Cells (x, y) against d_pi pi by chi-square, a false alarm of 1e-6; the initial law is the control."""
    rng = np.random.default_rng(7)
    if kind == "absorbing":
        chain = episodic()
        problem = rt.TabularMDP(chain.transition, chain.reward, discount=0.9, initial_dist=[1, 0])
        pi = dirichlet(rng, 2, 2)
    else:
        case = make("mdp" if kind == "discount 0" else kind, rng, gamma=0.0 if kind == "discount 0" else 0.8)
        problem, (_, pi) = case.problem, start(rng, case)
    policy = rt.TabularPolicy.from_probs(pi.reshape(problem.policy_shape))
    d = rt.evaluate(problem, policy).occupancy.ravel()
    counts, _, _ = draw(problem, pi, 40_000, rho=np.full(len(pi), np.nan), roll_in=True)  # no weights are read
    assert chi_square(counts[0], d[:, None] * pi)
    rho = np.zeros(len(pi))
    rho[: len(problem.initial_dist)] = problem.initial_dist
    occupied = counts[0].sum(axis=1)
    control = np.abs(occupied / 40_000 - rho).max() > 0.02
    assert control == (kind != "discount 0")


def test_roll_in_feeds_the_algorithms():
    """Means of the weights and of the regression's targets are those of the exact pairs: |z| < 5, 24 numbers."""
    rng = np.random.default_rng(8)
    case = make("mdp", rng)
    policy, pi = start(rng, case)
    d, q = case.signal(pi)
    bound = rt.Sampled(400, states="roll-in").bind(case.problem, seed_streams(1, 300))
    graph, i, j = bound.pairs(policy, as_base("uniform")), *np.triu_indices(3, 1)
    weights = (d[:, None, None] * (pi[:, :, None] + pi[:, None, :]) / 3)[:, i, j]
    targets = (q[:, :, None] - q[:, None, :])[:, i, j]
    assert np.abs(z_score(graph.weights[:, :, i, j], weights)).max() < Z
    assert np.abs(z_score((graph.weights * graph.targets)[:, :, i, j], weights * targets)).max() < Z
    trace = rt.run(case.problem, rt.Rebel(0.5), n_iterations=3, oracle=rt.Sampled(50, states="roll-in", horizon=4))
    np.testing.assert_array_equal(trace.queries, [[0, 400, 800, 1200]])


def test_what_cannot_be_rolled_out_is_refused():
    game = rt.PreferenceGame([[0.5, 0.7], [0.3, 0.5]])
    for problem in (rt.ContextualBandit([[1.0, 0.0]]), game):
        with pytest.raises(rt.InvalidProblemError, match="horizon=3 cuts the roll-outs of an MDP"):
            rt.Sampled(5, horizon=3).bind(problem, seed_streams(0, 1))
    with pytest.raises(rt.InvalidProblemError, match="horizon=3"):
        rt.Sampled(5, opponents="separate", horizon=3).bind(game, seed_streams(0, 1))
    with pytest.raises(rt.InvalidProblemError, match="separate"):
        rt.Sampled(5, opponents="separate", horizon=3).bind(episodic(), seed_streams(0, 1))
    with pytest.raises(rt.InvalidProblemError, match="discount, which is 1"):
        rt.Sampled(5, states="roll-in").bind(episodic(), seed_streams(0, 1))
    for bad in (0, 2.5, "two", np.nan):
        with pytest.raises(rt.InvalidProblemError, match="horizon is"):
            rt.Sampled(5, horizon=bad)
