"""How sums and products become instructions: of values with weights, and of values with values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod

import numpy as np

from tacit.backends.mpc.lowering import Held, Lowering, Rule
from tacit.backends.mpc.patterns import Term
from tacit.backends.mpc.ranges import (
    Ball,
    Bilinear,
    ConstantProduct,
    FloatArray,
    Range,
    secret_product,
    widened,
)
from tacit.ir.ops import OPS
from tacit.ir.signature import Attribute

__all__ = ["AFFINE", "power"]


def _add(work: Lowering, term: Term) -> Held:
    x, y = work.pair(*term.inputs)
    made = Range(x.range.low + y.range.low, x.range.high + y.range.high, x.range.error + y.range.error)
    made = _with_ball(made, x, y, work, term)
    return work.emit("add", (x.name, y.name), x.frac, made, factor=x.factor)


def _with_ball(made: Range, x: Held, y: Held, work: Lowering, term: Term) -> Range:
    """A constant moves the centre of a ball."""
    first, second = term.inputs
    held, constant = (x, second) if work.is_constant(second) else (y, first)
    ball = held.range.ball
    if ball is None or not work.is_constant(constant):
        return made
    array = np.asarray(work.constant(constant), dtype=np.float64)
    if array.size not in (1, array.shape[-1] if array.ndim else 1):
        return made
    slack = ball.slack + 2.0 ** -min(x.frac, y.frac) * x.factor
    moved = Ball(ball.radius, ball.scale, ball.centre + array.reshape(-1), slack)
    return Range(made.low, made.high, made.error, moved)


def _subtract(work: Lowering, term: Term) -> Held:
    x, y = work.pair(*term.inputs)
    made = Range(x.range.low - y.range.high, x.range.high - y.range.low, x.range.error + y.range.error)
    if work.is_largest(*term.inputs):
        made = Range(np.minimum(made.low, 0.0), np.minimum(made.high, 0.0), made.error)
    return work.emit("subtract", (x.name, y.name), x.frac, made, factor=x.factor)


def _multiply(work: Lowering, term: Term) -> Held:
    first, second = term.inputs
    if first == second:
        return _square(work, work.plain(first))
    if work.is_constant(first):
        first, second = second, first
    if not work.is_constant(second):
        return product(work, "multiply", work.plain(first), work.plain(second), np.multiply)
    x = work.plain(first)
    number = work.scalar(second)
    if number is not None and work.is_public(second) and work.constant(second).ndim <= len(work.shape(first)):
        return scaled(work, x, number)
    made = weighted(work, "multiply", x, second, np.multiply, reach=1.0)
    ball, array = x.range.ball, np.asarray(work.constant(second), dtype=np.float64)
    if ball is not None and array.size in (1, array.shape[-1] if array.ndim else 1):
        row = array.reshape(-1)
        lost = ball.slack * float(np.abs(row).max()) + work.ulp + x.range.most * 2.0**-work.frac
        moved = Ball(ball.radius, ball.scale * row, ball.centre * row, lost)
        made = replace(made, range=Range(made.range.low, made.range.high, made.range.error, moved))
    return made


def scaled(work: Lowering, x: Held, number: float) -> Held:
    """By a public number, which costs nothing now."""
    whole = number == round(number) and x.frac == 0 and x.factor == 1.0
    if number == 0.0 or (whole and abs(number) < 2**40):
        return work.emit("times", (x.name,), x.frac, x.range.times(number), by=round(number))
    if number < 0:
        ends = x.range.times(-1.0)
        x = work.emit("negate", (x.name,), x.frac, ends, factor=x.factor)
    size = abs(number)
    return Held(x.name, x.frac, x.range.times(size), x.factor * size)


def _square(work: Lowering, x: Held) -> Held:
    r = x.range
    squares = r.low**2, r.high**2
    low = np.where((r.low < 0) & (r.high > 0), 0.0, np.minimum(*squares))
    made = Range(low, np.maximum(*squares), r.error * (2 * r.magnitude + r.error))
    return _cut(work, "multiply", (x.name, x.name), 2 * x.frac, made, x.factor**2, x.frac == 0)


def power(work: Lowering, x: Held, exponent: int) -> Held:
    """x to a positive whole power, by squares and products."""
    result: Held | None = None
    while True:
        if exponent & 1:
            result = x if result is None else product(work, "multiply", result, x, np.multiply)
        exponent >>= 1
        if not exponent:
            return x if result is None else result
        x = _square(work, x)


def product(work: Lowering, kind: str, x: Held, y: Held, meaning: Bilinear, **fields: Attribute) -> Held:
    """Of two values."""
    made = secret_product(x.range, y.range, meaning)
    if kind == "matmul" and x.range.stochastic is not None:
        made = _mean(x.range, y.range, made)
    whole = x.frac == 0 or y.frac == 0
    factor = x.factor * y.factor
    return _cut(work, kind, (x.name, y.name), x.frac + y.frac, made, factor, whole, **fields)


def _mean(weights: Range, y: Range, made: Range) -> Range:
    """Rows that sum to about 1 and are about positive give a mean, up to their error."""
    count = weights.low.shape[-1]
    off = (weights.stochastic or 0.0) * count * y.magnitude.max(axis=-2, keepdims=True)
    room = off + 1e-9
    low = y.low.min(axis=-2, keepdims=True) - room
    high = y.high.max(axis=-2, keepdims=True) + room
    return Range(np.maximum(made.low, low), np.minimum(made.high, high), made.error)


def _cut(
    work: Lowering,
    kind: str,
    inputs: tuple[str, ...],
    frac: int,
    made: Range,
    factor: float,
    whole: bool,
    **fields: Attribute,
) -> Held:
    """With the fractional bits of the plan after a truncation; products with whole numbers need none."""
    work.check(made.most / factor, frac)
    cut = 0 if whole else frac - work.frac
    if cut <= 0:
        return work.emit(kind, inputs, frac, made, factor=factor, more=fields)
    made = widened(made, work.ulp * factor)
    return work.emit(kind, inputs, work.frac, made, factor=factor, cut=cut, more=fields)


def weighted(
    work: Lowering,
    kind: str,
    x: Held,
    constant: str,
    meaning: Bilinear,
    *,
    reach: float,
    last_axis: bool = False,
    first: bool = False,
    more: Mapping[str, Attribute] | None = None,
) -> Held:
    """Of a value and weights, into which the factor of the value goes.

    ``reach``: how many elements a result sums over; ``first``: the weights are the left operand.
    """
    weights = np.asarray(work.constant(constant), dtype=np.float64)
    is_whole = bool((weights == np.rint(weights)).all()) and float(np.abs(weights).max(initial=0.0)) < 2**20
    bare = ConstantProduct(x.range, weights, meaning, last_axis)
    bits = work.weight_bits(
        weights * x.factor, bare.most, reach * x.range.most / x.factor, x.frac, is_whole and x.factor == 1.0
    )
    if not bits and x.frac < work.frac and not is_whole:
        bits = work.frac - x.frac
    name = work.weight(weights * x.factor, bits, constant)
    rounding = 0.0 if is_whole and x.factor == 1.0 else 2.0 ** -(bits + 1) / x.factor
    made = bare.rounded(rounding)
    frac = x.frac + bits
    cut = max(0, frac - work.frac) if bits else 0
    if x.frac > work.frac and not bits:
        cut = 0
    if cut:
        made = widened(made, work.ulp)
    inputs = (name, x.name) if first else (x.name, name)
    work.check(made.most, frac)
    return work.emit(kind, inputs, frac - cut, made, cut=cut, more=more)


def _matmul(work: Lowering, term: Term) -> Held:
    left, right = term.inputs
    if work.is_constant(right):
        matrix = work.constant(right)
        return weighted(
            work,
            "matmul",
            work.plain(left),
            right,
            _matrix,
            reach=matrix.shape[-2],
            last_axis=matrix.ndim == 2,
        )
    if work.is_constant(left):
        x = work.plain(right)
        reach = work.constant(left).shape[-1]
        return weighted(work, "matmul", x, left, lambda a, b: _matrix(b, a), reach=reach, first=True)
    return product(work, "matmul", work.plain(left), work.plain(right), _matrix)


def _matrix(a: FloatArray, b: FloatArray) -> FloatArray:
    return np.asarray(np.matmul(a, b))


def _convolution(work: Lowering, term: Term) -> Held:
    """One- and two-dimensional; the former as one row of the latter."""
    spatial = len(work.shape(term.inputs[0])) - 2
    if spatial not in (1, 2):
        raise work.refuse(
            f"has {spatial} spatial dimensions; convolutions of one and two are run",
            "split it into two-dimensional convolutions",
        )
    if not work.is_constant(term.inputs[1]):
        raise work.refuse("its kernel is computed", "use a kernel of constants")
    x = work.plain(term.inputs[0])
    kernel = work.constant(term.inputs[1])
    fields = {key: term.attributes[key] for key in ("strides", "pads", "dilations", "group")}
    meaning: Bilinear = lambda a, b: OPS["Conv"].meaning([a, b], term.attributes)  # noqa: E731
    if spatial == 1:
        x = _reshaped(work, x, (*x.range.low.shape[:2], 1, x.range.low.shape[2]), term.inputs[0])
        kernel_name = f"{term.inputs[1]}~rows"
        work.terms.add_constant(kernel_name, kernel[:, :, None, :], like=term.inputs[1])
        fields.update(
            strides=(1, *_whole(fields["strides"])),
            dilations=(1, *_whole(fields["dilations"])),
            pads=(0, _whole(fields["pads"])[0], 0, _whole(fields["pads"])[1]),
        )
        placed = dict(fields)
        meaning = lambda a, b: OPS["Conv"].meaning([a, b], placed)  # noqa: E731
    else:
        kernel_name = term.inputs[1]
    made = weighted(work, "convolve", x, kernel_name, meaning, reach=prod(kernel.shape[1:]), more=fields)
    if len(term.inputs) == 3:
        made = _biased(work, made, term.inputs[2])
    if spatial == 1:
        shape = made.range.low.shape
        made = _reshaped(work, made, (*shape[:2], shape[3]), term.inputs[0])
    return made


def _biased(work: Lowering, x: Held, bias: str) -> Held:
    """(filters,) added to (samples, filters, rows, columns)."""
    name = f"{bias}~channels"
    work.terms.add_constant(name, np.asarray(work.constant(bias)).reshape(-1, 1, 1), like=bias)
    y = work.operand(name, x)
    made = Range(x.range.low + y.range.low, x.range.high + y.range.high, x.range.error + y.range.error)
    return work.emit("add", (x.name, y.name), x.frac, made, factor=x.factor)


def _reshaped(work: Lowering, x: Held, shape: tuple[int, ...], like: str) -> Held:
    """``shape`` of one sample; the samples stay first where the value ``like`` has them."""
    first = (-1,) if work.shape(like)[:1] == (None,) else shape[:1]
    made = x.range.structured(lambda a: a.reshape(shape))
    return work.emit("reshape", (x.name,), x.frac, made, factor=x.factor, shape=(*first, *shape[1:]))


def _whole(value: Attribute) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else ()


def _sum(work: Lowering, term: Term) -> Held:
    x = work.plain(term.inputs[0])
    axes, keepdims = _whole(term.attributes["axes"]), bool(term.attributes["keepdims"])
    made = x.range.structured(lambda a: np.asarray(np.sum(a, axis=axes, keepdims=keepdims)))
    least = _least_of_powers(work, term, axes)
    if least is not None:
        made = Range(np.maximum(made.low, least), np.maximum(made.high, least), made.error)
    return work.emit("sum", (x.name,), x.frac, made, factor=x.factor, axes=axes, keepdims=int(keepdims))


def _least_of_powers(work: Lowering, term: Term, axes: tuple[int, ...]) -> float | None:
    """Of a sum of e^(x - max x): one of them is 1, up to the error of the function."""
    powers = work.maker(term.inputs[0])
    away = None if powers is None or powers.op != "Exp" else work.maker(powers.inputs[0])
    if away is None or away.op != "Sub" or not work.is_largest(*away.inputs):
        return None
    top = work.maker(away.inputs[1])
    if top is None or top.attributes["axes"] != axes:
        return None
    r = work.values[term.inputs[0]].range
    own = float((r.high - np.exp(np.minimum(work.values[away.output].range.high, 0.0))).max(initial=0.0))
    return 1.0 - own - r.low.size * max(0.0, -r.lowest)


def _average(work: Lowering, term: Term) -> Held:
    """Sums of windows; what they are divided by is a factor where all windows have one count."""
    x = work.plain(term.inputs[0])
    shape = x.range.low.shape
    kernel, strides = _whole(term.attributes["kernel"]), _whole(term.attributes["strides"])
    pads, dilations = _whole(term.attributes["pads"]), _whole(term.attributes["dilations"])
    n = len(kernel)
    if n not in (1, 2):
        raise work.refuse(f"has {n} spatial dimensions; one and two are run", "use two-dimensional pools")
    made = x.range.structured(lambda a: OPS["AveragePool"].meaning([a], term.attributes))
    flat = _with_rows(kernel, strides, pads, dilations)
    count = OPS["AveragePool"].meaning(
        [np.ones((1, 1, *shape[2:]))], {**term.attributes, "count_include_pad": 1}
    )
    inside = np.rint(count * prod(kernel))
    if n == 1:
        x = _reshaped(work, x, (*shape[:2], 1, shape[2]), term.inputs[0])
    kernel2, strides2, pads2, dilations2 = flat
    if any(pads2):
        wide = (0, 0, *pads2[:2], 0, 0, *pads2[2:])
        padded = x.range.structured(
            lambda a: np.pad(a, [(0, 0), (0, 0), (pads2[0], pads2[2]), (pads2[1], pads2[3])])
        )
        x = work.emit("pad", (x.name,), x.frac, padded, factor=x.factor, pads=wide)
    sums = Range(made.low * inside, made.high * inside, made.error * inside)
    if term.attributes["count_include_pad"]:
        sums, inside = made.times(prod(kernel)), np.full_like(inside, prod(kernel))
    four = sums if n == 2 else sums.structured(lambda a: a[:, :, None, :])
    x = work.emit(
        "window_sum",
        (x.name,),
        x.frac,
        four,
        factor=x.factor,
        kernel=kernel2,
        strides=strides2,
        dilations=dilations2,
    )
    if n == 1:
        x = _reshaped(work, x, sums.low.shape, term.inputs[0])
    if (inside == inside.flat[0]).all():
        return scaled(work, x, 1.0 / float(inside.flat[0]))
    name = f"{term.output}~counts"
    work.terms.add_constant(name, 1.0 / inside[0, 0])
    return weighted(work, "multiply", x, name, np.multiply, reach=1.0)


def _with_rows(*windows: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Kernel, strides, pads and dilations of two dimensions."""
    kernel, strides, pads, dilations = windows
    if len(kernel) == 2:
        return windows
    return (1, *kernel), (1, *strides), (0, pads[0], 0, pads[1]), (1, *dilations)


AFFINE: Mapping[str, Rule] = {
    "Add": _add,
    "Sub": _subtract,
    "Mul": _multiply,
    "MatMul": _matmul,
    "Conv": _convolution,
    "ReduceSum": _sum,
    "AveragePool": _average,
}
