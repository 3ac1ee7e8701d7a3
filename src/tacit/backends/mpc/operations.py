"""What instructions do on an engine. Local ones are functions, the others steps; each by its kind.

Operands are secrets, or bits where an instruction says so. All shapes have the samples first where the value has them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from tacit.backends.mpc.engine import Bits, Convolution, Engine, Secret
from tacit.backends.mpc.functions.octaves import evaluate_octaves, octaves
from tacit.backends.mpc.functions.softmax import softmax
from tacit.backends.mpc.functions.table import FUNCTIONS
from tacit.backends.mpc.program import Field
from tacit.backends.mpc.steps import Steps, Words, together

__all__ = ["LOCAL", "STEPPED", "Fields"]

S = TypeVar("S", bound=Secret)
B = TypeVar("B", bound=Bits)
Fields = Mapping[str, Field]
Local = Callable[[Engine[Any, Any], Sequence[Any], Fields], Any]
Stepped = Callable[[Engine[Any, Any], Sequence[Any], Fields], Steps[Any]]


def whole(fields: Fields, key: str, default: int | None = None) -> int:
    value = fields.get(key, default)
    if not isinstance(value, int):
        raise KeyError(key)
    return value


def wholes(fields: Fields, key: str) -> tuple[int, ...]:
    value = fields[key]
    if not isinstance(value, tuple):
        raise KeyError(key)
    return value


# Local.


def _reshape(x: Words, shape: tuple[int, ...]) -> Words:
    return x.reshape((x.shape[0], *shape[1:]) if shape and shape[0] == -1 else shape)


def _slices(fields: Fields, rank: int) -> tuple[slice, ...]:
    index = [slice(None)] * rank
    parts = (wholes(fields, key) for key in ("axes", "starts", "ends", "steps"))
    for axis, start, end, step in zip(*parts, strict=True):
        index[axis] = slice(start, end, step)
    return tuple(index)


def _pad(x: Words, pads: tuple[int, ...]) -> Words:
    return np.pad(x, [(pads[i], pads[i + x.ndim]) for i in range(x.ndim)])


def _padded(engine: Engine[Any, Any], operands: Sequence[Any], fields: Fields) -> Any:
    """Around x, words of ``value``."""
    (x,) = operands
    pads, value = wholes(fields, "pads"), whole(fields, "value", 0)
    result = x.local(lambda words: _pad(words, pads))
    if value:
        around = 1 - _pad(np.ones(x.shape, dtype=np.uint64), pads)
        result = engine.add_public(result, np.asarray(around * np.uint64(value % (1 << 64))))
    return result


def _windowed(x: Words, fields: Fields) -> Words:
    """Sum of each window along the last two axes, of an x that is padded."""
    (height, width), (down, across) = wholes(fields, "kernel"), wholes(fields, "strides")
    row_step, column_step = wholes(fields, "dilations")
    rows = (x.shape[-2] - row_step * (height - 1) - 1) // down + 1
    columns = (x.shape[-1] - column_step * (width - 1) - 1) // across + 1
    total = np.zeros((*x.shape[:-2], rows, columns), dtype=np.uint64)
    for i in range(height):
        for j in range(width):
            total += _part(x, i * row_step, j * column_step, rows, columns, down, across)
    return total


def _part(x: Words, top: int, left: int, rows: int, columns: int, down: int, across: int) -> Words:
    return x[..., top : top + (rows - 1) * down + 1 : down, left : left + (columns - 1) * across + 1 : across]


def _take(engine: Engine[Any, Any], operands: Sequence[Any], fields: Fields) -> Any:
    places, shape = np.array(wholes(fields, "places"), dtype=np.int64), wholes(fields, "shape")
    return operands[0].local(lambda x: np.take(x, places.reshape(shape), axis=whole(fields, "axis")))


def _concatenated(engine: Engine[Any, Any], operands: Sequence[Any], fields: Fields) -> Any:
    """Operands without samples are repeated for each."""
    axis = whole(fields, "axis")
    rank = max(len(x.shape) for x in operands)
    samples = next((x.shape[0] for x in operands if len(x.shape) == rank and x.shape[0] != 1), 1)
    full = [
        x if axis == 0 or x.shape[0] == samples else x.local(lambda w: np.repeat(w, samples, axis=0))
        for x in operands
    ]
    return full[0].local(lambda *words: np.concatenate(words, axis=axis), *full[1:])


LOCAL: Mapping[str, Local] = {
    "add": lambda e, x, f: x[0].local(np.add, x[1]),
    "subtract": lambda e, x, f: x[0].local(np.subtract, x[1]),
    "negate": lambda e, x, f: -x[0],
    "times": lambda e, x, f: x[0].times(whole(f, "by")),
    "reshape": lambda e, x, f: x[0].local(lambda w: _reshape(w, wholes(f, "shape"))),
    "transpose": lambda e, x, f: x[0].local(lambda w: np.ascontiguousarray(w.transpose(wholes(f, "perm")))),
    "slice": lambda e, x, f: x[0].local(lambda w: np.ascontiguousarray(w[_slices(f, w.ndim)])),
    "pad": _padded,
    "take": _take,
    "concat": _concatenated,
    "sum": lambda e, x, f: x[0].sum(wholes(f, "axes"), keepdims=bool(whole(f, "keepdims"))),
    "window_sum": lambda e, x, f: x[0].local(lambda w: _windowed(w, f)),
    "flip": lambda e, x, f: e.flip(x[0]),
    "reshape_bits": lambda e, x, f: e.reshape_bits(
        x[0],
        (x[0].shape[0], *wholes(f, "shape")[1:]) if wholes(f, "shape")[:1] == (-1,) else wholes(f, "shape"),
    ),
}


# Between parties.


def _multiply(engine: Engine[S, B], operands: Sequence[S], fields: Fields) -> Steps[S]:
    result = yield from engine.multiply(operands[0], operands[1], cut=whole(fields, "cut", 0))
    return result


def _matmul(engine: Engine[S, B], operands: Sequence[S], fields: Fields) -> Steps[S]:
    result = yield from engine.matmul(operands[0], operands[1], cut=whole(fields, "cut", 0))
    return result


def _convolve(engine: Engine[S, B], operands: Sequence[S], fields: Fields) -> Steps[S]:
    strides, pads, dilations = (wholes(fields, key) for key in ("strides", "pads", "dilations"))
    placement = Convolution(
        (strides[0], strides[1]),
        (pads[0], pads[1], pads[2], pads[3]),
        (dilations[0], dilations[1]),
        whole(fields, "group"),
    )
    cut = whole(fields, "cut", 0)
    result = yield from engine.convolve(operands[0], operands[1], placement, cut=cut)
    return result


def _scale(engine: Engine[S, B], operands: Sequence[S], fields: Fields) -> Steps[S]:
    """By a public integer, then cut."""
    result = yield from engine.truncate(operands[0].times(whole(fields, "by")), whole(fields, "cut"))
    return result


def _truncate(engine: Engine[S, B], operands: Sequence[S], fields: Fields) -> Steps[S]:
    result = yield from engine.truncate(operands[0], whole(fields, "cut"))
    return result


def _relu(engine: Engine[S, B], operands: Sequence[S], fields: Fields) -> Steps[S]:
    result = yield from engine.rectify(operands[0], whole(fields, "width"))
    return result


def _absolute(engine: Engine[S, B], operands: Sequence[S], fields: Fields) -> Steps[S]:
    positive = yield from engine.rectify(operands[0], whole(fields, "width"))
    return positive.times(2) - operands[0]


def larger(engine: Engine[S, B], x: S, y: S, width: int) -> Steps[S]:
    """max(x, y), where x - y is of ``width`` bits."""
    above = yield from engine.rectify(x - y, width)
    return y + above


def _maximum(engine: Engine[S, B], operands: Sequence[S], fields: Fields) -> Steps[S]:
    result = yield from larger(engine, operands[0], operands[1], whole(fields, "width"))
    return result


def _minimum(engine: Engine[S, B], operands: Sequence[S], fields: Fields) -> Steps[S]:
    x, y = operands
    above = yield from engine.rectify(x - y, whole(fields, "width"))
    return x.local(np.subtract, above)


def _clip(engine: Engine[S, B], operands: Sequence[S], fields: Fields) -> Steps[S]:
    """x between low and high: low + max(x - low, 0) - max(x - high, 0), both side by side."""
    x, low, high = operands
    width = whole(fields, "width")
    above_low, above_high = yield from together(
        engine.rectify(x - low, width), engine.rectify(x - high, width)
    )
    result: S = above_low.local(lambda a, b, c: a - b + c, above_high, low)
    return result


def largest(engine: Engine[S, B], parts: S, width: int) -> Steps[S]:
    """The largest along the first axis, pairwise: as many comparisons in a row as a tree is high."""
    while (count := parts.shape[0]) > 1:
        half = count // 2
        made = yield from larger(engine, parts[:half], parts[half : 2 * half], width)
        rest = parts[2 * half :]
        parts = made.local(lambda a, b: np.concatenate([a, b]), rest) if count % 2 else made
    return parts[0]


def _max_pool(engine: Engine[S, B], operands: Sequence[S], fields: Fields) -> Steps[S]:
    """Windows of rows, then of columns; x is padded."""
    (x,) = operands
    width = whole(fields, "width")
    for axis, size, stride, step in zip(
        (-1, -2),
        wholes(fields, "kernel")[::-1],
        wholes(fields, "strides")[::-1],
        wholes(fields, "dilations")[::-1],
        strict=True,
    ):
        if size == 1 and stride == 1:
            continue
        x = x.local(lambda w, a=axis, n=size, s=stride, d=step: _stacked(w, a, n, s, d))
        x = yield from largest(engine, x, width)
    return x


def _stacked(x: Words, axis: int, size: int, stride: int, step: int) -> Words:
    """(size, …): the n-th elements of all windows along an axis."""
    x = np.moveaxis(x, axis, -1)
    places = (x.shape[-1] - step * (size - 1) - 1) // stride + 1
    parts = [x[..., i * step : i * step + (places - 1) * stride + 1 : stride] for i in range(size)]
    return np.stack([np.moveaxis(part, -1, axis) for part in parts])


def _reduce_max(engine: Engine[S, B], operands: Sequence[S], fields: Fields) -> Steps[S]:
    (x,) = operands
    axes, rank = wholes(fields, "axes"), len(x.shape)
    kept = [axis for axis in range(rank) if axis not in axes]
    shape = tuple(x.shape[axis] for axis in kept)
    front = x.transpose(*axes, *kept).reshape(-1, *shape)
    result = yield from largest(engine, front, whole(fields, "width"))
    if whole(fields, "keepdims"):
        result = result.reshape(*(1 if axis in axes else x.shape[axis] for axis in range(rank)))
    return result


def _argmax(engine: Engine[S, B], operands: Sequence[S], fields: Fields) -> Steps[S]:
    """A tournament that carries the places along; of equal ones the first wins."""
    (x,) = operands
    axis, width = whole(fields, "axis"), whole(fields, "width")
    values = x.local(lambda w: np.ascontiguousarray(np.moveaxis(w, axis, 0)))
    count = values.shape[0]
    counted = np.arange(count, dtype=np.uint64).reshape(count, *(1,) * (len(values.shape) - 1))
    places = engine.public(np.ascontiguousarray(np.broadcast_to(counted, values.shape)))
    while (count := values.shape[0]) > 1:
        left, right = slice(0, count - count % 2, 2), slice(1, count, 2)
        better = values[right] - values[left]
        is_right = yield from engine.negative(-better, width)
        gained, moved = yield from together(
            engine.select(is_right, better), engine.select(is_right, places[right] - places[left])
        )
        rest = slice(count - count % 2, count)
        join: Callable[..., Words] = lambda a, b: np.concatenate([a, b])  # noqa: E731
        values = (values[left] + gained).local(join, values[rest])
        places = (places[left] + moved).local(join, places[rest])
    result = places[0]
    if whole(fields, "keepdims"):
        result = result.local(lambda w: np.expand_dims(w, axis))
    return result


def _negative(engine: Engine[S, B], operands: Sequence[S], fields: Fields) -> Steps[B]:
    result = yield from engine.negative(operands[0], whole(fields, "width"))
    return result


def _zero(engine: Engine[S, B], operands: Sequence[S], fields: Fields) -> Steps[B]:
    """Whether x = 0: neither x nor -x is negative."""
    (x,) = operands
    width = whole(fields, "width")
    below, above = yield from together(engine.negative(x, width), engine.negative(-x, width))
    result = yield from engine.both(engine.flip(below), engine.flip(above))
    return result


def _to_ring(engine: Engine[S, B], operands: Sequence[B], fields: Fields) -> Steps[S]:
    result = yield from engine.to_ring(operands[0])
    return result


def _select(engine: Engine[Any, Any], operands: Sequence[Any], fields: Fields) -> Steps[Any]:
    """x where the bits say so, else y."""
    bits, x, y = operands
    gained = yield from engine.select(bits, x - y)
    return y + gained


def _function(engine: Engine[S, B], operands: Sequence[S], fields: Fields) -> Steps[S]:
    """Of the table, by name, for arguments between ``low`` and ``high``."""
    apply = FUNCTIONS[str(fields["name"])].apply
    result: S = yield from apply(
        engine, operands[0], f=whole(fields, "f"), low=_real(fields, "low"), high=_real(fields, "high")
    )
    return result


def _octaves(engine: Engine[S, B], operands: Sequence[S], fields: Fields) -> Steps[S]:
    """The power of positive numbers, or the logarithm where ``power`` is 0."""
    table = octaves(
        _real(fields, "power") or None,
        unit=2.0 ** -whole(fields, "f"),
        low=whole(fields, "low"),
        high=whole(fields, "high"),
        out=whole(fields, "out"),
    )
    result: S = yield from evaluate_octaves(engine, operands[0], table)
    return result


def _softmax(engine: Engine[S, B], operands: Sequence[S], fields: Fields) -> Steps[S]:
    result: S = yield from softmax(
        engine,
        operands[0],
        whole(fields, "axis"),
        f=whole(fields, "f"),
        low=_real(fields, "low"),
        high=_real(fields, "high"),
    )
    return result


def _real(fields: Fields, key: str) -> float:
    value = fields[key]
    if not isinstance(value, float):
        raise KeyError(key)
    return value


STEPPED: Mapping[str, Stepped] = {
    "multiply": _multiply,
    "matmul": _matmul,
    "convolve": _convolve,
    "scale": _scale,
    "truncate": _truncate,
    "relu": _relu,
    "absolute": _absolute,
    "maximum": _maximum,
    "minimum": _minimum,
    "clip": _clip,
    "max_pool": _max_pool,
    "reduce_max": _reduce_max,
    "argmax": _argmax,
    "negative": _negative,
    "zero": _zero,
    "to_ring": _to_ring,
    "select": _select,
    "function": _function,
    "octaves": _octaves,
    "softmax": _softmax,
}
