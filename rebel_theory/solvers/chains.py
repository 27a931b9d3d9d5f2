"""Discounted policy evaluation by whatever is cheapest for the chain at hand, certified afterwards from the MDP itself.

Sweeps win where the chain mixes fast, a band factorisation where states are numbered along a line, Gauss-Seidel where
motion has a direction, bi-conjugate gradients where it diffuses, LAPACK on small dense chains. All of them only
propose values w; the error is then bounded from one pass over the original P (:func:`_certify`), so a proposal need
not be trusted. The choice counts passes and operations, never seconds: a run is the same run everywhere.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from rebel_theory.arrays import FloatArray
from rebel_theory.problems import TabularMDP

TOLERANCE = 1e-13  # of values, relative to the largest: near rounding
_UNIT = np.finfo(np.float64).eps / 2
_FILL = 0.1  # a dense transition with a smaller share of entries is evaluated in its sparse form
_FEW = 12  # sweeps before their rate is judged
_PATIENCE = 40  # predicted sweeps up to which nothing else is tried
_LU_SWEEPS = 0.13  # cost of a dense LU, in sweeps a state: (2/3) S^3 at 20 GFlop/s against 2 S^2 at 8
_NARROW = 16  # a band this narrow is factorised at once
_PASS_COST = 1.5  # operations of a band factorisation that take as long as one entry of a pass over the chain
_BAND_ENTRIES = 64_000_000  # memory of a band factorisation, at most
_ROUNDS = 60
_SCRATCH = threading.local()


@dataclass(frozen=True, slots=True, eq=False)
class Warm:
    """Values and visits (S,) of a policy near the one to evaluate."""

    values: FloatArray
    visits: FloatArray | None


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Values (S,), Q-values (S, A), discounted visits (S,), the certified sup-norm error, and the method that won."""

    values: FloatArray
    q_values: FloatArray
    visits: FloatArray
    error_bound: float
    method: str


@dataclass(frozen=True, slots=True, eq=False)
class Transitions:
    """A transition as the kernels read it: CSR arrays, or dense (S, A, S), and how far its rows are from 1."""

    dense: FloatArray | None
    data: FloatArray
    indices: Any
    indptr: Any
    deviation: float
    longest: int


_TRANSITIONS: WeakKeyDictionary[TabularMDP, Transitions] = WeakKeyDictionary()  # problems are immutable


def transitions(problem: TabularMDP) -> Transitions:
    """Return the transition of one instance in kernel form, once a problem."""
    if problem not in _TRANSITIONS:
        _TRANSITIONS[problem] = _prepare(problem)
    return _TRANSITIONS[problem]


def _prepare(problem: TabularMDP) -> Transitions:
    from rebel_theory.kernels.chains import row_deviation

    s, a = problem.n_states, problem.n_actions
    p = problem.transition
    if not problem.is_sparse:
        flat = p.reshape(s * a, s)
        if np.count_nonzero(flat) > _FILL * flat.size:
            off, _ = row_deviation(flat.reshape(-1), np.arange(s * a + 1, dtype=np.uint64) * np.uint64(s))
            return Transitions(p, np.empty(0), np.empty(0, np.uint32), np.empty(0, np.uint64), float(off), s)
        from scipy.sparse import csr_array

        p = csr_array(flat)
    # views where the widths agree: no copy of int32 indices
    indices = p.indices.view(np.uint32) if p.indices.dtype == np.int32 else p.indices.astype(np.uint32)
    indptr = p.indptr.astype(np.uint64)
    off, longest = row_deviation(p.data, indptr)
    return Transitions(None, p.data, indices, indptr, float(off), int(longest))


def evaluate_chain(
    problem: TabularMDP, probs: FloatArray, reward: FloatArray, start: FloatArray, warm: Warm | None, tolerance: float
) -> Found:
    """Return the evaluation of one policy (S, A), gamma < 1, on one instance: rewards (S, A), first states (S,)."""
    p = transitions(problem)
    gamma = problem.discount
    probs, reward = np.ascontiguousarray(probs), np.ascontiguousarray(reward)
    mean = np.einsum("sa,sa->s", probs, reward)
    w = np.zeros(problem.n_states) if warm is None else np.ascontiguousarray(warm.values - _middle(warm.values))
    old = None if warm is None else warm.visits
    # visits carry weight 1/(1-gamma) in all
    d = np.zeros_like(w) if old is None else old.astype(np.float64, copy=True)
    if p.dense is not None:
        method = _solve_dense(p.dense, probs, mean, np.ascontiguousarray(start), gamma, w, d, tolerance)
    else:
        method = _Chain(p, probs, mean, gamma, tolerance).solve(w, d, np.ascontiguousarray(start))
    return _certify(p, probs, reward, gamma, w, d, method)


def _certify(
    p: Transitions, probs: FloatArray, reward: FloatArray, gamma: float, w: FloatArray, d: FloatArray, method: str
) -> Found:
    r"""Return values w + m / (1 - gamma) and their error from g = r_pi + gamma P_pi w - w, whatever w is.

    V - w = (I - gamma P_pi)^{-1} g, and that inverse is non-negative with row sums 1/(1-gamma): with g in [m - h, m
    + h] the error is h / (1-gamma). Added to it: the rounding of g, sums of n products carrying n u of the terms'
    absolute sum (Higham 2002, section 3.1), here at most ``|r| + 2 |w|`` with w centred; the change m gamma delta /
    (1-gamma)^2 of the row sums if rows of P_pi miss 1 by delta; the rounding of the result.
    """
    from rebel_theory.kernels.chains import q_csr, q_dense

    w -= _middle(w)
    q, g = np.empty(probs.shape), np.empty(w.shape)
    if p.dense is not None:
        low, high, off = q_dense(p.dense, probs, reward, gamma, w, q, g)
    else:
        low, high, off = q_csr(p.data, p.indices, p.indptr, probs, reward, gamma, w, q, g)
    n_actions = probs.shape[1]
    middle, half = 0.5 * (low + high), 0.5 * (high - low)
    hidden = 1.01 * (p.longest + n_actions + 8) * _UNIT * (float(np.abs(reward).max()) + 2 * float(np.abs(w).max()))
    delta = (1 + p.deviation) * (1 + off + n_actions * _UNIT) - 1
    left = 1 - gamma * (1 + delta)
    shift = middle / (1 - gamma)
    values = w + shift
    error = (half + hidden) / left + abs(middle) * gamma * delta / ((1 - gamma) * left) if left > 0 else math.inf
    error += 4 * _UNIT * (abs(shift) + float(np.abs(w).max()))
    q += gamma * shift
    return Found(values, q, np.maximum(d, 0.0), error, method)


def _middle(values: FloatArray) -> float:
    return 0.5 * (float(values.min()) + float(values.max()))


def _limit(low: float, high: float, w: FloatArray, reward: float, gamma: float, tolerance: float) -> float:
    """Return the span of g at which w is good to ``tolerance`` of the largest value, or to rounding."""
    size = float(np.abs(w).max())
    scale = 0.5 * abs(low + high) / (1 - gamma) + size
    return max(2 * tolerance * (1 - gamma) * scale, 16 * _UNIT * (reward + 2 * size))


def _solve_dense(
    transition: FloatArray, probs: FloatArray, mean: FloatArray, start: FloatArray, gamma: float, w: FloatArray,
    d: FloatArray, tolerance: float,
) -> str:  # fmt: skip
    """Improve w and d in place by sweeps if the chain mixes fast, by LAPACK otherwise; return which."""
    from rebel_theory.kernels.chains import forward_dense, mix_dense, sweep_dense

    s = w.size
    p_pi = _scratch(s)
    mix_dense(probs, transition, p_pi)
    g = np.empty(s)
    largest, budget = float(np.abs(mean).max()), int(_LU_SWEEPS * s)
    _, low, high = sweep_dense(p_pi, mean, gamma, w, g, 0.0, 1)
    first = high - low
    limit = _limit(low, high, w, largest, gamma, tolerance)
    n, low, high = sweep_dense(p_pi, mean, gamma, w, g, limit, 4)
    needed = _predicted(first, high - low, n, limit)
    if 2 * needed <= budget:
        _, low, high = sweep_dense(p_pi, mean, gamma, w, g, limit, 2 * int(needed) + 4)
        if high - low <= limit:
            # the move of a step bounds what is left of a zero-sum change, up to gamma / (1 - gamma)
            small = max(4 * _UNIT, 0.1 * tolerance) / (1 - gamma)
            if forward_dense(p_pi, start, gamma, d, np.empty(s), small, budget) <= small:
                return "sweeps"
    from scipy.linalg import lu_factor, lu_solve

    matrix = np.eye(s) - gamma * p_pi
    factors = lu_factor(matrix.T, overwrite_a=True, check_finite=False)  # in place: the transpose is LAPACK's order
    w[:] = lu_solve(factors, mean, trans=1, check_finite=False)
    d[:] = lu_solve(factors, start, check_finite=False)
    return "lu"


def _scratch(n: int) -> FloatArray:
    """Return this thread's (n, n) work array: fresh memory would cost as much as filling it."""
    held = getattr(_SCRATCH, "square", None)
    if held is None or held.shape[0] != n:
        held = _SCRATCH.square = np.empty((n, n))
    square: FloatArray = held
    return square


def _predicted(first: float, last: float, n_sweeps: int, limit: float) -> float:
    """Return how many sweeps are still needed, from the span's geometric decay over the last ``n_sweeps``."""
    if last <= limit:
        return 0.0
    if n_sweeps == 0 or not 0 < last < first:
        return math.inf
    return math.log(last / limit) / (math.log(first / last) / n_sweeps)


class _Chain:
    """A sparse P_pi at work: w, d and the residual g change in place."""

    def __init__(self, p: Transitions, probs: FloatArray, mean: FloatArray, gamma: float, tolerance: float) -> None:
        from rebel_theory.kernels.chains import mix_csr

        n = mean.size
        data, indices = np.empty(p.data.size), np.empty(p.data.size, np.uint32)
        indptr = np.zeros(n + 1, np.uint64)
        size = mix_csr(probs, p.data, p.indices, p.indptr, np.empty(n, np.int64), data, indices, indptr)
        self.csr = (data[:size], indices[:size], indptr)
        self.mean, self.gamma, self.tolerance = mean, gamma, tolerance
        self.largest = float(np.abs(mean).max())
        self.g = np.empty(n)

    def solve(self, w: FloatArray, d: FloatArray, start: FloatArray) -> str:
        from rebel_theory.kernels.chains import bandwidth, forward_csr

        lower, upper = bandwidth(self.csr[1], self.csr[2])
        if lower + upper <= _NARROW:
            return self._band(w, d, start, lower, upper)
        span, limit = self._sweep(w, 0.0, _FEW // 2)
        first = span
        span, limit = self._sweep(w, limit, _FEW // 2)
        if _predicted(first, span, _FEW // 2, limit) <= _PATIENCE:
            span, limit = self._sweep(w, limit, 2 * _PATIENCE)
        if span <= limit:
            small = max(4 * _UNIT, 0.1 * self.tolerance) / (1 - self.gamma)
            if forward_csr(*self.csr, self.gamma, start, d, np.empty_like(d), small, 2 * _PATIENCE) > small:
                self._visits(d, start, krylov=False)
            return "sweeps"
        return self._accelerate(w, d, start, span, limit, lower, upper)

    def _sweep(self, w: FloatArray, limit: float, n: int) -> tuple[float, float]:
        from rebel_theory.kernels.chains import sweep_csr

        _, low, high = sweep_csr(*self.csr, self.mean, self.gamma, w, self.g, limit, n)
        return high - low, _limit(low, high, w, self.largest, self.gamma, self.tolerance)

    def _gauss_seidel(self, w: FloatArray, limit: float, n: int) -> float:
        from rebel_theory.kernels.chains import gauss_seidel_csr

        _, low, high = gauss_seidel_csr(*self.csr, self.mean, self.gamma, w, self.g, limit, n)
        return float(high - low)

    def _krylov(self, w: FloatArray, limit: float, n: int) -> float:
        from rebel_theory.kernels.chains import bicgstab_csr

        self._sweep(w, 0.0, 0)
        bicgstab_csr(*self.csr, self.gamma, False, w, self.g - _middle(self.g), 0.4 * limit, n)
        w -= _middle(w)
        return self._sweep(w, 0.0, 0)[0]

    def _accelerate(
        self, w: FloatArray, d: FloatArray, start: FloatArray, span: float, limit: float, lower: int, upper: int
    ) -> str:
        """Try Gauss-Seidel and Krylov steps, keep the faster, or factorise a band if that costs less than finishing."""
        tries: list[tuple[str, Callable[[FloatArray, float, int], float], int, int]] = [
            ("gauss-seidel", self._gauss_seidel, 2, 3),  # a pair is three passes
            ("krylov", self._krylov, 8, 2),
        ]
        progress = {}
        for name, step, n, passes in tries:
            before, saved = span, w.copy()
            found = step(w, limit, n)
            if found < before:
                span = found
            else:
                w[:] = saved
            progress[name] = math.log(before / max(found, 1e-300)) / (n * passes) if found < before else 0.0
        best = max(progress, key=lambda name: progress[name])
        left = math.log(max(span / limit, 1.0)) / max(progress[best], 1e-300)  # passes
        band = float(w.size) * lower * (upper + 1)
        if band < left * 2 * _PASS_COST * self.csr[0].size and w.size * (lower + upper + 1.0) <= _BAND_ENTRIES:
            return self._band(w, d, start, lower, upper)
        order = [best, *(name for name in progress if name != best)]
        steps = {name: step for name, step, _, _ in tries}
        lengths = {"gauss-seidel": 20, "krylov": 2_000}
        for turn in range(_ROUNDS):
            if span <= limit:
                break
            saved = w.copy()
            found = steps[order[0]](w, limit, lengths[order[0]])
            if not found < span:
                w[:] = saved
            if not found < 0.5 * span:
                order.reverse()
                if turn and not found < 0.9 * span:
                    _, limit = self._sweep(w, 4 * limit, _PATIENCE)
            span = min(found, span)
        self._visits(d, start, krylov=best == "krylov")
        return best

    def _visits(self, d: FloatArray, start: FloatArray, krylov: bool) -> None:
        """Bring the visits' residual, in L1, to the tolerance times the total; nothing negative is left."""
        from rebel_theory.kernels.chains import bicgstab_csr, push_csr, visit_residual_csr

        residual = np.empty_like(d)
        target = max(self.tolerance, 64 * _UNIT) * float(start.sum())
        for turn in range(_ROUNDS):
            left = visit_residual_csr(*self.csr, self.gamma, start, d, residual)
            if left <= target and turn:
                break
            if krylov and left > target:
                saved = d.copy()
                bicgstab_csr(*self.csr, self.gamma, True, d, residual, 0.1 * target / d.size, 2_000)
                np.maximum(d, 0.0, out=d)
                found = visit_residual_csr(*self.csr, self.gamma, start, d, residual)
                if not found < 0.5 * left:
                    krylov = False
                if not found < left:
                    d[:] = saved
                    visit_residual_csr(*self.csr, self.gamma, start, d, residual)
            push_csr(*self.csr, self.gamma, start, d, residual, target, 1 if krylov else 50)
            np.maximum(d, 0.0, out=d)

    def _band(self, w: FloatArray, d: FloatArray, start: FloatArray, lower: int, upper: int) -> str:
        from rebel_theory.kernels.chains import factor_band, solve_band, solve_band_transposed

        lu = np.empty((w.size, lower + upper + 1))
        factor_band(*self.csr, self.gamma, lower, upper, lu)
        w[:] = self.mean
        solve_band(lu, lower, upper, w)
        w -= _middle(w)  # a step of refinement: rounding of large values becomes rounding of their spread
        _, _ = self._sweep(w, 0.0, 0)
        correction = self.g - _middle(self.g)
        solve_band(lu, lower, upper, correction)
        w += correction
        d[:] = start
        solve_band_transposed(lu, lower, upper, d)
        return "band"
