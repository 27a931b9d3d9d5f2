"""Preference games: cyclic, low-rank, random, with contexts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from rebel_envs._checks import batch, context_distribution, generator, whole, within
from rebel_theory.arrays import FloatArray
from rebel_theory.problems import PreferenceGame, Problem
from rebel_theory.problems.base import checking
from rebel_theory.problems.contextual import circle, cyclic_preferences


def rock_paper_scissors(n_actions: int = 3, weights: ArrayLike | None = None, win: float = 1.0) -> PreferenceGame:
    r"""Return rock-paper-scissors for any odd number of actions, uniform or with a chosen equilibrium.

    Action i beats the (n - 1)/2 actions before it in the circle: 1 (paper) beats 0 (rock), 2 (scissors) beats
    1, 0 beats 2. With equilibrium weights w the payoff is :math:`l(i, j) = \pm m / (w_i w_j)`, m chosen so
    that the largest is :math:`2\,\mathrm{win} - 1`; then :math:`\sum_j l(i, j) w_j = 0` for every i because
    each action wins and loses equally often, so the unique von Neumann winner is :math:`w / \sum w` (uniform
    without weights).

    Parameters
    ----------
    n_actions : int
        Odd, at least 3.
    weights : shape (n_actions,), optional
        Positive equilibrium weights, of any scale.
    win : float in (0.5, 1]
        Probability with which the most decisive pair (without weights: every pair) is won.

    Examples
    --------
    >>> rock_paper_scissors().preference[0]
    array([[0.5, 0. , 1. ],
           [1. , 0.5, 0. ],
           [0. , 1. , 0.5]])
    """
    with checking("rock_paper_scissors") as checks:
        n = whole(checks, "n_actions", n_actions, at_least=3)
        checks.require(n % 2 == 1, f"n_actions is {n}, expected an odd number: add or remove one action")
        within(checks, "win", win, "(0.5, 1]")
        w = checks.array("weights", np.ones(n) if weights is None else weights, f"{n} positive numbers")
        if checks.require(w.shape == (n,), f"weights has shape {w.shape}, expected ({n},): one per action"):
            checks.entries(~(np.isfinite(w) & (w > 0)), "weights", ("y",), w, "is {value}, expected a positive number")
    signs = circle(n)
    scale = 1 / np.outer(w, w)
    scale /= scale[signs != 0].max()
    return PreferenceGame((1 + (2 * win - 1) * signs * scale) / 2)


def random_game(n_actions: int = 10, *, seed: int = 0, n_instances: int | None = None) -> PreferenceGame:
    """Return a game whose win probabilities are independent and uniform on [0, 1).

    Parameters
    ----------
    n_actions : int
        Y >= 2.
    seed : int
        Of ``numpy.random.default_rng``.
    n_instances : int, optional
        Preferences of shape (n_instances, 1, Y, Y): a batch of independent games with one context.

    Examples
    --------
    >>> random_game(4).payoff[0].diagonal()
    array([0., 0., 0., 0.])
    """
    with checking("random_game") as checks:
        n = whole(checks, "n_actions", n_actions, at_least=2)
        lead = batch(checks, n_instances)
        rng = generator(checks, seed)
    return PreferenceGame(_random_preference(rng, n, (*lead, 1) if lead else ()))


def contextual_game(
    n_contexts: int = 5, n_actions: int = 4, *, seed: int = 0, context_concentration: float | None = None
) -> PreferenceGame:
    """Return a game with one independent uniform random preference per context.

    Parameters
    ----------
    n_contexts, n_actions : int
        X >= 1 and Y >= 2.
    seed : int
        Of ``numpy.random.default_rng``.
    context_concentration : float, optional
        Parameter of the symmetric Dirichlet law of rho; uniform by default.

    Examples
    --------
    >>> contextual_game(3, 4).preference.shape
    (3, 4, 4)
    """
    with checking("contextual_game") as checks:
        x = whole(checks, "n_contexts", n_contexts)
        y = whole(checks, "n_actions", n_actions, at_least=2)
        rng = generator(checks, seed)
        if context_concentration is not None:
            within(checks, "context_concentration", context_concentration, "(0, inf)")
    preference = _random_preference(rng, y, (x,))
    return PreferenceGame(preference, context_dist=context_distribution(rng, x, context_concentration))


def contextual_cycle(
    n_contexts: int = 8,
    n_actions: int = 3,
    *,
    n_inputs: int = 3,
    strength: float = 0.4,
    seed: int = 0,
    n_instances: int | None = None,
) -> PreferenceGame:
    r"""Return rock-paper-scissors in every context, its odds a function of the context vector.

    :math:`P(y \succ z \mid x) = \sigma(t(x) (c_{yz} + s_y(x) - s_z(x)))`, with the signs c of
    :func:`rock_paper_scissors`, strengths :math:`s(x) = \mathrm{strength} \cdot \tanh(x U)` and the pull
    :math:`t(x) = 1 + \tanh(x v)/2`; U, v and the contexts are standard normal. Differences in strength stay below 1, so
    that who beats whom is the same everywhere and no answer beats all others; by how much, and with it the equilibrium,
    depends on the context. The contexts come with the game (``contexts``); the same game computed on a device is
    :func:`rebel_theory.torch.device.contextual_cycle`.

    Parameters
    ----------
    n_contexts, n_inputs : int
        X >= 1 contexts, vectors of k >= 1 numbers, of the same weight.
    n_actions : int
        Y, odd, at least 3.
    strength : float in [0, 0.5)
        Largest strength; at 0 the equilibrium is uniform in every context.
    seed : int
        Of the contexts and the weights.
    n_instances : int, optional
        Preferences of shape (n_instances, X, Y, Y): independent weights on the same contexts.

    Examples
    --------
    >>> game = contextual_cycle(5)
    >>> game.preference.shape, game.contexts.shape
    ((5, 3, 3), (5, 3))
    """
    law = cyclic_preferences(n_contexts, n_actions, n_inputs, strength=strength, seed=seed, n_instances=n_instances)
    contexts, preference = law.tables()
    return PreferenceGame(preference, contexts=contexts)


def disc_game(n_actions: int = 7, *, n_discs: int = 1, seed: int | None = None) -> PreferenceGame:
    r"""Return the disc game: players on a disc, the payoff is the cross product of their places.

    Balduzzi et al. (2019, arXiv:1901.08106): :math:`l(v, w) = v_1 w_2 - v_2 w_1`, of rank 2. Without a seed
    the players stand evenly on the unit circle, :math:`l(i, j) = \sin(2 \pi (j - i)/n)`, and the uniform
    policy is an equilibrium; with a seed they are uniform in the disc. ``n_discs`` averages k discs (rank at
    most 2 k); without a seed the k-th goes round k times.

    Parameters
    ----------
    n_actions : int
        n >= 3 players.
    n_discs : int
        k >= 1.
    seed : int, optional
        Draw the players at random.

    Examples
    --------
    >>> disc_game(4).payoff[0, 0].round(12) + 0.0
    array([ 0.,  1.,  0., -1.])
    """
    with checking("disc_game") as checks:
        n = whole(checks, "n_actions", n_actions, at_least=3)
        k = whole(checks, "n_discs", n_discs)
        rng = generator(checks, 0 if seed is None else seed)
    if seed is None:
        angle = 2 * np.pi * np.arange(n) * np.arange(1, k + 1)[:, None] / n  # (k, n)
        radius = np.ones((k, n))
    else:
        angle = rng.uniform(0, 2 * np.pi, (k, n))
        radius = np.sqrt(rng.random((k, n)))  # uniform by area
    across, up = radius * np.cos(angle), radius * np.sin(angle)
    payoff = (across.T @ up - up.T @ across) / k  # (n, n)
    return PreferenceGame((1 + np.clip(payoff, -1, 1)) / 2)


def _random_preference(rng: Generator, n_actions: int, lead: tuple[int, ...]) -> FloatArray:
    """Return uniform win probabilities above the diagonal, their complements below, shape (*lead, Y, Y)."""
    upper = np.triu(rng.random((*lead, n_actions, n_actions)), 1)
    below = np.tril(np.ones((n_actions, n_actions)), -1) - np.swapaxes(upper, -1, -2)
    preference: FloatArray = upper + below + np.eye(n_actions) / 2
    return preference


EXAMPLES: Mapping[str, Callable[..., Problem]] = {
    "rock-paper-scissors": partial(rock_paper_scissors, n_actions=3),
    "weighted-rock-paper-scissors": partial(rock_paper_scissors, weights=(1.0, 2.0, 3.0)),
    "random-game": partial(random_game, n_actions=10),
    "contextual-game": partial(contextual_game, n_contexts=5, n_actions=4),
    "contextual-cycle": partial(contextual_cycle, n_contexts=8, n_actions=3),
    "disc-game": partial(disc_game, n_actions=7),
}
