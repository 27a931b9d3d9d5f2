"""Numba kernels that stream over the features of a linear MDP.

Rows of features are read eight numbers at a time (``load``), in either width, and worked on as vectors of eight
doubles: what becomes of plain loops over a short row depends on the compiler's mood (scalar code, five times slower).
Sums are reordered and fused, nothing else: NaN and infinities keep their meaning, and bounds on rounding hold for any
order. The vectors share this file with the kernels that work on them, so that the cache sees edits.
"""
# mypy: allow-untyped-calls

from __future__ import annotations

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

_FAST = {"reassoc", "contract", "nsz"}
_FEW = 16  # states whose features stay in the first-level cache from their logits to their mean
_LANES = 8


class _Eight(types.Type):
    """Eight doubles, which the compiler maps to whatever vectors the machine has."""

    def __init__(self) -> None:
        super().__init__(name="EightDoubles")


_EIGHT = _Eight()
_I32 = ir.IntType(32)
_IR = ir.VectorType(ir.DoubleType(), _LANES)


def _indices(*values):
    return ir.Constant(ir.VectorType(_I32, len(values)), list(values))


def _spread_value(builder, value):
    """Return eight times a number."""
    first = builder.insert_element(ir.Constant(ir.VectorType(value.type, _LANES), ir.Undefined), value, _I32(0))
    return builder.shuffle_vector(first, first, _indices(*[0] * _LANES))


def _address(context, builder, array_type, array, at):
    """Return the address of entry ``at`` of a flat array."""
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [at])


def _doubles(builder, vector):
    return vector if vector.type == _IR else builder.fpext(vector, _IR)


def _below(builder, count):
    """Return the mask of the lanes i < count."""
    lanes = ir.Constant(ir.VectorType(count.type, _LANES), list(range(_LANES)))
    return builder.icmp_signed("<", lanes, _spread_value(builder, count))


def _masked(builder, kind, vector):
    """Return LLVM's masked "load" or "store" of vectors of one type."""
    name = f"llvm.masked.{kind}.v{_LANES}f{32 if vector.element == ir.FloatType() else 64}.p0"
    mask, pointer = ir.VectorType(ir.IntType(1), _LANES), vector.as_pointer()
    if kind == "load":
        signature = ir.FunctionType(vector, [pointer, _I32, mask, vector])
    else:
        signature = ir.FunctionType(ir.VoidType(), [vector, pointer, _I32, mask])
    return cgutils.get_or_insert_function(builder.module, signature, name)


@intrinsic
def _load(_, x, at, count):
    def emit(context, builder, signature, args):
        vector = ir.VectorType(context.get_value_type(x.dtype), _LANES)
        size = x.dtype.bitwidth // 8
        place = builder.bitcast(_address(context, builder, x, args[0], args[1]), vector.as_pointer())
        if isinstance(count, types.NoneType):
            value = builder.load(place, align=size)
        else:
            mask, zero = _below(builder, args[2]), ir.Constant(vector, None)
            value = builder.call(_masked(builder, "load", vector), [place, _I32(size), mask, zero])
        return _doubles(builder, value)

    return _EIGHT(x, types.int64, count), emit


@intrinsic
def _store(_, x, at, value, count):
    def emit(context, builder, signature, args):
        place = builder.bitcast(_address(context, builder, x, args[0], args[1]), _IR.as_pointer())
        if isinstance(count, types.NoneType):
            builder.store(args[2], place, align=8)
        else:
            mask = _below(builder, args[3])
            builder.call(_masked(builder, "store", _IR), [args[2], place, _I32(8), mask])
        return context.get_dummy_value()

    return types.void(x, types.int64, _EIGHT, count), emit


@intrinsic
def _spread(_, x):
    return _EIGHT(types.float64), lambda context, builder, signature, args: _spread_value(builder, args[0])


@intrinsic
def _spread_entry(_, x, at):
    def emit(context, builder, signature, args):
        entry = builder.load(_address(context, builder, x, args[0], args[1]))
        return _doubles(builder, _spread_value(builder, entry))

    return _EIGHT(x, types.int64), emit


@intrinsic
def _lane(_, v):
    return types.float64(_EIGHT), lambda context, builder, signature, args: builder.extract_element(args[0], _I32(0))


@intrinsic
def _add_product(_, total, x, y):
    def emit(context, builder, signature, args):
        product = builder.fmul(args[1], args[2], flags=["contract"])
        return builder.fadd(args[0], product, flags=["contract"])

    return _EIGHT(_EIGHT, _EIGHT, _EIGHT), emit


@intrinsic
def _totals(_, v0, v1, v2, v3, v4, v5, v6, v7):
    def emit(context, builder, signature, v):
        def folded(v, one, two):  # half as many vectors: lanes ``one`` plus lanes ``two`` of each two of them
            pick = builder.shuffle_vector
            pairs = zip(v[::2], v[1::2], strict=True)
            return [builder.fadd(pick(x, y, _indices(*one)), pick(x, y, _indices(*two))) for x, y in pairs]

        v = folded(v, (0, 8, 2, 10, 4, 12, 6, 14), (1, 9, 3, 11, 5, 13, 7, 15))
        v = folded(v, (0, 1, 8, 9, 4, 5, 12, 13), (2, 3, 10, 11, 6, 7, 14, 15))
        return folded(v, (0, 1, 2, 3, 8, 9, 10, 11), (4, 5, 6, 7, 12, 13, 14, 15))[0]

    return _EIGHT(*[_EIGHT] * _LANES), emit


@intrinsic
def _prefetch(_, x, at):
    def emit(context, builder, signature, args):
        signature = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, _I32, _I32, _I32])
        function = cgutils.get_or_insert_function(builder.module, signature, "llvm.prefetch.p0")
        address = builder.bitcast(_address(context, builder, x, args[0], args[1]), cgutils.voidptr_t)
        builder.call(function, [address, _I32(0), _I32(3), _I32(1)])
        return context.get_dummy_value()

    return types.void(x, types.int64), emit


def load(x, at, count):
    """Return eight entries from ``at`` of a flat array, in double precision; 0 from the ``count``-th on, if given."""
    n = _LANES if count is None else max(0, min(count, _LANES))
    found = np.zeros(_LANES)
    found[:n] = x[at : at + n]
    return found


def store(x, at, value, count):
    """Write eight doubles to a flat array from ``at``, or the first ``count`` of them."""
    n = _LANES if count is None else max(0, min(count, _LANES))
    x[at : at + n] = value[:n]


def spread(x):
    """Return eight times x."""
    return np.full(_LANES, float(x))


def spread_entry(x, at):
    """Return eight times entry ``at`` of a flat array."""
    return np.full(_LANES, float(x[at]))


def lane(v):
    """Return the first of eight doubles."""
    return v[0]


def add_product(total, x, y):
    """Return total + x y."""
    return total + x * y


def totals(a, b, c, d, e, f, g, h):
    """Return the eight sums over lanes."""
    return np.array([v.sum() for v in (a, b, c, d, e, f, g, h)])


def prefetch(x, at):
    """Ask for the cache line of an entry, which may lie outside."""


def _register():
    """Tell Numba what the functions above compile to."""
    register_model(_Eight)(lambda manager, kind: models.PrimitiveModel(manager, kind, _IR))
    overload(load)(lambda x, at, count: lambda x, at, count: _load(x, at, count))
    overload(store)(lambda x, at, value, count: lambda x, at, value, count: _store(x, at, value, count))
    overload(spread)(lambda x: lambda x: _spread(np.float64(x)))
    overload(spread_entry)(lambda x, at: lambda x, at: _spread_entry(x, at))
    overload(lane)(lambda v: lambda v: _lane(v))
    overload(add_product)(lambda total, x, y: lambda total, x, y: _add_product(total, x, y))
    overload(totals)(lambda a, b, c, d, e, f, g, h: lambda a, b, c, d, e, f, g, h: _totals(a, b, c, d, e, f, g, h))
    overload(prefetch)(lambda x, at: lambda x, at: _prefetch(x, at))


_register()


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
def _add_products(v, phi, rows, i, theta, count):
    """Return the sums v of eight rows with eight more terms each, or the ``count`` terms that are left."""
    t = load(theta, i, count)
    return (
        add_product(v[0], load(phi, rows[0] + i, count), t),
        add_product(v[1], load(phi, rows[1] + i, count), t),
        add_product(v[2], load(phi, rows[2] + i, count), t),
        add_product(v[3], load(phi, rows[3] + i, count), t),
        add_product(v[4], load(phi, rows[4] + i, count), t),
        add_product(v[5], load(phi, rows[5] + i, count), t),
        add_product(v[6], load(phi, rows[6] + i, count), t),
        add_product(v[7], load(phi, rows[7] + i, count), t),
    )


@njit(cache=True, nogil=True, fastmath=_FAST)
def _products(phi, first, n, theta, z):
    """Fill ``z`` (n,) with the n rows of flat ``phi`` from ``first`` times theta (d,); ask for half the next n."""
    d = theta.shape[0]
    full, zero = d - d % 8, spread(0.0)
    line = 64 // phi.itemsize
    lines = 8 * d // line  # of eight rows
    if n < 8:
        for r in range(n):
            z[r] = 0.0
            for i in range(d):
                z[r] += phi[(first + r) * d + i] * theta[i]
        return
    for start in range(0, n, 8):
        r = min(start, n - 8)  # the last eight rows overlap those before
        at = (first + r) * d
        rows = (at, at + d, at + 2 * d, at + 3 * d, at + 4 * d, at + 5 * d, at + 6 * d, at + 7 * d)
        v = (zero, zero, zero, zero, zero, zero, zero, zero)
        for i in range(0, full, 8):
            v = _add_products(v, phi, rows, i, theta, None)
        if full < d:
            v = _add_products(v, phi, rows, full, theta, d - full)
        store(z, r, totals(*v), None)
        for k in range(0, lines, 2):  # every other line: asked for all at once, they would hold up the sums
            prefetch(phi, at + n * d + k * line)


@njit(cache=True, nogil=True, fastmath=_FAST)
def _subtract_largest(z, n, n_actions):
    """Subtract from each of n rows of A entries of flat ``z`` its maximum."""
    for at in range(0, n * n_actions, n_actions):
        largest = z[at]
        for a in range(1, n_actions):
            largest = max(largest, z[at + a])  # without a branch, which random logits would mispredict
        for a in range(n_actions):
            z[at + a] -= largest


@njit(cache=True, nogil=True, fastmath=_FAST)
def _mix_row(weights, w, n_actions, phi, at, d, count, more):
    """Return sum_a w(a) phi(a) / sum_a w(a) in columns 0 to 8 and 8 to 16 from ``at``."""
    zero, one = spread(0.0), spread(1.0)
    v0 = v1 = total = zero
    for a in range(n_actions):
        p = spread_entry(weights, w + a)
        total = add_product(total, p, one)
        v0 = add_product(v0, load(phi, at + a * d, count), p)
        v1 = add_product(v1, load(phi, at + a * d + 8, more), p)
    scale = spread(1.0 / lane(total))
    return add_product(zero, v0, scale), add_product(zero, v1, scale)


@njit(cache=True, nogil=True, fastmath=_FAST)
def _mix_rows(weights, n, n_actions, phi, first, d, mean, to, width):
    """Fill n rows of flat ``mean`` from ``to``, ``width`` apart, with the means of A rows of ``phi`` from ``first``."""
    full, line = d - d % 16, 64 // phi.itemsize
    lines = n_actions * d // line  # of a state
    for s in range(n):
        w, at, row = s * n_actions, (first + s * n_actions) * d, to + s * width
        for k in range(1, lines, 2):  # the lines that ``_products`` left
            prefetch(phi, at + n * n_actions * d + k * line)
        for i in range(0, full, 16):
            v0, v1 = _mix_row(weights, w, n_actions, phi, at + i, d, None, None)
            store(mean, row + i, v0, None)
            store(mean, row + i + 8, v1, None)
        if full < d:
            v0, v1 = _mix_row(weights, w, n_actions, phi, at + full, d, d - full, d - full - 8)
            store(mean, row + full, v0, None)
            store(mean, row + full + 8, v1, None)


@njit(cache=True, nogil=True, fastmath=_FAST)
def _choose_rows(z, n, n_actions, phi, first, d, mean, to, width):
    """As ``_mix_rows``, but with the features of the first maximum of z in each state."""
    full, line = d - d % 8, 64 // phi.itemsize
    lines = n_actions * d // line  # of a state
    for s in range(n):
        w = s * n_actions
        for k in range(1, lines, 2):  # the lines that ``_products`` left
            prefetch(phi, (first + n * n_actions + w) * d + k * line)
        largest = z[w]
        for a in range(1, n_actions):
            largest = max(largest, z[w + a])
        best = 0
        for a in range(n_actions - 1, -1, -1):
            best = a if z[w + a] == largest else best
        at, row = (first + w + best) * d, to + s * width
        for i in range(0, full, 8):
            store(mean, row + i, load(phi, at + i, None), None)
        if full < d:
            store(mean, row + full, load(phi, at + full, d - full), None)


@njit(cache=True, nogil=True, fastmath=_FAST)
def _add_moments(measures, rho, low, n, mean, width, kernel, start):
    """Add sum_s m(s) mean(s)^T to ``kernel`` (d * d,), sum_s rho(s) mean(s) to ``start`` (d,), low <= s < low + n.

    ``measures`` (d * S,); ``mean`` (n * width,) is zero in columns from d on. Tiles of 4 x 16 sums stay in registers.
    """
    d, n_states = start.shape[0], rho.shape[0]
    zero, one = spread(0.0), spread(1.0)
    for j in range(0, d, 8):
        v = load(start, j, d - j)
        for s in range(n):
            v = add_product(v, load(mean, s * width + j, None), spread_entry(rho, low + s))
        store(start, j, v, d - j)
    for i in range(0, d, 4):
        m0 = i * n_states + low  # rows past the end: the last one again
        m1, m2 = min(i + 1, d - 1) * n_states + low, min(i + 2, d - 1) * n_states + low
        m3 = min(i + 3, d - 1) * n_states + low
        for j in range(0, d, 16):
            v00 = v01 = v10 = v11 = v20 = v21 = v30 = v31 = zero
            for s in range(n):
                f0, f1 = load(mean, s * width + j, None), load(mean, s * width + j + 8, None)
                x0, x1 = spread_entry(measures, m0 + s), spread_entry(measures, m1 + s)
                x2, x3 = spread_entry(measures, m2 + s), spread_entry(measures, m3 + s)
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
                    store(kernel, at, add_product(v0, one, load(kernel, at, k)), k)
                    store(kernel, at + 8, add_product(v1, one, load(kernel, at + 8, k - 8)), k - 8)


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
    d, n_states = phi.shape[1], rho.shape[0]
    n_actions, width = phi.shape[0] // n_states, -(-d // 16) * 16
    features, m, moments = phi.reshape(phi.size), measures.reshape(measures.size), kernel.reshape(kernel.size)
    z, bits = np.empty(_FEW * n_actions), np.empty(_FEW * n_actions, np.int64)
    mean = np.zeros(block * width)
    kernel[:] = 0.0
    start[:] = 0.0
    for low in range(first, last, block):
        n = min(block, last - low)
        for at in range(0, n, _FEW):
            few, row = min(_FEW, n - at), (low + at) * n_actions
            for i in range(d):
                prefetch(m, i * n_states + low + at)
                prefetch(m, i * n_states + low + at + _FEW // 2)
            _products(features, row, few * n_actions, theta, z)
            if greedy:
                _choose_rows(z, few, n_actions, features, row, d, mean, at * width, width)
            else:
                if not bounded:
                    _subtract_largest(z, few, n_actions)
                exponentials(z[: few * n_actions], bits)
                _mix_rows(z, few, n_actions, features, row, d, mean, at * width, width)
        _add_moments(m, rho, low, n, mean, width, moments, start)
