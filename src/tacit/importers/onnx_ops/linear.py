"""Matrix products and normalisation layers of ONNX."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tacit.importers.lowering import Lowering, Operand, Rule, SourceNode
from tacit.ir.signature import Array

__all__ = ["LINEAR", "affine"]


def affine(ctx: Lowering, x: Operand, weights: Array, bias: Array) -> Operand:
    """x · weightsᵀ + bias for x (batch, features), weights (outputs, features), bias (outputs,)."""
    product = ctx.apply("MatMul", x, ctx.known(np.ascontiguousarray(weights.T), "weights"))
    return ctx.apply("Add", product, ctx.known(bias, "bias")) if bias.any() else product


def _matmul(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    a, b = node.operand(0), node.operand(1)
    if a.dtype != "float64" or b.dtype != "float64":
        raise node.unsupported("a product of integer matrices", "cast to float first")
    if not a.shape or not b.shape:
        raise node.malformed("a scalar is no matrix")
    row, column = len(a.shape) == 1, len(b.shape) == 1
    if (row and a.shape[0] is None) or (column and b.shape[0] is None):
        raise node.unsupported("a product over the batch", "a model must treat every sample by itself")
    if row:
        a = ctx.apply("Reshape", a, shape=(1, a.type.size(0)))
    if column:
        b = ctx.apply("Reshape", b, shape=(b.type.size(0), 1))
    result = ctx.apply("MatMul", a, b)
    shape = list(result.shape)
    if column:
        shape.pop()
    if row:
        shape.pop(-1 if column else -2)
    if row or column:
        return [ctx.apply("Reshape", result, shape=tuple(-1 if size is None else size for size in shape))]
    return [result]


def _gemm(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    a, b, c = node.operand(0), node.operand(1), node.optional(2)
    if len(a.shape) != 2 or len(b.shape) != 2:
        raise node.malformed("operands must be matrices")
    if a.dtype != "float64" or b.dtype != "float64":
        raise node.unsupported("a product of integer matrices", "cast to float first")
    if node.integer("transA", 0):
        a = ctx.apply("Transpose", a, perm=(1, 0))
    if node.integer("transB", 0):
        b = ctx.apply("Transpose", b, perm=(1, 0))
    alpha, beta = node.number("alpha", 1.0), node.number("beta", 1.0)
    if alpha != 1.0:
        if b.is_known:
            b = ctx.apply("Mul", b, ctx.known(alpha))
        else:
            a = ctx.apply("Mul", a, ctx.known(alpha))
    result = ctx.apply("MatMul", a, b)
    if c is None or beta == 0.0:
        return [result]
    if beta != 1.0:
        c = ctx.apply("Mul", c, ctx.known(beta))
    if len(c.shape) > 2:
        raise node.malformed("the bias must have at most two dimensions")
    total = ctx.apply("Add", result, c)
    if total.shape != result.shape:
        raise node.malformed("the bias must stretch to the product, and not the product to the bias")
    return [total]


def _channelwise(node: SourceNode, ctx: Lowering, x: Operand, factor: Operand) -> Operand:
    """A per-channel vector in a shape that meets axis 1 of x."""
    if len(x.shape) < 2 or factor.shape != (x.type.size(1),):
        raise node.malformed("there must be one number for each channel")
    if len(x.shape) == 2:
        return factor
    return ctx.apply("Reshape", factor, shape=(x.type.size(1), *(1,) * (len(x.shape) - 2)))


def _batch_normalization(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    """x · s + (b - mean · s) with s = scale / √(var + ε): a Mul and an Add when these are constant."""
    if node.integer("training_mode", 0):
        raise node.unsupported("training mode", "export the model for inference (`model.eval()`)")
    x, scale, bias, mean, variance = (node.operand(i) for i in range(5))
    if not node.integer("spatial", 1):
        raise node.unsupported("statistics for each position (spatial = 0)", "export with spatial = 1")
    deviation = ctx.apply("Sqrt", ctx.apply("Add", variance, ctx.known(node.number("epsilon", 1e-5))))
    factor = ctx.apply("Div", scale, deviation)
    shift = ctx.apply("Sub", bias, ctx.apply("Mul", mean, factor))
    scaled = ctx.apply("Mul", x, _channelwise(node, ctx, x, factor))
    return [ctx.apply("Add", scaled, _channelwise(node, ctx, x, shift))]


def _standardized(
    ctx: Lowering, x: Operand, axes: tuple[int, ...], epsilon: float
) -> tuple[Operand, Operand, Operand]:
    """(x - mean) / √(variance + ε), the mean and √(variance + ε), mean and variance along axes."""
    count = 1.0 / max(1, int(np.prod([x.type.size(axis) for axis in axes], dtype=np.int64)))
    mean = ctx.apply("Mul", ctx.apply("ReduceSum", x, axes=axes, keepdims=1), ctx.literal(count))
    centred = ctx.apply("Sub", x, mean)
    square = ctx.apply("ReduceSum", ctx.apply("Mul", centred, centred), axes=axes, keepdims=1)
    variance = ctx.apply("Mul", square, ctx.literal(count))
    deviation = ctx.apply("Sqrt", ctx.apply("Add", variance, ctx.known(epsilon)))
    return ctx.apply("Div", centred, deviation), mean, deviation


def _instance_normalization(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    x = node.operand(0)
    result, _, _ = _standardized(ctx, x, tuple(range(2, len(x.shape))), node.number("epsilon", 1e-5))
    scaled = ctx.apply("Mul", result, _channelwise(node, ctx, x, node.operand(1)))
    return [ctx.apply("Add", scaled, _channelwise(node, ctx, x, node.operand(2)))]


def _layer_normalization(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    x = node.operand(0)
    first = node.axis(node.integer("axis", -1), len(x.shape))
    axes = tuple(range(first, len(x.shape)))
    result, mean, deviation = _standardized(ctx, x, axes, node.number("epsilon", 1e-5))
    result = ctx.apply("Mul", result, node.operand(1))
    bias = node.optional(2)
    result = result if bias is None else ctx.apply("Add", result, bias)
    if node.n_outputs == 1:
        return [result]
    return [result, mean, ctx.apply("Div", ctx.literal(1.0), deviation)]


def _mean_variance_normalization(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    x = node.operand(0)
    return [_standardized(ctx, x, node.axes(node.integers("axes", [0, 2, 3]), len(x.shape)), 1e-9)[0]]


def _lp_normalization(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    """x over its norm; where the norm is zero the answer is zero."""
    x = node.operand(0)
    axis = node.axis(node.integer("axis", -1), len(x.shape))
    match node.integer("p", 2):
        case 1:
            norm = ctx.apply("ReduceSum", ctx.apply("Abs", x), axes=(axis,), keepdims=1)
        case 2:
            norm = ctx.apply("Sqrt", ctx.apply("ReduceSum", ctx.apply("Mul", x, x), axes=(axis,), keepdims=1))
        case other:
            raise node.malformed(f"p must be 1 or 2. Got {other} instead.")
    empty = ctx.apply("Equal", norm, ctx.literal(0.0))
    return [ctx.apply("Div", x, ctx.apply("Where", empty, ctx.literal(1.0), norm))]


LINEAR = (
    Rule("MatMul", _matmul, "MatMul", "floats; not over the batch"),
    Rule("Gemm", _gemm, "MatMul Add", "floats; not over the batch"),
    Rule("BatchNormalization", _batch_normalization, "Mul Add", "inference only; folded"),
    Rule("InstanceNormalization", _instance_normalization, "ReduceSum Sub Mul Sqrt Div Add"),
    Rule("LayerNormalization", _layer_normalization, "ReduceSum Sub Mul Sqrt Div Add", since=17),
    Rule(
        "MeanVarianceNormalization",
        _mean_variance_normalization,
        "ReduceSum Sub Mul Sqrt Div",
        "not over the batch",
        since=9,
    ),
    Rule("LpNormalization", _lp_normalization, "ReduceSum Sqrt Div Where"),
)
