"""Contextual bandits: random, with chosen gaps, and the two instances at which a bound is attained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from rebel_envs._checks import batch, context_distribution, generator, whole, within
from rebel_theory.arrays import FloatArray, frozen
from rebel_theory.problems import ContextualBandit, Noise, NoNoise, Problem
from rebel_theory.problems.base import checking

_EXACT = NoNoise()


def random_bandit(
    n_contexts: int = 10,
    n_actions: int = 5,
    *,
    seed: int = 0,
    noise: Noise = _EXACT,
    context_concentration: float | None = None,
    n_instances: int | None = None,
) -> ContextualBandit:
    """Return a bandit whose mean rewards are independent and uniform on [0, 1).

    Parameters
    ----------
    n_contexts, n_actions : int
        X >= 1 and Y >= 2.
    seed : int
        Of ``numpy.random.default_rng``.
    noise : Noise
        Law of the observed reward around its mean.
    context_concentration : float, optional
        Parameter of the symmetric Dirichlet law that rho is drawn from; rho is uniform by default.
    n_instances : int, optional
        Rewards of shape (n_instances, X, Y): a batch of independent instances.

    Examples
    --------
    >>> random_bandit(3, 2).reward.shape
    (3, 2)
    """
    with checking("random_bandit") as checks:
        x = whole(checks, "n_contexts", n_contexts)
        y = whole(checks, "n_actions", n_actions, at_least=2)
        lead = batch(checks, n_instances)
        rng = generator(checks, seed)
        if context_concentration is not None:
            within(checks, "context_concentration", context_concentration, "(0, inf)")
    reward = rng.random((*lead, x, y))
    rho = context_distribution(rng, x, context_concentration)
    return ContextualBandit(reward, context_dist=rho, noise=noise)


def equal_gaps_bandit(n_actions: int = 5, gap: float = 0.1, *, noise: Noise = _EXACT) -> ContextualBandit:
    r"""Return the bandit with one best arm (arm 0) and all others behind it by the same gap.

    Rewards are 1/2 + gap/2 and 1/2 - gap/2, inside [0, 1] so that Bernoulli noise is possible. After T exact
    updates with step size eta from the uniform policy the sub-optimality is
    :math:`\Delta (n-1) / (n - 1 + e^{\eta \Delta T})`.

    Parameters
    ----------
    n_actions : int
        n >= 2.
    gap : float in (0, 1]
        Delta, in units of reward.
    noise : Noise
        Law of the observed reward.

    Examples
    --------
    >>> equal_gaps_bandit(3, 0.5).reward
    array([[0.75, 0.25, 0.25]])
    """
    with checking("equal_gaps_bandit") as checks:
        n = whole(checks, "n_actions", n_actions, at_least=2)
        within(checks, "gap", gap, "(0, 1]", why="rewards stay in [0, 1]")
    reward = np.full((1, n), 0.5 - gap / 2)
    reward[0, 0] = 0.5 + gap / 2
    return ContextualBandit(reward, noise=noise)


def hard_arm_bandit(
    n_actions: int = 5, gap: float = 0.5, hard_gap: float = 0.01, *, noise: Noise = _EXACT
) -> ContextualBandit:
    r"""Return the bandit with one hard arm (arm 1) just behind the best (arm 0), the others far behind.

    After T exact updates from uniform, with :math:`u = e^{-\eta h T}` and :math:`v = e^{-\eta g T}`, the
    sub-optimality is :math:`(h u + (n-2) g v) / (1 + u + (n-2) v)`: two time scales, 1/g and 1/h.

    Parameters
    ----------
    n_actions : int
        n >= 3.
    gap, hard_gap : float
        g of the easy arms and h of the hard arm, 0 < h < g <= 1, in units of reward.
    noise : Noise
        Law of the observed reward.

    Examples
    --------
    >>> hard_arm_bandit(4, 0.5, 0.25).reward
    array([[0.75, 0.5 , 0.25, 0.25]])
    """
    with checking("hard_arm_bandit") as checks:
        n = whole(checks, "n_actions", n_actions, at_least=3)
        g = within(checks, "gap", gap, "(0, 1]", why="rewards stay in [0, 1]")
        h = within(checks, "hard_gap", hard_gap, "(0, inf)")
        checks.require(h < g, f"hard_gap is {hard_gap!r}, expected less than gap = {gap!r}: it is the harder arm")
    best = 0.5 + gap / 2
    reward = np.full((1, n), best - gap)
    reward[0, :2] = best, best - hard_gap
    return ContextualBandit(reward, noise=noise)


@dataclass(frozen=True, eq=False)
class ShiftInstance:
    """A bandit at which the price of distribution shift is paid in full, with everything that makes it so."""

    problem: ContextualBandit
    features: FloatArray  # (1, 3, 1), the same for arms 0 and 2
    base: FloatArray  # (1, 3), mu
    first_policy: FloatArray  # (1, 3), pi_1 = softmax(features . first_theta)
    first_theta: FloatArray  # (1,)
    concentrability: float  # C = max pi* / mu

    @property
    def floor_ratio(self) -> float:
        """Sub-optimality over sqrt(C eps) at the first policy's limit: 1 / ((1 + 1.2/C) sqrt(1 - 1/C))."""
        c = self.concentrability
        return float(1 / ((1 + 1.2 / c) * np.sqrt(1 - 1 / c)))


def shift_bandit(concentrability: float = 100.0, delta: float = 0.1, *, start: float = 1e-12) -> ShiftInstance:
    r"""Return the instance at which REBEL's misfit term sqrt(C eps) is attained (theory.md, C8).

    Arms: a* (reward delta, base probability 1/C), b (reward 0, where the first policy sits) and c (reward
    -1.2 delta / C, the rest of the base). Log-linear features tie a* and c. Seen from b, the tied pair is
    worth :math:`\delta/C - 1.2\,\delta/C\,(1 - 1/C) < 0` under mu, so the regression moves away from both and
    the policy stays at b: sub-optimality delta, while the population loss is the variance of the target,
    :math:`\epsilon = \delta^2 (1 + 1.2/C)^2 (1/C)(1 - 1/C)`. Their ratio
    :math:`\delta / \sqrt{C \epsilon} = 1 / ((1 + 1.2/C) \sqrt{1 - 1/C})` tends to 1.

    Parameters
    ----------
    concentrability : float > 6
        C; below 6 the tied pair looks good and the policy leaves b.
    delta : float > 0
        Reward of a*.
    start : float in (0, 1/3)
        First probability of a* and of c; the closed forms hold up to this much.

    Examples
    --------
    >>> round(shift_bandit(10.0).floor_ratio, 3), round(shift_bandit(1e4).floor_ratio, 4)
    (0.941, 0.9999)
    """
    with checking("shift_bandit") as checks:
        c = within(checks, "concentrability", concentrability, "(6, inf)", why="the tied pair must look bad under mu")
        d = within(checks, "delta", delta, "(0, inf)")
        within(checks, "start", start, f"(0, {1 / 3})", why="the first policy sits at arm b")
    return ShiftInstance(
        problem=ContextualBandit([[d, 0.0, -1.2 * d / c]]),
        features=frozen([[[1.0], [0.0], [1.0]]]),
        base=frozen([[1 / c, 0.0, 1 - 1 / c]]),
        first_policy=frozen([[start, 1 - 2 * start, start]]),
        first_theta=frozen([np.log(start) - np.log1p(-2 * start)]),
        concentrability=c,
    )


def shift_problem(concentrability: float = 100.0, delta: float = 0.1) -> ContextualBandit:
    """Return the bandit of :func:`shift_bandit` alone: three arms, rewards delta, 0 and -1.2 delta / C."""
    return shift_bandit(concentrability, delta).problem


def worst_case_bandit(n_actions: int = 10, n_updates: int = 100, step_size: float = 1.0) -> ContextualBandit:
    r"""Return the bandit that is worst for T exact updates from uniform (theory.md, C3).

    One best arm (arm 0, reward Delta) and n - 1 arms of reward 0. With :math:`z = \eta T \Delta` the gap
    after T updates times :math:`\eta T` is :math:`z (n-1) / (n - 1 + e^z)`; its derivative vanishes where
    :math:`(z - 1) e^{z - 1} = (n-1)/e`, so :math:`z = 1 + W((n-1)/e)` and the maximum is :math:`z - 1`:
    :math:`\mathrm{gap}_T\, \eta T = W((n-1)/e)`, with W Lambert's function.

    Parameters
    ----------
    n_actions : int
        n >= 2.
    n_updates : int
        T >= 1.
    step_size : float > 0
        The functional step size eta.

    Examples
    --------
    >>> bandit = worst_case_bandit(2, n_updates=10, step_size=0.1)  # z = 1 + W(1/e) = 1.27846
    >>> bandit.reward.round(5)
    array([[1.27846, 0.     ]])
    """
    with checking("worst_case_bandit") as checks:
        n = whole(checks, "n_actions", n_actions, at_least=2)
        t = whole(checks, "n_updates", n_updates)
        eta = within(checks, "step_size", step_size, "(0, inf)")
    from scipy.special import lambertw

    reward = np.zeros((1, n))
    reward[0, 0] = (1 + lambertw((n - 1) / np.e).real) / (eta * t)
    return ContextualBandit(reward)


EXAMPLES: Mapping[str, Callable[..., Problem]] = {
    "random-bandit": partial(random_bandit, n_contexts=10, n_actions=5),
    "equal-gaps-bandit": partial(equal_gaps_bandit, n_actions=5, gap=0.1),
    "hard-arm-bandit": partial(hard_arm_bandit, n_actions=5),
    "shift-bandit": partial(shift_problem, concentrability=100.0),
    "worst-case-bandit": partial(worst_case_bandit, n_actions=10, n_updates=100),
}
