"""Convolutional networks of the prediction benchmarks, trained here with NumPy: TenSEAL's, a LeNet, one for X-rays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import onnx
from dense_models import DECAY, Images, images, xrays
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper
from trained import kept

__all__ = [
    "Convolution",
    "Dense",
    "Layer",
    "Pool",
    "Square",
    "lenet",
    "pneumonia",
    "scores",
    "to_onnx",
    "tutorial",
]

Array32 = NDArray[np.float32]
Array = NDArray[np.float64]


@dataclass
class Convolution:
    """``weights``: (filters, channels, size, size); no padding."""

    weights: Array32
    bias: Array32
    stride: int = 1

    def forward(self, x: NDArray[np.floating]) -> NDArray[np.floating]:
        size = self.weights.shape[2]
        windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(2, 3))
        windows = windows[:, :, :: self.stride, :: self.stride].transpose(0, 2, 3, 1, 4, 5)
        batch, height, width = windows.shape[:3]
        self.input_shape = x.shape
        self.columns = np.ascontiguousarray(windows).reshape(batch * height * width, -1)
        made = self.columns @ self.weights.reshape(len(self.weights), -1).T + self.bias
        return np.ascontiguousarray(made.reshape(batch, height, width, -1).transpose(0, 3, 1, 2))

    def backward(self, delta: Array32) -> tuple[Array32, list[Array32]]:
        batch, filters, height, width = delta.shape
        flat = np.ascontiguousarray(delta.transpose(0, 2, 3, 1)).reshape(-1, filters)
        gradients = [(flat.T @ self.columns).reshape(self.weights.shape), flat.sum(axis=0)]
        size = self.weights.shape[2]
        back = (flat @ self.weights.reshape(filters, -1)).reshape(batch, height, width, -1, size, size)
        result = np.zeros(self.input_shape, dtype=np.float32)
        reach_y, reach_x = self.stride * height, self.stride * width
        for u in range(size):
            for v in range(size):
                piece = back[:, :, :, :, u, v].transpose(0, 3, 1, 2)
                result[:, :, u : u + reach_y : self.stride, v : v + reach_x : self.stride] += piece
        return result, gradients

    @property
    def parameters(self) -> list[Array32]:
        return [self.weights, self.bias]


@dataclass
class Dense:
    """``weights``: (inputs, outputs)."""

    weights: Array32
    bias: Array32

    def forward(self, x: NDArray[np.floating]) -> NDArray[np.floating]:
        self.input_shape, self.input = x.shape, x.reshape(len(x), -1)
        return self.input @ self.weights + self.bias

    def backward(self, delta: Array32) -> tuple[Array32, list[Array32]]:
        return (delta @ self.weights.T).reshape(self.input_shape), [self.input.T @ delta, delta.sum(axis=0)]

    @property
    def parameters(self) -> list[Array32]:
        return [self.weights, self.bias]


@dataclass
class Square:
    """x → x²."""

    def forward(self, x: NDArray[np.floating]) -> NDArray[np.floating]:
        self.input = x
        return x * x

    def backward(self, delta: Array32) -> tuple[Array32, list[Array32]]:
        return 2 * self.input * delta, []

    @property
    def parameters(self) -> list[Array32]:
        return []


@dataclass
class Pool:
    """Mean of 2 x 2."""

    def forward(self, x: NDArray[np.floating]) -> NDArray[np.floating]:
        batch, channels, height, width = x.shape
        means: NDArray[np.floating] = x.reshape(batch, channels, height // 2, 2, width // 2, 2).mean(
            axis=(3, 5)
        )
        return means

    def backward(self, delta: Array32) -> tuple[Array32, list[Array32]]:
        return np.repeat(np.repeat(delta, 2, axis=2), 2, axis=3) / 4, []

    @property
    def parameters(self) -> list[Array32]:
        return []


Layer = Convolution | Dense | Square | Pool


def scores(layers: list[Layer], x: Array) -> Array:
    """(samples, …) → (samples, outputs), in float64; a few at a time, as layers keep what they last read.

    Rows of 784 are images where the first layer is a convolution.
    """
    parts = []
    for start in range(0, len(x), 100):
        values: NDArray[np.floating] = x[start : start + 100]
        if isinstance(layers[0], Convolution):
            values = values.reshape(-1, 1, 28, 28)
        for layer in layers:
            values = layer.forward(values)
        parts.append(values.astype(np.float64))
    return np.concatenate(parts)


@cache
def tutorial() -> list[Layer]:
    """Convolution 7 x 7 of stride 3, 4 channels; x²; 256-64; x²; 64-10."""
    rng = np.random.default_rng(7)
    return _trained(
        "tutorial",
        [
            Convolution(_normal(rng, 0.1, 4, 1, 7, 7), np.zeros(4, np.float32), 3),
            Square(),
            Dense(_normal(rng, 0.05, 256, 64), np.zeros(64, np.float32)),
            Square(),
            Dense(_normal(rng, 0.1, 64, 10), np.zeros(10, np.float32)),
        ],
        images(),
        steps=1500,
    )


@cache
def lenet() -> list[Layer]:
    """6 of 5 x 5; x²; means of 2 x 2; 16 of 5 x 5; x²; means; 256-84; x²; 84-10."""
    rng = np.random.default_rng(7)
    return _trained(
        "lenet",
        [
            Convolution(_normal(rng, 0.15, 6, 1, 5, 5), np.zeros(6, np.float32)),
            Square(),
            Pool(),
            Convolution(_normal(rng, 0.1, 16, 6, 5, 5), np.zeros(16, np.float32)),
            Square(),
            Pool(),
            Dense(_normal(rng, 0.08, 256, 84), np.zeros(84, np.float32)),
            Square(),
            Dense(_normal(rng, 0.1, 84, 10), np.zeros(10, np.float32)),
        ],
        images(),
        steps=600,
    )


def _normal(rng: np.random.Generator, scale: float, *shape: int) -> Array32:
    return (scale * rng.normal(size=shape)).astype(np.float32)


@cache
def pneumonia() -> list[Layer]:
    """6 of 5 x 5 with stride 2; x²; 864-32; x²; 32-2: normal or pneumonia, from chest X-rays."""
    rng = np.random.default_rng(7)
    return _trained(
        "pneumonia",
        [
            Convolution(_normal(rng, 0.1, 6, 1, 5, 5), np.zeros(6, np.float32), 2),
            Square(),
            Dense(_normal(rng, 0.03, 864, 32), np.zeros(32, np.float32)),
            Square(),
            Dense(_normal(rng, 0.1, 32, 2), np.zeros(2, np.float32)),
        ],
        xrays(),
        steps=1000,
        balanced=True,
    )


def _trained(
    name: str, layers: list[Layer], data: Images, *, steps: int, balanced: bool = False
) -> list[Layer]:
    """The layers with trained weights."""

    def train() -> list[Array32]:
        _train(layers, data, steps=steps, balanced=balanced)
        return [parameter for layer in layers for parameter in layer.parameters]

    weights = iter(kept(name, data.source, train))
    for layer in layers:
        for parameter in layer.parameters:
            parameter[...] = next(weights)
    return layers


def _train(layers: list[Layer], data: Images, *, steps: int, balanced: bool, batch: int = 64) -> None:
    """Cross entropy, Adam with weight decay, gradients of bounded norm: seeded.

    ``balanced``: every class has the same part of a batch, for data that hold few of one.
    """
    pixels = data.train.astype(np.float32).reshape(-1, 1, 28, 28)
    classes = [np.flatnonzero(data.train_labels == label) for label in np.unique(data.train_labels)]
    rng = np.random.default_rng(11)
    moments = [[(np.zeros_like(p), np.zeros_like(p)) for p in layer.parameters] for layer in layers]
    for step in range(1, steps + 1):
        chosen = rng.integers(0, len(pixels), batch)
        if balanced:
            chosen = np.concatenate([rng.choice(rows, batch // len(classes)) for rows in classes])
        values: NDArray[np.floating] = pixels[chosen]
        for layer in layers:
            values = layer.forward(values)
        weights = np.exp(values - values.max(axis=1, keepdims=True))
        delta = weights / weights.sum(axis=1, keepdims=True)
        delta[np.arange(batch), data.train_labels[chosen]] -= 1
        delta = (delta / batch).astype(np.float32)
        found: list[list[Array32]] = []
        for layer in reversed(layers):
            delta, gradients = layer.backward(delta)
            found.append(gradients)
        norm = np.sqrt(sum(float((g**2).sum()) for gradients in found for g in gradients))
        rate = np.float32(3e-3 * (1 - step / steps))
        for layer, moment, gradients in zip(layers, moments, reversed(found), strict=True):
            for parameter, (first, second), gradient in zip(layer.parameters, moment, gradients, strict=True):
                gradient = gradient / np.float32(max(1.0, norm))
                first += np.float32(0.1) * (gradient - first)
                second += np.float32(0.001) * (gradient**2 - second)
                size = np.sqrt(second / np.float32(1 - 0.999**step)) + np.float32(1e-8)
                parameter -= rate * (first / np.float32(1 - 0.9**step) / size + DECAY * parameter)


def to_onnx(layers: list[Layer], name: str) -> bytes:
    """The network as an ONNX file: Conv, Mul(x, x), AveragePool, Flatten, Gemm."""
    nodes: list[NodeProto] = []
    constants = []
    value, flat = "pixels", False
    for index, layer in enumerate(layers):
        made = "scores" if index == len(layers) - 1 else f"v{index}"
        inputs = [value]
        if isinstance(layer, Dense) and not flat:
            nodes.append(helper.make_node("Flatten", [value], ["flat"], name="flatten"))
            inputs, flat = ["flat"], True
        if isinstance(layer, Convolution | Dense):
            for kind, array in zip(("weights", "bias"), layer.parameters, strict=True):
                constants.append(numpy_helper.from_array(array, f"{kind}{index}"))
                inputs.append(f"{kind}{index}")
        match layer:
            case Convolution():
                node = helper.make_node("Conv", inputs, [made], strides=[layer.stride] * 2)
            case Dense():
                node = helper.make_node("Gemm", inputs, [made])
            case Square():
                node = helper.make_node("Mul", [value, value], [made])
            case Pool():
                node = helper.make_node("AveragePool", inputs, [made], kernel_shape=[2, 2], strides=[2, 2])
        node.name = f"{type(layer).__name__.lower()}{index}"
        nodes.append(node)
        value = made
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 1, 28, 28])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", layers[-1].parameters[1].size])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data
