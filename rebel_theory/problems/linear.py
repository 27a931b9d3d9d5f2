"""Linear MDPs: transitions and rewards that are linear in known features (Jin et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.arrays import FloatArray
from rebel_theory.problems.bandit import check_sizes
from rebel_theory.problems.base import Checks, Problem, checking, initial_distribution, normalised
from rebel_theory.problems.mdp import check_discount

_CHUNK = 10_000_000  # entries of P(t | s, a) looked at together while checking their sign
_LARGE = 1_000_000  # entries of phi from which a compiled pass pays for its loading


@dataclass(frozen=True, eq=False, init=False)
class LinearMDP(Problem):
    r"""An MDP with P(t|s,a) = phi(s,a) . m(t) and r(s,a) = phi(s,a) . theta.

    Everything is computed by d x d solves; the S x S transition is never formed.

    Parameters
    ----------
    features : shape (..., S, A, d)
        phi(s, a). An array of floats keeps its width, single or double; a ``np.memmap`` is read where it lies, never
        copied (do not write to it while the problem is in use). Anything else is copied in double precision.
    measures : shape (..., d, S)
        m; row i holds the i-th (signed) measure over next states. Widths and memory maps as for the features.
    reward_weights : shape (..., d)
        theta.
    discount : float in [0, 1)
    initial_dist : shape (S,) or (..., S), optional
        Uniform by default.
    """

    features: FloatArray  # (..., S, A, d)
    measures: FloatArray  # (..., d, S)
    reward_weights: FloatArray  # (..., d)
    discount: float
    initial_dist: FloatArray  # (..., S)
    _own_axes: ClassVar[dict[str, int]] = {"features": 3, "measures": 2, "reward_weights": 1, "initial_dist": 1}

    def __init__(
        self,
        features: ArrayLike,
        measures: ArrayLike,
        reward_weights: ArrayLike,
        *,
        discount: float,
        initial_dist: ArrayLike | None = None,
    ) -> None:
        with checking("LinearMDP") as checks:
            phi = _floats(checks, "features", features, "features of shape (S, A, d)")
            m = _floats(checks, "measures", measures, "measures of shape (d, S)")
            theta = checks.array("reward_weights", reward_weights, "weights of shape (d,)")
            if not checks.require(phi.ndim >= 3, f"features has shape {phi.shape}, expected (S, A, d)"):
                checks.finish()
            n_states, n_actions, dim = phi.shape[-3:]
            check_sizes(checks, "features", n_states, n_actions, "state")
            checks.require(dim >= 1, "features has dimension 0: at least one feature is needed")
            shapes = checks.require(
                m.shape[-2:] == (dim, n_states),
                f"measures has shape {m.shape}, expected (d, S) = {(dim, n_states)}",
            )
            checks.require(
                theta.shape[-1:] == (dim,),
                f"reward_weights has shape {theta.shape}, expected (d,) = {(dim,)}",
            )
            checks.finite("measures", m, ("i", "t"))
            good = shapes and not checks.failed and _scan(phi, m)
            if not good:
                checks.finite("features", phi, ("s", "a", "i"))
            checks.finite("reward_weights", theta, ("i",))
            gamma = check_discount(checks, discount)
            checks.require(
                gamma != 1.0,
                "discount is 1: a LinearMDP is evaluated by a discounted solve, use a discount below 1",
            )
            if shapes and not checks.failed and not good:
                _check_probabilities(checks, phi, m)
            rho = initial_distribution(checks, initial_dist, n_states)
        object.__setattr__(self, "features", phi)
        object.__setattr__(self, "measures", m)
        object.__setattr__(self, "reward_weights", theta)
        object.__setattr__(self, "discount", gamma)
        object.__setattr__(self, "initial_dist", normalised(rho))

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape (S,)."""
        return (self.n_states,)

    @property
    def n_states(self) -> int:
        """Number of states S."""
        return int(self.features.shape[-3])

    @property
    def n_actions(self) -> int:
        """Number of actions A."""
        return int(self.features.shape[-2])

    @property
    def n_features(self) -> int:
        """Dimension d of the features."""
        return int(self.features.shape[-1])

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Leading axes: a batch of instances."""
        return np.broadcast_shapes(
            self.features.shape[:-3],
            self.measures.shape[:-2],
            self.reward_weights.shape[:-1],
            self.initial_dist.shape[:-1],
        )


def _floats(checks: Checks, name: str, value: Any, hint: str) -> FloatArray:
    """Return an array of floats in its own width, read-only: a memory map as it is, anything else a copy."""
    if not (isinstance(value, np.ndarray) and value.dtype in (np.float32, np.float64)):
        return checks.array(name, value, hint)
    mapped = isinstance(value, np.memmap) and value.flags.c_contiguous
    array = value.view(np.ndarray) if mapped else np.array(value, order="C", copy=True)
    array.setflags(write=False)
    return array


def row_tolerance(phi: FloatArray) -> float:
    """Return by how much a row of P may miss 1: 1e-8, or the rounding of d terms in single precision."""
    return 1e-8 if phi.dtype == np.float64 else max(1e-8, 4 * phi.shape[-1] * float(np.finfo(np.float32).eps))


def _scan(phi: FloatArray, m: FloatArray) -> bool:
    """Return whether one pass over large features finds them in order; False also where it cannot tell."""
    if phi.ndim != 3 or m.ndim != 2 or phi.size < _LARGE or m.min() < 0:
        return False
    from rebel_theory.kernels.features import scan_features

    totals = m.sum(axis=-1, dtype=np.float64)
    smallest, worst = scan_features(phi.reshape(-1, phi.shape[-1]), totals, np.empty(phi.shape[-1]))
    return bool(smallest >= 0 and worst <= row_tolerance(phi))  # NaN compares False


def _check_probabilities(checks: Checks, phi: FloatArray, m: FloatArray) -> None:
    sums = np.matmul(phi, m.sum(axis=-1, dtype=np.float64)[..., None, :, None])[..., 0]  # (..., S, A)
    checks.entries(
        np.abs(sums - 1) > row_tolerance(phi), "transition", ("s", "a"), sums,
        "= features . measures sums to {value}, expected 1 (within 1e-8): rescale the features or the measures",
    )  # fmt: skip
    if (phi >= 0).all() and (m >= 0).all():
        return  # products of non-negative numbers
    n_states = m.shape[-1]
    rows = phi.reshape(*phi.shape[:-3], -1, phi.shape[-1])  # (..., S A, d)
    step = max(1, _CHUNK // max(1, int(np.prod(rows.shape[:-2])) * rows.shape[-2]))
    for start in range(0, n_states, step):
        block = np.matmul(rows, m[..., start : start + step])  # (..., S A, <=step)
        if (block < -1e-12).any():
            bad = block.reshape(*phi.shape[:-1], -1)
            place = np.argwhere(bad < -1e-12)[0]
            s, a, t = (int(i) for i in place[-3:])
            checks.add(
                f"transition[s={s}, a={a}, t={start + t}] = features . measures is {bad[tuple(place)]:.6g}, expected a "
                "probability >= 0: use features and measures whose products are non-negative (simplex features do)"
            )
            return
