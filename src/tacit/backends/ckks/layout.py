"""Which element of a flat vector each slot of a ciphertext holds.

A new layout is one more frozen class with the members of `SlotLayout`, of which ``index_at`` says it all: sparse maps
ask for nothing else (`diagonals.py`). To have it chosen, yield it among the candidates (`placement.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tacit.errors import InvalidParameterError

__all__ = [
    "ColumnLayout",
    "GridLayout",
    "ReplicatedLayout",
    "SlotLayout",
    "WindowLayout",
    "power_of_two",
]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def power_of_two(size: int) -> int:
    """The smallest power of two that is >= size >= 1."""
    return 1 << (size - 1).bit_length()


class SlotLayout(Protocol):
    """A vector of ``size`` elements in one ciphertext of ``slots`` slots.

    ``span``: slots after which everything repeats, a power of two that divides ``slots``.
    """

    @property
    def size(self) -> int: ...
    @property
    def slots(self) -> int: ...
    @property
    def span(self) -> int: ...
    def index_at(self) -> IntArray:
        """(slots,) element held by each slot; -1, or >= size, where it holds 0."""
        ...

    def pack(self, vector: FloatArray) -> npt.NDArray[Any]:
        """(size,) → (slots,)."""
        ...


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
class GridLayout:
    """Latency packing between convolutions: (channels, height, width) with any strides, again and again.

    Element (c, y, x) of ``shape`` lies at slot c·channel + (y div f)·row + (x div g)·column +
    ((y mod f)·g + x mod g)·phase for ``phases`` = (f, g): neighbours that a stride or a pool takes apart lie in blocks
    of their own, and as the outermost blocks they are added up by folds. ``span``: the pattern repeats, a power of
    two. Slots that hold no element may hold anything small: no map reads them.
    """

    shape: tuple[int, int, int]
    slots: int
    channel: int
    row: int
    phases: tuple[int, int]
    phase: int
    span: int
    column: int = 1

    def __post_init__(self) -> None:
        steps = (self.channel, self.row, self.column, self.phase)
        if self.slots % self.span or min(*steps, *self.phases, *self.shape) < 1:
            raise InvalidParameterError(f"not a layout: {self!r}")
        places = self.places()
        if places.max() >= self.span or len(np.unique(places)) != places.size:
            raise InvalidParameterError(f"elements of a layout meet in one slot: {self!r}")

    @property
    def size(self) -> int:
        channels, height, width = self.shape
        return channels * height * width

    def places(self) -> IntArray:
        """(size,) slot of each element in the first span."""
        c, y, x = np.indices(self.shape).reshape(3, -1)
        f, g = self.phases
        inner = c * self.channel + y // f * self.row + x // g * self.column
        return np.asarray(inner + (y % f * g + x % g) * self.phase)

    def index_at(self) -> IntArray:
        """(slots,) element held by each slot, -1 where it holds 0."""
        index = np.full(self.span, -1)
        index[self.places()] = np.arange(self.size)
        return np.tile(index, self.slots // self.span)

    def pack(self, vector: npt.NDArray[np.float64]) -> FloatArray:
        """(size,) → (slots,)."""
        return _fill(self.index_at(), vector)


@dataclass(frozen=True)
class WindowLayout:
    """How the owner packs an image for a convolution: blocks of slots, each a shifted and thinned copy.

    Slot i·``width`` + j of block b holds element (c, step·i + dy, step·j + dx) of ``shape``, or 0 outside of it, where
    (c, dy, dx) = ``windows[b]`` and ``step`` = (over rows, over columns). The owner packs before encryption, so copies
    cost nothing; the table shows the geometry of the first convolution and no weight.
    """

    shape: tuple[int, int, int]
    slots: int
    block: int
    width: int
    step: tuple[int, int]
    windows: tuple[tuple[int, int, int], ...]

    def __post_init__(self) -> None:
        fits = self.block >= 1 and self.width >= 1 and min(*self.step, *self.shape) >= 1
        if not fits or self.block * len(self.windows) != self.slots:
            raise InvalidParameterError("the blocks of a window layout do not fill its slots")

    @property
    def size(self) -> int:
        channels, height, width = self.shape
        return channels * height * width

    @property
    def span(self) -> int:
        return self.slots

    def index_at(self) -> IntArray:
        """(slots,) element held by each slot, -1 where it holds 0."""
        channels, height, width = self.shape
        c, dy, dx = (column[:, None] for column in np.array(self.windows, dtype=np.int64).T)
        p = np.arange(self.block)[None, :]
        y = self.step[0] * (p // self.width) + dy
        x = self.step[1] * (p % self.width) + dx
        inside = (c >= 0) & (c < channels) & (y >= 0) & (y < height) & (x >= 0) & (x < width)
        return np.where(inside, (c * height + y) * width + x, -1).reshape(-1)

    def pack(self, vector: npt.NDArray[np.float64]) -> FloatArray:
        """(size,) → (slots,)."""
        return _fill(self.index_at(), vector)


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

    def pack(self, batch: FloatArray | npt.NDArray[np.complex128]) -> FloatArray | npt.NDArray[np.complex128]:
        """(samples, size) → (size, slots)."""
        if np.iscomplexobj(batch):
            return np.ascontiguousarray(batch.T, dtype=np.complex128)
        columns = np.ascontiguousarray(batch.T.real)
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


def _fill(index: IntArray, vector: FloatArray) -> FloatArray:
    """The elements of a vector at ``index``, 0 where that is -1."""
    padded = np.zeros(vector.size + 1)
    padded[:-1] = vector
    values: FloatArray = padded[index]
    return values
