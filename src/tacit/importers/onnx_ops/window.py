"""Convolution and pooling of ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from tacit.importers.lowering import Lowering, Operand, Rule, SourceNode
from tacit.importers.onnx_ops.shape import reshape

__all__ = ["WINDOW"]


def _spatial(node: SourceNode, x: Operand) -> list[int]:
    if len(x.shape) < 3:
        raise node.malformed("the input must have a batch, channels and at least one spatial dimension")
    return [x.type.size(axis) for axis in range(2, len(x.shape))]


def _positive(node: SourceNode, key: str, count: int) -> list[int]:
    values = node.integers(key, [1] * count)
    if len(values) != count or min(values) < 1:
        raise node.malformed(f"`{key}` must be {count} sizes >= 1")
    return values


def _placement(node: SourceNode, x: Operand, kernel: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Strides, pads and dilations as written out in the graph; ``auto_pad`` and ``ceil_mode`` become pads."""
    sizes = _spatial(node, x)
    n = len(sizes)
    if len(kernel) != n or min(kernel) < 1:
        raise node.malformed(f"the kernel must have {n} sizes >= 1")
    strides, dilations = _positive(node, "strides", n), _positive(node, "dilations", n)
    pads = node.integers("pads", [0] * (2 * n))
    if len(pads) != 2 * n:
        raise node.malformed(f"`pads` must be {2 * n} sizes")
    if min(pads) < 0:
        raise node.unsupported("negative pads", "crop with Slice")
    match node.text("auto_pad", "NOTSET"):
        case "NOTSET":
            pass
        case "VALID":
            pads = [0] * (2 * n)
        case "SAME_UPPER" | "SAME_LOWER" as mode:
            for i in range(n):
                span = dilations[i] * (kernel[i] - 1) + 1
                total = max(0, (-(-sizes[i] // strides[i]) - 1) * strides[i] + span - sizes[i])
                small, large = total // 2, total - total // 2
                pads[i], pads[i + n] = (small, large) if mode == "SAME_UPPER" else (large, small)
        case other:
            raise node.malformed(f"auto_pad `{other}` is no mode of ONNX")
    if node.integer("ceil_mode", 0):
        for i in range(n):
            pads[i + n] += _extra_pad(
                sizes[i], pads[i], pads[i + n], dilations[i] * (kernel[i] - 1) + 1, strides[i]
            )
    return {"strides": tuple(strides), "pads": tuple(pads), "dilations": tuple(dilations)}


def _extra_pad(size: int, begin: int, end: int, span: int, stride: int) -> int:
    """Padding that lets one more window fit when sizes round up; no window may start in the end padding."""
    room = size + begin + end - span
    missing = -room % stride
    if missing and room + missing >= size + begin:
        return 0
    return missing


def _conv(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    x, w, bias = node.operand(0), node.operand(1), node.optional(2)
    kernel = [w.type.size(axis) for axis in range(2, len(w.shape))]
    if len(w.shape) != len(x.shape) or node.integers("kernel_shape", kernel) != kernel:
        raise node.malformed("kernel_shape and the kernel differ")
    operands = [x, w] if bias is None else [x, w, bias]
    return [ctx.apply("Conv", *operands, group=node.integer("group", 1), **_placement(node, x, kernel))]


def _conv_transpose(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    """Zeros between the elements of x, and then a convolution with the kernel turned round."""
    x, w, bias = node.operand(0), node.known(1, "the kernel"), node.optional(2)
    sizes, group = _spatial(node, x), node.integer("group", 1)
    n, channels = len(sizes), x.type.size(1)
    kernel = list(w.shape[2:])
    if len(kernel) != n or node.integers("kernel_shape", kernel) != kernel or w.dtype.kind != "f":
        raise node.malformed("kernel_shape and the kernel differ")
    if group < 1 or w.shape[0] != channels or channels % group:
        raise node.malformed(f"the kernel with {group} groups does not fit {channels} channels")
    strides, dilations = _positive(node, "strides", n), _positive(node, "dilations", n)
    begins, ends = _transposed_pads(node, sizes, kernel, strides, dilations)
    spread = _with_zeros_between(ctx, x, strides)
    pads = [0, 0, *(max(0, b) for b in begins), 0, 0, *(max(0, e) for e in ends)]
    if any(pads):
        spread = ctx.apply("Pad", spread, pads=tuple(pads), value=0.0)
    turned = w.reshape(group, channels // group, *w.shape[1:]).swapaxes(1, 2)
    turned = np.flip(turned.reshape(-1, channels // group, *kernel), axis=tuple(range(2, 2 + n)))
    operands = [spread, ctx.known(np.ascontiguousarray(turned), "kernel")]
    if bias is not None:
        operands.append(bias)
    made = ctx.apply(
        "Conv", *operands, strides=(1,) * n, pads=(0,) * (2 * n), dilations=tuple(dilations), group=group
    )
    return [_cropped(ctx, made, [max(0, -b) for b in begins], [max(0, -e) for e in ends])]


def _transposed_pads(
    node: SourceNode,
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> tuple[list[int], list[int]]:
    """What the spread input is padded by before and after, negative where the result is cropped."""
    n = len(sizes)
    extra = node.integers("output_padding", [0] * n)
    pads = node.integers("pads", [0] * (2 * n))
    wanted = node.integers("output_shape", [])[-n:]
    mode = node.text("auto_pad", "NOTSET")
    if (
        len(extra) != n
        or len(pads) != 2 * n
        or len(wanted) not in (0, n)
        or min((*extra, *pads, *wanted)) < 0
    ):
        raise node.malformed("pads, output_padding or output_shape are malformed")
    spans = [dilations[i] * (kernel[i] - 1) for i in range(n)]
    match mode:
        case "VALID":
            pads = [0] * (2 * n)
        case "SAME_UPPER" | "SAME_LOWER" if not wanted:
            wanted = [sizes[i] * strides[i] for i in range(n)]
        case "NOTSET" | "SAME_UPPER" | "SAME_LOWER":
            pass
        case other:
            raise node.malformed(f"auto_pad `{other}` is no mode of ONNX")
    for i, size in enumerate(wanted):
        total = strides[i] * (sizes[i] - 1) + extra[i] + spans[i] + 1 - size
        if total < (-1 if mode == "NOTSET" else 0):
            raise node.unsupported(
                f"an output of {size}, which is {-total} more than the kernel reaches: runtimes differ there",
                "give pads and output_padding, or follow it by Pad",
            )
        small = total // 2
        first = small if mode == "SAME_UPPER" else total - small
        pads[i], pads[i + n] = first, total - first
    return (
        [spans[i] - pads[i] for i in range(n)],
        [spans[i] - pads[i + n] + extra[i] for i in range(n)],
    )


def _with_zeros_between(ctx: Lowering, x: Operand, strides: Sequence[int]) -> Operand:
    """stride - 1 zeros between neighbours along every spatial dimension."""
    if max(strides) == 1:
        return x
    batch, channels, sizes = x.shape[0], x.type.size(1), [x.type.size(2 + i) for i in range(len(strides))]
    apart = reshape(ctx, x, (batch, channels, *(part for size in sizes for part in (size, 1))))
    zeros = [0, 0, *(part for stride in strides for part in (0, stride - 1))]
    padded = ctx.apply("Pad", apart, pads=(*(0 for _ in zeros), *zeros), value=0.0)
    wide = reshape(ctx, padded, (batch, channels, *(a * b for a, b in zip(sizes, strides, strict=True))))
    return _cropped(ctx, wide, [0] * len(strides), [stride - 1 for stride in strides])


def _cropped(ctx: Lowering, x: Operand, begins: Sequence[int], ends: Sequence[int]) -> Operand:
    """Without so many positions at either end of every spatial dimension."""
    axes = tuple(2 + i for i in range(len(begins)) if begins[i] or ends[i])
    if not axes:
        return x
    starts = tuple(begins[axis - 2] for axis in axes)
    stops = tuple(x.type.size(axis) - ends[axis - 2] for axis in axes)
    return ctx.apply("Slice", x, axes=axes, starts=starts, ends=stops, steps=(1,) * len(axes))


def _max_pool(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    if node.n_outputs > 1:
        raise node.unsupported("the output Indices", "leave it out")
    x = node.operand(0)
    if x.dtype != "float64":
        raise node.unsupported("integers", "cast to float first")
    kernel = node.integers("kernel_shape")
    return [ctx.apply("MaxPool", x, kernel=tuple(kernel), **_placement(node, x, kernel))]


def _average_pool(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    x, kernel = node.operand(0), node.integers("kernel_shape")
    placement = _placement(node, x, kernel)
    counted = node.integer("count_include_pad", 0)
    if not any(placement["pads"]):
        counted = 0
    if counted and node.integer("ceil_mode", 0):
        raise node.unsupported("count_include_pad with ceil_mode", "write the padding out with Pad")
    return [ctx.apply("AveragePool", x, kernel=tuple(kernel), count_include_pad=counted, **placement)]


def _global_average_pool(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    x = node.operand(0)
    sizes = _spatial(node, x)
    total = ctx.apply("ReduceSum", x, axes=tuple(range(2, len(x.shape))), keepdims=1)
    return [ctx.apply("Mul", total, ctx.literal(1.0 / max(1, prod(sizes))))]


def _global_max_pool(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    x = node.operand(0)
    _spatial(node, x)
    return [ctx.apply("ReduceMax", x, axes=tuple(range(2, len(x.shape))), keepdims=1)]


WINDOW = (
    Rule("Conv", _conv, "Conv", "no negative pads"),
    Rule("ConvTranspose", _conv_transpose, "Reshape Pad Slice Conv", "constant kernel"),
    Rule("MaxPool", _max_pool, "MaxPool", "floats; no Indices output; no window that is all padding"),
    Rule("AveragePool", _average_pool, "AveragePool", "not count_include_pad with ceil_mode"),
    Rule("GlobalAveragePool", _global_average_pool, "ReduceSum Mul"),
    Rule("GlobalMaxPool", _global_max_pool, "ReduceMax"),
)
