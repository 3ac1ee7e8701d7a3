"""Arithmetic, comparison and logic of ONNX, and casts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

import numpy as np

from tacit.importers.lowering import Lowering, Operand, Rule, SourceNode
from tacit.ir.signature import Array

__all__ = ["ARITHMETIC", "logical_not", "negate"]

_FLOATS = frozenset({1, 10, 11, 16})
_INTS = frozenset({2, 3, 4, 5, 6, 7, 12, 13})
_BOOL, _STRING = 9, 8


def negate(ctx: Lowering, x: Operand) -> Operand:
    return ctx.apply("Mul", x, ctx.literal(-1 if x.dtype == "int64" else -1.0))


def logical_not(ctx: Lowering, x: Operand) -> Operand:
    return ctx.apply("Equal", x, ctx.literal(False))


def _same(op: str) -> Callable[[SourceNode, Lowering], Sequence[Operand]]:
    """An operator that is a row of the table, with the same operands."""

    def lower(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
        operands = [node.operand(i) for i in range(len(node.inputs))]
        return [ctx.apply(op, *operands)]

    return lower


def _fold_left(op: str) -> Callable[[SourceNode, Lowering], Sequence[Operand]]:
    """A variadic operator as a chain of a binary op."""

    def lower(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
        operands = [node.operand(i) for i in range(len(node.inputs))]
        return [reduce(lambda left, right: ctx.apply(op, left, right), operands)]

    return lower


def _mean(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    (total,) = _fold_left("Add")(node, ctx)
    return [ctx.apply("Mul", total, ctx.literal(1.0 / len(node.inputs)))]


def _sub(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    """a - b. The 1 of 1 - p, as exporters write it, is nobody's secret."""
    a, b = node.operand(0), node.operand(1)
    if a.array is not None and a.array.size == 1 and a.dtype == "float64" and a.array.item() == 1.0:
        a = ctx.literal(a.array)
    return [ctx.apply("Sub", a, b)]


def _div(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    a, b = node.operand(0), node.operand(1)
    if a.dtype == "int64":
        if not (a.is_known and b.is_known):
            raise node.unsupported("integers are divided", "cast to float before the division")
        x, y = np.asarray(a.array), np.asarray(b.array)
        if x.dtype == object or y.dtype == object or not y.all():
            raise node.malformed("integers are divided by zero, or the size of the batch is divided")
        return [ctx.known(np.sign(x) * np.sign(y) * (np.abs(x) // np.abs(y)))]
    if b.is_known and b.dtype == "float64":
        if not np.asarray(b.array).all():
            raise node.malformed("a constant divisor is zero")
        if not a.is_known:
            return [ctx.apply("Mul", a, ctx.known(1.0 / np.asarray(b.array), b.name))]
    return [ctx.apply("Div", a, b)]


def _pow(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    base, exponent = node.operand(0), node.operand(1)
    as_float = [x if x.dtype == "float64" else ctx.apply("Cast", x, to="float64") for x in (base, exponent)]
    if exponent.is_known and np.asarray(exponent.array).size == 1 and np.asarray(exponent.array).ndim <= 1:
        power = float(np.asarray(exponent.array).reshape(()))
        if power == 2.0 and np.asarray(exponent.array).ndim <= len(base.shape):
            result = ctx.apply("Mul", as_float[0], as_float[0])
            return [result if base.dtype == "float64" else ctx.apply("Cast", result, to="int64")]
        if power == 0.5 and np.asarray(exponent.array).ndim <= len(base.shape):
            result = ctx.apply("Sqrt", as_float[0])
            return [result if base.dtype == "float64" else ctx.apply("Cast", result, to="int64")]
    result = ctx.apply("Pow", *as_float)
    return [result if base.dtype == "float64" else ctx.apply("Cast", result, to="int64")]


def _neg(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    return [negate(ctx, node.operand(0))]


def _reciprocal(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    return [ctx.apply("Div", ctx.literal(1.0), node.operand(0))]


def _sign(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    x = node.operand(0)
    zero = ctx.literal(0 if x.dtype == "int64" else 0.0)
    parts = [ctx.apply("Less", zero, x), ctx.apply("Less", x, zero)]
    above, below = (ctx.apply("Cast", part, to=x.dtype) for part in parts)
    return [ctx.apply("Sub", above, below)]


def _greater(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    return [ctx.apply("Less", node.operand(1), node.operand(0))]


def _less_or_equal(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    return [logical_not(ctx, ctx.apply("Less", node.operand(1), node.operand(0)))]


def _greater_or_equal(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    return [logical_not(ctx, ctx.apply("Less", node.operand(0), node.operand(1)))]


def _equal(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    a, b = node.operand(0), node.operand(1)
    if a.is_known and b.is_known and object in (np.asarray(a.array).dtype, np.asarray(b.array).dtype):
        return [ctx.known(np.asarray(np.equal(np.asarray(a.array), np.asarray(b.array)), dtype=np.bool_))]
    return [ctx.apply("Equal", a, b)]


def _where(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    operands = [node.operand(i) for i in range(3)]
    arrays = [operand.array for operand in operands]
    if all(array is not None for array in arrays) and any(np.asarray(a).dtype == object for a in arrays):
        return [ctx.known(np.where(*(np.asarray(array) for array in arrays)))]
    return [ctx.apply("Where", *operands)]


def _and(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    return [ctx.apply("Where", node.operand(0), node.operand(1), ctx.literal(False))]


def _or(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    return [ctx.apply("Where", node.operand(0), ctx.literal(True), node.operand(1))]


def _xor(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    return [logical_not(ctx, ctx.apply("Equal", node.operand(0), node.operand(1)))]


def _not(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    return [logical_not(ctx, node.operand(0))]


def _cast_to(node: SourceNode, ctx: Lowering, x: Operand, to: int) -> Operand:
    choice = ctx.choice(x)
    if choice is not None:
        choices, index = choice
        return ctx.choose(_cast_labels(node, choices, to), index)
    if x.array is not None and (x.array.dtype == object or x.dtype == "str" or to == _STRING):
        if x.array.dtype == object:
            return x
        return ctx.known(_cast_labels(node, x.array, to), x.name)
    if to in _FLOATS:
        return x if x.dtype == "float64" else ctx.apply("Cast", x, to="float64")
    if to in _INTS:
        return x if x.dtype == "int64" else ctx.apply("Cast", x, to="int64")
    if to == _BOOL:
        return x if x.dtype == "bool" else ctx.apply("Cast", x, to="bool")
    raise node.unsupported(f"casts to type {to} of ONNX", "cast to float, int64 or bool")


def _cast_labels(node: SourceNode, array: Array, to: int) -> Array:
    """Known values in another type, strings included."""
    if to == _STRING and array.dtype.kind in "iU":
        return array.astype(np.str_)
    try:
        if to in _FLOATS:
            return array.astype(np.float64)
        if to in _INTS:
            return array.astype(np.float64).astype(np.int64) if array.dtype.kind != "i" else array
    except ValueError as error:
        raise node.malformed("a string is no number") from error
    if to == _BOOL and array.dtype.kind != "U":
        return array.astype(np.bool_)
    raise node.unsupported(f"casts to type {to} of ONNX", "cast to float, int64 or bool")


def _cast(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    return [_cast_to(node, ctx, node.operand(0), node.integer("to"))]


def _cast_like(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    to = {"float64": 11, "int64": 7, "bool": _BOOL, "str": _STRING}[node.operand(1).dtype]
    return [_cast_to(node, ctx, node.operand(0), to)]


ARITHMETIC = (
    *(Rule(op, _same(op), op) for op in ("Add", "Mul", "Abs", "Sqrt", "Exp", "Log", "Less")),
    Rule("Sub", _sub, "Sub"),
    Rule("Erf", _same("Erf"), "Erf", since=9),
    Rule("Max", _fold_left("Max"), "Max"),
    Rule("Min", _fold_left("Min"), "Min"),
    Rule("Sum", _fold_left("Add"), "Add"),
    Rule("Mean", _mean, "Add Mul"),
    Rule("Div", _div, "Div Mul", "integers only when both are constant"),
    Rule("Pow", _pow, "Pow Mul Sqrt"),
    Rule("Neg", _neg, "Mul"),
    Rule("Reciprocal", _reciprocal, "Div"),
    Rule("Sign", _sign, "Less Cast Sub", since=9),
    Rule("Equal", _equal, "Equal", "not on strings"),
    Rule("Greater", _greater, "Less"),
    Rule("LessOrEqual", _less_or_equal, "Less Equal", since=12),
    Rule("GreaterOrEqual", _greater_or_equal, "Less Equal", since=12),
    Rule("Where", _where, "Where", "not on strings", since=9),
    Rule("And", _and, "Where"),
    Rule("Or", _or, "Where"),
    Rule("Xor", _xor, "Equal"),
    Rule("Not", _not, "Equal"),
    Rule(
        "Cast",
        _cast,
        "Cast",
        "numbers are float64 or int64 whatever the width; strings only for class labels",
    ),
    Rule("CastLike", _cast_like, "Cast", "as Cast", since=15),
)
