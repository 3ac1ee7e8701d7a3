"""Sparse matrices whose stored entries are the structure of a map: what is stored may be zero, what is not always is.

The structure follows from the graph alone (kernel sizes, strides, paddings) and never from the values of weights, so
that what is built on it, rotations and layouts, tells nothing of them.
"""

from __future__ import annotations

from math import sqrt

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

__all__ = ["Matrix", "absolute", "applied", "full", "row_norms", "scaled", "spectral_bound", "with_entries"]

Matrix = csr_array
FloatArray = npt.NDArray[np.float64]

_DENSE_SIDE = 1024
"""Gram matrices up to this side have their largest eigenvalue computed; larger maps get a bound by iteration."""
_ITERATIONS = 30
_DENSE_SHARE = 20
"""From one stored entry in this many a dense product with many vectors takes less time than a sparse one."""
_ROUNDING = 1 + 1e-9


def with_entries(matrix: Matrix, entries: FloatArray) -> Matrix:
    """The same structure with other ``entries``, one for every stored one."""
    return csr_array((entries, matrix.indices, matrix.indptr), shape=matrix.shape)


def scaled(matrix: Matrix, *, rows: FloatArray | None = None, columns: FloatArray | None = None) -> Matrix:
    """Rows and columns times numbers, stored zeros kept."""
    entries = matrix.data.astype(np.float64)
    if rows is not None:
        entries = entries * np.repeat(rows, np.diff(matrix.indptr))
    if columns is not None:
        entries = entries * columns[matrix.indices]
    return with_entries(matrix, entries)


def full(array: FloatArray) -> Matrix:
    """A matrix that stores every entry, zeros too."""
    rows, columns = array.shape
    indices = np.tile(np.arange(columns, dtype=np.int32), rows)
    indptr = np.arange(rows + 1, dtype=np.int32) * columns
    return csr_array((np.ascontiguousarray(array).reshape(-1), indices, indptr), shape=array.shape)


def absolute(matrix: Matrix) -> Matrix:
    """Magnitudes of the entries."""
    return with_entries(matrix, np.abs(matrix.data))


def applied(matrix: Matrix, vectors: FloatArray) -> FloatArray:
    """matrix · vectors, (columns, vectors); by a dense product where that is faster."""
    rows, columns = matrix.shape
    if _DENSE_SHARE * matrix.nnz > rows * columns:
        result: FloatArray = matrix.toarray() @ vectors
        return result
    return np.asarray(matrix @ vectors)


def row_norms(matrix: Matrix) -> FloatArray:
    """(rows,) Euclidean norms."""
    squares = with_entries(matrix, matrix.data**2) @ np.ones(matrix.shape[1])
    norms: FloatArray = np.sqrt(squares)
    return norms


def spectral_bound(matrix: Matrix) -> float:
    """An upper bound on the largest singular value: that value itself for maps with a small side.

    For larger ones: the spectral radius of |M|ᵀ|M| is at most max_i (|M|ᵀ|M|·v)_i / v_i for every positive vector v
    (Collatz 1942, Wielandt 1950), and power iteration makes v a good one.
    """
    if not matrix.nnz:
        return 0.0
    rows, columns = matrix.shape
    if min(rows, columns) <= _DENSE_SIDE:
        dense = matrix.toarray()
        gram = dense @ dense.T if rows <= columns else dense.T @ dense
        return sqrt(max(0.0, float(np.linalg.eigvalsh(gram)[-1]))) * _ROUNDING
    magnitudes = absolute(matrix)
    transposed = magnitudes.T.tocsr()
    vector, best = np.ones(columns), np.inf
    for _ in range(_ITERATIONS):
        after = transposed @ (magnitudes @ vector)
        best = min(best, float((after / vector).max()))
        # A floor keeps every entry positive: the bound holds for whatever positive vector is tried.
        vector = np.maximum(after / after.max(), 1e-6)
    return sqrt(best) * _ROUNDING
