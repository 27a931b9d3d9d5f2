"""What a run leaves behind: gaps, errors, divergences, bounds, and a tidy table of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from rebel_theory.arrays import FloatArray
from rebel_theory.policies import Policy

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Trace:
    """The record of one algorithm on one problem. The leading axis is seeds, then batch axes, then iterations.

    Attributes
    ----------
    algorithm : str
    gap : shape (n_seeds, ..., T + 1)
        J* - J(pi_t), or the duality gap of pi_t in a game; index 0 is the first policy.
    average_gap : shape (n_seeds, ..., T + 1)
        Mean gap of the iterates 0..t; in a game, the duality gap of their average policy.
    regression_error : shape (n_seeds, ..., T)
        eps_t: the population REBEL loss of the update from t to t + 1 (signal units squared), with the step size
        ``algorithm.eta_at(t)``.
    kl : shape (n_seeds, ..., T + 1)
        E_{d*} KL(pi* || pi_t) in nats.
    queries : shape (n_seeds, ..., T + 1)
        Cumulative reward queries (comparisons for a game); 0 for exact feedback.
    bound : dict of arrays (n_seeds, ..., T)
        After t + 1 updates: ``progress`` KL/(eta T), ``curvature`` eta B^2/2, ``misfit`` mean sqrt(C eps) and their
        sum ``total``, in units of the gap: the bound of C1, C11 or P7 on ``average_gap[..., t]``, all with the
        constant ``step_size``. It holds for every algorithm, and says little about those whose steps are of another
        size (see ``Algorithm.eta_at``).
    final_policy : Policy
        Leading axes (n_seeds, ...).
    probs : shape (n_seeds, ..., T + 1, S, A), or None
        Every iterate, when the run was asked to keep them.
    seed : int
    step_size : array
    evaluation_error : float
        Largest certified error of the values V^{pi_t} that the iterates were evaluated with.
    """

    algorithm: str
    gap: FloatArray
    average_gap: FloatArray
    regression_error: FloatArray
    kl: FloatArray
    queries: FloatArray
    bound: dict[str, FloatArray]
    final_policy: Policy
    probs: FloatArray | None
    seed: int
    step_size: FloatArray = field(repr=False)
    evaluation_error: float

    @property
    def n_iterations(self) -> int:
        """Number of updates T."""
        return int(self.gap.shape[-1]) - 1

    @property
    def n_seeds(self) -> int:
        """Number of seeds."""
        return int(self.gap.shape[0])

    def to_frame(self) -> pd.DataFrame:
        """Return a tidy table, one row per seed, batch place and iteration.

        Columns: algorithm, seed (0, 1, ...), one column ``batch_k`` per batch axis, iteration, gap, average_gap,
        regression_error (NaN at the last iterate, which has no update), kl, queries.
        """
        import pandas as pd

        shape = self.gap.shape
        places = np.indices(shape).reshape(len(shape), -1)
        columns: dict[str, Any] = {"algorithm": np.repeat(self.algorithm, places.shape[1]), "seed": places[0]}
        columns |= {f"batch_{k}": places[1 + k] for k in range(len(shape) - 2)}
        padded = np.full(shape, np.nan)
        padded[..., :-1] = self.regression_error
        columns |= {
            "iteration": places[-1],
            "gap": self.gap.ravel(),
            "average_gap": self.average_gap.ravel(),
            "regression_error": padded.ravel(),
            "kl": self.kl.ravel(),
            "queries": self.queries.ravel(),
        }
        return pd.DataFrame(columns)
