"""Linear regressors and classifiers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tacit.errors import UnsupportedOpError
from tacit.importers.estimators.prediction import (
    Prediction,
    Predictor,
    class_labels,
    finite,
    normalized_columns,
    probabilities_of_classes,
    probability_of_second,
    score_of_second,
    scores_of_classes,
)
from tacit.importers.lowering import Lowering, Operand
from tacit.importers.onnx_ops.linear import affine
from tacit.importers.onnx_ops.shape import reshape
from tacit.ir.signature import Array

__all__ = ["LINEAR"]


def _coefficients(estimator: Any) -> tuple[Array, Array, bool]:
    """Weights (outputs, features), bias (outputs,), and whether the answer is one number per sample."""
    held = estimator.coef_
    weights = finite(held.toarray() if hasattr(held, "toarray") else held, "coef_")
    bias = finite(estimator.intercept_, "intercept_").reshape(-1)
    rows = np.atleast_2d(weights)
    return rows, np.broadcast_to(bias, (len(rows),)).copy(), weights.ndim == 1


def _regressor(estimator: Any, ctx: Lowering, x: Operand) -> Prediction:
    weights, bias, single = _coefficients(estimator)
    result = affine(ctx, x, weights, bias)
    return Prediction("output", reshape(ctx, result, (None,)) if single else result)


def _exponential(estimator: Any, ctx: Lowering, x: Operand) -> Prediction:
    """Generalised linear models whose link is the logarithm."""
    return Prediction("output", ctx.apply("Exp", _regressor(estimator, ctx, x).primary))


def _scores(estimator: Any, ctx: Lowering, x: Operand) -> Prediction:
    """Classifiers that give decision values only."""
    binarizer = getattr(estimator, "_label_binarizer", None)
    if str(getattr(binarizer, "y_type_", "")).startswith("multilabel"):
        name = type(estimator).__name__
        raise UnsupportedOpError(
            f"{name} of several labels at once is not read",
            node=name,
            op=name,
            hint="fit one classifier per label",
        )
    classes = class_labels(estimator)
    weights, bias, _ = _coefficients(estimator)
    scores = affine(ctx, x, weights, bias)
    if len(weights) == 1:
        return score_of_second(ctx, classes, scores)
    return scores_of_classes(ctx, classes, scores)


def _logistic(estimator: Any, ctx: Lowering, x: Operand) -> Prediction:
    """Logistic regression. Before scikit-learn 1.8 ``multi_class`` chose softmax or one against the rest."""
    classes = class_labels(estimator)
    weights, bias, _ = _coefficients(estimator)
    mode = getattr(estimator, "multi_class", "deprecated")
    if len(classes) == 2:
        factor = 2.0 if mode == "multinomial" else 1.0
        return probability_of_second(ctx, classes, affine(ctx, x, factor * weights, factor * bias))
    scores = affine(ctx, x, weights, bias)
    if mode == "ovr" or (mode in ("auto", "deprecated") and estimator.solver == "liblinear"):
        return normalized_columns(ctx, classes, scores)
    return probabilities_of_classes(ctx, classes, scores)


def _discriminant(estimator: Any, ctx: Lowering, x: Operand) -> Prediction:
    classes = class_labels(estimator)
    weights, bias, _ = _coefficients(estimator)
    scores = affine(ctx, x, weights, bias)
    if len(classes) == 2:
        return probability_of_second(ctx, classes, scores)
    return probabilities_of_classes(ctx, classes, scores)


def _descent(estimator: Any, ctx: Lowering, x: Operand) -> Prediction:
    """Stochastic gradient descent: probabilities for the logistic loss, decision values otherwise."""
    if estimator.loss != "log_loss":
        return _scores(estimator, ctx, x)
    classes = class_labels(estimator)
    weights, bias, _ = _coefficients(estimator)
    scores = affine(ctx, x, weights, bias)
    if len(weights) == 1:
        return probability_of_second(ctx, classes, scores)
    return normalized_columns(ctx, classes, scores)


def _one_against_rest(estimator: Any, ctx: Lowering, x: Operand) -> Prediction:
    """Binary linear classifiers, one for each class, as the rows of one matrix."""
    name = type(estimator).__name__
    parts = estimator.estimators_
    if getattr(estimator, "multilabel_", False) or not all(hasattr(part, "coef_") for part in parts):
        raise UnsupportedOpError(
            f"{name} of several labels, or of classifiers that are not linear, is not read",
            node=name,
            op=name,
            hint="use a linear classifier such as LogisticRegression or LinearSVC inside it",
        )
    classes = class_labels(estimator)
    weights = np.vstack([np.atleast_2d(finite(part.coef_, "coef_")) for part in parts])
    bias = np.concatenate([finite(part.intercept_, "intercept_").reshape(-1) for part in parts])
    scores = affine(ctx, x, weights, bias)
    chances = all(hasattr(part, "predict_proba") for part in parts)
    if len(parts) == 1:
        answer: Callable[[Lowering, Array, Operand], Prediction]
        answer = probability_of_second if chances else score_of_second
        return answer(ctx, classes, scores)
    return (normalized_columns if chances else scores_of_classes)(ctx, classes, scores)


_REGRESSORS = (
    "ARDRegression",
    "BayesianRidge",
    "ElasticNet",
    "ElasticNetCV",
    "HuberRegressor",
    "Lars",
    "LarsCV",
    "Lasso",
    "LassoCV",
    "LassoLars",
    "LassoLarsCV",
    "LassoLarsIC",
    "LinearRegression",
    "LinearSVR",
    "MultiTaskElasticNet",
    "MultiTaskElasticNetCV",
    "MultiTaskLasso",
    "MultiTaskLassoCV",
    "OrthogonalMatchingPursuit",
    "OrthogonalMatchingPursuitCV",
    "PassiveAggressiveRegressor",
    "QuantileRegressor",
    "Ridge",
    "RidgeCV",
    "SGDRegressor",
    "TheilSenRegressor",
)
_SCORERS = ("LinearSVC", "PassiveAggressiveClassifier", "Perceptron", "RidgeClassifier", "RidgeClassifierCV")

LINEAR: dict[str, Predictor] = {
    **dict.fromkeys(_REGRESSORS, _regressor),
    **dict.fromkeys(_SCORERS, _scores),
    **dict.fromkeys(("GammaRegressor", "PoissonRegressor"), _exponential),
    **dict.fromkeys(("LogisticRegression", "LogisticRegressionCV"), _logistic),
    "LinearDiscriminantAnalysis": _discriminant,
    "OneVsRestClassifier": _one_against_rest,
    "SGDClassifier": _descent,
}
