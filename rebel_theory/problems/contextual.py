"""Contexts as vectors, with rewards and preferences that are functions of them: one law for arrays and tensors.

Everything is written for a namespace, ``numpy`` or ``torch``, so that a seed means the same problem in memory and on a
device, where nothing of the contexts' number passes through the host. Weights are few and come from NumPy's generator.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from rebel_theory.arrays import FloatArray
from rebel_theory.problems.base import Checks, checking
from rebel_theory.problems.parameters import batch, generator, whole, within

BLOCK = 1 << 22  # entries of the largest array between contexts and values, at a time: 32 MiB

# SplitMix64, as signed numbers
_GAMMA, _FIRST, _SECOND = 0x9E3779B97F4A7C15 - 2**64, 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64


def split_mix(index: Any, key: int) -> Any:
    """Return output ``index`` (int64, any shape, from 0) of the SplitMix64 generator started at ``key``.

    A function of index and key, so that any part of the stream can be had anywhere (Steele, Lea and Flood 2014,
    OOPSLA). Products of int64 wrap, in NumPy and in torch; the result is signed.
    """

    def shifted(bits: Any, n: int) -> Any:
        return bits ^ ((bits >> n) & ((1 << (64 - n)) - 1))  # >> of signed numbers repeats the sign

    z = (index + 1) * _GAMMA + key
    z = shifted(z, 30) * _FIRST
    z = shifted(z, 27) * _SECOND
    return shifted(z, 31)


def normal_vectors(first: int, last: int, n_inputs: int, key: int, xp: Any = np, **where: Any) -> Any:
    """Return vectors ``first`` to ``last`` - 1 of the stream ``key``: standard normal (last - first, k), float64.

    By Box and Muller (1958) from two outputs of :func:`split_mix` each.

    >>> a, b = normal_vectors(0, 5, 2, key=7), normal_vectors(3, 5, 2, key=7)
    >>> bool((a[3:] == b).all())
    True
    """
    index = xp.arange(2 * n_inputs * first, 2 * n_inputs * last, dtype=xp.int64, **where)
    high = (split_mix(index, key) >> 11) & ((1 << 53) - 1)
    uniform = xp.asarray(high, dtype=xp.float64) * 2.0**-53  # [0, 1)
    radius = xp.sqrt(-2 * xp.log(1 - uniform[0::2]))
    return (radius * xp.cos(2 * math.pi * uniform[1::2])).reshape(-1, n_inputs)


def squashed(logits: Any, xp: Any) -> Any:
    """Return 1 / (1 + exp(-logits)), which never overflows."""
    return (1 + xp.tanh(logits / 2)) / 2


@dataclass(frozen=True, eq=False)
class Function(ABC):
    """A function of contexts (X, k), for a batch of weights."""

    arrays: tuple[Any, ...]  # weights, with leading axes of instances
    scale: float

    @property
    def lead(self) -> tuple[int, ...]:
        """Axes of the instances."""
        return tuple(self.arrays[0].shape[:-2])

    @property
    def own(self) -> tuple[int, ...]:
        """Axes of the values at one context: (Y,)."""
        return (int(self.arrays[-1].shape[-1]),)

    @property
    def width(self) -> int:
        """Entries of the largest array that one context needs."""
        return math.prod(self.lead) * max(math.prod(self.own), *(int(a.shape[-1]) for a in self.arrays))

    def mapped(self, convert: Callable[[Any], Any]) -> Self:
        """Return the function with its weights converted."""
        return replace(self, arrays=tuple(convert(a) for a in self.arrays))

    @abstractmethod
    def __call__(self, x: Any, xp: Any) -> Any:
        """Return values (..., X, *own) at contexts (X, k)."""


class Network(Function):
    """sigma(scale * network(x)): tanh layers (W, b)..., and a linear head, no bias; values (..., X, Y) in [0, 1]."""

    def __call__(self, x: Any, xp: Any) -> Any:
        """Return the rewards."""
        *layers, head = self.arrays
        for weight, bias in zip(layers[::2], layers[1::2], strict=True):
            x = xp.tanh(x @ weight + bias)
        return squashed(self.scale * (x @ head), xp)


class FourierFeatures(Function):
    """sigma(scale * sqrt(2 / D) cos(x W + b) w): frequencies W, phases b, weights w an action."""

    def __call__(self, x: Any, xp: Any) -> Any:
        """Return the rewards."""
        frequencies, phases, weights = self.arrays
        features = xp.cos(x @ frequencies + phases) * math.sqrt(2 / weights.shape[-2])
        return squashed(self.scale * (features @ weights), xp)


class Cycle(Function):
    """sigma(t(x) (circle[y, z] + s_y(x) - s_z(x))): s = scale tanh(x U), t = 1 + tanh(x V) / 2; (..., X, Y, Y)."""

    @property
    def own(self) -> tuple[int, ...]:
        """Axes of the values at one context: (Y, Y)."""
        return (int(self.arrays[0].shape[-1]),) * 2

    def __call__(self, x: Any, xp: Any) -> Any:
        """Return the preferences."""
        strengths, turns, circle = self.arrays
        s, t = self.scale * xp.tanh(x @ strengths), 1 + xp.tanh(x @ turns) / 2
        return squashed(t[..., None] * (circle + s[..., :, None] - s[..., None, :]), xp)


@dataclass(frozen=True, eq=False)
class ContextualLaw:
    """X contexts, standard normal vectors (k,), and a function of them."""

    n_contexts: int
    n_inputs: int
    key: int  # of the stream of contexts
    function: Function

    def tables(self, xp: Any = np, *, dtype: Any = np.float64, **where: Any) -> tuple[Any, Any]:
        """Return contexts (X, k) and values (..., X, Y) or (..., X, Y, Y), a block of contexts at a time.

        Parameters
        ----------
        xp : numpy or torch
            Contexts are drawn in double precision and rounded to ``dtype``, in which the function is evaluated.
        dtype : a type of ``xp``
        **where
            ``device=`` for torch.
        """
        function = self.function.mapped(lambda a: xp.asarray(a, dtype=dtype, **where))
        contexts = xp.empty((self.n_contexts, self.n_inputs), dtype=dtype, **where)
        values = xp.empty((*function.lead, self.n_contexts, *function.own), dtype=dtype, **where)
        rows = max(1, BLOCK // max(function.width, 2 * self.n_inputs))
        for first in range(0, self.n_contexts, rows):
            part = slice(first, min(first + rows, self.n_contexts))
            contexts[part] = normal_vectors(part.start, part.stop, self.n_inputs, self.key, xp, **where)
            values[(*(slice(None),) * len(function.lead), part)] = function(contexts[part], xp)
        return contexts, values


@dataclass(frozen=True)
class _Sizes:
    n_contexts: int
    n_actions: int
    n_inputs: int
    lead: tuple[int, ...]
    rng: np.random.Generator
    key: int

    def normal(self, *shape: int, std: float = 1.0) -> FloatArray:
        found: FloatArray = std * self.rng.standard_normal((*self.lead, *shape))
        return found

    def law(self, function: Function) -> ContextualLaw:
        return ContextualLaw(self.n_contexts, self.n_inputs, self.key, function)


def _sizes(
    checks: Checks, n_contexts: int, n_actions: int, n_inputs: int, seed: int, n_instances: int | None, least: int = 2
) -> _Sizes:
    x, k = whole(checks, "n_contexts", n_contexts), whole(checks, "n_inputs", n_inputs)
    y, lead = whole(checks, "n_actions", n_actions, at_least=least), batch(checks, n_instances)
    rng = generator(checks, seed)
    return _Sizes(x, y, k, lead, rng, int(rng.integers(2**63)))


def neural_rewards(
    n_contexts: int, n_actions: int, n_inputs: int, hidden: Sequence[int], *, scale: float, seed: int,
    n_instances: int | None = None,
) -> ContextualLaw:  # fmt: skip
    """Return the law of ``neural_bandit``: hidden weights of variance 2/fan-in, biases 1/4, a head of 1/fan-in."""
    with checking("neural_bandit") as checks:
        sizes = _sizes(checks, n_contexts, n_actions, n_inputs, seed, n_instances)
        within(checks, "scale", scale, "(0, inf)")
        good = isinstance(hidden, Sequence) and not isinstance(hidden, str)
        checks.require(good, f"hidden is {hidden!r}, expected a tuple of layer widths, such as (16,)")
        widths = [whole(checks, f"hidden[{i}]", n) for i, n in enumerate(hidden)] if good else []
    arrays: list[FloatArray] = []
    fan_in = sizes.n_inputs
    for n in widths:
        arrays += [sizes.normal(fan_in, n, std=(2 / fan_in) ** 0.5), sizes.normal(1, n, std=0.5)]
        fan_in = n
    return sizes.law(Network((*arrays, sizes.normal(fan_in, sizes.n_actions, std=fan_in**-0.5)), scale))


def random_feature_rewards(
    n_contexts: int, n_actions: int, n_inputs: int, n_features: int, *, length_scale: float, scale: float, seed: int,
    n_instances: int | None = None,
) -> ContextualLaw:  # fmt: skip
    """Return the law of ``random_feature_bandit``: random Fourier features of the context, weights an action."""
    with checking("random_feature_bandit") as checks:
        sizes = _sizes(checks, n_contexts, n_actions, n_inputs, seed, n_instances)
        d = whole(checks, "n_features", n_features)
        within(checks, "length_scale", length_scale, "(0, inf)")
        within(checks, "scale", scale, "(0, inf)")
    frequencies = sizes.normal(sizes.n_inputs, d, std=1 / length_scale)
    phases = sizes.rng.uniform(0, 2 * math.pi, (*sizes.lead, 1, d))
    return sizes.law(FourierFeatures((frequencies, phases, sizes.normal(d, sizes.n_actions)), scale))


def cyclic_preferences(
    n_contexts: int, n_actions: int, n_inputs: int, *, strength: float, seed: int, n_instances: int | None = None
) -> ContextualLaw:
    """Return the law of ``contextual_cycle``: answers in a circle, with strengths and a pull by context."""
    with checking("contextual_cycle") as checks:
        sizes = _sizes(checks, n_contexts, n_actions, n_inputs, seed, n_instances, least=3)
        checks.require(sizes.n_actions % 2 == 1, f"n_actions is {n_actions}, expected an odd number: add or remove one")
        within(checks, "strength", strength, "[0, 0.5)", why="differences below 1 leave the circle")
    u, v = sizes.normal(sizes.n_inputs, sizes.n_actions), sizes.normal(sizes.n_inputs, 1)
    return sizes.law(Cycle((u, v, circle(sizes.n_actions)), strength))


def circle(n_actions: int) -> FloatArray:
    """Return signs (n, n) of rock, paper, scissors: 1 where i beats j, one of the (n - 1)/2 actions before it.

    >>> circle(3)[0] + 0.0
    array([ 0., -1.,  1.])
    """
    ahead = (np.arange(n_actions)[:, None] - np.arange(n_actions)) % n_actions  # steps from j forward to i
    found: FloatArray = np.where(ahead == 0, 0.0, np.where(ahead <= n_actions // 2, 1.0, -1.0))
    return found
