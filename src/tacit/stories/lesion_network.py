"""The network of the skin story: two convolutions with ReLU and max-pool and a dense layer, trained here in NumPy.

Gradients are written out below; descent is Adam (Kingma and Ba, arXiv 1412.6980, algorithm 1). The result leaves as an
ONNX file, as it would leave any tool that trains.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tacit.stories.lesions import KINDS

__all__ = ["FILTERS", "to_onnx", "train"]

Array = npt.NDArray[np.float32]
Parameters = list[Array]
"""Kernel and bias of both convolutions, then of the dense layer."""

FILTERS = (6, 12)
"""Of the convolutions, 3 by 3 with a border of zeros; each is followed by ReLU and a max-pool of 2 by 2."""
_RATE, _FADE, _FADE_SQUARES, _TINY = 4e-3, 0.9, 0.999, 1e-8
_DECAY = 1e-4


@dataclass(frozen=True)
class _Block:
    """What one convolution, ReLU and max-pool left for the way back. ``windows``: (samples, rows, columns, inputs)."""

    windows: Array
    largest: npt.NDArray[np.bool_]
    shape: tuple[int, ...]


def train(
    images: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int64],
    *,
    epochs: int = 10,
    batch: int = 25,
    seed: int = 3,
) -> Parameters:
    """The parameters after ``epochs`` over all images (samples, channels, rows, columns), rows and columns in fours.

    On one thread: products as small as these lose more to waiting for others than they gain.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return _descend(images, labels, epochs, batch, seed)


def _descend(
    images: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], epochs: int, batch: int, seed: int
) -> Parameters:
    rng = np.random.default_rng(seed)
    x = np.asarray(images, dtype=np.float32)
    parameters = _start(rng, x.shape[1:])
    first = [np.zeros_like(p) for p in parameters]
    second = [np.zeros_like(p) for p in parameters]
    step = 0
    for _ in range(epochs):
        order = rng.permutation(len(x))
        for begin in range(0, len(x) - batch + 1, batch):
            chosen = order[begin : begin + batch]
            step += 1
            for place, gradient in enumerate(_gradients(parameters, x[chosen], labels[chosen])):
                gradient = gradient + _DECAY * parameters[place]
                first[place] = _FADE * first[place] + (1 - _FADE) * gradient
                second[place] = _FADE_SQUARES * second[place] + (1 - _FADE_SQUARES) * gradient**2
                mean = first[place] / (1 - _FADE**step)
                spread = np.sqrt(second[place] / (1 - _FADE_SQUARES**step))
                parameters[place] = (parameters[place] - _RATE * mean / (spread + _TINY)).astype(np.float32)
    return parameters


def _start(rng: np.random.Generator, shape: tuple[int, ...]) -> Parameters:
    channels, rows, columns = shape
    sizes = [(FILTERS[0], channels, 3, 3), (FILTERS[1], FILTERS[0], 3, 3)]
    parameters: Parameters = []
    for size in sizes:
        scale = np.sqrt(2.0 / np.prod(size[1:]))
        parameters += [(scale * rng.standard_normal(size)).astype(np.float32), np.zeros(size[0], np.float32)]
    width = FILTERS[1] * (rows // 4) * (columns // 4)
    dense = rng.standard_normal((width, len(KINDS))) / np.sqrt(width)
    return [*parameters, dense.astype(np.float32), np.zeros(len(KINDS), np.float32)]


def _forward(parameters: Parameters, x: Array) -> tuple[Array, Array, list[_Block]]:
    """Scores (samples, kinds), what the dense layer read, and the blocks."""
    blocks = []
    for kernel, bias in ((parameters[0], parameters[1]), (parameters[2], parameters[3])):
        x, block = _block(x, kernel, bias)
        blocks.append(block)
    flat = x.reshape(len(x), -1)
    return flat @ parameters[4] + parameters[5], flat, blocks


def _block(x: Array, kernel: Array, bias: Array) -> tuple[Array, _Block]:
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    seen = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    windows = seen.transpose(0, 2, 3, 1, 4, 5).reshape(len(x), *x.shape[2:], -1)
    made = np.maximum(windows @ kernel.reshape(len(kernel), -1).T + bias, 0)
    samples, rows, columns, filters = made.shape
    tiles = made.reshape(samples, rows // 2, 2, columns // 2, 2, filters)
    pooled = tiles.max(axis=(2, 4))
    largest = (tiles == pooled[:, :, None, :, None]) & (tiles > 0)
    return pooled.transpose(0, 3, 1, 2), _Block(windows, largest, x.shape)


def _gradients(parameters: Parameters, x: Array, labels: npt.NDArray[np.int64]) -> Parameters:
    """Of the mean cross-entropy."""
    scores, flat, blocks = _forward(parameters, x)
    likely = np.exp(scores - scores.max(axis=1, keepdims=True))
    likely /= likely.sum(axis=1, keepdims=True)
    likely[np.arange(len(labels)), labels] -= 1.0
    back = likely / np.float32(len(labels))
    gradients = [flat.T @ back, back.sum(axis=0)]
    filters, rows = blocks[1].largest.shape[-1], blocks[1].largest.shape[1]
    below = (back @ parameters[4].T).reshape(len(x), filters, rows, -1)
    for place in (1, 0):
        kernel, block = parameters[2 * place], blocks[place]
        spread = (block.largest * below.transpose(0, 2, 3, 1)[:, :, None, :, None]).reshape(
            *block.windows.shape[:3], -1
        )
        of_kernel = np.tensordot(spread, block.windows, axes=((0, 1, 2), (0, 1, 2)))
        gradients = [of_kernel.reshape(kernel.shape), spread.sum(axis=(0, 1, 2)), *gradients]
        if place:
            below = _spread_back(spread @ kernel.reshape(len(kernel), -1), block.shape)
    return gradients


def _spread_back(windows: Array, shape: tuple[int, ...]) -> Array:
    """Sums what windows say of their inputs, onto those: (samples, channels, rows, columns)."""
    samples, channels, rows, columns = shape
    each = windows.reshape(samples, rows, columns, channels, 3, 3)
    padded = np.zeros((samples, channels, rows + 2, columns + 2), dtype=windows.dtype)
    for down in range(3):
        for right in range(3):
            padded[:, :, down : down + rows, right : right + columns] += each[..., down, right].transpose(
                0, 3, 1, 2
            )
    return padded[:, :, 1:-1, 1:-1]


def to_onnx(parameters: Parameters, shape: tuple[int, ...], *, name: str = "lesions") -> bytes:
    """The network as an ONNX file: image (n, channels, rows, columns) to `label` and `probabilities`."""
    from onnx import TensorProto, helper, numpy_helper

    names = ("kernel1", "bias1", "kernel2", "bias2", "dense", "bias3")
    pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
    nodes = []
    source = "image"
    for layer in (1, 2):
        made, kept, pooled = f"conv{layer}", f"relu{layer}", f"pool{layer}"
        nodes += [
            helper.make_node("Conv", [source, f"kernel{layer}", f"bias{layer}"], [made], pads=[1] * 4),
            helper.make_node("Relu", [made], [kept]),
            helper.make_node("MaxPool", [kept], [pooled], **pool),
        ]
        source = pooled
    nodes += [
        helper.make_node("Flatten", [source], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "dense", "bias3"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", *shape])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, ["n"]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", len(KINDS)]),
        ],
        [numpy_helper.from_array(array, each) for each, array in zip(names, parameters, strict=True)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = model.SerializeToString()
    return content
