r"""KL-regularised symmetric equilibria of preference games, by Newton's method along the path of temperatures.

With payoffs l = 2 P - 1 (L as a matrix) and a reference m of full support, the regularised game gives
l(p, p') - tau KL(p||m) + tau KL(p'||m). Its equilibrium is the only p proportional to m exp(L p / tau): the logit
quantal response equilibrium where m is uniform, the regularised Nash policy of Munos et al. 2023 for any m.

Certificate. Let r = log p - log m - L p / tau, up to a constant. L is skew, so for the equilibrium p*
    tau <r, p - p*> = tau <log p - log p*, p - p*> = tau (KL(p||p*) + KL(p*||p)) >= tau ||p - p*||_1^2
by Pinsker's inequality both ways, and <r, p - p*> <= (span(r) / 2) ||p - p*||_1 because p - p* sums to 0. Hence
    ||p - p*||_1 <= span(r) / 2, whatever tau.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.arrays import FloatArray, expectation, frozen, log_softmax, safe_log
from rebel_theory.problems.base import InvalidProblemError, checking
from rebel_theory.problems.game import Game, LowRankGame, PreferenceGame
from rebel_theory.solvers.equilibrium_path import follow_path, polish
from rebel_theory.solvers.evaluation import HasProbs

_SERIES = 0.05  # |r| below which exp(-r) - 1 + r is summed as a series: the sixth term is 1e-9 of the first


@dataclass(frozen=True, slots=True, eq=False)
class RegularisedEquilibrium:
    """The equilibrium of a KL-regularised game, with its certificate.

    Attributes
    ----------
    policy : shape (Y,), or (X, Y) for a contextual game
        Read-only; proportional to m exp(L p / temperature) in every context.
    log_policy : shape of ``policy``
        Its logarithm, finite where a probability underflows.
    error_bound : float
        Certified bound on the L1 distance of ``policy`` to the equilibrium, the largest over contexts.
    gap : float
        Regularised duality gap of ``policy``, :func:`regularised_duality_gap`.
    temperature : float
        In units of payoffs l in [-1, 1].
    """

    policy: FloatArray
    log_policy: FloatArray
    error_bound: float
    gap: float
    temperature: float


def regularised_equilibrium(
    game: Game, temperature: float, reference: ArrayLike | HasProbs | None = None, *, tolerance: float = 1e-10
) -> RegularisedEquilibrium:
    r"""Return the policy p proportional to m exp(L p / tau) in every context, certified to ``tolerance``.

    The equilibrium of :math:`l(p, p') - \tau KL(p\|m) + \tau KL(p'\|m)` with payoffs l = 2 P - 1. Papers that pay P
    itself (Munos et al. 2023, Calandriello et al. 2024, Zhou et al. 2025) have the same policy at half the
    temperature: here tau = 2 tau_P, :func:`rebel_theory.payoff_temperature`.

    Parameters
    ----------
    game : PreferenceGame or LowRankGame
    temperature : float > 0
        tau, in units of payoffs l in [-1, 1].
    reference : shape (Y,) or (X, Y), or a policy, optional
        m, uniform by default; every probability must be positive.
    tolerance : float
        Largest accepted ``error_bound``.

    Returns
    -------
    RegularisedEquilibrium

    Raises
    ------
    InvalidProblemError
        For a temperature that is not positive, or a reference without full support.
    TypeError, ValueError
        For another kind of problem, or a batch of games.
    FloatingPointError
        Where rounding keeps the certified error above ``tolerance``: about 1e-17 / temperature.

    References
    ----------
    McKelvey and Palfrey 1995 (quantal response); Munos et al. 2023, arXiv:2312.00886 (with a reference policy).

    Examples
    --------
    Where y beats z with certainty, the log-odds are 1 / tau whatever the equilibrium: L p = (1 - p_0, -p_0):

    >>> found = regularised_equilibrium(PreferenceGame([[0.5, 1.0], [0.0, 0.5]]), 0.5)
    >>> bool(abs(np.log(found.policy[0] / found.policy[1]) - 1 / 0.5) < 1e-12)
    True
    """
    dense = _dense(game)
    log_m = _log_reference(dense, reference, "regularised_equilibrium")
    tau = check_temperature("regularised_equilibrium", temperature)
    payoff = dense.payoff
    v = follow_path(payoff, log_m, 1.0 / tau)
    log_p, bound = polish(payoff, log_m, v, 1.0 / tau)
    worst = float(bound.max())
    if not worst <= tolerance:
        raise FloatingPointError(
            f"the certified error of the regularised equilibrium is {worst:.3g}, above the tolerance {tolerance:g}: "
            f"at temperature {tau:g} rounding does not allow less, so raise the temperature or the tolerance"
        )
    p = np.exp(log_p)
    shown, log_shown = (p, log_p) if dense.contextual else (p[0], log_p[0])
    gap = float(expectation(dense.context_dist, _row_gaps(payoff, log_m, log_p, tau)))
    return RegularisedEquilibrium(frozen(shown), frozen(log_shown), worst, gap, tau)


def regularised_duality_gap(
    game: Game, probs: ArrayLike | HasProbs, temperature: float, reference: ArrayLike | HasProbs | None = None
) -> FloatArray:
    r"""Return the duality gap of (pi, pi) in the KL-regularised game, averaged over contexts, shape (...).

    By skew symmetry :math:`DG_\tau(\pi) = 2\,(\tau \ln \sum_y m_y e^{(L\pi)_y/\tau} + \tau KL(\pi\|m))
    = 2 \tau\, KL(\pi \| \pi')`, with pi' proportional to m exp(L pi / tau) the best response. It is computed as the
    latter, a sum of non-negative terms, so gaps far below the rounding of payoffs keep their meaning. In units of
    payoffs l in [-1, 1]; where the temperature goes to 0 it goes to :func:`duality_gap`.

    Parameters
    ----------
    game : PreferenceGame or LowRankGame
    probs : shape (..., X, Y), (..., Y) for a game without contexts, or a policy
    temperature, reference : as in :func:`regularised_equilibrium`

    Raises
    ------
    InvalidProblemError
        As for :func:`regularised_equilibrium`, and where rows are not distributions.

    Examples
    --------
    >>> rps = PreferenceGame([[0.5, 0.0, 1.0], [1.0, 0.5, 0.0], [0.0, 1.0, 0.5]])
    >>> float(regularised_duality_gap(rps, [1 / 3, 1 / 3, 1 / 3], 0.1)) < 1e-30
    True
    """
    if not isinstance(game, Game):
        raise TypeError(f"regularised_duality_gap takes a preference game, not a {type(game).__name__}")
    tau = check_temperature("regularised_duality_gap", temperature)
    log_m = _log_reference(game, reference, "regularised_duality_gap")
    p = game.policy_rows(probs.probs if isinstance(probs, HasProbs) else probs)
    p = p / p.sum(axis=-1, keepdims=True)  # the identity above needs sums of 1 to the last digit
    return expectation(game.context_dist, _gap_terms(log_m, safe_log(p), p, game.payoffs_against(p), tau))


def check_temperature(what: str, temperature: Any) -> float:
    """Return a temperature as a float; raise InvalidProblemError unless it is a finite number > 0."""
    try:
        tau = float(temperature)
    except (TypeError, ValueError):
        tau = float("nan")
    if not 0 < tau < np.inf:
        raise InvalidProblemError(
            what, [f"temperature is {temperature!r}, expected a finite number > 0: for none use von_neumann_winner"]
        )
    return tau


def _dense(game: Any) -> PreferenceGame:
    if isinstance(game, LowRankGame):
        return game.dense()
    if not isinstance(game, PreferenceGame):
        raise TypeError(f"regularised_equilibrium takes a preference game, not a {type(game).__name__}")
    if game.batch_shape:
        raise ValueError(
            f"regularised_equilibrium takes one game, got a batch of shape {game.batch_shape}: "
            "solve them one by one, as PreferenceGame(game.preference[i])"
        )
    return game


def _log_reference(game: Game, reference: ArrayLike | HasProbs | None, what: str) -> FloatArray:
    """Return log m (X, Y), normalised, after checking its support."""
    shape = game.policy_shape
    if reference is None:
        return np.full(shape, -np.log(shape[-1]))
    given = reference.probs if isinstance(reference, HasProbs) else reference
    array = np.asarray(given, dtype=np.float64)
    if array.shape == shape[-1:]:  # one reference for every context
        array = np.broadcast_to(array, shape)
    m = game.policy_rows(array)
    with checking(what) as checks:
        remedy = "is {value}, expected a probability > 0: mix the reference with the uniform policy"
        checks.entries(m <= 0, "reference", ("x", "y"), m, remedy)
        checks.require(m.shape == shape, f"reference has shape {m.shape}, expected {shape}")
    return log_softmax(np.log(m))


def _row_gaps(payoff: FloatArray, log_m: FloatArray, log_p: FloatArray, tau: float) -> FloatArray:
    p = np.exp(log_p)
    return _gap_terms(log_m, log_p, p, np.matmul(payoff, p[..., None])[..., 0], tau)


def _gap_terms(log_m: FloatArray, log_p: FloatArray, p: FloatArray, product: FloatArray, tau: float) -> FloatArray:
    """Return 2 tau KL(p || p') a row (..., X), p' the best response, as 2 tau sum p (exp(-r) - 1 + r), r = log p/p'."""
    log_best = log_softmax(log_m + product / tau)
    with np.errstate(invalid="ignore"):
        r = np.where(p > 0, log_p - log_best, 0.0)
    near = np.where(np.abs(r) < _SERIES, r, 0.0)
    series = near**2 * (1 / 2 - near * (1 / 6 - near * (1 / 24 - near * (1 / 120 - near * (1 / 720 - near / 5040)))))
    far = np.exp(log_best) - p + p * r
    total: FloatArray = 2 * tau * np.where((np.abs(r) < _SERIES) & (p > 0), p * series, far).sum(axis=-1)
    return np.maximum(total, 0.0)
