"""The regression data of REBEL: rows, two actions, a relative reward, a weight; in two forms, one interface.

A regression needs one of two things: the min-norm potentials of the tabular class, or design rows for given
features. Both forms give both, so a step cannot tell which it has.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from rebel_theory.arrays import BoolArray, FloatArray, expectation, log_softmax, whole
from rebel_theory.threads import threads_for

_PARALLEL_FROM = 100_000


class Pairs(Protocol):
    """What a policy needs to solve its own regression."""

    def potentials(self) -> FloatArray:
        """Return the min-norm z (..., S, A) with z(y) - z(y') closest to the relative rewards."""

    def tilted(self, log_probs: FloatArray, step_size: FloatArray) -> FloatArray:
        """Return the log-probabilities (..., S, A) of pi exp(eta z), normalised, z the potentials."""

    def rows(self, features: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return (design (..., n, p), target (..., n)) for features (..., S, A, p), rows scaled by root weights."""

    def magnitude(self, features: FloatArray) -> FloatArray:
        """Return the norm (...) that the design's rows would have without the differences: the scale of rounding."""


@dataclass(frozen=True, slots=True, eq=False)
class FactorisedPairs:
    r"""The population of pairs x ~ d, y ~ pi, y' ~ mu with relative reward q(x, y) - q(x, y'), never enumerated.

    For any z, :math:`E (z(y) - z(y'))^2 = Var_\pi z + Var_\mu z + (E_\pi z - E_\mu z)^2`, so 2 S A + S rows hold
    all S A A pairs.

    Attributes
    ----------
    weights : shape (..., S)
    log_pi, log_mu : shape (..., S, A)
    signal : shape (..., S, A)
    visited : shape (..., S)
        Rows that carry data; the others keep potential 0.
    """

    weights: FloatArray
    log_pi: FloatArray
    log_mu: FloatArray
    signal: FloatArray
    visited: BoolArray

    def potentials(self) -> FloatArray:
        """Return the min-norm solution of the pair regression, shape (..., S, A), in O(A) a row."""
        from rebel_theory.kernels.factorised import solve_factorised_rows

        shape = np.broadcast_shapes(self.log_pi.shape, self.log_mu.shape, self.signal.shape)
        rows, z = (-1, shape[-1]), whole(self.signal, shape)
        log_pi = whole(self.log_pi, shape).reshape(rows)
        pi = np.exp(log_pi)
        log_mu, mu = log_pi, pi
        if self.log_mu is not self.log_pi:
            log_mu = whole(self.log_mu, shape).reshape(rows)
            mu = np.exp(log_mu)
        solve_factorised_rows(pi, mu, log_pi, log_mu, whole(self.visited, shape[:-1]).reshape(-1), z.reshape(rows))
        return z

    def tilted(self, log_probs: FloatArray, step_size: FloatArray) -> FloatArray:
        """Return log-softmax(log_probs + step_size * potentials), shape (..., S, A)."""
        return log_softmax(log_probs + np.asarray(step_size)[..., None, None] * self.potentials())

    def magnitude(self, features: FloatArray) -> FloatArray:
        """Return the root of E_{d, pi}|phi|^2 + E_{d, mu}|phi|^2, shape (...)."""
        both = np.exp(self.log_pi) + np.exp(self.log_mu)
        return np.sqrt(expectation(self.weights, expectation(both, (features**2).sum(axis=-1))))

    def rows(self, features: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the 2 S A + S rows: features and signal centred under pi, under mu, and the two means' difference."""
        pi, mu = np.exp(self.log_pi), np.exp(self.log_mu)
        root = np.sqrt(self.weights)[..., None]  # (..., S, 1)
        phi_pi, q_pi = _means(pi, features, self.signal)
        phi_mu, q_mu = _means(mu, features, self.signal)
        design = [
            (root * np.sqrt(pi))[..., None] * (features - phi_pi[..., None, :]),
            (root * np.sqrt(mu))[..., None] * (features - phi_mu[..., None, :]),
            (root * (phi_pi - phi_mu))[..., None, :],
        ]
        target = [
            root * np.sqrt(pi) * (self.signal - q_pi[..., None]),
            root * np.sqrt(mu) * (self.signal - q_mu[..., None]),
            root * (q_pi - q_mu)[..., None],
        ]
        return _stacked(design, target)


@dataclass(frozen=True, slots=True, eq=False)
class PairGraph:
    """Pairs summarised per row by a weighted graph over actions, as observed or as chosen by hand.

    Attributes
    ----------
    weights : shape (..., S, A, A)
        Symmetric: how many pairs (or how much probability) compared a with b; the diagonal is ignored.
    targets : shape (..., S, A, A)
        Skew-symmetric: mean observed relative reward of a over b.
    """

    weights: FloatArray
    targets: FloatArray

    def potentials(self) -> FloatArray:
        """Return the min-norm solution (weighted graph Laplacian; HodgeRank of Jiang et al. 2011), (..., S, A)."""
        from rebel_theory.kernels.pair_graphs import solve_pair_graph

        a = self.weights.shape[-1]
        z = np.zeros(self.weights.shape[:-1])
        solve_pair_graph(
            np.ascontiguousarray(self.weights).reshape(-1, a, a),
            np.ascontiguousarray(self.targets).reshape(-1, a, a),
            z.reshape(-1, a),
        )
        return z

    def tilted(self, log_probs: FloatArray, step_size: FloatArray) -> FloatArray:
        """Return log-softmax(log_probs + step_size * potentials), shape (..., S, A)."""
        return log_softmax(log_probs + np.asarray(step_size)[..., None, None] * self.potentials())

    def magnitude(self, features: FloatArray) -> FloatArray:
        """Return the root of the sum over edges of w (|phi_a|^2 + |phi_b|^2), shape (...)."""
        degree = self.weights.sum(axis=-1) - np.diagonal(self.weights, axis1=-2, axis2=-1)  # (..., S, A)
        total: FloatArray = np.sqrt((degree * (features**2).sum(axis=-1)).sum(axis=(-2, -1)))
        return total

    def rows(self, features: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return one row an edge a < b (edges of weight 0 are rows of zeros), shape (..., S A (A-1)/2, p)."""
        first, second = np.triu_indices(self.weights.shape[-1], 1)
        root = np.sqrt(self.weights[..., first, second])  # (..., S, E)
        design = root[..., None] * (features[..., first, :] - features[..., second, :])
        return _stacked([design], [root * self.targets[..., first, second]])


@dataclass(frozen=True, eq=False)
class PairCounts:
    """Sampled pairs as directed cells: how often (x, y, y') occurred, and the summed relative reward of y over y'.

    A pair (y', y) with the opposite sign is the same observation; y against itself compares nothing.

    Attributes
    ----------
    counts, sums : shape (..., S, A, A)
    """

    counts: FloatArray
    sums: FloatArray

    @cached_property
    def graph(self) -> PairGraph:
        """The undirected graph: shares of all pairs, and mean relative rewards."""
        from rebel_theory.kernels.pair_graphs import fold_pairs

        weights, targets = np.empty(self.counts.shape), np.empty(self.counts.shape)
        shape = (-1, *self.counts.shape[-3:])
        folded = (array.reshape(shape) for array in (self.counts, self.sums, weights, targets))
        fold_pairs(*folded)
        return PairGraph(weights, targets)

    @property
    def weights(self) -> FloatArray:
        """Symmetric shares of all pairs, shape (..., S, A, A)."""
        return self.graph.weights

    @property
    def targets(self) -> FloatArray:
        """Skew-symmetric mean relative rewards, shape (..., S, A, A)."""
        return self.graph.targets

    def potentials(self) -> FloatArray:
        """Return the min-norm solution (..., S, A), straight from the counts."""
        from rebel_theory.kernels.pair_graphs import solve_pair_counts

        a = self.counts.shape[-1]
        z = np.empty(self.counts.shape[:-1])
        blocks = _blocks(self.counts.size)
        with threads_for(self.counts.size, _PARALLEL_FROM):
            solve_pair_counts(self.counts.reshape(-1, a, a), self.sums.reshape(-1, a, a), blocks, z.reshape(-1, a))
        return z

    def tilted(self, log_probs: FloatArray, step_size: FloatArray) -> FloatArray:
        """Return log-softmax(log_probs + step_size * potentials), shape (..., S, A), in kernels."""
        from rebel_theory.kernels.pair_graphs import tilt_rows

        z = self.potentials()
        eta = np.asarray(step_size, dtype=np.float64)[..., None]
        shape = np.broadcast_shapes(log_probs.shape, z.shape, (*eta.shape, 1))
        # copies: a read-only view would make Numba compile once more
        log_pi = np.array(np.broadcast_to(log_probs, shape), order="C").reshape(-1, shape[-1])
        z = np.ascontiguousarray(np.broadcast_to(z, shape)).reshape(-1, shape[-1])
        result = np.empty(shape)
        work, etas = result.size * shape[-1], np.array(np.broadcast_to(eta, shape[:-1])).ravel()
        with threads_for(work, _PARALLEL_FROM):
            tilt_rows(log_pi, z, etas, _blocks(work), result.reshape(-1, shape[-1]))
        return result

    def magnitude(self, features: FloatArray) -> FloatArray:
        """Return the graph's magnitude, shape (...)."""
        return self.graph.magnitude(features)

    def rows(self, features: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the graph's rows."""
        return self.graph.rows(features)


def _blocks(size: int) -> int:
    """Return into how many blocks threads share out ``size`` entries: one below about a millisecond's work."""
    return 64 if size >= _PARALLEL_FROM else 1


def _means(probs: FloatArray, features: FloatArray, signal: FloatArray) -> tuple[FloatArray, FloatArray]:
    phi: FloatArray = np.matmul(probs[..., None, :], features)[..., 0, :]  # (..., S, p)
    return phi, expectation(probs, signal)


def _stacked(design: list[FloatArray], target: list[FloatArray]) -> tuple[FloatArray, FloatArray]:
    """Join pieces (..., S, k, p) and (..., S, k) into (..., S K, p) and (..., S K)."""
    lead = np.broadcast_shapes(*(d.shape[:-2] for d in design), *(t.shape[:-1] for t in target))
    x = np.concatenate([np.broadcast_to(d, (*lead, *d.shape[-2:])) for d in design], axis=-2)
    y = np.concatenate([np.broadcast_to(t, (*lead, t.shape[-1])) for t in target], axis=-1)
    return x.reshape(*lead[:-1], -1, x.shape[-1]), y.reshape(*lead[:-1], -1)
