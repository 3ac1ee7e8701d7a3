"""How a vector of `size` entries lies in N/2 slots: padded with zeros to a power of two, its period, and
repeated.

So rotating is cyclic within the period, a sum over the period ends up in every slot, and a vector of one
entry is the same
number everywhere and broadcasts, as in NumPy.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tacit.errors import DataError, ShapeError

__all__ = ["Cleartext", "cleartext", "fold_steps", "pack", "period"]

Cleartext = NDArray[np.float64 | np.complex128]
"""Real or complex numbers, one-dimensional."""


def period(size: int) -> int:
    """The smallest power of two ≥ ``size``: after so many slots a vector of ``size`` entries repeats."""
    return 1 << (size - 1).bit_length()


def fold_steps(start: int, end: int) -> list[int]:
    """The rotations that add up blocks of ``start`` slots over ``end`` slots, largest first; both are powers
    of two."""
    steps = []
    while end > start:
        end //= 2
        steps.append(end)
    return steps


def cleartext(values: ArrayLike, *, slots: int) -> Cleartext:
    """``values`` as a one-dimensional array of 1 to ``slots`` finite numbers, float64 or complex128.

    Raises ShapeError for another shape and DataError for anything that is not a finite number.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "bifuc":
        raise DataError(f"values must be numbers; got an array of {array.dtype}")
    if array.ndim > 1 or not 1 <= array.size <= slots:
        raise ShapeError(
            f"a vector must have one dimension and 1 to {slots} entries; got the shape {array.shape}"
        )
    if not np.isfinite(array).all():
        raise DataError("values must be finite; there is a NaN or an infinity")
    flat = array.reshape(-1)
    return flat.astype(np.complex128) if flat.dtype.kind == "c" else flat.astype(np.float64)


def pack(values: Cleartext, *, slots: int) -> Cleartext:
    """``values`` padded to their period and repeated over ``slots``."""
    length = period(len(values))
    padded = np.zeros(length, dtype=values.dtype)
    padded[: len(values)] = values
    return np.tile(padded, slots // length)
