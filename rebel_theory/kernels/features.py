"""Numba kernels that stream over the features of a linear MDP.

Rows of features are read eight numbers at a time (``load``), in either width, and worked on as vectors of eight
doubles: what becomes of plain loops over a short row depends on the compiler's mood (scalar code, five times slower).
Sums are reordered and fused, nothing else: NaN and infinities keep their meaning, and bounds on rounding hold for any
order.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

_FAST = {"reassoc", "contract", "nsz"}
_FEW = 16  # states whose features stay in the first-level cache from their logits to their mean
_LANES = 8


class _Eight(types.Type):  # type: ignore[misc]
    """Eight doubles, which the compiler maps to whatever vectors the machine has."""

    def __init__(self) -> None:
        super().__init__(name="EightDoubles")


_EIGHT = _Eight()
_IR = ir.VectorType(ir.DoubleType(), _LANES)
register_model(_Eight)(lambda manager, kind: models.PrimitiveModel(manager, kind, _IR))


def _vector_of(*values):
    return ir.Constant(ir.VectorType(ir.IntType(32), len(values)), list(values))


def _entry(context, builder, array_type, array, at):
    """Return the address of entry ``at`` of a flat array."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [at])


def _lanes_below(builder, count):
    """Return the mask of the lanes i < count."""
    one = ir.VectorType(count.type, _LANES)
    first = builder.insert_element(ir.Constant(one, ir.Undefined), count, ir.IntType(32)(0))
    return builder.icmp_signed("<", ir.Constant(one, list(range(_LANES))), builder.shuffle_vector(first, first, _vector_of(*[0] * _LANES)))


def _masked(builder, kind, vector):
    """Return LLVM's masked load or store of ``vector``s, and the alignment of their entries."""
    name = f"v{_LANES}f{32 if vector.element == ir.FloatType() else 64}"
    mask, line = ir.VectorType(ir.IntType(1), _LANES), ir.IntType(32)
    pointer = ir.PointerType()
    signature = (
        ir.FunctionType(vector, [pointer, line, mask, vector])
        if kind == "load"
        else ir.FunctionType(ir.VoidType(), [vector, pointer, line, mask])
    )
    return cgutils.get_or_insert_function(builder.module, signature, f"llvm.masked.{kind}.{name}.p0")


@intrinsic
def _load(_, x, at, count):
    def emit(context, builder, signature, args):
        vector = ir.VectorType(context.get_value_type(x.dtype), _LANES)
        size = x.dtype.bitwidth // 8
        address = _entry(context, builder, x, args[0], args[1])
        whole = builder.icmp_signed(">=", args[2], args[2].type(_LANES))
        with builder.if_else(whole, likely=True) as (full, part):
            with full:
                all_ = builder.load(builder.bitcast(address, vector.as_pointer()), align=size)
                at_full = builder.block
            with part:
                masked = _masked(builder, "load", vector)
                some = builder.call(masked, [address, ir.IntType(32)(size), _lanes_below(builder, args[2]), ir.Constant(vector, None)])
                at_part = builder.block
        value = builder.phi(vector)
        value.add_incoming(all_, at_full)
        value.add_incoming(some, at_part)
        return builder.fpext(value, _IR) if size == 4 else value

    return _EIGHT(x, types.int64, types.int64), emit


@intrinsic
def _store(_, x, at, value, count):
    def emit(context, builder, signature, args):
        address = _entry(context, builder, x, args[0], args[1])
        whole = builder.icmp_signed(">=", args[3], args[3].type(_LANES))
        with builder.if_else(whole, likely=True) as (full, part):
            with full:
                builder.store(args[2], builder.bitcast(address, _IR.as_pointer()), align=8)
            with part:
                masked = _masked(builder, "store", _IR)
                builder.call(masked, [args[2], address, ir.IntType(32)(8), _lanes_below(builder, args[3])])
        return context.get_dummy_value()

    return types.void(x, types.int64, _EIGHT, types.int64), emit


@intrinsic
def _spread(_, x):
    def emit(context, builder, signature, args):
        first = builder.insert_element(ir.Constant(_IR, ir.Undefined), args[0], ir.IntType(32)(0))
        return builder.shuffle_vector(first, first, _vector_of(*[0] * _LANES))

    return _EIGHT(types.float64), emit


@intrinsic
def _add_product(_, total, x, y):
    def emit(context, builder, signature, args):
        product = builder.fmul(args[1], args[2], flags=["contract"])
        return builder.fadd(args[0], product, flags=["contract"])

    return _EIGHT(_EIGHT, _EIGHT, _EIGHT), emit


@intrinsic
def _totals(_, v0, v1, v2, v3, v4, v5, v6, v7):
    def emit(context, builder, signature, args):
        def folded(pairs, left):
            right = [i + _LANES // 2 // len(pairs) for i in left] if False else None

        def add(x, y, one, two):
            return builder.fadd(builder.shuffle_vector(x, y, _vector_of(*one)), builder.shuffle_vector(x, y, _vector_of(*two)))

        v = args
        v = [add(v[i], v[i + 1], (0, 8, 2, 10, 4, 12, 6, 14), (1, 9, 3, 11, 5, 13, 7, 15)) for i in range(0, 8, 2)]
        v = [add(v[i], v[i + 1], (0, 1, 8, 9, 4, 5, 12, 13), (2, 3, 10, 11, 6, 7, 14, 15)) for i in range(0, 4, 2)]
        return add(v[0], v[1], (0, 1, 2, 3, 8, 9, 10, 11), (4, 5, 6, 7, 12, 13, 14, 15))

    return _EIGHT(*[_EIGHT] * 8), emit


@intrinsic
def _prefetch(_, x, at):
    def emit(context, builder, signature, args):
        line = ir.IntType(32)
        ask = ir.FunctionType(ir.VoidType(), [ir.PointerType(), line, line, line])
        address = _entry(context, builder, x, args[0], args[1])
        function = cgutils.get_or_insert_function(builder.module, ask, "llvm.prefetch.p0")
        builder.call(function, [address, line(0), line(3), line(1)])
        return context.get_dummy_value()

    return types.void(x, types.int64), emit


def load(x, at, count):
    """Return eight entries from ``at`` of a flat array, in double precision; 0 from the ``count``-th on."""
    found = np.zeros(_LANES)
    found[: max(0, count)] = x[at : at + min(count, _LANES)] if count > 0 else 0
    return found


def store(x, at, value, count):
    """Write the first ``count`` of eight doubles to a flat array."""
    n = max(0, min(count, _LANES))
    x[at : at + n] = value[:n]


def spread(x):
    """Return eight times x."""
    return np.full(_LANES, float(x))


def add_product(total, x, y):
    """Return total + x y."""
    return total + x * y


def totals(v0, v1, v2, v3, v4, v5, v6, v7):
    """Return the eight sums over lanes."""
    return np.array([v.sum() for v in (v0, v1, v2, v3, v4, v5, v6, v7)])


def prefetch(x, at):
    """Ask for the cache line of an entry, which may lie outside."""


overload(load)(lambda x, at, count: lambda x, at, count: _load(x, at, count))
overload(store)(lambda x, at, value, count: lambda x, at, value, count: _store(x, at, value, count))
overload(spread)(lambda x: lambda x: _spread(np.float64(x)))
overload(add_product)(lambda total, x, y: lambda total, x, y: _add_product(total, x, y))
overload(totals)(lambda v0, v1, v2, v3, v4, v5, v6, v7: lambda v0, v1, v2, v3, v4, v5, v6, v7: _totals(v0, v1, v2, v3, v4, v5, v6, v7))
overload(prefetch)(lambda x, at: lambda x, at: _prefetch(x, at))


@njit(cache=True, nogil=True, fastmath={"contract"})  # "reassoc" would undo the two-part product with ln 2
def exponentials(x, bits):
    """Replace -700 <= x <= 700 (n,) by its exponential (smaller ones by e^-700); ``bits`` (n,) int64 is scratch.

    A polynomial on [-ln 2 / 2, ln 2 / 2], Taylor's remainder at degree 12 below 2e-16, times a power of 2 written as
    bits: seven times as fast as the library's, since it becomes vector instructions. Within 6e-16, relatively.
    """
    n = x.shape[0]
    powers = bits.view(np.float64)
    for i in range(n):
        y = max(x[i], -700.0)
        k = np.floor(y * 1.4426950408889634 + 0.5)
        y = (y - k * 0.693147180369123816490) - k * 1.90821492927058770002e-10
        p = 1.0 / 479001600.0
        p = p * y + 1.0 / 39916800.0
        p = p * y + 1.0 / 3628800.0
        p = p * y + 1.0 / 362880.0
        p = p * y + 1.0 / 40320.0
        p = p * y + 1.0 / 5040.0
        p = p * y + 1.0 / 720.0
        p = p * y + 1.0 / 120.0
        p = p * y + 1.0 / 24.0
        p = p * y + 1.0 / 6.0
        p = p * y + 0.5
        p = p * y + 1.0
        p = p * y + 1.0
        x[i] = p
        bits[i] = (np.int64(k) + 1023) << 52
    for i in range(n):
        x[i] *= powers[i]


@njit(cache=True, nogil=True, fastmath=_FAST)
def _products(phi, first, n, theta, z):
    """Fill ``z`` (n,) with the rows from ``first`` of flat ``phi`` times theta (d,)."""
    d = theta.shape[0]
    zero = spread(0.0)
    for r in range(0, n, 8):
        at = (first + r) * d
        end = (first + n - 1) * d
        v0 = v1 = v2 = v3 = v4 = v5 = v6 = v7 = zero
        for i in range(0, d, 8):
            t, k = load(theta, i, d - i), d - i
            v0 = add_product(v0, load(phi, at + i, k), t)
            v1 = add_product(v1, load(phi, min(at + d, end) + i, k), t)
            v2 = add_product(v2, load(phi, min(at + 2 * d, end) + i, k), t)
            v3 = add_product(v3, load(phi, min(at + 3 * d, end) + i, k), t)
            v4 = add_product(v4, load(phi, min(at + 4 * d, end) + i, k), t)
            v5 = add_product(v5, load(phi, min(at + 5 * d, end) + i, k), t)
            v6 = add_product(v6, load(phi, min(at + 6 * d, end) + i, k), t)
            v7 = add_product(v7, load(phi, min(at + 7 * d, end) + i, k), t)
        store(z, r, totals(v0, v1, v2, v3, v4, v5, v6, v7), n - r)


@njit(cache=True, nogil=True, fastmath=_FAST)
def _subtract_largest(z):
    """Subtract from each row of ``z`` (n, A) its maximum."""
    n, n_actions = z.shape
    for s in range(n):
        largest = z[s, 0]
        for a in range(1, n_actions):
            largest = max(largest, z[s, a])  # without a branch, which random logits would mispredict
        for a in range(n_actions):
            z[s, a] -= largest


@njit(cache=True, nogil=True, fastmath=_FAST)
def _mix_rows(weights, phi, first, d, mean):
    """Fill rows of ``mean`` (n, >= d) with sum_a w(a) phi(a) / sum_a w(a), for weights (n, A) and phi from row ``first``."""
    n, n_actions = weights.shape
    flat, width = mean.reshape(mean.size), mean.shape[1]
    for s in range(n):
        total = 0.0
        for a in range(n_actions):
            total += weights[s, a]
        scale = spread(1.0 / total)
        for i in range(0, d, 16):
            v0 = v1 = spread(0.0)
            at = (first + s * n_actions) * d + i
            for a in range(n_actions):
                p = spread(weights[s, a])
                v0 = add_product(v0, load(phi, at, d - i), p)
                v1 = add_product(v1, load(phi, at + 8, d - i - 8), p)
                at += d
            store(flat, s * width + i, add_product(spread(0.0), v0, scale), 8)
            store(flat, s * width + i + 8, add_product(spread(0.0), v1, scale), 8)


@njit(cache=True, nogil=True, fastmath=_FAST)
def _choose_rows(z, phi, first, d, mean):
    """Fill rows of ``mean`` (n, >= d) with the features of the first maximum of z (n, A) in each state."""
    n, n_actions = z.shape
    flat, width = mean.reshape(mean.size), mean.shape[1]
    for s in range(n):
        largest = z[s, 0]
        for a in range(1, n_actions):
            largest = max(largest, z[s, a])
        best = 0
        for a in range(n_actions - 1, -1, -1):
            best = a if z[s, a] == largest else best
        at = (first + s * n_actions + best) * d
        for i in range(0, d, 8):
            store(flat, s * width + i, load(phi, at + i, d - i), 8)


@njit(cache=True, nogil=True, fastmath=_FAST)
def _add_moments(measures, rho, low, n, mean, kernel, start):
    """Add sum_s m(s) mean(s)^T to ``kernel`` (d, d) and sum_s rho(s) mean(s) to ``start``, over low <= s < low + n.

    ``mean`` (block, >= d), zero in columns from d on. Tiles of 4 x 16 sums stay in registers.
    """
    d, width = kernel.shape[0], mean.shape[1]
    flat, moments = mean.reshape(mean.size), kernel.reshape(kernel.size)
    one = spread(1.0)
    for j in range(0, d, 8):
        v0 = load(start, j, d - j)
        for s in range(n):
            v0 = add_product(v0, load(flat, s * width + j, 8), spread(rho[low + s]))
        store(start, j, v0, d - j)
    for i in range(0, d, 4):
        i1, i2, i3 = min(i + 1, d - 1), min(i + 2, d - 1), min(i + 3, d - 1)  # past the end: the last row again
        m0, m1 = measures[i, low : low + n], measures[i1, low : low + n]
        m2, m3 = measures[i2, low : low + n], measures[i3, low : low + n]
        for j in range(0, d, 16):
            v00 = v01 = v10 = v11 = v20 = v21 = v30 = v31 = spread(0.0)
            for s in range(n):
                f0, f1 = load(flat, s * width + j, 8), load(flat, s * width + j + 8, 8)
                x0, x1, x2, x3 = spread(m0[s]), spread(m1[s]), spread(m2[s]), spread(m3[s])
                v00 = add_product(v00, x0, f0)
                v01 = add_product(v01, x0, f1)
                v10 = add_product(v10, x1, f0)
                v11 = add_product(v11, x1, f1)
                v20 = add_product(v20, x2, f0)
                v21 = add_product(v21, x2, f1)
                v30 = add_product(v30, x3, f0)
                v31 = add_product(v31, x3, f1)
            for row, v0, v1 in ((i, v00, v01), (i + 1, v10, v11), (i + 2, v20, v21), (i + 3, v30, v31)):
                if row < d:
                    at, k = row * d + j, d - j
                    store(moments, at, add_product(v0, one, load(moments, at, k)), k)
                    store(moments, at + 8, add_product(v1, one, load(moments, at + 8, k - 8)), k - 8)


@njit(cache=True, nogil=True)
def scan_features(phi, totals, largest):
    """Fill ``largest`` (d,) with max |phi_i|; return min phi and max |phi . totals - 1|, NaN if phi is not finite.

    ``phi`` (n, d) is read once; ``totals`` (d,) are the measures of the whole space.
    """
    smallest, worst = np.inf, 0.0
    largest[:] = 0.0
    for row in range(phi.shape[0]):
        total = 0.0
        for i in range(phi.shape[1]):
            x = np.float64(phi[row, i])
            total += x * totals[i]
            smallest = min(smallest, x)
            largest[i] = max(largest[i], abs(x))
        off = abs(total - 1.0)
        if not np.isfinite(off):
            return np.nan, np.nan
        worst = max(worst, off)
    return smallest, worst


@njit(cache=True, nogil=True, fastmath=_FAST)
def linear_pass(phi, measures, rho, theta, greedy, bounded, first, last, block, kernel, start):
    """Fill ``kernel`` (d, d), ``start`` (d,) with sum m(s) phi_pi(s)^T, sum rho(s) phi_pi(s) over first <= s < last.

    ``phi`` (S * A, d) and ``measures`` (d, S) are read once, in either width, in blocks of states; sums are in double
    precision. pi is the softmax of phi . theta, or its first maximiser if ``greedy``. ``bounded``: no |phi . theta|
    exceeds 690, so that its exponential neither overflows nor vanishes.
    """
    d = phi.shape[1]
    n_actions = phi.shape[0] // rho.shape[0]
    flat = phi.reshape(phi.size)
    logits, bits = np.empty(_FEW * n_actions), np.empty(_FEW * n_actions, np.int64)
    mean = np.zeros((block, -(-d // 16) * 16))
    kernel[:] = 0.0
    start[:] = 0.0
    for low in range(first, last, block):
        n = min(block, last - low)
        for at in range(0, n, _FEW):
            few = min(_FEW, n - at)
            row, size = (low + at) * n_actions, few * n_actions
            z = logits[:size]
            _products(flat, row, size, theta, z)
            by_state, means = z.reshape(few, n_actions), mean[at : at + few]
            if greedy:
                _choose_rows(by_state, flat, row, d, means)
            else:
                if not bounded:
                    _subtract_largest(by_state)
                exponentials(z, bits)
                _mix_rows(by_state, flat, row, d, means)
        _add_moments(measures, rho, low, n, mean, kernel, start)
