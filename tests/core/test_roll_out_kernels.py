"""Roll-out kernels: chains in flight against one chain in plain Python, compiled against interpreted."""

import numpy as np
import pytest
from core.cases import dirichlet

from rebel_theory.kernels import roll_outs as kernels
from rebel_theory.kernels import sampling

MASK = 2**64 - 1
ENTRY = [(1.0, 3, 0), (0.25, 7, 1), (2.0**-60, 2**31, 2**32 - 1)]  # threshold, own target, the other


def plain(kernel):
    """The Python function of a kernel; itself under NUMBA_DISABLE_JIT=1."""
    return getattr(kernel, "py_func", kernel)


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
