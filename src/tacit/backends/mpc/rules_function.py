"""How functions become instructions: each with the range of its argument, its proven error and its slope."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from tacit.backends.mpc.functions.octaves import octaves
from tacit.backends.mpc.functions.softmax import softmax_error
from tacit.backends.mpc.functions.table import FUNCTIONS
from tacit.backends.mpc.lowering import Held, Lowering, OverflowsError, Rule
from tacit.backends.mpc.patterns import Term
from tacit.backends.mpc.program import Field
from tacit.backends.mpc.ranges import Ball, FloatArray, Range
from tacit.backends.mpc.rules_affine import power, scaled
from tacit.errors import PrecisionError

__all__ = ["FUNCTION"]


def _function(name: str, image: Callable[[FloatArray], FloatArray] | None = None) -> Rule:
    """``image``: of functions that do not fall, so that every element has its own interval."""

    def rule(work: Lowering, term: Term) -> Held:
        return applied(work, work.plain(term.inputs[0]), name, image)

    return rule


def applied(
    work: Lowering, x: Held, name: str, image: Callable[[FloatArray], FloatArray] | None = None
) -> Held:
    """A function of the table, with the fractional bits of the plan."""
    function = FUNCTIONS[name]
    x = work.fixed(x)
    low, high = _ends(x.range)
    fields: dict[str, Field] = {"name": name, "f": work.frac, "low": low, "high": high}
    try:
        own = function.error(work.frac, low, high)
        ends = function.output(work.frac, low, high)
        slope = function.slope(work.frac, low, high)
    except PrecisionError as error:
        raise PrecisionError(f"node `{work.term.node}` ({work.term.op}): {error}", hint=error.hint) from error
    shape = x.range.low.shape
    below, above = np.full(shape, ends[0]), np.full(shape, ends[1])
    if image is not None:
        below = np.maximum(below, image(x.range.low) - own)
        above = np.minimum(above, image(x.range.high) + own)
    made = Range(below, above, slope * x.range.error + own)
    return work.emit("function", (x.name,), work.frac, made, more=fields)


_NARROWEST = 2.0**-10
"""Functions are fitted to intervals that are at least this wide."""


def _ends(r: Range) -> tuple[float, float]:
    """Of all elements, rounded outwards to a few digits, so that a plan tells little of the weights."""
    (low, low_unit), (high, high_unit) = (
        (end, 2.0 ** (math.floor(math.log2(max(abs(end), 2.0**-30))) - 5)) for end in (r.lowest, r.highest)
    )
    low, high = math.floor(low / low_unit) * low_unit, math.ceil(high / high_unit) * high_unit
    return low, max(high, low + _NARROWEST)


def powered(work: Lowering, x: Held, exponent: float, *, out: int) -> tuple[Held, float]:
    """x^exponent of positive numbers, ``out`` fractional bits, and the error of the function itself.

    Of zero as well where the exponent is positive.
    """
    low = max(0 if exponent > 0 else 1, math.floor(float(x.range.lowest) * 2.0**x.frac))
    high = max(low + 1, math.ceil(float(x.range.highest) * 2.0**x.frac))
    high = 1 << (high - 1).bit_length()
    low = 1 << (low.bit_length() - 1) if low else 0
    return _octaves(work, x, exponent, low, high, out)


def _octaves(work: Lowering, x: Held, exponent: float, low: int, high: int, out: int) -> tuple[Held, float]:
    """``exponent`` 0: the logarithm."""
    unit = 2.0**-x.frac
    try:
        own = octaves(exponent or None, unit=unit, low=low, high=high, out=out).error
    except PrecisionError as error:
        raise PrecisionError(f"node `{work.term.node}` ({work.term.op}): {error}", hint=error.hint) from error
    bottom, top = np.maximum(x.range.low, low * unit), np.maximum(x.range.high, low * unit)
    if exponent:
        ends = bottom**exponent, top**exponent
        moved = _moved(bottom, top, exponent, x.range.error)
    else:
        ends = np.log(bottom), np.log(top)
        moved = x.range.error / bottom
    made = Range(np.minimum(*ends) - own, np.maximum(*ends) + own, moved + own)
    fields = {"power": float(exponent), "f": x.frac, "low": low, "high": high, "out": out}
    return work.emit("octaves", (x.name,), out, made, more=fields), own


def _moved(bottom: FloatArray, top: FloatArray, exponent: float, error: FloatArray) -> FloatArray:
    """By how much x^exponent differs, for x from ``bottom`` to ``top``, between numbers that differ by ``error``."""
    if exponent >= 1:
        return np.asarray(exponent * top ** (exponent - 1) * error)
    if exponent < 0:
        return np.asarray(-exponent * bottom ** (exponent - 1) * error)
    # |a^p - b^p| <= |a - b|^p, which counts near 0, where no slope does.
    slope = exponent * np.where(bottom > 0, bottom, 1.0) ** (exponent - 1)
    return np.where(bottom > 0, np.minimum(slope * error, error**exponent), error**exponent)


def _positive(work: Lowering, x: Held) -> Held:
    if x.range.lowest <= 0:
        raise PrecisionError(
            f"node `{work.term.node}` ({work.term.op}): its argument is not proven to be positive "
            f"(from {x.range.lowest:.3g})",
            hint="bound the argument away from zero, for instance by a larger epsilon",
        )
    return x


def _root(work: Lowering, term: Term) -> Held:
    x = work.fixed(work.plain(term.inputs[0]))
    if x.range.lowest < 0:
        _positive(work, x)
    return powered(work, x, 0.5, out=work.frac)[0]


def _inverse_root(work: Lowering, term: Term) -> Held:
    x = _positive(work, work.fixed(work.plain(term.inputs[0])))
    return powered(work, x, -0.5, out=work.frac)[0]


def _logarithm(work: Lowering, term: Term) -> Held:
    x = _positive(work, work.fixed(work.plain(term.inputs[0])))
    low, high = (max(1, round(end * 2.0**x.frac)) for end in (x.range.lowest, x.range.highest))
    low, high = 1 << (low.bit_length() - 1), 1 << high.bit_length()
    return _octaves(work, x, 0.0, low, high, work.frac)[0]


def _reciprocal(work: Lowering, term: Term) -> Held:
    x = work.fixed(work.plain(term.inputs[0]))
    if x.range.lowest <= 0 <= x.range.highest:
        _positive(work, x)
    return applied(work, x, "Reciprocal")


def _power(work: Lowering, term: Term) -> Held:
    exponent = work.scalar(term.inputs[1])
    if exponent is None:
        raise work.refuse("its exponent is not one constant number", "use a constant exponent")
    x = work.plain(term.inputs[0])
    if exponent == 0:
        none = scaled(work, x, 0.0)
        ones = np.ones_like(none.range.low)
        one = work.literal(1.0, none.frac)
        return work.emit("add", (none.name, one), none.frac, Range(ones, ones, np.zeros(())))
    if exponent == round(exponent) and 1 <= exponent <= 16:
        return power(work, x, int(exponent))
    if exponent == -1.0:
        return _reciprocal(work, term)
    x = _positive(work, work.fixed(x))
    return powered(work, x, exponent, out=work.frac)[0]


def _softmax(work: Lowering, term: Term) -> Held:
    x = work.fixed(work.plain(term.inputs[0]))
    axis = term.attributes["axis"]
    if not isinstance(axis, int):
        raise work.refuse("has no axis", "give one")
    low, high = _ends(x.range)
    shape = x.range.low.shape
    n = shape[axis]
    try:
        own = softmax_error(work.frac, low, high, n)
    except PrecisionError as error:
        raise PrecisionError(f"node `{work.term.node}` ({work.term.op}): {error}", hint=error.hint) from error
    # |dp| = p·|dx - mean of dx| <= 2·p·(1 - p)·max|dx| <= max|dx| / 2
    moved = x.range.error.max(axis=axis, keepdims=True) / 2
    made = Range(
        np.full(shape, -own),
        np.full(shape, 1.0 + own),
        np.broadcast_to(moved + own, shape),
        stochastic=own if axis == len(shape) - 1 else None,
    )
    fields = {"axis": axis, "f": work.frac, "low": low, "high": high}
    return work.emit("softmax", (x.name,), work.frac, made, more=fields)


_WIDEST_BITS, _NARROWEST_BITS = 44, 18
"""Of the largest and of the least sum of squares, as words, where both are known."""
_LEAST_BITS = 10
"""Fractional bits of what is squared, at least; fewer than the plan's where squares would have no room."""
_MOST_AWAY = 0.5
"""Of a normalised value, by the error of the root alone; beyond it what is normalised must be clipped."""
_SQUARE_BITS = 12
"""By so many fractional bits more than values the sum of squares is held: the root of a small one matters."""


def _normalize(work: Lowering, term: Term) -> Held:
    """(x - mean)·√n·(Σ (x - mean)² + n·ε)^(-1/2) along the last axes: the ends of both sums are one number a row."""
    x = work.fixed(work.plain(term.inputs[0]))
    axes, epsilon = term.attributes["axes"], float(str(term.attributes["epsilon"]))
    r = x.range
    rank = r.low.ndim
    if not isinstance(axes, tuple) or axes != tuple(range(rank - len(axes), rank)):
        raise work.refuse("normalises along axes that are not the last", "transpose it first")
    n = int(np.prod([r.low.shape[axis] for axis in axes]))
    sums = work.emit(
        "sum",
        (x.name,),
        x.frac,
        r.structured(lambda a: np.asarray(a.sum(axis=axes, keepdims=True))),
        axes=axes,
        keepdims=1,
    )
    mean = work.fixed(scaled(work, sums, 1.0 / n))
    spread = np.maximum(r.high - mean.range.low, mean.range.high - r.low)
    centred = work.emit(
        "subtract", (x.name, mean.name), x.frac, Range(-spread, spread, r.error + mean.range.error)
    )
    head, first = (
        r.low.shape[: rank - len(axes)],
        (-1,) if work.shape(term.output)[:1] == (None,) else r.low.shape[:1],
    )
    flat = centred.range.structured(lambda a: a.reshape(*head, n))
    bits = centred.frac
    while float(np.sum(flat.magnitude**2, axis=-1).max()) * 4.0**bits > 2.0**60 and bits > _LEAST_BITS:
        bits -= 1
    rough = work.fixed(centred, bits)
    flat = rough.range.structured(_shaped((*head, n)))
    row, column = (
        work.emit(
            "reshape",
            (rough.name,),
            bits,
            flat.structured(_shaped((*head, *shape))),
            shape=(*first, *head[1:], *shape),
        )
        for shape in ((1, n), (n, 1))
    )
    least = work.spreads.get(work.term.output, 0.0)
    squares = product_with(work, row, column, frac=_square_bits(work, flat, bits, least))
    total = squares.range
    # At least a unit, so that the root is never of 0.
    added = max(n * epsilon, 2.0**-squares.frac)
    held = Range(np.maximum(total.low, 0.0) + added, np.maximum(total.high, 0.0) + added, total.error)
    moved = work.literal(added, squares.frac)
    squares = work.emit("add", (squares.name, moved), squares.frac, held)
    if least > squares.range.lowest:
        bound = work.literal(least, squares.frac)
        away = Range(squares.range.low - least, squares.range.high - least, squares.range.error)
        kept = squares.range.clipped(least, math.inf)
        width = work.width(away, squares)
        squares = work.emit("maximum", (squares.name, bound), squares.frac, kept, width=width)
    root, own = powered(work, squares, -0.5, out=_root_bits(work, squares))
    # |d| <= √(what is held + a unit), also where that unit was lost
    excess = math.sqrt(1.0 + 2.0**-squares.frac / squares.range.lowest)
    inverse = work.emit(
        "reshape",
        (root.name,),
        root.frac,
        root.range.structured(_shaped((*head, *(1,) * len(axes)))),
        shape=(*first, *head[1:], *(1,) * len(axes)),
    )
    return _standard(work, centred, inverse, (n, len(axes)), (excess, own))


def _shaped(shape: tuple[int, ...]) -> Callable[[FloatArray], FloatArray]:
    return lambda a: a.reshape(shape)


def _root_bits(work: Lowering, squares: Held) -> int:
    """Fractional bits of the inverse root: many where it is small, few where the product would have no room."""
    least = max(squares.range.lowest, 2.0**-squares.frac)
    most = least**-0.5
    return max(4, min(30, 58 - work.frac - math.ceil(math.log2(most)) - 2))


def _square_bits(work: Lowering, flat: Range, bits: int, least: float) -> int:
    """Fractional bits of the sum of squares: an inverse root is most precise where its argument is not too wide."""
    most = float(np.sum(flat.magnitude**2, axis=-1).max(initial=0.0))
    high = _WIDEST_BITS - math.ceil(math.log2(max(most, 2.0**-20)))
    high = max(high, _NARROWEST_BITS - math.floor(math.log2(least))) if least > 0 else bits + _SQUARE_BITS
    return max(4, min(high, work.frac + _SQUARE_BITS, 2 * bits))


def product_with(work: Lowering, row: Held, column: Held, *, frac: int) -> Held:
    """(…, 1, n) · (…, n, 1), all squares, with ``frac`` fractional bits."""
    r = row.range
    total = np.sum(r.magnitude**2, axis=-1, keepdims=True)
    error = np.sum(r.error * (2 * r.magnitude + r.error), axis=-1, keepdims=True) + 2.0**-frac
    made = Range(np.full_like(total, -(2.0**-frac)), total + 2.0**-frac, error)
    work.check(made.most, 2 * row.frac)
    return work.emit("matmul", (row.name, column.name), frac, made, cut=2 * row.frac - frac)


def _standard(
    work: Lowering, centred: Held, inverse: Held, extent: tuple[int, int], off: tuple[float, float]
) -> Held:
    """The product of both, times √n; no element exceeds √n, and all together are a ball of that radius.

    ``extent``: n and along how many axes. ``off``: by what factor the exact inverse root may be too large for what
    it is multiplied by, and by how much more it is off itself.
    """
    n, axes = extent
    size = math.sqrt(n)
    frac = work.frac + math.ceil(math.log2(size))
    c, i = centred.range, inverse.range
    away = float(c.magnitude.max(initial=0.0)) * off[1] + 2.0**-frac
    if away > _MOST_AWAY:
        raise OverflowsError(work.term, math.log2(float(c.magnitude.max())) + work.frac)
    bound = np.full(c.low.shape, off[0] + away)
    own = i.magnitude * c.error + i.error * (c.magnitude + c.error) + 2.0**-frac
    cut = centred.frac + inverse.frac - frac
    held = work.emit("multiply", (centred.name, inverse.name), frac, Range(-bound, bound, own), cut=cut)
    width = c.low.shape[-1]
    ball = Ball(size * (off[0] + size * away), np.ones(width), np.zeros(width)) if axes == 1 else None
    whole = held.range.times(size)
    return Held(held.name, frac, Range(whole.low, whole.high, whole.error, ball), size)


def _exp(x: FloatArray) -> FloatArray:
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(x))


def _sigmoid(x: FloatArray) -> FloatArray:
    return np.asarray(0.5 * (1.0 + np.tanh(x / 2)))


FUNCTION: Mapping[str, Rule] = {
    "Exp": _function("Exp", _exp),
    "Sigmoid": _function("Sigmoid", _sigmoid),
    "Tanh": _function("Tanh", np.tanh),
    "Erf": _function("Erf"),
    "Gelu": _function("Gelu"),
    "Silu": _function("Silu"),
    "Sqrt": _root,
    "Rsqrt": _inverse_root,
    "Log": _logarithm,
    "Reciprocal": _reciprocal,
    "Pow": _power,
    "Softmax": _softmax,
    "Normalize": _normalize,
}
