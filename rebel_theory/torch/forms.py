"""The pair loss as a quadratic form on tensors: all that a matrix-free solver needs of the regression data.

For z (B, S, A) and pairs (x, y, y') with relative rewards r, the loss E (z(y) - z(y') - eta r)^2 is
<z, W z> - 2 eta <z, m> + eta^2 c, W a weighted Laplacian in every row. Pairs of a population give W in O(S A).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rebel_theory.pairs import FactorisedPairs, PairCounts, PairGraph, Pairs


@dataclass(frozen=True, eq=False)
class FactorisedForm:
    """The population x ~ d, y ~ pi, y' ~ mu: W = d (diag(pi + mu) - pi mu^T - mu pi^T) in a row.

    Attributes
    ----------
    weights : shape (B, S); pi, mu, moment : shape (B, S, A); constant : shape (B,)
    """

    weights: Tensor
    pi: Tensor
    mu: Tensor
    moment: Tensor
    constant: Tensor

    @classmethod
    def of(cls, weights: Tensor, pi: Tensor, mu: Tensor, signal: Tensor) -> FactorisedForm:
        """Return the form of a signal (B, S, A)."""
        # W kills constants of a row; a centred signal keeps more digits
        centred = signal - (pi * signal).sum(-1, keepdim=True)
        blank = cls(weights, pi, mu, centred, weights.sum(-1))
        moment = blank.product(centred)
        return cls(weights, pi, mu, moment, (moment * centred).sum((-2, -1)))

    def product(self, z: Tensor) -> Tensor:
        """Return W z, shape (B, S, A)."""
        mean_pi, mean_mu = (self.pi * z).sum(-1, keepdim=True), (self.mu * z).sum(-1, keepdim=True)
        return self.weights[..., None] * (self.pi * (z - mean_mu) + self.mu * (z - mean_pi))


@dataclass(frozen=True, eq=False)
class GraphForm:
    """A sample: W is the Laplacian of a row's graph of compared actions.

    Attributes
    ----------
    edges : shape (B, S, A, A), symmetric; moment : shape (B, S, A); constant : shape (B,)
    """

    edges: Tensor
    moment: Tensor
    constant: Tensor

    @classmethod
    def of(cls, weights: Tensor, targets: Tensor) -> GraphForm:
        """Return the form of weights (symmetric) and mean relative rewards (skew), (B, S, A, A) each."""
        edges = weights - torch.diag_embed(weights.diagonal(dim1=-2, dim2=-1))
        pull = edges * targets
        return cls(edges, pull.sum(-1), (pull * targets).sum((-3, -2, -1)) / 2)

    def product(self, z: Tensor) -> Tensor:
        """Return W z, shape (B, S, A)."""
        return self.edges.sum(-1) * z - torch.matmul(self.edges, z[..., None])[..., 0]


PairForm = FactorisedForm | GraphForm


def form_of(pairs: Pairs, lead: tuple[int, ...], like: Tensor) -> PairForm:
    """Return the form of NumPy pairs, their batch axes broadcast to ``lead`` and flattened to one."""

    def tensor(array: np.ndarray, trailing: int) -> Tensor:
        whole = np.broadcast_to(array, (*lead, *array.shape[array.ndim - trailing :]))
        flat = np.array(whole.reshape(-1, *array.shape[array.ndim - trailing :]))  # a copy: torch wants to own it
        return torch.as_tensor(flat, dtype=like.dtype, device=like.device)

    if isinstance(pairs, FactorisedPairs):
        pi, mu = tensor(np.exp(pairs.log_pi), 2), tensor(np.exp(pairs.log_mu), 2)
        visited = np.where(pairs.visited, pairs.weights, 0.0)
        return FactorisedForm.of(tensor(visited, 1), pi, mu, tensor(pairs.signal, 2))
    graph = pairs.graph if isinstance(pairs, PairCounts) else pairs
    if not isinstance(graph, PairGraph):
        raise TypeError(f"{type(pairs).__name__} has no form on tensors: expected factorised pairs, a graph or counts")
    return GraphForm.of(tensor(graph.weights, 3), tensor(graph.targets, 3))


def pair_loss(form: PairForm, z: Tensor, eta: Tensor) -> Tensor:
    """Return E (z(y) - z(y') - eta r)^2, shape (B,), never below 0."""
    value = (z * form.product(z)).sum((-2, -1)) - 2 * eta * (z * form.moment).sum((-2, -1)) + eta**2 * form.constant
    return value.clamp_min(0)
