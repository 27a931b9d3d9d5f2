"""Linear MDPs: simplex features, low-rank Garnets, and a hard instance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from rebel_envs._checks import generator, whole, within
from rebel_envs.random_mdps import branches
from rebel_theory.problems import LinearMDP, Problem
from rebel_theory.problems.base import checking


def simplex_linear_mdp(
    n_states: int = 50,
    n_actions: int = 4,
    n_features: int = 5,
    *,
    discount: float = 0.9,
    concentration: float = 1.0,
    seed: int = 0,
) -> LinearMDP:
    """Return a linear MDP whose features lie on the simplex and whose measures are distributions.

    Every pair (s, a) mixes d latent next-state distributions (Jin et al. 2020, example 2.2). Features are
    Dirichlet(``concentration``), measures Dirichlet(1) over all states, reward weights uniform on [0, 1),
    hence rewards in [0, 1).

    Parameters
    ----------
    n_states, n_actions, n_features : int
        S >= 1, A >= 2, d >= 1. Memory is S (A + 1) d numbers.
    discount : float in [0, 1)
        gamma.
    concentration : float > 0
        Small values bring the features near the corners.
    seed : int
        Of ``numpy.random.default_rng``.

    Examples
    --------
    >>> simplex_linear_mdp(6, 2, n_features=3).features.shape
    (6, 2, 3)
    """
    with checking("simplex_linear_mdp") as checks:
        s = whole(checks, "n_states", n_states)
        a = whole(checks, "n_actions", n_actions, at_least=2)
        d = whole(checks, "n_features", n_features)
        alpha = within(checks, "concentration", concentration, "(0, inf)")
        rng = generator(checks, seed)
    features = rng.dirichlet(np.full(d, alpha), size=(s, a))
    # Dirichlet(1) as normalised exponentials: (d, S) without NumPy's loop over S gamma draws per row
    measures = rng.standard_exponential((d, s))
    measures /= measures.sum(axis=1, keepdims=True)
    return LinearMDP(features, measures, rng.random(d), discount=discount)


def low_rank_garnet(
    n_states: int = 50,
    n_actions: int = 4,
    n_features: int = 5,
    branching: int = 8,
    *,
    discount: float = 0.95,
    seed: int = 0,
) -> LinearMDP:
    """Return a Garnet of rank d: each pair leads to two of d nodes, each node to ``branching`` states.

    The Garnet of Archibald et al. (1995) in the factored form P = features . measures: both factors have rows
    with distinct random places and probabilities from uniform cut points. The transition has rank at most d.

    Parameters
    ----------
    n_states, n_actions, n_features : int
        S >= 1, A >= 2, d >= 1.
    branching : int
        States that a node leads to, between 1 and S.
    discount : float in [0, 1)
        gamma.
    seed : int
        Of ``numpy.random.default_rng``.

    Examples
    --------
    >>> (low_rank_garnet(20, 2, n_features=4, branching=3).measures > 0).sum(axis=1)
    array([3, 3, 3, 3])
    """
    with checking("low_rank_garnet") as checks:
        s = whole(checks, "n_states", n_states)
        a = whole(checks, "n_actions", n_actions, at_least=2)
        d = whole(checks, "n_features", n_features)
        b = whole(checks, "branching", branching, at_most=s)
        rng = generator(checks, seed)
    nodes, weights = branches(rng, s * a, d, min(2, d))
    features = np.zeros((s * a, d))
    np.put_along_axis(features, nodes, weights, axis=1)
    targets, probs = branches(rng, d, s, b)
    measures = np.zeros((d, s))
    np.put_along_axis(measures, targets, probs, axis=1)
    return LinearMDP(features.reshape(s, a, d), measures, rng.random(d), discount=discount)


def hard_linear_mdp(n_bits: int = 4, *, separation: float = 0.02, discount: float = 0.9, seed: int = 0) -> LinearMDP:
    r"""Return the two-state hard instance of Zhou, He and Gu (2021, arXiv:2006.13165), as a linear MDP.

    Actions are the :math:`2^k` sign vectors a in {-1, 1}^k. State 0 earns nothing and moves to state 1 with
    probability :math:`p(a) = \delta + \langle a, \theta \rangle`; state 1 earns 1 and falls back with
    probability :math:`\delta = 1 - \gamma`. The hidden signs of :math:`\theta \in \{-\Delta/k, \Delta/k\}^k`
    decide everything: all actions look alike up to :math:`2 \Delta`. The source states it for linear kernels;
    with features (1, a, 0) at state 0 and (0, 0, 1) at state 1, and signed measures, it is a linear MDP of
    dimension k + 2.

    With :math:`p = \delta + \Delta`,
    :math:`V^*(0) = \gamma p / ((1-\gamma)(1 - \gamma + \gamma (p + \delta)))` and
    :math:`V^*(1) = (1 - \gamma + \gamma p) / ((1-\gamma)(1 - \gamma + \gamma (p + \delta)))`.

    Parameters
    ----------
    n_bits : int
        k, between 1 and 16.
    separation : float > 0
        Delta, at most min(delta, 1 - delta) so that every p(a) is a probability.
    discount : float in (0, 1)
        gamma.
    seed : int
        Of the hidden signs.

    Examples
    --------
    >>> hard_linear_mdp(3).features.shape
    (2, 8, 5)
    """
    with checking("hard_linear_mdp") as checks:
        k = whole(checks, "n_bits", n_bits, at_most=16)
        gamma = within(checks, "discount", discount, "(0, 1)")
        delta = 1 - gamma
        limit = min(delta, gamma)
        checks.require(
            0 < separation <= limit + 1e-12,  # 1 - 0.9 is a little less than 0.1
            f"separation is {separation!r}, expected in (0, {limit:.6g}] = (0, min(1 - gamma, gamma)]: lower it",
        )
        rng = generator(checks, seed)
    theta = rng.choice([-1.0, 1.0], size=k) * separation / k
    signs = 2.0 * ((np.arange(2**k)[:, None] >> np.arange(k)) & 1) - 1  # (A, k)
    features = np.zeros((2, 2**k, k + 2))
    features[0, :, 0], features[0, :, 1:-1], features[1, :, -1] = 1.0, signs, 1.0
    measures = np.vstack([[1 - delta, delta], np.stack([-theta, theta], axis=1), [delta, 1 - delta]])  # (k + 2, 2)
    # rounding may leave -1e-17 where p(a) = 0 is meant; LinearMDP allows for it
    return LinearMDP(features, measures, np.eye(k + 2)[-1], discount=gamma, initial_dist=[1.0, 0.0])


EXAMPLES: Mapping[str, Callable[..., Problem]] = {
    "simplex-linear-mdp": partial(simplex_linear_mdp, n_states=50, n_actions=4, n_features=5),
    "low-rank-garnet": partial(low_rank_garnet, n_states=50, n_actions=4, n_features=5),
    "hard-linear-mdp": partial(hard_linear_mdp, n_bits=4),
}
