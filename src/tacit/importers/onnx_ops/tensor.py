"""Operators of ONNX that move, cut and join the elements of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from tacit.importers.lowering import Lowering, Operand, Rule, SourceNode
from tacit.importers.onnx_ops.shape import reshape
from tacit.ir.signature import Array

__all__ = ["TENSOR", "take"]


def take(ctx: Lowering, x: Operand, indices: Array, axis: int) -> Operand:
    """Known positions along an axis; a run of them is a Slice, in order and whole it is x itself."""
    size = x.type.size(axis)
    if indices.ndim == 1 and indices.size and x.dtype != "str":
        steps = np.diff(indices)
        step = int(steps[0]) if steps.size else 1
        if step >= 1 and (steps == step).all():
            if step == 1 and indices.size == size:
                return x
            start, end = int(indices[0]), int(indices[-1]) + 1
            return ctx.apply("Slice", x, axes=(axis,), starts=(start,), ends=(end,), steps=(step,))
    return ctx.apply("Gather", x, ctx.known(indices), axis=axis)


def _identity(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    return [node.operand(0)]


def _dropout(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    training = node.optional(2)
    if training is not None and (training.array is None or bool(training.array)):
        raise node.unsupported("training mode", "export the model for inference (`model.eval()`)")
    if node.n_outputs > 1:
        raise node.unsupported("the output mask", "leave it out")
    return [node.operand(0)]


def _constant(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    known = (
        "value",
        "value_float",
        "value_floats",
        "value_int",
        "value_ints",
        "value_string",
        "value_strings",
    )
    given = [node.raw(key) for key in known if node.has(key)]
    if len(given) != 1:
        raise node.unsupported("a constant without a dense value", "store it as an initializer")
    return [ctx.known(np.asarray(given[0]), node.name)]


def _transpose(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    x = node.operand(0)
    rank = len(x.shape)
    perm = node.integers("perm", list(range(rank))[::-1])
    if perm == list(range(rank)):
        return [x]
    return [ctx.apply("Transpose", x, perm=tuple(perm))]


def _concat(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    operands = [node.operand(i) for i in range(len(node.inputs))]
    axis = node.axis(node.integer("axis"), len(operands[0].shape))
    return [ctx.apply("Concat", *operands, axis=axis)]


def _slice(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    x = node.operand(0)
    rank = len(x.shape)
    if node.opset >= 10:
        starts, ends = node.known_ints(1, "starts"), node.known_ints(2, "ends")
        axes = list(range(len(starts))) if node.optional(3) is None else node.known_ints(3, "axes")
        steps = [1] * len(starts) if node.optional(4) is None else node.known_ints(4, "steps")
    else:
        starts, ends = node.integers("starts"), node.integers("ends")
        axes, steps = node.integers("axes", list(range(len(starts)))), [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise node.malformed("starts, ends, axes and steps must be of one length, and no step 0")
    if len({node.axis(axis, rank) for axis in axes}) != len(axes):
        raise node.malformed("an axis is named twice")
    for given, start, end, step in zip(axes, starts, ends, steps, strict=True):
        axis = node.axis(given, rank)
        if x.shape[axis] is None and start == 0 and step == 1 and end >= 2**31 - 1:
            continue
        positions = range(x.type.size(axis))[slice(start, end, step)]
        if step > 0:
            if len(positions) != x.shape[axis]:
                low = positions.start if len(positions) else 0
                high = positions[-1] + 1 if len(positions) else 0
                x = ctx.apply("Slice", x, axes=(axis,), starts=(low,), ends=(high,), steps=(step,))
        else:
            x = ctx.apply("Gather", x, ctx.literal(np.array(positions, dtype=np.int64)), axis=axis)
    return [x]


def _split(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    x = node.operand(0)
    axis = node.axis(node.integer("axis", 0), len(x.shape))
    size = x.type.size(axis)
    if node.opset >= 13:
        sizes = [] if node.optional(1) is None else node.known_ints(1, "the sizes")
    else:
        sizes = node.integers("split", [])
    if not sizes:
        count = node.integer("num_outputs", node.n_outputs)
        if count < 1 or count > max(1, size):
            raise node.malformed(f"{size} elements cannot be split into {count} parts")
        part = -(-size // count)
        sizes = [min(part, max(0, size - part * i)) for i in range(count)]
    if min(sizes) < 0 or sum(sizes) != size or len(sizes) != node.n_outputs:
        raise node.malformed(f"{sizes} is no split of {size} elements into {node.n_outputs} parts")
    ends = np.cumsum(sizes)
    return [
        ctx.apply("Slice", x, axes=(axis,), starts=(int(end) - n,), ends=(int(end),), steps=(1,))
        for n, end in zip(sizes, ends, strict=True)
    ]


def _gather(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    x, indices = node.operand(0), node.operand(1)
    axis = node.axis(node.integer("axis", 0), len(x.shape))
    size = x.type.size(axis)
    if indices.array is None:
        if indices.dtype != "int64":
            raise node.malformed("indices must be integers")
        raise node.unsupported("indices are computed", "only constant indices can be gathered")
    positions = indices.array
    if positions.dtype.kind != "i" or ((positions < -size) | (positions >= size)).any():
        raise node.malformed("an index is no integer or out of range")
    positions = np.where(positions < 0, positions + size, positions)
    if x.is_known:
        return [ctx.apply("Gather", x, ctx.known(positions), axis=axis)]
    return [take(ctx, x, positions, axis)]


def _tile(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    x = node.operand(0)
    repeats = node.known_ints(1, "the repeats")
    if len(repeats) != len(x.shape) or min(repeats, default=0) < 0:
        raise node.malformed("there must be one repeat >= 0 for each dimension")
    for axis, count in enumerate(repeats):
        if count != 1:
            size = x.type.size(axis)
            ctx.spend((size, count))
            x = ctx.apply("Gather", x, ctx.literal(np.tile(np.arange(size), count)), axis=axis)
    return [x]


def _pad(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    x = node.operand(0)
    rank, value = len(x.shape), 0.0
    if node.opset >= 11:
        pads = node.known_ints(1, "the pads")
        fill = node.optional(2)
        if fill is not None:
            value = float(node.known(2, "the value").reshape(()))
    else:
        pads, value = node.integers("pads"), node.number("value", 0.0)
    if node.optional(3) is not None:
        axes = [node.axis(axis, rank) for axis in node.known_ints(3, "axes")]
        full = [0] * (2 * rank)
        if len(pads) != 2 * len(axes):
            raise node.malformed("there must be two pads for each axis")
        for i, axis in enumerate(axes):
            full[axis], full[axis + rank] = pads[i], pads[i + len(axes)]
        pads = full
    if len(pads) != 2 * rank:
        raise node.malformed(f"there must be {2 * rank} pads")
    mode = node.text("mode", "constant")
    for axis in range(rank):
        crop = [max(0, -pads[axis]), max(0, -pads[axis + rank])]
        if any(crop):
            size = x.type.size(axis)
            if sum(crop) > size:
                raise node.malformed("negative pads cut away more than there is")
            x = ctx.apply("Slice", x, axes=(axis,), starts=(crop[0],), ends=(size - crop[1],), steps=(1,))
    pads = [max(0, pad) for pad in pads]
    if mode == "constant":
        return [_pad_constant(node, ctx, x, pads, value)] if any(pads) else [x]
    if mode not in ("reflect", "edge", "wrap"):
        raise node.malformed(f"mode `{mode}` is no mode of ONNX")
    for axis in range(rank):
        begin, end = pads[axis], pads[axis + rank]
        if begin or end:
            size = x.type.size(axis)
            if size == 0 or (mode == "reflect" and max(begin, end) > 0 and size == 1):
                raise node.malformed("there is nothing to pad with")
            ctx.spend((size + begin + end,))
            positions = _positions(mode, begin, size, end)
            x = ctx.apply("Gather", x, ctx.literal(positions), axis=axis)
    return [x]


def _positions(mode: str, begin: int, size: int, end: int) -> Array:
    positions = np.arange(-begin, size + end)
    if mode == "edge":
        return np.clip(positions, 0, size - 1)
    if mode == "wrap":
        return positions % size
    turn = positions % (2 * size - 2)
    return np.where(turn < size, turn, 2 * size - 2 - turn)


def _pad_constant(node: SourceNode, ctx: Lowering, x: Operand, pads: Sequence[int], value: float) -> Operand:
    if not np.isfinite(value):
        raise node.unsupported("padding with infinity", "pad with a finite number")
    if x.dtype != "float64":
        whole = ctx.apply("Pad", ctx.apply("Cast", x, to="float64"), pads=tuple(pads), value=value)
        return ctx.apply("Cast", whole, to=x.dtype)
    return ctx.apply("Pad", x, pads=tuple(pads), value=value)


def _depth_to_space(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    x, block = node.operand(0), node.integer("blocksize")
    if len(x.shape) != 4 or block < 1 or x.type.size(1) % (block * block):
        raise node.malformed("the input must have 4 dimensions and channels for each place of the block")
    batch, channels, height, width = x.shape[0], *(x.type.size(i) for i in (1, 2, 3))
    depth = channels // (block * block)
    if node.text("mode", "DCR") == "DCR":
        split = reshape(ctx, x, (batch, block, block, depth, height, width))
        turned = ctx.apply("Transpose", split, perm=(0, 3, 4, 1, 5, 2))
    else:
        split = reshape(ctx, x, (batch, depth, block, block, height, width))
        turned = ctx.apply("Transpose", split, perm=(0, 1, 4, 2, 5, 3))
    return [reshape(ctx, turned, (batch, depth, height * block, width * block))]


def _space_to_depth(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    x, block = node.operand(0), node.integer("blocksize")
    if len(x.shape) != 4 or block < 1 or x.type.size(2) % block or x.type.size(3) % block:
        raise node.malformed("the input must have 4 dimensions that the block divides")
    batch, channels, height, width = x.shape[0], *(x.type.size(i) for i in (1, 2, 3))
    split = reshape(ctx, x, (batch, channels, height // block, block, width // block, block))
    perm = (0, 3, 5, 1, 2, 4) if node.text("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    turned = ctx.apply("Transpose", split, perm=perm)
    return [reshape(ctx, turned, (batch, channels * block * block, height // block, width // block))]


def _cum_sum(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    """Running sums as a product with a triangle of ones."""
    x = node.operand(0)
    if x.dtype != "float64":
        raise node.unsupported("integers", "cast to float first")
    (given,) = node.known_ints(1, "the axis") or [0]
    rank = len(x.shape)
    axis = node.axis(given, rank)
    size = x.type.size(axis)
    ctx.spend((size, size))
    triangle = np.triu(np.ones((size, size)), k=node.integer("exclusive", 0))
    triangle = triangle.T if node.integer("reverse", 0) else triangle
    moved = [i for i in range(rank) if i != axis] + [axis]
    if rank == 1:
        flat = ctx.apply("MatMul", reshape(ctx, x, (1, size)), ctx.literal(triangle))
        return [reshape(ctx, flat, (size,))]
    if x.type.has_batch and moved[0] != 0:
        raise node.unsupported("a sum over the batch")
    turned = x if axis == rank - 1 else ctx.apply("Transpose", x, perm=tuple(moved))
    result = ctx.apply("MatMul", turned, ctx.literal(triangle))
    if axis == rank - 1:
        return [result]
    return [ctx.apply("Transpose", result, perm=tuple(int(i) for i in np.argsort(moved)))]


def _trilu(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    """A triangle of each matrix: the rest becomes zero."""
    x = node.operand(0)
    if len(x.shape) < 2:
        raise node.malformed("the input must be a matrix")
    offset = 0 if node.optional(1) is None else (node.known_ints(1, "k") or [0])[0]
    rows, columns = x.type.size(-2), x.type.size(-1)
    ctx.spend((rows, columns))
    kept = (
        np.triu(np.ones((rows, columns)), offset)
        if node.integer("upper", 1)
        else np.tril(np.ones((rows, columns)), offset)
    )
    zero = ctx.literal(0.0 if x.dtype == "float64" else 0 if x.dtype == "int64" else False)
    return [ctx.apply("Where", ctx.literal(kept.astype(np.bool_)), x, zero)]


def _one_hot(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    indices = node.operand(0)
    depth = node.known(1, "the depth").reshape(-1)
    values = node.known(2, "the values").reshape(-1)
    rank = len(indices.shape) + 1
    axis = node.axis(node.integer("axis", -1), rank)
    if depth.size != 1 or values.size != 2 or not 1 <= int(depth[0]) <= 1 << 20:
        raise node.malformed("the depth must be one number >= 1, and there must be two values")
    size = int(depth[0])
    whole = indices if indices.dtype == "int64" else ctx.apply("Cast", indices, to="int64")
    wrapped = ctx.apply(
        "Where", ctx.apply("Less", whole, ctx.literal(0)), ctx.apply("Add", whole, ctx.literal(size)), whole
    )
    spread = reshape(ctx, wrapped, (*indices.shape[:axis], 1, *indices.shape[axis:]))
    places = ctx.literal(np.arange(size).reshape(size, *(1,) * (rank - 1 - axis)))
    return [
        ctx.apply("Where", ctx.apply("Equal", spread, places), ctx.known(values[1]), ctx.known(values[0]))
    ]


def _eye_like(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    shape = node.operand(0).shape
    if len(shape) != 2 or None in shape:
        raise node.unsupported("an identity matrix of the size of the batch", "use a fixed shape")
    rows, columns = (size or 0 for size in shape)
    ctx.spend((prod((rows, columns)),))
    kind = np.float64 if node.integer("dtype", 1) in (1, 10, 11, 16) else np.int64
    return [ctx.known(np.eye(rows, columns, k=node.integer("k", 0), dtype=kind))]


TENSOR = (
    Rule("Identity", _identity, ""),
    Rule("Dropout", _dropout, "", "inference only"),
    Rule("Constant", _constant, "", "folded at import"),
    Rule("Transpose", _transpose, "Transpose", "the batch stays first"),
    Rule("Concat", _concat, "Concat", "not along the batch"),
    Rule("Slice", _slice, "Slice", "constant bounds; not along the batch; negative steps become Gather"),
    Rule("Split", _split, "Slice", "constant sizes; not along the batch"),
    Rule("Gather", _gather, "Gather Slice", "constant indices"),
    Rule("Tile", _tile, "Gather", "constant repeats; not along the batch"),
    Rule("Pad", _pad, "Pad Gather", "constant pads; not along the batch; finite value"),
    Rule("DepthToSpace", _depth_to_space, "Reshape Transpose"),
    Rule("SpaceToDepth", _space_to_depth, "Reshape Transpose"),
    Rule("CumSum", _cum_sum, "MatMul", "floats; constant axis; not along the batch", since=11),
    Rule("Trilu", _trilu, "Where", "constant k", since=14),
    Rule("OneHot", _one_hot, "Equal Where", "constant depth and values", since=9),
    Rule("EyeLike", _eye_like, "", "folded at import", since=9),
)
