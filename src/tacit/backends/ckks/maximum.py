"""The largest element of windows (max-pool), in rounds: x → max(x, x shifted), where max(a, b) = (a + b + |a - b|)/2.

A round needs one rotation: in the layouts that are allowed, the elements of every window lie at the same differences of
slots. Every position takes part, those between windows too, and rows end in zeros (`Windows.spread`), so that nothing
in any slot leaves the interval for which |·| was approximated.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import numpy as np
import numpy.typing as npt

from tacit.backends.ckks.approximate import Approximation
from tacit.backends.ckks.layout import GridLayout, SlotLayout
from tacit.backends.ckks.polynomial import depth_of

__all__ = ["Maximum", "Round", "Windows", "pooled", "shift_of"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Pair = tuple[int, int]


@dataclass(frozen=True)
class Windows:
    """Windows over (channels, height, width), all of them inside: ``kernel``, ``strides``, ``dilations`` by axis."""

    shape: tuple[int, int, int]
    kernel: Pair
    strides: Pair
    dilations: Pair = (1, 1)

    @property
    def reach(self) -> Pair:
        """Rows and columns from the first to the last element of a window."""
        return (
            (self.kernel[0] - 1) * self.dilations[0],
            (self.kernel[1] - 1) * self.dilations[1],
        )

    @property
    def is_valid(self) -> bool:
        """Whether there is a window, and none leaves the shape; for windows that were read from bytes."""
        pairs = (self.kernel, self.strides, self.dilations)
        sound = len(self.shape) == 3 and all(len(pair) == 2 and min(pair) >= 1 for pair in pairs)
        return (
            sound and self.reach[0] < self.shape[1] and self.reach[1] < self.shape[2] and self.shape[0] >= 1
        )

    @property
    def result(self) -> tuple[int, int, int]:
        channels, height, width = self.shape
        reach = self.reach
        return (
            channels,
            (height - 1 - reach[0]) // self.strides[0] + 1,
            (width - 1 - reach[1]) // self.strides[1] + 1,
        )

    @property
    def offsets(self) -> tuple[Pair, ...]:
        """Of every round, (rows, columns): after them the first element of each window is the largest one.

        The farthest come first: where blocks of a power of two repeat, all of them then compare the same pairs.
        """
        found: list[Pair] = []
        for axis in (0, 1):
            covered, steps = 1, []
            while covered < self.kernel[axis]:
                steps.append(min(covered, self.kernel[axis] - covered))
                covered += steps[-1]
            for step in sorted(steps, reverse=True):
                far = step * self.dilations[axis]
                found.append((far, 0) if axis == 0 else (0, far))
        return tuple(found)

    @cached_property
    def origins(self) -> IntArray:
        """(results,) element at which each window begins."""
        c, y, x = np.indices(self.result)
        _, height, width = self.shape
        places = (c * height + y * self.strides[0]) * width + x * self.strides[1]
        return np.asarray(places.reshape(-1), dtype=np.int64)

    @cached_property
    def members(self) -> IntArray:
        """(results, elements of a window) elements that each result is the largest of."""
        dy = np.arange(self.kernel[0])[:, None] * self.dilations[0]
        dx = np.arange(self.kernel[1])[None, :] * self.dilations[1]
        inside: IntArray = self.origins[:, None] + (dy * self.shape[2] + dx).reshape(1, -1)
        return inside

    def apply(self, values: FloatArray) -> FloatArray:
        """(elements, …) → (results, …)."""
        largest = values[self.members[:, 0]]
        for column in self.members.T[1:]:
            largest = np.maximum(largest, values[column])
        return largest

    def spread(self, values: FloatArray) -> FloatArray:
        """(elements, samples) → (channels, places, samples): rows one after the other, then zeros, as in slots."""
        channels, height, width = self.shape
        spread = np.zeros((channels, (height + self.reach[0] + 1) * width, values.shape[1]))
        spread[:, : height * width] = values.reshape(channels, height * width, -1)
        return spread

    def shifted(self, spread: FloatArray, offset: Pair) -> FloatArray:
        """What lies ``offset`` further on, in the same form."""
        return np.roll(spread, -(offset[0] * self.shape[2] + offset[1]), axis=1)

    def collect(self, spread: FloatArray) -> FloatArray:
        """(channels, places, samples) → (results, samples)."""
        channels, height, width = self.shape
        flat = spread[:, : height * width].reshape(channels * height * width, -1)
        return flat[self.origins]


@dataclass(frozen=True, eq=False)
class Round:
    """x → gain · max(x, x shifted by ``offset``). ``absolute``: approximates |t| on [-1, 1], which holds x - x'."""

    offset: Pair
    absolute: Approximation
    gain: float

    @property
    def depth(self) -> int:
        return depth_of(self.absolute.degree)


@dataclass(frozen=True, eq=False)
class Maximum:
    """The largest elements of windows of the value ``reads[0]``. ``name``: of the node in the graph, for messages."""

    reads: tuple[int, ...]
    windows: Windows
    rounds: tuple[Round, ...]
    name: str = ""

    @property
    def depth(self) -> int:
        return sum(turn.depth for turn in self.rounds)

    @property
    def size(self) -> int:
        """Elements of the result."""
        return prod(self.windows.result)

    @property
    def columns(self) -> tuple[tuple[Pair, ...], ...]:
        """For each round, the pairs of columns whose maxima it makes, by position in what the round before made.

        One column an element at first, one a result in the end; only what a later round reads is made.
        """
        windows = self.windows
        wanted = [windows.origins]
        far = [offset[0] * windows.shape[2] + offset[1] for offset in windows.offsets]
        for distance in reversed(far):
            wanted.append(np.union1d(wanted[-1], wanted[-1] + distance))
        wanted[-1] = np.arange(prod(windows.shape))
        made = wanted[::-1]
        return tuple(
            tuple(zip(*(np.searchsorted(before, e).tolist() for e in (after, after + distance)), strict=True))
            for before, after, distance in zip(made[:-1], made[1:], far, strict=True)
        )


def shift_of(layout: SlotLayout, windows: Windows, offset: Pair) -> int | None:
    """Slots from an element to the one at ``offset`` from it; ``None`` where layout and windows do not go together.

    Either windows are the phases, in blocks that fill the span: their elements lie in different blocks at one place.
    Or there are no phases, and a gap after each channel keeps shifts within it.
    """
    if not isinstance(layout, GridLayout) or layout.shape != windows.shape:
        return None
    rows, columns = offset
    if layout.phases == (1, 1):
        reach = windows.reach
        used = (windows.shape[1] + reach[0]) * layout.row + reach[1] * layout.column
        if layout.channel < used or layout.row < windows.shape[2] * layout.column:
            return None
        return rows * layout.row + columns * layout.column
    f, g = layout.phases
    whole = windows.kernel == windows.strides == layout.phases and layout.span == layout.phase * f * g
    if not whole or windows.dilations != (1, 1):
        return None
    return (rows * g + columns) * layout.phase


def pooled(layout: GridLayout, windows: Windows) -> GridLayout:
    """Where results lie: in the slots of the first elements of windows, and in every block where there are phases."""
    if layout.phases == (1, 1):
        row, column = layout.row * windows.strides[0], layout.column * windows.strides[1]
        return replace(layout, shape=windows.result, row=row, column=column)
    return replace(layout, shape=windows.result, phases=(1, 1), span=layout.phase)
