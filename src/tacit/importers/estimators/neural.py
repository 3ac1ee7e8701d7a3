"""Multi-layer perceptrons."""

from __future__ import annotations

from typing import Any

from tacit.errors import UnsupportedOpError
from tacit.importers.estimators.prediction import (
    Prediction,
    Predictor,
    class_labels,
    finite,
    probabilities_of_classes,
    probability_of_second,
)
from tacit.importers.lowering import Lowering, Operand
from tacit.importers.onnx_ops.linear import affine
from tacit.importers.onnx_ops.shape import reshape

__all__ = ["NEURAL"]

_ACTIVATIONS = {"identity": "", "logistic": "Sigmoid", "relu": "Relu", "tanh": "Tanh"}


def _layers(estimator: Any, ctx: Lowering, x: Operand) -> Operand:
    """All layers, with the activation between them and none after the last."""
    function = _ACTIVATIONS[estimator.activation]
    for i, (weights, bias) in enumerate(zip(estimator.coefs_, estimator.intercepts_, strict=True)):
        if i and function:
            x = ctx.apply(function, x)
        x = affine(ctx, x, finite(weights, "coefs_").T, finite(bias, "intercepts_"))
    return x


def _classifier(estimator: Any, ctx: Lowering, x: Operand) -> Prediction:
    classes = class_labels(estimator)
    scores = _layers(estimator, ctx, x)
    if estimator.out_activation_ == "softmax":
        return probabilities_of_classes(ctx, classes, scores)
    if estimator.n_outputs_ != 1 or len(classes) != 2:
        raise UnsupportedOpError(
            "a classifier of several labels at once is not read",
            node="MLPClassifier",
            op="MLPClassifier",
            hint="fit one classifier per label",
        )
    return probability_of_second(ctx, classes, scores)


def _regressor(estimator: Any, ctx: Lowering, x: Operand) -> Prediction:
    result = _layers(estimator, ctx, x)
    if estimator.out_activation_ != "identity":
        result = ctx.apply("Exp", result)
    return Prediction("output", reshape(ctx, result, (None,)) if estimator.n_outputs_ == 1 else result)


NEURAL: dict[str, Predictor] = {"MLPClassifier": _classifier, "MLPRegressor": _regressor}
