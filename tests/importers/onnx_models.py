"""ONNX models made by hand, with seeded weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["cnn", "mlp", "model", "residual", "tensor", "transformer_block"]


def tensor(array: Any, name: str) -> onnx.TensorProto:
    held = np.asarray(array)
    return numpy_helper.from_array(held.astype(np.float32) if held.dtype == np.float64 else held, name)


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[tuple[str, Sequence[Any]]],
    outputs: Sequence[str],
    initializers: Sequence[onnx.TensorProto] = (),
    *,
    opset: int = 17,
    ml: int = 3,
    kind: int = TensorProto.FLOAT,
    kinds: Sequence[int] = (),
) -> onnx.ModelProto:
    """A model of these nodes; outputs are declared without shape."""
    graph = helper.make_graph(
        list(nodes),
        "hand-made",
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs],
        [
            helper.make_tensor_value_info(name, kinds[i] if kinds else TensorProto.FLOAT, None)
            for i, name in enumerate(outputs)
        ],
        list(initializers),
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", ml)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def mlp(activation: str = "Relu", *, opset: int = 17, **attributes: Any) -> onnx.ModelProto:
    """784 → 32 → 10 as Gemm, activation, Gemm with transposed weights."""
    random = np.random.default_rng(1)
    weights = [
        tensor(random.normal(size=(32, 784)) / 28, "w1"),
        tensor(random.normal(size=32), "b1"),
        tensor(random.normal(size=(10, 32)) / 6, "w2"),
        tensor(random.normal(size=10), "b2"),
    ]
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"], name="flatten"),
        helper.make_node("Gemm", ["flat", "w1", "b1"], ["h"], name="fc1", transB=1),
        helper.make_node(activation, ["h"], ["a"], name="activation", **attributes),
        helper.make_node("Gemm", ["a", "w2", "b2"], ["y"], name="fc2", transB=1),
    ]
    return model(nodes, [("x", ["batch", 1, 28, 28])], ["y"], weights, opset=opset)


def cnn(batch: Any = "batch", *, opset: int = 17) -> onnx.ModelProto:
    """Convolution, batch norm, ReLU, pooling, grouped convolution, global pooling, dense, softmax."""
    random = np.random.default_rng(2)
    weights = [
        tensor(random.normal(size=(6, 3, 3, 3)) / 5, "w1"),
        tensor(random.normal(size=6), "b1"),
        tensor(random.uniform(0.5, 1.5, size=6), "scale"),
        tensor(random.normal(size=6), "shift"),
        tensor(random.normal(size=6), "mean"),
        tensor(random.uniform(0.5, 1.5, size=6), "var"),
        tensor(random.normal(size=(8, 3, 3, 3)) / 5, "w2"),
        tensor(random.normal(size=(8, 4)), "w3"),
    ]
    nodes = [
        helper.make_node(
            "Conv", ["x", "w1", "b1"], ["c1"], strides=[2, 1], pads=[1, 0, 1, 2], dilations=[1, 2]
        ),
        helper.make_node("BatchNormalization", ["c1", "scale", "shift", "mean", "var"], ["n1"], epsilon=1e-3),
        helper.make_node("Relu", ["n1"], ["r1"]),
        helper.make_node("MaxPool", ["r1"], ["p1"], kernel_shape=[3, 2], strides=[2, 2], ceil_mode=1),
        helper.make_node("Conv", ["p1", "w2"], ["c2"], group=2, auto_pad="SAME_UPPER"),
        helper.make_node("AveragePool", ["c2"], ["p2"], kernel_shape=[2, 2], pads=[1, 1, 0, 0]),
        helper.make_node("GlobalAveragePool", ["p2"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("MatMul", ["f", "w3"], ["z"]),
        helper.make_node("Softmax", ["z"], ["y"], axis=1),
    ]
    return model(nodes, [("x", [batch, 3, 16, 16])], ["y"], weights, opset=opset)


def residual() -> onnx.ModelProto:
    """A residual block with exporter-style helper chains: the shape of a Reshape is computed from Shape."""
    random = np.random.default_rng(3)
    weights = [
        tensor(random.normal(size=(4, 4, 3, 3)) / 6, "w"),
        tensor(random.normal(size=(64 * 4, 5)) / 16, "v"),
        tensor(np.array(0), "zero"),
        tensor(np.array([0]), "axes"),
        tensor(np.array([-1]), "rest"),
        tensor(np.array(6.0), "six"),
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Clip", ["c", "", "six"], ["k"]),
        helper.make_node("Add", ["k", "x"], ["s"]),
        helper.make_node("Shape", ["s"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "axes"], ["n1"]),
        helper.make_node("Concat", ["n1", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["s", "target"], ["flat"]),
        helper.make_node("Identity", ["flat"], ["same"]),
        helper.make_node("Dropout", ["same"], ["kept"]),
        helper.make_node("MatMul", ["kept", "v"], ["y"]),
    ]
    return model(nodes, [("x", ["n", 4, 8, 8])], ["y"], weights)


def transformer_block() -> onnx.ModelProto:
    """Self-attention with two heads, layer norm and GELU, on (batch, 6, 8)."""
    random = np.random.default_rng(4)
    names = ("wq", "wk", "wv", "wo", "w1", "w2")
    shapes = ((8, 8), (8, 8), (8, 8), (8, 8), (8, 16), (16, 8))
    weights = [tensor(random.normal(size=s) / 3, n) for n, s in zip(names, shapes, strict=True)]
    weights += [
        tensor(random.uniform(0.5, 1.5, size=8), "g"),
        tensor(random.normal(size=8), "b"),
        tensor(np.array([0, 6, 2, 4]), "heads"),
        tensor(np.array([0, 6, 8]), "joined"),
        tensor(np.array(0.5), "scale"),
    ]
    nodes = [helper.make_node("LayerNormalization", ["x", "g", "b"], ["n"])]
    for part in "qkv":
        nodes += [
            helper.make_node("MatMul", ["n", f"w{part}"], [part]),
            helper.make_node("Reshape", [part, "heads"], [f"{part}r"]),
            helper.make_node(
                "Transpose", [f"{part}r"], [f"{part}t"], perm=[0, 2, 3, 1] if part == "k" else [0, 2, 1, 3]
            ),
        ]
    nodes += [
        helper.make_node("MatMul", ["qt", "kt"], ["raw"]),
        helper.make_node("Mul", ["raw", "scale"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["weights"]),
        helper.make_node("MatMul", ["weights", "vt"], ["mixed"]),
        helper.make_node("Transpose", ["mixed"], ["back"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["back", "joined"], ["flat"]),
        helper.make_node("MatMul", ["flat", "wo"], ["o"]),
        helper.make_node("Add", ["o", "x"], ["s"]),
        helper.make_node("MatMul", ["s", "w1"], ["h"]),
        helper.make_node("Gelu", ["h"], ["a"]),
        helper.make_node("MatMul", ["a", "w2"], ["m"]),
        helper.make_node("Add", ["m", "s"], ["y"]),
    ]
    return model(nodes, [("x", ["n", 6, 8])], ["y"], weights, opset=20)
