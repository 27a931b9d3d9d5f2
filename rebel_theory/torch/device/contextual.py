"""Problems computed where they are solved: rewards and preferences as functions of context vectors on the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from rebel_theory.problems import BernoulliNoise, InvalidProblemError, Noise, NoNoise
from rebel_theory.problems.base import checking
from rebel_theory.problems.contextual import ContextualLaw, cyclic_preferences, neural_rewards, random_feature_rewards
from rebel_theory.problems.parameters import whole
from rebel_theory.torch.device.problems import DeviceBandit, DeviceGame, law_of
from rebel_theory.torch.policy import copied, taking

_EXACT = NoNoise()


def neural_bandit(
    n_contexts: int = 20,
    n_actions: int = 5,
    *,
    n_inputs: int = 4,
    hidden: Sequence[int] = (16,),
    scale: float = 3.0,
    seed: int = 0,
    noise: Noise = _EXACT,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float64,
) -> DeviceBandit:
    """Return the bandit of the ``neural_bandit`` of rebel_envs, with contexts and rewards computed on the device.

    Parameters
    ----------
    n_contexts, n_actions, n_inputs, hidden, scale, seed, noise
        As there: the same seed is the same bandit, up to rounding. Rewards (S, A), contexts (S, k).
    device, dtype
        Contexts are drawn in double precision and rounded to ``dtype``, in which the network is evaluated, a block of
        contexts at a time. Only the weights come from the host.
    """
    law = neural_rewards(n_contexts, n_actions, n_inputs, hidden, scale=scale, seed=seed)
    return _bandit("neural_bandit", law, noise, device, dtype)


def random_feature_bandit(
    n_contexts: int = 20,
    n_actions: int = 5,
    *,
    n_inputs: int = 4,
    n_features: int = 64,
    length_scale: float = 1.0,
    scale: float = 2.0,
    seed: int = 0,
    noise: Noise = _EXACT,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float64,
) -> DeviceBandit:
    """Return the bandit of the ``random_feature_bandit`` of rebel_envs, computed on the device.

    Parameters
    ----------
    n_contexts, n_actions, n_inputs, n_features, length_scale, scale, seed, noise
        As there: the same seed is the same bandit, up to rounding. Rewards (S, A), contexts (S, k).
    device, dtype
        As of :func:`neural_bandit`.
    """
    law = random_feature_rewards(
        n_contexts, n_actions, n_inputs, n_features, length_scale=length_scale, scale=scale, seed=seed
    )
    return _bandit("random_feature_bandit", law, noise, device, dtype)


def contextual_cycle(
    n_contexts: int = 8,
    n_actions: int = 3,
    *,
    n_inputs: int = 3,
    strength: float = 0.4,
    seed: int = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float64,
) -> DeviceGame:
    """Return the game of the ``contextual_cycle`` of rebel_envs, computed on the device.

    Parameters
    ----------
    n_contexts, n_actions, n_inputs, strength, seed
        As there: the same seed is the same game, up to rounding. Preferences (S, A, A), contexts (S, k).
    device, dtype
        As of :func:`neural_bandit`.
    """
    law = cyclic_preferences(n_contexts, n_actions, n_inputs, strength=strength, seed=seed)
    contexts, preference = law.tables(torch, dtype=dtype, device=device)
    return DeviceGame(preference, _uniform(preference), contexts)


def module_bandit(
    module: nn.Module,
    contexts: Tensor | ArrayLike,
    *,
    context_dist: Tensor | ArrayLike | None = None,
    noise: Noise = _EXACT,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    block: int = 65_536,
) -> DeviceBandit:
    """Return the bandit whose mean rewards are what a module says of its contexts.

    Parameters
    ----------
    module : nn.Module
        Maps contexts (n, k) to mean rewards (n, A), each context by itself. It is copied, in evaluation mode.
    contexts : shape (S, k)
        A tensor on the device stays there; also the inputs of a policy that brings none.
    context_dist : shape (S,), optional
        Uniform by default.
    noise : NoNoise(), GaussianNoise(sigma) or BernoulliNoise()
        The last asks for means in [0, 1].
    device, dtype
        By default those of the contexts, of an array the CPU in double precision.
    block : int
        Contexts that the module sees at a time, which bounds the memory it takes.

    Raises
    ------
    InvalidProblemError
        For contexts, rewards and distributions of another shape, not finite, or impossible under the noise.

    Examples
    --------
    >>> from torch import nn
    >>> from rebel_theory.torch.device import module_bandit
    >>> x = torch.randn(1000, 4)
    >>> bandit = module_bandit(nn.Sequential(nn.Linear(4, 3), nn.Sigmoid()), x)
    >>> bandit.reward.shape, bandit.reward.dtype
    (torch.Size([1000, 3]), torch.float32)
    """
    with checking("module_bandit") as checks:
        rows = whole(checks, "block", block)
        x = _tensor(contexts, device, dtype)
        good = x.ndim == 2 and x.numel() > 0
        checks.require(good, f"contexts has shape {tuple(x.shape)}, expected (S, k): one vector per context")
    net = copied(module).to(device=x.device, dtype=x.dtype)
    with torch.no_grad():
        parts = [_rewards(net, x[i : i + rows]) for i in range(0, len(x), rows)]
    reward = torch.cat(parts)
    rho = _uniform(reward) if context_dist is None else _tensor(context_dist, x.device, x.dtype)
    with checking("module_bandit") as checks:
        checks.require(bool(reward.isfinite().all()), "the module gives rewards that are not finite")
        low, high = float(reward.min()), float(reward.max())
        checks.require(
            not isinstance(noise, BernoulliNoise) or (low >= 0 and high <= 1),
            f"rewards lie in [{low:g}, {high:g}], expected [0, 1] under BernoulliNoise: end the module with a sigmoid",
        )
        if checks.require(rho.shape == (len(x),), f"context_dist has shape {tuple(rho.shape)}, expected ({len(x)},)"):
            total = rho.double().sum()
            fine = bool((rho >= 0).all()) and abs(float(total) - 1) < 1e-4
            checks.require(fine, f"context_dist sums to {float(total):g}, expected probabilities: divide by their sum")
            rho = (rho / total).to(x.dtype)
    return DeviceBandit(reward, rho, **law_of(noise, "module_bandit"), contexts=x)


def _bandit(
    what: str, law: ContextualLaw, noise: Noise, device: torch.device | str, dtype: torch.dtype
) -> DeviceBandit:
    said = law_of(noise, what)
    contexts, reward = law.tables(torch, dtype=dtype, device=device)
    return DeviceBandit(reward, _uniform(reward), **said, contexts=contexts)


def _uniform(table: Tensor) -> Tensor:
    return torch.full((len(table),), 1 / len(table), dtype=table.dtype, device=table.device)


def _tensor(array: Any, device: torch.device | str | None, dtype: torch.dtype | None) -> Tensor:
    """Return a tensor where it is, or an array on the CPU in double precision, unless another place is asked for."""
    if not isinstance(array, Tensor):
        array, dtype = np.array(array, dtype=np.float64), dtype or torch.float64
    return torch.as_tensor(array, device=device, dtype=dtype).detach()


def _rewards(net: nn.Module, x: Tensor) -> Tensor:
    with taking(x.shape, "module_bandit"):
        found: Tensor = net(x)
    if found.ndim != 2 or len(found) != len(x) or found.shape[1] < 2:
        raise InvalidProblemError(
            "module_bandit",
            [f"the module maps contexts {tuple(x.shape)} to {tuple(found.shape)}, expected ({len(x)}, A) with A >= 2"],
        )
    return found
