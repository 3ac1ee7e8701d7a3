"""Random small convolutional graphs: affine chains of every kind, with activations between them."""

from __future__ import annotations

import numpy as np

from tacit.ir.builder import GraphBuilder
from tacit.ir.graph import Graph
from tacit.ir.signature import Attribute

__all__ = ["affine_block", "network"]

Rng = np.random.Generator
STILL: dict[str, Attribute] = {"strides": (1, 1), "pads": (0,) * 4, "dilations": (1, 1)}


def network(seed: int, *, blocks: int, activation: str = "square", outputs: int = 3) -> Graph:
    """Chains of affine nodes on (channels, height, width), an activation after each, then a dense layer."""
    rng = np.random.default_rng(seed)
    builder = GraphBuilder(f"network-{seed}")
    channels, height, width = (int(rng.integers(low, high)) for low, high in ((1, 4), (5, 11), (5, 11)))
    value = builder.input("x", (None, channels, height, width))
    for index in range(blocks):
        value = affine_block(builder, value, rng)
        if index < blocks - 1 or rng.integers(2):
            value = _activation(builder, value, activation)
    size = int(np.prod(builder.values[value].shape[1:]))
    value = builder.add("Reshape", [value], {"shape": (-1, size)})
    weights = builder.constant(rng.normal(size=(size, outputs)) / np.sqrt(size))
    value = builder.add("MatMul", [value, weights], {})
    value = builder.add("Add", [value, builder.constant(rng.normal(size=outputs))], {})
    return builder.finish([value], roles={"scores": value})


def _activation(builder: GraphBuilder, value: str, kind: str) -> str:
    if kind == "square":
        return builder.add("Mul", [value, value], {})
    return builder.add(kind, [value], {})


def affine_block(builder: GraphBuilder, value: str, rng: Rng) -> str:
    """One to three affine nodes: convolution, pool, normalisation, transpose, slice, concatenation, residual."""
    for _ in range(int(rng.integers(1, 4))):
        kind = rng.choice(["conv", "conv", "pool", "norm", "transpose", "slice", "concat", "residual"])
        value = _node(builder, value, str(kind), rng)
    return value


def _node(builder: GraphBuilder, value: str, kind: str, rng: Rng) -> str:
    _, channels, height, width = (int(size or 0) for size in builder.values[value].shape)
    match kind:
        case "conv" if min(height, width) >= 3:
            group = channels if channels in (2, 4) and rng.integers(2) else 1
            filters = group * int(rng.integers(1, 3))
            pad, stride = int(rng.integers(0, 2)), int(rng.integers(1, 3))
            dilation = 2 if min(height, width) >= 5 and rng.integers(2) else 1
            weights = rng.normal(size=(filters, channels // group, 3, int(rng.integers(2, 4)))) / 3
            attributes: dict[str, Attribute] = {
                "strides": (stride, int(rng.integers(1, 3))),
                "pads": (pad,) * 4,
                "dilations": (dilation, 1),
                "group": group,
            }
            bias = builder.constant(rng.normal(size=filters) / 4)
            return builder.add("Conv", [value, builder.constant(weights), bias], attributes)
        case "pool" if min(height, width) >= 2:
            return builder.add("AveragePool", [value], {**STILL, "kernel": (2, 2), "strides": (2, 2)})
        case "norm":
            scale = builder.constant(rng.uniform(0.5, 1.5, (1, channels, 1, 1)))
            shift = builder.constant(rng.normal(size=(1, channels, 1, 1)) / 4)
            return builder.add("Add", [builder.add("Mul", [value, scale], {}), shift], {})
        case "transpose":
            return builder.add("Transpose", [value], {"perm": (0, 1, 3, 2)})
        case "slice" if height >= 4:
            return builder.add(
                "Slice", [value], {"axes": (2,), "starts": (1,), "ends": (height,), "steps": (1,)}
            )
        case "concat" if channels <= 3:
            return builder.add("Concat", [value, value], {"axis": 1})
        case "residual":
            weights = rng.normal(size=(channels, channels, 1, 1)) / channels
            made = builder.add("Conv", [value, builder.constant(weights)], STILL)
            return builder.add("Add", [value, made], {})
    return value
