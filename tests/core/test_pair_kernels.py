"""The kernels that draw pairs: tables, normals and streams against naive readings, and independence of threads."""

import numpy as np
import pytest
from core.cases import dirichlet, preference
from scipy.stats import chi2, kstest

import rebel_theory as rt
from rebel_theory.kernels import pairs as kernels
from rebel_theory.oracles import samplers, seed_streams
from rebel_theory.policies import as_base

KINDS = ("MEANS", "BERNOULLI", "GAUSSIAN", "SHARED", "SEPARATE")


def plain(kernel):
    """The Python function of a kernel; itself under NUMBA_DISABLE_JIT=1."""
    return getattr(kernel, "py_func", kernel)


def state_of(seed):
    return np.random.default_rng(seed).integers(0, 2**64, size=4, dtype=np.uint64)


def xoshiro(numbers, n):
    """n words of xoshiro256++ in Python integers."""
    mask, s, words = 2**64 - 1, [int(v) for v in numbers], []
    rotate = lambda x, k: ((x << k) | (x >> (64 - k))) & mask  # noqa: E731
    for _ in range(n):
        words.append((rotate((s[0] + s[3]) & mask, 23) + s[0]) & mask)
        t = (s[1] << 17) & mask
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = rotate(s[3], 45)
    return words


def rows():
    rng = np.random.default_rng(0)
    found = [rng.dirichlet(np.full(m, c)) for m in (1, 2, 5, 9, 40) for c in (0.05, 1.0)]
    return [*found, np.array([0.0, 1.0]), np.array([0.5, 0.0, 0.5, 0.0]), np.array([1e-300, 1 - 1e-16, 0.0])]


@pytest.mark.kernels
def test_alias_tables_hold_the_distribution_exactly():
    """The table's own probabilities, (threshold + what others send) / m, are the weights over their sum."""
    for p in rows():
        m = len(p)
        threshold, pick = 3.0 * p, np.empty(2 * m, dtype=np.uint64)
        kernels.build_alias(threshold, pick, np.empty(m, dtype=np.int64))
        kept, law = np.minimum(threshold, 1.0), np.zeros(m)
        np.add.at(law, pick[1::2].astype(int), kept)
        np.add.at(law, pick[::2].astype(int), 1 - kept)
        np.testing.assert_allclose(law / m, p, atol=2e-15)
        assert (law[p == 0] == 0).all()


@pytest.mark.kernels
def test_search_is_searchsorted_and_never_finds_the_impossible():
    rng = np.random.default_rng(1)
    for p in rows():
        m = len(p)
        wide = 4
        while wide < m - 1:
            wide *= 2
        cdf = np.empty((2, wide))
        kernels.cumulate(np.stack([p[::-1], p]), cdf)
        sums = np.cumsum(p)
        for u in [0.0, 1 - 2.0**-53, *sums[sums < 1], *rng.random(50)]:
            found = int(kernels.search(cdf.ravel(), np.uint64(wide), kernels.halvings_of(cdf), u))
            assert found == min(np.searchsorted(sums, u, side="right"), np.flatnonzero(p)[-1])
            assert p[found] > 0


@pytest.mark.kernels
def test_streams_follow_the_reference_generator():
    """xoshiro256++, then SplitMix64's finaliser, in Python integers; the state moves on by four words a stream."""
    state, streams, mask = state_of(2), np.empty((3, 4), dtype=np.uint64), 2**64 - 1
    words = xoshiro(state, 13)
    with np.errstate(over="ignore"):
        kernels.split(state, streams)

    def mixed(z):
        z = (z + 0x9E3779B97F4A7C15) & mask
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return z ^ (z >> 31)

    assert streams.ravel().tolist() == [mixed(w) for w in words[:12]]
    assert xoshiro(state, 1) == [words[12]]


def test_ziggurat_is_normal():
    """Kolmogorov-Smirnov and a chi-square with cells out to 4.5, where the tail starts at 3.65: each at 1e-6."""
    n = 1_000_000
    tally, noise = np.zeros(n, dtype=np.int64), np.zeros(n)
    kernels.observe_normal(state_of(3), np.arange(n, dtype=np.uint64), n, tally, noise)
    assert kstest(noise, "norm").pvalue > 1e-6
    from scipy.stats import norm

    edges = np.r_[-np.inf, -4.5, -4.0, -3.75, np.linspace(-3.5, 3.5, 57), 3.75, 4.0, 4.5, np.inf]
    expected = n * np.diff(norm.cdf(edges))
    expected[-3:] = expected[:3][::-1]  # no cancellation in the upper tail
    observed = np.histogram(noise, edges)[0]
    assert ((observed - expected) ** 2 / expected).sum() < chi2.isf(1e-6, len(expected) - 1)
    assert abs(np.corrcoef(noise[1:], noise[:-1])[0, 1]) < 5 / np.sqrt(n)


@pytest.mark.kernels
@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_compiled_is_interpreted(kind, width):
    """Both ways of drawing cells, two streams, both ways of sharing out threads: one sample."""
    rng = np.random.default_rng(4)
    x, a, n, code = 3, 4, 41, getattr(kernels, kind)
    rho, pi, mu = dirichlet(rng, x), dirichlet(rng, 2, x, a), dirichlet(rng, 2, x, a)
    signal = preference(rng, x, a).ravel() if kind in ("SHARED", "SEPARATE") else rng.random(x * a)
    for joint in (False, True):
        results = []
        for kernel in (kernels.draw_seeds, plain(kernels.draw_seeds), kernels.draw_streams):
            states = np.stack([state_of(5), state_of(6)])
            counts, sums = np.full((2, x * a * width), np.nan), np.full((2, x * a * width), np.nan)
            with np.errstate(over="ignore"):  # NumPy's scalars warn where the compiled integers wrap
                kernel(states, rho, pi, mu, n, 2, joint, code, signal, 0.7, counts, sums)
            results.append((states, counts, sums))
        for one in results[1:]:
            for found, expected in zip(one, results[0], strict=True):
                np.testing.assert_allclose(found, expected, rtol=1e-14, atol=1e-14)
        np.testing.assert_array_equal(results[0][1].sum(axis=1), n)


@pytest.mark.parametrize("n", [300, 40_000])
@pytest.mark.parametrize("noise", [rt.NoNoise(), rt.BernoulliNoise(), rt.GaussianNoise(0.5)])
def test_cells_follow_their_law_whichever_way_they_are_drawn(noise, n):
    """Few and many pairs a cell: directed counts by chi-square, sums by z, each at a false-alarm rate of 1e-6."""
    rng = np.random.default_rng(7)
    bandit = rt.ContextualBandit(rng.random((5, 6)), context_dist=dirichlet(rng, 5), noise=noise)
    pi, mu = dirichlet(rng, 5, 6, concentration=3.0), dirichlet(rng, 5, 6, concentration=3.0)
    bound = rt.Sampled(n).bind(bandit, seed_streams(8, 200 if n < 1000 else 2))
    pairs = bound.pairs(rt.TabularPolicy.from_probs(pi), as_base(mu))
    total = n * len(pairs.counts)
    expected = total * (bandit.context_dist[:, None, None] * pi[:, :, None] * mu[:, None, :])
    counts, r = pairs.counts.sum(axis=0), bandit.reward
    assert ((counts - expected) ** 2 / expected).sum() < chi2.isf(1e-6, counts.size - 1)
    difference = r[:, :, None] - r[:, None, :]
    excess = pairs.sums.sum(axis=0) - counts * difference
    if isinstance(noise, rt.BernoulliNoise):
        variance = (r * (1 - r))[:, :, None] + (r * (1 - r))[:, None, :]
    else:
        variance = np.full(counts.shape, 2 * 0.25 if isinstance(noise, rt.GaussianNoise) else 0.0)
    if isinstance(noise, rt.NoNoise):
        np.testing.assert_allclose(excess, 0, atol=1e-12 * n)
    else:
        z = excess / np.sqrt(counts * variance)
        assert (z**2).sum() < chi2.isf(1e-6, z.size)
        assert (z**2).sum() > chi2.isf(1 - 1e-6, z.size)


def test_many_pairs_use_one_table_and_several_streams(monkeypatch):
    """The test above with 40,000 pairs is of the joint table only if it is used there."""
    seen = []
    for name in ("draw_seeds", "draw_streams"):
        monkeypatch.setattr(kernels, name, lambda *args, name=name: seen.append((name, args[5], args[6])))
    bandit = rt.ContextualBandit(np.zeros((5, 6)))
    policy, base = rt.TabularPolicy.uniform(bandit), as_base("uniform")
    for n, n_seeds in ((300, 3), (40_000, 2), (40_000, samplers._SEEDS_TO_SHARE)):
        rt.Sampled(n).bind(bandit, seed_streams(0, n_seeds)).pairs(policy, base)
    assert seen == [("draw_seeds", 1, False), ("draw_streams", 4, True), ("draw_seeds", 4, True)]


@pytest.mark.parametrize("problem", ["bernoulli", "gaussian", "game"])
@pytest.mark.parametrize(("n_pairs", "n_seeds"), [(100, 700), (60_000, 1), (20_000, 9)])
def test_samples_do_not_depend_on_the_number_of_threads(problem, n_pairs, n_seeds):
    numba = pytest.importorskip("numba")
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("one thread only")
    rng = np.random.default_rng(9)
    made = {
        "bernoulli": rt.ContextualBandit(rng.random((5, 4)), noise=rt.BernoulliNoise()),
        "gaussian": rt.ContextualBandit(rng.random((5, 4)), noise=rt.GaussianNoise(0.3)),
        "game": rt.PreferenceGame(preference(rng, 5, 4)),
    }[problem]
    policy, before, found = rt.TabularPolicy(rng.standard_normal((5, 4))), numba.get_num_threads(), []
    try:
        for threads in (1, 2):
            numba.set_num_threads(threads)
            bound = rt.Sampled(n_pairs).bind(made, seed_streams(10, n_seeds))
            draws = [bound.pairs(policy, as_base("uniform")) for _ in range(2)]
            found.append([(p.counts, p.sums, p.potentials()) for p in draws])
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(np.array(found[0][1][1]), np.array(found[1][1][1]))
    for one, two in zip(*found, strict=True):
        for a, b in zip(one, two, strict=True):
            np.testing.assert_array_equal(a, b)
    single = rt.Sampled(n_pairs).bind(made, seed_streams(10, 1)).pairs(policy, as_base("uniform"))
    np.testing.assert_array_equal(single.sums[0], found[0][0][1][0])  # nor on the number of seeds


def test_samples_keep_their_memory_while_anything_looks_at_it():
    """A view of a sample outlives the sample; memory that nothing looks at is used again."""
    bandit = rt.ContextualBandit(np.random.default_rng(0).random((3, 4)), noise=rt.BernoulliNoise())
    bound = rt.Sampled(50).bind(bandit, seed_streams(11, 2))
    policy, base = rt.TabularPolicy.uniform(bandit), as_base("uniform")
    row = bound.pairs(policy, base).counts[0, 1]
    before = row.copy()
    places = {bound.pairs(policy, base).counts.ctypes.data for _ in range(20)}
    np.testing.assert_array_equal(row, before)
    assert len(places) <= 4
    assert row.ctypes.data not in places
