"""Activation functions of ONNX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import pi, sqrt

import numpy as np

from tacit.importers.lowering import Lowering, Operand, Rule, SourceNode
from tacit.importers.onnx_ops.arithmetic import negate

__all__ = ["ACTIVATION", "clamp", "complement", "softmax"]

_Lower = Callable[[SourceNode, Lowering], Sequence[Operand]]


def clamp(
    ctx: Lowering, x: Operand, low: float | None, high: float | None, *, public: bool = False
) -> Operand:
    """x held between two bounds; infinite bounds are none. ``public``: the bounds are nobody's secret."""
    whole = x.dtype == "int64"
    if low is not None and np.isfinite(low):
        x = ctx.apply("Max", x, ctx.known(int(low) if whole else float(low), public=public))
    if high is not None and np.isfinite(high):
        x = ctx.apply("Min", x, ctx.known(int(high) if whole else float(high), public=public))
    return x


def softmax(ctx: Lowering, x: Operand, axis: int) -> Operand:
    result = ctx.apply("Softmax", x, axis=axis)
    ctx.normalized.add(result.name)
    return result


def complement(ctx: Lowering, positive: Operand) -> Operand:
    """(batch, 1) probabilities p of the second class as (batch, 2): 1 - p and p."""
    pair = ctx.apply("Concat", ctx.apply("Sub", ctx.literal(1.0), positive), positive, axis=1)
    ctx.normalized.add(pair.name)
    return pair


def _function(op: str) -> _Lower:
    def lower(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
        return [ctx.apply(op, node.operand(0))]

    return lower


def _relu(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    x = node.operand(0)
    return [ctx.apply("Relu", x) if x.dtype == "float64" else ctx.apply("Max", x, ctx.literal(0))]


def _slope(ctx: Lowering, x: Operand, slope: Operand) -> Operand:
    """slope · x + (1 - slope) · relu(x): x where positive, slope · x elsewhere."""
    rest = ctx.apply("Sub", ctx.literal(1.0), slope)
    return ctx.apply("Add", ctx.apply("Mul", x, slope), ctx.apply("Mul", ctx.apply("Relu", x), rest))


def _leaky_relu(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    return [_slope(ctx, node.operand(0), ctx.known(node.number("alpha", 0.01)))]


def _prelu(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    return [_slope(ctx, node.operand(0), node.operand(1))]


def _below(ctx: Lowering, x: Operand, scale: float, alpha: float) -> Operand:
    """scale · x where positive, scale · alpha · (e^x - 1) elsewhere; e^min(x, 0) never overflows."""
    falling = ctx.apply("Exp", ctx.apply("Min", x, ctx.literal(0.0)))
    left = ctx.apply("Mul", ctx.apply("Sub", falling, ctx.literal(1.0)), ctx.known(scale * alpha))
    return ctx.apply("Add", left, ctx.apply("Mul", ctx.apply("Relu", x), ctx.known(scale)))


def _elu(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    return [_below(ctx, node.operand(0), 1.0, node.number("alpha", 1.0))]


def _selu(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    alpha, gamma = (
        node.number("alpha", 1.67326319217681884765625),
        node.number("gamma", 1.05070102214813232421875),
    )
    return [_below(ctx, node.operand(0), gamma, alpha)]


def _celu(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    alpha = node.number("alpha", 1.0)
    if alpha == 0.0:
        raise node.malformed("alpha must not be 0")
    x = node.operand(0)
    falling = ctx.apply(
        "Exp", ctx.apply("Mul", ctx.apply("Min", x, ctx.literal(0.0)), ctx.known(1.0 / alpha))
    )
    left = ctx.apply("Mul", ctx.apply("Sub", falling, ctx.literal(1.0)), ctx.known(alpha))
    return [ctx.apply("Add", left, ctx.apply("Relu", x))]


def _thresholded_relu(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    x = node.operand(0)
    passed = ctx.apply("Less", ctx.known(node.number("alpha", 1.0)), x)
    return [ctx.apply("Where", passed, x, ctx.literal(0.0))]


def _hard_sigmoid_of(ctx: Lowering, x: Operand, alpha: float, beta: float) -> Operand:
    line = ctx.apply("Add", ctx.apply("Mul", x, ctx.known(alpha)), ctx.known(beta))
    return clamp(ctx, line, 0.0, 1.0, public=True)


def _hard_sigmoid(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    return [_hard_sigmoid_of(ctx, node.operand(0), node.number("alpha", 0.2), node.number("beta", 0.5))]


def _hard_swish(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    x = node.operand(0)
    return [ctx.apply("Mul", x, _hard_sigmoid_of(ctx, x, 1.0 / 6.0, 0.5))]


def _softplus_of(ctx: Lowering, x: Operand) -> Operand:
    """log(1 + e^x) as max(x, 0) + log(1 + e^-|x|), which never overflows."""
    small = ctx.apply("Exp", negate(ctx, ctx.apply("Abs", x)))
    return ctx.apply("Add", ctx.apply("Relu", x), ctx.apply("Log", ctx.apply("Add", small, ctx.literal(1.0))))


def _softplus(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    return [_softplus_of(ctx, node.operand(0))]


def _softsign(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    x = node.operand(0)
    return [ctx.apply("Div", x, ctx.apply("Add", ctx.apply("Abs", x), ctx.literal(1.0)))]


def _mish(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    x = node.operand(0)
    return [ctx.apply("Mul", x, ctx.apply("Tanh", _softplus_of(ctx, x)))]


def _gelu(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    x = node.operand(0)
    match node.text("approximate", "none"):
        case "none":
            bend = ctx.apply("Erf", ctx.apply("Mul", x, ctx.literal(1.0 / sqrt(2.0))))
        case "tanh":
            cube = ctx.apply("Mul", ctx.apply("Mul", x, x), x)
            inner = ctx.apply("Add", x, ctx.apply("Mul", cube, ctx.literal(0.044715)))
            bend = ctx.apply("Tanh", ctx.apply("Mul", inner, ctx.literal(sqrt(2.0 / pi))))
        case other:
            raise node.unsupported(f"the approximation `{other}`", "use `none` or `tanh`")
    half = ctx.apply("Mul", x, ctx.literal(0.5))
    return [ctx.apply("Mul", half, ctx.apply("Add", bend, ctx.literal(1.0)))]


def _swish(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    x = node.operand(0)
    return [
        ctx.apply("Mul", x, ctx.apply("Sigmoid", ctx.apply("Mul", x, ctx.known(node.number("alpha", 1.0)))))
    ]


def _shrink(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    x, bias, edge = node.operand(0), node.number("bias", 0.0), node.number("lambd", 0.5)
    if x.dtype != "float64":
        raise node.unsupported("the input is an integer", "cast to float first")
    zero = ctx.literal(0.0)
    low = ctx.apply(
        "Where", ctx.apply("Less", x, ctx.known(-edge)), ctx.apply("Add", x, ctx.known(bias)), zero
    )
    return [
        ctx.apply("Where", ctx.apply("Less", ctx.known(edge), x), ctx.apply("Sub", x, ctx.known(bias)), low)
    ]


def _softmax_with(finish: Callable[[Lowering, Operand, int], Operand]) -> _Lower:
    """Before opset 13 the tensor was first flattened to two dimensions at ``axis``, which defaulted to 1."""

    def lower(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
        x = node.operand(0)
        rank = len(x.shape)
        axis = node.axis(node.integer("axis", -1 if node.opset >= 13 else 1), rank)
        if node.opset >= 13 or axis == rank - 1:
            return [finish(ctx, x, axis)]
        if any(size is None for size in x.shape[axis:]):
            raise node.unsupported("softmax over the batch", "set axis to 1")
        tail = int(np.prod([size for size in x.shape[axis:] if size is not None], dtype=np.int64))
        head = [-1 if size is None else size for size in x.shape[:axis]]
        flat = ctx.apply("Reshape", x, shape=(*head, tail))
        back = tuple(-1 if size is None else size for size in x.shape)
        return [ctx.apply("Reshape", finish(ctx, flat, axis), shape=back)]

    return lower


def _log_softmax_of(ctx: Lowering, x: Operand, axis: int) -> Operand:
    """x - max - log(sum(e^(x - max))), which never overflows."""
    shifted = ctx.apply("Sub", x, ctx.apply("ReduceMax", x, axes=(axis,), keepdims=1))
    total = ctx.apply("ReduceSum", ctx.apply("Exp", shifted), axes=(axis,), keepdims=1)
    return ctx.apply("Sub", shifted, ctx.apply("Log", total))


def _clip(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    x = node.operand(0)
    if node.opset < 11:
        low = node.number("min") if node.has("min") else None
        high = node.number("max") if node.has("max") else None
        return [clamp(ctx, x, low, high)]
    for index, op in ((1, "Max"), (2, "Min")):
        bound = node.optional(index)
        if bound is None:
            continue
        if bound.shape != ():
            raise node.malformed("bounds must be scalars")
        if bound.array is None:
            x = ctx.apply(op, x, bound)
        else:
            value = bound.array.item()
            x = clamp(ctx, x, value, None) if op == "Max" else clamp(ctx, x, None, value)
    return [x]


ACTIVATION = (
    Rule("Relu", _relu, "Relu"),
    *(Rule(op, _function(op), op) for op in ("Sigmoid", "Tanh")),
    Rule("LeakyRelu", _leaky_relu, "Relu Mul Add"),
    Rule("PRelu", _prelu, "Relu Mul Add"),
    Rule("Elu", _elu, "Exp Min Relu Mul Add"),
    Rule("Selu", _selu, "Exp Min Relu Mul Add"),
    Rule("Celu", _celu, "Exp Min Relu Mul Add", since=12),
    Rule("ThresholdedRelu", _thresholded_relu, "Less Where", since=10),
    Rule("HardSigmoid", _hard_sigmoid, "Mul Add Max Min"),
    Rule("HardSwish", _hard_swish, "Mul Add Max Min", since=14),
    Rule("Softplus", _softplus, "Exp Log Abs Relu Add"),
    Rule("Softsign", _softsign, "Abs Add Div"),
    Rule("Mish", _mish, "Exp Log Abs Relu Tanh Mul", since=18),
    Rule("Gelu", _gelu, "Erf or Tanh, Mul Add", since=20),
    Rule("Swish", _swish, "Sigmoid Mul", since=24),
    Rule("Shrink", _shrink, "Less Where Add Sub", "on floats", since=9),
    Rule("Softmax", _softmax_with(softmax), "Softmax", "not over the batch"),
    Rule(
        "LogSoftmax", _softmax_with(_log_softmax_of), "ReduceMax ReduceSum Exp Log Sub", "not over the batch"
    ),
    Rule("Clip", _clip, "Max Min"),
)
