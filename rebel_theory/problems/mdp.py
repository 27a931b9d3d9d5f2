"""Discounted and episodic tabular MDPs, dense or sparse."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.arrays import BoolArray, FloatArray
from rebel_theory.problems.bandit import check_sizes
from rebel_theory.problems.base import Checks, Problem, checking, initial_distribution, normalised

Transition: TypeAlias = Any  # FloatArray (..., S, A, S), or a SciPy csr_array (S * A, S)


@dataclass(frozen=True, eq=False, init=False)
class TabularMDP(Problem):
    """A finite Markov decision process with expected rewards.

    Parameters
    ----------
    transition : shape (..., S, A, S), or a SciPy sparse matrix (S * A, S)
        ``transition[s, a, t]`` = P(t | s, a); row ``s * A + a`` in the sparse form.
    reward : shape (..., S, A)
        Expected immediate reward.
    discount : float in [0, 1]
        gamma. With ``discount=1`` every policy must reach an absorbing state (probability 1 of staying and
        reward 0 under every action), which is checked; values are then expected total rewards.
    initial_dist : shape (S,) or (..., S), optional
        Distribution rho of the first state, uniform by default.

    Raises
    ------
    InvalidProblemError
        All violated conditions at once, each with its place and its remedy.
    """

    transition: Transition
    reward: FloatArray  # (..., S, A)
    discount: float
    initial_dist: FloatArray  # (..., S)
    _own_axes: ClassVar[dict[str, int]] = {"transition": 3, "reward": 2, "initial_dist": 1}

    def __init__(
        self,
        transition: Any,
        reward: ArrayLike,
        *,
        discount: float,
        initial_dist: ArrayLike | None = None,
    ) -> None:
        with checking("TabularMDP") as checks:
            r = checks.array("reward", reward, "expected rewards of shape (S, A)")
            if not checks.require(r.ndim >= 2, f"reward has shape {r.shape}, expected (S, A)"):
                checks.finish()
            n_states, n_actions = r.shape[-2:]
            check_sizes(checks, "reward", n_states, n_actions, "state")
            checks.finite("reward", r, ("s", "a"))
            gamma = check_discount(checks, discount)
            matrix = (
                _check_sparse(checks, transition, n_states, n_actions)
                if _is_sparse(transition)
                else check_dense_transition(checks, transition, n_states, n_actions)
            )
            rho = initial_distribution(checks, initial_dist, n_states)
            if not checks.failed and gamma == 1.0:
                _check_termination(checks, matrix, r)
        object.__setattr__(self, "transition", _normalise_transition(matrix))
        object.__setattr__(self, "reward", r)
        object.__setattr__(self, "discount", gamma)
        object.__setattr__(self, "initial_dist", normalised(rho))

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape (S,)."""
        return (int(self.reward.shape[-2]),)

    @property
    def n_states(self) -> int:
        """Number of states S."""
        return int(self.reward.shape[-2])

    @property
    def n_actions(self) -> int:
        """Number of actions A."""
        return int(self.reward.shape[-1])

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Leading axes: a batch of instances (dense transitions only)."""
        lead = () if self.is_sparse else self.transition.shape[:-3]
        return np.broadcast_shapes(lead, self.reward.shape[:-2], self.initial_dist.shape[:-1])

    @property
    def is_sparse(self) -> bool:
        """True when the transition is a SciPy sparse matrix of shape (S * A, S)."""
        return _is_sparse(self.transition)

    @cached_property
    def absorbing(self) -> BoolArray:
        """Mask (..., S) of states that every action keeps, with reward 0."""
        stays = _self_loops(self.transition, self.n_states, self.n_actions) == 1.0  # (..., S, A)
        mask: BoolArray = (stays & (self.reward == 0)).all(axis=-1)
        return mask

    @cached_property
    def reachable(self) -> BoolArray:
        """Mask (..., S) of states that a policy with full support visits with positive probability."""
        return self.visited(np.ones((self.n_states, self.n_actions), dtype=np.bool_))

    def visited(self, support: BoolArray) -> BoolArray:
        """Return the mask (..., S) of states that a policy taking the actions ``support`` (..., S, A) visits.

        By graph search: a computed occupancy underflows at far states, and is 1e-17 by rounding at unreachable ones.
        """
        lead = np.broadcast_shapes(support.shape[:-2], self.batch_shape)
        seen: BoolArray = np.broadcast_to(self.initial_dist > 0, (*lead, self.n_states)).copy()
        if self.discount == 0.0:
            return seen  # later states have weight 0
        if self.is_sparse:
            from rebel_theory.kernels.optimal import search_csr

            p = self.transition
            taken = np.broadcast_to(support, (*lead, *support.shape[-2:]))
            for place in np.ndindex(*lead):
                search_csr(p.data, p.indices, p.indptr, np.ascontiguousarray(taken[place]), seen[place])
        else:
            edges = _support_of_any_action(self.transition, support)  # (..., S, S)
            grown = -1
            while seen.sum() != grown:
                grown = int(seen.sum())
                seen |= np.matmul(seen[..., None, :].astype(np.float64), edges)[..., 0, :] > 0
        if self.discount == 1.0:
            seen &= ~self.absorbing  # after the end there is nothing to learn, and nothing is weighted
        return seen


def check_discount(checks: Checks, discount: float) -> float:
    """Return the discount as a float; record values outside [0, 1]."""
    try:
        gamma = float(discount)
    except (TypeError, ValueError):
        gamma = float("nan")
    checks.require(
        0 <= gamma <= 1, f"discount is {discount}, expected a number in [0, 1), or 1 if every policy terminates"
    )
    return gamma


def check_dense_transition(checks: Checks, value: Any, n_states: int, n_actions: int) -> FloatArray:
    """Return the dense transition (..., S, A, S), recording every row that is not a distribution."""
    p = checks.array("transition", value, "probabilities of shape (S, A, S), or a SciPy CSR matrix (S * A, S)")
    expected = (n_states, n_actions, n_states)
    if checks.require(
        p.shape[-3:] == expected,
        f"transition has shape {p.shape}, expected {expected} to match the reward's (S, A) = {expected[:2]}",
    ):
        checks.distribution("transition", p, ("s", "a", "t"))
    return p


def _is_sparse(value: Any) -> bool:
    sparse = sys.modules.get("scipy.sparse")  # a sparse matrix cannot exist before its module is imported
    return sparse is not None and bool(sparse.issparse(value))


def _check_sparse(checks: Checks, value: Any, n_states: int, n_actions: int) -> Any:
    from scipy.sparse import csr_array

    p = csr_array(value, dtype=np.float64, copy=True)
    p.sum_duplicates()
    expected = (n_states * n_actions, n_states)
    if not checks.require(
        p.shape == expected,
        f"transition has shape {p.shape}, expected (S * A, S) = {expected}: row s * A + a holds P(. | s, a)",
    ):
        return p
    rows = np.repeat(np.arange(expected[0]), np.diff(p.indptr))
    for bad, message in (
        (~np.isfinite(p.data), "is {value}, expected a finite number: replace it"),
        (p.data < 0, "is {value}, expected a probability in [0, 1]: remove the sign"),
    ):
        for k in np.flatnonzero(bad)[:5]:
            s, a = divmod(int(rows[k]), n_actions)
            checks.add(f"transition[s={s}, a={a}, t={p.indices[k]}] {message.format(value=p.data[k])}")
    sums = np.asarray(p.sum(axis=1)).reshape(n_states, n_actions)
    checks.entries(
        ~(np.abs(sums - 1) <= 1e-8), "transition", ("s", "a"), sums,
        "sums to {value}, expected 1 (within 1e-8): normalise the rows",
    )  # fmt: skip
    return p


def _normalise_transition(matrix: Any) -> Any:
    if not _is_sparse(matrix):
        return normalised(matrix)
    sums = np.asarray(matrix.sum(axis=1)).ravel()
    matrix.data /= np.repeat(sums, np.diff(matrix.indptr))
    for part in (matrix.data, matrix.indices, matrix.indptr):
        part.setflags(write=False)
    return matrix


def _self_loops(transition: Any, n_states: int, n_actions: int) -> FloatArray:
    if _is_sparse(transition):
        coo = transition.tocoo()
        loops = np.zeros(n_states * n_actions)
        own = coo.col == coo.row // n_actions
        loops[coo.row[own]] = coo.data[own]
        return loops.reshape(n_states, n_actions)
    result: FloatArray = np.einsum("...sas->...sa", transition)
    return result


def _support_of_any_action(transition: FloatArray, support: BoolArray) -> FloatArray:
    """Return an array (..., S, S), positive where an action in ``support`` (..., S, A) may lead from s to t."""
    if support.all():
        return np.asarray(transition.max(axis=-2))
    return np.asarray(np.where(support[..., None], transition, 0.0).max(axis=-2))


def _check_termination(checks: Checks, transition: Any, reward: FloatArray) -> None:
    """Record states from which some policy never reaches an absorbing state.

    A set of non-absorbing states in which each state has an action that never leaves the set is where such a
    policy lives. The largest one is found by removing, until nothing changes, states whose every action leaks.
    """
    n_states, n_actions = reward.shape[-2:]
    absorbing = ((_self_loops(transition, n_states, n_actions) == 1.0) & (reward == 0)).all(axis=-1)
    lead = absorbing.shape[:-1]
    trapped = ~absorbing
    while True:
        outside = (~trapped).astype(np.float64)  # (..., S)
        if _is_sparse(transition):
            leak = (transition @ outside).reshape(n_states, n_actions)
        else:
            leak = np.matmul(transition, outside[..., None, :, None])[..., 0]  # (..., S, A)
        keeps = trapped & (leak <= 0).any(axis=-1)
        if (keeps == trapped).all():
            break
        trapped = keeps
    for place in np.argwhere(trapped)[:5]:
        action = int(np.argmin(leak[tuple(place)]))
        where = f"state s={int(place[-1])}" + (f" of instance {tuple(place[:-1].tolist())}" if lead else "")
        checks.add(
            f"discount is 1 but a policy that takes action a={action} in {where} need never terminate: "
            "use a discount below 1, or make every policy reach an absorbing state (P(s|s,a) = 1 and reward 0)"
        )
    if trapped.sum() > 5:
        checks.add(f"discount is 1: {int(trapped.sum()) - 5} more states like these")
