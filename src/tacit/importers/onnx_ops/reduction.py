"""Reductions of ONNX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np

from tacit.importers.lowering import Lowering, Operand, Rule, SourceNode
from tacit.importers.onnx_ops.arithmetic import negate

__all__ = ["REDUCTION"]

_Reduce = Callable[[Lowering, Operand, tuple[int, ...], int], Operand]


def _rule(reduce: _Reduce, *, axes_input_since: int) -> Callable[[SourceNode, Lowering], Sequence[Operand]]:
    """Axes were an attribute, and are an input since an opset; no axes mean all of them."""

    def lower(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
        x = node.operand(0)
        rank = len(x.shape)
        if node.opset >= axes_input_since:
            given = node.known_ints(1, "axes") if node.optional(1) is not None else []
        else:
            given = node.integers("axes", [])
        empty_is_none = bool(node.integer("noop_with_empty_axes", 0))
        if not given and empty_is_none:
            axes: tuple[int, ...] = ()
        else:
            axes = node.axes(given, rank) if given else tuple(range(rank))
        if x.array is not None and x.array.dtype == object:
            raise node.unsupported("the size of the batch is reduced", "use a fixed shape")
        return [reduce(ctx, x, axes, node.integer("keepdims", 1))]

    return lower


def _sum(ctx: Lowering, x: Operand, axes: tuple[int, ...], keepdims: int) -> Operand:
    return ctx.apply("ReduceSum", x, axes=axes, keepdims=keepdims)


def _max(ctx: Lowering, x: Operand, axes: tuple[int, ...], keepdims: int) -> Operand:
    if x.dtype == "bool":
        whole = ctx.apply("ReduceMax", ctx.apply("Cast", x, to="int64"), axes=axes, keepdims=keepdims)
        return ctx.apply("Cast", whole, to="bool")
    return ctx.apply("ReduceMax", x, axes=axes, keepdims=keepdims)


def _min(ctx: Lowering, x: Operand, axes: tuple[int, ...], keepdims: int) -> Operand:
    if x.dtype == "bool":
        whole = _min(ctx, ctx.apply("Cast", x, to="int64"), axes, keepdims)
        return ctx.apply("Cast", whole, to="bool")
    return negate(ctx, ctx.apply("ReduceMax", negate(ctx, x), axes=axes, keepdims=keepdims))


def _mean(ctx: Lowering, x: Operand, axes: tuple[int, ...], keepdims: int) -> Operand:
    count = max(1, prod(x.type.size(axis) for axis in axes))
    return ctx.apply("Mul", _sum(ctx, x, axes, keepdims), ctx.literal(1.0 / count))


def _l1(ctx: Lowering, x: Operand, axes: tuple[int, ...], keepdims: int) -> Operand:
    return _sum(ctx, ctx.apply("Abs", x), axes, keepdims)


def _sum_square(ctx: Lowering, x: Operand, axes: tuple[int, ...], keepdims: int) -> Operand:
    return _sum(ctx, ctx.apply("Mul", x, x), axes, keepdims)


def _l2(ctx: Lowering, x: Operand, axes: tuple[int, ...], keepdims: int) -> Operand:
    return ctx.apply("Sqrt", _sum_square(ctx, x, axes, keepdims))


def _log_sum(ctx: Lowering, x: Operand, axes: tuple[int, ...], keepdims: int) -> Operand:
    return ctx.apply("Log", _sum(ctx, x, axes, keepdims))


def _log_sum_exp(ctx: Lowering, x: Operand, axes: tuple[int, ...], keepdims: int) -> Operand:
    """max + log(sum(e^(x - max))), which never overflows."""
    top = ctx.apply("ReduceMax", x, axes=axes, keepdims=1)
    total = _sum(ctx, ctx.apply("Exp", ctx.apply("Sub", x, top)), axes, 1)
    result = ctx.apply("Add", ctx.apply("Log", total), top)
    if keepdims or not axes:
        return result
    kept = [size for axis, size in enumerate(result.shape) if axis not in axes]
    return ctx.apply("Reshape", result, shape=tuple(-1 if size is None else size for size in kept))


def _prod(ctx: Lowering, x: Operand, axes: tuple[int, ...], keepdims: int) -> Operand:
    """The product along axes as a chain of Mul over the slices."""
    for axis in axes:
        size = x.type.size(axis)
        if size == 0:
            empty = ctx.apply("ReduceSum", x, axes=(axis,), keepdims=1)
            x = ctx.apply("Add", empty, ctx.literal(1 if x.dtype == "int64" else 1.0))
            continue
        parts = [
            ctx.apply("Slice", x, axes=(axis,), starts=(i,), ends=(i + 1,), steps=(1,)) for i in range(size)
        ]
        x = parts[0]
        for part in parts[1:]:
            x = ctx.apply("Mul", x, part)
    if keepdims:
        return x
    kept = [size for axis, size in enumerate(x.shape) if axis not in axes]
    return ctx.apply("Reshape", x, shape=tuple(-1 if size is None else size for size in kept))


def _arg(smallest: bool) -> Callable[[SourceNode, Lowering], Sequence[Operand]]:
    def lower(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
        x = node.operand(0)
        axis = node.axis(node.integer("axis", 0), len(x.shape))
        size, last = x.type.size(axis), node.integer("select_last_index", 0)
        if smallest:
            x = negate(ctx, x)
        if last:
            x = ctx.apply("Gather", x, ctx.literal(np.arange(size)[::-1]), axis=axis)
        index = ctx.apply("ArgMax", x, axis=axis, keepdims=node.integer("keepdims", 1))
        return [ctx.apply("Sub", ctx.literal(size - 1), index) if last else index]

    return lower


def _reduction(op: str, reduce: _Reduce, to: str, *, axes_input_since: int = 18, note: str = "") -> Rule:
    return Rule(
        op, _rule(reduce, axes_input_since=axes_input_since), to, note or "axes constant; not over the batch"
    )


REDUCTION = (
    _reduction("ReduceSum", _sum, "ReduceSum", axes_input_since=13),
    _reduction("ReduceMean", _mean, "ReduceSum Mul", note="floats; axes constant; not over the batch"),
    _reduction("ReduceMax", _max, "ReduceMax"),
    _reduction("ReduceMin", _min, "ReduceMax Mul"),
    _reduction("ReduceProd", _prod, "Slice Mul"),
    _reduction("ReduceL1", _l1, "Abs ReduceSum"),
    _reduction("ReduceL2", _l2, "Mul ReduceSum Sqrt"),
    _reduction("ReduceSumSquare", _sum_square, "Mul ReduceSum"),
    _reduction("ReduceLogSum", _log_sum, "ReduceSum Log"),
    _reduction("ReduceLogSumExp", _log_sum_exp, "ReduceMax Exp ReduceSum Log"),
    Rule("ArgMax", _arg(False), "ArgMax", "not over the batch"),
    Rule("ArgMin", _arg(True), "Mul ArgMax", "not over the batch"),
)
