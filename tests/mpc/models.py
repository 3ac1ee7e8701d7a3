"""Small models of every sort that programs run, with data for them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tacit.ir.builder import GraphBuilder
from tacit.ir.graph import Graph

FloatArray = npt.NDArray[np.float64]


def dense(seed: int = 0) -> tuple[Graph, FloatArray]:
    """Two layers with a rectifier between them, and a label."""
    rng = np.random.default_rng(seed)
    builder = GraphBuilder("dense")
    x = builder.input("x", (None, 12))
    hidden = builder.node("MatMul", x, builder.constant(rng.normal(size=(12, 16)) / 3))
    hidden = builder.node("Relu", builder.node("Add", hidden, builder.constant(rng.normal(size=16))))
    scores = builder.node("MatMul", hidden, builder.constant(rng.normal(size=(16, 4)) / 4), output="scores")
    best = builder.node("ArgMax", scores, axis=1, keepdims=0)
    names = builder.constant(np.array(["ant", "bee", "cat", "dog"]), public=True)
    label = builder.node("Gather", names, best, axis=0, output="label")
    graph = builder.finish([scores, label], roles={"scores": scores, "label": label})
    return graph, rng.normal(size=(40, 12))


def convolutional(seed: int = 0) -> tuple[Graph, FloatArray]:
    """Convolutions with strides, groups and a skip, both pools, a mean over the image."""
    rng = np.random.default_rng(seed)
    builder = GraphBuilder("convolutional")
    x = builder.input("x", (None, 3, 12, 12))
    same = {"pads": (1, 1, 1, 1), "dilations": (1, 1)}

    def conv(value: str, filters: int, depth: int, *, group: int = 1, stride: int = 1) -> str:
        kernel = builder.constant(rng.normal(size=(filters, depth, 3, 3)) / np.sqrt(9 * depth))
        bias = builder.constant(rng.normal(size=filters) / 4)
        return builder.node("Conv", value, kernel, bias, strides=(stride, stride), group=group, **same)

    first = builder.node("Relu", conv(x, 6, 3))
    second = builder.node("Relu", conv(first, 6, 1, group=6))
    joined = builder.node("Add", first, second)
    pooled = builder.node(
        "MaxPool", joined, kernel=(3, 3), strides=(2, 2), pads=(1, 1, 1, 1), dilations=(1, 1)
    )
    third = builder.node("Relu", conv(pooled, 8, 6, stride=2))
    mean = builder.node(
        "AveragePool", third, kernel=(2, 2), strides=(1, 1), pads=(0, 0, 1, 1), dilations=(1, 1)
    )
    total = builder.node("ReduceSum", mean, axes=(2, 3), keepdims=0)
    mean = builder.node("Mul", total, builder.constant(1 / 9, public=True))
    scores = builder.node("MatMul", mean, builder.constant(rng.normal(size=(8, 3))))
    return builder.finish([scores], roles={"scores": scores}), rng.uniform(-1, 1, size=(20, 3, 12, 12))


def deep(layers: int, seed: int = 0) -> tuple[Graph, FloatArray]:
    """So many layers of matrices and rectifiers that no proof keeps the last ones in the ring."""
    rng = np.random.default_rng(seed)
    builder = GraphBuilder("deep")
    value = builder.input("x", (None, 16))
    for layer in range(layers):
        weights = builder.constant(rng.normal(size=(16, 16)) * np.sqrt(2 / 16))
        value = builder.node("Relu", builder.node("MatMul", value, weights), name=f"layer {layer}")
    scores = builder.node("MatMul", value, builder.constant(rng.normal(size=(16, 2))))
    return builder.finish([scores], roles={"scores": scores}), rng.normal(size=(60, 16))


def attention(seed: int = 0) -> tuple[Graph, FloatArray]:
    """One block of a transformer on 6 tokens of 16 numbers, 2 heads, with GELU and layer normalisation."""
    rng = np.random.default_rng(seed)
    builder = GraphBuilder("attention")
    x = builder.input("x", (None, 6, 16))

    def linear(value: str, rows: int, columns: int) -> str:
        made = builder.node(
            "MatMul", value, builder.constant(rng.normal(size=(rows, columns)) / np.sqrt(rows))
        )
        return builder.node("Add", made, builder.constant(rng.normal(size=columns) / 10))

    def normal(value: str) -> str:
        count = builder.constant(1 / 16, public=True)

        def mean(of: str) -> str:
            return builder.node("Mul", builder.node("ReduceSum", of, axes=(2,), keepdims=1), count)

        centred = builder.node("Sub", value, mean(value))
        spread = builder.node("Add", mean(builder.node("Mul", centred, centred)), builder.constant(1e-5))
        made = builder.node("Div", centred, builder.node("Sqrt", spread))
        made = builder.node("Mul", made, builder.constant(rng.uniform(0.5, 1.5, size=16)))
        return builder.node("Add", made, builder.constant(rng.normal(size=16) / 10))

    def heads(value: str, perm: tuple[int, ...]) -> str:
        return builder.node("Transpose", builder.node("Reshape", value, shape=(-1, 6, 2, 8)), perm=perm)

    value = normal(x)
    query, key = heads(linear(value, 16, 16), (0, 2, 1, 3)), heads(linear(value, 16, 16), (0, 2, 3, 1))
    content = heads(linear(value, 16, 16), (0, 2, 1, 3))
    scores = builder.node("Div", builder.node("MatMul", query, key), builder.constant(np.sqrt(8.0)))
    mixed = builder.node("MatMul", builder.node("Softmax", scores, axis=3), content)
    joined = builder.node("Reshape", builder.node("Transpose", mixed, perm=(0, 2, 1, 3)), shape=(-1, 6, 16))
    value = normal(builder.node("Add", value, linear(joined, 16, 16)))
    wide = linear(value, 16, 32)
    bend = builder.node("Erf", builder.node("Mul", wide, builder.constant(np.sqrt(0.5))))
    gate = builder.node("Add", bend, builder.constant(1.0))
    wide = builder.node("Mul", builder.node("Mul", wide, gate), builder.constant(0.5))
    value = normal(builder.node("Add", value, linear(wide, 32, 16)))
    return builder.finish([value], roles={"output": value}), rng.normal(size=(30, 6, 16))
