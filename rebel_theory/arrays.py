"""Small numerical pieces that every layer shares: types, log-space softmax, divergences.

Arrays are double precision; a shape written ``(..., S, A)`` has any number of leading batch axes.
"""

from __future__ import annotations

from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]

_LARGE_PRODUCT = 65_536  # entries


def log_softmax(logits: FloatArray) -> FloatArray:
    """Return log-probabilities along the last axis, shape (..., A).

    Entries of ``-inf`` stay ``-inf`` (an action ruled out); each row needs one finite entry. Nothing
    overflows: a row of ``(0, 1e6)`` gives ``(-1e6, 0)``.
    """
    if not isinstance(logits, np.ndarray):  # a tensor of the torch backend
        tensor: Any = logits
        return cast("FloatArray", tensor.log_softmax(-1))
    # ufunc.reduce is what max() and sum() call in the end: on ten states the way there takes a third of the time
    result: FloatArray = logits - np.maximum.reduce(logits, axis=-1, keepdims=True)  # (..., A), largest entry 0
    result -= np.log(np.add.reduce(np.exp(result), axis=-1, keepdims=True))
    return result


def as_kind(values: FloatArray, like: FloatArray) -> FloatArray:
    """Return an array as what ``like`` is: itself, or a tensor of the torch backend, in its place and precision."""
    if isinstance(like, np.ndarray):
        return values
    tensor: Any = like
    here = tensor.new_empty(0, device="cpu").new_tensor(values)  # made here and sent, or the host would wait
    return cast("FloatArray", here.to(tensor.device, non_blocking=True))


def safe_log(probabilities: FloatArray) -> FloatArray:
    """Return the elementwise logarithm with ``log 0 = -inf`` and no warning; subnormal numbers are exact."""
    with np.errstate(divide="ignore"):
        result: FloatArray = np.log(probabilities)
    return result


def expectation(weights: FloatArray, values: FloatArray) -> FloatArray:
    """Return ``sum_a weights[..., a] values[..., a]`` with ``0 * inf = 0``, shape (...)."""
    shape = weights.shape if weights.shape == values.shape else np.broadcast_shapes(weights.shape, values.shape)
    terms = np.multiply(weights, values, where=weights > 0, out=np.zeros(shape))
    total: FloatArray = np.add.reduce(terms, axis=-1)
    return total


def kl_rows(log_p: FloatArray, log_q: FloatArray) -> FloatArray:
    """Return KL(p || q) of every row from log-probabilities, shape (...); ``inf`` where q misses p's support."""
    p = np.exp(log_p)
    with np.errstate(invalid="ignore"):
        difference = np.where(p > 0, log_p - log_q, 0.0)
    # sum of p ln(p/q) is non-negative; rounding may leave -1e-17
    return np.maximum(expectation(p, difference), 0.0)


def total_variation_rows(p: FloatArray, q: FloatArray) -> FloatArray:
    """Return half the L1 distance of every row, shape (...)."""
    distance: FloatArray = 0.5 * np.abs(p - q).sum(axis=-1)
    return distance


def batch_products(rows: FloatArray, matrices: FloatArray) -> FloatArray:
    """Return ``rows`` (..., B, k) times ``matrices`` (B, k, m), shape (..., B, m), C-ordered.

    BLAS rounds a product differently for every number of rows. Here the members of a batch meet it in tiles of one
    shape, the last filled up with zeros, so that a member's digits depend neither on how many there are nor on its
    place. Rows without a batch axis are one plain product.
    """
    (b, k), m = rows.shape[-2:], matrices.shape[-1]
    if rows.ndim == 2:
        plain: FloatArray = np.matmul(rows[:, None, :], matrices)[:, 0, :]
        return plain
    lead, rows = rows.shape[:-2], rows.reshape(-1, b, k)
    # a tall tile reads a large matrix less often; filling up a row that is itself large would cost its memory
    height = 32 if k * m >= _LARGE_PRODUCT else 8
    if b * m >= _LARGE_PRODUCT and k < height:
        height = 1
    n = len(rows)
    tiles = -(-n // height)
    if n % height:
        filled = np.zeros((tiles * height, b, k))
        filled[:n] = rows
        rows = filled
    out = np.empty((tiles, height, b, m))
    np.matmul(np.swapaxes(rows.reshape(tiles, height, b, k), 1, 2), matrices, out=np.swapaxes(out, 1, 2))
    return out.reshape(tiles * height, b, m)[:n].reshape(*lead, b, m)


def read_only(array: FloatArray) -> FloatArray:
    """Return a view of ``array`` that cannot be written."""
    view = array.view()
    view.setflags(write=False)
    return view


def whole(array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return a writable C-ordered copy of ``array`` broadcast to ``shape``: what a kernel is compiled for once."""
    return np.array(array if array.shape == shape else np.broadcast_to(array, shape), order="C")


def frozen(array: Any, dtype: type = np.float64) -> NDArray[Any]:
    """Return a read-only C-ordered copy as ``dtype``."""
    copy: NDArray[Any] = np.array(array, dtype=dtype, order="C", copy=True)
    copy.setflags(write=False)
    return copy
