"""Values and visits of a sparse chain by whatever is cheapest for it.

Sweeps win where the chain mixes fast, a band factorisation where states are numbered along a line, Gauss-Seidel where
motion has a direction, bi-conjugate gradients where it diffuses. The choice counts passes and operations, never
seconds: a run is the same run everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from rebel_theory.arrays import FloatArray
from rebel_theory.solvers.transitions import Transitions

_UNIT = np.finfo(np.float64).eps / 2
_FEW = 12  # sweeps before their rate is judged
_PATIENCE = 40  # predicted sweeps up to which nothing else is tried
_NARROW = 16  # a band this narrow is factorised at once
_PASS_COST = 2.0  # operations of a band factorisation that take as long as one entry of a pass over the chain
_BAND_ENTRIES = 64_000_000  # memory of a band factorisation, at most
_ROUNDS = 60


class SparseChain:
    """A sparse P_pi at work: w, d and the residual g change in place."""

    def __init__(self, p: Transitions, probs: FloatArray, mean: FloatArray, gamma: float, tolerance: float) -> None:
        from rebel_theory.kernels.chains import mix_csr

        n = mean.size
        data, indices = np.empty(p.data.size), np.empty(p.data.size, np.uint32)
        indptr = np.zeros(n + 1, np.uint64)
        size = mix_csr(probs, p.data, p.indices, p.indptr, np.empty(n, np.int64), data, indices, indptr)
        self.csr = (data[:size], indices[:size], indptr)
        self.mean, self.gamma, self.tolerance = mean, gamma, tolerance
        self.g = np.empty(n)

    def solve(self, w: FloatArray, d: FloatArray, start: FloatArray) -> str:
        """Improve values w and visits d in place to the tolerance or to rounding; return by which method."""
        from rebel_theory.kernels.chain_systems import bandwidth
        from rebel_theory.kernels.visits import forward_csr

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
        from rebel_theory.kernels.chains import span_limit, sweep_csr

        _, low, high = sweep_csr(*self.csr, self.mean, self.gamma, w, self.g, limit, n)
        return high - low, span_limit(low, high, w, self.mean, self.gamma, self.tolerance)

    def _gauss_seidel(self, w: FloatArray, limit: float, n: int) -> float:
        from rebel_theory.kernels.chains import gauss_seidel_csr

        _, low, high = gauss_seidel_csr(*self.csr, self.mean, self.gamma, w, self.g, limit, n)
        return float(high - low)

    def _krylov(self, w: FloatArray, limit: float, n: int) -> float:
        from rebel_theory.kernels.chain_systems import bicgstab_csr

        self._sweep(w, 0.0, 0)
        bicgstab_csr(*self.csr, self.gamma, False, w, self.g - midpoint(self.g), 0.4 * limit, n)
        w -= midpoint(w)
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
        from rebel_theory.kernels.chain_systems import bicgstab_csr
        from rebel_theory.kernels.visits import push_csr, visit_residual_csr

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
        from rebel_theory.kernels.chain_systems import factor_band, solve_band, solve_band_transposed

        lu = np.empty((w.size, lower + upper + 4))
        factor_band(*self.csr, self.gamma, lower, upper, lu)
        w[:] = self.mean
        solve_band(lu, lower, upper, w)
        w -= midpoint(w)  # a step of refinement: rounding of large values becomes rounding of their spread
        _, _ = self._sweep(w, 0.0, 0)
        correction = self.g - midpoint(self.g)
        solve_band(lu, lower, upper, correction)
        w += correction
        d[:] = start
        solve_band_transposed(lu, lower, upper, d)
        return "band"


def midpoint(values: FloatArray) -> float:
    """Return half of the smallest plus the largest value."""
    return 0.5 * (float(values.min()) + float(values.max()))


def _predicted(first: float, last: float, n_sweeps: int, limit: float) -> float:
    """Return how many sweeps are still needed, from the span's geometric decay over the last ``n_sweeps``."""
    if last <= limit:
        return 0.0
    if n_sweeps == 0 or not 0 < last < first:
        return math.inf
    return math.log(last / limit) / (math.log(first / last) / n_sweeps)
