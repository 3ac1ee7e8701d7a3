"""The larger of two, of many along an axis, of windows: tournaments of few rounds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from tacit.backends.mpc.engine import B, Engine, S
from tacit.backends.mpc.fixedpoint import width_of, words_of_range
from tacit.backends.mpc.functions.piecewise import Affine, Pieces, evaluate
from tacit.backends.mpc.functions.polynomial import Variable
from tacit.backends.mpc.steps import Steps, Words, together
from tacit.errors import InvalidParameterError

__all__ = ["absolute", "argmax", "clip", "largest", "max_pool", "maximum", "minimum", "relu"]


ROUND = 40.0
"""Bits for an element that a round is worth. Less than for polynomials: groups take local work, too."""


def relu(engine: Engine[S, B], x: S, *, f: int, low: float, high: float) -> Steps[S]:
    """max(x, 0), exactly."""
    least, most = words_of_range(f, low, high)
    if most <= 0:
        return x.times(0)
    if least >= 0:
        return x
    return (yield from engine.rectify(x, width_of(least, most)))


def absolute(engine: Engine[S, B], x: S, *, f: int, low: float, high: float) -> Steps[S]:
    """|x| = 2·max(x, 0) - x, exactly."""
    positive = yield from relu(engine, x, f=f, low=low, high=high)
    return positive.times(2) - x


def clip(
    engine: Engine[S, B], x: S, *, f: int, low: float, high: float, least: float, most: float
) -> Steps[S]:
    """x, but not below ``least`` nor above ``most``: both ends in one comparison. Exact but for rounding the ends."""
    if not least <= most:
        raise InvalidParameterError("the ends of a clip must be in order")
    domain = words_of_range(f, low, high)
    ends = (round(least * 2.0**f), round(most * 2.0**f))
    thresholds: list[int] = []
    pieces = [Affine(1, 0, 0.0)]
    if domain[0] < ends[0]:
        thresholds.insert(0, ends[0])
        pieces.insert(0, Affine(0, ends[0], 0.0))
    if domain[1] > ends[1]:
        thresholds.append(ends[1])
        pieces.append(Affine(0, ends[1], 0.0))
    width = (
        width_of(min(domain[0] - t for t in thresholds), max(domain[1] - t for t in thresholds))
        if (thresholds)
        else 1
    )
    return (
        yield from evaluate(engine, x, Pieces(f, Variable(f, 0, 1), tuple(thresholds), tuple(pieces), width))
    )


def maximum(engine: Engine[S, B], a: S, b: S, *, low: int, high: int) -> Steps[S]:
    """The larger of two of equal shapes, exactly, for low <= a - b <= high in words."""
    if high <= 0:
        return b
    if low >= 0:
        return a
    more = yield from engine.rectify(a - b, width_of(low, high))
    return b + more


def minimum(engine: Engine[S, B], a: S, b: S, *, low: int, high: int) -> Steps[S]:
    """The smaller of two, as `maximum`."""
    result = yield from maximum(engine, -a, -b, low=-high, high=-low)
    return -result


def largest(engine: Engine[S, B], x: S, axis: int, *, f: int, low: float, high: float) -> Steps[S]:
    """The largest along an axis, which is dropped; exact. ``low`` and ``high``: of every element.

    By groups in which each meets each at once, of sizes that `_tournament` chooses.
    """
    least, most = words_of_range(f, low, high)
    x = x.local(lambda w: np.moveaxis(w, axis, 0))
    for size in _tournament(x.shape[0], width_of(least - most, most - least)):
        groups = x.shape[0] // size
        rest = x[groups * size :]
        meeting = x[: groups * size].local(lambda w, n=size: w.reshape(n, -1, *w.shape[1:]))
        if size == 2:
            best = yield from maximum(engine, meeting[0], meeting[1], low=least - most, high=most - least)
        else:
            best = yield from _best(engine, meeting, width_of(least - most - 1, most - least))
        x = best.local(lambda w, r: np.concatenate([w, r]), rest)
    return x[0]


def _best(engine: Engine[S, B], x: S, width: int) -> Steps[S]:
    """The largest along the first axis: who is before all that come later, and beats all that came earlier."""
    size = x.shape[0]
    # By how far i + r is ahead: x_i - x_(i+r) - 1 where i + r is earlier, as equals then lose.
    earlier = np.arange(size).reshape(-1, *(1,) * (len(x.shape) - 1))
    beaten = yield from together(
        *(
            engine.negative(
                engine.add_public(
                    x.local(lambda w, r=r: w - np.roll(w, -r, axis=0)),
                    np.where(earlier + r >= size, ~np.uint64(0), np.uint64(0)).astype(np.uint64),
                ),
                width,
            )
            for r in range(1, size)
        )
    )
    wins: list[B] = [engine.flip(bits) for bits in beaten]
    while len(wins) > 1:
        half = len(wins) // 2
        joined = yield from together(*(engine.both(wins[i], wins[half + i]) for i in range(half)))
        wins = [*joined, *wins[2 * half :]]
    chosen = yield from engine.select(engine.reshape_bits(wins[0], x.shape), x)
    return chosen.sum(0)


@lru_cache(maxsize=1024)
def _tournament(n: int, width: int) -> tuple[int, ...]:
    """Sizes of groups, one after the other, until one of n is left: the cheapest, a round being worth `ROUND` bits
    for each of the n. Costs are about those of `replicated3`: of a comparison of w bits 1.5·w bits and 5 rounds, of a
    choice 85 bits and 2 rounds.
    """
    if n == 1:
        return ()
    options: list[tuple[float, tuple[int, ...]]] = []
    for size in range(2, min(n, 12) + 1):
        left = n // size + n % size
        rest = _tournament(left, width)
        options.append((_price(n, (size, *rest), width), (size, *rest)))
    return min(options)[1]


def _price(n: int, sizes: Sequence[int], width: int) -> float:
    bits, rounds, left = 0.0, 0, n
    for size in sizes:
        pairs = 1 if size == 2 else size * (size - 1)
        choices = 1 if size == 2 else size
        bits += left // size * (pairs * 1.5 * width + choices * 85.0)
        rounds += 6 if size == 2 else 7 + (size - 2).bit_length()
        left = left // size + left % size
    return bits + rounds * ROUND * n


def max_pool(
    engine: Engine[S, B],
    x: S,
    *,
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    pads: tuple[int, ...],
    dilations: tuple[int, ...],
    f: int,
    low: float,
    high: float,
) -> Steps[S]:
    """The largest of each window. x: (samples, channels, …sizes); ``pads``: all begins, then all ends, as in ONNX.

    One dimension after the other, so that windows that overlap share comparisons; what pads is the least word.
    """
    spatial = len(kernel)
    least = words_of_range(f, low, high)[0]
    if any(pads):
        width = [(0, 0), (0, 0), *((pads[i], pads[i + spatial]) for i in range(spatial))]
        x = engine.add_public(
            x.local(lambda w: np.pad(w, width)),
            np.pad(np.zeros(x.shape, dtype=np.uint64), width, constant_values=least % (1 << 64)),
        )
    for i in range(spatial):
        axis = 2 + i
        count = (x.shape[axis] - dilations[i] * (kernel[i] - 1) - 1) // strides[i] + 1
        starts = [k * dilations[i] for k in range(kernel[i])]
        parts = [_part(x, axis, s, s + (count - 1) * strides[i] + 1, strides[i]) for s in starts]
        stacked = parts[0].local(lambda *w: np.stack(w), *parts[1:])
        x = yield from largest(engine, stacked, 0, f=f, low=low, high=high)
    return x


def argmax(engine: Engine[S, B], x: S, axis: int, *, f: int, low: float, high: float) -> Steps[S]:
    """The index of the largest along an axis, which is dropped: an integer. Of several that are largest, the first."""
    least, most = words_of_range(f, low, high)
    width = width_of(least - most, most - least)
    shape = [1] * len(x.shape)
    shape[axis] = x.shape[axis]
    indices = np.broadcast_to(np.arange(x.shape[axis], dtype=np.uint64).reshape(shape), x.shape)
    index = engine.public(np.ascontiguousarray(indices))
    while x.shape[axis] > 1:
        size = x.shape[axis]
        even = size - size % 2
        # Neighbours meet, so that whoever comes first stays first: only a larger one replaces it.
        a, b = _part(x, axis, 0, even, 2), _part(x, axis, 1, even, 2)
        i, j = _part(index, axis, 0, even, 2), _part(index, axis, 1, even, 2)
        below = yield from engine.negative(a - b, width)
        more, further = yield from together(engine.select(below, b - a), engine.select(below, j - i))
        x = _join([a + more, _part(x, axis, even, size, 1)], axis)
        index = _join([i + further, _part(index, axis, even, size, 1)], axis)
    return index.local(lambda w: np.take(w, 0, axis))


def _part(x: S, axis: int, start: int, stop: int, step: int) -> S:
    index = (slice(None),) * axis + (slice(start, stop, step),)

    def linear(w: Words) -> Words:
        return np.ascontiguousarray(w[index])

    return x.local(linear)


def _join(parts: Sequence[S], axis: int) -> S:
    return parts[0].local(lambda *w: np.concatenate(w, axis=axis), *parts[1:])
