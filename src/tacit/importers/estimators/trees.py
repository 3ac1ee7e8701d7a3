"""Decision trees, forests and boosted trees of scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np

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
from tacit.importers.onnx_ops.shape import reshape
from tacit.importers.trees import Tree, ensemble, float32_thresholds
from tacit.ir.signature import Array

__all__ = ["TREES"]


def _grown(held: Any, value: Array) -> Tree:
    """A fitted tree with other values; scikit-learn rounds data to float32 before it compares."""
    return Tree(
        np.asarray(held.feature, dtype=np.int64),
        float32_thresholds(finite(held.threshold, "threshold")),
        np.asarray(held.children_left, dtype=np.int64),
        np.asarray(held.children_right, dtype=np.int64),
        value,
    )


def _members(estimator: Any) -> list[Any]:
    """The trees of a forest, or the tree itself."""
    return [part.tree_ for part in getattr(estimator, "estimators_", [estimator])]


def _refuse(estimator: Any, what: str, hint: str) -> UnsupportedOpError:
    name = type(estimator).__name__
    return UnsupportedOpError(f"{name} {what} is not read", node=name, op=name, hint=hint)


def _classifier(estimator: Any, ctx: Lowering, x: Operand) -> Prediction:
    """The mean over the trees of the shares of classes in the leaf."""
    if estimator.n_outputs_ != 1:
        raise _refuse(estimator, "of several labels at once", "fit one classifier per label")
    classes = class_labels(estimator)
    members = _members(estimator)
    shares = [held.value[:, 0, :] / held.value[:, 0, :].sum(axis=1, keepdims=True) for held in members]
    total = ensemble(ctx, x, [_grown(held, share) for held, share in zip(members, shares, strict=True)])
    mean = total if len(members) == 1 else ctx.apply("Mul", total, ctx.literal(1.0 / len(members)))
    ctx.normalized.add(mean.name)
    return Prediction(
        "probabilities", mean, ctx.choose(classes, ctx.apply("ArgMax", mean, axis=1, keepdims=0))
    )


def _regressor(estimator: Any, ctx: Lowering, x: Operand) -> Prediction:
    """The mean over the trees of the value of the leaf."""
    members = _members(estimator)
    total = ensemble(ctx, x, [_grown(held, held.value[:, :, 0]) for held in members])
    mean = total if len(members) == 1 else ctx.apply("Mul", total, ctx.literal(1.0 / len(members)))
    return Prediction("output", reshape(ctx, mean, (None,)) if estimator.n_outputs_ == 1 else mean)


def _boosted_scores(estimator: Any, ctx: Lowering, x: Operand) -> Operand:
    """The constant of the start and all trees times the learning rate: (batch, 1 or classes)."""
    start = type(estimator.init_).__name__
    if start not in ("DummyClassifier", "DummyRegressor", "str"):
        raise _refuse(estimator, f"that starts from {start}", "fit without init, or with init='zero'")
    grid = np.asarray(estimator.estimators_)
    trees: list[Tree] = []
    zeros = np.zeros((1, estimator.n_features_in_), dtype=np.float32)
    method = estimator.decision_function if hasattr(estimator, "decision_function") else estimator.predict
    base = np.asarray(method(zeros), dtype=np.float64).reshape(-1).copy()
    for row in grid:
        for column, part in enumerate(row):
            value = np.zeros((part.tree_.node_count, grid.shape[1]))
            value[:, column] = estimator.learning_rate * part.tree_.value[:, 0, 0]
            base[column] -= value[part.tree_.apply(zeros)[0], column]
            trees.append(_grown(part.tree_, value))
    return ctx.apply("Add", ensemble(ctx, x, trees), ctx.known(finite(base, "init_"), "base"))


def _boosted_classifier(estimator: Any, ctx: Lowering, x: Operand) -> Prediction:
    classes = class_labels(estimator)
    scores = _boosted_scores(estimator, ctx, x)
    if scores.shape[1] != 1:
        return probabilities_of_classes(ctx, classes, scores)
    if (
        estimator.loss == "exponential"
    ):  # p = sigmoid(2 z), Friedman et al., Additive Logistic Regression (2000)
        scores = ctx.apply("Mul", scores, ctx.literal(2.0))
    return probability_of_second(ctx, classes, scores)


def _boosted_regressor(estimator: Any, ctx: Lowering, x: Operand) -> Prediction:
    return Prediction("output", reshape(ctx, _boosted_scores(estimator, ctx, x), (None,)))


def _histogram_scores(estimator: Any, ctx: Lowering, x: Operand) -> Operand:
    """Boosting over bins; its nodes keep the thresholds in float64, and data are not rounded."""
    if estimator.is_categorical_ is not None:  # also without a node that asks for one: columns change places
        raise _refuse(estimator, "with categorical features", "encode categories as columns of 0 and 1")
    trees: list[Tree] = []
    for row in estimator._predictors:
        for column, part in enumerate(row):
            nodes = part.nodes
            is_leaf = nodes["is_leaf"].astype(np.bool_)
            value = np.zeros((len(nodes), len(row)))
            value[:, column] = nodes["value"]
            left = np.where(is_leaf, -1, nodes["left"].astype(np.int64))
            right = nodes["right"].astype(np.int64)
            features = nodes["feature_idx"].astype(np.int64)
            trees.append(Tree(features, nodes["num_threshold"].astype(np.float64), left, right, value))
    base = finite(estimator._baseline_prediction, "baseline").reshape(-1)
    return ctx.apply("Add", ensemble(ctx, x, trees), ctx.known(base, "base"))


def _histogram_classifier(estimator: Any, ctx: Lowering, x: Operand) -> Prediction:
    classes = class_labels(estimator)
    scores = _histogram_scores(estimator, ctx, x)
    if scores.shape[1] == 1:
        return probability_of_second(ctx, classes, scores)
    return probabilities_of_classes(ctx, classes, scores)


def _histogram_regressor(estimator: Any, ctx: Lowering, x: Operand) -> Prediction:
    result = reshape(ctx, _histogram_scores(estimator, ctx, x), (None,))
    has_log_link = estimator.loss in ("gamma", "poisson")
    return Prediction("output", ctx.apply("Exp", result) if has_log_link else result)


TREES: dict[str, Predictor] = {
    **dict.fromkeys(
        ("DecisionTreeClassifier", "ExtraTreeClassifier", "ExtraTreesClassifier", "RandomForestClassifier"),
        _classifier,
    ),
    **dict.fromkeys(
        ("DecisionTreeRegressor", "ExtraTreeRegressor", "ExtraTreesRegressor", "RandomForestRegressor"),
        _regressor,
    ),
    "GradientBoostingClassifier": _boosted_classifier,
    "GradientBoostingRegressor": _boosted_regressor,
    "HistGradientBoostingClassifier": _histogram_classifier,
    "HistGradientBoostingRegressor": _histogram_regressor,
}
