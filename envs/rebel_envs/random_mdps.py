"""Random MDPs: Garnets, dense Dirichlet rows, and random finite-horizon problems."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from numpy.random import Generator

from rebel_envs._checks import assemble, batch, generator, whole, within
from rebel_theory.arrays import FloatArray, IntArray
from rebel_theory.problems import FiniteHorizonMDP, Problem, TabularMDP
from rebel_theory.problems.base import checking


def branches(rng: Generator, n_rows: int, n_states: int, branching: int) -> tuple[IntArray, FloatArray]:
    """Return distinct next states and their probabilities, each of shape (n_rows, branching).

    The sets are uniform among all sets of that size (Floyd's algorithm, one column at a time); the
    probabilities are the gaps between sorted uniform cut points.
    """
    chosen = np.empty((n_rows, branching), dtype=np.int64)
    for k, top in enumerate(range(n_states - branching, n_states)):
        draw = rng.integers(top + 1, size=n_rows)
        taken = (chosen[:, :k] == draw[:, None]).any(axis=1)
        chosen[:, k] = np.where(taken, top, draw)
    cuts = np.sort(rng.random((n_rows, branching - 1)), axis=1)
    return chosen, np.diff(cuts, axis=1, prepend=0.0, append=1.0)


def garnet(
    n_states: int = 30,
    n_actions: int = 4,
    branching: int = 5,
    discount: float = 0.95,
    seed: int = 0,
    *,
    sparse: bool = False,
) -> TabularMDP:
    """Return a Garnet: every pair (s, a) leads to ``branching`` random states; rewards uniform on [0, 1).

    Archibald, McKinnon and Thomas (1995). The next states of a pair are distinct, their probabilities are the
    gaps between sorted uniform cut points. The dense and the sparse form of a seed are the same MDP.

    Parameters
    ----------
    n_states, n_actions : int
        S >= 1 and A >= 2.
    branching : int
        Between 1 and S.
    discount : float in [0, 1)
        gamma.
    seed : int
        Of ``numpy.random.default_rng``.
    sparse : bool
        CSR transition of shape (S * A, S), with S A ``branching`` entries.

    Examples
    --------
    >>> int((garnet(10, 2, branching=3).transition > 0).sum())
    60
    """
    with checking("garnet") as checks:
        s = whole(checks, "n_states", n_states)
        a = whole(checks, "n_actions", n_actions, at_least=2)
        b = whole(checks, "branching", branching, at_most=s)
        rng = generator(checks, seed)
    targets, probs = branches(rng, s * a, s, b)
    reward = rng.random((s, a))
    origins = np.repeat(np.arange(s * a), b)
    transition = assemble(origins, targets, probs, n_states=s, n_actions=a, sparse=sparse)
    return TabularMDP(transition, reward, discount=discount)


def random_mdp(
    n_states: int = 10,
    n_actions: int = 3,
    *,
    discount: float = 0.9,
    concentration: float = 1.0,
    seed: int = 0,
    n_instances: int | None = None,
) -> TabularMDP:
    """Return a dense MDP: rows from a symmetric Dirichlet law, rewards uniform on [0, 1), rho drawn as a row.

    Parameters
    ----------
    n_states, n_actions : int
        S >= 1 and A >= 2.
    discount : float in [0, 1)
        gamma.
    concentration : float > 0
        Of the Dirichlet law; small values give nearly deterministic transitions.
    seed : int
        Of ``numpy.random.default_rng``.
    n_instances : int, optional
        A leading batch axis of independent instances.

    Examples
    --------
    >>> random_mdp(3, 2, n_instances=4).transition.shape
    (4, 3, 2, 3)
    """
    with checking("random_mdp") as checks:
        s = whole(checks, "n_states", n_states)
        a = whole(checks, "n_actions", n_actions, at_least=2)
        alpha = within(checks, "concentration", concentration, "(0, inf)")
        lead = batch(checks, n_instances)
        rng = generator(checks, seed)
    transition = _dirichlet(rng, alpha, s, (*lead, s, a))
    reward = rng.random((*lead, s, a))
    rho = _dirichlet(rng, 1.0, s, lead)
    return TabularMDP(transition, reward, discount=discount, initial_dist=rho)


def random_finite_horizon(
    n_states: int = 5,
    n_actions: int = 3,
    horizon: int = 4,
    *,
    concentration: float = 1.0,
    stationary: bool = False,
    seed: int = 0,
) -> FiniteHorizonMDP:
    """Return a finite-horizon MDP with Dirichlet rows and rewards uniform on [0, 1), anew at every step.

    Parameters
    ----------
    n_states, n_actions, horizon : int
        S >= 1, A >= 2, H >= 1.
    concentration : float > 0
        Of the Dirichlet law.
    stationary : bool
        The same transition and reward at every step.
    seed : int
        Of ``numpy.random.default_rng``.

    Examples
    --------
    >>> random_finite_horizon(5, 3, horizon=2).transition.shape
    (2, 5, 3, 5)
    """
    with checking("random_finite_horizon") as checks:
        s = whole(checks, "n_states", n_states)
        a = whole(checks, "n_actions", n_actions, at_least=2)
        h = whole(checks, "horizon", horizon)
        alpha = within(checks, "concentration", concentration, "(0, inf)")
        rng = generator(checks, seed)
    lead = () if stationary else (h,)
    transition = _dirichlet(rng, alpha, s, (*lead, s, a))
    reward = rng.random((*lead, s, a))
    return FiniteHorizonMDP(transition, reward, horizon=h, initial_dist=_dirichlet(rng, 1.0, s, ()))


def _dirichlet(rng: Generator, concentration: float, size: int, lead: tuple[int, ...]) -> FloatArray:
    result: FloatArray = rng.dirichlet(np.full(size, concentration), size=lead)
    return result


EXAMPLES: Mapping[str, Callable[..., Problem]] = {
    "garnet": partial(garnet, n_states=30, n_actions=4, branching=5),
    "random-mdp": partial(random_mdp, n_states=10, n_actions=3),
    "random-finite-horizon": partial(random_finite_horizon, n_states=5, n_actions=3, horizon=4),
}
