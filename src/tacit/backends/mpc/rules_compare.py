"""How comparisons, choices and maxima become instructions, each with the bits that its range needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from tacit.backends.mpc.lowering import Held, Lowering, Rule
from tacit.backends.mpc.patterns import Term
from tacit.backends.mpc.ranges import Range
from tacit.backends.mpc.rules_affine import product
from tacit.ir.ops import OPS
from tacit.ir.signature import Attribute

__all__ = ["COMPARE", "selected"]


def _relu(work: Lowering, term: Term) -> Held:
    x = work.plain(term.inputs[0])
    r = x.range
    if r.lowest >= 0:
        return x
    made = Range(np.maximum(r.low, 0), np.maximum(r.high, 0), r.error)
    return work.emit("relu", (x.name,), x.frac, made, factor=x.factor, width=work.width(r, x))


def _absolute(work: Lowering, term: Term) -> Held:
    x = work.plain(term.inputs[0])
    r = x.range
    if r.lowest >= 0:
        return x
    low = np.where((r.low < 0) & (r.high > 0), 0.0, np.minimum(np.abs(r.low), np.abs(r.high)))
    made = Range(low, r.magnitude, r.error)
    return work.emit("absolute", (x.name,), x.frac, made, factor=x.factor, width=work.width(r, x))


def _extreme(kind: str) -> Rule:
    def rule(work: Lowering, term: Term) -> Held:
        x, y = work.pair(*term.inputs)
        join = np.maximum if kind == "maximum" else np.minimum
        error = np.maximum(x.range.error, y.range.error)
        made = Range(join(x.range.low, y.range.low), join(x.range.high, y.range.high), error)
        away = _difference(x.range, y.range)
        return work.emit(kind, (x.name, y.name), x.frac, made, factor=x.factor, width=work.width(away, x))

    return rule


def _clip(work: Lowering, term: Term) -> Held:
    x = work.roomy(work.roomy(work.plain(term.inputs[0]), term.inputs[1]), term.inputs[2])
    low, high = (work.operand(name, x) for name in term.inputs[1:])
    r = x.range
    bounds = float(low.range.low.min()), float(high.range.high.max())
    away = Range(r.low - bounds[1], r.high - bounds[0], r.error)
    made = replace(r.clipped(*bounds), error=r.error + low.range.error + high.range.error, ball=None)
    width = work.width(away, x)
    if r.lowest >= bounds[0]:
        return work.emit("minimum", (x.name, high.name), x.frac, made, factor=x.factor, width=width)
    return work.emit("clip", (x.name, low.name, high.name), x.frac, made, factor=x.factor, width=width)


def _difference(x: Range, y: Range) -> Range:
    return Range(x.low - y.high, x.high - y.low, x.error + y.error)


def _less(work: Lowering, term: Term) -> Held:
    """x < y as x - y < 0. Constants beyond all that the other side can be are moved to its edge."""
    first, second = term.inputs
    for constant, other in ((first, second), (second, first)):
        if work.is_constant(constant):
            r = work.plain(other).range
            array = np.asarray(work.constant(constant), dtype=np.float64)
            near = np.clip(array, r.lowest - 1.0, r.highest + 1.0)
            if (near != array).any():
                near_name = f"{term.output}~{constant}"
                work.terms.add_constant(near_name, near, like=constant)
                first, second = (near_name if name == constant else name for name in (first, second))
    x, y = work.pair(first, second, compared=True)
    away = _difference(x.range, y.range)
    apart = work.emit("subtract", (x.name, y.name), x.frac, away, factor=x.factor)
    return work.truth("negative", apart)


def _equal(work: Lowering, term: Term) -> Held:
    """x = y as neither less nor greater; one comparison where one of them cannot be."""
    first, second = term.inputs
    if work.is_constant(first):
        first, second = second, first
    if work.is_constant(second):
        second = _reachable(work, term, first, second)
    x, y = work.pair(first, second)
    away = _difference(x.range, y.range)
    apart = work.emit("subtract", (x.name, y.name), x.frac, away, factor=x.factor)
    if away.highest <= 0 or away.lowest >= 0:
        if away.highest > 0:
            apart = work.emit("negate", (apart.name,), apart.frac, away.times(-1.0), factor=apart.factor)
        below = work.truth("negative", apart)
        return work.emit("flip", (below.name,), 0, below.range, bits=True)
    return work.truth("zero", apart)


def _reachable(work: Lowering, term: Term, value: str, constant: str) -> str:
    """The constants, where those that the value never is are moved above it: then the value never exceeds."""
    r = work.plain(value).range
    array = np.asarray(work.constant(constant), dtype=np.float64)
    full = np.broadcast_to(array, np.broadcast_shapes(array.shape, r.low.shape))
    never = (full < r.low) | (full > r.high)
    top = np.ceil(r.high) + 1.0
    moved = np.where(never, np.broadcast_to(top, full.shape), full)
    if not never.any() or moved.shape[0] != 1 or array.ndim >= moved.ndim:
        return constant
    name = f"{term.output}~{constant}"
    work.terms.add_constant(name, moved[0], like=constant)
    return name


def _where(work: Lowering, term: Term) -> Held:
    condition, first, second = term.inputs
    if work.is_constant(condition):
        return _masked(work, term)
    if work.is_constant(first) and work.is_constant(second):
        other = work.plain(condition)
        like = Held(other.name, work.frac, other.range)
        x, y = work.operand(first, like), work.operand(second, like)
    else:
        x, y = work.pair(first, second)
    return selected(work, work.values[condition], x, y)


def selected(work: Lowering, condition: Held, x: Held, y: Held) -> Held:
    """x where the condition holds, else y."""
    shape = np.broadcast_shapes(condition.range.low.shape, x.range.low.shape, y.range.low.shape)
    low = np.broadcast_to(np.minimum(x.range.low, y.range.low), shape)
    high = np.broadcast_to(np.maximum(x.range.high, y.range.high), shape)
    made = Range(low, high, np.maximum(x.range.error, y.range.error))
    whole = shape == condition.range.low.shape == np.broadcast_shapes(x.range.low.shape, y.range.low.shape)
    if condition.bits and whole:
        return work.emit("select", (condition.name, x.name, y.name), x.frac, made, factor=x.factor)
    if condition.bits:
        condition = work.emit("to_ring", (condition.name,), 0, condition.range)
    apart = work.emit("subtract", (x.name, y.name), x.frac, _difference(x.range, y.range), factor=x.factor)
    gained = product(work, "multiply", condition, apart, np.multiply)
    return work.emit("add", (gained.name, y.name), gained.frac, made, factor=x.factor)


def _masked(work: Lowering, term: Term) -> Held:
    """A constant condition: the choice between both as products with 0 and 1."""
    condition, first, second = term.inputs
    mask = np.asarray(work.constant(condition), dtype=np.float64)
    parts: list[Held] = []
    for held, chosen in zip(work.pair(first, second), (mask, 1.0 - mask), strict=True):
        name = work.weight(chosen, 0, condition)
        r = held.range
        made = Range(r.low * chosen, r.high * chosen, r.error * chosen)
        parts.append(work.emit("multiply", (held.name, name), held.frac, made, factor=held.factor, cut=0))
    x, y = parts
    made = Range(x.range.low + y.range.low, x.range.high + y.range.high, x.range.error + y.range.error)
    return work.emit("add", (x.name, y.name), x.frac, made, factor=x.factor)


def _cast(work: Lowering, term: Term) -> Held:
    to = term.attributes["to"]
    held = work.values[term.inputs[0]]
    source = work.terms.graph.values[term.inputs[0]].dtype
    if to == source:
        return held
    if source == "bool":
        return work.plain(term.inputs[0])
    if to == "bool":
        x = work.plain(term.inputs[0])
        is_zero = work.truth("zero", x)
        return work.emit("flip", (is_zero.name,), 0, is_zero.range, bits=True)
    x = work.plain(term.inputs[0])
    if to == "int64" and (x.frac != 0 or x.factor != 1.0):
        raise work.refuse(
            "rounds a computed number to an integer", "leave the rounding to whoever gets the answer"
        )
    return x


def _max_pool(work: Lowering, term: Term) -> Held:
    x = work.plain(term.inputs[0])
    attributes = term.attributes
    kernel, strides, pads, dilations = (
        _ints(attributes[key]) for key in ("kernel", "strides", "pads", "dilations")
    )
    n = len(kernel)
    if n not in (1, 2):
        raise work.refuse(f"has {n} spatial dimensions; one and two are run", "use two-dimensional pools")
    r = x.range
    made = r.structured(lambda a: OPS["MaxPool"].meaning([a], attributes))
    four = made
    if n == 1:
        shape = r.low.shape
        first = (-1,) if work.shape(term.inputs[0])[:1] == (None,) else (1,)
        x = work.emit(
            "reshape",
            (x.name,),
            x.frac,
            r.structured(lambda a: a[:, :, None, :]),
            factor=x.factor,
            shape=(*first, shape[1], 1, shape[2]),
        )
        kernel, strides, dilations = (1, *kernel), (1, *strides), (1, *dilations)
        pads = (0, pads[0], 0, pads[1])
        four = made.structured(lambda a: a[:, :, None, :])
    low = r.lowest
    if any(pads):
        # A power of two, as the plan is public and the range is that of hidden values.
        word = -(1 << max(0, -int(np.floor(low / x.factor * 2.0**x.frac))).bit_length())
        number = word * 2.0**-x.frac * x.factor
        padded = x.range.structured(
            lambda a: np.pad(
                a,
                [(0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])],
                constant_values=number,
            )
        )
        wide = (0, 0, *pads[:2], 0, 0, *pads[2:])
        x = work.emit("pad", (x.name,), x.frac, padded, factor=x.factor, pads=wide, value=word)
        low = number
    spread = Range(np.array(low - r.highest), np.array(r.highest - low), np.zeros(()))
    x = work.emit(
        "max_pool",
        (x.name,),
        x.frac,
        four,
        factor=x.factor,
        width=work.width(spread, x),
        kernel=kernel,
        strides=strides,
        dilations=dilations,
    )
    if n == 1:
        shape = made.low.shape
        x = work.emit("reshape", (x.name,), x.frac, made, factor=x.factor, shape=(*first, *shape[1:]))
    return x


def _ints(value: Attribute) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else ()


def _reduce_max(work: Lowering, term: Term) -> Held:
    x = work.plain(term.inputs[0])
    axes, keepdims = _ints(term.attributes["axes"]), bool(term.attributes["keepdims"])
    made = x.range.structured(lambda a: np.asarray(np.max(a, axis=axes, keepdims=keepdims)))
    spread = Range(
        np.array(x.range.lowest - x.range.highest), np.array(x.range.highest - x.range.lowest), np.zeros(())
    )
    return work.emit(
        "reduce_max",
        (x.name,),
        x.frac,
        made,
        factor=x.factor,
        axes=axes,
        keepdims=int(keepdims),
        width=work.width(spread, x),
    )


def _argmax(work: Lowering, term: Term) -> Held:
    x = work.plain(term.inputs[0])
    axis, keepdims = term.attributes["axis"], bool(term.attributes["keepdims"])
    if not isinstance(axis, int):
        raise work.refuse("has no axis", "give one")
    r = x.range
    shape = np.max(r.low, axis=axis, keepdims=keepdims).shape
    made = Range(np.zeros(shape), np.full(shape, float(r.low.shape[axis] - 1)), np.zeros(()))
    spread = Range(np.array(r.lowest - r.highest), np.array(r.highest - r.lowest), np.zeros(()))
    return work.emit(
        "argmax", (x.name,), 0, made, axis=axis, keepdims=int(keepdims), width=work.width(spread, x)
    )


COMPARE: Mapping[str, Rule] = {
    "Relu": _relu,
    "Abs": _absolute,
    "Max": _extreme("maximum"),
    "Min": _extreme("minimum"),
    "Clip": _clip,
    "Less": _less,
    "Equal": _equal,
    "Where": _where,
    "Cast": _cast,
    "MaxPool": _max_pool,
    "ReduceMax": _reduce_max,
    "ArgMax": _argmax,
}
