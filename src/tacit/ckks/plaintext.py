"""Cleartext as a polynomial that vectors can be added to and multiplied with, and that can be encrypted."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2

import numpy as np
from numpy.typing import ArrayLike

from tacit import _native
from tacit.ckks.packing import cleartext, pack
from tacit.ckks.parameters import Parameters
from tacit.errors import InvalidParameterError

__all__ = ["Plaintext", "encode"]


@dataclass(frozen=True, repr=False)
class Plaintext:
    """``size`` numbers encoded for vectors of one level. Encode what is used often once: ``x * plaintext``."""

    native: _native.Plaintext
    params: Parameters
    size: int
    bound: float
    """Largest absolute value."""
    is_complex: bool

    @property
    def level(self) -> int:
        """The level of the vectors that it goes with; higher ones are brought down to it."""
        return self.native.level

    @property
    def scale(self) -> float:
        """The scale that belongs to the level."""
        return self.native.scale

    @property
    def power_of_two(self) -> float:
        """The next power of two above the values: says less about them than ``bound`` does."""
        return 2.0 ** ceil(log2(self.bound)) if self.bound > 0 else 1.0

    def decode(self) -> np.ndarray[tuple[int], np.dtype[np.float64 | np.complex128]]:
        """The numbers, with the rounding of encoding."""
        decode = self.params.native.decode if self.is_complex else self.params.native.decode_real
        return decode(self.native)[: self.size]

    def __len__(self) -> int:
        return self.size

    def __repr__(self) -> str:
        return f"<Plaintext size={self.size} level={self.level} log_scale={log2(self.scale):.1f}>"


def encode(params: Parameters, values: ArrayLike, *, level: int | None = None) -> Plaintext:
    """1 to N/2 numbers as a plaintext of ``level`` (default: that of fresh vectors), with the scale of that level.

    Raises DataError for NaN, infinity or what is no number, ShapeError for another shape or too many values,
    InvalidParameterError for a level that is not there.
    """
    level = params.depth if level is None else level
    if not 0 <= level <= params.depth:
        raise InvalidParameterError(
            f"the 'level' parameter must be in [0, {params.depth}]; got {level} instead"
        )
    array = cleartext(values, slots=params.slots)
    native = params.native.encode(pack(array, slots=params.slots), level=level, scale=params.scales[level])
    return Plaintext(native, params, len(array), float(np.abs(array).max()), array.dtype.kind == "c")
