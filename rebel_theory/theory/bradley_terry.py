"""Bradley-Terry: strengths by maximum likelihood."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.arrays import FloatArray, frozen
from rebel_theory.theory.paired_likelihood import deviance, log_likelihood, newton, win_probability
from rebel_theory.theory.win_counts import checked_wins, require_finite_maximum


@dataclass(frozen=True, slots=True, eq=False)
class BradleyTerryFit:
    """A fitted Bradley-Terry model.

    Attributes
    ----------
    strengths : shape (Y,)
        Log-odds scale, mean 0.
    probs : shape (Y, Y)
        P(y beats z) = 1 / (1 + exp(strengths[z] - strengths[y])): a preference matrix.
    log_likelihood : float
        Of the comparisons, without the penalty and without binomial coefficients.
    deviance : float
        2 (log-likelihood of the observed win rates - ``log_likelihood``), >= 0: the likelihood-ratio
        statistic against a model with one free probability per compared pair.
    degrees_of_freedom : int
        Compared pairs minus Y - 1.
    ridge : float
        Penalty used; 0 is maximum likelihood.
    gradient_norm : float
        Largest absolute derivative of the penalised log-likelihood at the solution, in wins.
    """

    strengths: FloatArray
    probs: FloatArray
    log_likelihood: float
    deviance: float
    degrees_of_freedom: int
    ridge: float
    gradient_norm: float

    @property
    def best(self) -> int:
        """Index of the strongest action: what a reward model would choose."""
        return int(self.strengths.argmax())


def bradley_terry(
    wins: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    ridge: float = 0.0,
    names: Sequence[str] | None = None,
) -> BradleyTerryFit:
    r"""Return the strengths s that maximise the likelihood of the comparisons, by Newton's method.

    .. math:: \max_s \sum_{y \ne z} w_{yz} \ln \sigma(s_y - s_z) - \tfrac{\text{ridge}}{2} \|s\|^2,
              \qquad \sum_y s_y = 0

    Parameters
    ----------
    wins : shape (Y, Y)
        ``wins[y, z]`` = times y beat z, or a preference matrix P (one comparison per pair). Need not be whole
        numbers; the diagonal is ignored; pairs may be missing (0 both ways).
    weights : shape (Y, Y), optional
        Symmetric number of comparisons per pair, multiplied with ``wins``: pass P and the number of games.
    ridge : float
        A Gaussian prior on strengths of variance 1/ridge. Any positive value makes the maximum finite and
        unique.
    names : Y names, optional
        Used in error messages.

    Raises
    ------
    InvalidProblemError
        Unless the entries are finite and non-negative and the shapes agree.
    ValueError
        If ridge = 0 and the maximum is not unique (two groups were never compared) or not finite (a group
        never lost to the rest; Ford 1957). The message names the group.

    References
    ----------
    Bradley and Terry 1952; Zermelo 1929; Ford 1957; Hunter 2004 (Annals of Statistics 32).

    Examples
    --------
    Three wins to one are log-odds of ln 3:

    >>> fit = bradley_terry([[0, 3], [1, 0]])
    >>> (fit.strengths / np.log(3)).round(6).tolist(), fit.probs.round(6).tolist()
    ([0.5, -0.5], [[0.5, 0.75], [0.25, 0.5]])
    """
    w = checked_wins(wins, weights, ridge, names)
    if ridge == 0:
        require_finite_maximum(w, names)
    strengths, gradient_norm = newton(w[None], np.zeros((1, w.shape[0])), ridge)
    s = strengths[0]
    return BradleyTerryFit(
        strengths=frozen(s),
        probs=frozen(win_probability(s)),
        log_likelihood=float(log_likelihood(w, s)),
        deviance=float(deviance(w[None], strengths)[0]),
        degrees_of_freedom=int(np.triu(w + w.T > 0, 1).sum()) - (w.shape[0] - 1),
        ridge=float(ridge),
        gradient_norm=float(gradient_norm[0]),
    )
