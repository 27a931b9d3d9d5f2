"""What the claims on neural policies share: small modules in double precision, problems with features as contexts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.random import Generator

import rebel_theory as rt
from rebel_bench.devices import device
from rebel_bench.instances import random_preferences, simplex
from rebel_theory.arrays import FloatArray

if TYPE_CHECKING:
    from rebel_theory.torch import TorchPolicy

MODULES = ("perceptron", "transformer")
N_INPUTS = 3


def prepare() -> str:
    """Return the device that ``verify --device`` chose, the CPU by default, where one thread is fastest."""
    import torch

    torch.set_num_threads(1)
    return device()


def policy(
    rng: Generator, kind: str, contexts: FloatArray, n_actions: int, hidden: int = 6, **options: Any
) -> TorchPolicy:
    """Return a small random network of a kind on contexts (S, k), on the device of :func:`prepare`."""
    import rebel_theory.torch as neural

    seed, n_inputs = int(rng.integers(2**31)), contexts.shape[-1]
    if kind == "perceptron":
        module = neural.mlp(n_inputs, n_actions, hidden=(hidden,), seed=seed)
    else:
        module = neural.transformer(n_inputs, n_actions, width=4, heads=2, seed=seed)
    return neural.TorchPolicy(module.to(prepare()), contexts, **options)


def well_posed(draw: Callable[[], TorchPolicy], largest_condition: float) -> TorchPolicy:
    """Return the first drawn policy (in rows form) whose centred scores have at most a condition number.

    Above it a comparison of two steps tests the arithmetic, not the statement; nothing else is measured before.
    """
    while True:
        found = draw()
        jacobian = found.jacobian()
        scores = jacobian - jacobian.mean(axis=-2, keepdims=True)
        sigma = np.linalg.svd(scores.reshape(-1, scores.shape[-1]), compute_uv=False)
        positive = sigma[sigma > 1e-10 * sigma[0]]  # a shift of all logits is no direction of the policy
        if positive[0] <= largest_condition * positive[-1]:
            return found


def problem(rng: Generator, kind: str, s: int, a: int) -> rt.Problem:
    """Return a random bandit, discounted MDP or game of S rows and A actions; rewards in [0, 1]."""
    if kind == "bandit":
        return rt.ContextualBandit(rng.random((s, a)), context_dist=simplex(rng, s))
    if kind == "game":
        return rt.PreferenceGame(random_preferences(rng, s, a), context_dist=simplex(rng, s))
    transition = simplex(rng, s, a, s)
    return rt.TabularMDP(transition, rng.random((s, a)), discount=0.9, initial_dist=simplex(rng, s))


def contexts(rng: Generator, s: int) -> FloatArray:
    """Return random features (S, k) of the rows."""
    return rng.standard_normal((s, N_INPUTS))


def largest_tv(one: rt.Trace, other: rt.Trace) -> float:
    """Return the largest total variation over rows and iterates of two runs that kept their policies."""
    assert one.probs is not None
    assert other.probs is not None
    return float(0.5 * np.abs(one.probs - other.probs).sum(axis=-1).max())
