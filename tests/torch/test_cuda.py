"""A pretended GPU (see :mod:`pretended_gpu`): no devices mix, digits are the CPU's, and the inner loops never wait.

What a real one is asked for, where there is one, stands at the end.
"""

import json
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch
from core import cases
from pretended_gpu import CUDA, Pretended

import rebel_theory as rt
from rebel_bench.cli import main
from rebel_bench.speed import torch_seeds
from rebel_bench.speed.neural import sizes
from rebel_theory.problems import InvalidProblemError
from rebel_theory.torch import FirstOrder, GaussNewton, LevenbergMarquardt, TorchPolicy, mlp, transformer
from rebel_theory.torch.device import on_device
from rebel_theory.torch.device import policy as device_policy
from rebel_theory.torch.sequences import AdamAscent, Copy, CyclicJudge, ValueCritic, loop

S, A = 3, 3


# ------------------------------------------------------------------------------------- the pretended GPU itself


def test_what_a_gpu_refuses_is_refused():
    with Pretended():
        there, here = torch.ones(3, device="cuda"), torch.ones(3)
        assert there.device == CUDA
        for wrong in (lambda: there + here, lambda: torch.where(there > 0, here, here), lambda: here @ there):
            with pytest.raises(RuntimeError, match="same device"):
                wrong()
        with pytest.raises(RuntimeError, match="generator on cpu"):
            torch.rand(3, device="cuda", generator=torch.Generator())
        with pytest.raises(RuntimeError, match="generator on cuda"):
            torch.rand(3, generator=torch.Generator("cuda"))
        with pytest.raises((RuntimeError, TypeError)):
            there.numpy()
        assert (there + torch.tensor(1.0)).device == CUDA  # a number joins


def test_what_a_gpu_waits_for_is_seen():
    waiting = {
        "a number": lambda x: float(x.sum()), "a branch": lambda x: bool((x > 0).all()), "a list": lambda x: x.tolist(),
        "to the host": lambda x: x.cpu(), "to the device": lambda x: torch.ones(3).to(CUDA),
        "a mask": lambda x: x[x > 0],
        "an index": lambda x: x[torch.tensor([0])], "places": lambda x: x.nonzero(),
        "repeats": lambda x: x.repeat_interleave(torch.ones(3, dtype=torch.long, device="cuda")),
        "a checked solve": lambda x: torch.linalg.solve(torch.eye(3, device="cuda"), x),
        "a large copy": lambda x: torch.ones(100_000).to(CUDA, non_blocking=True),
    }  # fmt: skip
    queued = {
        "arithmetic": lambda x: (x + 1).clamp_max(3).sum(), "a choice": lambda x: torch.where(x > 0, x, 0.0),
        "a queued copy": lambda x: torch.ones(3).to(CUDA, non_blocking=True), "an index there": lambda x: x[x.long()],
        "a solve": lambda x: torch.linalg.solve_ex(torch.eye(3, device="cuda"), x)[0],
    }  # fmt: skip
    with Pretended() as gpu:
        x = torch.ones(3, device="cuda")
        for steps, wanted in ((waiting, 1), (queued, 0)):
            for name, step in steps.items():
                gpu.waits.clear()
                step(x)
                assert len(gpu.waits) == wanted, name


# ---------------------------------------------------------------------------------------------- device problems

EXACT = (
    rt.Rebel, lambda eta: rt.Rebel(eta, base="uniform"), rt.NaturalPolicyGradient, rt.MirrorDescent, rt.Rloo,
)  # fmt: skip
PAIRS = (rt.Rebel, lambda eta: rt.NaturalPolicyGradient(eta, fisher="pairs"))
RUNS = [(make, rt.Exact()) for make in EXACT] + [(make, rt.Sampled(20)) for make in PAIRS]


def problem_of(kind):
    made = cases.make(kind, np.random.default_rng(1), S, A)
    if kind != "bandit":
        return made.problem
    return rt.ContextualBandit(made.raw["reward"], context_dist=made.raw["rho"], noise=rt.GaussianNoise(0.3))


def outcome(trace):
    return np.concatenate([trace.gap.ravel(), trace.regression_error.ravel(), trace.final_policy.theta.ravel()])


@pytest.mark.parametrize("kind", ["bandit", "mdp", "linear", "game"])
def test_a_device_run_never_waits_between_start_and_end(kind, monkeypatch):
    """Two iterations more wait no more; every digit is the CPU's."""
    monkeypatch.setitem(device_policy._SCORING_STEPS, False, 2)  # a fixed number all the same
    monkeypatch.setitem(device_policy._HALVINGS, False, 2)
    problem, x = problem_of(kind), np.random.default_rng(2).standard_normal((S, 2))
    solver = GaussNewton(max_iterations=3, stop_early=False)
    for make, oracle in RUNS:
        policy = TorchPolicy(mlp(2, A, hidden=(3,)), x, solver=solver)
        how = {"policy": policy, "oracle": oracle, "n_seeds": 2}
        waits = []
        for n in (1, 3):
            with Pretended() as gpu:
                found = rt.run(on_device(problem, "cuda"), make(np.array([0.3, 0.5])), n_iterations=n, **how)
            rolled = [w for w in gpu.waits if "alive.any()" in w]
            assert len(rolled) >= n if isinstance(oracle, rt.Sampled) and kind in ("mdp", "linear") else not rolled
            waits.append([w for w in gpu.waits if w not in rolled])
        assert waits[0] == waits[1], f"{found.algorithm}: {set(waits[1])}"
        expected = rt.run(on_device(problem), make(np.array([0.3, 0.5])), n_iterations=3, **how)
        np.testing.assert_array_equal(outcome(found), outcome(expected))


def test_a_device_run_that_looks_waits_at_every_round():
    """The other tests would pass if nothing were ever seen to wait."""
    problem, x = problem_of("bandit"), np.eye(S)
    policy = TorchPolicy(mlp(S, A, hidden=(3,)), x, solver=GaussNewton(max_iterations=4))
    with Pretended() as gpu:
        rt.run(on_device(problem, "cuda"), rt.Rebel(0.5), n_iterations=3, policy=policy)
    assert sum("active.any()" in w for w in gpu.waits) == 12


@pytest.mark.parametrize("part", [None, 2])
def test_first_order_steps_on_a_device_wait_once_at_most(part):
    """A part of the contexts is drawn on the host, for all steps at once."""
    problem = problem_of("bandit")
    for steps in (1, 5):
        solver = FirstOrder(steps, 0.01, optimiser=torch.optim.SGD, contexts_per_step=part)
        policy = TorchPolicy(mlp(S, A, hidden=(3,)), np.eye(S), solver=solver)
        with Pretended() as gpu:
            found = rt.run(on_device(problem, "cuda"), rt.Rebel(0.5), n_iterations=1, policy=policy)
        assert sum("solvers.py" in w for w in gpu.waits) == (part is not None)
        expected = rt.run(on_device(problem), rt.Rebel(0.5), n_iterations=1, policy=policy)
        np.testing.assert_array_equal(outcome(found), outcome(expected))


# -------------------------------------------------------------------------------------- modules, NumPy outside


@pytest.mark.parametrize("kind", ["bandit", "mdp", "game"])
def test_a_module_on_a_gpu_serves_the_librarys_own_problems(kind):
    problem = problem_of(kind)
    few = rt.policies.ConjugateGradient(max_iterations=3)
    runs = [
        (rt.Rebel(0.5, base="uniform"), solver)
        for solver in (None, GaussNewton(3), LevenbergMarquardt(3, cg_iterations=3), FirstOrder(3, contexts_per_step=2))
    ] + [(rt.NaturalPolicyGradient(0.5), None), (rt.NaturalPolicyGradient(0.5, solver=few), None),
         (rt.MirrorDescent(0.5), None), (rt.Rloo(0.1), None), (rt.Ppo(0.1), None)]  # fmt: skip
    for algorithm, solver in runs:
        for oracle in (rt.Exact(), rt.Sampled(20))[: 2 if kind == "bandit" else 1]:
            how = {"n_iterations": 1, "oracle": oracle}
            expected = rt.run(problem, algorithm, policy=TorchPolicy(mlp(S, A, hidden=(3,)), solver=solver), **how)
            with Pretended():
                policy = TorchPolicy(mlp(S, A, hidden=(3,)).to("cuda"), solver=solver)
                found = rt.run(problem, algorithm, policy=policy, **how)
                final = found.final_policy.with_theta(found.final_policy.theta[0]).module
                assert next(final.parameters()).device == CUDA
            np.testing.assert_array_equal(outcome(found), outcome(expected))


def test_a_transformer_over_actions_runs_there():
    problem, x = problem_of("bandit"), np.random.default_rng(3).standard_normal((S, 2))
    solver = GaussNewton(2)
    how = {"n_iterations": 1, "algorithm": rt.Rebel(0.5)}
    module = transformer(2, A, width=4)
    expected = rt.run(problem, policy=TorchPolicy(module, x, solver=solver), **how)
    with Pretended():
        found = rt.run(problem, policy=TorchPolicy(module.to("cuda"), x, solver=solver), **how)
    np.testing.assert_array_equal(outcome(found), outcome(expected))


# -------------------------------------------------------------------------------------------------- completions

TASK = Copy(length=2, n_symbols=3)
SMALL = {"width": 8, "depth": 1, "heads": 2, "dtype": torch.float64}
ADAM = {"ascent": AdamAscent()}
METHODS = {
    "REBEL": (rt.Rebel(1.0), {"solver": FirstOrder(5, 1e-2, contexts_per_step=3), "micro_batch": 2}),
    "Gauss-Newton": (rt.Rebel(1.0), {"solver": GaussNewton(max_iterations=3, stop_early=False)}),
    "DPO": (rt.Dpo(1.0), {"solver": FirstOrder(5, 1e-2)}),
    "PPO": (rt.Ppo(0.01), {"critic": ValueCritic(width=4, steps=2), **ADAM}),
    "PPO, a copy": (rt.Ppo(0.01, n_epochs=2), {"critic": ValueCritic("policy", steps=2), "micro_batch": 3, **ADAM}),
    "GRPO": (rt.Grpo(0.01, kl_weight=0.1), ADAM),
    "RLOO": (rt.Rloo(0.01), {}),
    "REINFORCE": (rt.Reinforce(0.01), {}),
}
# Of one update. The order of pairs, sent at once; finite parameters; the loss of the record, which DPO has not. The
# others show a batch of rewards to NumPy; PPO and GRPO in each epoch log-probabilities, coefficients and finite
# parameters, and the first log-probabilities (GRPO the reference's); a value network its values and targets.
LOOKS = {"REBEL": 3, "Gauss-Newton": 2, "DPO": 2, "PPO": 1 + 1 + 4 * 3 + 2, "PPO, a copy": 1 + 1 + 2 * 3 + 2,
         "GRPO": 1 + 2 + 4 * 3, "RLOO": 3, "REINFORCE": 3}  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_methods_over_completions_run_there_and_wait_no_more_than_they_must(method):
    algorithm, options = METHODS[method]
    how = {"n_iterations": 1, "oracle": rt.Sampled(6), "n_evaluation": 4}
    expected = loop.train(TASK, algorithm, policy=TASK.policy(**SMALL, **options), **how)
    with Pretended() as gpu:
        policy = TASK.policy(**SMALL, **options, device="cuda")
        gpu.waits.clear()
        found = loop.train(TASK, algorithm, policy=policy, **how)
        assert found.final_policy.device == CUDA
        waits = list(gpu.waits)
        theta = found.final_policy.theta.cpu().numpy()
    np.testing.assert_array_equal(found.gap, expected.gap)
    np.testing.assert_allclose(theta, expected.final_policy.theta.numpy(), rtol=0, atol=1e-8)  # Adam enlarges digits
    around = (
        "tokens.py",
        "task.outcomes",
        "net = net.to",
        "copy_(fresh)",
    )  # prompts; evaluation; a critic's first weights
    update = [w for w in waits if not any(s in w for s in around)]
    assert len(update) == LOOKS[method], update


def test_more_steps_of_a_regression_wait_no_more():
    counts = []
    for steps in (2, 6):
        with Pretended() as gpu:
            policy = TASK.policy(**SMALL, device="cuda", solver=FirstOrder(steps, 1e-2, contexts_per_step=2))
            loop.train(TASK, rt.Rebel(1.0), n_iterations=1, policy=policy, oracle=rt.Sampled(4), n_evaluation=2)
        counts.append(len(gpu.waits))
    assert counts[0] == counts[1]


def test_a_judge_and_mixed_precision_run_there():
    judge = CyclicJudge(length=2, n_symbols=3)
    options = {**SMALL, "solver": FirstOrder(2, 1e-2)}
    how = {"n_iterations": 1, "oracle": rt.Sampled(4), "n_evaluation": 2}
    expected = loop.train(judge, rt.Rebel(1.0), policy=judge.policy(**options), **how)
    with Pretended() as gpu:
        policy = judge.policy(**options, device="cuda", autocast=torch.bfloat16)
        found = loop.train(judge, rt.Rebel(1.0), policy=policy, **how)
    np.testing.assert_allclose(found.gap, expected.gap, rtol=0, atol=1e-12)  # nothing is cast where it is pretended
    assert set(gpu.autocasts) == {("cuda", torch.bfloat16)}


def test_a_run_that_was_interrupted_there_goes_on_there_only(tmp_path):
    algorithm, options = rt.Ppo(0.01, n_epochs=1), {"critic": ValueCritic(width=4, steps=1), **ADAM}
    how = {"oracle": rt.Sampled(2), "n_evaluation": 2, "checkpoint": tmp_path / "run.pt", "every": 1}
    expected = loop.train(TASK, algorithm, policy=TASK.policy(**SMALL, **options), n_iterations=2,
                          **{**how, "checkpoint": None})  # fmt: skip
    with Pretended():
        policy = TASK.policy(**SMALL, **options, device="cuda")
        loop.train(TASK, algorithm, policy=policy, n_iterations=1, **how)
        found = loop.train(TASK, algorithm, policy=policy, n_iterations=2, **how)
        assert found.final_policy.device == CUDA
    np.testing.assert_array_equal(found.gap, expected.gap)
    with pytest.raises(InvalidProblemError, match=r"run.pt has device cuda, this run cpu: name another file"):
        loop.train(TASK, algorithm, policy=TASK.policy(**SMALL, **options), n_iterations=3, **how)


def test_a_checkpoint_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "run.pt").write_bytes(b"no checkpoint")
    with pytest.raises(InvalidProblemError, match=r"run.pt cannot be read here"):
        loop.train(TASK, rt.Rloo(0.1), policy=TASK.policy(**SMALL), n_iterations=1, checkpoint=tmp_path / "run.pt")


def test_a_model_of_hugging_face_runs_there():
    transformers = pytest.importorskip("transformers")
    from rebel_theory.torch.huggingface import TextTask, policy_of

    tokenizer = transformers.ByT5Tokenizer()
    task = TextTask(["a", "What?"], lambda asked, said: [s.count("a") / 3 for s in said], tokenizer, 3)

    def model():
        torch.manual_seed(0)
        config = transformers.GPT2Config(vocab_size=len(tokenizer), n_positions=16, n_embd=4, n_layer=1, n_head=1)
        return transformers.GPT2LMHeadModel(config).double()

    how = {"n_iterations": 1, "oracle": rt.Sampled(4), "n_evaluation": 4}
    solver = FirstOrder(2, 1e-2)
    expected = loop.train(task, rt.Rebel(1.0), policy=policy_of(model(), tokenizer, 3, solver=solver), **how)
    with Pretended():
        found = loop.train(
            task, rt.Rebel(1.0), policy=policy_of(model().to("cuda"), tokenizer, 3, solver=solver), **how
        )
        assert found.final_policy.device == CUDA
    np.testing.assert_allclose(found.gap, expected.gap, rtol=0, atol=1e-12)


# --------------------------------------------------------------------------------------------- the command line


def test_the_neural_suite_runs_there_and_asks_its_own_device(tmp_path, capsys, monkeypatch):
    tiny = replace(
        sizes.size("quick"), tasks=(Copy(length=1, n_symbols=2),), width=4, depth=1, heads=1, n_pairs=4,
        n_iterations=1, n_seeds=1, n_evaluation=4, steps=2,
    )  # fmt: skip
    monkeypatch.setattr(sizes, "size", lambda scale: tiny)
    monkeypatch.setattr(sizes, "METHODS", {m: sizes.METHODS[m] for m in ("REBEL", "PPO")})
    monkeypatch.setattr("rebel_bench.speed.neural.race.METHODS", sizes.METHODS)
    with Pretended() as gpu:
        words = ["bench", "neural", "--device", "cuda:0", "--json", "--no-figures", "--out", str(tmp_path)]
        assert main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["about"]["device"] == "a pretended GPU"
    assert found["about"]["memory"] == "peak of CUDA's allocator"
    assert {row["peak_bytes"] for row in found["rows"]} == {2e6}  # less what others held
    assert {name for name, _ in gpu.asked} >= {"synchronize", "max_memory_allocated", "reset_peak_memory_stats"}
    assert {device for _, device in gpu.asked} == {"cuda:0"}


def test_thousands_of_seeds_run_there(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch_seeds, "ROUNDS", 1)
    monkeypatch.setattr(torch_seeds, "ITERATIONS", 1)
    monkeypatch.setattr(torch_seeds, "_CG", 2)
    monkeypatch.setattr(torch_seeds, "MANY", 16)
    blind = mock.MagicMock()  # a profiler without the right to read the device's counters
    blind.return_value.__enter__.return_value.key_averages.return_value = []
    monkeypatch.setattr(torch.profiler, "profile", blind)
    with Pretended():
        assert main(["bench", "torch-seeds", "--device", "cuda", "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "a pretended GPU" in shown
    assert "not known: the profiler saw no kernels" in shown
    found = json.loads((tmp_path / "speed" / "torch-seeds.quick.json").read_text(encoding="utf-8"))
    assert found["n_seeds"] == 16
    assert found["aim_is_for_this_device"]


@pytest.mark.parametrize("words", [["verify", "N1"], ["bench", "neural"], ["bench", "torch-seeds"]])
@pytest.mark.parametrize("device", ["cuda:99", "toaster", "meta"])
def test_a_device_that_is_not_there_is_an_error_of_one_line(words, device, tmp_path, capsys):
    assert main([*words, "--device", device, "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert f"--device {device}: torch has no such device here" in said
    assert "use --device cpu" in said
    assert said.count("\n") == 1


# -------------------------------------------------------------------------------------------------- a real GPU


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("kind", ["bandit", "mdp", "game"])
def test_on_a_real_gpu_updates_never_wait_and_the_digits_are_close(kind):
    solver = GaussNewton(max_iterations=5, stop_early=False)
    problem, policy = problem_of(kind), TorchPolicy(mlp(S, A, hidden=(3,)), solver=solver)

    def strict(t, _):
        torch.cuda.set_sync_debug_mode("error" if t < 4 else "default")

    for make in EXACT:
        how = {"n_iterations": 4, "policy": policy, "n_seeds": 2}
        try:
            found = rt.run(on_device(problem, "cuda"), make(0.5), progress=strict, **how)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        np.testing.assert_allclose(found.gap, rt.run(on_device(problem), make(0.5), **how).gap, rtol=0, atol=1e-9)
