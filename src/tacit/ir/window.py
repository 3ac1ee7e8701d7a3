"""Ops that slide a window over spatial dimensions: convolution and pooling. Layout (batch, channels, …)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tacit.errors import ShapeError
from tacit.ir.signature import Array, Attributes, AttributeSpec, Op, TensorType

__all__ = ["WINDOW", "window_sizes"]


def _ints(attributes: Attributes, key: str) -> tuple[int, ...]:
    value = attributes[key]
    return value if isinstance(value, tuple) else ()


def window_sizes(
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
) -> tuple[int, ...]:
    """Window positions along each spatial dimension. ``pads``: all begins, then all ends, as in ONNX."""
    n = len(sizes)
    if not (len(kernel) == len(strides) == len(dilations) == n and len(pads) == 2 * n):
        raise ShapeError(f"kernel, strides, dilations must have {n} entries and pads {2 * n}")
    if min((*kernel, *strides, *dilations), default=1) < 1 or min(pads, default=0) < 0:
        raise ShapeError("kernel, strides and dilations must be >= 1, pads >= 0")
    result = []
    for i in range(n):
        room = sizes[i] + pads[i] + pads[i + n] - dilations[i] * (kernel[i] - 1) - 1
        if room < 0:
            raise ShapeError(f"the window is larger than the padded input along spatial dimension {i}")
        result.append(room // strides[i] + 1)
    return tuple(result)


def _infer_conv(inputs: Sequence[TensorType], attributes: Attributes) -> TensorType:
    x, w = inputs[0], inputs[1]
    if any(operand.dtype != "float64" for operand in inputs):
        raise ShapeError("operands must be float64")
    group = attributes["group"]
    if x.rank < 3 or x.rank != w.rank:
        raise ShapeError(f"input and kernel must have one rank >= 3. Got {x.shape} and {w.shape} instead.")
    if w.has_batch or not isinstance(group, int) or group < 1:
        raise ShapeError("the kernel has no batch, and group must be >= 1")
    channels, filters = x.size(1), w.size(0)
    if w.size(1) * group != channels or filters % group:
        raise ShapeError(f"kernel {w.shape} with {group} groups does not fit {channels} channels")
    if len(inputs) == 3 and inputs[2].shape != (filters,):
        raise ShapeError(f"the bias must have shape ({filters},). Got {inputs[2].shape} instead.")
    sizes = window_sizes(
        [x.size(i) for i in range(2, x.rank)],
        [w.size(i) for i in range(2, w.rank)],
        _ints(attributes, "strides"),
        _ints(attributes, "pads"),
        _ints(attributes, "dilations"),
    )
    return TensorType((x.shape[0], filters, *sizes), "float64")


def _infer_pool(inputs: Sequence[TensorType], attributes: Attributes) -> TensorType:
    (x,) = inputs
    if x.dtype != "float64" or x.rank < 3:
        raise ShapeError(f"the input must be float64 of rank >= 3. Got {x.dtype} {x.shape} instead.")
    kernel, pads = _ints(attributes, "kernel"), _ints(attributes, "pads")
    sizes = window_sizes(
        [x.size(i) for i in range(2, x.rank)],
        kernel,
        _ints(attributes, "strides"),
        pads,
        _ints(attributes, "dilations"),
    )
    dilations = _ints(attributes, "dilations")
    n = len(kernel)
    if any(max(pads[i], pads[i + n]) > dilations[i] * (kernel[i] - 1) for i in range(n)):
        raise ShapeError("pads of a pool must be smaller than its window, so that no window is all padding")
    return TensorType((x.shape[0], x.shape[1], *sizes), "float64")


def _windows(x: Array, kernel: Sequence[int], attributes: Attributes, fill: float) -> Array:
    """Every window of x: (batch, channels, positions …, kernel …), a read-only view of the padded input."""
    n = len(kernel)
    strides, pads, dilations = (_ints(attributes, key) for key in ("strides", "pads", "dilations"))
    width = [(0, 0), (0, 0), *((pads[i], pads[i + n]) for i in range(n))]
    padded = np.pad(x, width, constant_values=fill)
    span = tuple(dilations[i] * (kernel[i] - 1) + 1 for i in range(n))
    view = np.lib.stride_tricks.sliding_window_view(padded, span, axis=tuple(range(2, 2 + n)))
    positions = tuple(slice(None, None, step) for step in strides)
    taps = tuple(slice(None, None, step) for step in dilations)
    return view[(slice(None), slice(None), *positions, *taps)]


_CHUNK = 1 << 24
"""Most numbers (128 MiB) that windows are copied to at a time."""


def _conv(arrays: Sequence[Array], attributes: Attributes) -> Array:
    x, w = arrays[0], arrays[1]
    n = x.ndim - 2
    windows = _windows(x, w.shape[2:], attributes, 0.0)
    step = max(1, _CHUNK // max(1, windows[:1].size))
    parts = [_conv_chunk(windows[i : i + step], w, attributes) for i in range(0, max(1, len(x)), step)]
    result = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return result + arrays[2].reshape((1, -1) + (1,) * n) if len(arrays) == 3 else result


def _conv_chunk(windows: Array, w: Array, attributes: Attributes) -> Array:
    """Products of windows (batch, channels, positions …, kernel …) with the kernels of their group."""
    group = attributes["group"]
    groups = group if isinstance(group, int) else 1
    n = w.ndim - 2
    depth, filters = w.shape[1], w.shape[0] // groups
    if depth == filters == 1 < groups:
        return _depthwise(windows, w)
    parts = []
    for g in range(groups):
        part = windows[:, g * depth : (g + 1) * depth]
        kernel = w[g * filters : (g + 1) * filters]
        contracted = np.tensordot(part, kernel, axes=([1, *range(2 + n, 2 + 2 * n)], list(range(1, 2 + n))))
        parts.append(np.moveaxis(contracted, -1, 1))
    return np.concatenate(parts, axis=1)


def _depthwise(windows: Array, w: Array) -> Array:
    """Every channel with a kernel of its own: tap by tap for all channels at once."""
    n = w.ndim - 2
    total = np.zeros(windows.shape[: 2 + n])
    for tap in np.ndindex(*w.shape[2:]):
        total += windows[(..., *tap)] * w[(slice(None), 0, *tap)].reshape(-1, *(1,) * n)
    return total


def _max_pool(arrays: Sequence[Array], attributes: Attributes) -> Array:
    kernel = _ints(attributes, "kernel")
    windows = _windows(arrays[0], kernel, attributes, -np.inf)
    return np.asarray(windows.max(axis=tuple(range(2 + len(kernel), 2 + 2 * len(kernel)))))


def _average_pool(arrays: Sequence[Array], attributes: Attributes) -> Array:
    """Mean over each window; padding counts as zeros only where ``count_include_pad`` is 1."""
    kernel = _ints(attributes, "kernel")
    taps = tuple(range(2 + len(kernel), 2 + 2 * len(kernel)))
    x = arrays[0]
    total = _windows(x, kernel, attributes, 0.0).sum(axis=taps)
    if attributes["count_include_pad"]:
        return np.asarray(total / np.prod(kernel))
    ones = np.ones((1, 1, *x.shape[2:]))
    return np.asarray(total / _windows(ones, kernel, attributes, 0.0).sum(axis=taps))


_PLACEMENT = {
    "strides": AttributeSpec("ints"),
    "pads": AttributeSpec("ints"),
    "dilations": AttributeSpec("ints"),
}

WINDOW = (
    Op(
        "Conv",
        (2, 3),
        {**_PLACEMENT, "group": AttributeSpec("int", default=1)},
        _infer_conv,
        _conv,
        "cross-correlation of (batch, channels, …) with (filters, channels/group, …), plus bias (filters,)",
    ),
    Op(
        "MaxPool",
        (1, 1),
        {"kernel": AttributeSpec("ints"), **_PLACEMENT},
        _infer_pool,
        _max_pool,
        "largest element of each window; padding never wins",
    ),
    Op(
        "AveragePool",
        (1, 1),
        {"kernel": AttributeSpec("ints"), **_PLACEMENT, "count_include_pad": AttributeSpec("int", default=0)},
        _infer_pool,
        _average_pool,
        "mean of each window; padding is left out unless count_include_pad",
    ),
)
