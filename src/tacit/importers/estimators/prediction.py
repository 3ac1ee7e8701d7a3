"""What estimators answer: a primary output with its role and, for classifiers, the label and the classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tacit.errors import ModelError
from tacit.importers.lowering import Lowering, Operand
from tacit.importers.onnx_ops.activation import complement, softmax
from tacit.importers.onnx_ops.shape import reshape
from tacit.ir.signature import Array

__all__ = [
    "Prediction",
    "Predictor",
    "Transformer",
    "class_labels",
    "finite",
    "normalized_columns",
    "probabilities_of_classes",
    "probability_of_second",
    "score_of_second",
    "scores_of_classes",
]


@dataclass(frozen=True, slots=True)
class Prediction:
    """``role``: probabilities, scores or output; ``primary``: that output; ``label``: of classifiers."""

    role: str
    primary: Operand
    label: Operand | None = None


Transformer = Callable[[Any, Lowering, Operand], Operand]
Predictor = Callable[[Any, Lowering, Operand], Prediction]


def finite(array: object, what: str) -> Array:
    """Fitted numbers as float64. Raises ``ModelError`` for NaN and infinity."""
    held: Array = np.asarray(array, dtype=np.float64)
    if not np.isfinite(held).all():
        raise ModelError(
            f"`{what}` of the estimator holds NaN or infinity", hint="its training diverged: fit it again"
        )
    return held


def class_labels(estimator: Any) -> Array:
    """The classes of a classifier as integers or strings."""
    classes = np.asarray(estimator.classes_)
    if classes.ndim != 1:
        raise ModelError(
            "a classifier of several labels at once is not read", hint="fit one classifier per label"
        )
    if classes.dtype.kind in "iub":
        return classes.astype(np.int64)
    if classes.dtype.kind == "f" and (classes == np.trunc(classes)).all():
        return classes.astype(np.int64)
    if classes.dtype.kind == "U" or all(isinstance(item, str) for item in classes):
        return classes.astype(np.str_)
    raise ModelError("class labels must be integers or strings", hint="encode the target before the fit")


def score_of_second(ctx: Lowering, classes: Array, score: Operand) -> Prediction:
    """Two classes and one score (batch, 1): positive means the second. The primary output is (batch,)."""
    flat = reshape(ctx, score, (None,))
    index = ctx.apply("Cast", ctx.apply("Less", ctx.literal(0.0), flat), to="int64")
    return Prediction("scores", flat, ctx.choose(classes, index))


def scores_of_classes(ctx: Lowering, classes: Array, scores: Operand) -> Prediction:
    """A score (batch, classes) for each class: the largest wins."""
    return Prediction("scores", scores, _largest(ctx, classes, scores))


def probability_of_second(ctx: Lowering, classes: Array, score: Operand) -> Prediction:
    """Two classes and the log-odds (batch, 1) of the second: 1 - p and p with p = sigmoid."""
    pair = complement(ctx, ctx.apply("Sigmoid", score))
    return Prediction("probabilities", pair, _largest(ctx, classes, pair))


def probabilities_of_classes(ctx: Lowering, classes: Array, scores: Operand) -> Prediction:
    """Softmax of (batch, classes)."""
    result = softmax(ctx, scores, 1)
    return Prediction("probabilities", result, _largest(ctx, classes, result))


def normalized_columns(ctx: Lowering, classes: Array, scores: Operand) -> Prediction:
    """One against the rest: sigmoid of each score, divided by their sum; the largest score wins."""
    chances = ctx.apply("Sigmoid", scores)
    result = ctx.apply("Div", chances, ctx.apply("ReduceSum", chances, axes=(1,), keepdims=1))
    ctx.normalized.add(result.name)
    return Prediction("probabilities", result, _largest(ctx, classes, scores))


def _largest(ctx: Lowering, classes: Array, scores: Operand) -> Operand:
    return ctx.choose(classes, ctx.apply("ArgMax", scores, axis=1, keepdims=0))
