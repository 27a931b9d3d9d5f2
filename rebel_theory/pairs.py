"""The regression data of REBEL: rows, two actions, a relative reward, a weight; in two forms, one interface.

A regression needs one of two things: the min-norm potentials of the tabular class, or design rows for given
features. Both forms give both, so a step cannot tell which it has.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np

from rebel_theory.arrays import BoolArray, FloatArray, log_softmax, whole
from rebel_theory.threads import threads_for

_PARALLEL_FROM = 100_000


class Rows(NamedTuple):
    """A regression: design (..., n, p) and target (..., n) with rows scaled by root weights, as many from each state.

    ``scale`` (..., n) is the norm that a row would have without its difference, by which its rounding goes.
    """

    design: FloatArray
    target: FloatArray
    scale: FloatArray


class Pairs(Protocol):
    """What a policy needs to solve its own regression."""

    def potentials(self) -> FloatArray:
        """Return the min-norm z (..., S, A) with z(y) - z(y') closest to the relative rewards."""

    def tilted(self, log_probs: FloatArray, step_size: FloatArray) -> FloatArray:
        """Return the log-probabilities (..., S, A) of pi exp(eta z), normalised, z the potentials."""

    def rows(self, features: FloatArray) -> Rows:
        """Return the rows of the regression on features (..., S, A, p)."""


@dataclass(frozen=True, slots=True, eq=False)
class FactorisedPairs:
    r"""The population of pairs x ~ d, y ~ pi, y' ~ mu with relative reward q(x, y) - q(x, y'), never enumerated.

    For any z, :math:`E (z(y) - z(y'))^2 = Var_\pi z + Var_\mu z + (E_\pi z - E_\mu z)^2`, so 2 S A rows hold all S A A
    pairs.

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

    def rows(self, features: FloatArray) -> Rows:
        r"""Return 2 S A rows, S A on policy: each action against the mean, under mu and under pi, of likelier ones.

        With the actions of a state in the order of their probabilities, :math:`P_i = \pi_1 + ... + \pi_i` and
        :math:`M_i` the same of mu, adding one action after another gives

        .. math:: E (z(y) - z(y'))^2 = \sum_i M_{i-1} \Big(\pi_i + \frac{\mu_i}{M_i} \sum_{k>i} \pi_k\Big)
            \Big(z_i - \sum_{j<i} \frac{\mu_j}{M_{i-1}} z_j\Big)^2 + \text{the same with pi and mu exchanged}.

        No row holds actions that are rarer than its own. Centred under pi, the row of the likeliest would hold them
        all, and those below 1e-16 would be lost in it.
        """
        from rebel_theory.kernels.factorised import fill_pair_rows

        shape = np.broadcast_shapes(self.log_pi.shape, self.log_mu.shape, self.signal.shape, features.shape[:-1])
        (s, a), p, flat = shape[-2:], features.shape[-1], (-1, *shape[-2:])
        pi = np.exp(whole(self.log_pi, shape)).reshape(flat)
        twice = self.log_mu is not self.log_pi
        mu = np.exp(whole(self.log_mu, shape)).reshape(flat) if twice else pi
        phi = features[None] if features.ndim == 3 else np.broadcast_to(features, (*shape, p)).reshape(*flat, p)
        n = 2 * a if twice else a
        rows = np.zeros((len(pi), s, n, p + 2))
        fill_pair_rows(
            whole(self.weights, shape[:-1]).reshape(-1, s), pi, mu, np.array(phi),
            whole(self.signal, shape).reshape(flat), rows,
        )  # fmt: skip
        found = rows.reshape(*shape[:-2], s * n, p + 2)
        return Rows(found[..., :p], found[..., p], found[..., p + 1])


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

    def rows(self, features: FloatArray) -> Rows:
        """Return one row an edge a < b (edges of weight 0 are rows of zeros), S A (A-1)/2 of them."""
        first, second = np.triu_indices(self.weights.shape[-1], 1)
        root = np.sqrt(self.weights[..., first, second])  # (..., S, E)
        squares = (features**2).sum(axis=-1)
        scale = root * np.sqrt(squares[..., first] + squares[..., second])
        design = root[..., None] * (features[..., first, :] - features[..., second, :])
        target = root * self.targets[..., first, second]
        lead = (*np.broadcast_shapes(scale.shape[:-2], target.shape[:-2]), *target.shape[-2:])
        x = np.broadcast_to(design, (*lead, design.shape[-1]))
        flat = (np.broadcast_to(y, lead).reshape(*lead[:-2], -1) for y in (target, scale))
        return Rows(x.reshape(*lead[:-2], -1, x.shape[-1]), *flat)


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

    def rows(self, features: FloatArray) -> Rows:
        """Return the graph's rows."""
        return self.graph.rows(features)


def _blocks(size: int) -> int:
    """Return into how many blocks threads share out ``size`` entries: one below about a millisecond's work."""
    return 64 if size >= _PARALLEL_FROM else 1
