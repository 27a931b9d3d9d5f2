"""Chunks of seeds bound the memory and change nothing else: every result is the same to the last bit."""

import hashlib
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from core.cases import KINDS, dirichlet, make, preference
from scipy.sparse import csr_array

import rebel_theory as rt
from rebel_theory import chunks
from rebel_theory.arrays import batch_products
from rebel_theory.blas import one_blas_thread

N_SEEDS = 5
ALGORITHMS = {
    "rebel": rt.Rebel(0.7),
    "uniform": rt.Rebel(0.7, base="uniform"),
    "npg": rt.NaturalPolicyGradient(0.5),
    "pairs": rt.NaturalPolicyGradient(0.5, fisher="pairs"),
    "damped": rt.NaturalPolicyGradient(0.5, rt.Damped(1e-3)),
    "conjugate": rt.NaturalPolicyGradient(0.5, rt.ConjugateGradient()),
    "md": rt.MirrorDescent(0.5),
    "tsallis": rt.MirrorDescent(0.5, rt.TsallisMap(0.5)),
}


def arrays(trace):
    """Every array and number of a trace by name."""
    names = ("gap", "average_gap", "regression_error", "kl", "queries", "probs", "evaluation_error")
    found = {name: getattr(trace, name) for name in names} | {f"bound {k}": v for k, v in trace.bound.items()}
    return found | {"final": trace.final_policy.parameters, "final probs": trace.final_policy.probs}


def assert_same_bits(found, expected):
    for name, array in arrays(expected).items():
        assert np.shape(arrays(found)[name]) == np.shape(array), name
        np.testing.assert_array_equal(arrays(found)[name], array, err_msg=name, strict=True)


def assert_chunks_agree(problem, algorithm, sizes=(1, 3), n_seeds=N_SEEDS, **options):
    options = {"n_iterations": 3, "keep_policies": True, "n_seeds": n_seeds, "seed": 3, **options}
    together = rt.run(problem, algorithm, chunk_size=n_seeds, **options)
    for size in sizes:
        assert_same_bits(rt.run(problem, algorithm, chunk_size=size, **options), together)


def offline(rng, s, a):
    n = 60
    x, y, y_base = rng.integers(0, s, n), rng.integers(0, a, n), rng.integers(0, a, n)
    return rt.Offline(rt.OfflineData(y, y_base, x=x, difference=rng.standard_normal(n)), on_policy_pairs=5)


def policies(rng, shape, n_seeds=N_SEEDS, axes=0):
    """First policies: none, one a seed, log-linear, log-linear one a seed."""
    lead, features = (n_seeds, *(1,) * axes), rng.standard_normal((*shape, 3))
    return {
        "uniform": None,
        "by seed": rt.TabularPolicy(rng.standard_normal((*lead, *shape))),
        "log-linear": rt.LogLinearPolicy(features, rng.standard_normal(3)),
        "log-linear by seed": rt.LogLinearPolicy(features, rng.standard_normal((*lead, 3))),
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("first", ["by seed", "log-linear by seed"])
def test_exact(kind, algorithm, first):
    rng = np.random.default_rng(0)
    problem = make(kind, rng, s=7, a=11).problem
    assert_chunks_agree(problem, ALGORITHMS[algorithm], policy=policies(rng, problem.policy_shape)[first])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["Sampled", "Counted", "Offline"])
@pytest.mark.parametrize("algorithm", ["rebel", "npg", "pairs", "md"])
@pytest.mark.parametrize("first", ["by seed", "log-linear"])
def test_samples(kind, name, algorithm, first):
    if name == "Offline" and algorithm == "pairs":
        pytest.skip("as REBEL")
    rng = np.random.default_rng(1)
    problem = make(kind, rng, s=7, a=6).problem
    oracle = {"Sampled": rt.Sampled(40), "Counted": rt.Counted(40), "Offline": offline(rng, 7, 6)}[name]
    policy = policies(rng, problem.policy_shape)[first]
    assert_chunks_agree(problem, ALGORITHMS[algorithm], policy=policy, oracle=oracle, n_iterations=2)


@pytest.mark.parametrize("kind", KINDS)
def test_step_sizes(kind):
    rng = np.random.default_rng(2)
    problem = make(kind, rng, s=5, a=9).problem
    for algorithm in (rt.Rebel([0.1, 3.0]), rt.NaturalPolicyGradient([0.1, 3.0]), rt.MirrorDescent([0.1, 3.0])):
        for name in ("by seed", "log-linear by seed"):
            assert_chunks_agree(problem, algorithm, policy=policies(rng, problem.policy_shape, axes=1)[name])


def test_instances():
    rng = np.random.default_rng(3)
    mdps = rt.TabularMDP(dirichlet(rng, 3, 6, 4, 6), rng.random((3, 6, 4)), discount=0.9)
    games = rt.PreferenceGame(preference(rng, 12, 9).reshape(3, 4, 9, 9))
    for problem in (mdps, games):
        first = rt.TabularPolicy(rng.standard_normal((N_SEEDS, 3, *problem.policy_shape)))
        assert_chunks_agree(problem, rt.Rebel(1.0), policy=first)
        first = rt.TabularPolicy(rng.standard_normal((N_SEEDS, 2, 3, *problem.policy_shape)))
        assert_chunks_agree(problem, rt.MirrorDescent([[0.1], [1.0]]), policy=first)


def tabular(rng, s, discount, sparse=False):
    p, r = dirichlet(rng, s, 3, s), rng.random((s, 3))
    if discount == 1.0:
        p[-1], r[-1] = np.eye(s)[-1], 0.0
    return rt.TabularMDP(csr_array(p.reshape(3 * s, s)) if sparse else p, r, discount=discount)


@pytest.mark.parametrize("s", [12, 80])  # LAPACK on the stack, one by one
@pytest.mark.parametrize("discount", [0.95, 0.9999, 1.0])
@pytest.mark.parametrize("sparse", [False, True])
def test_every_way_to_evaluate(s, discount, sparse):
    rng = np.random.default_rng(4)
    problem = tabular(rng, s, discount, sparse)
    assert_chunks_agree(problem, rt.Rebel(1.0), policy=policies(rng, (s, 3))["by seed"])
    assert_chunks_agree(problem, rt.NaturalPolicyGradient(1.0), oracle=rt.Sampled(30), sizes=(2,))


def test_many_actions_and_many_seeds():
    rng = np.random.default_rng(5)
    game = rt.PreferenceGame(preference(rng, 1, 300)[0])
    first = rt.TabularPolicy(rng.standard_normal((40, 1, 300)))
    assert_chunks_agree(game, rt.MirrorDescent(0.5), policy=first, n_seeds=40, sizes=(1, 7, 33))
    bandit = rt.ContextualBandit(rng.random((10, 5)))
    assert_chunks_agree(bandit, rt.Rebel(0.5), oracle=rt.Sampled(20), n_seeds=101, sizes=(1, 8, 50))


def test_iterations_stop_seed_by_seed():
    """Seeds that converge at different times: an easy one, one that is hard, a class that is not linear."""
    rng = np.random.default_rng(6)
    bandit = rt.ContextualBandit(rng.random((6, 4)))
    features = rng.standard_normal((6, 4, 3))
    theta = rng.standard_normal((N_SEEDS, 3)) * np.array([1e-3, 1.0, 30.0, 3.0, 0.1])[:, None]
    for algorithm in (rt.MirrorDescent(2.0), rt.MirrorDescent(2.0, rt.TsallisMap(0.3))):
        first = rt.LogLinearPolicy(features, theta)
        assert_chunks_agree(bandit, algorithm, policy=first)
        assert_chunks_agree(bandit, algorithm, policy=first, oracle=rt.Sampled(20))
    weights = rng.standard_normal((N_SEEDS, 6)) * np.array([0.01, 1.0, 2.0, 0.3, 0.1])[:, None]
    first = rt.TanhPolicy(rng.standard_normal((6, 4, 2)), weights)
    for algorithm in (rt.MirrorDescent(1.0), rt.Rebel(1.0)):
        assert_chunks_agree(bandit, algorithm, policy=first, n_iterations=1, sizes=(1,))


def test_options_of_sampling():
    rng = np.random.default_rng(7)
    game = make("game", rng, s=3, a=6).problem
    assert_chunks_agree(game, rt.Rebel(0.5), oracle=rt.Sampled(20, opponents="separate"))
    mdp = make("mdp", rng, s=6, a=4).problem
    assert_chunks_agree(mdp, rt.Rebel(0.5), oracle=rt.Sampled(20, states=dirichlet(rng, 6)))
    assert_chunks_agree(mdp, rt.Rebel(0.5), oracle=rt.Sampled(20, horizon=4, states="roll-in"))
    assert_chunks_agree(mdp, rt.Rebel(0.5), oracle=rt.Counted(20, states=dirichlet(rng, 6)))


@pytest.mark.parametrize("oracle", [rt.Exact(), rt.Sampled(30)])
def test_compare(oracle):
    rng = np.random.default_rng(8)
    problem = make("mdp", rng, s=6, a=4).problem
    options = {"n_iterations": 3, "n_seeds": N_SEEDS, "oracle": oracle, "names": ["a", "b", "b"]}
    options["policy"] = policies(rng, (6, 4))["by seed"]
    algorithms = [rt.Rebel(0.5), rt.NaturalPolicyGradient(0.5), rt.MirrorDescent(0.5)]
    together = rt.compare(problem, algorithms, keep_policies=True, chunk_size=N_SEEDS, **options)
    for size in (1, 2):
        found = rt.compare(problem, algorithms, keep_policies=True, chunk_size=size, **options)
        assert [t.algorithm for t in found] == ["a", "b", "b (2)"]
        for a, b in zip(found, together, strict=True):
            assert_same_bits(a, b)
        assert found.total_variation.keys() == together.total_variation.keys()
        for pair, distance in together.total_variation.items():
            assert distance.shape == (N_SEEDS, 4)
            np.testing.assert_array_equal(found.total_variation[pair], distance)
    assert all(t.probs is None for t in rt.compare(problem, algorithms, chunk_size=2, **options))


def test_the_comparison_of_exact_runs_from_one_policy_is_repeated_for_every_seed():
    problem = make("bandit", np.random.default_rng(9)).problem
    found = rt.compare(problem, [rt.Rebel(1.0), rt.MirrorDescent(2.0)], n_iterations=2, n_seeds=4)
    assert found.total_variation["REBEL", "MD"].shape == (4, 3)
    assert found[0].gap.shape == (4, 3)
    assert found[0].final_policy.probs.shape == (4, 4, 3)


@pytest.mark.parametrize("size", [1, 2, 3, 5, None])
def test_progress_counts_whole_updates(size):
    bandit, seen = rt.ContextualBandit([[1.0, 0.0]]), []
    options = {"n_iterations": 4, "n_seeds": 5, "oracle": rt.Sampled(3), "chunk_size": size}
    rt.run(bandit, rt.Rebel(0.1), progress=lambda t, gap: seen.append((t, gap)), **options)
    assert [t for t, _ in seen] == [1, 2, 3, 4]
    assert all(0 < gap < 1 for _, gap in seen)
    seen.clear()
    both = [rt.Rebel(0.1), rt.MirrorDescent(0.1)]
    rt.compare(bandit, both, progress=lambda t, gap: seen.append((t, gap)), **options)
    assert [t for t, _ in seen] == list(range(1, 9))


def test_default_size_keeps_to_the_budget(monkeypatch):
    """What a chunk is estimated to take is at least what it takes, and the default follows the budget."""
    bandit, n = rt.ContextualBandit(np.random.default_rng(10).random((20, 8))), 60
    options = {"n_iterations": 2, "oracle": rt.Sampled(10), "n_seeds": n}
    rt.run(bandit, rt.Rebel(1.0), **options)  # compiled
    bound, bind = [], rt.Sampled.bind

    def counting(self, problem, rngs):
        bound.append(len(rngs))
        return bind(self, problem, rngs)

    monkeypatch.setattr(rt.Sampled, "bind", counting)
    for budget in (1, 2**18, 2**20):
        bound.clear()
        monkeypatch.setattr(chunks, "BUDGET", budget)
        tracemalloc.start()
        rt.run(bandit, rt.Rebel(1.0), **options)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert sum(bound) == n
        assert max(bound) == (1 if budget == 1 else max(bound))
        assert peak < budget + 300_000  # the results and one bound oracle
    assert len(bound) > 1


def test_memory_of_two_thousand_seeds():
    """All at once the directed counts and sums alone are 2 x 2,000 x 10 x 12 x 12 x 8 bytes = 46 MB."""
    bandit = rt.ContextualBandit(np.random.default_rng(11).random((10, 12)))
    options = {"n_iterations": 1, "oracle": rt.Sampled(10), "n_seeds": 2_000}
    rt.run(bandit, rt.Rebel(1.0), n_iterations=1, oracle=rt.Sampled(10))  # compiled
    peaks = {}
    for size in (100, 2_000):
        tracemalloc.start()
        rt.run(bandit, rt.Rebel(1.0), chunk_size=size, **options)
        peaks[size] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[100] < 10e6 < 46e6 < peaks[2_000]


@pytest.mark.parametrize("size", [0, -1, 1.5])
def test_bad_sizes(size):
    bandit = rt.ContextualBandit([[1.0, 0.0]])
    with pytest.raises(rt.InvalidProblemError, match=r"chunk_size is .*, expected an integer >= 1"):
        rt.run(bandit, rt.Rebel(1.0), n_iterations=1, chunk_size=size)


@pytest.mark.parametrize("name", ["Sampled", "Counted", "Offline"])
def test_sampled_batches(name, monkeypatch):
    """Chunks of seeds times chunks of places; a budget of one byte runs every place by itself."""
    rng = np.random.default_rng(13)
    bandits = rt.ContextualBandit(rng.random((3, 4, 3)), noise=rt.GaussianNoise(0.2))
    oracle = {"Sampled": rt.Sampled(40), "Counted": rt.Counted(40), "Offline": offline(rng, 4, 3)}[name]
    algorithm, first = rt.Rebel([[0.1], [3.0]]), rt.TabularPolicy(rng.standard_normal((N_SEEDS, 2, 1, 4, 3)))
    assert_chunks_agree(bandits, algorithm, policy=first, oracle=oracle)
    together = rt.run(bandits, algorithm, n_iterations=3, oracle=oracle, policy=first, n_seeds=N_SEEDS)
    monkeypatch.setattr(chunks, "BUDGET", 1)
    assert_same_bits(rt.run(bandits, algorithm, n_iterations=3, oracle=oracle, policy=first, n_seeds=N_SEEDS), together)


def test_memory_of_many_step_sizes_and_instances(monkeypatch):
    """One seed of 60 step sizes together would take 2 x 60 x 10 x 32 x 32 x 8 bytes = 10 MB in counts and sums."""
    rng = np.random.default_rng(14)
    options = {"n_iterations": 1, "oracle": rt.Sampled(10), "chunk_size": 1}
    one = rt.ContextualBandit(rng.random((10, 32)))
    cases = {"step sizes": (one, np.linspace(0.1, 1.0, 60))}
    cases["instances"] = (rt.ContextualBandit(rng.random((60, 10, 32))), 1.0)
    rt.run(one, rt.Rebel(1.0), **options)  # compiled
    for budget, bounds in ((2**20, (0, 6e6)), (chunks.BUDGET, (9e6, 1e9))):
        monkeypatch.setattr(chunks, "BUDGET", budget)
        for name, (problem, etas) in cases.items():
            tracemalloc.start()
            rt.run(problem, rt.Rebel(etas), **options)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            low, high = (0, 6e6) if name == "instances" else bounds  # instances go one after the other
            assert low <= peak < high, (name, budget)


@pytest.mark.parametrize("size", [1, 2, None])
@pytest.mark.parametrize("budget", [1, chunks.BUDGET])
def test_progress_of_a_sampled_batch(size, budget, monkeypatch):
    """Whole updates over seeds, instances and step sizes, also of algorithms with different numbers of them."""
    monkeypatch.setattr(chunks, "BUDGET", budget)
    bandits, seen = rt.ContextualBandit([[[1.0, 0.0]], [[0.3, 0.6]], [[0.0, 1.0]]]), []
    options = {"n_iterations": 4, "n_seeds": 5, "oracle": rt.Sampled(3), "chunk_size": size}
    options["progress"] = lambda t, gap: seen.append((t, gap))
    rt.run(bandits, rt.Rebel([[0.1], [1.0]]), **options)
    assert [t for t, _ in seen] == [1, 2, 3, 4]
    assert all(0 < gap < 1 for _, gap in seen)
    seen.clear()
    rt.compare(bandits, [rt.Rebel([[0.1], [1.0]]), rt.MirrorDescent(0.1)], **options)
    assert [t for t, _ in seen] == list(range(1, 9))


@pytest.mark.parametrize("shape", [(1, 5, 3, 4), (3, 1, 7, 9), (20, 4, 300, 11), (33, 2, 256, 256), (9, 2, 3, 70_000)])
def test_products_do_not_depend_on_the_batch(shape):
    n, b, k, m = shape
    rng = np.random.default_rng(12)
    rows, matrices = rng.standard_normal((n, b, k)), rng.standard_normal((b, k, m))
    found = batch_products(rows, matrices)
    np.testing.assert_allclose(found, np.einsum("nbk,bkm->nbm", rows, matrices), rtol=1e-10, atol=1e-11)
    for low in (0, 1, n // 2):
        np.testing.assert_array_equal(batch_products(rows[low : low + 2], matrices), found[low : low + 2])
    np.testing.assert_array_equal(batch_products(rows[:, None], matrices)[:, 0], found)
    np.testing.assert_allclose(batch_products(rows[0], matrices), found[0], rtol=1e-10, atol=1e-11)


_PROGRAM = """
import sys; sys.path.insert(0, {tests!r})
from core.test_chunks import digest
print(digest())
"""


def digest():
    """A hash of runs that use every part of BLAS and LAPACK at sizes at which two threads share the work."""
    rng, found = np.random.default_rng(13), hashlib.sha256()
    features = rng.standard_normal((80, 3, 30))
    for problem, algorithm, options in (
        (tabular(rng, 300, 1.0), rt.Rebel(1.0), {}),
        (tabular(rng, 80, 0.9), rt.NaturalPolicyGradient(1.0), {"policy": rt.LogLinearPolicy.zeros(features)}),
        (tabular(rng, 20, 0.9), rt.Rebel(1.0), {"oracle": rt.Sampled(3_000), "n_seeds": 40}),
        (
            rt.PreferenceGame(preference(rng, 1, 300)[0]),
            rt.MirrorDescent(1.0),
            {"policy": rt.TabularPolicy(rng.standard_normal((40, 1, 300))), "n_seeds": 40},
        ),
    ):
        trace = rt.run(problem, algorithm, n_iterations=2, keep_policies=True, **options)
        for array in arrays(trace).values():
            found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def test_threads_change_nothing():
    """One thread or two, of Numba and of BLAS: processes of their own, since both are set when they load."""
    program = _PROGRAM.format(tests=str(Path(__file__).parents[1]))
    found = []
    for n in ("1", "2"):
        names = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
        environment = os.environ | dict.fromkeys(names, n)
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found.append(done.stdout)
    assert found[0] == found[1]


def test_blas_threads_are_given_back():
    from rebel_theory.blas import _control

    control = _control("numpy.linalg._umath_linalg")
    if control is None:
        pytest.skip("no BLAS whose threads can be set")
    get, set_threads = control
    before = get()
    try:
        set_threads(2)
        with one_blas_thread(with_scipy=True):
            assert get() == 1
            scipy = _control("scipy.linalg._flapack")
            assert scipy is None or scipy[0]() == 1
        assert get() == 2
    finally:
        set_threads(before)
