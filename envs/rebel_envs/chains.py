"""MDPs on a line: the noisy chain, RiverSwim and the combination lock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from rebel_envs._checks import assemble, generator, whole, within
from rebel_envs._layouts import FREE, GOAL, START, WATER, Layout, in_rows, lay_out
from rebel_theory.arrays import FloatArray
from rebel_theory.problems import Problem, TabularMDP
from rebel_theory.problems.base import checking


def chain(n_states: int = 10, *, slip: float = 0.1, discount: float = 0.9, sparse: bool = False) -> TabularMDP:
    r"""Return the noisy chain: reward 1 at the right end, 0 elsewhere.

    For ``slip = 0``, :math:`V^*(s) = \gamma^{n-1-s} / (1 - \gamma)`.

    Parameters
    ----------
    n_states : int
        n >= 2 states in a row; the first state is uniform.
    slip : float in [0, 1]
        Probability of moving against the chosen direction. Actions: 0 left, 1 right; a move off either end
        stays there. The reward belongs to the right-most state, under both actions.
    discount : float in [0, 1)
        gamma.
    sparse : bool
        CSR transition of shape (S * A, S).

    Examples
    --------
    >>> chain(2, slip=0.0).transition[:, 1]  # going right
    array([[0., 1.],
           [0., 1.]])
    """
    with checking("chain") as checks:
        n = whole(checks, "n_states", n_states, at_least=2)
        within(checks, "slip", slip, "[0, 1]")
    states = np.arange(n)
    left, right = np.maximum(states - 1, 0), np.minimum(states + 1, n - 1)
    targets = np.stack([[left, right], [right, left]])  # (A, intended or slipped, S)
    probs = np.broadcast_to(np.array([1 - slip, slip])[None, :, None], targets.shape)
    origins = np.broadcast_to((2 * states)[None, None, :] + np.arange(2)[:, None, None], targets.shape)
    reward = np.zeros((n, 2))
    reward[-1] = 1.0
    transition = assemble(origins, targets, probs, n_states=n, n_actions=2, sparse=sparse)
    mdp = TabularMDP(transition, reward, discount=discount)
    return lay_out(mdp, _line(n, FREE, FREE, actions=("left", "right"), notes={n - 1: "+1"}))


def river_swim(n_states: int = 6, *, discount: float = 0.95, sparse: bool = False) -> TabularMDP:
    r"""Return RiverSwim: swimming right against the current pays 1 at the far end, drifting left pays 0.005.

    The version of Osband, Russo and Van Roy (2013, arXiv:1306.0940); Strehl and Littman (2008) introduced it.
    Action 0 (left) always succeeds. Action 1 (right): at the left bank 0.6 right, 0.4 stay; inside 0.35
    right, 0.6 stay, 0.05 left; at the right bank 0.6 stay, 0.4 left. The swimmer starts at the left bank.

    Always left is worth :math:`0.005\,\gamma^s / (1 - \gamma)`. Always right has the stationary law of a
    birth and death chain: :math:`d_1 = 12\, d_0`, :math:`d_{s+1} = 7\, d_s` inside and
    :math:`d_{n-1} = 0.875\, d_{n-2}`.

    Parameters
    ----------
    n_states : int
        n >= 3 places along the river.
    discount : float in [0, 1)
        gamma.
    sparse : bool
        CSR transition of shape (S * A, S).

    Examples
    --------
    >>> river_swim(3).transition[1, 1]
    array([0.05, 0.6 , 0.35])
    """
    with checking("river_swim") as checks:
        n = whole(checks, "n_states", n_states, at_least=3)
    states = np.arange(n)
    swim = np.tile([0.05, 0.6, 0.35], (n, 1))  # (S, left or stay or right)
    swim[0], swim[-1] = (0.0, 0.4, 0.6), (0.4, 0.6, 0.0)
    steps = np.clip(states[:, None] + np.array([-1, 0, 1]), 0, n - 1)  # (S, 3)
    origins = np.concatenate([2 * states, np.repeat(2 * states + 1, 3)])
    targets = np.concatenate([np.maximum(states - 1, 0), steps.ravel()])
    probs = np.concatenate([np.ones(n), swim.ravel()])
    reward = np.zeros((n, 2))
    reward[0, 0], reward[-1, 1] = 0.005, 1.0
    transition = assemble(origins, targets, probs, n_states=n, n_actions=2, sparse=sparse)
    mdp = TabularMDP(transition, reward, discount=discount, initial_dist=_first(n))
    return lay_out(mdp, _line(n, START, WATER, actions=("left", "right"), notes={0: "+0.005", n - 1: "+1"}))


def combination_lock(
    n_states: int = 6, n_actions: int = 3, *, discount: float = 0.9, seed: int = 0, sparse: bool = False
) -> TabularMDP:
    r"""Return the combination lock: the right action moves on, any other goes back to the start.

    The last right action opens the lock (reward 1) and closes it again, so that
    :math:`V^*(s) = \gamma^{n-1-s} / (1 - \gamma^n)`; a uniformly random policy needs
    :math:`(A^{n+1}-A)/(A-1)` steps on average to open it from the start. Whitehead (1991) and Koenig and
    Simmons (1993) study this family; undirected exploration is exponential in n.

    Parameters
    ----------
    n_states, n_actions : int
        n >= 1 digits, A >= 2 values of each.
    discount : float in [0, 1)
        gamma.
    seed : int
        Of the secret code.
    sparse : bool
        CSR transition of shape (S * A, S).

    Examples
    --------
    >>> float(combination_lock(4, 2).reward.sum())  # one rewarded pair
    1.0
    """
    with checking("combination_lock") as checks:
        n = whole(checks, "n_states", n_states)
        k = whole(checks, "n_actions", n_actions, at_least=2)
        rng = generator(checks, seed)
    states = np.arange(n)
    code = rng.integers(k, size=n)
    targets = np.zeros((n, k), dtype=np.int64)
    targets[states, code] = (states + 1) % n
    reward = np.zeros((n, k))
    reward[-1, code[-1]] = 1.0
    transition = assemble(np.arange(n * k), targets, np.ones(n * k), n_states=n, n_actions=k, sparse=sparse)
    mdp = TabularMDP(transition, reward, discount=discount, initial_dist=_first(n))
    return lay_out(mdp, _line(n, START, FREE, notes={n - 1: "+1"}))


def _line(n: int, first: str, inside: str, *, notes: Mapping[int, str], actions: Sequence[str] = ()) -> Layout:
    """Return the layout of n states in a row with the reward at the end."""
    letters = np.full(n, inside)
    letters[0] = first
    letters[-1] = GOAL
    return in_rows(letters, actions=actions, notes=notes)


def _first(n: int) -> FloatArray:
    """Return the distribution that starts in state 0, shape (n,)."""
    start = np.zeros(n)
    start[0] = 1.0
    return start


EXAMPLES: Mapping[str, Callable[..., Problem]] = {
    "chain": partial(chain, n_states=10),
    "river-swim": partial(river_swim, n_states=6),
    "combination-lock": partial(combination_lock, n_states=6, n_actions=3),
}
