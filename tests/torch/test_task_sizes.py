"""The tasks by name, at three sizes."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
import torch

import rebel_theory as rt
from rebel_theory.problems import InvalidProblemError
from rebel_theory.torch.sequences import SequenceTask, TaskSize, sequence_task, task_kinds, transformer_shape

SIZES = get_args(TaskSize)


@pytest.mark.parametrize("kind", task_kinds())
def test_every_kind_grows_with_its_size(kind: str) -> None:
    tasks = [sequence_task(kind, size) for size in SIZES]
    assert len({type(task) for task in tasks}) == 1
    lengths = [task.max_new_tokens for task in tasks]
    assert lengths == sorted(set(lengths))
    assert [task.vocabulary for task in tasks] == sorted(task.vocabulary for task in tasks)
    for task in tasks:
        prompts = task.prompts(64, torch.Generator().manual_seed(0))
        assert prompts.tokens.shape[1] <= task.prompt_length
        assert int(prompts.tokens.max()) < task.vocabulary


def test_the_large_transformer_has_25_million_parameters_for_every_kind() -> None:
    matrices = [12 * shape["depth"] * shape["width"] ** 2 for shape in map(transformer_shape, SIZES)]
    assert matrices == [24_576, 786_432, 25_165_824]
    small = sequence_task("copy").policy(**transformer_shape())
    assert len(small.theta) == 26_112


def test_a_small_task_runs_and_options_replace_the_sizes() -> None:
    task = sequence_task("target-style", kinds=2)
    assert task == replace(sequence_task("target-style"), kinds=2)  # type: ignore[type-var]
    assert isinstance(task, SequenceTask)
    policy = task.policy(width=8, depth=1, heads=2)
    trace = rt.run(task, rt.Rebel(1.0), n_iterations=1, policy=policy, oracle=rt.Sampled(4))
    assert trace.gap.shape == (1, 2)


def test_what_is_wrong_is_named_with_what_there_is() -> None:
    with pytest.raises(InvalidProblemError) as caught:
        sequence_task("copi", "huge")  # type: ignore[arg-type]
    assert "'copi', expected one of copy, sort" in str(caught.value)
    assert "'huge', expected one of small, medium, large" in str(caught.value)
    with pytest.raises(InvalidProblemError, match="copy has no lenght, but length, n_symbols"):
        sequence_task("copy", lenght=3)
    with pytest.raises(InvalidProblemError, match="'tiny', expected one of small"):
        transformer_shape("tiny")  # type: ignore[arg-type]
    with pytest.raises(InvalidProblemError, match="length is 0"):
        sequence_task("sort", length=0)
