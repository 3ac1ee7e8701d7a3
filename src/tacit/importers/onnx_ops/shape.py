"""Operators of ONNX that change or ask for shapes."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from tacit.importers.lowering import BATCH, MAX_FOLDED, Lowering, Operand, Rule, SourceNode
from tacit.ir.signature import Shape

__all__ = ["SHAPE", "reshape", "sizes_of"]


def sizes_of(shape: Shape) -> tuple[int, ...]:
    """A shape as the attribute of ``Reshape``: -1 is the batch."""
    return tuple(-1 if size is None else size for size in shape)


def reshape(ctx: Lowering, x: Operand, shape: Shape) -> Operand:
    """x in another shape; predicted classes stay recognisable as such."""
    if x.shape == shape:
        return x
    choice = ctx.choice(x)
    if choice is not None:
        choices, index = choice
        return ctx.choose(choices, ctx.apply("Reshape", index, shape=sizes_of(shape)))
    return ctx.apply("Reshape", x, shape=sizes_of(shape))


def _target(node: SourceNode, x: Shape, wanted: Sequence[Any], *, allow_zero: bool) -> Shape:
    """The shape that a Reshape gives, with at most one size inferred and the batch kept first."""
    sizes: list[Any] = []
    for i, size in enumerate(wanted):
        if size is BATCH:
            sizes.append(None)
        elif size == 0 and not allow_zero:
            if i >= len(x):
                raise node.malformed(f"size 0 at {i} copies a dimension that the input does not have")
            sizes.append(x[i])
        else:
            sizes.append(int(size))
    if any(size is not None and size < -1 for size in sizes) or sizes.count(-1) > 1:
        raise node.malformed(f"{wanted} is no shape")
    elements = prod(size for size in x if size is not None)
    batched = bool(x) and x[0] is None
    if batched and None not in sizes:
        # -1, or the size 1 that the batch had in the file, stands for the batch when the rest is one sample
        rest = prod(size for size in sizes[1:] if size != -1)
        inferred = -1 in sizes[1:]
        if sizes and sizes[0] == -1 and rest == elements:
            return (None, *sizes[1:])
        if sizes and sizes[0] == 1 and (rest == elements or (inferred and rest and elements % rest == 0)):
            return (None, *(elements // rest if size == -1 else size for size in sizes[1:]))
        raise node.unsupported(
            f"a reshape to {[str(size) for size in wanted]} mixes the batch with other dimensions",
            "keep the first dimension of a reshape as it is (0 or -1)",
        )
    if -1 in sizes:
        rest = prod(size for size in sizes if size not in (-1, None))
        if rest == 0 or elements % rest:
            raise node.malformed(f"{list(x)} does not fit into {wanted}")
        sizes = [elements // rest if size == -1 else size for size in sizes]
    return tuple(sizes)


def _reshape(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    x = node.operand(0)
    wanted = node.known(1, "the shape")
    if wanted.ndim != 1 or wanted.dtype.kind not in "iO":
        raise node.malformed("the shape must be a list of integers")
    allow_zero = bool(node.integer("allowzero", 0))
    return [reshape(ctx, x, _target(node, x.shape, list(wanted), allow_zero=allow_zero))]


def _flatten(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    x = node.operand(0)
    axis = node.integer("axis", 1)
    rank = len(x.shape)
    if not -rank <= axis <= rank:
        raise node.malformed(f"axis {axis} is out of range for rank {rank}")
    axis = axis + rank if axis < 0 else axis
    if x.type.has_batch and axis != 1:
        raise node.unsupported("the batch is flattened with other dimensions", "set axis to 1")
    head = (None,) if x.type.has_batch else (prod(x.type.size(i) for i in range(axis)),)
    return [reshape(ctx, x, (*head, prod(x.type.size(i) for i in range(axis, rank))))]


def _given_axes(node: SourceNode) -> list[int] | None:
    """Axes were an attribute and are an input since opset 13."""
    if node.opset >= 13:
        return None if node.optional(1) is None else node.known_ints(1, "axes")
    return node.integers("axes") if node.has("axes") else None


def _squeeze(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    x = node.operand(0)
    given = _given_axes(node)
    if given is None:
        axes = tuple(axis for axis, size in enumerate(x.shape) if size == 1)
    else:
        axes = node.axes(given, len(x.shape))
    if any(x.shape[axis] != 1 for axis in axes):
        raise node.malformed("only dimensions of size 1 can be squeezed")
    return [reshape(ctx, x, tuple(size for axis, size in enumerate(x.shape) if axis not in axes))]


def _unsqueeze(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    x = node.operand(0)
    given = _given_axes(node) or []
    rank = len(x.shape) + len(given)
    axes = node.axes(given, rank)
    rest = iter(x.shape)
    return [reshape(ctx, x, tuple(1 if axis in axes else next(rest) for axis in range(rank)))]


def _shape(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    shape = node.operand(0).shape
    part = shape[slice(node.integer("start", 0), node.integer("end", len(shape)))]
    return [ctx.known(np.array([BATCH if size is None else size for size in part], dtype=object))]


def _size(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    shape = node.operand(0).shape
    if None in shape:
        raise node.unsupported("the size of the batch is asked for", "use a fixed shape")
    return [ctx.known(prod(size for size in shape if size is not None))]


def _filled(node: SourceNode, ctx: Lowering, shape: Sequence[Any], value: Any) -> Operand:
    if len(shape) and shape[0] is BATCH:
        rest = _filled(node, ctx, [1, *shape[1:]], value)
        zero = ctx.batch_of_zeros()
        if zero is None or rest.dtype not in ("float64", "int64"):
            raise node.unsupported(
                "a constant of the size of the batch", "let broadcasting stretch a constant"
            )
        zero = zero if rest.dtype == "float64" else ctx.apply("Cast", zero, to="int64")
        return ctx.apply("Add", reshape(ctx, zero, (None, *(1,) * (len(shape) - 1))), rest)
    if any(size is BATCH for size in shape):
        raise node.unsupported("a constant of the size of the batch", "keep the batch first")
    sizes = tuple(int(size) for size in shape)
    if any(size < 0 for size in sizes) or len(sizes) > 32:
        raise node.malformed(f"{list(sizes)} is no shape")
    if prod(sizes) > MAX_FOLDED:
        raise node.malformed(f"a constant of shape {list(sizes)} is too large")
    ctx.spend(sizes)
    return ctx.known(np.full(sizes, value))


def _constant_of_shape(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    shape = node.known(0, "the shape")
    value = np.asarray(node.raw("value", np.zeros(1))).reshape(-1)
    if value.size != 1 or shape.ndim != 1:
        raise node.malformed("the value must be one number and the shape a list")
    return [_filled(node, ctx, list(shape), value[0])]


def _expand(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    x = node.operand(0)
    wanted = [1 if size is BATCH else size for size in node.known(1, "the shape").reshape(-1)]
    if x.type.has_batch and len(wanted) > len(x.shape):
        raise node.unsupported("a dimension before the batch", "keep the batch first")
    if x.dtype == "str":
        raise node.unsupported("strings are expanded")
    ones = [1] * max(0, len(x.shape) - len(wanted)) + [int(size) for size in wanted]
    if x.dtype == "bool":
        return [ctx.apply("Where", x, _filled(node, ctx, ones, True), ctx.literal(False))]
    return [ctx.apply("Add", x, _filled(node, ctx, ones, 0 if x.dtype == "int64" else 0.0))]


def _range(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    start, limit, step = (node.known(i, "the range").reshape(()) for i in range(3))
    if object in (start.dtype, limit.dtype, step.dtype) or not step:
        raise node.unsupported("a range of the size of the batch or of step 0", "use a fixed shape")
    count = max(0, int(np.ceil((limit - start) / step)))
    if count > MAX_FOLDED:
        raise node.malformed("the range is too large")
    ctx.spend((count,))
    return [ctx.known(start + np.arange(count, dtype=start.dtype) * step)]


SHAPE = (
    Rule("Reshape", _reshape, "Reshape", "constant shape; the batch stays first"),
    Rule("Flatten", _flatten, "Reshape", "the batch stays first"),
    Rule("Squeeze", _squeeze, "Reshape", "not the batch"),
    Rule("Unsqueeze", _unsqueeze, "Reshape", "not before the batch"),
    Rule("Shape", _shape, "", "folded at import"),
    Rule("Size", _size, "", "folded at import; not of a batch"),
    Rule("ConstantOfShape", _constant_of_shape, "Mul Add", "folded at import, but for the batch", since=9),
    Rule("Expand", _expand, "Add", "constant shape", since=8),
    Rule("Range", _range, "", "folded at import", since=11),
)
