"""The layout pass: chooses how every value between two functions lies in the slots.

Each affine map runs from the layouts of what it reads to the layout of its result. What that takes (rotations,
diagonals, keys) follows from the two layouts and the structure of the matrix, so candidates are priced without any
encryption, and a search over the layers keeps the cheapest choices of layouts. To add a layout, yield it
from `_sources` (what the owner packs) or `_layouts` (what one map makes and the next reads).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from math import ceil
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from tacit.backends.ckks.diagonals import baby_steps, connect, folds, rotations_between
from tacit.backends.ckks.layout import (
    GridLayout,
    ReplicatedLayout,
    SlotLayout,
    WindowLayout,
    power_of_two,
)
from tacit.backends.ckks.linear import SlotMap, between, input_layout
from tacit.backends.ckks.matrix import Matrix
from tacit.backends.ckks.maximum import Maximum, Windows, pooled, shift_of
from tacit.backends.ckks.meter import Meter, MeteredCiphertext, MeteredMap
from tacit.backends.ckks.normal import Model, ScaledAffine, Step
from tacit.backends.ckks.ridge import Ridge
from tacit.errors import DepthError, InternalError

__all__ = ["Placement", "place"]

IntArray = npt.NDArray[np.int64]
Shape = tuple[int, int, int]
Item = TypeVar("Item")

BEAM = 6
"""Partial plans that are kept after each map."""
MAX_STEP = 4
"""Largest stride that is looked for."""
SECONDS_PER_KEY = 2e-4
"""What one more rotation key counts, so that keys are not spent on nothing."""


@dataclass(frozen=True, eq=False)
class Placement:
    """``source``: what the owner packs; ``maps``: for each affine map one for every value that it reads.

    Maps of several values have no bias, and leave to their sum the ``folds`` that they have in common. ``moves``: of
    each maximum, by the value that it makes, the rotation of every round.
    """

    source: ReplicatedLayout | WindowLayout
    maps: tuple[tuple[SlotMap, ...], ...]
    folds: tuple[tuple[int, ...], ...]
    moves: Mapping[int, tuple[int, ...]]


@dataclass(frozen=True, eq=False)
class _Path:
    """Layouts chosen so far, by value. ``rotations``: of the first map, if it has a choice."""

    layouts: tuple[SlotLayout | None, ...]
    rotations: tuple[int, ...] | None
    seconds: float


@dataclass(frozen=True, eq=False)
class _Net:
    """What the search needs to know of a model, by value.

    ``kin``: the value whose layout it shares (functions work element by element), ``last_read``: the node that reads
    it last, ``steps``: strides at which maps read it.
    """

    shapes: tuple[Shape, ...]
    kin: tuple[int, ...]
    last_read: tuple[int, ...]
    steps: tuple[tuple[tuple[int, int], ...], ...]
    windows: tuple[tuple[Windows, ...], ...]

    @staticmethod
    def of(model: Model) -> _Net:
        shapes = [grid_shape(model.input_shape)]
        kin = [0]
        last_read = [0] * (len(model.nodes) + 1)
        steps: list[list[tuple[int, int]]] = [[] for _ in last_read]
        windows: list[list[Windows]] = [[] for _ in last_read]
        for made, node in enumerate(model.nodes, start=1):
            kin.append(made)
            for read in node.reads:
                last_read[read] = made
            if isinstance(node, ScaledAffine):
                shapes.append(grid_shape(node.shape))
                for read, matrix in zip(node.reads, node.matrices, strict=True):
                    steps[read].append(_step(matrix, shapes[read], shapes[made]))
            elif isinstance(node, Maximum | Ridge):
                shapes.append(node.windows.result)
                steps[node.reads[0]].append(node.windows.strides)
                windows[node.reads[0]].append(node.windows)
            else:
                shapes.append(shapes[node.reads[0]])
                kin = _joined(kin, (made, *node.reads))
        return _Net(
            tuple(shapes), tuple(kin), tuple(last_read), _together(kin, steps), _together(kin, windows)
        )


def _together(kin: list[int], items: list[list[Item]]) -> tuple[tuple[Item, ...], ...]:
    """What holds for any value of a kin, without repetitions."""
    return tuple(
        tuple(dict.fromkeys(s for v, k in enumerate(kin) if k == own for s in items[v])) for own in kin
    )


def _joined(kin: list[int], values: tuple[int, ...]) -> list[int]:
    groups = {kin[value] for value in values}
    first = min(groups)
    return [first if group in groups else group for group in kin]


@lru_cache(maxsize=8)
def place(model: Model, log_n: int) -> Placement:
    """The cheapest layouts found. Every size of the model must fit the slots when padded to a power of two.

    The same for the same structure: owner and provider never have to exchange it.
    """
    slots = 1 << (log_n - 1)
    net, levels = _Net.of(model), model.levels
    readers = [node for node in model.affines if 0 in node.reads]
    alone = len(readers) == 1 and readers[0].reads == (0,)
    paths = [_Path((None,), None, 0.0)]
    if not alone:
        paths = [_Path((ReplicatedLayout.plain(model.sizes[0], slots),), None, 0.0)]
    for made, node in enumerate(model.nodes, start=1):
        if isinstance(node, Step):
            paths = [replace(path, layouts=(*path.layouts, path.layouts[node.reads[0]])) for path in paths]
            continue
        if isinstance(node, Maximum | Ridge):
            paths = [replace(path, layouts=(*path.layouts, _pooled(path, node))) for path in paths]
            continue
        found: dict[tuple[SlotLayout | None, ...], _Path] = {}
        for path in paths:
            for output in _wanted(net, made, node, path, slots, is_last=made == len(model.nodes)):
                for option in _extended(path, node, net, output, log_n, levels[made]):
                    # Only layouts of what is still read matter to what comes after.
                    live = tuple(
                        layout
                        for value, layout in enumerate(option.layouts)
                        if value == made or net.last_read[value] > made
                    )
                    known = found.get(live)
                    if known is None or option.seconds < known.seconds:
                        found[live] = option
        if not found:
            raise DepthError(
                f"no layout in {slots} slots serves all readers of the value of shape {net.shapes[made]}",
                hint="ask for many samples at once (`batch=`), or use smaller images",
            )
        paths = sorted(found.values(), key=lambda path: path.seconds)[:BEAM]
    return _built(model, paths[0])


def _pooled(path: _Path, node: Maximum | Ridge) -> SlotLayout:
    layout = path.layouts[node.reads[0]]
    if not isinstance(layout, GridLayout):
        raise InternalError("a maximum reads a value that is not in a grid")
    return pooled(layout, node.windows)


def _moves(path: _Path, node: Maximum | Ridge) -> tuple[int, ...]:
    layout = path.layouts[node.reads[0]]
    found = [shift_of(layout, node.windows, turn.offset) if layout else None for turn in node.rounds]
    moves = tuple(move for move in found if move is not None)
    if len(moves) != len(found):
        raise InternalError("the windows of a maximum do not go together with its layout")
    return moves


def _wanted(
    net: _Net, made: int, node: ScaledAffine, path: _Path, slots: int, *, is_last: bool
) -> Iterable[SlotLayout]:
    """Candidates for the layout of a map's result, in order of preference."""
    if is_last:
        return [ReplicatedLayout.plain(node.size, slots)]
    for value, layout in enumerate(path.layouts):
        if net.kin[value] == net.kin[made] and layout is not None:
            return [layout]
    found = {}
    read = [path.layouts[value] for value in node.reads]
    windows = net.windows[made]
    gap = max((w.reach[0] + bool(w.reach[1]) for w in windows), default=0)
    for step in net.steps[made] or ((1, 1),):
        found.update(dict.fromkeys(_layouts(net.shapes[made], slots, step, read[0], gap)))
    if len(read) > 1:
        # Where a value is added to another of its shape, the same layout takes no rotation.
        for value, layout in zip(node.reads, read, strict=True):
            if layout is not None and net.shapes[value] == net.shapes[made]:
                found[layout] = None
    return [
        layout
        for layout in found
        if all(shift_of(layout, w, offset) is not None for w in windows for offset in w.offsets)
    ]


def grid_shape(shape: tuple[int, ...]) -> Shape:
    """Any shape as (channels, height, width)."""
    if len(shape) == 3:
        return shape[0], shape[1], shape[2]
    if len(shape) == 2:
        return shape[0], 1, shape[1]
    return 1, 1, int(np.prod(shape, dtype=np.int64))


def _built(model: Model, path: _Path) -> Placement:
    source = path.layouts[0]
    if not isinstance(source, ReplicatedLayout | WindowLayout):
        raise InternalError(f"the owner cannot pack a {type(source).__name__}")
    maps: list[tuple[SlotMap, ...]] = []
    folded: list[tuple[int, ...]] = []
    moves = {
        made: _moves(path, node)
        for made, node in enumerate(model.nodes, start=1)
        if isinstance(node, Maximum | Ridge)
    }
    for made, node in enumerate(model.nodes, start=1):
        if not isinstance(node, ScaledAffine):
            continue
        output = path.layouts[made]
        if output is None:
            raise InternalError("a value has no layout")
        if len(node.reads) == 1:
            maps.append((_single_map(node, path, output),))
            folded.append(())
            continue
        nothing = np.zeros(node.size)
        parts = []
        for read, matrix in zip(node.reads, node.matrices, strict=True):
            before = path.layouts[read]
            if before is None:
                raise InternalError("a value has no layout")
            parts.append(connect(before, matrix, nothing, output))
        common = min((part.folds for part in parts), key=len)
        kept = [part.folds[: len(part.folds) - len(common)] for part in parts]
        maps.append(tuple(replace(part, folds=own) for part, own in zip(parts, kept, strict=True)))
        folded.append(common)
    return Placement(source, tuple(maps), tuple(folded), moves)


def _single_map(node: ScaledAffine, path: _Path, output: SlotLayout) -> SlotMap:
    read, matrix = node.reads[0], node.matrices[0]
    source = path.layouts[read]
    if source is None:
        raise InternalError("a value has no layout")
    if read:
        return connect(source, matrix, node.bias, output)
    if isinstance(source, ReplicatedLayout) and path.rotations is not None:
        return between(source, matrix.toarray(), node.bias)
    return connect(source, matrix, node.bias, output, rotations=path.rotations)


def _seconds(log_n: int, level: int, rotations: IntArray, steps: Sequence[int]) -> float:
    """Estimated seconds of one map, with what its keys count."""
    meter = Meter(log_n, [1.0] * (level + 2), 1 if log_n < 14 else 2)
    baby = baby_steps(rotations)
    babies, giants = np.unique(rotations % baby), np.unique(rotations // baby)
    counts = len(rotations), int(np.count_nonzero(babies)), int(np.count_nonzero(giants))
    meter.linear(MeteredCiphertext(level, 1.0), MeteredMap(*counts, level, 1.0), rescale=False)
    meter.rotate_sum(MeteredCiphertext(max(0, level - 1), 1.0), steps)
    return meter.seconds + SECONDS_PER_KEY * (counts[1] + counts[2] + len(steps))


def _extended(
    path: _Path, node: ScaledAffine, net: _Net, output: SlotLayout, log_n: int, level: int
) -> Iterator[_Path]:
    """The path with one map more, in every way that there is. ``level``: of the result."""
    if path.layouts[0] is None:
        matrix = node.matrices[0]
        for source, choice in _sources(matrix, net.shapes[0], output, output.slots, net.steps[0][0]):
            seconds = _seconds(log_n, level, np.array(choice), folds(source, output))
            yield _Path((source, *path.layouts[1:], output), tuple(choice), seconds)
        return
    seconds = path.seconds
    steps = []
    for read, matrix in zip(node.reads, node.matrices, strict=True):
        source_layout = path.layouts[read]
        if source_layout is None:
            raise InternalError("a value has no layout")
        rotations = rotations_between(source_layout, matrix, output)
        steps.append(folds(source_layout, output))
        seconds += _seconds(log_n, level, rotations, steps[-1])
    yield _Path((*path.layouts, output), path.rotations, seconds)


def _step(matrix: Matrix, before: Shape, after: Shape) -> tuple[int, int]:
    """The stride, over rows and over columns, at which a map reads its input: the one that needs fewest offsets.

    (1, 1) for maps without such structure, as dense ones.
    """
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    found = []
    for axis in (1, 2):
        inner = 1 if axis == 2 else before[2], 1 if axis == 2 else after[2]
        source = matrix.indices // inner[0] % before[axis]
        result = rows // inner[1] % after[axis]
        choices = []
        for step in range(1, MAX_STEP + 1):
            offsets = np.bincount(source - step * result + MAX_STEP * after[axis])
            choices.append((int(np.count_nonzero(offsets)), step))
        fewest, step = min(choices)
        found.append(step if fewest < before[axis] else 1)
    return found[0], found[1]


def _layouts(
    shape: Shape, slots: int, step: tuple[int, int], before: SlotLayout | None, gap: int = 0
) -> Iterator[SlotLayout]:
    """Candidates for a value of ``shape`` that the next map reads at stride ``step``, in order of size.

    ``before``: the layout of the value that it is made from. ``gap``: empty rows after each channel that may be wanted.
    """
    channels, height, width = shape
    if height * width == 1 or channels == height == 1:
        yield ReplicatedLayout.plain(channels * height * width, slots)
        return
    inherited = (before.row, before.channel) if isinstance(before, GridLayout) else (0, 0)
    seen = set()
    for f, g in {(1, 1), step}:
        high, wide = ceil(height / f), ceil(width / g)
        for row in {wide, power_of_two(wide), inherited[0]}:
            for channel in {
                high * row,
                power_of_two(high * row),
                power_of_two((high + gap) * row),
                inherited[1],
            }:
                if row < wide or channel < high * row:
                    continue
                phase = power_of_two(channels * channel) if f * g > 1 else channels * channel
                span = power_of_two(phase * f * g)
                if span <= slots:
                    seen.add(GridLayout(shape, slots, channel, row, (f, g), phase, span))
    # Plain replicas are what dense maps from the input give.
    yield ReplicatedLayout.plain(channels * height * width, slots)
    yield from sorted(seen, key=lambda grid: (grid.span, grid.channel, grid.row, grid.phases))


def _sources(
    matrix: Matrix, shape: Shape, output: SlotLayout, slots: int, step: tuple[int, int]
) -> Iterator[tuple[ReplicatedLayout | WindowLayout, Sequence[int]]]:
    """What the owner may pack for the first map, each with the rotations that the map then needs."""
    size, outputs = matrix.shape[1], matrix.shape[0]
    if isinstance(output, ReplicatedLayout):
        source = input_layout(size, outputs, slots)
        m = power_of_two(outputs)
        count = source.period * m // source.span if source.copies > 1 else min(source.period, m)
        yield source, range(source.period // source.copies if m > source.period else count)
    if isinstance(output, GridLayout):
        yield from _windows(matrix, shape, output, step)


def _windows(
    matrix: Matrix, shape: Shape, output: GridLayout, step: tuple[int, int]
) -> Iterator[tuple[WindowLayout, Sequence[int]]]:
    """Shifted copies of an image for a convolution of stride ``step``.

    A *tap* (c, dy, dx) is what an output reads besides its own position. Each is split into a window, of which the
    owner packs a copy, and a rotation inside the block. ``far`` rows or columns are all packed as windows, else only
    one stride of them is. Blocks of an output read ``count`` consecutive windows, by rotations over whole blocks; where
    several spans fold into one, each reads windows of its own.
    """
    block = min(output.channel, output.phase)
    if block & (block - 1) or output.channel % block or output.phase % block:
        return
    thin = step[0] * output.phases[0], step[1] * output.phases[1]
    taps = _taps(matrix, shape, output, step)
    blocks = output.slots // block
    per_span = output.span // block
    groups = output.slots // output.span
    for far in product((False, True), repeat=2):
        windows, inner = set(), set()
        for c, y, x in taps:
            e = 0 if far[0] else y // thin[0], 0 if far[1] else x // thin[1]
            windows.add((c, y - e[0] * thin[0], x - e[1] * thin[1]))
            inner.add(e[0] * output.row + e[1])
        count = power_of_two(ceil(len(windows) / groups))
        if count > per_span:
            continue
        ordered = sorted(windows)
        h = np.arange(blocks)
        chosen = h % count + count * (h // per_span)
        table = tuple(ordered[w] if w < len(ordered) else (-1, 0, 0) for w in chosen)
        source = WindowLayout(shape, output.slots, block, output.row, thin, table)
        rotations = sorted({(d * block + e) % output.slots for d in range(count) for e in inner})
        try:
            connect(source, matrix, np.zeros(matrix.shape[0]), output, rotations=rotations)
        except InternalError:
            continue  # Blocks are too small for the rotations inside them.
        yield source, rotations


def _taps(
    matrix: Matrix, shape: Shape, output: GridLayout, step: tuple[int, int]
) -> list[tuple[int, int, int]]:
    """What outputs read, (c, dy, dx) relative to the position of their slot inside its block."""
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    _, height, width = output.shape
    y, x = rows // width % height, rows % width
    c = matrix.indices // (shape[1] * shape[2])
    dy = matrix.indices // shape[2] % shape[1] - step[0] * (y - y % output.phases[0])
    dx = matrix.indices % shape[2] - step[1] * (x - x % output.phases[1])
    low = int(dy.min(initial=0)), int(dx.min(initial=0))
    spread = int(dy.max(initial=0)) - low[0] + 1, int(dx.max(initial=0)) - low[1] + 1
    codes = np.unique((c * spread[0] + dy - low[0]) * spread[1] + dx - low[1])
    return [
        (
            int(code) // (spread[0] * spread[1]),
            int(code) // spread[1] % spread[0] + low[0],
            int(code) % spread[1] + low[1],
        )
        for code in codes
    ]
