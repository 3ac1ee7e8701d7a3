"""Support vector machines with a linear, polynomial, RBF or sigmoid kernel."""

from __future__ import annotations

from typing import Any

import numpy as np

from tacit.errors import UnsupportedOpError
from tacit.importers.estimators.prediction import (
    Prediction,
    Predictor,
    class_labels,
    finite,
    score_of_second,
)
from tacit.importers.lowering import Lowering, Operand
from tacit.importers.onnx_ops.shape import reshape
from tacit.importers.onnx_ops.svm import (
    KERNELS,
    Kernel,
    chances_of_two,
    decisions,
    pair_weights,
    winner_of_votes,
)
from tacit.ir.signature import Array

__all__ = ["SUPPORT"]


def _regressor(estimator: Any, ctx: Lowering, x: Operand) -> Prediction:
    weights = _dense(estimator.dual_coef_, "dual_coef_")
    bias = finite(estimator.intercept_, "intercept_").reshape(-1)
    result = decisions(ctx, x, _kernel(estimator), _vectors(estimator), weights, bias)
    return Prediction("output", reshape(ctx, result, (None,)))


def _classifier(estimator: Any, ctx: Lowering, x: Operand) -> Prediction:
    """Two classes: the decision for the second, or Platt's probabilities where they were fitted. More: the decisions
    between all pairs (``decision_function_shape='ovo'``); in every case the label is the winner of the votes."""
    classes = class_labels(estimator)
    dual = _dense(estimator.dual_coef_, "dual_coef_")
    bias = finite(estimator.intercept_, "intercept_").reshape(-1)
    kernel, vectors = _kernel(estimator), _vectors(estimator)
    has_chances = bool(getattr(estimator, "probability", False) is True)
    if len(classes) == 2:
        score = decisions(ctx, x, kernel, vectors, dual, bias)
        if not has_chances:
            return score_of_second(ctx, classes, score)
        # LIBSVM fits the probability of the first class, on the decision for it
        chances = chances_of_two(ctx, score, -float(estimator._probA[0]), float(estimator._probB[0]))
        return Prediction("probabilities", chances, score_of_second(ctx, classes, score).label)
    if has_chances or estimator.break_ties:
        raise UnsupportedOpError(
            f"{type(estimator).__name__} with "
            + ("probabilities of more than two classes" if has_chances else "break_ties")
            + " is not read",
            node=type(estimator).__name__,
            op=type(estimator).__name__,
            hint="fit without probability=True and break_ties=True",
        )
    pairs = decisions(ctx, x, kernel, vectors, pair_weights(dual, estimator.n_support_.tolist()), bias)
    return Prediction("scores", pairs, winner_of_votes(ctx, classes, pairs))


def _kernel(estimator: Any) -> Kernel:
    name = estimator.kernel
    if not isinstance(name, str) or name not in KERNELS:
        raise UnsupportedOpError(
            f"{type(estimator).__name__} with a kernel of one's own is not read",
            node=type(estimator).__name__,
            op=type(estimator).__name__,
            hint=f"fit with one of the kernels {', '.join(KERNELS)}",
        )
    return Kernel(name, float(estimator._gamma), float(estimator.coef0), float(estimator.degree))


def _vectors(estimator: Any) -> Array:
    return _dense(estimator.support_vectors_, "support_vectors_")


def _dense(held: Any, what: str) -> Array:
    return np.atleast_2d(finite(held.toarray() if hasattr(held, "toarray") else held, what))


SUPPORT: dict[str, Predictor] = {
    **dict.fromkeys(("NuSVC", "SVC"), _classifier),
    **dict.fromkeys(("NuSVR", "SVR"), _regressor),
}
