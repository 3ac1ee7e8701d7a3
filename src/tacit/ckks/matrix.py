"""A clear matrix as generalised diagonals, ready to be multiplied with an encrypted vector.

A vector of `size` entries has the period p = the next power of two and is repeated over all slots. For y =
x·W with W of
shape (inputs, outputs), periods p_in and p_out, and D = min(p_in, p_out),

    z = Σ_{k < D} diagonal_k ⊙ rotate(x, k),   diagonal_k[i] = W[(i + k) mod p_in, i mod p_out],

and y is the sum of the p_in / D blocks of z, which log2(p_in / p_out) rotations fold together when p_in >
p_out: the
hybrid method of Juvekar, Vaikuntanathan and Chandrakasan, "Gazelle" (ia.cr/2018/073, section 4), on the
diagonals of Halevi
and Shoup (ia.cr/2014/106). Baby steps and giant steps (ia.cr/2018/244) reduce D rotations to about 2·√D.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import log2

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tacit import _native
from tacit.ckks.packing import fold_steps, period
from tacit.ckks.parameters import Parameters
from tacit.errors import DataError, LevelError, ShapeError

__all__ = ["Matrix", "baby_steps", "matrix_rotations"]


def baby_steps(diagonals: int) -> int:
    """Baby steps of a baby-step giant-step sum over ``diagonals`` = 2^k: 2^⌈k/2⌉, as baby steps are
    hoisted."""
    return 1 << (int(log2(diagonals)) + 1) // 2


def matrix_rotations(inputs: int, outputs: int) -> list[int]:
    """Every rotation that a matrix of shape (``inputs``, ``outputs``) needs."""
    p_in, p_out = period(inputs), period(outputs)
    diagonals = min(p_in, p_out)
    baby = baby_steps(diagonals)
    steps = {*range(1, baby), *range(baby, diagonals, baby), *fold_steps(p_out, p_in)}
    return sorted(steps)


@dataclass(frozen=True)
class Matrix:
    """W of shape (inputs, outputs), encoded for vectors at one level. Build it once, use it often: ``x @
    matrix``."""

    native: _native.LinearMap
    shape: tuple[int, int]
    level: int
    largest_column: float
    """max_j Σ_i |W_ij|: how much larger the values of x @ W can be."""
    largest_norm: float
    """max_j Σ_i W_ij²: how much the variance of noise grows."""

    @staticmethod
    def encode(params: Parameters, weights: ArrayLike, *, level: int | None = None) -> Matrix:
        """Encode ``weights`` (inputs, outputs) for vectors at ``level`` (default: fresh ones).

        Raises ShapeError unless two-dimensional and at most N/2 wide and high, DataError unless finite
        and not all zero, LevelError at level 0.
        """
        array = np.asarray(weights, dtype=np.float64)
        if array.ndim != 2 or 0 in array.shape or max(array.shape) > params.slots:
            raise ShapeError(
                f"a matrix must have the shape (inputs, outputs), each 1 to {params.slots}; got {array.shape}"
            )
        if not np.isfinite(array).all():
            raise DataError("a matrix must be finite; it holds NaN or infinity")
        if not array.any():
            raise DataError("a product with zero is zero for everybody to see; it needs no encrypted vector")
        level = params.depth if level is None else level
        if not 1 <= level <= params.depth:
            raise LevelError(f"a matrix needs a level from 1 to {params.depth}; got {level}")
        diagonals = _diagonals(array, params.slots)
        native = _native.LinearMap(
            params.native,
            diagonals,
            level=level,
            scale=params.plain_scale(level),
            baby=baby_steps(min(period(array.shape[0]), period(array.shape[1]))),
        )
        columns = np.abs(array).sum(axis=0).max()
        norms = (array**2).sum(axis=0).max()
        inputs, outputs = array.shape
        return Matrix(native, (inputs, outputs), level, float(columns), float(norms))

    @property
    def folds(self) -> list[int]:
        """The rotations after the diagonals."""
        return fold_steps(period(self.shape[1]), period(self.shape[0]))


def _diagonals(array: NDArray[np.float64], slots: int) -> Mapping[int, NDArray[np.float64]]:
    inputs, outputs = array.shape
    p_in, p_out = period(inputs), period(outputs)
    padded = np.zeros((p_in, p_out))
    padded[:inputs, :outputs] = array
    i = np.arange(max(p_in, p_out))
    diagonals = {}
    for k in range(min(p_in, p_out)):
        diagonal = padded[(i + k) % p_in, i % p_out]
        if diagonal.any():
            diagonals[k] = np.tile(diagonal, slots // len(i))
    return diagonals
