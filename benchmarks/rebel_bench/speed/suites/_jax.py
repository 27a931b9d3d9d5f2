"""Transitions under a policy in JAX: one jitted scan over a batch of chains, as a careful user would write it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rebel_bench.speed.suites._plain import AliasRows
from rebel_theory.arrays import FloatArray

LANES, STEPS = 4096, 100  # by measurement; larger batches leave the cache


def simulator(
    jax: Any, table: Any, pi: FloatArray, reward: FloatArray, gamma: float, d: FloatArray, rho: FloatArray
) -> Callable[[], Any]:
    """Return what walks :data:`LANES` chains by :data:`STEPS` and gives the mean reward a transition.

    Action and next state together come from one alias table a state, (s, (a, s')), the restart (with probability
    1 - gamma, from rho) from another. Bits are drawn inside the scan by the default generator; drawing them
    beforehand, and the generator ``rbg``, were no faster. Single precision, as is usual there.
    """
    jnp = jax.numpy
    s, _ = pi.shape
    move = _columns(_joint(table, pi, reward))
    begin = _columns((np.array([0, s]), np.arange(s), rho.copy(), np.zeros(s)))
    first = np.random.default_rng(0).choice(s, size=LANES, p=d / d.sum()).astype(np.int32)
    tables = {name: jnp.asarray(value) for name, value in move.items()}
    starts = {name: jnp.asarray(value) for name, value in begin.items()}
    unit = np.float32(2.0**-24)

    def uniform(bits: Any) -> Any:
        return (bits >> 8).astype(jnp.float32) * unit

    def pick(where: Any, low: Any, length: Any, u: Any) -> Any:
        scaled = u * length.astype(jnp.float32)
        column = jnp.minimum(scaled.astype(jnp.int32), length - 1)
        at = low + column
        return jnp.where(scaled - column < where["threshold"][at], at, where["other"][at])

    def step(carry: Any, key: Any) -> Any:
        state, total = carry
        bits = jax.random.bits(key, (2, LANES), jnp.uint32)
        at = pick(tables, tables["first"][state], tables["length"][state], uniform(bits[0]))
        u = uniform(bits[1])
        fresh = pick(starts, 0, jnp.int32(s), jnp.clip((u - gamma) / (1 - gamma), 0.0, 1.0))
        state = jnp.where(u >= gamma, starts["column"][fresh], tables["column"][at])
        return (state, total + tables["reward"][at]), None

    @jax.jit  # type: ignore[untyped-decorator]
    def walk(key: Any) -> Any:
        begun = (jnp.asarray(first), jnp.zeros(LANES, jnp.float32))
        (_, total), _ = jax.lax.scan(step, begun, jax.random.split(key, STEPS))
        return total.mean() / STEPS

    keys = iter(range(2**62))
    return lambda: walk(jax.random.key(next(keys))).block_until_ready()


def _joint(table: Any, pi: FloatArray, reward: FloatArray) -> Any:
    """Return (indptr, next states, probabilities, rewards) of the entries (a, s') of every state."""
    a = pi.shape[1]
    lengths = np.diff(table.indptr)
    weights = table.data * np.repeat(pi.ravel(), lengths)
    return table.indptr[::a].astype(np.int64), table.indices, weights, np.repeat(reward.ravel(), lengths)


def _columns(rows: Any) -> dict[str, Any]:
    indptr, columns, weights, reward = rows
    places = AliasRows(indptr, np.arange(len(columns)), weights)
    return {
        "first": indptr[:-1].astype(np.int32), "length": np.diff(indptr).astype(np.int32),
        "column": np.asarray(columns, np.int32), "threshold": places.threshold.astype(np.float32),
        "other": places.other.astype(np.int32), "reward": np.asarray(reward, np.float32),
    }  # fmt: skip
