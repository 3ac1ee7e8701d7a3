"""Which element of a flat vector each slot of a ciphertext holds.

A new layout is one more class with ``index_at``: the linear maps ask for nothing else (`linear.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tacit.errors import InvalidParameterError

__all__ = ["ColumnLayout", "ReplicatedLayout", "power_of_two"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def power_of_two(size: int) -> int:
    """The smallest power of two that is >= size >= 1."""
    return 1 << (size - 1).bit_length()


@dataclass(frozen=True)
class ReplicatedLayout:
    """Latency packing: one vector, again and again through all slots of one ciphertext.

    The slots are cut into blocks of ``block`` slots. Slot p of block c holds element (p + step·(c mod copies)) mod
    ``period``, or 0 when that is >= ``size``: the blocks are rotated by multiples of ``step`` against each other, so
    that one rotation of the ciphertext meets ``copies`` diagonals of a matrix at once. With ``copies`` = 1 all are
    alike.
    ``is_complex``: the vector is folded in half first: element j as the real part, element j + period as the imaginary
    part. ``period``, ``block`` and ``copies`` are powers of two, block·copies <= slots; ``period``, doubled if complex,
    is >= ``size``.
    """

    size: int
    slots: int
    period: int
    block: int
    copies: int = 1
    step: int = 0
    is_complex: bool = False

    def __post_init__(self) -> None:
        powers = (self.slots, self.period, self.block, self.copies)
        if (
            any(value < 1 or value & (value - 1) for value in powers)
            or not 1 <= self.size <= self.period * (1 + self.is_complex)
            or self.period > self.block
            or self.block * self.copies > self.slots
            or not 0 <= self.step < max(2, self.period)
        ):
            raise InvalidParameterError(f"not a layout: {self!r}")

    @staticmethod
    def plain(size: int, slots: int) -> ReplicatedLayout:
        """Unrotated replicas of a vector padded to a power of two."""
        period = power_of_two(size)
        return ReplicatedLayout(size, slots, period, period)

    @property
    def span(self) -> int:
        """Slots after which everything repeats."""
        return self.block * self.copies

    def index_at(self) -> IntArray:
        """(slots,) element held by each slot (its real part), up to period - 1."""
        p = np.arange(self.slots)
        return (p + self.step * ((p // self.block) % self.copies)) % self.period

    def pack(self, vector: FloatArray) -> FloatArray | npt.NDArray[np.complex128]:
        """(size,) → (slots,)."""
        padded = np.zeros(self.period * (1 + self.is_complex))
        padded[: self.size] = vector
        if not self.is_complex:
            return padded[self.index_at()]
        folded = padded[: self.period] + 1j * padded[self.period :]
        return folded[self.index_at()]

    def unpack(self, values: FloatArray) -> FloatArray:
        """(slots,) → (size,): the first block, which is never rotated."""
        return values[: self.size]


@dataclass(frozen=True)
class ColumnLayout:
    """Throughput packing: one ciphertext per feature, one slot per sample.

    ``is_complex``: two samples a slot, the second as the imaginary part; only for programs that are affine over the
    reals, which never mix the two.
    """

    size: int
    slots: int
    is_complex: bool = False

    @property
    def samples(self) -> int:
        """Samples that one request carries."""
        return self.slots * (2 if self.is_complex else 1)

    def pack(self, batch: FloatArray) -> FloatArray | npt.NDArray[np.complex128]:
        """(samples, size) → (size, slots)."""
        columns = np.ascontiguousarray(batch.T)
        if not self.is_complex:
            return columns
        packed = np.empty((columns.shape[0], self.slots), dtype=np.complex128)
        packed.real = columns[:, : self.slots]
        packed.imag = columns[:, self.slots :]
        return packed

    def unpack(self, columns: npt.NDArray[np.complex128]) -> FloatArray:
        """(size, slots) → (samples, size)."""
        if not self.is_complex:
            return np.ascontiguousarray(columns.real.T)
        return np.concatenate([columns.real, columns.imag], axis=1).T
