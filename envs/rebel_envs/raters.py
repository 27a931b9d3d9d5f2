"""Games made of raters: one Bradley-Terry rater is transitive, a mixture need not be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from rebel_envs._checks import generator, whole, within
from rebel_theory.problems import PreferenceGame, Problem
from rebel_theory.problems.base import checking


def rater_mixture(scores: ArrayLike, *, weights: ArrayLike | None = None) -> PreferenceGame:
    r"""Return the preferences of a population of Bradley-Terry raters.

    :math:`P(y \succ z) = \sum_k w_k\, \sigma(s_k(y) - s_k(z))`, each rater transitive, the aggregate not
    necessarily (Condorcet 1785; for preference learning Munos et al. 2023, arXiv:2312.00886).

    Parameters
    ----------
    scores : shape (K, Y)
        s_k(y), in log-odds.
    weights : shape (K,), optional
        Shares of the raters, non-negative, of any scale; uniform by default.

    Examples
    --------
    >>> rater_mixture([[0.0, np.log(3.0)]]).preference[0, 1]  # odds of 3 to 1
    array([0.75, 0.5 ])
    """
    with checking("rater_mixture") as checks:
        s = checks.array("scores", scores, "log-odds of shape (K, Y)")
        if not checks.require(
            s.ndim == 2 and s.size > 0, f"scores has shape {s.shape}, expected (K, Y): one row per rater"
        ):
            checks.finish()
        checks.finite("scores", s, ("k", "y"))
        w = checks.array("weights", np.ones(len(s)) if weights is None else weights, "one share per rater")
        if checks.require(w.shape == s.shape[:1], f"weights has shape {w.shape}, expected ({len(s)},): one per rater"):
            checks.entries(
                ~(np.isfinite(w) & (w >= 0)),
                "weights",
                ("k",),
                w,
                "is {value}, expected a share >= 0: replace it",
            )
            checks.require(bool(w.sum() > 0), "weights are all 0: give at least one rater a positive share")
    difference = s[:, :, None] - s[:, None, :]  # (K, Y, Y)
    # sigma(x) = (1 + tanh(x / 2)) / 2 never overflows and is exactly odd around 1/2
    payoff = np.einsum("k,kyz->yz", w / w.sum(), np.tanh(difference / 2))
    return PreferenceGame((1 + payoff) / 2)


def random_rater_mixture(n_actions: int = 8, n_raters: int = 3, *, scale: float = 3.0, seed: int = 0) -> PreferenceGame:
    """Return a mixture of raters with independent normal scores and Dirichlet(1) shares.

    Parameters
    ----------
    n_actions, n_raters : int
        Y >= 2 and K >= 1.
    scale : float > 0
        Standard deviation of the scores, in log-odds.
    seed : int
        Of ``numpy.random.default_rng``.

    Examples
    --------
    >>> random_rater_mixture(4).preference.shape
    (1, 4, 4)
    """
    with checking("random_rater_mixture") as checks:
        y = whole(checks, "n_actions", n_actions, at_least=2)
        k = whole(checks, "n_raters", n_raters)
        within(checks, "scale", scale, "(0, inf)")
        rng = generator(checks, seed)
    scores = scale * rng.standard_normal((k, y))
    return rater_mixture(scores, weights=rng.dirichlet(np.ones(k)))


def random_bradley_terry_game(n_actions: int = 8, *, scale: float = 1.0, seed: int = 0) -> PreferenceGame:
    """Return one Bradley-Terry rater with normal scores: the transitive control.

    The action of the highest score beats every other, so it is the Condorcet winner, and the von Neumann
    winner is that action with probability 1.

    Parameters
    ----------
    n_actions : int
        Y >= 2.
    scale : float > 0
        Standard deviation of the scores, in log-odds.
    seed : int
        Of ``numpy.random.default_rng``.

    Examples
    --------
    >>> wins = (random_bradley_terry_game(5).preference[0] > 0.5).sum(axis=1)
    >>> sorted(wins.tolist())  # a ranking: no cycle
    [0, 1, 2, 3, 4]
    """
    with checking("random_bradley_terry_game") as checks:
        y = whole(checks, "n_actions", n_actions, at_least=2)
        within(checks, "scale", scale, "(0, inf)")
        rng = generator(checks, seed)
    return rater_mixture(scale * rng.standard_normal((1, y)))


def condorcet_cycle(n_actions: int = 3, *, sharpness: float = 4.0) -> PreferenceGame:
    r"""Return Condorcet's paradox: n equal raters with the n rotations of one ranking.

    Rater k scores action i by :math:`\beta (n - 1 - ((i - k) \bmod n))`. The aggregate is circulant, so the
    uniform policy is an equilibrium, although every rater is transitive. With d = (j - i) mod n,
    :math:`l(i, j) = \frac{1}{n} [ (n - d) \tanh(\beta d / 2) - d \tanh(\beta (n - d) / 2) ]`; for n = 3,
    :math:`l(0, 1) = (2 \tanh(\beta/2) - \tanh \beta)/3 > 0`, which tends to 1/3.

    Parameters
    ----------
    n_actions : int
        n >= 3, also the number of raters.
    sharpness : float > 0
        beta, in log-odds per rank.

    Examples
    --------
    >>> condorcet_cycle(3, sharpness=100.0).payoff[0, 0].round(6) + 0.0
    array([ 0.      ,  0.333333, -0.333333])
    """
    with checking("condorcet_cycle") as checks:
        n = whole(checks, "n_actions", n_actions, at_least=3)
        within(checks, "sharpness", sharpness, "(0, inf)")
    places = (np.arange(n) - np.arange(n)[:, None]) % n  # (K, Y): rank of action i for rater k, 0 is best
    return rater_mixture(sharpness * (n - 1.0 - places))


EXAMPLES: Mapping[str, Callable[..., Problem]] = {
    "rater-mixture": partial(random_rater_mixture, n_actions=8, n_raters=3),
    "condorcet-cycle": partial(condorcet_cycle, n_actions=3),
    "random-bradley-terry-game": partial(random_bradley_terry_game, n_actions=8),
}
