"""The right-hand sides of the convergence theorems, with their constants (theory notes, sections 4 and 6).

``n_updates`` is T, ``step_size`` the functional eta unless a name says otherwise; everything broadcasts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.arrays import FloatArray


def _a(value: ArrayLike) -> FloatArray:
    return np.asarray(value, dtype=np.float64)


def npg_step_size(step_size: ArrayLike, discount: float) -> FloatArray:
    """Return eta_npg = (1 - gamma) eta, the step of the natural gradient of V under the normalised occupancy."""
    return _a(step_size) * (1 - discount)


def functional_step_size(npg_step_size: ArrayLike, discount: float) -> FloatArray:
    """Return eta = eta_npg / (1 - gamma); the inverse of :func:`npg_step_size`."""
    return _a(npg_step_size) / (1 - discount)


def payoff_step_size(step_size: ArrayLike) -> FloatArray:
    """Return eta = eta_P / 2, the functional step of exp(eta l) for a paper's exp(eta_P P), l = 2 P - 1."""
    return _a(step_size) / 2


def payoff_temperature(temperature: ArrayLike) -> FloatArray:
    """Return tau = 2 tau_P, the temperature in payoffs l = 2 P - 1 for a paper's in win probabilities P.

    exp(P / tau_P) and exp(l / tau) differ by a constant factor; eta tau is the same in both units.
    """
    return 2 * _a(temperature)


def curvature_bound(step_size: ArrayLike, largest_update: ArrayLike) -> FloatArray:
    """Return eta B^2 / 2, Hoeffding's bound on the curvature term, B >= max |g|."""
    return _a(step_size) * _a(largest_update) ** 2 / 2


def misfit_bound(concentrability: ArrayLike, regression_error: ArrayLike, *, on_policy: bool = False) -> FloatArray:
    """Return sqrt(C eps), or sqrt(C eps / 2) when mu = pi_t, the bound on the misfit term; 0 when eps = 0.

    Distribution shift alone can keep the gap there: the constant 1 is attained (C8).
    """
    eps = _a(regression_error) / (2 if on_policy else 1)
    with np.errstate(invalid="ignore"):
        product = np.where(eps > 0, _a(concentrability) * eps, 0.0)
    return np.sqrt(product)


def regret_bound(
    kl: ArrayLike,
    step_size: ArrayLike,
    n_updates: ArrayLike,
    largest_update: ArrayLike,
    mean_misfit: ArrayLike,
) -> FloatArray:
    """Return KL/(eta T) + eta B^2/2 + mean sqrt(C eps): C1, Theorem 1 of arXiv:2404.16767 with its constants.

    Bounds the average over t <= T of the sub-optimality of pi_t in a bandit. Times 1/(1-gamma), with KL and
    concentrability under d*, it is C11, the same statement for a discounted MDP.
    """
    return exact_bandit_bound(kl, step_size, n_updates) + curvature_bound(step_size, largest_update) + _a(mean_misfit)


def exact_bandit_bound(kl: ArrayLike, step_size: ArrayLike, n_updates: ArrayLike) -> FloatArray:
    """Return KL(pi*||pi_1)/(eta T): C2, the gap after T exact updates of a bandit, any eta."""
    return _a(kl) / (_a(step_size) * _a(n_updates))


def worst_case_gap(n_actions: ArrayLike, step_size: ArrayLike, n_updates: ArrayLike) -> FloatArray:
    """Return W((n-1)/e)/(eta T): C3, the largest gap over all n-armed bandits after T exact updates from uniform.

    Attained by one best arm and n - 1 equal ones whose gap Delta makes Delta p(Delta) largest.
    """
    from scipy.special import lambertw

    return _a(lambertw((_a(n_actions) - 1) / np.e).real) / (_a(step_size) * _a(n_updates))


def worst_case_difference(n_actions: ArrayLike, step_size: ArrayLike, n_updates: ArrayLike) -> FloatArray:
    """Return the reward difference Delta = (1 + W((n-1)/e))/(eta T) at which :func:`worst_case_gap` is attained.

    The gap of the n - 1 equal arms is Delta m e^{-a} / (1 + m e^{-a}), a = eta T Delta, m = n - 1; setting its
    derivative to 0 gives a = 1 + m e^{-a}, so (a - 1) e^{a-1} = m / e.
    """
    from scipy.special import lambertw

    w = _a(lambertw((_a(n_actions) - 1) / np.e).real)
    result: FloatArray = (1 + w) / (_a(step_size) * _a(n_updates))
    return result


def exact_mdp_bound(n_actions: int, step_size: ArrayLike, n_updates: ArrayLike, discount: float) -> FloatArray:
    """Return ln A/(eta_npg T) + 1/((1-gamma)^2 T): C5, exact NPG from uniform, rewards in [0, 1].

    Agarwal et al. 2021 (JMLR 22), Theorem 16, with eta_npg = (1-gamma) eta; no dependence on S.
    """
    t = _a(n_updates)
    return np.log(_a(n_actions)) / (npg_step_size(step_size, discount) * t) + 1 / ((1 - discount) ** 2 * t)


def growth_factor(mismatch: ArrayLike) -> FloatArray:
    """Return v/(v-1), the least growth of the steps in C6, for v = ||d*/rho||_inf/(1-gamma) > 1."""
    v = _a(mismatch)
    return v / (v - 1)


def growing_steps_bound(
    gap: ArrayLike,
    kl: ArrayLike,
    mismatch: ArrayLike,
    first_step: ArrayLike,
    n_updates: ArrayLike,
    discount: float,
) -> FloatArray:
    """Return (1-1/v)^k (gap_0 + D_0/((1-gamma) eta_0 (v-1))), v = mismatch: C6 (Xiao 2022, JMLR 23).

    ``mismatch`` is v = ||d*/rho||_inf / (1-gamma); step sizes grow by at least v/(v-1).
    """
    v = _a(mismatch)
    start = _a(gap) + _a(kl) / ((1 - discount) * _a(first_step) * (v - 1))
    return (1 - 1 / v) ** _a(n_updates) * start


def entropy_npg_bound(
    q_distance: ArrayLike, log_distance: ArrayLike, npg_step: ArrayLike, temperature: float, n_updates: ArrayLike,
    discount: float,
) -> FloatArray:  # fmt: skip
    """Return C_1 gamma (1 - eta tau)^t: C7, entropy-regularised NPG (Cen et al. 2021); the step is eta_npg.

    C_1 = ||Q* - Q^0|| + 2 tau (1 - eta tau/(1-gamma)) ||ln pi* - ln pi^0||, sup norms.
    """
    eta, tau = _a(npg_step), temperature
    constant = _a(q_distance) + 2 * tau * (1 - eta * tau / (1 - discount)) * _a(log_distance)
    return constant * discount * (1 - eta * tau) ** _a(n_updates)


def gradient_half_time(best: ArrayLike, step_size: ArrayLike, lead: ArrayLike) -> FloatArray:
    """Return (1-p)/(2 eta Delta p (1+p)): C9, the fewest updates in which softmax PG halves the gap of a bandit.

    One best arm of probability p = ``best`` at the start, ``lead`` Delta over equal others. By Jensen's inequality
    ln p rises by at most 2 eta Delta p an update, so 1/p falls by at most 2 eta Delta; half the gap is p = (1 + p_0)/2.
    """
    p = _a(best)
    return (1 - p) / (2 * _a(step_size) * _a(lead) * p * (1 + p))


def natural_half_time(best: ArrayLike, step_size: ArrayLike, lead: ArrayLike) -> FloatArray:
    """Return 1 + ln(1 + 1/p)/(eta Delta): C9, NPG's most updates there; the odds of the best grow by exp(eta Delta)."""
    return 1 + np.log1p(1 / _a(best)) / (_a(step_size) * _a(lead))


def self_play_step_size(n_actions: int, n_updates: int) -> float:
    """Return eta = sqrt(2 ln n / T), which balances both terms of the self-play bound."""
    return float(np.sqrt(2 * np.log(n_actions) / n_updates))


def self_play_bound(n_actions: int, n_updates: ArrayLike) -> FloatArray:
    """Return 2 sqrt(2 ln n / T): P1, the duality gap of the average of T iterates at :func:`self_play_step_size`."""
    return 2 * np.sqrt(2 * np.log(_a(n_actions)) / _a(n_updates))


def self_play_regret_bound(
    kl: ArrayLike,
    step_size: ArrayLike,
    n_updates: ArrayLike,
    largest_update: ArrayLike,
    mean_misfit: ArrayLike,
) -> FloatArray:
    """Return twice the regret bound: P7, Theorem 2 of arXiv:2404.16767, with C over all comparators."""
    return 2 * regret_bound(kl, step_size, n_updates, largest_update, mean_misfit)


def magnetic_bound(kl: ArrayLike, step_size: ArrayLike, temperature: float, n_updates: ArrayLike) -> FloatArray:
    """Return KL_0 (1 + eta alpha)^{-t}: P4 (Sokota et al. 2023, arXiv:2206.05825)."""
    result: FloatArray = _a(kl) * (1 + _a(step_size) * temperature) ** -_a(n_updates)
    return result


def extragradient_bound(kl: ArrayLike, step_size: ArrayLike, temperature: float, n_updates: ArrayLike) -> FloatArray:
    """Return KL_0 (1 - eta tau)^t: regularised extragradient, payoffs in [-1, 1], eta (1 + tau) <= 1.

    Bounds KL(p*||pi_t) to the regularised equilibrium p*; derived in :class:`rebel_theory.Egpo`, and for a uniform
    reference by Cen, Wei and Chi 2021 (arXiv:2105.15186).

    >>> float(extragradient_bound(1.0, 0.5, 1.0, 3))  # halved at each update
    0.125
    """
    result: FloatArray = _a(kl) * (1 - _a(step_size) * temperature) ** _a(n_updates)
    return result


def nash_md_bound(temperature: float, n_updates: ArrayLike) -> FloatArray:
    """Return 8/(tau^2 (T+1)): P5 (Munos et al. 2023, arXiv:2312.00886), eta_t = 2/(tau (t+2)); tau pays P, not l."""
    return 8 / (temperature**2 * (_a(n_updates) + 1))
