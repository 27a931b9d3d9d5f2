"""Bradley-Terry: strengths by maximum likelihood, and whether cycles in win counts are more than noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.arrays import BoolArray, FloatArray, frozen
from rebel_theory.problems.base import checking
from rebel_theory.theory.paired_likelihood import deviance, log_likelihood, newton, win_probability
from rebel_theory.theory.tournament import count_three_cycles

_CHUNK = 2_000_000  # numbers per array in a batch of replicates: 16 MB


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


@dataclass(frozen=True, slots=True, eq=False)
class CycleTest:
    """Outcome of :func:`likelihood_ratio_bootstrap`; ``str()`` is a plain sentence.

    Attributes
    ----------
    p_value : float
        (1 + number of replicates with a statistic at least as large) / (1 + n_bootstrap).
    statistic : float
        Deviance of the fitted Bradley-Terry model.
    n_cycles : int
        Three-cycles among the observed majorities.
    alpha : float
        Level of the test.
    n_bootstrap : int
        Replicates.
    strengths : shape (Y,)
        Strengths under which the replicates were drawn, mean 0 (large where the best fit is infinite).
    """

    p_value: float
    statistic: float
    n_cycles: int
    alpha: float
    n_bootstrap: int
    strengths: FloatArray

    @property
    def bradley_terry_rejected(self) -> bool:
        """True if no Bradley-Terry model explains the counts, at level alpha."""
        return self.p_value <= self.alpha

    @property
    def cycles_exceed_noise(self) -> bool:
        """True if Bradley-Terry is rejected and majorities do form cycles."""
        return self.bradley_terry_rejected and self.n_cycles > 0

    def __str__(self) -> str:
        found = f"{self.n_cycles} three-cycle{'' if self.n_cycles == 1 else 's'}"
        model = f"{'no' if self.bradley_terry_rejected else 'a'} Bradley-Terry model explains the counts"
        level = f"(p = {self.p_value:.3g}, level {self.alpha:g})."
        if self.n_cycles == 0:
            return f"There are no cycles, {'yet' if self.bradley_terry_rejected else 'and'} {model} {level}"
        if self.bradley_terry_rejected:
            return f"The cycles exceed sampling noise: {found}, and {model} {level}"
        return f"The cycles are within sampling noise: {found}, and {model} {level}"


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
    w = _checked_wins(wins, weights, ridge, names)
    if ridge == 0:
        _require_finite_maximum(w, names)
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


def likelihood_ratio_bootstrap(
    counts: ArrayLike,
    *,
    n_bootstrap: int = 999,
    rng: np.random.Generator,
    alpha: float = 0.05,
    names: Sequence[str] | None = None,
) -> CycleTest:
    r"""Return the test of "a Bradley-Terry model explains these win counts", by parametric bootstrap.

    The statistic is the deviance of the fitted model. Replicates draw every pair's wins from
    binomial(n_yz, fitted probability), independently, with the observed numbers n_yz of games; each is fitted
    again. p = (1 + #{replicates >= observed}) / (1 + n_bootstrap). All replicates are one batch of arrays.

    An action that never lost is no obstacle here: the deviance converges though its strength runs to
    infinity.

    Bradley-Terry is one transitive model, not all of them: transitive preferences on another scale are
    rejected too, given enough games. ``cycles_exceed_noise`` therefore also asks for a cycle among observed
    majorities; it is evidence against Bradley-Terry in a tournament with cycles, not a proof that the true
    majorities cycle.

    Parameters
    ----------
    counts : shape (Y, Y)
        Whole numbers of wins; the diagonal is ignored.
    n_bootstrap : int
        Replicates; the smallest possible p-value is 1 / (1 + n_bootstrap).
    rng : Generator
        Source of the replicates.
    alpha : float
        Level, in (0, 1).
    names : Y names, optional
        Used in error messages.

    Raises
    ------
    InvalidProblemError
        Unless the entries are whole numbers, finite and non-negative.
    ValueError
        If groups were never compared, or for n_bootstrap < 1 or alpha outside (0, 1).

    References
    ----------
    Davison and Hinkley 1997, section 4.2 (parametric bootstrap tests).

    Examples
    --------
    Rock, paper, scissors, 100 games a pair:

    >>> rps = [[0, 10, 90], [90, 0, 10], [10, 90, 0]]
    >>> print(likelihood_ratio_bootstrap(rps, n_bootstrap=99, rng=np.random.default_rng(0)))
    The cycles exceed sampling noise: 1 three-cycle, and no Bradley-Terry model explains the counts (p = 0.01, level 0.05).
    """  # noqa: E501 - one sentence, one line of output
    w = _checked_wins(counts, None, 0.0, names, whole=True)
    if n_bootstrap < 1:
        raise ValueError(f"n_bootstrap is {n_bootstrap}, expected at least 1: 999 gives p-values down to 0.001")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}, expected a level in (0, 1): 0.05 is customary")
    _require_connected(w, names)
    n = w.shape[0]
    strengths, _ = newton(w[None], np.zeros((1, n)), 0.0)
    statistic = float(deviance(w[None], strengths)[0])
    # counts are discrete: rounding must not decide whether a replicate equals the observation
    threshold = statistic - 1e-8 * max(1.0, statistic)
    probs = win_probability(strengths[0])
    chunk = max(1, _CHUNK // (n * n))
    exceeding = 0
    for start in range(0, n_bootstrap, chunk):
        replicates = _draw(w + w.T, probs, min(chunk, n_bootstrap - start), rng)  # (B, Y, Y)
        fitted, _ = newton(replicates, np.broadcast_to(strengths, (len(replicates), n)), 0.0)
        exceeding += int((deviance(replicates, fitted) >= threshold).sum())
    return CycleTest(
        p_value=(1 + exceeding) / (1 + n_bootstrap),
        statistic=statistic,
        n_cycles=int(count_three_cycles(w > w.T)),
        alpha=float(alpha),
        n_bootstrap=int(n_bootstrap),
        strengths=frozen(strengths[0]),
    )


def _draw(games: FloatArray, probs: FloatArray, size: int, rng: np.random.Generator) -> FloatArray:
    """Return win counts (size, Y, Y) drawn pair by pair, diagonal 0."""
    y, z = np.triu_indices(games.shape[0], 1)
    n_games = games[y, z].astype(np.int64)
    won = rng.binomial(n_games, probs[y, z], size=(size, y.size))  # (B, pairs)
    wins = np.zeros((size, *games.shape))
    wins[:, y, z] = won
    wins[:, z, y] = n_games - won
    return wins


def _checked_wins(
    wins: ArrayLike,
    weights: ArrayLike | None,
    ridge: float,
    names: Sequence[str] | None,
    whole: bool = False,
) -> FloatArray:
    """Return the (Y, Y) array of wins with a zero diagonal; every violated condition is raised together."""
    what = "counts" if whole else "wins"
    with checking("Bradley-Terry") as checks:
        w = checks.array(what, wins, "a square matrix (Y, Y) of wins or probabilities")
        if not checks.require(
            w.ndim == 2 and w.shape[0] == w.shape[1] and w.shape[0] >= 1,
            f"{what} has shape {w.shape}, expected a square matrix (Y, Y)",
        ):
            checks.finish()
        n = w.shape[0]
        axes = ("y", "z")
        checks.finite(what, w, axes)
        off = ~np.eye(n, dtype=np.bool_)
        with np.errstate(invalid="ignore"):
            checks.entries(off & (w < 0), what, axes, w, "is {value}, expected a number of wins >= 0: remove the sign")
            if whole:
                checks.entries(
                    off & np.isfinite(w) & (w != np.round(w)), what, axes, w,
                    "is {value}, expected a whole number of wins: multiply rates by the numbers of games",
                )  # fmt: skip
        checks.require(
            bool(np.isfinite(ridge)) and ridge >= 0,
            f"ridge is {ridge}, expected a number >= 0: 0 is no penalty",
        )
        checks.require(
            names is None or len(names) == n,
            f"names has {len(names) if names is not None else 0} entries, expected {n}: one per row",
        )
        factor = np.ones((n, n))
        if weights is not None:
            factor = checks.array("weights", weights, "a symmetric matrix (Y, Y) of numbers of comparisons")
            if not checks.require(
                factor.shape == w.shape, f"weights has shape {factor.shape}, expected {w.shape}: one per pair"
            ):
                checks.finish()
            checks.finite("weights", factor, axes)
            with np.errstate(invalid="ignore"):
                checks.entries(factor < 0, "weights", axes, factor, "is {value}, expected >= 0: remove the sign")
                checks.entries(
                    np.triu(factor != factor.T), "weights", axes, factor,
                    "differs from its mirror image, expected a symmetric matrix: both count the same games",
                )  # fmt: skip
    return np.where(off, w * factor, 0.0)


def _require_connected(wins: FloatArray, names: Sequence[str] | None) -> None:
    group = _group(wins + wins.T > 0, strong=False)
    if not group.all():
        was = "was" if group.sum() == 1 else "were"
        raise ValueError(
            f"{_listing(group, names)} {was} never compared with the others, so their relative strength is "
            "undetermined: add comparisons, fit the groups separately, or set ridge > 0 in bradley_terry"
        )


def _require_finite_maximum(wins: FloatArray, names: Sequence[str] | None) -> None:
    _require_connected(wins, names)
    group = _group(wins > 0, strong=True)
    if not group.all():
        raise ValueError(
            f"{_listing(group, names)} never lost to the others, so the maximum-likelihood strengths are "
            "infinite: set ridge > 0 (say 0.1: a Gaussian prior of variance 10), or add comparisons"
        )


def _group(edges: BoolArray, *, strong: bool) -> BoolArray:
    """Return the mask of a component that no edge enters: all True when the graph is (strongly) connected."""
    from scipy.sparse.csgraph import connected_components

    _, labels = connected_components(edges, directed=strong, connection="strong")
    for component in range(labels.max() + 1):
        inside: BoolArray = labels == component
        if not edges[np.ix_(~inside, inside)].any():
            return inside
    raise AssertionError("a finite graph has a source component")  # pragma: no cover


def _listing(group: BoolArray, names: Sequence[str] | None) -> str:
    members = np.flatnonzero(group)
    shown = [f"{names[i]} (index {i})" if names is not None else f"index {i}" for i in members[:5]]
    rest = f" and {members.size - 5} more" if members.size > 5 else ""
    return ", ".join(shown) + rest
