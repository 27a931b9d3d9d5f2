"""Whether cycles in win counts are more than noise: a likelihood-ratio test of Bradley-Terry, by bootstrap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.arrays import FloatArray, frozen
from rebel_theory.theory.paired_likelihood import deviance, newton, win_probability
from rebel_theory.theory.tournament import count_three_cycles
from rebel_theory.theory.win_counts import checked_wins, require_connected

_CHUNK = 2_000_000  # numbers per array in a batch of replicates: 16 MB


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
    w = checked_wins(counts, None, 0.0, names, whole=True)
    if n_bootstrap < 1:
        raise ValueError(f"n_bootstrap is {n_bootstrap}, expected at least 1: 999 gives p-values down to 0.001")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}, expected a level in (0, 1): 0.05 is customary")
    require_connected(w, names)
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
