"""Roll-outs: exact laws with stated false-alarm rates, chains in flight against one chain in plain Python."""

import numpy as np
import pytest
from core.cases import dirichlet, make, start
from scipy.stats import chi2

import rebel_theory as rt
from rebel_theory.kernels import roll_outs as kernels
from rebel_theory.kernels import sampling
from rebel_theory.oracles import seed_streams
from rebel_theory.oracles.roll_outs import roll_out_sampler
from rebel_theory.policies import as_base

Z = 5  # standard errors: a false alarm below 6e-7 a number
MASK = 2**64 - 1
ENTRY = [(1.0, 3, 0), (0.25, 7, 1), (2.0**-60, 2**31, 2**32 - 1)]  # threshold, own target, the other


def plain(kernel):
    """The Python function of a kernel; itself under NUMBA_DISABLE_JIT=1."""
    return getattr(kernel, "py_func", kernel)


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


def tables(rng, s, a):
    """A kernel's view of a random MDP whose last state is an end: (mdp, choices, transition (S A, S), reward, pi)."""
    p, pi, reward = dirichlet(rng, s * a, s), dirichlet(rng, s, a), rng.random((s, a))
    reward[-1] = 0
    indptr = np.arange(0, s * a * s + 1, s)
    spans = (indptr[:-1].astype(np.uint64) << np.uint64(32)) | np.uint64(s)
    alive = (np.arange(s) < s - 1).astype(np.int64)
    mdp = (spans, packed(indptr, p, np.tile(np.arange(s), s * a)), reward.ravel(), alive)
    return mdp, packed(np.arange(0, s * a + 1, a), pi, np.empty(0, dtype=np.int64)), p, reward, pi


def packed(indptr, probs, targets):
    threshold, alias = np.empty(probs.size), np.empty(probs.size, dtype=np.int32)
    sampling.build_csr(indptr, probs.ravel(), threshold, alias)
    entries = np.empty(2 * probs.size, dtype=np.uint64)
    kernels.pack(indptr, threshold, alias, targets, entries)
    return entries


class Stream:
    """xoshiro256++ in Python integers, seeded by SplitMix64 from the first words of a block."""

    def __init__(self, key, number):
        self.s, counter = [], key + number * 4 * kernels.LANES * 0x9E3779B97F4A7C15
        for _ in range(4):
            counter = (counter + 0x9E3779B97F4A7C15) & MASK
            z = ((counter ^ (counter >> 30)) * 0xBF58476D1CE4E5B9) & MASK
            z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
            self.s.append(z ^ (z >> 31))

    def word(self):
        rotate = lambda x, k: ((x << k) | (x >> (64 - k))) & MASK  # noqa: E731
        s = self.s
        result = (rotate((s[0] + s[3]) & MASK, 23) + s[0]) & MASK
        t = (s[1] << 17) & MASK
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = rotate(s[3], 45)
        return result


def naive_pick(entries, low, m, word):
    column, fraction = (word * m) >> 64, (word * m) & MASK
    threshold, targets = (int(entries[2 * (low + column) + k]) for k in (0, 1))
    return targets >> 32 if fraction < threshold else targets & (2**32 - 1)


@pytest.mark.kernels
@pytest.mark.parametrize("take", [lambda k: k, plain])
def test_a_pick_is_exact_in_integers(take):
    rng = np.random.default_rng(0)
    threshold = np.array([t for t, _, _ in ENTRY])
    targets = np.array([own for _, own, _ in ENTRY] + [other for _, _, other in ENTRY])
    entries, alias = np.empty(12, dtype=np.uint64), np.array([3, 4, 5, 0, 0, 0], dtype=np.int32)
    take(kernels.pack)(np.array([0, 6]), np.append(threshold, np.zeros(3)), alias, targets, entries)
    assert [int(e) for e in entries[:6]] == [0, (3 << 32) | 3, 2**62, (7 << 32) | 1, 16, (2**31 << 32) | (2**32 - 1)]
    words = [0, 1, MASK, MASK // 3, MASK // 3 + 1, MASK // 3 + 2, 2**63]
    words += rng.integers(0, 2**64, size=200, dtype=np.uint64).tolist()
    for m in (1, 2, 3):
        for word in words:
            with np.errstate(over="ignore"):  # NumPy's scalars warn where the compiled integers wrap
                got = take(kernels.pick)(entries, np.uint64(3 - m), np.uint64(m), np.uint64(word))
            assert got == naive_pick(entries, 3 - m, m, word)


@pytest.mark.kernels
@pytest.mark.parametrize("law", [(kernels.GEOMETRIC, 1 / np.log(0.8), 1.0), (kernels.FIXED, 5.0, 0.5)])
def test_one_chain_in_plain_python(law):
    """A block of one roll-out uses its first lane only: every draw, step, reward and count is foreseen."""
    rng = np.random.default_rng(1)
    s, a = 4, 3
    mdp, choices, _, reward, _ = tables(rng, s, a)
    starts = packed(np.array([0, s]), dirichlet(rng, s), np.empty(0, dtype=np.int64))
    cells, values, ended = np.empty(1, dtype=np.int64), np.empty(1), 0
    for number in range(60):
        key = int(rng.integers(0, 2**64, dtype=np.uint64))
        stream = Stream(key, number)
        x = naive_pick(starts, 0, s, stream.word())
        y = naive_pick(choices, x * a, a, stream.word())
        stream.word()  # the length of the roll-in of no step
        u = (stream.word() >> 11) * 2.0**-53
        left = int(np.log(1 - u) * law[1]) if law[0] == kernels.GEOMETRIC else 5
        cell, total, weight, seen = x * a + y, reward[x, y], 1.0, 1
        while left > 0:
            state = naive_pick(mdp[1], cell * s, s, stream.word())
            cell = state * a + naive_pick(choices, state * a, a, stream.word())
            if state == s - 1:
                ended += 1
                break
            weight *= law[2]
            total, seen, left = total + weight * reward.ravel()[cell], seen + 1, left - 1
        with np.errstate(over="ignore"):
            got = kernels.block(
                np.uint64(key), number, mdp, (starts, choices, choices), (kernels.FIXED, 0.0, 1.0), law, 1, cells,
                values,
            )  # fmt: skip
        assert (cells[0], got) == (x * a + y, seen)
        assert values[0] == pytest.approx(total, rel=1e-14)
    assert 5 < ended < 55


@pytest.mark.kernels
@pytest.mark.parametrize("kind", [kernels.GEOMETRIC, kernels.FIXED, kernels.UNIFORM])
def test_chains_in_flight_keep_their_own_totals_and_places(kind):
    n, size = 97, 11
    number = {kernels.GEOMETRIC: 1 / np.log(0.8), kernels.FIXED: 7.0, kernels.UNIFORM: 7.0}[kind]
    spans = (np.arange(size, dtype=np.uint64) << np.uint64(32)) | np.uint64(1)
    after = np.roll(np.arange(size, dtype=np.uint64), -1)
    moves = np.stack([np.zeros(size, dtype=np.uint64), (after << np.uint64(32)) | after], axis=1).ravel()
    mdp = (spans, moves, np.ones(size), np.ones(size, dtype=np.int64))
    streams = np.random.default_rng(2).integers(0, 2**64, size=(4, kernels.LANES), dtype=np.uint64)
    cells, values = (np.arange(n) % size).astype(np.uint64), np.empty(n)
    last = np.zeros(n, dtype=np.uint64)
    with np.errstate(over="ignore"):
        seen = kernels.walk(streams, cells, values, last, mdp, np.zeros(2 * size, dtype=np.uint64), (kind, number, 1.0))
    np.testing.assert_array_equal(last, (cells.astype(int) + values.astype(int) - 1) % size)
    assert seen == values.sum()
    assert values.min() >= 1
    assert (len(np.unique(values)) == 1) == (kind == kernels.FIXED)


@pytest.mark.kernels
def test_compiled_roll_outs_are_interpreted_exactly():
    rng = np.random.default_rng(3)
    s, a, n, k = 4, 3, 30, 2
    mdp, choices, _, _, _ = tables(rng, s, a)
    rows = [packed(np.array([0, s]), dirichlet(rng, s), np.empty(0, dtype=np.int64)) for _ in range(k)]
    starts, choices = np.stack(rows), np.stack([choices] * k)
    laws = [(kernels.GEOMETRIC, 1 / np.log(0.7), 1.0), (kernels.FIXED, 3.0, 0.9), (kernels.UNIFORM, 3.0, 1.0)]
    results = []
    for take in (lambda kernel: kernel, plain):
        states, filled = np.arange(1, 4 * k + 1, dtype=np.uint64).reshape(k, 4), []
        streams, words = np.empty((4, kernels.LANES), dtype=np.uint64), np.empty(kernels.LANES, dtype=np.uint64)
        with np.errstate(over="ignore"):
            take(kernels.seed_streams)(np.uint64(5), 3, streams)
            take(kernels.advance)(streams, words)
            filled += [streams.copy(), words]
            for law in laws:
                cells, values = np.arange(n, dtype=np.uint64) % np.uint64(s * a), np.empty(n)
                filled.append(take(kernels.walk)(streams, cells, values, cells, mdp, choices[0], law))
                filled += [cells, values]
                for width in (1, a):
                    counts, sums, seen = np.zeros((k, s, a, width)), np.zeros((k, s, a, width)), np.zeros(k)
                    take(kernels.all_roll_outs)(
                        states, starts, choices, choices, n, 8, mdp, laws[2], law, counts, sums, seen
                    )
                    filled += [counts, sums, seen]
                    assert (counts.sum(axis=(1, 2, 3)) == n).all()
        results.append([*filled, states])
    for one, two in zip(*results, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-14, atol=1e-14)  # fused multiply-add may differ in the last digit


@pytest.mark.parametrize(("n_seeds", "n"), [(1, 45_000), (3, 9_000), (300, 20)])
def test_results_are_those_of_the_blocks_in_order_with_any_number_of_threads(n_seeds, n):
    """One seed of many groups of blocks, few seeds, and more seeds than wait at a time."""
    numba = pytest.importorskip("numba")
    rng = np.random.default_rng(4)
    s, a, size = 4, 3, 64
    mdp, choices, _, _, _ = tables(rng, s, a)
    starts = packed(np.array([0, s]), dirichlet(rng, s), np.empty(0, dtype=np.int64))
    by_seed = [np.array(np.broadcast_to(t, (n_seeds, t.size))) for t in (starts, choices, choices)]
    none, law = (kernels.FIXED, 0.0, 1.0), (kernels.GEOMETRIC, 1 / np.log(0.5), 1.0)
    states = rng.integers(0, 2**64, size=(n_seeds, 4), dtype=np.uint64)
    before, found = numba.get_num_threads(), []
    try:
        for threads in (1, before):
            numba.set_num_threads(threads)
            counts, sums, seen = np.zeros((n_seeds, s, a, a)), np.zeros((n_seeds, s, a, a)), np.zeros(n_seeds)
            kernels.all_roll_outs(states.copy(), *by_seed, n, size, mdp, none, law, counts, sums, seen)
            found.append((counts, sums, seen))
    finally:
        numba.set_num_threads(before)
    for one, two in zip(*found, strict=True):
        np.testing.assert_array_equal(one, two)
    counts, sums, seen = found[0]
    for k in {0, n_seeds - 1}:
        key = np.empty(1, dtype=np.uint64)
        kernels.advance(states[k].reshape(4, 1), key)
        expected = np.zeros((3, s * a * a))
        for number, low in enumerate(range(0, n, size)):
            cells, values = np.empty(min(size, n - low), dtype=np.int64), np.empty(min(size, n - low))
            tables_of_seed = tuple(t[k] for t in by_seed)
            expected[2, 0] += kernels.block(key[0], number, mdp, tables_of_seed, none, law, a, cells, values)
            np.add.at(expected[0], cells, 1)
            np.add.at(expected[1], cells, values)
        np.testing.assert_array_equal(counts[k].ravel(), expected[0])
        np.testing.assert_array_equal(sums[k].ravel(), expected[1])
        assert seen[k] == expected[2, 0]


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
