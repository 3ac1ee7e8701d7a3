"""Data and models of the prediction benchmarks: logistic regression and two-layer networks, trained here with NumPy."""

from __future__ import annotations

import gzip
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from trained import kept

__all__ = ["DATA", "Images", "Network", "images", "logistic_regression", "mlp", "to_onnx", "xrays"]

Array = NDArray[np.float64]

DECAY = np.float32(0.02)
"""Weight decay: small weights keep the ranges narrow that a plan must allow for."""
TRAINING = 20000
"""Images of MNIST that are used for training; 2,000 steps of 64 see each some six times."""
DATA = Path(os.environ.get("TACIT_BENCH_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
"""Where the folders `mnist`, `models_mnist` and `pneumoniamnist` are looked for."""


@dataclass(frozen=True)
class Images:
    """28 x 28 pictures as (samples, 784) float64 in [0, 1], with labels. ``source``: ``mnist`` or ``digits`` …"""

    source: str
    train: Array
    train_labels: NDArray[np.int64]
    test: Array
    test_labels: NDArray[np.int64]


@dataclass(frozen=True)
class Network:
    """scores = W2 · f(W1 · x + b1) + b2, weights in float32. ``activation``: ``square`` or ``relu``."""

    activation: str
    w1: NDArray[np.float32]
    b1: NDArray[np.float32]
    w2: NDArray[np.float32]
    b2: NDArray[np.float32]

    def scores(self, x: Array) -> Array:
        """(samples, 10) in float64."""
        z = x @ self.w1.astype(np.float64) + self.b1
        h = z * z if self.activation == "square" else np.maximum(z, 0)
        result: Array = h @ self.w2.astype(np.float64) + self.b2
        return result


@cache
def images() -> Images:
    """MNIST where the data folder is, else scikit-learn's digits upscaled to 28 x 28."""
    if (DATA / "mnist" / "train-images-idx3-ubyte.gz").exists():

        def pixels(name: str) -> Array:
            with gzip.open(DATA / "mnist" / name) as file:
                return (
                    np.frombuffer(file.read(784 * TRAINING + 16), np.uint8, offset=16).reshape(-1, 784)
                    / 255.0
                )

        def labels(name: str) -> NDArray[np.int64]:
            with gzip.open(DATA / "mnist" / name) as file:
                return np.frombuffer(file.read(TRAINING + 8), np.uint8, offset=8).astype(np.int64)

        return Images(
            "mnist",
            pixels("train-images-idx3-ubyte.gz"),
            labels("train-labels-idx1-ubyte.gz"),
            pixels("t10k-images-idx3-ubyte.gz"),
            labels("t10k-labels-idx1-ubyte.gz"),
        )
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits

    small, target = load_digits(return_X_y=True)
    large = np.stack([zoom(image.reshape(8, 8) / 16, 3.5, order=1) for image in small]).reshape(-1, 784)
    order = np.random.default_rng(0).permutation(len(large))
    large, target = np.clip(large[order], 0, 1), target[order].astype(np.int64)
    return Images("digits", large[:1200], target[:1200], large[1200:], target[1200:])


@cache
def xrays() -> Images:
    """PneumoniaMNIST: chest X-rays of children, 1 is pneumonia. Unseen rows: the test set, then the validation set.

    Raises ``FileNotFoundError`` where the data folder lacks it.
    """
    with np.load(DATA / "pneumoniamnist" / "pneumoniamnist_public.npz", allow_pickle=False) as found:
        parts = {name: found[name] for name in found}

    def pixels(*names: str) -> Array:
        return np.concatenate([parts[f"{name}_images"].reshape(-1, 784) / 255.0 for name in names])

    def labels(*names: str) -> NDArray[np.int64]:
        return np.concatenate([parts[f"{name}_labels"].ravel().astype(np.int64) for name in names])

    return Images(
        "pneumoniamnist", pixels("train"), labels("train"), pixels("test", "val"), labels("test", "val")
    )


@cache
def mlp(activation: str) -> Network:
    """784-128-10, cross entropy, Adam with weight decay: seeded."""
    data = images()
    return Network(activation, *kept(f"mlp-{activation}", data.source, lambda: _train(activation, data)))


def _train(activation: str, data: Images) -> list[NDArray[np.float32]]:
    """Weights and biases of both layers."""
    rng = np.random.default_rng(7)
    shapes = ((784, 128), (128,), (128, 10), (10,))
    scales = (0.02, 0.0, 0.05, 0.0)
    parameters = [
        (s * rng.normal(size=shape)).astype(np.float32) for s, shape in zip(scales, shapes, strict=True)
    ]
    moments = [(np.zeros_like(p), np.zeros_like(p)) for p in parameters]
    images_32 = data.train.astype(np.float32)
    batch, steps = 64, 2000
    for step in range(1, steps + 1):
        chosen = rng.integers(0, len(data.train), batch)
        x, y = images_32[chosen], data.train_labels[chosen]
        w1, b1, w2, b2 = parameters
        z = x @ w1 + b1
        h, slope = (
            (z * z, 2 * z) if activation == "square" else (np.maximum(z, 0), (z > 0).astype(np.float32))
        )
        scores = h @ w2 + b2
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        delta = weights / weights.sum(axis=1, keepdims=True)
        delta[np.arange(batch), y] -= 1
        delta /= batch
        back = (delta @ w2.T) * slope
        gradients = (x.T @ back, back.sum(axis=0), h.T @ delta, delta.sum(axis=0))
        rate = 2e-3 * (1 - step / steps)
        for index, gradient in enumerate(gradients):
            first, second = moments[index]
            first += np.float32(0.1) * (gradient - first)
            second += np.float32(0.001) * (gradient**2 - second)
            size = np.sqrt(second / np.float32(1 - 0.999**step)) + np.float32(1e-8)
            update = first / np.float32(1 - 0.9**step) / size + DECAY * parameters[index]
            parameters[index] -= np.float32(rate) * update
    return [parameter.astype(np.float32) for parameter in parameters]


def to_onnx(network: Network) -> bytes:
    """The network as an ONNX file: Gemm, Mul(x, x) or Relu, Gemm."""
    constants = {"w1": network.w1, "b1": network.b1, "w2": network.w2, "b2": network.b2}
    middle = (
        helper.make_node("Mul", ["z", "z"], ["h"], name="square")
        if network.activation == "square"
        else helper.make_node("Relu", ["z"], ["h"], name="relu")
    )
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["pixels", "w1", "b1"], ["z"], name="dense1"),
            middle,
            helper.make_node("Gemm", ["h", "w2", "b2"], ["scores"], name="dense2"),
        ],
        f"mlp-{network.activation}",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 784])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 10])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


@cache
def logistic_regression() -> tuple[Any, Array]:
    """A fitted scikit-learn pipeline of scaler and regression, and the breast-cancer data: 569 samples, 30 features."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = load_breast_cancer(return_X_y=True)
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(x, y), x
