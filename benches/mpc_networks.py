"""Networks for the benchmarks of `mpc`, with random weights after He (2015): their cost is that of trained ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tacit.ir.builder import GraphBuilder
from tacit.ir.graph import Graph

__all__ = ["lenet", "minilm", "mlp", "multiply", "product", "rectify", "resnet50"]

Array = NDArray[np.float64]

_BLOCKS = ((3, 64, 256, 1), (4, 128, 512, 2), (6, 256, 1024, 2), (3, 512, 2048, 2))
"""Of ResNet-50: how many, channels within, channels out, stride of the first."""
_BRANCH_GAIN = 0.25
"""Of the last convolution of a block: keeps sums over sixteen blocks near the size of one."""
_NORM_EPSILON = 1e-5


class _Layers:
    """A graph in the making, whose weights come from one generator."""

    def __init__(self, name: str, seed: int) -> None:
        self.graph = GraphBuilder(name)
        self.random = np.random.default_rng(seed)

    def _weights(self, *shape: int, fan_in: int, gain: float = 2.0) -> str:
        # Single precision, as models come and as peers take them.
        drawn = self.random.normal(scale=np.sqrt(gain / fan_in), size=shape).astype(np.float32)
        return self.graph.constant(drawn)

    def dense(self, x: str, inputs: int, outputs: int, *, gain: float = 2.0) -> str:
        made = self.graph.node("MatMul", x, self._weights(inputs, outputs, fan_in=inputs, gain=gain))
        return self.graph.node("Add", made, self._weights(outputs, fan_in=100, gain=1.0))

    def convolution(
        self,
        x: str,
        channels: int,
        filters: int,
        size: int,
        *,
        stride: int = 1,
        pad: int = 0,
        gain: float = 2.0,
    ) -> str:
        kernel = self._weights(filters, channels, size, size, fan_in=channels * size * size, gain=gain)
        bias = self._weights(filters, fan_in=100, gain=1.0)
        return self.graph.node(
            "Conv", x, kernel, bias, strides=(stride,) * 2, pads=(pad,) * 4, dilations=(1, 1), group=1
        )

    def relu(self, x: str) -> str:
        return self.graph.node("Relu", x)

    def pool(self, x: str, size: int, stride: int, pad: int = 0) -> str:
        return self.graph.node(
            "MaxPool", x, kernel=(size,) * 2, strides=(stride,) * 2, pads=(pad,) * 4, dilations=(1, 1)
        )

    def number(self, value: float) -> str:
        return self.graph.constant(np.float64(value), public=True)


def multiply(count: int) -> Graph:
    """x * y."""
    graph = GraphBuilder("multiply")
    x, y = (graph.input(name, (count,)) for name in "xy")
    return graph.finish([graph.node("Mul", x, y)])


def product(size: int) -> Graph:
    """The product of two square matrices."""
    graph = GraphBuilder("matmul")
    x, y = (graph.input(name, (size, size)) for name in "xy")
    return graph.finish([graph.node("MatMul", x, y)])


def rectify(count: int) -> Graph:
    """max(x, 0)."""
    graph = GraphBuilder("relu")
    return graph.finish([graph.node("Relu", graph.input("x", (count,)))])


def mlp() -> Graph:
    """784-128-128-10 with ReLU."""
    net = _Layers("mlp-784-128-128-10", 1)
    x = net.graph.input("x", (None, 784))
    x = net.relu(net.dense(x, 784, 128))
    x = net.relu(net.dense(x, 128, 128))
    return net.graph.finish([net.dense(x, 128, 10)])


def lenet() -> Graph:
    """20 and 50 filters of 5 x 5, maxima of 2 x 2, then 500 and 10."""
    net = _Layers("lenet", 2)
    x = net.graph.input("x", (None, 1, 28, 28))
    x = net.relu(net.pool(net.convolution(x, 1, 20, 5), 2, 2))
    x = net.relu(net.pool(net.convolution(x, 20, 50, 5), 2, 2))
    x = net.graph.node("Reshape", x, shape=(-1, 800))
    return net.graph.finish([net.dense(net.relu(net.dense(x, 800, 500)), 500, 10)])


def resnet50() -> Graph:
    """ResNet-50 for 224 x 224, normalisations folded (He and others, 2016; stride at the 3 x 3)."""
    net = _Layers("resnet50", 3)
    x = net.graph.input("x", (None, 3, 224, 224))
    x = net.pool(net.relu(net.convolution(x, 3, 64, 7, stride=2, pad=3)), 3, 2, 1)
    channels = 64
    for count, within, out, first in _BLOCKS:
        for block in range(count):
            stride = first if block == 0 else 1
            y = net.relu(net.convolution(x, channels, within, 1))
            y = net.relu(net.convolution(y, within, within, 3, stride=stride, pad=1))
            y = net.convolution(y, within, out, 1, gain=_BRANCH_GAIN)
            if block == 0:
                x = net.convolution(x, channels, out, 1, stride=stride, gain=1.0)
            x = net.relu(net.graph.node("Add", x, y))
            channels = out
    x = net.graph.node("ReduceSum", x, axes=(2, 3), keepdims=0)
    return net.graph.finish([net.dense(net.graph.node("Mul", x, net.number(1 / 49)), 2048, 1000)])


def minilm(*, layers: int = 6, width: int = 384, heads: int = 12, tokens: int = 128) -> Graph:
    """The encoder of MiniLM-L6 behind its embeddings: attention, GELU by erf, normalisation after each sum."""
    net = _Layers("minilm", 4)
    graph, each = net.graph, width // heads
    x = _normalised(net, graph.input("x", (None, tokens, width)), width)
    for _ in range(layers):
        split: list[str] = []
        for _ in "qkv":
            made = net.dense(x, width, width, gain=1.0)
            made = graph.node("Reshape", made, shape=(-1, tokens, heads, each))
            split.append(graph.node("Transpose", made, perm=(0, 2, 1, 3)))
        scores = graph.node("MatMul", split[0], graph.node("Transpose", split[1], perm=(0, 1, 3, 2)))
        scores = graph.node("Mul", scores, net.number(each**-0.5))
        mixed = graph.node("MatMul", graph.node("Softmax", scores, axis=3), split[2])
        mixed = graph.node(
            "Reshape", graph.node("Transpose", mixed, perm=(0, 2, 1, 3)), shape=(-1, tokens, width)
        )
        x = _normalised(net, graph.node("Add", x, net.dense(mixed, width, width, gain=1.0)), width)
        y = _gelu(net, net.dense(x, width, 4 * width, gain=1.0))
        x = _normalised(net, graph.node("Add", x, net.dense(y, 4 * width, width, gain=1.0)), width)
    return graph.finish([x])


def _gelu(net: _Layers, x: str) -> str:
    graph = net.graph
    risen = graph.node("Add", graph.node("Erf", graph.node("Mul", x, net.number(2**-0.5))), net.number(1.0))
    return graph.node("Mul", graph.node("Mul", x, risen), net.number(0.5))


def _normalised(net: _Layers, x: str, width: int) -> str:
    graph = net.graph

    def mean(value: str) -> str:
        return graph.node("Mul", graph.node("ReduceSum", value, axes=(2,), keepdims=1), net.number(1 / width))

    centred = graph.node("Sub", x, mean(x))
    variance = graph.node("Add", mean(graph.node("Mul", centred, centred)), net.number(_NORM_EPSILON))
    made = graph.node("Div", centred, graph.node("Sqrt", variance))
    gain = graph.constant(net.random.uniform(0.8, 1.2, size=width).astype(np.float32))
    shift = graph.constant(net.random.normal(scale=0.1, size=width).astype(np.float32))
    return graph.node("Add", graph.node("Mul", made, gain), shift)
