"""Whole runs over completions: resumed to the last bit, rewards by brute force, self-play against a fixed reward."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rebel_theory as rt
from rebel_theory.problems import InvalidProblemError
from rebel_theory.torch import FirstOrder
from rebel_theory.torch.sequences import (
    AdamAscent,
    Arithmetic,
    Batch,
    Completions,
    Copy,
    CyclicJudge,
    Grammar,
    Sort,
    TargetStyle,
    ValueCritic,
)  # fmt: skip
from rebel_theory.torch.sequences.tokens import left_padded, up_to_end

PAD, EOS, SEP, FIRST = 0, 1, 2, 3
TASK = Copy(length=2, n_symbols=2)
METHODS: dict[str, Any] = {
    "rebel": lambda: rt.Rebel(2.0),
    "ppo": lambda: rt.Ppo(1e-2),
    "grpo": lambda: rt.Grpo(1e-2, kl_weight=0.1),
    "dpo": lambda: rt.Dpo(2.0),
}


def train(key: str, n: int, **options: Any) -> rt.Trace:
    policy = TASK.policy(
        width=8, depth=1, heads=2, solver=FirstOrder(3, 1e-2, contexts_per_step=4), critic=ValueCritic(steps=2),
        ascent=AdamAscent(),
    )  # fmt: skip
    how = {"oracle": rt.Sampled(8), "n_evaluation": 16, **options}
    return TASK.run(METHODS[key](), policy=policy, n_iterations=n, **how)


def same(one: rt.Trace, two: rt.Trace) -> None:
    for name in ("gap", "average_gap", "regression_error", "queries", "evaluation_error"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)
    assert torch.equal(one.final_policy.theta, two.final_policy.theta)


@pytest.mark.parametrize("key", METHODS)
def test_a_run_that_is_resumed_ends_with_the_same_bits(key: str, tmp_path: Path) -> None:
    file = tmp_path / "run"
    train(key, 4, checkpoint=file, every=2)
    whole = train(key, 9)
    resumed = train(key, 9, checkpoint=file, every=5)
    same(whole, resumed)
    assert not torch.equal(whole.final_policy.theta, train(key, 8).final_policy.theta)
    same(whole, train(key, 9, checkpoint=file))  # and once more, from the end


def test_a_run_that_is_killed_ends_with_the_same_bits(tmp_path: Path) -> None:
    """SIGKILL at any moment leaves the last checkpoint whole."""
    file, here = tmp_path / "run", Path(__file__).parent
    code = (
        f"import sys, torch; sys.path.insert(0, {str(here)!r}); torch.set_num_threads(1)\n"
        f"import test_sequence_runs as t; t.train('rebel', 10**6, checkpoint={str(file)!r}, every=3)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], env=dict(os.environ), stderr=subprocess.PIPE)
    try:
        for _ in range(1200):
            if file.exists() or child.poll() is not None:
                break
            time.sleep(0.1)
        assert file.exists(), child.stderr.read().decode() if child.poll() is not None else "no checkpoint"
    finally:
        child.send_signal(signal.SIGKILL)
        child.communicate()
    done = len(torch.load(file, weights_only=False).error)
    assert done >= 3
    same(train("rebel", done + 4), train("rebel", done + 4, checkpoint=file))


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "run"
    train("rebel", 2, checkpoint=file)
    for key, n, options, match in (
        ("ppo", 4, {}, r"algorithm Rebel\(step_size=2.0"), ("rebel", 4, {"seed": 1}, "seed 0"),
        ("rebel", 1, {}, "2 updates"),
    ):  # fmt: skip
        with pytest.raises(InvalidProblemError, match=match):
            train(key, n, checkpoint=file, **options)
    torch.save({"theta": 1}, file)
    with pytest.raises(InvalidProblemError, match="not a checkpoint"):
        train("rebel", 4, checkpoint=file)


def test_seeds_are_runs_of_their_own() -> None:
    both = train("rebel", 3, n_seeds=2, seed=5)
    for i in range(2):
        np.testing.assert_array_equal(both.gap[i], train("rebel", 3, seed=5 + i).gap[0])


# rewards


def completed(rows: list[list[int]], width: int) -> Completions:
    tokens = torch.tensor([row + [PAD] * (width - len(row)) for row in rows])
    return Completions(tokens, up_to_end(tokens, EOS), torch.zeros(len(rows), dtype=torch.float64))


def every_answer(symbols: int, longest: int) -> list[list[int]]:
    """Return all completions of at most ``longest`` tokens out of pad, end, separator and symbols."""
    rest = [PAD, SEP, *range(FIRST, FIRST + symbols)]
    ended = [[*w, EOS] for k in range(longest) for w in itertools.product(rest, repeat=k)]
    return ended + [list(w) for w in itertools.product(rest, repeat=longest)]


def shares(answer: list[int], wanted: list[int]) -> float:
    """Return the share of places that agree, over the longer of both."""
    right = sum(a == b for a, b in zip(answer, wanted, strict=False))
    return right / max(len(answer), len(wanted))


def test_rewards_of_digits_by_brute_force() -> None:
    for task, rule in ((Copy(2, 2), list), (Sort(2, 2), sorted)):
        words = [list(w) for k in (1, 2) for w in itertools.product(range(2), repeat=k)]
        asked = task.prompts(400, torch.Generator().manual_seed(0))
        answers = every_answer(2, 3)
        seen = set()
        for prompt, mask, goal in zip(asked.tokens, asked.mask, asked.answers, strict=True):
            word = [int(t) - FIRST for t in prompt[mask][:-1]]
            assert int(prompt[-1]) == SEP
            if tuple(word) in seen:
                continue
            seen.add(tuple(word))
            wanted = [FIRST + d for d in rule(word)] + [EOS]
            asked_one = Batch(prompt[None], mask[None], goal[None])
            found = task.reward(asked_one.repeated(len(answers)), completed(answers, 3))
            np.testing.assert_allclose(found, [shares(a, wanted) for a in answers], atol=1e-12)
            assert [answers[i] for i in np.flatnonzero(found.numpy() == 1)] == [wanted]
        assert seen == set(map(tuple, words))


def test_rewards_of_sums() -> None:
    task = Arithmetic(length=2, n_symbols=4)  # base 3, the plus sign is symbol 3
    asked = task.prompts(300, torch.Generator().manual_seed(0))
    for prompt, mask, goal in zip(asked.tokens, asked.mask, asked.answers, strict=True):
        word = [int(t) - FIRST for t in prompt[mask][:-1]]
        at = word.index(3)
        a, b = (int("".join(map(str, part)), 3) for part in (word[:at], word[at + 1 :]))
        said = [FIRST + int(d) for d in np.base_repr(a + b, 3)] + [EOS]
        one = Batch(prompt[None], mask[None], goal[None])
        assert float(task.reward(one, completed([said], 4))) == 1.0
        assert float(task.reward(one, completed([[*said[:-2], FIRST + (said[-2] - FIRST + 1) % 3, EOS]], 4))) < 1.0
    assert [FIRST + 1, FIRST, FIRST + 2, EOS] in asked.answers.tolist() or len(asked) == 300


def balanced(word: list[int], kinds: int) -> bool:
    """Return whether brackets close, by cancelling neighbours."""
    text = list(word)
    while True:
        for i in range(len(text) - 1):
            if text[i] % 2 == 0 and text[i + 1] == text[i] + 1:
                del text[i : i + 2]
                break
        else:
            return not text


def test_rewards_of_brackets_by_brute_force() -> None:
    """1 for exactly the balanced words of the wanted length; else by the longest beginning that one can finish."""
    kinds, longest = 2, 4
    task = Grammar(length=longest, kinds=kinds)
    answers = list(every_answer(2 * kinds, 3)) + [
        [*(FIRST + s for s in w), EOS] for w in itertools.product(range(2 * kinds), repeat=4)
    ]
    for pairs in (1, 2):
        wanted = 2 * pairs
        words = [list(w) for w in itertools.product(range(2 * kinds), repeat=wanted) if balanced(list(w), kinds)]
        begun = {tuple(w[:i]) for w in words for i in range(wanted + 1)}
        prompt = left_padded([[FIRST + 2 * kinds] * pairs + [SEP]], PAD)
        asked = Batch(prompt.tokens, prompt.mask, torch.tensor([[pairs]])).repeated(len(answers))
        for answer, found in zip(answers, task.reward(asked, completed(answers, 5)).tolist(), strict=True):
            symbols = [t - FIRST for t in answer if t != EOS]
            good = max(i for i in range(min(len(symbols), wanted) + 1) if tuple(symbols[:i]) in begun)
            right = answer[-1] == EOS and symbols in words
            assert found == pytest.approx(1.0 if right else 0.9 * good / (wanted + 1), abs=1e-12), (answer, pairs)


def test_rewards_of_a_style_by_brute_force() -> None:
    task = TargetStyle(length=2, n_symbols=4, kinds=2)
    answers = every_answer(4, 3)
    for symbol in range(4):
        asked = Batch(torch.tensor([[FIRST + symbol, SEP]]), torch.ones(1, 2, dtype=torch.bool),
                      torch.tensor([[symbol % 2]])).repeated(len(answers))  # fmt: skip
        wanted = []
        for answer in answers:
            places = [t >= FIRST and (t - FIRST) % 2 == symbol % 2 for t in answer[:2]]
            wanted.append((sum(places) + (answer[2:] == [EOS])) / 3)
        np.testing.assert_allclose(task.reward(asked, completed(answers, 3)), wanted, atol=1e-12)


# the judge


def test_the_judge_is_a_mixture_of_raters_with_a_cycle() -> None:
    judge = CyclicJudge(weights=(0.45, 0.4, 0.15))
    ranks = ([0, 1, 2], [1, 2, 0], [2, 0, 1])
    for i, j in itertools.product(range(3), repeat=2):
        wanted = sum(w * np.sign(r.index(j) - r.index(i)) for w, r in zip(judge.weights, ranks, strict=True))
        assert judge.payoff[i, j] == pytest.approx(wanted, abs=1e-12)
    assert min(judge.payoff[0, 1], judge.payoff[1, 2], judge.payoff[2, 0]) > 0
    np.testing.assert_array_equal(judge.payoff, -judge.payoff.T)
    np.testing.assert_allclose(judge.payoff[:, :3] @ judge.equilibrium, [0, 0, 0, -1], atol=1e-12)
    np.testing.assert_allclose(judge.equilibrium, [0.7, 0.1, 0.2])


def test_styles_judgements_and_gaps_by_hand() -> None:
    judge = CyclicJudge(length=3, n_symbols=6)
    rows = [[3, EOS], [4, 7, 3, EOS], [5, 8, 5, EOS], [4, 3, EOS], [EOS], [3, 3, 3, 3], [5, 4, 4, EOS]]
    answers = completed(rows, 4)
    assert judge.styles(answers).tolist() == [0, 1, 2, 0, 3, 3, 1]
    other = completed(rows[1:] + rows[:1], 4)
    table = judge.payoff
    np.testing.assert_allclose(
        judge.judged(answers, other), [table[i, j] for i, j in ((0, 1), (1, 2), (2, 0), (0, 3), (3, 3), (3, 1), (1, 0))]
    )
    prompts = judge.prompts(7, torch.Generator().manual_seed(0))
    mean = judge.outcomes(prompts, answers).mean(0).numpy()
    law = np.bincount([0, 1, 2, 0, 3, 3, 1], minlength=4) / 7
    assert judge.gap(mean) == pytest.approx(2 * (table @ law).max())
    assert judge.gap(table @ np.append(judge.equilibrium, 0)) == pytest.approx(0, abs=1e-12)


def test_both_answers_of_a_pair_meet_the_same_third_and_raters_vote() -> None:
    """l(y, y'') - l(y', y'') is 0 whenever y and y' have one style; votes have their mean (false alarm 1e-6)."""
    judge = CyclicJudge(length=2, n_symbols=3)
    policy = judge.policy(width=8, depth=1, heads=2)
    stream = torch.Generator().manual_seed(0)
    prompts = judge.prompts(4000, stream)
    first, second = policy.sample(prompts, stream), policy.sample(prompts, stream)
    relative = judge.relative(policy, prompts, first, second, stream)
    equal = judge.styles(first) == judge.styles(second)
    assert float(relative[equal].abs().max()) == 0.0
    pair = (judge.styles(first) == 0) & (judge.styles(second) == 1)
    table, law = judge.payoff, np.bincount(judge.styles(policy.sample(prompts, stream)), minlength=4) / 4000
    allowed = {round(float(v), 5) for v in table[0] - table[1]}
    assert {round(float(v), 5) for v in relative[pair]} <= allowed
    n = int(pair.sum())
    assert abs(float(relative[pair].mean()) - float((table[0] - table[1]) @ law)) < 5.5 * 2 * (1 / n + 1 / 4000) ** 0.5
    votes = judge.compare(prompts, first, second, stream)
    assert float(votes[equal].abs().max()) == 0.0
    won = torch.where(equal, 0.0, judge.judged(first, second))
    assert abs(float((votes - won).mean())) < 4.9 * 4000**-0.5  # each within [-1, 1]: a standard deviation of at most 1


def test_self_play_lowers_the_gap_of_the_average_and_a_fixed_reward_does_not() -> None:
    """Seeds are fixed. A fixed reward ends at style 1, which style 0 beats: a gap of 2 l(0, 1) = 0.6."""
    found = {}
    for fixed in (False, True):
        judge = CyclicJudge(length=1, n_symbols=3, fixed_reward=fixed)
        policy = judge.policy(width=8, depth=1, heads=2, solver=FirstOrder(8, 1e-2))
        how = {"policy": policy, "oracle": rt.Sampled(64), "n_iterations": 60}
        found[fixed] = judge.run(rt.Rebel(2.0), n_evaluation=512, **how)
    assert found[False].average_gap[0, -1] < 0.25
    assert found[True].average_gap[0, -1] > 0.5
    assert found[True].gap[0, -1] > 0.55
