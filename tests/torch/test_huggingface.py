"""Language models of transformers, randomly initialised, with the byte tokenizer: no files, no network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rebel_theory as rt
from rebel_theory.problems import InvalidProblemError
from rebel_theory.torch import FirstOrder, GaussNewton
from rebel_theory.torch.huggingface import TextTask, policy_of
from rebel_theory.torch.sequences import Batch, Completions

EXAMPLE = Path(__file__).parents[2] / "examples" / "language_model.py"
transformers = pytest.importorskip("transformers")
TOKENIZER = transformers.ByT5Tokenizer()
LONGEST = 4


def share_of_a(prompts: list[str], answers: list[str]) -> list[float]:
    """Return the share of letters that are a."""
    return [answer.count("a") / LONGEST for answer in answers]


TASK = TextTask(["a", "What?"], share_of_a, TOKENIZER, LONGEST)


def gpt2(**options: Any) -> Any:
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=len(TOKENIZER), n_positions=24, n_embd=8, n_layer=2, n_head=2,
                                     initializer_range=0.6, **options)  # fmt: skip
    return transformers.GPT2LMHeadModel(config).double()


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_sampling_with_the_cache_agrees_with_one_pass_and_with_the_model_itself() -> None:
    model = gpt2()
    policy = policy_of(model, TOKENIZER, LONGEST)
    asked = TASK.prompts(16, stream())
    assert len(set(asked.mask.sum(-1).tolist())) == 2  # different lengths: one is padded
    drawn = policy.sample(asked, stream())
    torch.testing.assert_close(policy.log_probs(asked, drawn), drawn.log_probs, rtol=0, atol=1e-10)
    for i in range(len(asked)):
        prompt, answer = asked.tokens[i][asked.mask[i]], drawn.tokens[i][drawn.mask[i]]
        with torch.no_grad():
            rows = model.eval()(input_ids=torch.cat([prompt, answer])[None]).logits[0, len(prompt) - 1 : -1]
        wanted = rows.log_softmax(-1).gather(-1, answer[:, None]).sum()
        assert abs(float(wanted - drawn.log_probs[i])) < 1e-10


def test_left_padding_changes_nothing() -> None:
    policy = policy_of(gpt2(), TOKENIZER, LONGEST)
    asked = TASK.prompts(8, stream())
    drawn = policy.sample(asked, stream())
    junk = torch.full((len(asked), 3), 99)
    wide = Batch(
        torch.cat([junk, asked.tokens], 1), torch.cat([torch.zeros_like(junk, dtype=torch.bool), asked.mask], 1)
    )
    torch.testing.assert_close(policy.log_probs(wide, drawn), drawn.log_probs, rtol=0, atol=1e-10)
    torch.testing.assert_close(policy.sample(wide, stream()).log_probs, drawn.log_probs, rtol=0, atol=1e-10)


def test_tied_weights_are_one_parameter_and_stay_tied() -> None:
    tied, free = (policy_of(gpt2(tie_word_embeddings=tie), TOKENIZER, LONGEST) for tie in (True, False))
    assert len(free.theta) - len(tied.theta) == len(TOKENIZER) * 8
    moved = tied.with_theta(tied.theta + 0.1)
    module = moved.trained_module().model
    assert module.lm_head.weight is module.transformer.wte.weight
    asked = TASK.prompts(6, stream())
    drawn = moved.sample(asked, stream())
    again = policy_of(module, TOKENIZER, LONGEST)  # the trained module is the policy
    torch.testing.assert_close(again.log_probs(asked, drawn), drawn.log_probs, rtol=0, atol=1e-10)
    assert float((tied.log_probs(asked, drawn) - drawn.log_probs).detach().abs().max()) > 1e-3
    # the derivative reaches the weight through both of its places
    h, direction = 1e-5, torch.randn(len(tied.theta), generator=stream(), dtype=torch.float64)
    theta = tied.theta.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(tied.log_probs(asked, drawn, theta).sum(), theta)
    with torch.no_grad():
        ends = [tied.log_probs(asked, drawn, tied.theta + s * h * direction).sum() for s in (1, -1)]
    wanted = float(ends[0] - ends[1]) / (2 * h)
    assert abs(float(slope @ direction) - wanted) < 1e-6 * max(1.0, abs(wanted))


def test_dropout_and_the_callers_model_are_left_alone() -> None:
    model = gpt2(attn_pdrop=0.5, resid_pdrop=0.5).train()
    before = [p.clone() for p in model.parameters()]
    policy = policy_of(model, TOKENIZER, LONGEST, solver=FirstOrder(2, 1e-2))
    asked = TASK.prompts(6, stream())
    drawn = policy.sample(asked, stream())
    torch.testing.assert_close(policy.log_probs(asked, drawn), drawn.log_probs, rtol=0, atol=1e-10)
    rt.run(TASK, rt.Rebel(1.0), policy=policy, oracle=rt.Sampled(4), n_iterations=1)
    assert model.training
    assert all(torch.equal(p, q) for p, q in zip(before, model.parameters(), strict=True))


def test_texts_become_rewards_and_queries_are_counted() -> None:
    policy = policy_of(gpt2(), TOKENIZER, LONGEST, solver=GaussNewton(max_iterations=3))
    said = []

    def score(prompts: list[str], answers: list[str]) -> list[float]:
        said.extend(zip(prompts, answers, strict=True))
        return [0.5] * len(answers)

    task = TextTask(["a", "What?"], score, TOKENIZER, LONGEST)
    trace = task.run(rt.Rebel(1.0), policy=policy, oracle=rt.Sampled(4), n_iterations=2, n_evaluation=6)
    assert trace.queries.tolist() == [[0, 8, 16]]
    np.testing.assert_allclose(trace.gap, 0.5)
    assert {prompt for prompt, _ in said} == {"a", "What?"}
    assert len(said) == 3 * 6 + 16
    tokens = torch.tensor([[*(t + 3 for t in b"ab"), TOKENIZER.eos_token_id]])  # ByT5: a byte plus three
    answers = Completions(tokens, torch.ones_like(tokens, dtype=torch.bool), torch.zeros(1))
    said.clear()
    task.reward(task.prompts(1, stream()), answers)
    assert said[0][1] == "ab"


def test_what_is_wrong_is_named() -> None:
    with pytest.raises(InvalidProblemError, match="texts is empty"):
        TextTask([], share_of_a, TOKENIZER, 4)
    with pytest.raises(InvalidProblemError, match=r"texts\[1\] has no tokens"):
        TextTask(["a", ""], share_of_a, TOKENIZER, 4)
    short = TextTask(["a"], lambda prompts, answers: [1.0], TOKENIZER, 4)
    asked = short.prompts(3, stream())
    answers = policy_of(gpt2(), TOKENIZER, 4).sample(asked, stream())
    with pytest.raises(InvalidProblemError, match="1 rewards for 3 answers"):
        short.reward(asked, answers)
    with pytest.raises(InvalidProblemError, match="eos_token"):
        policy_of(gpt2(), _NoEnd(), 4)


class _NoEnd:
    eos_token_id = None
    pad_token_id = 0


def test_the_example_is_short_and_learns() -> None:
    """From a share of letters below 0.1 to 0.4 within 10 updates; its seed is fixed."""
    assert len(EXAMPLE.read_text().splitlines()) < 60
    done = subprocess.run(
        [sys.executable, EXAMPLE, "--updates", "10"], capture_output=True, text=True, timeout=600,
        env=dict(os.environ, OMP_NUM_THREADS="1"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rewards = [float(line.split()[-1]) for line in done.stdout.splitlines() if "mean reward" in line]
    assert len(rewards) == 2
    assert rewards[1] > max(2 * rewards[0], 0.25), done.stdout
