"""A fixed data set of compared actions, reused at every iteration, alone or mixed with fresh pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from rebel_theory.arrays import BoolArray, FloatArray, IntArray, safe_log
from rebel_theory.feedback import Feedback
from rebel_theory.oracles.base import BoundOracle, Oracle
from rebel_theory.oracles.comparisons import Comparisons, CountedComparisons
from rebel_theory.oracles.sampled import BoundSampled
from rebel_theory.pairs import PairCounts, Pairs
from rebel_theory.policies import Base, OnPolicy, Policy
from rebel_theory.problems import PreferenceGame, Problem
from rebel_theory.problems.base import Checks, InvalidProblemError, checking

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False, init=False)
class OfflineData:
    """Compared actions (x, y, y') and what was observed of y against y'.

    Parameters
    ----------
    y, y_base : shape (n,)
        Indices of the two actions.
    x : shape (n,), optional
        Index of the context or state (of the row h S + s for a finite horizon); 0 by default.
    difference : shape (n,)
        Observed relative reward, reward of y minus reward of y' (a difference of returns in an MDP).
    preferred : shape (n,)
        In place of ``difference``: 1 if y was preferred, 0 if y' was, 1/2 for a tie.
    propensity : shape (n,), optional
        Probability with which the pair was logged given x; each pair then counts 1/propensity times, as if all
        pairs had been equally likely.

    Raises
    ------
    InvalidProblemError
        All faults at once, with the row of each.
    """

    x: IntArray
    y: IntArray
    y_base: IntArray
    difference: FloatArray
    weight: FloatArray
    is_preference: bool

    def __init__(
        self,
        y: ArrayLike,
        y_base: ArrayLike,
        *,
        x: ArrayLike | None = None,
        difference: ArrayLike | None = None,
        preferred: ArrayLike | None = None,
        propensity: ArrayLike | None = None,
    ) -> None:
        with checking("OfflineData") as checks:
            given = [v for v in (difference, preferred) if v is not None]
            if not checks.require(len(given) == 1, "give either difference or preferred, and only one of them"):
                checks.finish()
            columns = {"y": y, "y_base": y_base, "observed": given[0]}
            columns |= {k: v for k, v in (("x", x), ("propensity", propensity)) if v is not None}
            arrays = {k: checks.array(k, v, "one number a pair, shape (n,)") for k, v in columns.items()}
            n = arrays["y"].size
            checks.require(n > 0, "the data set is empty: at least one pair is needed")
            for name, array in arrays.items():
                if checks.require(array.shape == (n,), f"{name} has shape {array.shape}, expected ({n},) as y has"):
                    checks.finite(name, array, ("row",))
            checks.finish()
            actions = {k: _indices(checks, k, arrays[k]) for k in ("x", "y", "y_base") if k in arrays}
            observed = arrays["observed"]
            if preferred is not None:
                bad = ~np.isin(observed, (0.0, 0.5, 1.0))
                checks.entries(bad, "preferred", ("row",), observed, "is {value}, expected 0, 1, or 0.5 for a tie")
            weight = arrays.get("propensity", np.ones(n))
            bad = ~((weight > 0) & (weight <= 1))
            checks.entries(bad, "propensity", ("row",), weight, "is {value}, expected a probability in (0, 1]")
        object.__setattr__(self, "x", actions.get("x", np.zeros(n, dtype=np.int64)))
        object.__setattr__(self, "y", actions["y"])
        object.__setattr__(self, "y_base", actions["y_base"])
        object.__setattr__(self, "difference", observed if preferred is None else 2 * observed - 1)
        object.__setattr__(self, "weight", 1 / weight)
        object.__setattr__(self, "is_preference", preferred is not None)

    def __len__(self) -> int:
        return int(self.y.size)

    @classmethod
    def from_frame(cls, table: pd.DataFrame | Mapping[str, ArrayLike] | str | Path) -> OfflineData:
        """Return the data set of a pandas table, a mapping of columns, or a Parquet or CSV file.

        Columns: ``y`` and ``y_base``; optionally ``x`` and ``propensity``; and ``difference``, or ``reward`` with
        ``reward_base``, or ``preferred``.
        """
        columns = _columns(table)
        if "reward" in columns and "reward_base" in columns:
            columns["difference"] = np.subtract(columns.pop("reward"), columns.pop("reward_base"))
        missing = [name for name in ("y", "y_base") if name not in columns]
        known = {"x", "y", "y_base", "difference", "preferred", "propensity"}
        faults = [f"column {name!r} is missing" for name in missing]
        faults += [f"column {name!r} is not known: use {', '.join(sorted(known))}" for name in columns.keys() - known]
        if not {"difference", "preferred"} & columns.keys():
            faults.append("nothing was observed: add difference, reward and reward_base, or preferred")
        if faults:
            raise InvalidProblemError("OfflineData", faults)
        return cls(**columns)


def _columns(table: Any) -> dict[str, Any]:
    if isinstance(table, (str, Path)):
        import pandas as pd

        path = Path(table)
        if not path.exists():
            raise InvalidProblemError("OfflineData", [f"{path} does not exist: check the path"])
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    if isinstance(table, Mapping):
        return dict(table)
    return {str(name): table[name].to_numpy() for name in table.columns}


def _indices(checks: Checks, name: str, values: FloatArray) -> IntArray:
    bad = (values < 0) | (values != np.floor(values))
    checks.entries(bad, name, ("row",), values, "is {value}, expected an index 0, 1, 2, ...")
    return values.astype(np.int64)


@dataclass(frozen=True, eq=False)
class Offline(Oracle):
    """A fixed data set in place of fresh pairs (the paper's offline data: it enters through the base only).

    REBEL regresses on the data's pairs at every iteration. In a preference game with preference data the payoff is
    estimated from the data (pairs never compared count as even) and the target of a compared pair is the estimated
    payoff difference against pi_t. NPG and mirror descent see the potentials of the pair regression as their signal.

    Parameters
    ----------
    dataset : OfflineData, or what :meth:`OfflineData.from_frame` takes
    on_policy_pairs : int >= 0
        Fresh pairs y, y' ~ pi_t, as ``Sampled`` draws them, added to the data at every iteration.
    """

    dataset: Any
    on_policy_pairs: int = 0

    def __post_init__(self) -> None:
        if int(self.on_policy_pairs) != self.on_policy_pairs or self.on_policy_pairs < 0:
            raise InvalidProblemError(
                "Offline", [f"on_policy_pairs is {self.on_policy_pairs}, expected an integer >= 0"]
            )
        if not isinstance(self.dataset, OfflineData):
            object.__setattr__(self, "dataset", OfflineData.from_frame(self.dataset))

    def bind(self, problem: Problem, rngs: list[Generator]) -> BoundOracle:
        """Return the oracle of one problem, after checking the data's indices against it."""
        return _BoundOffline(problem, rngs, self.dataset, int(self.on_policy_pairs))


class _BoundOffline(BoundSampled):
    def __init__(self, problem: Problem, rngs: list[Generator], data: OfflineData, fresh: int) -> None:
        super().__init__(problem, rngs, fresh)
        shape = (problem.n_rows, problem.n_actions, problem.n_actions)
        with checking("OfflineData") as checks:
            for name, values, size in (
                ("x", data.x, shape[0]),
                ("y", data.y, shape[1]),
                ("y_base", data.y_base, shape[1]),
            ):
                what = f"is {{value}}, but the problem has {size}: expected an index below {size}"
                checks.entries(values >= size, name, ("row",), values, what)
        place = (data.x, data.y, data.y_base)
        self._counts, self._sums = np.zeros(shape), np.zeros(shape)
        np.add.at(self._counts, place, data.weight)
        np.add.at(self._sums, place, data.weight * data.difference)
        self._queries += (1 if data.is_preference else 2) * len(data)
        self._payoff = self._estimated_payoff() if isinstance(problem, PreferenceGame) and data.is_preference else None
        self._log_base = self._empirical_base()

    def _estimated_payoff(self) -> FloatArray:
        """Return the mean of 2 o - 1 (X, Y, Y) of compared pairs, 0 (even) where none was compared."""
        return PairCounts(self._counts, self._sums).targets

    def _empirical_base(self) -> FloatArray:
        """Return the log-frequency of actions in the data's pairs (S, A); uniform in rows without data."""
        seen = self._counts.sum(axis=-1) + self._counts.sum(axis=-2)
        total = seen.sum(axis=-1, keepdims=True)
        return safe_log(np.where(total > 0, seen / np.where(total > 0, total, 1.0), 1.0 / seen.shape[-1]))

    def log_base(self, policy: Policy, base: Base) -> FloatArray:
        """Return the data's own distribution of actions, whatever base the algorithm names."""
        return self._log_base

    def pairs(self, policy: Policy, base: Base) -> Pairs:
        """Return the data's pairs, with fresh ones added."""
        k = len(self._rngs)
        counts = np.broadcast_to(self._counts, (k, *self._counts.shape))
        sums = np.broadcast_to(self._sums, counts.shape)
        if self._payoff is not None:
            signal = np.matmul(self._payoff, policy.probs[..., None])[..., 0]  # (..., X, Y) against pi_t
            sums = counts * (signal[..., :, None] - signal[..., None, :])
        if self._n:
            rho, pi = self._full(self.evaluate(policy).occupancy, 1), self._full(policy.probs, 2)
            fresh, seen = self._draw(rho, pi, pi, self._n, pi.shape[-1])
            counts, sums = counts + fresh, sums + seen
        return PairCounts(np.ascontiguousarray(counts), np.ascontiguousarray(sums))

    def comparisons(self, policy: Policy, law: Policy) -> Comparisons:
        """Return the data's own comparisons, whatever law the algorithm names."""
        shape = (len(self._rngs), *self._counts.shape)
        return CountedComparisons(np.broadcast_to(self._counts, shape), np.broadcast_to(self._sums, shape))

    def feedback(self, policy: Policy) -> Feedback:
        """Return the potentials of the pair regression as the signal, with the data's row frequencies."""
        graph = self.pairs(policy, OnPolicy())
        assert isinstance(graph, PairCounts)
        weights = graph.weights.sum(axis=(-2, -1))
        visited: BoolArray = weights > 0
        total = np.maximum(weights.sum(axis=-1, keepdims=True), 1e-300)
        return Feedback(weights=weights / total, signal=graph.potentials(), visited=visited)
