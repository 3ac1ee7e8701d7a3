"""The tasks of the prediction benchmark: for each a model, calibration data, and the rows whose answers are checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import convolutional_models
import numpy as np
from convolutional_models import Dense, Layer, Square, lenet, pneumonia, tutorial
from dense_models import DATA, Array, Images, Network, images, logistic_regression, mlp, to_onnx, xrays
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin

__all__ = ["NAMED", "TASKS", "Problem", "problem"]

BATCH = 4096
FOREST_BATCH = 16384
LENET_ERROR = 8.0
"""Largest error asked for, of scores that range over some 100: lets the plan take small keys."""
CNTK_ERROR = 1900.0
"""Largest error asked for, of scores that range over some 18,000: polynomials of degree 31."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """``model``: what ``tacit.load`` takes. ``samples``: (rows, …), unseen in training where ``labels`` are known.

    ``batch``: samples of one request. ``checked``: rows whose answers are checked, in the quick form and in full.
    ``layers``: the model as peers get it, on ``inputs`` (``samples`` if ``None``); ``None`` where it is no chain of
    layers. ``training``: data and labels from which a peer fits the same estimator by itself.
    """

    model: object
    calibration: Array
    samples: Array
    labels: NDArray[np.int64] | None = None
    batch: int = 1
    max_error: float | None = None
    measured: bool = False
    checked: tuple[int, int]
    layers: tuple[Layer, ...] | None = None
    inputs: Array | None = None
    training: tuple[Array, NDArray[np.int64]] | None = None
    source: str = ""

    def scores(self, inputs: Array) -> Array:
        """(rows, …) → (rows, outputs) of ``layers`` or of the estimator, in float64."""
        if self.layers is not None:
            return convolutional_models.scores(list(self.layers), inputs)
        if isinstance(self.model, ClassifierMixin):
            found: Array = self.model.predict_proba(inputs)
            return found
        raise ValueError("peers get layers or estimators")


def _logistic(batch: int) -> Problem:
    model, x = logistic_regression()
    many = np.resize(x, (batch, x.shape[1])) if batch > 1 else x
    scaler, regression = model.steps[0][1], model.steps[1][1]
    return Problem(
        model=model,
        calibration=x,
        samples=many,
        batch=batch,
        checked=(len(many), len(many)),
        layers=(Dense(regression.coef_.T, regression.intercept_),),
        inputs=scaler.transform(many),
        source="breast cancer",
    )


def _mlp(activation: str, checked: tuple[int, int]) -> Problem:
    data = images()
    network: Network = mlp(activation)
    layers = (Dense(network.w1, network.b1), Square(), Dense(network.w2, network.b2))
    return Problem(
        model=to_onnx(network),
        calibration=data.train[:2000],
        samples=data.test,
        labels=data.test_labels,
        checked=checked,
        layers=layers if activation == "square" else None,
        source=data.source,
    )


def _convolutional(
    name: str,
    layers: Sequence[Layer],
    data: Images,
    checked: tuple[int, int],
    max_error: float | None = None,
) -> Problem:
    return Problem(
        model=convolutional_models.to_onnx(list(layers), name),
        calibration=data.train[:2000].reshape(-1, 1, 28, 28),
        samples=data.test.reshape(-1, 1, 28, 28),
        labels=data.test_labels,
        max_error=max_error,
        checked=checked,
        layers=tuple(layers),
        source=data.source,
    )


def _trained_elsewhere(checked: tuple[int, int]) -> Problem:
    """`mnist_cntk_lenet.onnx` of the ONNX model zoo as it is: ReLU and max-pooling; pixels from 0 to 255."""
    data = images()
    return Problem(
        model=DATA / "models_mnist" / "mnist_cntk_lenet.onnx",
        calibration=255.0 * data.train[:2000].reshape(-1, 1, 28, 28),
        samples=255.0 * data.test.reshape(-1, 1, 28, 28),
        labels=data.test_labels,
        checked=checked,
        max_error=CNTK_ERROR,
        measured=True,
        source=f"{data.source}, unmodified file",
    )


def _forest(batch: int, checked: tuple[int, int]) -> Problem:
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import train_test_split

    x, y = load_breast_cancer(return_X_y=True)
    train, test, train_labels, test_labels = train_test_split(x, y, test_size=0.4, random_state=0)
    model = RandomForestClassifier(n_estimators=10, max_depth=4, random_state=0).fit(train, train_labels)
    return Problem(
        model=model,
        calibration=train,
        samples=test,
        labels=test_labels.astype(np.int64),
        batch=batch,
        checked=checked,
        training=(train, train_labels.astype(np.int64)),
        source="breast cancer",
    )


NAMED = frozenset({"mlp-784-128-10-relu", "mnist-cntk", "forest-10x4-batch"})
"""Tasks of many seconds: in the quick form only where they are asked for by name."""
TASKS: dict[str, Callable[[], Problem]] = {
    "lr-30": lambda: _logistic(1),
    "lr-30-batch": lambda: _logistic(BATCH),
    "mlp-784-128-10": lambda: _mlp("square", (100, 500)),
    "mlp-784-128-10-relu": lambda: _mlp("relu", (20, 500)),
    "cnn-tutorial": lambda: _convolutional("cnn-tutorial", tutorial(), images(), (20, 200)),
    "cnn-pneumonia": lambda: _convolutional("cnn-pneumonia", pneumonia(), xrays(), (20, 836)),
    "lenet": lambda: _convolutional("lenet", lenet(), images(), (10, 200), LENET_ERROR),
    "mnist-cntk": lambda: _trained_elsewhere((1, 20)),
    "forest-10x4": lambda: _forest(1, (3, 228)),
    "forest-10x4-batch": lambda: _forest(FOREST_BATCH, (228, 228)),
}


def problem(name: str) -> Problem:
    """The task of that name. Trains its model, where it is not one that was trained by others.

    Raises ``FileNotFoundError`` where the data folder lacks what it needs.
    """
    return TASKS[name]()
