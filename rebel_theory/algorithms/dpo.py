"""Direct preference optimisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.algorithms._comparing import OfflineComparing, law_of
from rebel_theory.algorithms.base import State, check_options
from rebel_theory.arrays import BoolArray, FloatArray
from rebel_theory.oracles import BoundOracle, Oracle
from rebel_theory.policies import BaseLike, ParametricPolicy, Policy, TabularPolicy, as_base
from rebel_theory.problems import PreferenceGame, Problem
from rebel_theory.problems.base import InvalidProblemError
from rebel_theory.theory.paired_likelihood import log_likelihood, newton, win_probability

_SCALE = 1e4  # of the commonest comparison, for a Newton method that counts wins
_STEPS = 200
_HALVINGS = 50
_INFINITE = 30.0  # a strength beyond has a chance of 1e-13 to lose: the maximum runs away


@dataclass(frozen=True, eq=False)
class Dpo(OfflineComparing):
    r"""Fit log-ratios to preferences by maximum likelihood (Rafailov et al. 2023, arXiv:2305.18290, equation 7).

    .. math::
        \arg\max_\pi E\big[\ln \sigma\big(\beta (h(y_w) - h(y_l))\big)\big], \qquad h = \ln(\pi/\pi_{ref}),

    y_w the preferred one of two answers of mu. A tabular class attains ln pi_ref + s / beta with s the Bradley-Terry
    strengths of the comparisons (mean 0 where answers were compared; others stay): under an exact Bradley-Terry model
    of rewards r the RLHF optimum pi_ref exp(r / beta) / Z (E8). Every step solves it again from pi_ref, the first
    policy, so an exact run, or one on a data set, stays where its first step went. Reliable where the rarest
    comparison is at least 1e-8 times as frequent as the commonest. A policy over completions fits fresh pairs of the
    reference by its own solver, every step from where the last one ended.

    Parameters
    ----------
    step_size : float or array
        1 / beta.
    base : "first", "uniform", a policy, or an array (S, A)
        mu; a data set is its own. "first" is the first policy.
    ridge : float >= 0
        Takes ridge/2 |s|^2 off the mean log-likelihood (strengths centred in a row), which makes the maximum finite.
        With 0 it exists only where, among answers that are connected by comparisons, every group has lost to the rest
        (Ford 1957; in another class, where no direction separates winners from losers); else an error says so.
    """

    name: ClassVar[str] = "DPO"
    key: ClassVar[str] = "dpo"
    source: ClassVar[str] = "Rafailov et al. 2023 (arXiv:2305.18290), equation 7"
    update: ClassVar[str] = "argmax E ln sigma(beta (h(y_w) - h(y_l))), h = ln pi/pi_ref"
    conditions: ClassVar[str] = "preference game or a data set of preferences; Bradley-Terry for the guarantee"
    rate: ClassVar[str] = "one fit: the RLHF optimum under Bradley-Terry (E8); a gap of its own otherwise (P6)"

    step_size: ArrayLike
    base: BaseLike = "first"
    ridge: float = 1e-6

    def __post_init__(self) -> None:
        check_options(self, not_negative=["ridge"])
        if not (isinstance(self.base, str) and self.base == "first"):
            as_base(self.base)

    def refuses(self, problem: Problem, oracle: Oracle) -> str | None:
        """Return a reason for problems without written preferences."""
        reason = super().refuses(problem, oracle)
        if reason is None and not isinstance(problem, PreferenceGame):
            return f"fits every pair of answers: pass the dense() form of the {type(problem).__name__}"
        return reason

    def init(self, policy: Policy) -> State:
        """Return the first policy, which is also the reference."""
        return State(policy, policy)

    def step(self, state: State, oracle: BoundOracle) -> State:
        """Return the maximiser of the likelihood from the reference."""
        first: Policy = state.memory
        fit = getattr(state.policy, "fit_preferences", None)  # of a policy over answers too many for a table of wins
        if fit is not None:
            return State(fit(oracle.comparisons(first, self.base), self.eta, self.ridge), first)  # type: ignore[arg-type]
        wins = oracle.comparisons(first, law_of(self.base, first, oracle.problem)).wins()
        if isinstance(first, ParametricPolicy):
            return State(_fit(first, wins, 1 / self.eta, self.ridge), first)
        assert isinstance(first, TabularPolicy)
        return State(first.step(strengths(wins, self.ridge), self.eta), first)


def strengths(wins: FloatArray, ridge: float) -> FloatArray:
    """Return Bradley-Terry strengths (..., S, A) of shares of wins (..., S, A, A), mean 0 in each compared group.

    Raises
    ------
    InvalidProblemError
        With ridge 0, where the maximum is not finite, naming the first row and group.
    """
    n = wins.shape[-1]
    flat = (wins * (1 - np.eye(n))).reshape(-1, n, n)
    groups = [_groups(w) for w in flat]
    if ridge == 0:
        for i, (w, labels) in enumerate(zip(flat, groups, strict=True)):
            _require_finite(w, labels, i % wins.shape[-3])
    top = flat.max(axis=(-2, -1), keepdims=True)
    scale = np.where(top > 0, _SCALE / np.where(top > 0, top, 1.0), 1.0)
    found = np.zeros(flat.shape[:-1])
    for i, w in enumerate(flat):  # one by one where a penalty has a weight of its own in each row
        if top[i, 0, 0] > 0:
            found[i] = newton(w[None] * scale[i], found[i : i + 1], ridge * float(scale[i, 0, 0]))[0][0]
        for label in range(groups[i].max() + 1):
            inside = groups[i] == label
            found[i, inside] -= found[i, inside].mean()
    return found.reshape(wins.shape[:-1])


def _groups(wins: FloatArray) -> BoolArray:
    from scipy.sparse.csgraph import connected_components

    labels: BoolArray = connected_components(wins + wins.T > 0, directed=False)[1]
    return labels


def _require_finite(wins: FloatArray, groups: BoolArray, row: int) -> None:
    """Raise unless every connected group of answers is strongly connected by wins."""
    from scipy.sparse.csgraph import connected_components

    n_strong, strong = connected_components(wins > 0, directed=True, connection="strong")
    if n_strong == groups.max() + 1:
        return
    for label in range(n_strong):
        inside = strong == label
        if (wins[inside] > 0).any() and not (wins[~inside][:, inside] > 0).any() and not inside.all():
            names = ", ".join(map(str, np.flatnonzero(inside)[:5]))
            raise InvalidProblemError(
                "Dpo",
                [
                    f"in row {row} the answers {names} never lost to the others that they met, so the likelihood has "
                    "no finite maximum: set ridge > 0 (1e-6, say), or add comparisons"
                ],
            )


def _fit(first: ParametricPolicy, wins: FloatArray, beta: FloatArray, ridge: float) -> ParametricPolicy:
    """Return the maximiser in a parametric class by scoring with step halving: strengths are beta (ln pi/pi_ref)."""
    n, n_rows = wins.shape[-1], wins.shape[-3]
    off = wins * (1 - np.eye(n))
    games = off + np.swapaxes(off, -1, -2)
    lead = np.broadcast_shapes(first.theta.shape[:-1], wins.shape[:-3], beta.shape)
    policy = first.with_theta(np.broadcast_to(first.theta, (*lead, first.theta.shape[-1])))
    beta_cell = np.broadcast_to(beta, lead)[..., None, None]

    def of(at: ParametricPolicy) -> FloatArray:
        with np.errstate(invalid="ignore"):
            ratio = np.where(first.log_probs > -np.inf, at.log_probs - first.log_probs, 0.0)
        return np.asarray(beta_cell * (ratio - ratio.mean(axis=-1, keepdims=True)))

    def objective(s: FloatArray) -> FloatArray:
        return np.asarray(log_likelihood(off, s).sum(axis=-1) - ridge / 2 * (s**2).sum(axis=(-2, -1)))

    s = of(policy)
    value = objective(s)
    for _ in range(_STEPS):
        p = win_probability(s)
        slope = (off - games * p).sum(axis=-1) - ridge * s  # (..., S, A)
        curvature = games * p * np.swapaxes(p, -1, -2)
        jacobian = beta_cell[..., None] * policy.jacobian()
        centred = jacobian - jacobian.mean(axis=-2, keepdims=True)
        product = curvature.sum(axis=-1)[..., None] * jacobian - np.matmul(curvature, jacobian) + ridge * centred
        flat = np.broadcast_to(jacobian, product.shape).reshape(*lead, n_rows * n, -1)
        transposed = np.swapaxes(flat, -1, -2)
        gradient = np.matmul(transposed, np.broadcast_to(slope, (*lead, n_rows, n)).reshape(*lead, -1, 1))
        hessian = np.matmul(transposed, product.reshape(*lead, n_rows * n, -1))
        direction = np.matmul(np.linalg.pinv(hessian, rcond=1e-13, hermitian=True), gradient)[..., 0]
        size = np.ones(lead)
        for _ in range(_HALVINGS):
            trial = policy.with_theta(policy.theta + size[..., None] * direction)
            worse = ~(objective(of(trial)) >= value - 1e-15 * np.abs(value))
            if not worse.any():
                break
            size = np.where(worse, 0.5 * size, size)
        size = np.where(worse, 0.0, size)
        policy = policy.with_theta(policy.theta + size[..., None] * direction)
        s = of(policy)
        value = objective(s)
        if np.abs(size[..., None] * direction).max() <= 1e-13 * (1 + np.abs(policy.theta).max()):
            break
    if ridge == 0 and np.abs(s).max() > _INFINITE:
        raise InvalidProblemError(
            "Dpo", ["the likelihood has no finite maximum in this class: set ridge > 0 (1e-6, say)"]
        )
    return policy
