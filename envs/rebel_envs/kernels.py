"""Every Numba kernel of rebel_envs: stepping many copies of an environment in one call.

Python validates and allocates, a kernel fills. Import this module inside functions only, or from modules that are
not imported with the package: it loads Numba. Callers and callees share this file so that the cache sees edits.

>>> running = np.empty(3)
>>> running_sums(np.array([0, 2, 3]), np.array([0.25, 0.75, 1.0]), running)  # two rows: two targets, one target
>>> running
array([0.25, 1.  , 1.  ])
"""
# mypy: allow-untyped-defs

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rebel_theory.arrays import BoolArray, FloatArray, IntArray


class Table(NamedTuple):
    """A problem as a kernel reads it: every distribution is a run of targets with running sums.

    An observation is a *row* ``h * S + s`` of the problem's policy, with h = 0 unless there is a horizon. Run
    ``(h * S + s) * A + a`` (without ``h`` where one slice serves all steps) holds the next states, or, with
    ``first_node >= 0``, latent nodes i whose own run ``first_node + i`` holds the next states.
    """

    pointers: IntArray  # (runs + 1,), where each run starts
    targets: NDArray[np.int32]  # (entries,)
    sums: FloatArray  # (entries,), running sums within a run; the last one is the run's total
    reward: FloatArray  # (1 or H, S, A), means
    absorbing: BoolArray  # (S,), entering ends the episode
    starts: NDArray[np.int32]  # (first states,)
    start_sums: FloatArray  # (first states,)
    n_slices: int  # of the transition: 1 or H
    first_node: int  # -1 without latent nodes
    horizon: int  # 0: none; 1: nothing is ever drawn, as in a bandit


@njit(cache=True)
def running_sums(pointers, probs, sums):
    """Fill ``sums`` (entries,) with the running sums of ``probs`` (entries,) within each run."""
    for run in range(pointers.shape[0] - 1):
        total = 0.0
        for k in range(pointers[run], pointers[run + 1]):
            total += probs[k]
            sums[k] = total


@njit(cache=True)
def pick(u, sums, low, high):
    """Return the place in ``low, ..., high - 1`` of the first running sum above ``u`` (in [0, 1)) times the last."""
    high -= 1
    level = u * sums[high]
    while low < high:
        middle = (low + high) // 2
        if sums[middle] > level:
            high = middle
        else:
            low = middle + 1
    return low


@njit(cache=True)
def restart(uniforms, table, chosen, rows, elapsed):
    """Move the ``chosen`` (n,) copies to a first state; set ``rows`` and ``elapsed`` (n,) in place.

    Uses one of the ``uniforms`` for each of them, in order.
    """
    used = 0
    for i in range(rows.shape[0]):
        if chosen[i]:
            rows[i] = table.starts[pick(uniforms[used], table.start_sums, 0, table.starts.shape[0])]
            elapsed[i] = 0
            used += 1


@njit(cache=True)
def advance(uniforms, table, chosen, actions, limit, rows, elapsed, rewards, terminated, truncated):
    """Step the ``chosen`` (n,) copies; the others keep their row, earn 0 and go on.

    Fills ``rewards`` (means), ``terminated`` and ``truncated`` (n,), and moves ``rows`` and ``elapsed`` (n,) in
    place. At the end of the horizon the row stays. ``limit`` 0 means that no copy is ever truncated. Uses
    ``draws(table)`` of the ``uniforms`` for each chosen copy, in order.
    """
    n_states, n_actions = table.reward.shape[1], table.reward.shape[2]
    used = 0
    for i in range(rows.shape[0]):
        rewards[i], terminated[i], truncated[i] = 0.0, False, False
        if not chosen[i]:
            continue
        h, s = 0, rows[i]
        if table.horizon > 1:  # two divisions cost as much as the draw
            h, s = s // n_states, s % n_states
        rewards[i] = table.reward[h if table.reward.shape[0] > 1 else 0, s, actions[i]]
        elapsed[i] += 1
        truncated[i] = limit > 0 and elapsed[i] >= limit
        if h + 1 == table.horizon:
            terminated[i] = True
            used += 1 if table.horizon > 1 else 0
            continue
        run = ((h if table.n_slices > 1 else 0) * n_states + s) * n_actions + actions[i]
        target = table.targets[pick(uniforms[used], table.sums, table.pointers[run], table.pointers[run + 1])]
        used += 1
        if table.first_node >= 0:
            run = table.first_node + target
            target = table.targets[pick(uniforms[used], table.sums, table.pointers[run], table.pointers[run + 1])]
            used += 1
        terminated[i] = table.absorbing[target]
        rows[i] = target if table.horizon == 0 else (h + 1) * n_states + target


def draws(table: Table) -> int:
    """Return the uniform numbers that a step of one copy uses: none in a bandit, two with latent nodes."""
    if table.horizon == 1:
        return 0
    return 2 if table.first_node >= 0 else 1
